"""Words of a benchmark as rows of a matrix, by gensim's rule."""

from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
from jax.typing import ArrayLike

from jaxembed.data.vocabulary import Vocabulary
from jaxembed.evaluation.neighbours import WordVectors

Words = Vocabulary | Mapping[str, int] | Sequence[str]
"""The words of a matrix: a corpus' vocabulary, word -> row, or the words in the order of their rows."""


def fold(word: str, case_insensitive: bool) -> str:
    """The form in which words are compared: gensim's upper case, or the word itself."""
    return word.upper() if case_insensitive else word


def words_of(vocabulary: Words, restrict_vocab: int | None = None) -> list[str]:
    """The first `restrict_vocab` words (None: all) in the order of their rows."""
    if restrict_vocab is not None and restrict_vocab < 1:
        raise ValueError(f"restrict_vocab must be at least 1, found {restrict_vocab}; None takes all words")
    if isinstance(vocabulary, Vocabulary):
        words = vocabulary.words
    elif isinstance(vocabulary, Mapping):
        words = sorted(vocabulary, key=vocabulary.__getitem__)
    else:
        words = vocabulary
    return list(words[:restrict_vocab])


def first_rows(words: Sequence[str], case_insensitive: bool) -> dict[str, int]:
    """Folded word -> its row: of words that fold alike the first wins, the most frequent where they are sorted so."""
    folded = [fold(word, case_insensitive) for word in words]
    return {word: len(words) - 1 - back for back, word in enumerate(reversed(folded))}


def keys_and_matrix(vectors: WordVectors | tuple[Words, ArrayLike]) -> tuple[Words, ArrayLike]:
    """A `KeyedVectors`, or a pair of vocabulary and matrix, as that pair."""
    return vectors if isinstance(vectors, tuple) else (vectors.index_to_key, vectors.vectors)


def known_rows(items: Sequence[Sequence[str]], rows: Mapping[str, int], case_insensitive: bool) -> np.ndarray:
    """The rows of the words of each item, int32 [items, words]; -1 for a word outside the vocabulary."""
    # Twenty thousand analogies are made of nine hundred words.
    row = {word: rows.get(fold(word, case_insensitive), -1) for word in set(chain.from_iterable(items))}
    found = [[row[word] for word in item] for item in items]
    return np.array(found, np.int32).reshape(len(items), len(items[0]) if items else 0)
