"""Words as a task: a corpus to train on, and the benchmarks by which word vectors are judged."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxembed.data.cooccurrence import count_cooccurrences
from jaxembed.data.text import Corpus, hold_out, read_corpus
from jaxembed.evaluation import benchmark_tasks, evaluate
from jaxembed.methods.glove import GloVe
from jaxembed.vectors import KeyedVectors

# What is measured while training, on dev halves: the other half stays unseen until settings are chosen. Analogies take
# longer: they are measured after each pass only, among fewer words than at the end.
SIMILARITY = ("wordsim353", "simlex999")
ANALOGIES, ANALOGY_WORDS = ("google",), 10_000

#: Columns of a table of word vectors: the keys of a run's summary.
COLUMNS = {"wordsim353": "similarity/wordsim353", "simlex999": "similarity/simlex999", "google": "analogies/google"}

#: Metrics of a run of word vectors that are worth drawing.
CURVES = ("epoch/loss", "similarity/wordsim353-dev", "similarity/simlex999-dev", "analogies/google-dev-10k")


@dataclass(frozen=True)
class Words:
    """A corpus, for Skip-gram and CBOW as it is, for GloVe by its counts.

    held_out: a corpus on which the loss is measured after each pass. window: of the counts.
    origin: the arguments of `read` that give it again.
    """

    corpus: Corpus
    held_out: Corpus | None = None
    window: int = 10
    origin: Mapping[str, Any] = field(default_factory=dict)

    unit = "words"

    @classmethod
    def read(
        cls, data: str, *, held_out: float | None = None, max_words: int = 0, window: int = 10, **reading: Any
    ) -> "Words":
        """Reads a dataset or text file as `read_corpus` does with `reading`.

        held_out: share of the documents that is not trained on. max_words: only so many words of it, 0 for all.
        """
        corpus = read_corpus(data, **reading)
        corpus = corpus.head(max_words) if max_words else corpus
        train, held = hold_out(corpus, held_out) if held_out is not None else (corpus, None)
        told = {"held_out": held_out, "max_words": max_words, **reading}
        return cls(
            train, held, window, {"data": data, **{key: value for key, value in told.items() if value not in (None, 0)}}
        )

    @property
    def fingerprint(self) -> str:
        """Of the corpus."""
        return self.corpus.fingerprint

    @property
    def examples(self) -> int:
        """Words in a pass."""
        return len(self.corpus.tokens)

    def about(self) -> dict[str, Any]:
        """The corpus, for environment.json, without the folders of this machine."""
        summary = self.corpus.summary()
        return {key: Path(value).name if key == "file" else value for key, value in summary.items()}

    def data(self, method: Any, held_out: bool = False) -> Any:
        """What `method` trains on, or what its loss is measured on; None where nothing is held out."""
        corpus = self.held_out if held_out else self.corpus
        return count_cooccurrences(corpus, self.window) if corpus is not None and isinstance(method, GloVe) else corpus

    def size(self, data: Any) -> int:
        """Examples of a pass over what `data` gave, by which steps are sized."""
        return len(data.tokens) if isinstance(data, Corpus) else data.nnz_full

    def settings(self, method: Any) -> dict[str, Any]:
        """What of this task decides the result of `method`, and how to read the data again."""
        counted = {"window": self.window} if isinstance(method, GloVe) else {}
        return {"task": {"class": "Words", **self.origin, **counted}}

    def probes(self) -> tuple["Probe", "Probe"]:
        """What is measured now and then, and after each pass: `vectors [runs, n, d] -> {tag: [runs]}`."""
        dev = partial(benchmark_tasks, self.corpus.vocabulary, split="dev")
        often = _measures(dev(names=SIMILARITY), "similarity/{}-dev")
        return often, _measures(dev(names=ANALOGIES, restrict_vocab=ANALOGY_WORDS), "analogies/{}-dev-10k")

    def product(self, vectors: np.ndarray) -> KeyedVectors:
        """The vectors with their words."""
        vocabulary = self.corpus.vocabulary
        return KeyedVectors(vocabulary.words, vectors, vocabulary.counts)

    def judge(self, vectors: KeyedVectors) -> dict[str, float | None]:
        """`similarity/<set>` and `analogies/<set>` on whole sets (None where no item is covered), `coverage/<set>`."""
        summary: dict[str, float | None] = {}
        for row in evaluate(vectors):
            group = "similarity" if row["metric"] == "spearman" else "analogies"
            value, items, oov = float(row["value"]), float(row["items"]), float(row["oov"])
            summary[f"{group}/{row['benchmark']}"] = value if math.isfinite(value) else None
            summary[f"coverage/{row['benchmark']}"] = items / max(items + oov, 1)
        return summary


Probe = Callable[[jax.Array], Mapping[str, np.ndarray]]


def _measures(tasks: Mapping[str, Any], tag: str) -> Probe:
    """What measures matrices [runs, n, d] by all tasks that have items, in one dispatch."""
    tasks = {tag.format(name): task for name, task in tasks.items() if len(task.rows) > 1}
    # One run after the other, for the scores of all questions of all runs would take too much memory.
    measure = jax.jit(lambda matrices: jax.lax.map(lambda one: {name: f(one) for name, f in tasks.items()}, matrices))
    return lambda matrices: jax.device_get(measure(matrices)) if tasks else {}
