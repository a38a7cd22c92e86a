"""Histograms whose bins are counted on the device, so that a table never travels to the host to be drawn."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Histogram(NamedTuple):
    """Counts of the finite values of an array in equal bins, with their exact extent and moments.

    A pytree of arrays: it can be returned from jit, and under `jax.vmap` each field gains the mapped axis in front.
    """

    counts: jax.Array | np.ndarray  #: [bins] int32; a bin is [left, right), the last one [left, right]
    edges: jax.Array | np.ndarray  #: [bins + 1] float32
    number: jax.Array | np.ndarray  #: how many values were finite
    minimum: jax.Array | np.ndarray
    maximum: jax.Array | np.ndarray
    sum: jax.Array | np.ndarray
    sum_squares: jax.Array | np.ndarray

    def summary(self) -> dict[str, float]:
        """Returns number, minimum, maximum, mean and (population) standard deviation as Python floats."""
        number = float(self.number)
        mean = float(self.sum) / number if number else float("nan")
        variance = float(self.sum_squares) / number - mean**2 if number else float("nan")
        return {
            "number": number,
            "minimum": float(self.minimum),
            "maximum": float(self.maximum),
            "mean": mean,
            "std": max(variance, 0.0) ** 0.5 if number else float("nan"),
        }


@partial(jax.jit, static_argnames="bins")
def histogram(x: jax.Array, bins: int = 64) -> Histogram:
    """Counts the values of `x` (any shape, real) in `bins` equal bins between its least and greatest finite value.

    The bins follow `numpy.histogram`: half open but for the last, and one unit wide in all when every value is the
    same. NaN and infinities are left out. Raises ValueError for an empty array, or one of more than 2**31 - 1 values.
    """
    if bins < 1:
        raise ValueError(f"bins must be at least 1, got {bins}")
    if not 0 < x.size < 2**31:
        raise ValueError(f"a histogram needs between 1 and 2**31 - 1 values, got {x.size}: pass a sample of the rows")
    x = x.astype(jnp.float32).ravel()
    finite = jnp.isfinite(x)
    number = jnp.sum(finite, dtype=jnp.int32)
    minimum = jnp.min(x, initial=jnp.inf, where=finite)
    maximum = jnp.max(x, initial=-jnp.inf, where=finite)
    flat = minimum == maximum
    low = jnp.where(number == 0, 0.0, jnp.where(flat, minimum - 0.5, minimum))
    high = jnp.where(number == 0, 1.0, jnp.where(flat, maximum + 0.5, maximum))
    share = jnp.arange(bins + 1, dtype=jnp.float32) / bins
    edges = low * (1 - share) + high * share  # exact at both ends
    edges = jnp.sort(jnp.clip(edges, low, high))

    place = jnp.searchsorted(edges[1:-1], x, side="right", method="scan_unrolled")
    counts = jnp.zeros(bins, jnp.int32).at[jnp.where(finite, place, bins)].add(1, mode="drop")

    values = jnp.where(finite, x, 0)
    return Histogram(counts, edges, number, minimum, maximum, values.sum(), jnp.square(values).sum())
