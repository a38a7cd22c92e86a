"""Random walks over a graph on the device: uniform, by the weights of links, and node2vec's.

Nothing of the second order is stored: node2vec's next node is drawn as a first-order walk's and kept with a probability, else
drawn again (rejection; Yang et al., KnightKing, 2019).
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxembed.data.graphs import Graph
from jaxembed.sampling import random

Rows = Mapping[str, Any]


def rows_of(graph: Graph) -> dict[str, np.ndarray]:
    """Returns what `walk` needs: `offsets [n + 1]`, `neighbours [links]` and, of a weighted graph, `upto [links]`.

    `upto` is the share of a row's weight that its links up to this one have: 1 at the end of each row, in float32.
    """
    return by_weight(graph.offsets, graph.neighbours, graph.weights)


def by_weight(offsets: np.ndarray, neighbours: np.ndarray, weights: np.ndarray | None) -> dict[str, np.ndarray]:
    """Returns the same of links in rows, with the weight of each, or None where all weigh the same."""
    rows = {"offsets": offsets, "neighbours": neighbours}
    if weights is None or not len(weights):
        return rows
    degrees = np.diff(offsets)
    total = np.concatenate([[0.0], np.cumsum(weights, dtype=np.float64)])
    first, last = total[offsets[:-1]], total[offsets[1:]]
    row = np.repeat(np.arange(len(degrees)), degrees)
    share = (total[1:] - first[row]) / (last - first)[row]
    share[offsets[1:][degrees > 0] - 1] = 1
    return {**rows, "upto": share.astype(np.float32)}


def walk(
    key: jax.Array, rows: Rows, starts: jax.Array, length: int, depth: int, p: Any = 1.0, q: Any = 1.0,
    second_order: bool = False,
) -> tuple[jax.Array, jax.Array]:  # fmt: skip
    """Walks of `length` nodes from `starts [w]`: the nodes, int32 `[w, length]`, and which of them were reached, bool likewise.

    A walk ends at a node without links; what is behind its end repeats the last node and was not reached. With `second_order` the
    next node x after t, v is drawn in proportion to its weight times 1/p if x is t, 1 if x is linked to t, else 1/q (Grover and
    Leskovec 2016, section 3.2); of a directed graph, if t's row has x. `depth` is how often the longest row can be halved: the
    bits of its length.
    """
    rows = {name: jnp.asarray(value) for name, value in rows.items()}
    offsets, neighbours = rows["offsets"], rows["neighbours"]
    if not neighbours.shape[0]:
        nodes = jnp.broadcast_to(starts[:, None], (starts.shape[0], length))
        return nodes, jnp.broadcast_to(jnp.arange(length) == 0, nodes.shape)

    def first_order(key: jax.Array, node: jax.Array) -> jax.Array:
        first, degree = offsets[node], offsets[node + 1] - offsets[node]
        drawn = random.uniform(key, node.shape)
        if "upto" in rows:
            place = search(rows["upto"], drawn, first, degree, depth, lambda found, wanted: found <= wanted)
        else:
            # A row of a few million links is drawn from finely enough: float32's steps of 2^-24 are smaller than the shares.
            place = (drawn * degree.astype(jnp.float32)).astype(jnp.int32)
        return neighbours[first + jnp.clip(place, 0, jnp.maximum(degree - 1, 0))]

    def linked(node: jax.Array, other: jax.Array) -> jax.Array:
        first, degree = offsets[node], offsets[node + 1] - offsets[node]
        place = search(neighbours, other, first, degree, depth, lambda found, wanted: found < wanted)
        at = jnp.clip(first + place, 0, neighbours.shape[0] - 1)
        return (place < degree) & (neighbours[at] == other)

    highest = jnp.maximum(jnp.maximum(1 / p, 1 / q), 1.0)

    def advance(carry: tuple[jax.Array, jax.Array, jax.Array], key: jax.Array):
        before, node, going = carry
        going &= offsets[node + 1] > offsets[node]

        def again(state):
            tries, kept, new, key = state
            key, draw_key, coin_key = jax.random.split(key, 3)
            drawn = first_order(draw_key, node)
            weight = jnp.where(drawn == before, 1 / p, jnp.where(linked(before, drawn), 1.0, 1 / q))
            taken = ~kept & (random.uniform(coin_key, node.shape) * highest < weight)
            return tries + 1, kept | taken, jnp.where(taken, drawn, new), key

        if second_order:
            # The first step has no node before it: `before` is -1 there, and all are kept.
            start = first_order(key, node)
            kept = ~going | (before < 0)
            more = lambda state: ~state[1].all()
            _, _, new, _ = lax.while_loop(more, again, (0, kept, start, jax.random.fold_in(key, 1)))
        else:
            new = first_order(key, node)
        new = jnp.where(going, new, node)
        return (node, new, going), (new, going)

    start = (jnp.full_like(starts, -1), starts, jnp.ones(starts.shape, bool))
    _, (nodes, reached) = lax.scan(advance, start, jax.random.split(key, length - 1))
    nodes = jnp.concatenate([starts[None], nodes]).T
    return nodes, jnp.concatenate([jnp.ones((1, starts.shape[0]), bool), reached]).T


def search(
    values: jax.Array, wanted: jax.Array, first: jax.Array, count: jax.Array, depth: int, before: Any
) -> jax.Array:
    """The number of a row's values that lie `before` what is wanted, by bisection; the row begins at `first` and has `count`."""
    low, high = jnp.zeros_like(count), count
    for _ in range(depth):
        middle = (low + high) // 2
        right = (low < high) & before(values[jnp.clip(first + middle, 0, values.shape[0] - 1)], wanted)
        low, high = jnp.where(right, middle + 1, low), jnp.where(right, high, middle)
    return low


def expected_visits(graph: Graph, length: int) -> np.ndarray:
    """How often a first-order walk of `length` nodes from each node visits each node on average: float64 [n]."""
    from scipy.sparse import csr_array

    value = np.ones(len(graph.neighbours)) if graph.weights is None else graph.weights.astype(np.float64)
    n = len(graph)
    links = csr_array((value, graph.neighbours, graph.offsets), shape=(n, n))
    mass = links.sum(1)
    steps = links.T.tocsr()
    at = visits = np.ones(n)
    for _ in range(length - 1):
        at = steps @ np.divide(at, mass, out=np.zeros(n), where=mass > 0)
        visits = visits + at
    return visits
