"""Which objective makes the best word vectors? All else held fixed, over seeds, on one corpus.

Two exceptions, which the table repeats: margin and BPR, which weigh every positive against every negative, share 16
negatives instead of 32, and each method (Skip-gram, CBOW, GloVe) has a learning rate of its own.

    python -m experiments.compare_objectives --preset smoke --results runs/smoke      # under a minute, 2 cores
    python -m experiments.compare_objectives --preset demo --results runs/demo        # minutes; `make demo`
    python -m experiments.compare_objectives --preset enwik8                          # 12.6 M words; half an hour or more
    python -m experiments.compare_objectives --preset enwik8 --dry-run                # what that would train

    python -m experiments.compare_objectives --data Salesforce/wikitext --config wikitext-103-raw-v1 --column text
    python -m experiments.compare_objectives --data my_corpus.txt.gz

Trains Skip-gram with each objective, CBOW and GloVe, all seeds at once, and writes the study's tables, plots and a folder
for each run. Finished runs are kept: a second call trains what is missing, and a killed one goes on where it was.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console

from experiments.settings import Common, main
from jaxembed.evaluation import neighbours
from jaxembed.methods.cbow import CBOW
from jaxembed.methods.glove import GloVe
from jaxembed.methods.skipgram import SkipGram
from jaxembed.objectives import pairwise
from jaxembed.study.plan import Variant
from jaxembed.study.run import Run
from jaxembed.study.study import Study
from jaxembed.tasks.words import COLUMNS, CURVES, Words
from jaxembed.training.settings import Training

FIVE = (
    "skipgram/negative_sampling",
    "skipgram/infonce",
    "skipgram/hierarchical_softmax",
    "cbow/negative_sampling",
    "glove",
)
ALL = (*FIVE[:3], "skipgram/margin", "skipgram/bpr", *FIVE[3:])


@dataclass(frozen=True)
class Settings(Common):
    """What is compared, on what, and how long.

    preset: where the other settings start from.
    data: a dataset (local, shipped or on the Hugging Face hub) or a text file; config, split, column: which part of it.
    contenders: METHOD/OBJECTIVE, or glove. max_words: only so many words of the corpus, 0 for all.
    epochs: passes of Skip-gram and CBOW. glove_epochs: passes of GloVe over the counts.
    """

    preset: Literal["smoke", "demo", "enwik8"] = "enwik8"
    results: Path = Path("results/compare_objectives")
    data: str = "enwik8-text"
    config: str | None = None
    split: str | None = None
    column: str = "text"
    revision: str | None = None
    min_count: int = 5
    lowercase: bool = False
    vector_size: int = 100
    window: int = 5
    glove_window: int = 10
    negative: int = 5
    epochs: int = 3
    glove_epochs: int = 8
    max_words: int = 0
    seeds: tuple[int, ...] = (1, 2, 3)
    contenders: tuple[str, ...] = ALL


PRESETS = {
    "smoke": Settings(
        preset="smoke", data="enwik8-small", max_words=100_000, vector_size=32, epochs=1, glove_epochs=2, seeds=(1, 2),
        contenders=FIVE, results=Path("runs/smoke"), checkpoint_seconds=1,
    ),
    "demo": Settings(
        preset="demo", data="enwik8-small", max_words=2_000_000, epochs=3, glove_epochs=8,
        contenders=FIVE, results=Path("runs/demo"),
    ),
    "enwik8": Settings(),
}  # fmt: skip

#: Step sizes, compared by a few single-seed trials on the dev halves of the benchmarks; GloVe's is the first that was tried.
RATES = {"skipgram": 0.3, "cbow": 0.6, "glove": 0.3}


def contender(name: str, settings: Settings) -> Variant:
    """The method and the training behind a name."""
    kind, _, objective = name.partition("/")
    if name == "glove":
        return Variant(name, GloVe(vector_size=settings.vector_size), Training(settings.glove_epochs, RATES[kind]),
                       {"method": kind, "objective": "weighted_squares"})  # fmt: skip
    methods = {"skipgram": SkipGram, "cbow": CBOW}
    if kind not in methods or not objective:
        raise ValueError(f"unknown contender {name!r}: write skipgram/OBJECTIVE, cbow/OBJECTIVE or glove")
    ranked = objective in ("margin", "bpr")  # these score every positive with every negative
    method = methods[kind](
        shared_negatives=16 if ranked else methods[kind].shared_negatives,
        vector_size=settings.vector_size,
        window=settings.window,
        negative=settings.negative,
        objective=pairwise(objective),
    )
    return Variant(name, method, Training(settings.epochs, RATES[kind]), {"method": kind, "objective": objective})


def words(settings: Settings) -> Words:
    """The corpus."""
    return Words.read(
        settings.data, column=settings.column, split=settings.split, config=settings.config, revision=settings.revision,
        min_count=settings.min_count, lowercase=settings.lowercase, max_words=settings.max_words, window=settings.glove_window,
    )  # fmt: skip


def study(settings: Settings) -> Study:
    """The study that the settings ask for."""
    rates = ", ".join(f"{rate} of {kind}" for kind, rate in RATES.items())
    return Study(
        name="compare_objectives",
        title="Objectives for word vectors",
        folder=settings.results,
        tasks={settings.data: lambda: words(settings)},
        variants=[contender(name, settings) for name in settings.contenders],
        seeds=settings.seeds,
        columns=COLUMNS,
        curves=CURVES,
        settings={"experiment": "compare_objectives"},
        notes=[
            f"{settings.vector_size} dimensions, window {settings.window} (GloVe {settings.glove_window}), "
            f"{settings.epochs} passes (GloVe {settings.glove_epochs}), min_count {settings.min_count}"
            + (f", the first {settings.max_words:,} words." if settings.max_words else "."),
            "WordSim-353 and SimLex-999: Spearman's rho; Google: share of analogies right, 3CosAdd, among the 30,000 most "
            "frequent words. `enwik8-text` is the first 74 % of text8.",
            f"Held fixed but for this: margin and bpr share 16 negatives instead of 32, and the learning rate is {rates}.",
            "words/s counts corpus words, before subsampling; GloVe's leaves its counting out. The compiler is left out.",
        ],
    )


def show(settings: Settings) -> None:
    """Neighbours of a few words."""
    console, first = Console(soft_wrap=True), settings.contenders[0]
    folder = settings.results / "runs" / first.replace("/", "-") / f"seed-{settings.seeds[0]}"
    try:
        vectors = Run.open(folder).vectors()
    except FileNotFoundError:
        console.print(f"\n{folder} has no vectors here (results/ keeps none): --overwrite trains them anew.")
        return
    known = [word for word in ("king", "france", "physics", "seven", "music") if word in vectors]
    console.print(f"\nNearest neighbours ({first}, seed {settings.seeds[0]}):")
    for word, found in neighbours(vectors, known, topn=6).items():
        console.print(f"  [bold]{word:10}[/] " + ", ".join(f"{other} {cosine:.2f}" for other, cosine in found))


if __name__ == "__main__":
    main(PRESETS, study, show, __doc__)
