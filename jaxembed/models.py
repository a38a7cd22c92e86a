"""`Word2Vec` and `GloVe` with gensim's names: a thin front over the engine."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxembed.data.cooccurrence import count_cooccurrences
from jaxembed.data.text import Corpus, read_corpus
from jaxembed.methods import cbow, glove, skipgram
from jaxembed.objectives import pairwise
from jaxembed.recipes import recipe
from jaxembed.training.loop import Result, fit
from jaxembed.training.settings import Training
from jaxembed.vectors import KeyedVectors

Sentences = Iterable[Sequence[str]]

ALPHA = 0.025  # gensim's step, of plain SGD; our recipes' step stands for it


class _Model:
    """What both models share: a corpus, vectors, the rules for reading them, and gensim's hooks around training."""

    wv: KeyedVectors
    method: skipgram.SkipGram | cbow.CBOW | glove.GloVe
    corpus: Corpus | None = None
    result: Result | None = None
    compute_loss = False
    trained = 0  # calls of train() on this corpus: each draws anew

    def __init__(self, min_count: int, max_final_vocab: int | None, seed: int, cache: bool):
        self.min_count, self.max_final_vocab, self.seed, self.cache = min_count, max_final_vocab, seed, cache
        self.losses: list[float] = []

    @property
    def vector_size(self) -> int:
        """Dimension of the vectors."""
        return self.method.vector_size

    @property
    def corpus_count(self) -> int:
        """Sentences read."""
        return self._known_corpus().documents

    @property
    def corpus_total_words(self) -> int:
        """Words read, rare ones included."""
        return self._known_corpus().raw_words

    def get_latest_training_loss(self) -> float:
        """Mean loss of the last epoch (gensim gives a sum, in float32): of all steps with `compute_loss` or callbacks."""
        if not self.losses:
            raise RuntimeError("the model is not trained yet: call train() first")
        return self.losses[-1]

    def _known_corpus(self) -> Corpus:
        if self.corpus is None:
            raise RuntimeError("there is no vocabulary yet: call build_vocab(sentences) first")
        return self.corpus

    def _read(self, sentences: Any, corpus_file: str | os.PathLike | None) -> Corpus:
        if (sentences is None) == (corpus_file is None):
            raise TypeError("give either sentences or corpus_file")
        if isinstance(sentences, Corpus):
            return sentences
        source = Path(corpus_file) if corpus_file is not None else sentences
        if isinstance(source, str):
            raise TypeError(
                f"sentences must be lists of words, not a string; to read a file, give corpus_file={source!r}"
            )
        return read_corpus(source, min_count=self.min_count, max_final_vocab=self.max_final_vocab, cache=self.cache)

    def _keyed(self, vectors: np.ndarray) -> KeyedVectors:
        vocabulary = self._known_corpus().vocabulary
        return KeyedVectors(vocabulary.words, vectors, vocabulary.counts)

    def _fit(self, data: Any, training: Training, callbacks: Sequence[Any]) -> None:
        """Trains on `data`, from the vectors there are: `result`, `losses` and `wv`; callbacks are told on the way."""
        # Somebody who asks for the loss means all of it; for nobody a share of the steps is enough to see it fall.
        training = replace(training, loss_every=1) if callbacks or self.compute_loss else training

        def tell(name: str) -> None:
            for callback in callbacks:
                if hook := getattr(callback, name, None):
                    hook(self)

        def on_epoch(epoch, progress, vectors):
            if callbacks:
                self.wv = self._keyed(np.asarray(vectors()[0]))
            self.losses.append(float(progress.loss[0]))
            tell("on_epoch_end")
            if epoch + 1 < training.epochs:
                tell("on_epoch_begin")

        tell("on_train_begin")
        tell("on_epoch_begin")
        start = self.result.params if self.result else None
        seeds = (_seed_of_call(self.seed, self.trained),)
        self.result = fit(self.method, data, training, seeds=seeds, init=start, on_epoch=on_epoch)
        self.trained += 1
        self.wv = self._keyed(self.result.vectors[0])
        tell("on_train_end")


