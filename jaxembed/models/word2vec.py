"""`Word2Vec` with gensim's names: a thin front over the engine."""

import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.data.lines import LineSentence, PathLineSentences
from jaxembed.data.text import Corpus
from jaxembed.data.vocabulary import Vocabulary
from jaxembed.methods import cbow, skipgram
from jaxembed.models.base import Model, Sentences, arguments, stamp
from jaxembed.models.gone import Gone, refuse
from jaxembed.models.trimming import Rule, extended, trimmed
from jaxembed.objectives import pairwise
from jaxembed.recipes import recipe
from jaxembed.tables import lanes
from jaxembed.training.loop import Result
from jaxembed.training.method import Params

__all__ = ["LineSentence", "PathLineSentences", "Word2Vec"]

ALPHA = 0.025  # gensim's step, of plain SGD; our recipes' step stands for it


class Word2Vec(Gone, Model):
    """Skip-gram or CBOW with gensim's parameters; experiments/README.md lists what differs.

    sentences: lists of words, or a `jaxembed.data.Corpus`; corpus_file: a file with one sentence per line, compressed or not.
    sg: 1 for Skip-gram, 0 for CBOW. hs: 1 for hierarchical softmax instead of negative sampling.
    alpha, min_alpha: step at the start and at the end, in gensim's scale (row-wise Adagrad takes 12 times as much, CBOW 24).
    max_final_vocab: at most so many words, the most frequent; max_vocab_size is the same (all words are counted first, so
    that unlike gensim's counts these are exact).
    trim_rule: `trim_rule(word, count, min_count)` gives one of `gensim.utils.RULE_DEFAULT, RULE_DISCARD, RULE_KEEP` (0, 1, 2).
    shrink_windows: nearer neighbours count more; False counts all in the window the same.
    workers, hashfxn, batch_words: accepted; they have no effect, as XLA uses every core and results do not depend on them.
    compute_loss: `get_latest_training_loss` is of all steps, and not of a share of them.
    callbacks: objects with any of `on_train_begin, on_epoch_begin, on_epoch_end, on_train_end`, each given the model.
    objective: any pairwise objective by name, for which `sg` and `hs` leave it open; None chooses by `hs`.
    cache: keep what is made of `corpus_file` for the next time (see `jaxembed.data.cache`); False keeps nothing.

    Settings are attributes of the same names, which may be changed before `train` is called again.

    Raises ValueError for an empty corpus, one whose words all fall under `min_count`, one without two words in a sentence,
    a word that could not be saved, or a setting out of range.
    """

    kind = "Word2Vec"

    def __init__(
        self,
        sentences: Sentences | Corpus | None = None,
        corpus_file: str | os.PathLike | None = None,
        vector_size: int = 100,
        alpha: float = 0.025,
        window: int = 5,
        min_count: int = 5,
        max_vocab_size: int | None = None,
        sample: float = 1e-3,
        seed: int = 1,
        workers: int = 3,
        min_alpha: float = 0.0001,
        sg: int = 0,
        hs: int = 0,
        negative: int = 5,
        ns_exponent: float = 0.75,
        cbow_mean: int = 1,
        hashfxn: Callable[[Any], int] = hash,
        epochs: int = 5,
        null_word: int = 0,
        trim_rule: Rule | None = None,
        sorted_vocab: int = 1,
        batch_words: int = 10_000,
        compute_loss: bool = False,
        callbacks: Sequence[Any] = (),
        comment: str | None = None,
        max_final_vocab: int | None = None,
        shrink_windows: bool = True,
        objective: str | None = None,
        cache: bool = True,
        **others: Any,
    ):
        refuse(others, self.settings())
        if null_word or not sorted_vocab:
            raise ValueError(
                "words are always sorted by frequency, with none for gaps: leave null_word and sorted_vocab out"
            )
        super().__init__(min_count, max_final_vocab, seed, cache)
        self.vector_size, self.window, self.shrink_windows = vector_size, window, shrink_windows
        self.alpha, self.min_alpha, self.epochs = alpha, min_alpha, epochs
        self.sg, self.hs, self.cbow_mean, self.objective = sg, hs, cbow_mean, objective
        self.negative, self.ns_exponent, self.sample = negative, ns_exponent, sample
        self.max_vocab_size, self.comment = max_vocab_size, comment
        self.workers, self.batch_words = workers, batch_words
        self.callbacks, self.compute_loss = callbacks, compute_loss
        self._outputs: jax.Array | None = None
        self._training(None, None, None)  # settings are checked before anything is read
        if sentences is not None or corpus_file is not None:
            self.build_vocab(sentences, corpus_file, trim_rule=trim_rule)
            self.train()

    def __repr__(self) -> str:
        words = len(self.vocabulary or ())
        return f"{type(self).__name__}<vocab={words}, vector_size={self.vector_size}, alpha={self.alpha}>"

    @property
    def method(self) -> skipgram.SkipGram | cbow.CBOW:
        """How the model learns, by its settings as they are now."""
        settings = self._method_settings()
        return skipgram.SkipGram(**settings) if self.sg else cbow.CBOW(cbow_mean=bool(self.cbow_mean), **settings)

    def _method_settings(self) -> dict[str, Any]:
        chosen = self.objective or ("hierarchical_softmax" if self.hs else "negative_sampling")
        return {
            "vector_size": self.vector_size,
            "window": self.window,
            "shrink_windows": bool(self.shrink_windows),
            "negative": self.negative if chosen != "hierarchical_softmax" else max(self.negative, 1),
            "ns_exponent": self.ns_exponent,
            "sample": self.sample,
            "objective": pairwise(chosen),
        }

    @property
    def _recipe(self) -> str:
        """The recipe whose training this is."""
        return "skipgram" if isinstance(self.method, skipgram.SkipGram) else "cbow"

    @classmethod
    def settings(cls) -> set[str]:
        """The names of the arguments that say what a model is."""
        return arguments(Word2Vec)

    @property
    def layer1_size(self) -> int:
        """As `vector_size`."""
        return self.vector_size

    # -- the vocabulary

    def build_vocab(
        self,
        corpus_iterable: Any = None,
        corpus_file: str | os.PathLike | None = None,
        update: bool = False,
        progress_per: int = 10_000,
        keep_raw_vocab: bool = False,
        trim_rule: Rule | None = None,
    ) -> None:
        """Reads the corpus, which `train` then trains on, and forgets what was learned before.

        update: keep the words there are, and what was learned of them; words of this corpus that pass `min_count` (or
        `trim_rule`) join them. progress_per, keep_raw_vocab: accepted, without effect.
        """
        source = self._source(corpus_iterable, corpus_file)
        most = self._most_words()
        if update:
            known, whole = self._known_vocabulary(), self._read(source, min_count=1)
            self._extend(extended(known, whole.vocabulary, trimmed(whole.vocabulary, trim_rule, self.min_count, most)))
            self.corpus = whole.with_vocabulary(self._known_vocabulary())
            self.corpus_count, self.corpus_total_words = whole.documents, whole.raw_words
        elif trim_rule is not None:
            whole = self._read(source, min_count=1)
            self._begin(whole.with_vocabulary(trimmed(whole.vocabulary, trim_rule, self.min_count, most)))
        else:
            self._begin(self._read(source, min_count=self.min_count, max_final_vocab=most))
        self._read_file = stamp(corpus_file)

    def build_vocab_from_freq(
        self,
        word_freq: Mapping[str, int],
        keep_raw_vocab: bool = False,
        corpus_count: int | None = None,
        trim_rule: Rule | None = None,
        update: bool = False,
    ) -> None:
        """Makes the vocabulary of words and how often they occur: the text is given to `train` then.

        update, trim_rule: as in `build_vocab`. corpus_count: how many sentences the text has. keep_raw_vocab: accepted.
        """
        whole = Vocabulary.build(list(word_freq), np.array(list(word_freq.values()), np.int64), 1)
        kept = trimmed(whole, trim_rule, self.min_count, self._most_words())
        if update:
            self._extend(extended(self._known_vocabulary(), whole, kept))
        else:
            self._adopt(kept)
        self.corpus, self._read_file = None, None
        self.corpus_count, self.corpus_total_words = corpus_count or 0, int(whole.counts.sum())

    def _most_words(self) -> int | None:
        limits = [limit for limit in (self.max_final_vocab, self.max_vocab_size) if limit is not None]
        return min(limits, default=None)

    def _adopt(self, vocabulary: Vocabulary) -> None:
        super()._adopt(vocabulary)
        self._outputs = None

    def _extend(self, vocabulary: Vocabulary) -> None:
        """Takes up a vocabulary that begins with the words there are."""
        vocabulary.check_savable()
        vectors, outputs = self._tables()
        new = vocabulary.words[len(vectors) :]
        self.vocabulary = vocabulary
        self.wv.add_vectors(new, np.zeros((len(new), self.vector_size), np.float32))
        self.wv.counts = vocabulary.counts
        self._outputs = None if outputs is None else jnp.pad(outputs, ((0, len(new)), (0, 0)))

    # -- training

    def train(
        self,
        corpus_iterable: Any = None,
        corpus_file: str | os.PathLike | None = None,
        total_examples: int | None = None,
        total_words: int | None = None,
        epochs: int | None = None,
        start_alpha: float | None = None,
        end_alpha: float | None = None,
        word_count: int = 0,
        queue_factor: int = 2,
        report_delay: float = 1.0,
        compute_loss: bool = False,
        callbacks: Sequence[Any] | None = None,
    ) -> tuple[int, int]:
        """Trains on the text given, going on from the vectors there are: (words trained on, words read).

        Words that the vocabulary lacks are left out. Without a text, that of `build_vocab` is trained on. Only an iterable
        that can be read again may be given to both, as an iterator is empty the second time.

        epochs, start_alpha, end_alpha, callbacks: those of the model unless given. total_examples, total_words,
        queue_factor, report_delay: accepted; the text is counted as it is read, and no progress is logged.
        Raises ValueError for a text without any word of the vocabulary.
        """
        if word_count:
            raise ValueError(
                "word_count must be 0: each call goes through all of its steps; give start_alpha to go on lower"
            )
        self._known_vocabulary()
        training = self._training(epochs, start_alpha, end_alpha)
        corpus = self._text(corpus_iterable, corpus_file)
        before, self.compute_loss = self.compute_loss, self.compute_loss or compute_loss
        try:
            self._fit(corpus, training, self.callbacks if callbacks is None else callbacks, self._start())
        finally:
            self.compute_loss = before
        return len(corpus.tokens) * training.epochs, corpus.raw_words * training.epochs

    def _training(self, epochs: int | None, start_alpha: float | None, end_alpha: float | None) -> Any:
        """How a call of `train` trains, checked."""
        epochs = self.epochs if epochs is None else epochs
        start = self.alpha if start_alpha is None else start_alpha
        end = self.min_alpha if end_alpha is None else end_alpha
        self._check(alpha=start, min_alpha=end)
        usual = recipe(self._recipe).training
        rate = start / ALPHA * usual.learning_rate
        return replace(usual, epochs=epochs, learning_rate=rate, final_rate=end / start)

    def _tables(self) -> tuple[np.ndarray, jax.Array | None]:
        """The vectors as they stand, and those of the other side; ValueError where they are not those of the vocabulary."""
        return self._vectors("to add words, call build_vocab(update=True)"), self._outputs

    def _start(self) -> list[Params] | None:
        """Where training starts: at `wv` and the outputs, but rows of zeros, which nobody has set yet, at random."""
        vectors, outputs = self._tables()
        if not vectors.any():
            return None
        unset = np.logical_not(vectors.any(axis=1))
        if unset.any():
            fresh = self.method.init(jax.random.key(self.seed), {"keep": vectors[:, 0]}).tables["in"]
            vectors = np.where(unset[:, None], np.asarray(fresh)[:, : self.vector_size], vectors)
        table = lanes(jnp.asarray(vectors))
        return [Params({"in": table, "out": jnp.zeros_like(table) if outputs is None else outputs})]

    def _keep(self, result: Result, start: Sequence[Params] | None) -> None:
        self._warn_unless_learned(result, start)
        self._outputs = result.params[0].tables["out"]

    # -- what was learned

    @property
    def syn1neg(self) -> np.ndarray:
        """The vectors of words as neighbours (in CBOW as centres), float32 [V, d], read-only. Of hierarchical softmax none."""
        if self._by_tree():
            raise AttributeError("hierarchical softmax has vectors of the tree's nodes, syn1, and no syn1neg")
        return self._output_vectors()

    @property
    def syn1(self) -> np.ndarray:
        """The vectors of the nodes of hierarchical softmax's tree, float32 [V, d] (the last row is not used), read-only."""
        if not self._by_tree():
            raise AttributeError(
                "syn1 is of hierarchical softmax (hs=1): here words have vectors as neighbours, syn1neg"
            )
        return self._output_vectors()

    def _by_tree(self) -> bool:
        return self.method.objective.negatives == "path"

    def _output_vectors(self) -> np.ndarray:
        shape = len(self._known_vocabulary()), self.vector_size
        found = (
            np.zeros(shape, np.float32) if self._outputs is None else np.asarray(self._outputs)[:, : self.vector_size]
        )
        found.setflags(write=False)
        return found

    def predict_output_word(
        self, context_words_list: Sequence[str | int], topn: int = 10
    ) -> list[tuple[str, float]] | None:
        """The `topn` words that are likeliest in the middle of some words, with their probabilities, as CBOW has it.

        None, with a warning, where none of the words is known. Raises RuntimeError with hierarchical softmax.
        """
        if self._by_tree():
            raise RuntimeError("predict_output_word needs negative sampling: train with hs=0 and negative above 0")
        rows = [self.wv.get_index(word) for word in context_words_list if word in self.wv]
        if not rows:
            warnings.warn(f"none of {list(context_words_list)[:5]!r} is in the vocabulary", stacklevel=2)
            return None
        context = self.wv.vectors[rows].mean(0) if self.cbow_mean else self.wv.vectors[rows].sum(0)
        scores = self.syn1neg @ context
        chances = np.exp(scores - scores.max())
        chances /= chances.sum()
        return [(self.wv.index_to_key[row], float(chances[row])) for row in np.argsort(-chances, kind="stable")[:topn]]

    def estimate_memory(self, vocab_size: int | None = None, report: Mapping[str, int] | None = None) -> dict[str, int]:
        """Bytes that a model of `vocab_size` words holds, by its parts, added to `report`; training takes 2 to 4 times that."""
        words = vocab_size or len(self._known_vocabulary())
        table = words * self.vector_size * 4
        sizes = {
            **(report or {}),
            "vocab": words * 200,
            "vectors": table,
            "syn1" if self._by_tree() else "syn1neg": table,
        }
        return {**sizes, "total": sum(sizes.values())}

    # -- files

    def _tables_to_save(self) -> dict[str, np.ndarray]:
        _, outputs = self._tables()
        return {} if outputs is None else {"outputs": self._output_vectors()}

    def _restore(self, tables: Mapping[str, np.ndarray]) -> None:
        self._outputs = lanes(jnp.asarray(tables["outputs"])) if "outputs" in tables else None
