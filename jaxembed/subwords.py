"""The n-grams of words, by the rule of fastText and gensim, and the rows of a table that words are made of."""

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np

_AT_ONCE = 100_000  # words that are cut at a time
_BASIS, _PRIME = 2166136261, 16777619  # of FNV-1a with 32 bits


def subwords(words: Sequence[str], min_n: int, max_n: int, bucket: int) -> tuple[np.ndarray, np.ndarray]:
    """The n-grams of `min_n` to `max_n` characters of each word between `<` and `>`, as numbers below `bucket`.

    Returns `(offsets [words + 1], ids)`, both int64: the n-grams of word i are `ids[offsets[i] : offsets[i + 1]]`, in the order
    of their first characters and then of their lengths, each as often as it occurs. An id is the FNV-1a hash of the UTF-8 bytes,
    which are taken as signed, modulo `bucket`; neither `<` nor `>` alone is an n-gram. With `bucket` 0, or `max_n` below
    `min_n`, words have none. Source: Bojanowski et al. 2017, and fastText's `Dictionary::computeSubwords`.
    """
    if bucket < 1 or max_n < max(min_n, 1):
        return np.zeros(len(words) + 1, np.int64), np.zeros(0, np.int64)
    parts = [_cut(words[i : i + _AT_ONCE], min_n, max_n, bucket) for i in range(0, len(words), _AT_ONCE)]
    counts, ids = ([part[which] for part in parts] for which in (0, 1))
    whole = lambda arrays: np.concatenate([np.zeros(0, np.int64), *arrays])
    return np.concatenate([[0], np.cumsum(whole(counts))]).astype(np.int64), whole(ids)


class WordParts(NamedTuple):
    """The rows that words are made of: each word its own, which comes first and has its number, and those of its n-grams.

    offsets [words + 1], rows, weights: word i is the sum of `weights * table[rows]` over its part of both, which is the mean of
    its own vector and those of its n-grams. grams, gram_rows: which n-grams occur in words, in ascending order, and the row of
    each. number: of rows.
    """

    offsets: np.ndarray
    rows: np.ndarray
    weights: np.ndarray
    grams: np.ndarray
    gram_rows: np.ndarray
    number: int


def word_parts(words: Sequence[str], min_n: int, max_n: int, bucket: int) -> WordParts:
    """Gives rows to `words` and to those n-grams that occur in them; an n-gram of no word would never be trained.

    Vectors that are always met together, which are parts of the same words and of each as often, move by the same steps. They
    share one row, which weighs as much as all of them, and the result is what it would be with rows of their own that start at
    the same place. Of the rows of a vocabulary of 60,000 words half are left.
    """
    n = len(words)
    offsets, ids = subwords(words, min_n, max_n, bucket)
    counts = np.diff(offsets)
    word = np.repeat(np.arange(n), counts)
    grams, place = np.unique(ids, return_inverse=True)
    # Sums of random numbers of 64 bits tell sets of words apart.
    marks = np.random.default_rng(0).integers(1, 1 << 63, n, dtype=np.uint64)
    met = np.zeros(len(grams), np.uint64)
    np.add.at(met, place, marks[word])
    _, first, kind = np.unique(np.concatenate([marks, met]), return_index=True, return_inverse=True)
    row = np.argsort(np.argsort(first))[kind]  # in the order in which they come: the words' own are the first
    speaks = first[kind[n:]] == n + np.arange(len(grams))  # the first of those that share a row stands for them
    shown = speaks[place]
    of, rows = np.concatenate([np.arange(n), word[shown]]), np.concatenate([np.arange(n), row[n:][place[shown]]])
    order = np.argsort(of, kind="stable")
    of, rows = of[order], rows[order]
    weights = np.bincount(row)[rows] / (1 + counts[of])
    ends = np.cumsum(np.bincount(of, minlength=n))
    return WordParts(
        np.concatenate([[0], ends]).astype(np.int64), rows.astype(np.int32), weights.astype(np.float32), grams,
        row[n:].astype(np.int32), len(first),
    )  # fmt: skip


class Subwords(NamedTuple):
    """The parts of words: how n-grams are cut and numbered, and what was learned of them.

    min_n, max_n, bucket: as in `subwords`. table [R, d]: the vectors of all parts; the first `words` rows are the words' own.
    grams [m], rows [m]: the numbers of the n-grams that occur in words, in ascending order, and the row of each; some share
    one. All other n-grams were never trained, and their vectors are 0.
    """

    min_n: int
    max_n: int
    bucket: int
    words: int
    table: np.ndarray
    grams: np.ndarray
    rows: np.ndarray

    def known(self, word: str) -> tuple[np.ndarray, int]:
        """The rows of those n-grams of a word that were trained, and how many n-grams it has in all."""
        _, ids = subwords([word], self.min_n, self.max_n, self.bucket)
        if not len(self.grams):
            return np.zeros(0, int), len(ids)
        place = np.minimum(np.searchsorted(self.grams, ids), len(self.grams) - 1)
        return self.rows[place[self.grams[place] == ids]], len(ids)


def _cut(words: Sequence[str], min_n: int, max_n: int, bucket: int) -> tuple[np.ndarray, np.ndarray]:
    """How many n-grams each word has, and their ids."""
    letters = np.array([len(word) + 2 for word in words])
    last = np.repeat(np.cumsum(letters), letters)  # of each character, the first that is no longer of its word
    text = np.frombuffer("".join(chain.from_iterable(("<", word, ">") for word in words)).encode(), np.int8)
    begins = np.flatnonzero(text.view(np.uint8) & 0xC0 != 0x80)  # of each character, its first byte
    ends = np.append(begins[1:], len(text))
    # All n-grams grow by a character at a time, whatever word they are of; each character is one to four bytes long.
    signed, first = text.astype(np.int32).view(np.uint32), np.arange(len(begins))
    hashes, found, there = np.full(len(begins), _BASIS, np.uint32), [], []
    for n in range(1, max_n + 1):
        inside = first + n <= last
        here = np.minimum(first + n - 1, len(begins) - 1)
        size = np.where(inside, (ends - begins)[here], 0)
        for byte in range(size.max(initial=0)):
            more = size > byte
            hashes[more] = (hashes[more] ^ signed[begins[here[more]] + byte]) * np.uint32(_PRIME)
        if n >= min_n:
            border = (first == last - np.repeat(letters, letters)) | (first + n == last)
            found.append(hashes % np.uint32(bucket))
            there.append(inside & ~border if n == 1 else inside)
    mask = np.stack(there, 1)
    counts = np.add.reduceat(mask.sum(1), np.cumsum(letters) - letters)
    return counts, np.stack(found, 1)[mask].astype(np.int64)
