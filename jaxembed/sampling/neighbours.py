"""Neighbours of nodes, drawn on the device: a fixed number of each, whatever number it has.

A node's links stand in a row. Draws are spread evenly over it (systematic sampling: Madow and Madow 1944): each neighbour is
drawn in proportion to the weight of its link, so that the mean over the draws is on average that over all neighbours. Of a node
with at least as many links as draws, none of which weighs more than others, no neighbour is drawn twice; of one with fewer,
each neighbour is drawn, and several times (sampling with replacement), as evenly as the numbers allow. A node without links is
its own neighbour.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.data.graphs import Graph
from jaxembed.sampling import random, walks

Rows = Mapping[str, Any]


def rows_of(graph: Graph) -> dict[str, np.ndarray]:
    """Returns a graph in rows, in which every node has a neighbour: at least itself.

    As `walks.rows_of`, and of each link (l of them) its node, `source` int32 [l], and the share of its weight in its row, `share`
    float32 [l]. `own` float32 [n] is the share of a node in the mean of itself, with a weight of 1, and its neighbours.
    """
    n, alone = len(graph), np.flatnonzero(graph.degrees == 0)
    at = graph.offsets[alone]
    weights = None if graph.weights is None else np.insert(graph.weights, at, 1)
    offsets = np.concatenate([[0], np.cumsum(np.maximum(graph.degrees, 1))]).astype(np.int32)
    neighbours = np.insert(graph.neighbours, at, alone).astype(np.int32)
    source = np.repeat(np.arange(n, dtype=np.int32), np.diff(offsets))
    value = np.ones(len(source)) if weights is None else weights.astype(np.float64)
    total = np.bincount(source, value, n)
    return walks.by_weight(offsets, neighbours, weights) | {
        "source": source, "share": np.float32(value / total[source]), "own": np.float32(1 / (1 + total)),
    }  # fmt: skip


def draw(key: jax.Array, rows: Rows, nodes: jax.Array, fanout: int, depth: int) -> jax.Array:
    """Neighbours of `nodes` int32 `[...]`, `fanout` of each: int32 `[..., fanout]`. The module says how they are drawn.

    `depth` is how often the longest row can be halved: the bits of its length.
    """
    first, degree = rows["offsets"][nodes][..., None], (rows["offsets"][nodes + 1] - rows["offsets"][nodes])[..., None]
    drawn, turn = random.uniform(key, nodes.shape)[..., None], jnp.arange(fanout, dtype=jnp.int32)
    turn = jnp.broadcast_to(turn, (*nodes.shape, fanout))
    if "upto" in rows:
        wanted = (turn.astype(jnp.float32) + drawn) / fanout
        shape = lambda x: jnp.broadcast_to(x, turn.shape)
        place = walks.search(rows["upto"], wanted, shape(first), shape(degree), depth, lambda found, one: found <= one)
    else:
        # In whole numbers, of which the sum below hits each as often: no neighbour is preferred, and none met twice by rounding.
        start = jnp.minimum((drawn * degree.astype(jnp.float32)).astype(jnp.int32), degree - 1)
        place = (turn * degree + start) // fanout
    return rows["neighbours"][first + jnp.clip(place, 0, degree - 1)]


def levels(key: jax.Array, rows: Rows, nodes: jax.Array, fanouts: Sequence[int], depth: int) -> list[jax.Array]:
    """`nodes` `[b]`, drawn neighbours of each `[b, f1]`, drawn neighbours of those `[b, f1, f2]`, and so on."""
    found = [nodes]
    for one, fanout in zip(jax.random.split(key, max(1, len(fanouts))), fanouts, strict=False):
        found.append(draw(one, rows, found[-1], fanout, depth))
    return found
