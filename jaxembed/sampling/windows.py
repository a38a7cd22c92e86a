"""Windows over a stream of tokens: subsampled, cut into blocks, weighted as word2vec's shrinking window is on average."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxembed.sampling import random


def keep_probability(counts: np.ndarray, sample: float) -> np.ndarray:
    """The chance that an occurrence of each word is kept: `sqrt(t / c) + t / c`, at most 1, with `t = sample * tokens`.

    `counts [V]` -> float32 `[V]`; `sample` 0 keeps all. Source: word2vec.c, as gensim has it.
    """
    counts = np.asarray(counts, np.float64)
    if sample <= 0:
        return np.ones(len(counts), np.float32)
    ratio = sample * counts.sum() / np.maximum(counts, 1)
    return np.minimum(1.0, np.sqrt(ratio) + ratio).astype(np.float32)


def kept_capacity(tokens: np.ndarray, keep: np.ndarray, chunk: int = 1 << 20) -> int:
    """A length that the kept part of `tokens` stays under, all but certainly: the mean and six standard deviations."""
    mean = variance = 0.0
    for start in range(0, len(tokens), chunk):  # so that a part of a memory-mapped array is read at a time
        chance = keep[tokens[start : start + chunk]].astype(np.float64)
        mean, variance = mean + float(chance.sum()), variance + float((chance * (1 - chance)).sum())
    return min(len(tokens), math.ceil(mean + 6 * math.sqrt(variance) + 1e-6 * len(tokens))) or 1


def piece(tokens: np.ndarray, offsets: np.ndarray, start: int, length: int, origin: int) -> dict[str, np.ndarray]:
    """Tokens `start` to `start + length` of a corpus with the document of each: int32 `[length]`, padded with -1.

    `tokens [n]`, `offsets [documents + 1]`; documents are counted from that of token `origin`. Reads only this part of a
    memory-mapped array.
    """
    stop = min(start + length, len(tokens))
    if stop <= start:
        return {"tokens": np.zeros(length, np.int32), "documents": np.full(length, -1, np.int32)}
    base = np.searchsorted(offsets, origin, side="right") - 1
    first, last = np.searchsorted(offsets, [start, stop - 1], side="right") - 1
    borders = np.clip(offsets[first : last + 2], start, stop)
    documents = np.full(length, -1, np.int32)
    documents[: stop - start] = np.repeat(np.arange(first - base, last - base + 1, dtype=np.int32), np.diff(borders))
    part = np.zeros(length, np.int32)
    part[: stop - start] = tokens[start:stop]
    return {"tokens": part, "documents": documents}


def compact(tokens: jax.Array, documents: jax.Array, kept: jax.Array, capacity: int) -> tuple[jax.Array, ...]:
    """Moves the kept tokens to the front: `(tokens [capacity], documents [capacity], count)`.

    What lies behind `count` is token 0 of document -1. Kept tokens beyond `capacity` are dropped.
    """
    n = tokens.shape[0]
    chunks = max(1, -(-n // _CHUNK))
    size = -(-n // chunks)

    def move(i, carry):
        moved, count = carry
        first = jnp.minimum(i * size, n - size)  # the last chunk begins earlier, and leaves out what was moved already
        part = lambda values: lax.dynamic_slice_in_dim(values, first, size)
        here = part(kept) & (first + jnp.arange(size) >= i * size)
        place = count + lax.associative_scan(jnp.add, here.astype(jnp.int32))
        # What goes nowhere goes to a place behind the last: half the time of dropping it.
        target = jnp.where(here, jnp.minimum(place - 1, capacity), capacity)
        put = lambda into, values: into.at[target].set(part(values), mode="promise_in_bounds")
        return (put(moved[0], tokens), put(moved[1], documents)), place[-1]

    empty = lambda fill: jnp.full(capacity + 1, fill, jnp.int32)
    start = ((empty(0), empty(-1)), jnp.int32(0))
    moved, count = lax.fori_loop(0, chunks, move, start)
    return moved[0][:capacity], moved[1][:capacity], jnp.minimum(count, capacity)


_CHUNK = (
    1 << 18
)  # tokens that are moved at a time: their places stay in the cache, and memory is not what a whole piece takes


def subsample(
    tokens: jax.Array, documents: jax.Array, keep: jax.Array, key: jax.Array, capacity: int
) -> tuple[jax.Array, ...]:
    """Drops each token with probability `1 - keep[token]` and closes the gaps, as word2vec does.

    `tokens, documents` int32 `[n]` (a document of -1 marks padding, always dropped), `keep [V]` -> as `compact`.
    """
    kept = (random.uniform(key, tokens.shape) < keep[tokens]) & (documents >= 0)
    return compact(tokens, documents, kept, capacity)


def window_weights(block: int, window: int, halo: int, shrink: bool = True, moving: bool = True) -> np.ndarray:
    """Expected weight of each pair of a block with its halo: float32 `[block, block + 2 * halo]`.

    word2vec draws a window from 1..`window` for each centre, so a neighbour at distance d is used with probability
    `(window + 1 - d) / window`; without `shrink`, always. Row i is the token at place `i + halo` of what the block sees. With
    a halo shorter than the window, some pairs cross the border of what a block sees; as borders lie elsewhere in each pass,
    a pair at distance d is seen with probability `1 - (d - halo) / block`, and its weight is divided by that. Where borders are
    not `moving`, as those of walks, which no pair crosses, it is not.
    """
    distance = distances(block, halo)
    seen = 1 - np.maximum(distance - halo, 0) / block if moving else 1.0
    used = np.clip((window + 1 - distance) / window, 0, 1) if shrink else distance <= window
    return np.where(distance > 0, used / seen, 0).astype(np.float32)


def expected_pairs(
    tokens: np.ndarray, offsets: np.ndarray, keep: np.ndarray, enough: float, chunk: int = 1 << 16
) -> float:
    """How many pairs of tokens of one document subsampling leaves on average; counted only until there are `enough`.

    `tokens [n]`, `offsets [documents + 1]`, `keep [V]`. Pairs that are farther than a window from each other count, too.
    """
    pairs = 0.0
    for start in range(0, len(tokens), chunk):  # a part of a memory-mapped array at a time
        chance = keep[tokens[start : start + chunk]].astype(np.float64)
        inside = (
            offsets[np.searchsorted(offsets, start, "right") : np.searchsorted(offsets, start + len(chance))] - start
        )
        borders = np.unique([0, *inside])
        sums, squares = np.add.reduceat(chance, borders), np.add.reduceat(chance**2, borders)
        pairs += float((sums**2 - squares).sum() / 2)
        if pairs >= enough:
            break
    return pairs


def distances(block: int, halo: int) -> np.ndarray:
    """How far each token of a block is from each that the block sees: `[block, block + 2 * halo]`."""
    return np.abs(np.arange(block + 2 * halo)[None, :] - np.arange(block)[:, None] - halo)


def block_count(capacity: int, block: int) -> int:
    """How many blocks of `block` tokens a stream of at most `capacity` is cut into, rounded up to a shuffled domain."""
    return random.shuffle_size(-(-capacity // block))


def take_blocks(
    tokens: jax.Array, documents: jax.Array, starts: jax.Array, block: int, halo: int
) -> tuple[jax.Array, jax.Array]:
    """Blocks with their halo: int32 `[B, block + 2 * halo]` tokens, and the same of documents.

    `starts [B]` are places in the stream; what lies outside the stream is token 0 of document -1.
    """
    place = starts[:, None] + jnp.arange(-halo, block + halo)[None, :]
    inside = (place >= 0) & (place < tokens.shape[0])
    place = jnp.clip(place, 0, tokens.shape[0] - 1)
    return tokens[place], jnp.where(inside, documents[place], -1)
