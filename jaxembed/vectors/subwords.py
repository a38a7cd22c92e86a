"""Vectors of fastText: words that are not there have vectors, too, by their n-grams (Bojanowski et al. 2017)."""

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxembed.facebook import read_facebook, write_facebook
from jaxembed.naming import UnknownKeyError
from jaxembed.subwords import Subwords
from jaxembed.vectors.keyed import KeyedVectors
from jaxembed.vectors.table import Key, unit


class UnseenWordError(UnknownKeyError):
    """A word that has no vector, since none of its n-grams was trained."""

    def __str__(self) -> str:
        return f"{super().__str__()}, and none of its n-grams occurs in one of them"


class SubwordVectors(KeyedVectors):
    """`KeyedVectors` of fastText. A word that is none of the keys has the mean of its n-grams' vectors, as gensim has it.

    `word in vectors` says whether there is a vector, and `word in vectors.key_to_index` whether it is a key; searches find keys.
    Raises KeyError for a word none of whose n-grams occurs in one of the words that were trained.
    """

    def __init__(
        self, keys: Sequence[str], vectors: ArrayLike, counts: ArrayLike | None = None, subwords: Subwords | None = None
    ):
        super().__init__(keys, vectors, counts)
        self.subwords = subwords or Subwords(1, 0, 0, 0, np.zeros((0, self.vector_size), np.float32), *_EMPTY)
        if self.subwords.table.shape[1] != self.vector_size:
            raise ValueError(
                f"vectors of words have {self.vector_size} columns, and those of their parts {self.subwords.table.shape[1]}"
            )

    @property
    def min_n(self) -> int:
        """Number of characters of the shortest n-grams."""
        return self.subwords.min_n

    @property
    def max_n(self) -> int:
        """Number of characters of the longest n-grams."""
        return self.subwords.max_n

    @property
    def bucket(self) -> int:
        """Number of n-grams that are distinguished."""
        return self.subwords.bucket

    @property
    def vectors_vocab(self) -> np.ndarray:
        """The own vectors of words that were trained, without those of their n-grams, float32 [n, d], read-only."""
        return _read_only(self.subwords.table[: self.subwords.words])

    @property
    def vectors_ngrams(self) -> np.ndarray:
        """The vectors of all n-grams, float32 [bucket, d], read-only; made anew each time, as most of it is 0."""
        found = np.zeros((self.bucket, self.vector_size), np.float32)
        found[self.subwords.grams] = self.subwords.table[self.subwords.rows]
        return _read_only(found)

    def has_index_for(self, key: object) -> bool:
        """Whether there is a vector of the key: it is there, or some of its n-grams were trained."""
        return super().has_index_for(key) or (isinstance(key, str) and len(self.subwords.known(key)[0]) > 0)

    def get_vector(self, key: Key, norm: bool = False) -> np.ndarray:
        """The vector of a key, or of a word by its n-grams [d], read-only; of length 1 with `norm`."""
        if not isinstance(key, str) or key in self.key_to_index:
            return super().get_vector(key, norm)
        rows, count = self.subwords.known(key)
        if not len(rows):
            raise UnseenWordError(key, self.index_to_key)
        vector = self.subwords.table[rows].sum(0) / np.float32(count)
        return _read_only(unit(vector) if norm else vector)

    def __getitem__(self, key: Key | Iterable[Key]) -> np.ndarray:
        """The vector of a word [d], or of several [k, d]."""
        if isinstance(key, str | int | np.integer):
            return self.get_vector(key)
        return np.array([self.get_vector(one) for one in key], np.float32).reshape(-1, self.vector_size)

    def vectors_for_all(
        self, keys: Iterable[str], allow_inference: bool = True, copy_vecattrs: bool = False
    ) -> KeyedVectors:
        """A plain table of `keys`, each once and in the order given; with `allow_inference` also of words that are not there."""
        if not allow_inference:
            return super().vectors_for_all(keys, allow_inference, copy_vecattrs)
        known = [key for key in dict.fromkeys(keys) if key in self]
        found = KeyedVectors(known, self[known])
        for name in self.expandos if copy_vecattrs else ():
            for key in known:
                if key in self.key_to_index:
                    found.set_vecattr(key, name, self.get_vecattr(key, name))
        return found

    def save_facebook_format(self, fname: str | os.PathLike) -> None:
        """Writes a .bin file of Facebook's fastText program, which gensim's `load_facebook_vectors` opens.

        It holds a vector for each of the `bucket` n-grams: 800 MB for 2 million. Raises ValueError where keys have been added.
        """
        counts = np.ones(len(self), np.int64) if self.counts is None else self.counts
        write_facebook(fname, self.index_to_key, counts, self.subwords)

    @classmethod
    def load_facebook_format(cls, fname: str | os.PathLike) -> "SubwordVectors":
        """Reads a .bin file of Facebook's fastText program, of gensim, or of `save_facebook_format`; also compressed.

        Raises ValueError for another file, one that is cut short, and models that were quantised or trained to classify.
        """
        found = read_facebook(fname)
        return cls(found.words, found.vectors, found.counts, found.parts)

    def other_tensors(self) -> dict[str, np.ndarray]:
        """The parts of words."""
        one = self.subwords
        return {
            "subwords": np.array([one.min_n, one.max_n, one.bucket, one.words], np.int64),
            "parts": np.ascontiguousarray(one.table, np.float32),
            "grams": np.ascontiguousarray(one.grams, np.int64),
            "gram_rows": np.ascontiguousarray(one.rows, np.int32),
        }


TENSORS = ("subwords", "parts", "grams", "gram_rows")
_EMPTY = np.zeros(0, np.int64), np.zeros(0, np.int32)


def read_subwords(path: str | os.PathLike) -> Subwords | None:
    """The parts of words that `SubwordVectors.save` wrote; None for a file without them."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        if "subwords" not in file.keys():  # noqa: SIM118 (it is no mapping)
            return None
        numbers, table, grams, rows = (file.get_tensor(name) for name in TENSORS)
    min_n, max_n, bucket, words = map(int, numbers)
    return Subwords(min_n, max_n, bucket, words, table, grams, rows)


def _read_only(found: np.ndarray) -> np.ndarray:
    view: Any = found.view()
    view.setflags(write=False)
    return view
