"""Word similarity: how well cosines agree with what people say of pairs of words."""

from collections.abc import Iterable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxembed.evaluation.lookup import Words, first_rows, keys_and_matrix, known_rows, words_of
from jaxembed.evaluation.neighbours import WordVectors, finite_rows, unit


@dataclass(frozen=True)
class Similarity:
    """Agreement with the human scores over the `pairs` that are covered; `oov` pairs are left out.

    Not covered is a pair with a word that is not in the vocabulary, or whose vector is not finite.

    The correlations are NaN for fewer than two pairs, and where all cosines are equal.
    """

    spearman: float
    pearson: float
    pairs: int
    oov: int


@dataclass(frozen=True, eq=False)
class SimilarityTask:
    """A benchmark bound to a vocabulary: `task(matrix)` is the Spearman correlation, a scalar on the device.

    It may be called in jit and under vmap over a leading axis of matrices, and compiles once a shape. `rows` [p, 2] are
    the rows of the covered pairs, `scores` [p] what people said of them, `known` [pairs] says which pairs are covered.
    """

    rows: np.ndarray
    scores: np.ndarray
    known: np.ndarray

    def __call__(self, matrix: ArrayLike) -> jax.Array:
        """Spearman's rank correlation of the cosines in `matrix` [n, d] with the human scores."""
        return _agreement(self._pairs(matrix), self.scores)[0]

    def cosines(self, matrix: ArrayLike) -> jax.Array:
        """The cosine of each covered pair, [p]."""
        return _cosines(self._pairs(matrix))

    def covered(self, matrix: ArrayLike) -> np.ndarray:
        """Which pairs have finite vectors for both words in `matrix` [n, d], bool [pairs]."""
        covered = self.known.copy()
        covered[self.known] = finite_rows(self._pairs(matrix)).all(axis=1)
        return covered

    def evaluate(self, matrix: ArrayLike) -> Similarity:
        """Both correlations and the counts."""
        covered = self.covered(matrix)
        kept = covered[self.known]
        rank, linear = _agreement(self._pairs(matrix)[kept], self.scores[kept])
        return Similarity(float(rank), float(linear), pairs=int(covered.sum()), oov=int((~covered).sum()))

    def _pairs(self, matrix: ArrayLike) -> jax.Array | np.ndarray:
        # A NumPy matrix is gathered on the host: only the rows of the pairs travel to the device.
        return matrix[self.rows] if isinstance(matrix, np.ndarray) else jnp.asarray(matrix)[self.rows]


def similarity_task(
    vocabulary: Words,
    pairs: Iterable[tuple[str, str, float]],
    *,
    restrict_vocab: int | None = None,
    case_insensitive: bool = True,
) -> SimilarityTask:
    """Looks the pairs (word, word, score) up once; words outside the first `restrict_vocab` are unknown."""
    pairs = list(pairs)
    first = first_rows(words_of(vocabulary, restrict_vocab), case_insensitive)
    rows = known_rows([pair[:2] for pair in pairs], first, case_insensitive).reshape(-1, 2)
    known = np.all(rows >= 0, axis=1)
    return SimilarityTask(rows[known], np.array([pair[2] for pair in pairs], np.float32)[known], known)


def evaluate_similarity(
    vectors: WordVectors | tuple[Words, ArrayLike],
    pairs: Iterable[tuple[str, str, float]],
    *,
    restrict_vocab: int | None = None,
    case_insensitive: bool = True,
) -> Similarity:
    """Spearman's and Pearson's correlation of cosines with human scores, ties ranked by their mean as scipy does.

    `vectors` is a `KeyedVectors` or a pair (vocabulary, matrix [n, d]). By default case is ignored, and of
    words that differ only by it the first in the vocabulary stands for all.
    """
    vocabulary, matrix = keys_and_matrix(vectors)
    task = similarity_task(vocabulary, pairs, restrict_vocab=restrict_vocab, case_insensitive=case_insensitive)
    return task.evaluate(matrix)


@jax.jit
def _cosines(pairs: jax.Array) -> jax.Array:
    rows = unit(pairs)
    return (rows[:, 0] * rows[:, 1]).sum(-1)


@jax.jit
def _agreement(pairs: jax.Array, scores: jax.Array) -> tuple[jax.Array, jax.Array]:
    found = _cosines(pairs)
    return spearman(found, scores), pearson(found, scores)


def pearson(x: jax.Array, y: jax.Array) -> jax.Array:
    """Pearson's correlation of x and y, both [n]: NaN for fewer than two values or a constant one."""
    both = jnp.stack([x, y])
    both = both - both.mean(axis=1, keepdims=True)
    return both.prod(axis=0).sum() / jnp.linalg.norm(both, axis=1).prod()


def spearman(x: jax.Array, y: jax.Array) -> jax.Array:
    """Spearman's rank correlation of x and y, both [n]; equal values share the mean of their ranks."""
    # The signs of a value's differences from all sum to twice its mean rank, centred; a NaN makes every sum NaN.
    # For the thousand pairs of a benchmark that is cheaper than a sort, and takes a fraction of the time to compile.
    both = jnp.stack([x, y])
    ranks = jnp.sign(both[:, :, None] - both[:, None, :]).sum(axis=2)
    return pearson(ranks[0], ranks[1])
