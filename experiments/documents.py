"""Which vectors of documents tell most of their classes, and of new documents? PV-DBOW and PV-DM, objectives, over seeds.

    python -m experiments.documents --preset smoke --results runs/documents-smoke   # two minutes, 2 cores; the shipped text
    python -m experiments.documents                                       # cpu: IMDB, needs JAXEMBED_DATA; an hour
    python -m experiments.documents --preset accelerator

    python -m experiments.documents --data my-reviews.parquet --splits train test --label stars --results runs/mine

All documents are trained on without their classes, those of the test split among them; a linear probe then learns the classes
of the train split. Beside it, vectors of the test split that are inferred from its texts, as those of new documents are.
Learning rates are chosen by the accuracy within the train split, each fifth predicted by a probe of the others. Finished runs
are kept.

Expect an accuracy of .893 of PV-DBOW, and .896 of vectors that are inferred, in half a minute a run; of PV-DM .865 in five.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.experiment import Experiment, Preset
from jaxembed.tasks.documents import DEV_ACCURACY

CONTENDERS = ("doc2vec/negative_sampling", "doc2vec/infonce", "doc2vec_dm/negative_sampling")
IMDB: dict[str, Any] = {"data": "imdb", "label": "label"}
RATES = ("learning_rate=0.25,0.5,1",)

PRESETS = {
    "smoke": Preset(
        CONTENDERS, Path("runs/documents-smoke"), {"max_words": 400_000, "epochs": 3, "vector_size": 32}, seeds=(1, 2)
    ),
    "accelerator": Preset(
        CONTENDERS, Path("results/documents_accelerator"), {**IMDB, "epochs": 20, "vector_size": 200}, tune=RATES,
        select=DEV_ACCURACY,
    ),
    "cpu": Preset(CONTENDERS, Path("results/documents"), IMDB, tune=RATES, select=DEV_ACCURACY),
}  # fmt: skip


def notes(recipes: Mapping[str, Any]) -> list[str]:
    """What the table should be read with."""
    task = next(iter(recipes.values())).task
    found = ["self@1: of 1,000 documents, how many of the vectors inferred from their words are nearest to their own."]
    if task.label:
        found += [
            f"accuracy: logistic regression on the vectors of {task.train_split}, whose penalty is chosen within it, judged on "
            f"{task.test_split}. Both were trained on without classes; inferred: the vectors of {task.test_split} are inferred "
            "from its texts by the trained words instead, though these have met the texts.",
        ]
    return found


EXPERIMENT = Experiment(
    "documents", "Documents", __doc__, PRESETS, notes=notes,
    hint="Vectors of new texts: jaxembed embed RUN new.txt; the nearest documents: jaxembed neighbors RUN 'a text'.",
)  # fmt: skip

if __name__ == "__main__":
    EXPERIMENT.main()
