"""Words as a task: a corpus to train on, and the benchmarks by which word vectors are judged."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar

import jax
import numpy as np

from jaxembed.data.text import hold_out, read_corpus
from jaxembed.evaluation import benchmark_tasks, evaluate, load_pairs, select, similarity_task
from jaxembed.evaluation.benchmarks import Half, benchmarks_digest
from jaxembed.methods.fasttext import FastText
from jaxembed.methods.words import WordMethod
from jaxembed.ranges import Count, CountOrZero, Range
from jaxembed.tasks.base import DEV, Figures, Read, Task, Unmeasured, checked
from jaxembed.vectors import KeyedVectors, SubwordVectors

# What is measured while training, on dev halves: the other half stays unseen until settings are chosen. Analogies take
# longer: they are measured after each pass only, among fewer words than at the end.
SIMILARITY = ("wordsim353", "simlex999")
ANALOGIES, ANALOGY_WORDS = ("google",), 10_000
# The sets that word vectors are known by, and the figure that settings are chosen by: the mean over their dev halves.
SETS = {"wordsim353": "similarity", "simlex999": "similarity", "google": "analogies"}
MEAN = f"words/mean{DEV}"


@dataclass(frozen=True)
class Words(Task):
    """The words of a dataset's texts, of a text file (also compressed), or of a folder of such files."""

    split: str | None = None  # Split of the dataset. It may be left out if there is only one.
    column: str = "text"  # Column of the dataset that holds the text.
    min_count: Count = 5  # Words that occur fewer times than this are left out.
    lowercase: bool = False  # Convert words to lower case.
    punctuation: bool = False  # Make punctuation marks words of their own, and leave HTML tags out.
    # Share of the documents (0 to 0.5) that is not trained on; the loss on it is measured after each pass.
    held_out: Annotated[float, Range(above=0, most=0.5)] | None = None
    max_words: CountOrZero = 0  # Number of words of the corpus, the first; 0 takes all.

    unit: ClassVar[str] = "words"
    halved: ClassVar[Mapping[str, str]] = (
        SETS  # the benchmarks whose halves are measured as well, and what kind each is
    )
    # Settings are chosen on the dev halves. No choice was made on the test halves, so they come first.
    columns: ClassVar[Mapping[str, str]] = {
        **{f"{name} test": f"{group}/{name}-test" for name, group in SETS.items()},
        **{name: f"{group}/{name}" for name, group in SETS.items()},
        "dev mean": MEAN,
    }
    curves: ClassVar[tuple[str, ...]] = (
        "epoch/loss", "similarity/wordsim353-dev", "similarity/simlex999-dev", "analogies/google-dev-10k",
    )  # fmt: skip

    def read(self) -> Read:
        """Reads the corpus, and holds a part of it out."""
        reading = {"column": self.column, "split": self.split, "min_count": self.min_count, "lowercase": self.lowercase}
        corpus = read_corpus(self.data, **reading, punctuation=self.punctuation, **self.origin)
        corpus.vocabulary.check_savable()
        corpus = corpus.head(self.max_words) if self.max_words else corpus
        train, held = hold_out(corpus, self.held_out) if self.held_out is not None else (corpus, None)
        about = {key: Path(value).name if key == "file" else value for key, value in train.summary().items()}
        by = benchmarks_digest()
        return Read(train, len(train.tokens), train.fingerprint, about, held_out=held, judged_by=by)

    def probes(self) -> tuple["Probe", "Probe"]:
        """Measures similarity now and then, and analogies after each pass."""
        dev = partial(benchmark_tasks, self.found.train.vocabulary, split="dev")
        often = _measures(dev(names=SIMILARITY), "similarity/{}-dev")
        return often, _measures(dev(names=ANALOGIES, restrict_vocab=ANALOGY_WORDS), "analogies/{}-dev-10k")

    def product(self, method: Any, params: Any, vectors: np.ndarray) -> KeyedVectors:
        """Returns the vectors with their words. Raises ValueError if nothing was trained."""
        if isinstance(method, WordMethod):
            method.check_learned(params)
        vocabulary = self.found.train.vocabulary
        if isinstance(method, FastText):
            parts = method.subwords(vocabulary.words, params)
            return SubwordVectors(vocabulary.words, vectors, vocabulary.counts, parts)
        return KeyedVectors(vocabulary.words, vectors, vocabulary.counts)

    def judge(self, vectors: dict[str, np.ndarray]) -> Figures:
        """Returns `similarity/<set>`, `analogies/<set>` (unmeasured if no item is covered) and `coverage/<set>` on whole sets.

        The sets in `SETS` also have `...-test` and `...-dev`, the figures of their halves. `words/mean-dev` is the mean
        over the dev halves.
        """
        product, summary = (self.found.train.vocabulary, vectors[""]), dict[str, Any]()
        for row in evaluate(product):
            group, name = "similarity" if row["metric"] == "spearman" else "analogies", row["benchmark"]
            summary |= checked({f"{group}/{name}": row["value"], f"coverage/{name}": _covered(row)}, why=_too_few(row))
        halves: tuple[Half, ...] = ("test", "dev")
        for half in halves:
            for row in evaluate(product, split=half, names=SETS):
                if row["benchmark"] in self.halved:
                    name = f"{row['benchmark']}-{half}"
                    figures = {
                        f"{self.halved[str(row['benchmark'])]}/{name}": row["value"],
                        f"coverage/{name}": _covered(row),
                    }
                    summary |= checked(figures, why=_too_few(row))
        dev = [summary[f"{group}/{name}{DEV}"] for name, group in SETS.items()]
        lacks = next((value for value in dev if isinstance(value, Unmeasured)), None)
        return summary | {MEAN: lacks or sum(dev) / len(dev)}


