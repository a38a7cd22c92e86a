"""Which objective makes the best word vectors? All else held fixed, over seeds, on one corpus.

One exception, which the table repeats: margin and BPR, which weigh every positive against every negative, share 16 negatives
instead of 32. In `enwik8` each contender has the same three trials of its learning rate, and the best by the mean over the dev
halves is trained; elsewhere each method (Skip-gram, CBOW, GloVe) has a learning rate of its own.

    python -m experiments.compare_objectives --preset smoke --results runs/smoke      # under a minute, 2 cores
    python -m experiments.compare_objectives --preset demo --results runs/demo        # minutes; `make demo`
    python -m experiments.compare_objectives --preset enwik8                          # 12.6 M words; half an hour or more
    python -m experiments.compare_objectives --preset enwik8 --dry-run                # what that would train

    python -m experiments.compare_objectives --data Salesforce/wikitext --config wikitext-103-raw-v1 --split train
    python -m experiments.compare_objectives --data my_corpus.txt.gz

Expect of `enwik8`: WordSim-353 .68, SimLex-999 .28 and Google .33 for Skip-gram with negative sampling, .53, .22 and .31 for
GloVe. Finished runs are kept: a second call trains what is missing, and a killed one goes on where it was.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from experiments.experiment import Experiment, Preset
from jaxembed.evaluation import neighbours
from jaxembed.recipes import recipe
from jaxembed.study.run import Run
from jaxembed.tasks.words import MEAN

FIVE = (
    "skipgram/negative_sampling", "skipgram/infonce", "skipgram/hierarchical_softmax", "cbow/negative_sampling", "glove",
)  # fmt: skip
ALL = (*FIVE[:3], "skipgram/margin", "skipgram/bpr", *FIVE[3:])

ALIKE = {"sweeps": 1, "damping": 1.0}  # every contender meets the corpus as often
PRESETS = {
    "smoke": Preset(
        FIVE, Path("runs/smoke"), {"max_words": 100_000, "vector_size": 32, "epochs": 1, **ALIKE}, {"glove": {"epochs": 2}},
        seeds=(1, 2),
    ),
    # Two objectives of one method: what a newcomer waits a minute or two for.
    "demo": Preset(FIVE[:2], Path("runs/demo"), {"max_words": 1_000_000, "epochs": 3, **ALIKE}),
    # Trained step by step, with every loss; several seeds at once fill the cores as well as replicas do.
    "enwik8": Preset(
        ALL, Path("results/compare_objectives"),
        {"data": "enwik8-text", "epochs": 3, "replicas": 1, "loss_every": 1, **ALIKE},
        {"glove": {"epochs": 8}, "skipgram": {"step_tokens": 1024}, "cbow": {"shared_negatives": 32, "step_tokens": 1024}},
        seeds=(1, 2, 3, 4, 5), tune=("learning_rate=0.15,0.3,0.6",), select=MEAN,
    ),
}  # fmt: skip


def notes(recipes: Mapping[str, Any]) -> list[str]:
    """What the table should be read with."""
    each = [f"{label} {one.training.epochs}" for label, one in recipes.items()]
    words, few = next(iter(recipes.values())).task, {"skipgram/margin", "skipgram/bpr"} & set(recipes)
    return [
        f"Passes: {'; '.join(each)}; min_count {words.min_count}"
        + (f", the first {words.max_words:,} words." if words.max_words else "."),
        "WordSim-353 and SimLex-999: Spearman's rho; Google: share of analogies right, 3CosAdd, among the 30,000 most "
        "frequent words. `test`: the halves that no setting was chosen on. `enwik8-text` is the first 74 % of text8.",
        *(["Held fixed but for learning rates and this: margin and bpr share 16 negatives instead of 32."] if few else []),
        "words/s counts corpus words, before subsampling. The compiler is left out, and so is GloVe's counting.",
    ]  # fmt: skip


def show(results: Path) -> None:
    """Neighbours of a few words, by the first run that has vectors here."""
    declared = json.loads((results / "study.json").read_text(encoding="utf-8"))["runs"]  # in the order of the table
    folders = [results / run["folder"] for run in declared]
    folder = next((one for one in folders if (one / "vectors.safetensors").exists()), None)
    if folder is None:
        print("\nThere are no vectors here (results/ keeps none): --overwrite trains them anew.")
        return
    vectors, console = Run.open(folder).vectors(), Console(soft_wrap=True)
    known = [word for word in ("king", "france", "physics", "seven", "music") if word in vectors]
    console.print(f"\nNearest neighbours ({folder.parent.name}, {folder.name}):")
    for word, found in neighbours(vectors, known, topn=6).items():
        console.print(f"  [bold]{word:10}[/] " + ", ".join(f"{other} {cosine:.2f}" for other, cosine in found))


FEWER = ("margin", "bpr")  # these score every positive with every negative
SKIPGRAM = {
    label: recipe("skipgram").with_(objective=name, shared_negatives=16 if name in FEWER else 32)
    for label in ALL
    if (name := label.removeprefix("skipgram/")) != label
}
EXPERIMENT = Experiment(
    "compare_objectives", "Objectives for word vectors", __doc__, PRESETS, SKIPGRAM, notes=notes, show=show
)

if __name__ == "__main__":
    EXPERIMENT.main()
