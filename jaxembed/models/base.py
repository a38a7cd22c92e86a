"""What `Word2Vec`, `GloVe` and `Doc2Vec` share: how text is read, gensim's hooks around training, and models in files."""

import inspect
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from jaxembed import __version__
from jaxembed.data.text import Corpus, read_corpus
from jaxembed.data.vocabulary import Vocabulary
from jaxembed.models.saved import Saved, read_model, write_model
from jaxembed.ranges import Range
from jaxembed.training.loop import Result, fit
from jaxembed.training.method import Params
from jaxembed.training.settings import Training
from jaxembed.vectors import KeyedVectors

Sentences = Iterable[Sequence[str]]

STATE = ("corpus_count", "corpus_total_words", "train_count")
#: Arguments of models that are no settings: what is trained on, and what has no effect.
_NO_SETTINGS = {
    "self", "sentences", "corpus_file", "trim_rule", "callbacks", "hashfxn", "null_word", "sorted_vocab", "others",
}  # fmt: skip


_WHOLE = {
    "min_count": 0,
    "max_final_vocab": 1,
    "max_vocab_size": 1,
    "workers": 1,
    "negative": 0,
}  # and the least of each
_SWITCHES = ("sg", "hs", "cbow_mean", "dm", "dm_mean", "dm_concat", "dbow_words")


