"""A batch is computed chunk by chunk: only a chunk's result stays in memory, and the backward pass computes the rest again."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def by_chunks(
    function: Callable[..., Any], xs: Any, chunk: int, key: jax.Array | None = None, again: bool = True
) -> Any:
    """`function(xs)`, which must treat rows apart, `chunk` rows at a time; with `chunk` 0, all at once.

    xs: a pytree of arrays with one leading axis. key: each chunk gets one of its own, `function(rows, key)`.
    Values and gradients are those of `function(xs)` up to rounding, also with respect to what `function` closes over.
    again: compute a chunk once more for the gradient instead of keeping what it needs.
    Rows behind the last whole chunk are a chunk of their own. What `function` gives is joined along its first axis: that may
    also be one row for each chunk. Raises ValueError for a negative `chunk`.
    """
    rows = jax.tree.leaves(xs)[0].shape[0]
    if chunk < 0:
        raise ValueError(f"chunk must be 0 (all at once) or a number of rows, not {chunk}")
    chunk = min(chunk or rows, rows)
    keys = () if key is None else (jax.random.split(key, -(-rows // chunk)),)
    of = lambda some, part: jax.tree.map(lambda x: x[part], some)
    if chunk == rows:
        return function(xs, *of(keys, 0))
    whole = rows // chunk
    cut = jax.tree.map(lambda x: x[: whole * chunk].reshape(whole, chunk, *x.shape[1:]), xs)
    # Inside a loop nothing outside can be merged with what is computed once more.
    one = jax.checkpoint(function, prevent_cse=False) if again else function
    done = jax.lax.map(lambda given: one(*given), (cut, *of(keys, slice(whole))))
    done = jax.tree.map(lambda y: y.reshape(whole * y.shape[1], *y.shape[2:]), done)
    if rows % chunk == 0:
        return done
    one = jax.checkpoint(function) if again else function
    rest = one(of(xs, slice(whole * chunk, None)), *of(keys, -1))
    return jax.tree.map(lambda y, z: jnp.concatenate([y, z]), done, rest)