@dataclass(frozen=True)
class RareWords(Words):
    """Words of texts, judged by those that are rare in them, and by their forms: the syntactic half of Google's analogies."""

    least: Count = 5  # Fewest times that a rare word occurs in the texts that are trained on.
    most: Count = 20  # Most times that a rare word occurs.

    halved: ClassVar[Mapping[str, str]] = {**SETS, "google-syntactic": "analogies"}
    columns: ClassVar[Mapping[str, str]] = {
        **{f"{name}, rare, test": f"similarity/{name}-rare-test" for name in SIMILARITY},
        "google syntactic test": "analogies/google-syntactic-test",
        **{f"{name} test": f"{group}/{name}-test" for name, group in SETS.items()},
        **{f"{name}, rare, dev": f"similarity/{name}-rare-dev" for name in SIMILARITY},
        "dev mean": MEAN,
    }

    def __post_init__(self):
        super().__post_init__()
        if self.least > self.most:
            raise ValueError(
                f"least must not be above most: no word occurs {self.least} times or more and {self.most} or less"
            )

    def judge(self, vectors: dict[str, np.ndarray]) -> Figures:
        """Returns the figures of `Words`, and `similarity/<set>-rare-<half>` over those pairs of the set that have a rare word.

        The other word of such a pair is rare or more frequent; pairs with a word that is not trained on so often are left out.
        `pairs/<set>-rare-<half>` is their number.
        """
        corpus, summary = self.found.train, super().judge(vectors)
        counts = np.bincount(corpus.tokens, minlength=len(corpus.vocabulary))
        halves: tuple[Half, ...] = ("test", "dev")
        for name in SIMILARITY:
            for half in halves:
                task = similarity_task(corpus.vocabulary, select(load_pairs(name), half))
                rarer = counts[task.rows].min(axis=1, initial=self.most + 1)
                rare = (rarer >= self.least) & (rarer <= self.most)
                few = replace(task, rows=task.rows[rare], scores=task.scores[rare])
                agreement = float(few(vectors[""])) if rare.sum() > 1 else np.nan
                figures = {f"similarity/{name}-rare-{half}": agreement, f"pairs/{name}-rare-{half}": rare.sum()}
                summary |= checked(figures, why=f"{rare.sum()} of its pairs have a rare word")
        return summary


def _covered(row: Mapping[str, Any]) -> float:
    return float(row["items"]) / max(float(row["items"]) + float(row["oov"]), 1)


def _too_few(row: Mapping[str, Any]) -> str:
    return f"{row['items']} items of it have all their words in the vocabulary"


Probe = Callable[[jax.Array], Mapping[str, np.ndarray]]


def _measures(tasks: Mapping[str, Any], tag: str) -> Probe:
    """Returns a function that measures matrices [runs, n, d] by all tasks that have items, in one dispatch."""
    tasks = {tag.format(name): task for name, task in tasks.items() if len(task.rows) > 1}
    # One run after the other, since the scores of all questions for all runs would take too much memory.
    measure = jax.jit(lambda matrices: jax.lax.map(lambda one: {name: f(one) for name, f in tasks.items()}, matrices))
    return lambda matrices: jax.device_get(measure(matrices)) if tasks else {}
