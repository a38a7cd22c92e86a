"""Nearest neighbours by cosine: many queries at once, in bounded memory."""

from collections.abc import Sequence
from functools import partial
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxembed.naming import Places


class WordVectors(Protocol):
    """What the evaluations need of a `KeyedVectors`, ours or gensim's: keys, most frequent first, and a matrix."""

    @property
    def index_to_key(self) -> Sequence[str]:
        """The keys, row by row."""
        ...

    @property
    def vectors(self) -> np.ndarray:
        """The matrix [n, d]."""
        ...


def unit(vectors: jax.Array) -> jax.Array:
    """Rows [..., d] scaled to length 1, in float32; a row of zeros stays zero."""
    vectors = vectors.astype(jnp.float32)
    norms = jnp.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / jnp.maximum(norms, jnp.finfo(jnp.float32).tiny)


def cosines(queries: jax.Array, candidates: jax.Array) -> jax.Array:
    """The product of unit rows [q, d] and [n, d] -> [q, n], in full float32 on every device."""
    return jnp.matmul(queries, candidates.T, precision=jax.lax.Precision.HIGHEST)


def finite_rows(matrix: ArrayLike) -> np.ndarray:
    """Which rows of `matrix` [..., d] hold finite values alone, bool [...]."""
    library = np if isinstance(matrix, np.ndarray) else jnp
    return np.asarray(library.isfinite(matrix).all(axis=-1))


def nearest(
    matrix: ArrayLike, queries: ArrayLike, k: int = 10, *, exclude: ArrayLike | None = None, chunk: int = 8192
) -> tuple[jax.Array, jax.Array]:
    """The `k` rows of `matrix` [n, d] with the highest cosine to each query [q, d]: cosines and rows, both [q, k].

    `exclude` [q, m] holds rows that a query must not find (its own, say; negative: none); rows that are not finite are
    not found either. Where fewer than k rows are left, the cosine is -inf. Candidates pass by in blocks of `chunk`, so the
    memory does not grow with n.
    """
    matrix, queries = jnp.asarray(matrix), jnp.asarray(queries)
    if k < 1 or queries.ndim != 2 or matrix.ndim != 2 or queries.shape[1] != matrix.shape[1] or not len(matrix):
        raise ValueError(
            f"expected a matrix [n, d], queries [q, d] and k >= 1, found {matrix.shape}, {queries.shape} and k = {k}"
        )
    banned = jnp.full((len(queries), 1), -1) if exclude is None else jnp.asarray(exclude)
    return _nearest(matrix, queries, banned, min(k, len(matrix)), min(chunk, len(matrix)))


@partial(jax.jit, static_argnames=("k", "chunk"))
def _nearest(matrix: jax.Array, queries: jax.Array, exclude: jax.Array, k: int, chunk: int):
    last = len(matrix) - chunk

    def visit(best, start, queries, exclude):
        at = jnp.minimum(start, last)  # the last block is moved back to be whole: its first rows were seen before
        rows = at + jnp.arange(chunk, dtype=jnp.int32)
        scores = cosines(queries, unit(jax.lax.dynamic_slice_in_dim(matrix, at, chunk)))
        # What must not be found becomes -inf instead of being cut out: shapes stay those that were compiled. A row number below
        # zero matches no row.
        banned = (rows < start)[None, :] | (rows[None, None, :] == exclude[:, :, None]).any(1) | ~jnp.isfinite(scores)
        # The best so far compete with the block, so that one top_k of k + chunk numbers serves instead of one over all rows;
        # among equals it takes the first, which is the row that came first.
        scores = jnp.concatenate([best[0], jnp.where(banned, -jnp.inf, scores)], axis=1)
        rows = jnp.concatenate([best[1], jnp.broadcast_to(rows[None, :], banned.shape)], axis=1)
        top, places = jax.lax.top_k(scores, k)
        return (top, jnp.take_along_axis(rows, places, axis=1)), None

    def search(block):
        queries, exclude = unit(block[0]), block[1]
        # Types are named, as they are carried: with JAX_ENABLE_X64 the defaults would be 64 bits wide.
        best = jnp.full((len(queries), k), -jnp.inf, jnp.float32), jnp.zeros((len(queries), k), jnp.int32)
        starts = jnp.arange(0, len(matrix), chunk, dtype=jnp.int32)
        return jax.lax.scan(lambda best, start: visit(best, start, queries, exclude), best, starts)[0]

    # A block of scores, size x chunk, has at most 8 M numbers (32 MB). Queries are filled up to whole blocks with zeros, whose
    # answers are cut off below.
    size = max(1, min(len(queries), 2**23 // chunk))
    pad = -len(queries) % size
    blocks = [jnp.pad(array, ((0, pad), (0, 0))).reshape(-1, size, array.shape[1]) for array in (queries, exclude)]
    scores, rows = jax.lax.map(search, tuple(blocks))
    return scores.reshape(-1, k)[: len(queries)], rows.reshape(-1, k)[: len(queries)]


def neighbours(vectors: WordVectors, words: Sequence[str], topn: int = 10) -> dict[str, list[tuple[str, float]]]:
    """The `topn` nearest words of each of `words`, with their cosines, the word itself left out.

    Raises KeyError for a word that is not in the vocabulary (near matches are named), and ValueError for one whose vector
    is not finite: nothing is near to it.
    """
    if not words:
        return {}
    keys = vectors.index_to_key
    places = Places(keys)
    rows = np.array([places[word] for word in words], np.int32)
    if lost := [word for word, row in zip(words, rows, strict=True) if not np.isfinite(vectors.vectors[row]).all()]:
        raise ValueError(f"the vector of {lost[0]!r} is not finite: nothing is near to it")
    scores, found = nearest(vectors.vectors, vectors.vectors[rows], topn, exclude=rows[:, None])
    near: dict[str, list[tuple[str, float]]] = {}
    for word, cosine, row in zip(words, np.asarray(scores), np.asarray(found), strict=True):
        near[word] = [(keys[int(r)], float(c)) for r, c in zip(row, cosine, strict=True) if c > -np.inf]
    return near
