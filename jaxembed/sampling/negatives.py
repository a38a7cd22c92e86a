"""Negatives: draws from the smoothed unigram distribution, in constant time, on the device."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.sampling import random


class AliasTable(NamedTuple):
    """A discrete distribution over rows 0..n-1, ready for constant-time draws."""

    threshold: jax.Array | np.ndarray  # float32 [n]: keep the column drawn with this probability ...
    alias: jax.Array | np.ndarray  # int32 [n]: ... and take this row otherwise
    log_probability: jax.Array | np.ndarray  # float32 [n]


def alias_table(weights: np.ndarray) -> AliasTable:
    """Builds the table for draws in proportion to `weights [n] >= 0`.

    Raises ValueError when a weight is negative or not finite, or all are zero.
    Source: Walker 1977; Vose, A Linear Algorithm for Generating Random Numbers with a Given Distribution, 1991.
    """
    weights = np.asarray(weights, np.float64)
    total = weights.sum()
    if weights.ndim != 1 or not np.isfinite(total) or total <= 0 or (weights < 0).any():
        raise ValueError("the weights of a distribution must be one row of finite numbers >= 0, not all of them zero")
    n = len(weights)
    scaled = (weights * (n / total)).tolist()
    alias = list(range(n))
    small = [i for i, value in enumerate(scaled) if value < 1.0]
    large = [i for i, value in enumerate(scaled) if value >= 1.0]
    while small and large:
        low, high = small.pop(), large[-1]
        alias[low] = high
        scaled[high] -= 1.0 - scaled[low]
        if scaled[high] < 1.0:
            small.append(large.pop())
    threshold = np.asarray(scaled, np.float32)
    threshold[small + large] = 1.0  # what rounding left over
    with np.errstate(divide="ignore"):
        log_probability = np.log(weights / total).astype(np.float32)
    return AliasTable(threshold, np.asarray(alias, np.int32), log_probability)


def unigram_table(counts: np.ndarray, ns_exponent: float = 0.75) -> AliasTable:
    """The negatives of word2vec: `p(word) ~ count^ns_exponent` (Mikolov et al. 2013b, section 2.2). `counts [V]`."""
    return alias_table(np.asarray(counts, np.float64) ** ns_exponent)


def draw(key: jax.Array, table: AliasTable, shape: tuple[int, ...]) -> jax.Array:
    """Rows drawn from `table` with replacement: int32 of `shape`."""
    column_key, coin_key = jax.random.split(key)
    n = table.threshold.shape[0]
    # A float32 product would never reach some rows of a table of more than 2^24; a remainder reaches all, and its bias
    # of n / 2^32 is far below what any run could see.
    column = (random.bits(column_key, shape) % jnp.uint32(n)).astype(jnp.int32)
    return jnp.where(random.uniform(coin_key, shape) < table.threshold[column], column, table.alias[column])
