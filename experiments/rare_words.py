"""Do n-grams help the vectors of rare words? fastText beside Skip-gram, all else alike.

    python -m experiments.rare_words --preset smoke --results runs/rare    # a minute, 2 cores; expect figures near 0
    python -m experiments.rare_words --preset small                        # enwik8-small, 3.9 M words; a quarter of an hour
    python -m experiments.rare_words --preset million                      # the first million words of enwik8-text, 5 seeds
    python -m experiments.rare_words                                       # enwik8: 12.3 M words; needs JAXEMBED_DATA

    python -m experiments.rare_words --data my_corpus.txt.gz --most 10

A pair of WordSim-353 or SimLex-999 counts as rare if its rarer word occurs 5 to 20 times in the text. Both methods have the same
three trials of their learning rate, and the best by the mean over the dev halves of all pairs and analogies is trained.

Expect of `small`, on test halves: syntactic analogies .57 for fastText and .17 for Skip-gram, rare pairs of SimLex-999 .14 and
.06, and those of WordSim-353, of which there are 23, .34 and .37: intervals of the rare pairs are wide, and overlap.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments.experiment import Experiment, Preset
from jaxembed.recipes import recipe
from jaxembed.tasks.words import MEAN, RareWords

BOTH, RATES = ("skipgram", "fasttext"), ("learning_rate=0.3,0.5,0.8",)
KINDS = {name: replace(recipe(name), task=RareWords("enwik8-small")) for name in BOTH}
PRESETS = {
    "smoke": Preset(BOTH, Path("runs/rare_words"), {"max_words": 200_000, "epochs": 1}, seeds=(1, 2)),
    "small": Preset(BOTH, Path("results/rare_words_small"), tune=RATES, select=MEAN),
    # Of a shorter text more words are rare: more pairs to measure by.
    "million": Preset(
        BOTH, Path("results/rare_words_million"), {"data": "enwik8-text", "max_words": 1_000_000}, tune=RATES, select=MEAN,
        seeds=(1, 2, 3, 4, 5),
    ),
    "enwik8": Preset(BOTH, Path("results/rare_words"), {"data": "enwik8-text"}, tune=RATES, select=MEAN),
}  # fmt: skip


def notes(recipes: Mapping[str, Any]) -> list[str]:
    """What the table should be read with."""
    task = next(iter(recipes.values())).task
    return [
        f"rare: Spearman over the pairs whose rarer word occurs {task.least} to {task.most} times in the text that is trained "
        "on; how many these are is pairs/... in each run's summary."
    ]


EXPERIMENT = Experiment("rare_words", "Rare words", __doc__, PRESETS, KINDS, notes=notes)

if __name__ == "__main__":
    EXPERIMENT.main()