class Word2Vec(_Model):
    """Skip-gram or CBOW with gensim's parameters; see the README for what differs.

    sentences: lists of words, or a `jaxembed.data.Corpus`; corpus_file: a text file with a sentence a line, `.gz` too.
    sg: 1 for Skip-gram, 0 for CBOW. hs: 1 for hierarchical softmax instead of negative sampling.
    alpha, min_alpha: step at the start and at the end, in gensim's scale (row-wise Adagrad takes 12 times as much, CBOW 24).
    workers: accepted; it has no effect, as XLA uses every core and results do not depend on them.
    compute_loss: `get_latest_training_loss` is of all steps, and not of a share of them.
    callbacks: objects with any of `on_train_begin, on_epoch_begin, on_epoch_end, on_train_end`, each given the model.
    objective: any pairwise objective by name, for which `sg` and `hs` leave it open; None chooses by `hs`.
    cache: keep what is made of `corpus_file` for the next time (see `jaxembed.data.cache`); False keeps nothing.

    Raises ValueError for an empty corpus, one whose words all fall under `min_count`, or a setting out of range.
    """

    def __init__(
        self,
        sentences: Sentences | Corpus | None = None,
        corpus_file: str | os.PathLike | None = None,
        vector_size: int = 100,
        alpha: float = 0.025,
        window: int = 5,
        min_count: int = 5,
        max_final_vocab: int | None = None,
        sample: float = 1e-3,
        seed: int = 1,
        workers: int = 3,
        min_alpha: float = 0.0001,
        sg: int = 0,
        hs: int = 0,
        negative: int = 5,
        ns_exponent: float = 0.75,
        cbow_mean: int = 1,
        epochs: int = 5,
        callbacks: Sequence[Any] = (),
        compute_loss: bool = False,
        objective: str | None = None,
        cache: bool = True,
    ):
        super().__init__(min_count, max_final_vocab, seed, cache)
        chosen = objective or ("hierarchical_softmax" if hs else "negative_sampling")
        settings: dict[str, Any] = {
            "vector_size": vector_size,
            "window": window,
            "negative": negative if chosen != "hierarchical_softmax" else max(negative, 1),
            "ns_exponent": ns_exponent,
            "sample": sample,
            "objective": pairwise(chosen),
        }
        self.method = skipgram.SkipGram(**settings) if sg else cbow.CBOW(cbow_mean=bool(cbow_mean), **settings)
        self.alpha, self.min_alpha, self.epochs = alpha, min_alpha, epochs
        self.callbacks, self.compute_loss = callbacks, compute_loss
        if sentences is not None or corpus_file is not None:
            self.build_vocab(sentences, corpus_file)
            self.train()

    def build_vocab(self, corpus_iterable: Any = None, corpus_file: str | os.PathLike | None = None) -> None:
        """Reads the corpus, which `train` then trains on."""
        self.corpus = self._read(corpus_iterable, corpus_file)
        self.result, self.trained = None, 0
        self.wv = self._keyed(np.zeros((len(self.corpus.vocabulary), self.vector_size), np.float32))  # not trained yet

    def train(
        self,
        corpus_iterable: Any = None,
        corpus_file: str | os.PathLike | None = None,
        total_examples: int | None = None,
        total_words: int | None = None,
        epochs: int | None = None,
        start_alpha: float | None = None,
        end_alpha: float | None = None,
        callbacks: Sequence[Any] | None = None,
    ) -> tuple[int, int]:
        """Trains on the corpus of `build_vocab`, going on from the vectors there are: (words trained on, words read).

        A corpus given here must be that of `build_vocab`, as gensim's tutorials have it, and is not read again;
        `total_examples` and `total_words` are known already.
        """
        corpus = self._known_corpus()
        start, end = start_alpha or self.alpha, end_alpha or self.min_alpha
        if start <= 0:
            raise ValueError(f"alpha must be above 0, not {start}")
        epochs, callbacks = epochs or self.epochs, self.callbacks if callbacks is None else callbacks
        usual = recipe("skipgram" if isinstance(self.method, skipgram.SkipGram) else "cbow").training
        rate = start / ALPHA * usual.learning_rate
        self._fit(corpus, replace(usual, epochs=epochs, learning_rate=rate, final_rate=end / start), callbacks)
        return len(corpus.tokens) * epochs, corpus.raw_words * epochs


def _seed_of_call(seed: int, call: int) -> int:
    """`seed` itself for the first call of train(), another for each call after it."""
    return seed if call == 0 else int(np.random.SeedSequence([seed, call]).generate_state(1)[0] >> 1)


class GloVe(_Model):
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
        self.method = glove.GloVe(vector_size=vector_size, window=window, x_max=x_max, alpha=alpha)
        self.window, self.epochs, self.learning_rate = window, epochs, learning_rate
        if sentences is None and corpus_file is None:
            raise TypeError("GloVe needs sentences or corpus_file")
        self.corpus = self._read(sentences, corpus_file)
        counts = count_cooccurrences(self.corpus, self.method.window, cache=cache)
        self._fit(counts, replace(recipe("glove").training, epochs=epochs, learning_rate=learning_rate), callbacks)
