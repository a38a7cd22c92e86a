"""What `Word2Vec` and `GloVe` share: how text is read, and gensim's hooks around training."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxembed.data.text import Corpus, read_corpus
from jaxembed.data.vocabulary import Vocabulary
from jaxembed.training.loop import Result, fit
from jaxembed.training.method import Params
from jaxembed.training.settings import Training
from jaxembed.vectors import KeyedVectors

Sentences = Iterable[Sequence[str]]


class Model:
    """A vocabulary, vectors, and the rules for reading text.

    corpus_count, corpus_total_words: sentences and words of the text that the vocabulary is of, rare words included.
    train_count: calls of train() since the vocabulary was built: each draws anew.
    """

    wv: KeyedVectors
    vocabulary: Vocabulary | None = None
    corpus: Corpus | None = None
    result: Result | None = None
    compute_loss = False
    corpus_count = corpus_total_words = train_count = 0

    def __init__(self, min_count: int, max_final_vocab: int | None, seed: int, cache: bool):
        self.min_count, self.max_final_vocab, self.seed, self.cache = min_count, max_final_vocab, seed, cache
        self.losses: list[float] = []

    @property
    def method(self) -> Any:
        """How the model learns, by its settings as they are now."""
        raise NotImplementedError

    def get_latest_training_loss(self) -> float:
        """Mean loss of the last epoch (gensim gives a sum, in float32): of all steps with `compute_loss` or callbacks."""
        if not self.losses:
            raise RuntimeError("the model is not trained yet: call train() first")
        return self.losses[-1]

    def _known_vocabulary(self) -> Vocabulary:
        if self.vocabulary is None:
            raise RuntimeError("there is no vocabulary yet: call build_vocab(sentences) first")
        return self.vocabulary

    def _source(self, sentences: Any, corpus_file: str | os.PathLike | None) -> Any:
        if (sentences is None) == (corpus_file is None):
            raise TypeError("give either sentences or corpus_file")
        source = Path(corpus_file) if corpus_file is not None else sentences
        if isinstance(source, str):
            raise TypeError(
                f"sentences must be lists of words, not a string; to read a file, give corpus_file={source!r}"
            )
        return source

    def _read(self, source: Any, **settings: Any) -> Corpus:
        return source if isinstance(source, Corpus) else read_corpus(source, cache=self.cache, **settings)

    def _begin(self, corpus: Corpus) -> None:
        """Forgets what was learned, for the vocabulary of a corpus."""
        self._adopt(corpus.vocabulary)
        self.corpus, self.corpus_count, self.corpus_total_words = corpus, corpus.documents, corpus.raw_words

    def _adopt(self, vocabulary: Vocabulary) -> None:
        vocabulary.check_savable()
        self.vocabulary, self.corpus, self.result, self.train_count = vocabulary, None, None, 0

    def _keyed(self, vectors: np.ndarray) -> KeyedVectors:
        vocabulary = self._known_vocabulary()
        return KeyedVectors(vocabulary.words, vectors, vocabulary.counts)

    def _fit(
        self, data: Any, training: Training, callbacks: Sequence[Any], start: Sequence[Params] | None = None
    ) -> Result:
        """Trains on `data`, from `start` or anew: `result`, `losses` and `wv`; callbacks are called on the way."""
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
        seeds = (_seed_of_call(self.seed, self.train_count),)
        self.result = fit(self.method, data, training, seeds=seeds, init=start, on_epoch=on_epoch)
        self.train_count += 1
        self.wv = self._keyed(self.result.vectors[0])
        self._keep(self.result, start)
        tell("on_train_end")
        return self.result

    def _keep(self, result: Result, start: Sequence[Params] | None) -> None:
        """Keeps what else a training gave."""


def _seed_of_call(seed: int, call: int) -> int:
    """`seed` itself for the first call of train(), another for each call after it."""
    return seed if call == 0 else int(np.random.SeedSequence([seed, call]).generate_state(1)[0] >> 1)
