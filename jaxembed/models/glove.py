"""`GloVe` with the names of `Word2Vec`."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.data.cooccurrence import count_cooccurrences
from jaxembed.data.text import Corpus
from jaxembed.methods import glove
from jaxembed.models.base import Model, Sentences, arguments, stamp
from jaxembed.recipes import recipe
from jaxembed.tables import lanes
from jaxembed.training.loop import Result
from jaxembed.training.method import Params
from jaxembed.training.settings import Training


class GloVe(Model):
    """GloVe with gensim-like names: counts co-occurrences, then factorises their logarithms.

    sentences, corpus_file, vector_size, min_count, seed, epochs, workers, callbacks: as in `Word2Vec`.
    window: farthest co-occurrence; a pair at distance d counts 1 / d. x_max, alpha: the weight `min(1, x / x_max)^alpha`.
    learning_rate: of row-wise Adagrad.
    cache: keep the counts, and what is made of `corpus_file`, for the next time; False holds them in memory.

    Settings are attributes of the same names, which may be changed before `train` is called again.
    """

    kind = "GloVe"

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
        self.workers, self.callbacks = workers, callbacks
        self._tables: Mapping[str, jax.Array] | None = None
        self._check()
        _ = self.method, self._training(None, None)  # settings are checked before anything is read
        if sentences is not None or corpus_file is not None:
            self.build_vocab(sentences, corpus_file)
            self.train()

    def __repr__(self) -> str:
        return f"{type(self).__name__}<vocab={len(self.vocabulary or ())}, vector_size={self.vector_size}>"

    @property
    def method(self) -> glove.GloVe:
        """How the model learns, by its settings as they are now."""
        return glove.GloVe(vector_size=self.vector_size, window=self.window, x_max=self.x_max, alpha=self.alpha)

    @classmethod
    def settings(cls) -> set[str]:
        """The names of the arguments that say what a model is."""
        return arguments(GloVe)

    def build_vocab(self, corpus_iterable: Any = None, corpus_file: str | os.PathLike | None = None) -> None:
        """Reads the corpus, which `train` then trains on, and forgets what was learned before."""
        source = self._source(corpus_iterable, corpus_file)
        self._begin(self._read(source, min_count=self.min_count, max_final_vocab=self.max_final_vocab))
        self._read_file = stamp(corpus_file)

    def train(
        self,
        corpus_iterable: Any = None,
        corpus_file: str | os.PathLike | None = None,
        total_examples: int | None = None,
        total_words: int | None = None,
        epochs: int | None = None,
        learning_rate: float | None = None,
        callbacks: Sequence[Any] | None = None,
    ) -> tuple[int, int]:
        """Counts the text given and trains on the counts, going on from what was learned: (words counted, words read).

        Words that the vocabulary lacks are left out. Without a text, that of `build_vocab` is trained on. A vector of `wv`
        that was changed since the last training is where the next one starts. epochs, learning_rate, callbacks: those of the
        model unless given. total_examples, total_words: accepted; the text is counted as it is read. Raises ValueError for a
        text without any word of the vocabulary, and one without two words that meet.
        """
        self._known_vocabulary()
        training, start = self._training(epochs, learning_rate), self._start()
        corpus = self._text(corpus_iterable, corpus_file)
        counts = count_cooccurrences(corpus, self.method.window, cache=self.cache)
        self._fit(counts, training, self.callbacks if callbacks is None else callbacks, start)
        return len(corpus.tokens) * training.epochs, corpus.raw_words * training.epochs

    def _training(self, epochs: int | None, learning_rate: float | None) -> Training:
        """How a call of `train` trains, checked."""
        epochs = self.epochs if epochs is None else epochs
        rate = self.learning_rate if learning_rate is None else learning_rate
        return replace(recipe("glove").training, epochs=epochs, learning_rate=rate)

    def _adopt(self, vocabulary: Any) -> None:
        super()._adopt(vocabulary)
        self._tables = None

    def _start(self) -> list[Params] | None:
        """Where training starts: at the tables, whose words are moved to where the vectors of `wv` have been put since."""
        vectors = self._vectors("other words need another model")
        if self._tables is None:
            if vectors.any():
                raise ValueError("vectors cannot be set before the first training of GloVe: train, then change them")
            return None
        word, context = (np.array(self._tables[name]) for name in ("word", "context"))
        put = (vectors != (word + context)[:, : self.vector_size]).any(axis=1)
        word[put, : self.vector_size] = vectors[put] - context[put, : self.vector_size]
        return [Params({"word": jnp.asarray(word), "context": jnp.asarray(context)})]

    def _keep(self, result: Result, start: Sequence[Params] | None) -> None:
        self._tables = result.params[0].tables

    def _tables_to_save(self) -> dict[str, np.ndarray]:
        self._vectors("other words need another model")
        return {name: np.asarray(table)[:, : self.method.row_size] for name, table in (self._tables or {}).items()}

    def _restore(self, tables: Mapping[str, np.ndarray]) -> None:
        self._tables = {name: lanes(jnp.asarray(table)) for name, table in tables.items()} or None
