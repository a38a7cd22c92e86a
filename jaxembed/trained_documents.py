"""Use of what was trained on documents: vectors of new texts, and the nearest documents."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxembed.data.documents import DocumentInput
from jaxembed.methods.documents import DocumentMethod, infer
from jaxembed.methods.words import word_constants
from jaxembed.tracking.console import progress_bar
from jaxembed.training.method import Params
from jaxembed.vectors import KeyedVectors


class DocumentModel:
    """A trained Doc2Vec: `encode` infers vectors of new texts, `search` finds documents.

    documents: the vectors of the documents that were trained on, by their names.
    """

    inputs: Mapping[str, Any] = {}  # What an encoder of batches has; vectors of documents are inferred instead.

    def __init__(self, method: DocumentMethod, params: Params, words: DocumentInput, documents: KeyedVectors):
        self.method, self.documents, self._words = method, documents, words
        self._tables = jax.device_put(params.tables)
        self._constants = jax.device_put(word_constants(method, words.vocabulary.counts))

    def __repr__(self) -> str:
        sizes = f"{len(self.documents):,} documents, {len(self._words.vocabulary):,} words"
        return f"DocumentModel<{type(self.method).__name__}, {sizes}, vector_size={self.vector_size}>"

    @property
    def vector_size(self) -> int:
        """The dimension d of the vectors."""
        return self.method.vector_size

    def encode(
        self,
        inputs: Any,
        batch_size: int | None = None,
        normalize: bool = False,
        show_progress_bar: bool | None = None,
    ) -> np.ndarray:
        """Returns inferred vectors of texts, float32 `[n, d]` in their order, or `[d]` for a single string.

        A text is a string, which is cut into words as those of training were, or a list of words. A vector depends on its text
        alone; that of a text without a known word is zero.

        batch_size: accepted; it has no effect. normalize: scales vectors to length 1. show_progress_bar: None shows one on a
        terminal if it takes some seconds. Raises ValueError for what is no text, and if there is none.
        """
        single = isinstance(inputs, str)
        texts = [inputs] if single else list(inputs)
        if not texts:
            raise ValueError("there is nothing to encode: give at least one text")
        ids = self._words.ids(texts)
        with progress_bar(len(ids), show_progress_bar) as advance:
            vectors = infer(self.method, self._tables, self._constants, ids, advance)
        if normalize:
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors = vectors / np.where(lengths > 0, lengths, 1)
        return vectors[0] if single else vectors

    def search(
        self, query: str | Sequence[str], among: KeyedVectors | None = None, topn: int = 10
    ) -> list[tuple[str, float]]:
        """Returns the `topn` documents, or other vectors, that are nearest to a text: (name, cosine).

        Raises ValueError for a text without a known word.
        """
        vector = self.encode([query])[0]
        if not vector.any():
            raise ValueError(f"{query!r:.60} has no word that occurs in the documents of this run")
        found: Any = (self.documents if among is None else among).similar_by_vector(vector, topn)
        return found
