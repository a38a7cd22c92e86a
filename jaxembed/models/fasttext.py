"""`FastText` with gensim's names: `Word2Vec` whose words are made of their n-grams."""

import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.data.text import Corpus
from jaxembed.facebook import write_facebook
from jaxembed.methods import fasttext
from jaxembed.models.base import Sentences, arguments
from jaxembed.models.word2vec import Word2Vec
from jaxembed.tables import lanes
from jaxembed.training.method import Params
from jaxembed.vectors import SubwordVectors


class FastText(Word2Vec):
    """fastText with gensim's parameters: Skip-gram whose words are the mean of their own vector and those of their n-grams.

    min_n, max_n: how long n-grams are, in characters, of which the two ends of a word are some. max_n=0: no n-grams, which is
    Skip-gram. bucket: how many n-grams are distinguished; 0 is for none. All others are those of `Word2Vec`.
    sg: 1, the default; gensim's is 0, CBOW, which this model does not have.

    `wv` also has vectors of words that were never seen (`jaxembed.vectors.SubwordVectors`). They are made from the parts of
    words, and it is from these that `train` goes on: what is put into `wv.vectors` is searched, but not trained further.

    Raises ValueError as `Word2Vec` does, for min_n above max_n, and for sg=0.
    """

    kind = "FastText"
    wv: SubwordVectors

    def __init__(
        self,
        sentences: Sentences | Corpus | None = None,
        corpus_file: str | os.PathLike | None = None,
        sg: int = 1,
        *,
        min_n: int = 3,
        max_n: int = 6,
        bucket: int = 2_000_000,
        word_ngrams: int = 1,
        **settings: Any,
    ):
        if word_ngrams != 1:
            raise ValueError("word_ngrams must be 1: as in gensim, words have n-grams of characters alone")
        self.min_n, self.max_n, self.bucket = min_n, max_n, bucket
        super().__init__(sentences, corpus_file, sg=sg, **settings)

    @property
    def method(self) -> fasttext.FastText:
        """How the model learns, by its settings as they are now."""
        if not self.sg:
            raise ValueError(
                "FastText is Skip-gram with n-grams, and sg=0, which is CBOW, has none here: leave sg at 1, or take "
                "Word2Vec(sg=0)"
            )
        grams = {"min_n": self.min_n, "max_n": self.max_n, "bucket": self.bucket}
        return fasttext.FastText(**grams, **self._method_settings())

    @property
    def _recipe(self) -> str:
        return "fasttext"

    @classmethod
    def settings(cls) -> set[str]:
        """The names of the arguments that say what a model is."""
        return arguments(Word2Vec) | {"min_n", "max_n", "bucket"}

    def save_facebook_model(self, fname: str | os.PathLike) -> None:
        """Writes a .bin file of Facebook's fastText program, which it and gensim's `load_facebook_model` can train further.

        It holds a vector for each of the `bucket` n-grams: 800 MB for 2 million. Raises RuntimeError where there is no vocabulary
        yet, and ValueError where not all words were trained.
        """
        arguments = {"ws": self.window, "epoch": self.epochs, "minCount": self.min_count, "neg": int(self.negative),
                "loss": 1 if self._by_tree() else 2, "model": 2, "t": self.sample}  # fmt: skip
        known = self._known_vocabulary()
        write_facebook(fname, known.words, known.counts, self.wv.subwords, self._output_vectors(), arguments)

    def _keyed(self, vectors: np.ndarray, params: Params | None = None) -> SubwordVectors:
        vocabulary = self._known_vocabulary()
        if params is None:  # not trained yet: n-grams have no vectors, and their rows are found when there are some
            return SubwordVectors(vocabulary.words, vectors, vocabulary.counts)
        return SubwordVectors(
            vocabulary.words, vectors, vocabulary.counts, self.method.subwords(vocabulary.words, params)
        )

    def _start(self) -> list[Params] | None:
        """Where training starts: at the parts of words as they were learned; parts that are new start at random."""
        learned, (_, outputs) = self.wv.subwords, self._tables()
        if not learned.words:
            return None
        if (learned.min_n, learned.max_n, learned.bucket) != (self.min_n, self.max_n, self.bucket):
            raise ValueError(
                "n-grams cannot be cut otherwise once they were trained: put min_n, max_n and bucket back to "
                f"{learned.min_n}, {learned.max_n} and {learned.bucket}, or build the vocabulary anew"
            )
        table = self.method.extended(self._known_vocabulary().words, learned, jax.random.key(self.seed))
        outputs = jnp.zeros((len(self.wv), self.vector_size)) if outputs is None else outputs
        return [Params({"in": lanes(jnp.asarray(table)), "out": lanes(outputs)})]