class Model:
    """A vocabulary, vectors, and the rules for reading text.

    corpus_count, corpus_total_words: sentences and words of the text that the vocabulary is of, rare words included.
    train_count: calls of train() since the vocabulary was built: each draws anew.
    """

    kind: ClassVar[str]  # how files call the class
    state: ClassVar[tuple[str, ...]] = STATE  # attributes that a file keeps, beside the settings
    wv: KeyedVectors
    vector_size: int
    vocabulary: Vocabulary | None = None
    corpus: Corpus | None = None
    result: Result | None = None
    compute_loss = False
    corpus_count = corpus_total_words = train_count = 0
    _read_file: tuple[str, int, int] | None = None

    def __init__(self, min_count: int, max_final_vocab: int | None, seed: int, cache: bool):
        self.min_count, self.max_final_vocab, self.seed, self.cache = min_count, max_final_vocab, seed, cache
        self.losses: list[float] = []

    @property
    def method(self) -> Any:
        """How the model learns, by its settings as they are now."""
        raise NotImplementedError

    @classmethod
    def settings(cls) -> set[str]:
        """The names of the arguments that say what a model is."""
        raise NotImplementedError

    def _check(self, **rates: Any) -> None:
        """Raises ValueError for the first argument out of its range, under gensim's name; rates: the step at start and end."""
        of = lambda name: getattr(self, name, None)
        for name, least in _WHOLE.items():
            if of(name) is not None:
                Range(least=least).check(name, of(name), whole=True)
        for name in _SWITCHES:
            if of(name) not in (None, 0, 1):
                raise ValueError(f"{name} must be 0 or 1, not {of(name)!r}")
        for name, rate in rates.items():
            (Range(least=0) if name == "min_alpha" else Range(above=0)).check(name, rate)

    @staticmethod
    def _warn_unless_learned(result: Result, start: Sequence[Params] | None) -> None:
        """Warns where training has changed nothing, as with examples of a few lines; gensim goes on, too."""
        try:
            result.method.check_learned(result.params[0], start[0] if start else None)
        except ValueError as error:
            warnings.warn(str(error), stacklevel=5)

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

    def _text(self, sentences: Any, corpus_file: str | os.PathLike | None) -> Corpus:
        """The text to train on, in the token ids of the vocabulary."""
        if sentences is None and corpus_file is None:
            if self.corpus is None:
                raise ValueError(
                    "there is no text to train on: a model that was loaded, or whose vocabulary was made of frequencies, has "
                    "none. Call train(sentences)"
                )
            return self.corpus
        source = self._source(sentences, corpus_file)
        if self.corpus is not None and (source is self.corpus or stamp(corpus_file) == (self._read_file or ())):
            return self.corpus  # read already, and not changed since
        return self._read(source, min_count=1).with_vocabulary(self._known_vocabulary())

    def _begin(self, corpus: Corpus) -> None:
        """Forgets what was learned, for the vocabulary of a corpus."""
        self._adopt(corpus.vocabulary)
        self.corpus, self.corpus_count, self.corpus_total_words = corpus, corpus.documents, corpus.raw_words

    def _adopt(self, vocabulary: Vocabulary) -> None:
        vocabulary.check_savable()
        self.vocabulary, self.corpus, self.result, self.train_count = vocabulary, None, None, 0
        self.wv = self._keyed(np.zeros((len(vocabulary), self.vector_size), np.float32))  # not trained yet

    def _vectors(self, hint: str) -> np.ndarray:
        """The vectors as they stand; ValueError, with a hint, where they are not those of the vocabulary."""
        vocabulary, vectors = self._known_vocabulary(), self.wv.vectors
        if self.wv.index_to_key != vocabulary.words or vectors.shape[1] != self.vector_size:
            raise ValueError(
                f"model.wv holds {len(self.wv):,} vectors of dimension {vectors.shape[1]}, and the model is of "
                f"{len(vocabulary):,} words and dimension {self.vector_size}: {hint}"
            )
        return vectors

    def _keyed(self, vectors: np.ndarray, params: Params | None = None) -> KeyedVectors:
        """What `wv` is to be: the vectors by their words, made from `params`, which are None before training."""
        vocabulary = self._known_vocabulary()
        return KeyedVectors(vocabulary.words, vectors, vocabulary.counts)

    def _put(self, vectors: np.ndarray, params: Params) -> None:
        """Gives `wv` other vectors; attributes that were set of its keys stay."""
        attributes = self.wv.expandos
        self.wv = self._keyed(vectors, params)
        self.wv.expandos = attributes | self.wv.expandos

    def _fit(
        self, data: Any, training: Training, callbacks: Sequence[Any], start: Sequence[Params] | None = None
    ) -> Result:
        """Trains on `data`, from `start` or anew: `result`, `losses` and `wv`; callbacks are called on the way."""
        # Whoever reads the loss means all of it; where nobody does, a share of the steps is enough to see it fall.
        training = replace(training, loss_every=1) if callbacks or self.compute_loss else training

        def tell(name: str) -> None:
            for callback in callbacks:
                if hook := getattr(callback, name, None):
                    hook(self)

        def on_epoch(epoch, progress, vectors):
            if callbacks:
                self._put(np.asarray(vectors()[0]), vectors.params()[0])
            self.losses.append(float(progress.loss[0]))
            tell("on_epoch_end")
            if epoch + 1 < training.epochs:
                tell("on_epoch_begin")

        tell("on_train_begin")
        tell("on_epoch_begin")
        seeds = (_seed_of_call(self.seed, self.train_count),)
        self.result = fit(self.method, data, training, seeds=seeds, init=start, on_epoch=on_epoch)
        self.train_count += 1
        self._put(self.result.vectors[0], self.result.params[0])
        self._keep(self.result, start)
        tell("on_train_end")
        return self.result

    def _keep(self, result: Result, start: Sequence[Params] | None) -> None:
        """Keeps what else a training gave."""
        raise NotImplementedError

    # -- files

    def save(self, fname: str | os.PathLike) -> None:
        """Writes the model to one safetensors file, from which `load` can go on; `KeyedVectors.load` reads its vectors.

        The text and the callbacks are left out. Raises RuntimeError where there is no vocabulary yet.
        """
        tables = self._tables_to_save()
        state = {name: vars(self).get(name, 0) for name in self.state}
        settings = {name: value for name, value in vars(self).items() if name in self.settings()}
        about = {"version": __version__, "settings": settings, **state, "losses": self.losses}
        write_model(fname, self.kind, Saved(self.wv, tables, about))

    @classmethod
    def load(cls, fname: str | os.PathLike, mmap: str | None = None) -> Self:
        """Reads what `save` wrote; `train(sentences)` goes on as if the model had never been saved.

        mmap: accepted; the vectors are read into memory, as training changes them. Raises FileNotFoundError, and ValueError
        for any other file.
        """
        saved = read_model(fname, cls.kind)
        try:
            model = cls(**saved.about["settings"])
        except (TypeError, ValueError) as error:
            version = saved.about["version"]
            raise ValueError(
                f"{fname}: this version does not know its settings ({error}): use jaxembed {version}"
            ) from error
        if saved.wv.counts is None:
            raise ValueError(f"{fname}: the file has no counts of the words; save the model again")
        model._adopt(Vocabulary(saved.wv.index_to_key, saved.wv.counts))
        model.wv, model.losses = saved.wv, list(saved.about["losses"])
        for name in cls.state:
            setattr(model, name, saved.about[name])
        model._restore(saved.tables)
        return model

    def _tables_to_save(self) -> dict[str, np.ndarray]:
        """The tables that training goes on from, by name, none if the model is not trained; checks `wv` as `train` does."""
        raise NotImplementedError

    def _restore(self, tables: Mapping[str, np.ndarray]) -> None:
        """Takes what `_tables_to_save` gave."""
        raise NotImplementedError


def arguments(model: type) -> set[str]:
    """The arguments of a class of models that say what a model is."""
    return set(inspect.signature(model.__init__).parameters) - _NO_SETTINGS


def stamp(file: str | os.PathLike | None) -> tuple[str, int, int] | None:
    """By which one sees whether a file is the one that was read, and unchanged; None for what is no file."""
    if file is None or not os.path.isfile(file):
        return None
    found = os.stat(file)
    return os.path.realpath(file), found.st_size, found.st_mtime_ns


def _seed_of_call(seed: int, call: int) -> int:
    """`seed` itself for the first call of train(), another for each call after it."""
    return seed if call == 0 else int(np.random.SeedSequence([seed, call]).generate_state(1)[0] >> 1)
