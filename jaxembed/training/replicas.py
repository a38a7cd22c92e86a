"""Replicas of the tables: trained side by side for some steps, then merged (local SGD; for words Ji et al. 2016)."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from jaxembed.training.step import State


@partial(jax.jit, donate_argnums=(0, 1))
def merge(base: State, copies: list[State]) -> tuple[State, list[State]]:
    """The merged state, and the copies that go on from it with their own keys; both arguments are given up.

    Rows move by the sum of the copies' moves, so that a word which one copy alone has met loses nothing. Adagrad's
    accumulators add up as well; as each copy knew of its own share only, the summed move of a row is then shrunk to
    what the joint accumulator would have allowed. The dense rest moves by the mean.
    """
    # The base is needed beside the copies: what a copy has learned is its difference to where all began. All buffers are
    # donated, so that merging takes no memory, and every copy gets buffers of its own, for its next steps change them in place.
    joint = lambda old, new: old + sum(value - old for value in new)
    rows = {name: jax.tree.map(lambda old, *new: joint(old, new), base.rows[name], *(c.rows[name] for c in copies))
            for name in base.rows}  # fmt: skip
    tables = {}
    for name, table in base.params.tables.items():
        move = sum(copy.params.tables[name] - table for copy in copies)
        # Adagrad's accumulators, of rows or of elements. A copy's step was divided by the root of what it alone had seen; with
        # all of the gradients before it, it would have been divided by the root of their sum.
        if isinstance(rows[name], jax.Array):
            alone = sum(copy.rows[name] for copy in copies) / len(copies)
            # What was never met has accumulators of 0 where they begin there, and has not moved.
            shrink = lax.sqrt(alone) * lax.rsqrt(jnp.maximum(rows[name], 1e-30))
            move *= shrink if shrink.ndim == table.ndim else shrink[:, None]
        tables[name] = table + move
    mean = lambda *new: sum(new) / len(new)
    net = jax.tree.map(mean, *(copy.params.net for copy in copies))
    net_state = copies[0].net
    params = base.params._replace(tables=tables, net=net)
    merged = base._replace(params=params, rows=rows, net=net_state, step=copies[0].step)
    return merged, [copy._replace(params=params, rows=rows, net=net_state) for copy in copies]


def copies_of(state: State, number: int) -> list[State]:
    """Copies of a state in buffers of their own, each with a stream of random numbers of its own."""
    copies = [jax.tree.map(jnp.copy, state) for _ in range(number)]
    return [copy._replace(key=jax.random.fold_in(state.key, i) if i else copy.key) for i, copy in enumerate(copies)]
