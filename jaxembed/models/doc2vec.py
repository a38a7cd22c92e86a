"""`Doc2Vec` with gensim's names: a thin front over the engine."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.data.documents import DocumentInput, Documents, TaggedDocument
from jaxembed.data.lines import LineSentence
from jaxembed.data.vocabulary import Vocabulary
from jaxembed.methods.documents import DBOW, DM, infer
from jaxembed.methods.words import word_constants
from jaxembed.models.base import STATE, Model, arguments
from jaxembed.models.gone import Gone, refuse
from jaxembed.models.word2vec import ALPHA
from jaxembed.naming import Renamed
from jaxembed.objectives import pairwise
from jaxembed.recipes import recipe
from jaxembed.tables import lanes
from jaxembed.training.loop import Result
from jaxembed.training.method import Params
from jaxembed.training.settings import Training
from jaxembed.vectors import KeyedVectors

__all__ = ["Doc2Vec", "TaggedDocument"]


class Doc2Vec(Gone, Model):
    """PV-DM or PV-DBOW with gensim's parameters; experiments/README.md lists what differs.

    documents: `TaggedDocument(words, tags)`; corpus_file: a file with one document per line, whose tags are the numbers of the
    lines. A tag is the name of a vector, and documents that share a tag train the same one.
    dm: 1 for PV-DM, 0 for PV-DBOW. dm_mean, dm_concat: combine vectors by their mean (None and 1) or sum (0), or side by side.
    dbow_words: 1 trains words by Skip-gram beside PV-DBOW; without it, words have no vectors of their own, and `wv` is zero.
    hs, negative, ns_exponent, sample, window, shrink_windows, alpha, min_alpha, epochs, seed, callbacks: as of `Word2Vec`.
    workers, hashfxn, batch_words: accepted; they have no effect.

    dv: the vectors by tag. Settings are attributes of the same names, which may be changed before `train` is called again.

    Raises ValueError for documents without a known word, tags that are neither all numbers nor all names, and a setting out of
    range.
    """

    kind = "Doc2Vec"
    state: ClassVar[tuple[str, ...]] = (*STATE, "tags")
    docvecs = Renamed("dv")
    dv: KeyedVectors

    def __init__(
        self,
        documents: Iterable[TaggedDocument] | Documents | None = None,
        corpus_file: str | os.PathLike | None = None,
        vector_size: int = 100,
        dm_mean: int | None = None,
        dm: int = 1,
        dbow_words: int = 0,
        dm_concat: int = 0,
        dm_tag_count: int = 1,
        comment: str | None = None,
        callbacks: Sequence[Any] = (),
        window: int = 5,
        epochs: int = 10,
        shrink_windows: bool = True,
        *,
        alpha: float = 0.025,
        min_alpha: float = 0.0001,
        min_count: int = 5,
        sample: float = 1e-3,
        seed: int = 1,
        hs: int = 0,
        negative: int = 5,
        ns_exponent: float = 0.75,
        max_final_vocab: int | None = None,
        workers: int = 3,
        hashfxn: Any = hash,
        batch_words: int = 10_000,
        compute_loss: bool = False,
        **others: Any,
    ):
        refuse(others, self.settings())
        if dm_tag_count != 1:
            raise ValueError("each tag is trained by itself: leave dm_tag_count at 1")
        super().__init__(min_count, max_final_vocab, seed, cache=False)
        self.vector_size, self.window, self.shrink_windows = vector_size, window, shrink_windows
        self.dm, self.dm_mean, self.dm_concat, self.dbow_words = dm, dm_mean, dm_concat, dbow_words
        self.alpha, self.min_alpha, self.epochs = alpha, min_alpha, epochs
        self.hs, self.negative, self.ns_exponent, self.sample = hs, negative, ns_exponent, sample
        self.comment, self.workers, self.batch_words = comment, workers, batch_words
        self.callbacks, self.compute_loss = callbacks, compute_loss
        self.tags: list[str] = []
        self._documents: Documents | None = None
        self._learned: dict[str, jax.Array] | None = None
        self._training(None, None, None)  # settings are checked before anything is read
        if documents is not None or corpus_file is not None:
            self.build_vocab(documents, corpus_file)
            self.train()

    def __repr__(self) -> str:
        kind = ("dm/" + ("c" if self.dm_concat else "s" if self.dm_mean == 0 else "m")) if self.dm else "dbow"
        return f"Doc2Vec<{kind},d{self.vector_size},{len(self.tags):,} tags,{len(self.vocabulary or ()):,} words>"

    @property
    def method(self) -> DBOW | DM:
        """How the model learns, by its settings as they are now."""
        chosen = "hierarchical_softmax" if self.hs else "negative_sampling"
        settings: dict[str, Any] = {
            "vector_size": self.vector_size,
            "window": self.window,
            "shrink_windows": bool(self.shrink_windows),
            "negative": max(self.negative, 1) if self.hs else self.negative,
            "ns_exponent": self.ns_exponent,
            "sample": self.sample,
            "objective": pairwise(chosen),
            "infer_epochs": self.epochs,
            "infer_rate": self._rate(self.alpha),
        }
        if not self.dm:
            return DBOW(dbow_words=bool(self.dbow_words), **settings)
        return DM(combine="concat" if self.dm_concat else "sum" if self.dm_mean == 0 else "mean", **settings)

    @classmethod
    def settings(cls) -> set[str]:
        """The names of the arguments that say what a model is."""
        return arguments(Doc2Vec) - {"documents", "dm_tag_count", "cache"}

    def _rate(self, alpha: float) -> float:
        if alpha <= 0:
            raise ValueError(f"alpha must be above 0, not {alpha}")
        return alpha / ALPHA * recipe("doc2vec_dm" if self.dm else "doc2vec").training.learning_rate

    # -- the vocabulary

    def build_vocab(
        self,
        corpus_iterable: Iterable[TaggedDocument] | Documents | None = None,
        corpus_file: str | os.PathLike | None = None,
    ) -> None:
        """Reads the documents, which `train` then trains on, and forgets what was learned before."""
        found = self._documents_of(corpus_iterable, corpus_file, self.min_count, self.max_final_vocab)
        self._begin(found.corpus)
        self._documents, self.tags = found, list(found.names)
        self.dv = KeyedVectors(self.tags, np.zeros((len(self.tags), self.vector_size), np.float32))

    def _documents_of(self, documents: Any, file: Any, min_count: int, most: int | None = None) -> Documents:
        source = self._source(documents, file)
        if isinstance(source, Documents):
            return source
        if file is not None:
            source = (TaggedDocument(line, [number]) for number, line in enumerate(LineSentence(source)))
        return Documents.tagged(source, min_count=min_count, max_final_vocab=most, cache=False)

    def _adopt(self, vocabulary: Vocabulary) -> None:
        super()._adopt(vocabulary)
        self._learned = None

    # -- training

    def train(
        self,
        corpus_iterable: Iterable[TaggedDocument] | Documents | None = None,
        corpus_file: str | os.PathLike | None = None,
        total_examples: int | None = None,
        total_words: int | None = None,
        epochs: int | None = None,
        start_alpha: float | None = None,
        end_alpha: float | None = None,
        word_count: int = 0,
        queue_factor: int = 2,
        report_delay: float = 1.0,
        callbacks: Sequence[Any] | None = None,
    ) -> None:
        """Trains on the documents given, or on those of `build_vocab`, going on from the vectors there are.

        Words that the vocabulary lacks are left out. epochs, start_alpha, end_alpha, callbacks: those of the model unless given.
        total_examples, total_words, word_count, queue_factor, report_delay: accepted. Raises ValueError for a tag that was not
        there when the vocabulary was built.
        """
        vocabulary, training = self._known_vocabulary(), self._training(epochs, start_alpha, end_alpha)
        if corpus_iterable is None and corpus_file is None:
            if self._documents is None:
                raise ValueError(
                    "there are no documents to train on: a model that was loaded has none. Call train(documents)"
                )
            documents = self._documents
        else:
            documents = self._documents_of(corpus_iterable, corpus_file, 1).over(vocabulary, self.tags)
        self._fit(documents, training, self.callbacks if callbacks is None else callbacks, self._start())

    def _training(self, epochs: int | None, start_alpha: float | None, end_alpha: float | None) -> Training:
        start = self.alpha if start_alpha is None else start_alpha
        end = self.min_alpha if end_alpha is None else end_alpha
        self._check(alpha=start, min_alpha=end)
        usual = recipe("doc2vec_dm" if self.method and self.dm else "doc2vec").training
        epochs = self.epochs if epochs is None else epochs
        return replace(usual, epochs=epochs, learning_rate=self._rate(start), final_rate=end / start)

    def _start(self) -> list[Params] | None:
        if self._learned is None:
            return None
        tables = {**self._learned, "document": lanes(jnp.asarray(self.dv.vectors))}
        if "in" in tables:
            tables["in"] = lanes(jnp.asarray(self._vectors("documents with other words need another model")))
        return [Params(tables)]

    def _put(self, vectors: np.ndarray, params: Params) -> None:
        self.dv = KeyedVectors(self.tags, vectors)
        if "in" in params.tables:
            super()._put(np.asarray(params.tables["in"])[:, : self.vector_size], params)

    def _keep(self, result: Result, start: Sequence[Params] | None) -> None:
        self._warn_unless_learned(result, start)
        self._learned = {name: table for name, table in result.params[0].tables.items() if name != "document"}

    # -- what was learned

    def infer_vector(
        self,
        doc_words: Sequence[str],
        alpha: float | None = None,
        min_alpha: float | None = None,
        epochs: int | None = None,
    ) -> np.ndarray:
        """Returns the vector of a new document, a list of words: float32 `[vector_size]`; zero if none is known.

        It depends on the words alone, so that the same words have the same vector.

        alpha, epochs: those of the model unless given. min_alpha: accepted; the rate falls to zero.
        """
        if isinstance(doc_words, str):
            raise TypeError("doc_words must be a list of words, not a string: split it")
        return self.infer_vectors([doc_words], alpha, epochs)[0]

    def infer_vectors(
        self, documents: Sequence[Sequence[str]], alpha: float | None = None, epochs: int | None = None
    ) -> np.ndarray:
        """Returns the vectors of many new documents, float32 `[n, vector_size]`, much faster than one after the other."""
        vocabulary = self._known_vocabulary()
        if self._learned is None:
            raise RuntimeError("the model is not trained yet: call train() first")
        method = self.method.with_(infer_epochs=epochs or self.epochs, infer_rate=self._rate(alpha or self.alpha))
        ids = DocumentInput(vocabulary).ids(documents)
        return infer(method, self._learned, jax.device_put(word_constants(method, vocabulary.counts)), ids)

    def similarity_unseen_docs(self, doc_words1: Sequence[str], doc_words2: Sequence[str], **options: Any) -> float:
        """Returns the cosine of the inferred vectors of two new documents; 0 if one has no known word."""
        a, b = self.infer_vectors([doc_words1, doc_words2], **options)
        lengths = np.linalg.norm(a) * np.linalg.norm(b)
        return float(a @ b / lengths) if lengths else 0.0

    # -- files

    def _tables_to_save(self) -> dict[str, np.ndarray]:
        learned = {"outputs": self._learned["out"]} if self._learned else {}
        return {name: np.asarray(table) for name, table in learned.items()} | {"documents": self.dv.vectors}

    def _restore(self, tables: Mapping[str, np.ndarray]) -> None:
        self.dv = KeyedVectors(self.tags, tables["documents"])
        if "outputs" in tables:
            words = {"in": lanes(jnp.asarray(self.wv.vectors))} if self.method.reads_words else {}
            self._learned = {"out": lanes(jnp.asarray(tables["outputs"])), **words}
