"""Documents as a task: texts whose vectors are learned, and classes, or the documents themselves, by which they are judged."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np

from jaxembed.data.documents import DocumentInput, read_documents
from jaxembed.evaluation.probe import check_probe, cross_probe, linear_probe
from jaxembed.methods.documents import infer
from jaxembed.methods.words import word_constants
from jaxembed.ranges import Count, CountOrZero, Range
from jaxembed.tasks.base import DEV, Figures, Read, Task, Trained, measured, refusal
from jaxembed.vectors import KeyedVectors

ACCURACY, UNSEEN, SELF = "documents/accuracy", "documents/accuracy_inferred", "documents/self@1"
DEV_ACCURACY = f"{ACCURACY}{DEV}"
_SHOWN = 5_000  # number of documents in the projector
_ASKED = 1_000  # number of documents that are to find themselves


@dataclass(frozen=True)
class Documents(Task):
    """The texts of a dataset, or the lines of a text file."""

    splits: tuple[str, ...] = ()  # Splits whose texts are trained on, without their classes. By default all.
    column: str = "text"  # Column of the texts.
    key: str | None = (
        None  # Column of the documents' names; by default they are called SPLIT/ROW, or ROW if there is one split.
    )
    label: str | None = None  # Column of classes, by which vectors are judged.
    train_split: str = "train"  # Split whose classes the probe learns from.
    test_split: str = "test"  # Split whose classes it then predicts.
    # Parts of train_split for the figure by which settings may be chosen: each is predicted by a probe of the others.
    folds: Annotated[int, Range(least=2, most=20)] = 5
    unseen: bool = (
        True  # Also judge vectors of the test split that are inferred from its texts, as those of new documents.
    )
    min_count: Count = 5  # Words that occur fewer times than this are left out.
    lowercase: bool = True  # Convert words to lower case.
    punctuation: bool = True  # Make punctuation marks words of their own, and leave HTML tags out.
    max_words: CountOrZero = 0  # Number of words that are trained on, those of the first documents; 0 takes all.

    unit: ClassVar[str] = "words"
    shown: ClassVar[str] = "documents"
    curves: ClassVar[tuple[str, ...]] = ("epoch/loss", "geometry/effective_rank")

    @property
    def columns(self) -> Mapping[str, str]:
        """The columns of a table: accuracies if there are classes, and how many documents find themselves."""
        found = {"accuracy": ACCURACY, "accuracy, inferred": UNSEEN} if self.label else {}
        return found | {"self@1": SELF} | ({"dev accuracy": DEV_ACCURACY} if self.label else {})

    def read(self) -> Read:
        """Reads the documents."""
        settings = {"min_count": self.min_count, "lowercase": self.lowercase, "punctuation": self.punctuation}
        found = read_documents(
            self.data, self.column, splits=self.splits, name=self.key, label=self.label, **self.origin, **settings
        ).head(self.max_words)
        found.corpus.vocabulary.check_savable()
        inputs = {"documents": DocumentInput(found.corpus.vocabulary, self.lowercase, self.punctuation)}
        return Read(
            found, len(found.corpus.tokens), found.fingerprint, found.summary(), inputs=inputs,
            judged_by=found.classes_fingerprint or found.fingerprint,
        )  # fmt: skip

    def unmeasurable(self) -> dict[str, str]:
        """Accuracies need classes in both splits."""
        if not self.label:
            return {}
        train, test = (self._classes(split) for split in (self.train_split, self.test_split))
        why = refusal(lambda: check_probe(train[1]) if len(train[1]) else self._without(self.train_split))
        found = dict.fromkeys((ACCURACY, UNSEEN, DEV_ACCURACY), why) if why else {}
        if not len(test[1]):
            found |= dict.fromkeys((ACCURACY, UNSEEN), refusal(lambda: self._without(self.test_split)))
        if not self.unseen:
            found[UNSEEN] = "`unseen` is off"
        return {name: reason for name, reason in found.items() if reason}

    def _without(self, split: str) -> None:
        raise ValueError(f"the split {split!r} is not read, or has no classes in {self.label!r}")

    def _classes(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Returns the documents of a split that have a class, and the classes."""
        documents = self.found.train
        if documents.labels is None:
            return np.zeros(0, int), np.zeros(0, int)
        there = documents.where(split)
        there = there[documents.labels[there] >= 0]
        return there, documents.labels[there]

    def product(self, method: Any, params: Any, vectors: np.ndarray) -> KeyedVectors:
        """Returns the vectors of the documents by their names. Raises ValueError if nothing was trained."""
        method.check_learned(params)
        return KeyedVectors(self.found.train.names, vectors)

    def judge(self, vectors: dict[str, np.ndarray]) -> Figures:
        """Returns `documents/accuracy` of a linear probe on the test split, and `documents/accuracy-dev`.

        The latter is the mean over `folds` parts of the train split, each predicted by a probe of the others.
        """
        if not self.label:
            return {}
        found = vectors[""]
        (train, classes), (test, wanted) = (self._classes(split) for split in (self.train_split, self.test_split))
        dev = lambda: {DEV_ACCURACY: cross_probe(found[train], classes, folds=self.folds)}
        accuracy = lambda: {ACCURACY: linear_probe(found[train], classes, found[test], wanted)}
        return measured([ACCURACY], accuracy) | measured([DEV_ACCURACY], dev)

    def figures(self, trained: Trained) -> Figures:
        """Adds figures of vectors that are inferred from texts, as those of new documents are.

        `documents/accuracy_inferred` is that of the test split, for the probe of the trained vectors. `documents/self@1` is the
        share of some documents whose inferred vector is nearest to their own, among these.
        """
        method, params = trained.learned()
        documents, found = self.found.train, trained.product.vectors
        corpus = documents.corpus
        constants, tables = word_constants(method, corpus.vocabulary.counts), params.tables
        inferred = lambda which: infer(
            method, tables, constants, [corpus.tokens[corpus.offsets[i] : corpus.offsets[i + 1]] for i in which]
        )
        some = np.flatnonzero(np.diff(corpus.offsets))
        some = some[np.linspace(0, len(some) - 1, min(len(some), _ASKED)).astype(int)]
        figures = self.judge(self.parts(trained.product)) | measured(
            [SELF], lambda: {SELF: _self(inferred(some), found[some])}
        )
        if not self.label or not self.unseen:
            return figures
        (train, classes), (test, wanted) = (self._classes(split) for split in (self.train_split, self.test_split))
        unseen = lambda: {UNSEEN: linear_probe(found[train], classes, inferred(test), wanted)}
        return figures | measured([UNSEEN], unseen)

    def projected(self, product: KeyedVectors) -> KeyedVectors:
        """Returns some documents, spread over all."""
        rows = np.linspace(0, len(product) - 1, min(len(product), _SHOWN)).astype(int)
        return KeyedVectors([product.index_to_key[i] for i in rows], product.vectors[rows])


def _self(inferred: np.ndarray, own: np.ndarray) -> float:
    unit = lambda x: x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return float(np.mean((unit(inferred) @ unit(own).T).argmax(1) == np.arange(len(own))))
