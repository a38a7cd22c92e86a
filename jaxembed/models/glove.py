"""`GloVe` with the names of `Word2Vec`."""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from jaxembed.data.cooccurrence import count_cooccurrences
from jaxembed.data.text import Corpus
from jaxembed.methods import glove
from jaxembed.models.base import Model, Sentences
from jaxembed.recipes import recipe


class GloVe(Model):
    """GloVe with gensim-like names: counts co-occurrences, then factorises their logarithms.

    sentences, corpus_file, vector_size, min_count, seed, epochs, workers, callbacks: as in `Word2Vec`.
    window: farthest co-occurrence; a pair at distance d counts 1 / d. x_max, alpha: the weight `min(1, x / x_max)^alpha`.
    learning_rate: of row-wise Adagrad.
    cache: keep the counts, and what is made of `corpus_file`, for the next time; False holds them in memory.
    """

    def __init__(
        self,
        sentences: Sentences | Corpus | None = None,
        corpus_file: str | os.PathLike | None = None,
        vector_size: int = 100,
        window: int = 10,
        min_count: int = 5,
        max_final_vocab: int | None = None,
        x_max: float = 10.0,
        alpha: float = 0.75,
        learning_rate: float = 0.3,
        seed: int = 1,
        workers: int = 3,
        epochs: int = 10,
        callbacks: Sequence[Any] = (),
        cache: bool = True,
    ):
        super().__init__(min_count, max_final_vocab, seed, cache)
        self.vector_size, self.window, self.x_max, self.alpha = vector_size, window, x_max, alpha
        self.epochs, self.learning_rate = epochs, learning_rate
        training = replace(recipe("glove").training, epochs=epochs, learning_rate=learning_rate)
        method = self.method  # settings are checked before anything is read
        if sentences is None and corpus_file is None:
            raise TypeError("GloVe needs sentences or corpus_file")
        source = self._source(sentences, corpus_file)
        corpus = self._read(source, min_count=min_count, max_final_vocab=max_final_vocab)
        self._begin(corpus)
        self._fit(count_cooccurrences(corpus, method.window, cache=cache), training, callbacks)

    @property
    def method(self) -> glove.GloVe:
        """How the model learns, by its settings as they are now."""
        return glove.GloVe(vector_size=self.vector_size, window=self.window, x_max=self.x_max, alpha=self.alpha)

    def __repr__(self) -> str:
        return f"GloVe<vocab={len(self.wv)}, vector_size={self.vector_size}>"
