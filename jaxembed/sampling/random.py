"""Random numbers for sampling inside jit: a counter-based hash, and a shuffle without a table.

`jax.random`'s Threefry costs as much as a whole step of Skip-gram when a step needs thousands of draws. Batches need draws
that are reproducible, independent of the order of evaluation and well mixed, not cryptographic strength, so the draws
of a step are hashes of a counter, keyed by two words drawn from the step's own `jax.random` key.
"""

import math

import jax
import jax.numpy as jnp
from jax import lax

#: How JAX makes random numbers of a key, whatever JAX_DEFAULT_PRNG_IMPL says. With Threefry a seed gives the same run alone
#: and beside others; with rbg, numbers drawn under vmap depend on all keys of a batch.
PRNG = "threefry2x32"


def key_of(seed: int) -> jax.Array:
    """The key of a seed, by `PRNG`."""
    return jax.random.key(seed, impl=PRNG)


def key_from(data: jax.Array) -> jax.Array:
    """The key or keys of these words, by `PRNG`."""
    return jax.random.wrap_key_data(data, impl=PRNG)


def _mix(x: jax.Array) -> jax.Array:
    # "lowbias32", a bijection of 32-bit words with near-ideal avalanche (Wellons, Prospecting for Hash Functions, 2018).
    x = (x ^ (x >> 16)) * jnp.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * jnp.uint32(0x846CA68B)
    return x ^ (x >> 16)


def bits(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Uniform 32-bit words of `shape`, uint32; `f(key, position)` whatever the batch, the device or vmap."""
    words = jax.random.bits(key, (2,), jnp.uint32)
    counter = jnp.arange(math.prod(shape), dtype=jnp.uint32).reshape(shape)
    return _mix(_mix(counter + words[0]) ^ words[1])


def uniform(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Uniform float32 in [0, 1) of `shape`, in steps of 2^-24."""
    return (bits(key, shape) >> 8).astype(jnp.float32) * jnp.float32(2**-24)


def shuffle_size(n: int) -> int:
    """The smallest domain `>= n` that `shuffled` permutes: at most about `n + sqrt(n)`."""
    rows = max(math.isqrt(max(n, 1) - 1) + 1, 1)
    return rows * -(-max(n, 1) // rows)


def shuffled(key: jax.Array, n: int, position: jax.Array) -> jax.Array:
    """Where `position` stands in a random order of `range(n)`; `n` must be a `shuffle_size`.

    Every position of `range(n)` is met exactly once, without a table and in any order of asking. A Feistel network over
    Z_a x Z_b with a * b = n (Black and Rogaway, Ciphers with Arbitrary Finite Domains, 2002).
    """
    if shuffle_size(n) != n:
        raise ValueError(f"shuffled needs a domain that is a shuffle_size; {n} is not: use {shuffle_size(n)}")
    rows = math.isqrt(n - 1) + 1 if n > 1 else 1
    columns = n // rows
    keys = jax.random.bits(key, (6,), jnp.uint32)
    position = position.astype(jnp.uint32)
    left, right = position // jnp.uint32(columns), position % jnp.uint32(columns)
    for i in range(0, 6, 2):
        left = (left + _mix(right ^ keys[i]) % jnp.uint32(rows)) % jnp.uint32(rows)
        right = (right + _mix(left ^ keys[i + 1]) % jnp.uint32(columns)) % jnp.uint32(columns)
    # Without a barrier XLA would fold these divisions into whatever uses the result, once for each of its elements.
    return lax.optimization_barrier((left * jnp.uint32(columns) + right).astype(jnp.int32))
