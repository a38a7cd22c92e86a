"""What this device can do at most: matrix products, streams of memory, rows of a table met at random.

A program's arithmetic intensity is its floating-point operations over the bytes that it must move; it can reach no more than
min(peak, intensity x bandwidth) of them a second (Williams et al., Roofline, 2009). Peak and bandwidth are measured here, by
programs that XLA compiles as it compiles everything else.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Roofs(NamedTuple):
    """The rates of all the device's cores together: the best of some repeats, for a roof is what can be reached.

    flops, flops_bf16: a second, in a large square product of float32 (of bfloat16; None on a CPU).
    bandwidth: bytes a second in `a + s * b` over arrays larger than caches, written in place of `a`.
    gathered, scattered: rows of 512 bytes a second, read or added to, at random places of a table larger than caches.
    """

    flops: float
    flops_bf16: float | None
    bandwidth: float
    gathered: float
    scattered: float

    def attainable(self, intensity: float) -> float:
        """Floating-point operations a second, at most, of a program of this intensity (operations a byte)."""
        return min(self.flops, intensity * self.bandwidth)


def measure(size: int = 1 << 24, matrix: int = 2048, repeats: int = 5) -> Roofs:
    """Measures the roofs of the default device; streams have `size` floats, matrices `matrix` rows and columns."""
    accelerator = jax.default_backend() != "cpu"
    matrix = 4 * matrix if accelerator else matrix
    width = 128
    table, rows = jnp.zeros((size // width, width)), size // 8 // width
    ids = jnp.asarray(np.random.default_rng(0).integers(0, len(table), rows, dtype=np.int32))
    stream = jax.jit(lambda a, b: a + 3.0 * b, donate_argnums=0)
    add = jax.jit(lambda t, i, r: t.at[i].add(r, mode="promise_in_bounds"), donate_argnums=0)
    gather = jax.jit(lambda t, i: t.at[i].get(mode="promise_in_bounds"))
    moved = gather(table, ids)
    return Roofs(
        flops=_product(matrix, jnp.float32, repeats),
        flops_bf16=_product(matrix, jnp.bfloat16, repeats) if accelerator else None,
        bandwidth=3 * 4 * size / in_place(stream, jnp.ones(size), (jnp.ones(size),), repeats),
        gathered=rows / _seconds(lambda: gather(table, ids), repeats),
        scattered=rows / in_place(add, table, (ids, moved), repeats),
    )


def _product(size: int, dtype: Any, repeats: int) -> float:
    a = jnp.ones((size, size), dtype)
    multiply = jax.jit(lambda a, b: a @ b)
    return 2 * size**3 / _seconds(lambda: multiply(a, a), repeats)


def in_place(function: Callable, array: jax.Array, others: tuple, repeats: int) -> float:
    """Seconds of a function that replaces its first argument."""
    held = [array]

    def once() -> jax.Array:
        held[0] = function(held[0], *others)
        return held[0]

    return _seconds(once, repeats)


def _seconds(once: Callable[[], Any], repeats: int) -> float:
    """The least seconds of some calls, after one that compiles and one that warms up."""
    found = []
    for _ in range(repeats + 2):
        begun = time.perf_counter()
        jax.block_until_ready(once())
        found.append(time.perf_counter() - begun)
    return min(found[2:])
