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
AT_ONCE = 1 << 13  # walks of the second order that are drawn together


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

    def advance(carry: tuple[jax.Array, jax.Array], key: jax.Array):
        node, going = carry
        going &= offsets[node + 1] > offsets[node]
        node = jnp.where(going, first_order(key, node), node)
        return (node, going), (node, going)

    if not second_order:
        start = starts, jnp.ones(starts.shape, bool)
        _, (nodes, reached) = lax.scan(advance, start, jax.random.split(key, length - 1))
        nodes = jnp.concatenate([starts[None], nodes]).T
        return nodes, jnp.concatenate([jnp.ones((1, starts.shape[0]), bool), reached]).T

    highest = jnp.maximum(jnp.maximum(1 / p, 1 / q), 1.0)

    def proposed(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        turn, nodes, place, before, key = state
        draw_key, coin_key = jax.random.split(jax.random.fold_in(key, turn))
        row = jnp.arange(nodes.shape[0])
        node = nodes[row, place]
        drawn = first_order(draw_key, node)
        weight = jnp.where(drawn == before, 1 / p, jnp.where(linked(before, drawn), 1.0, 1 / q))
        # The first step has no node before it: all that is drawn is taken.
        taken = (before < 0) | (random.uniform(coin_key, node.shape) * highest < weight)
        taken &= (place < length - 1) & (offsets[node + 1] > offsets[node])
        place = place + taken
        nodes = nodes.at[row, place].set(jnp.where(taken, drawn, node))
        return turn + 1, nodes, place, jnp.where(taken, node, before), key

    def unfinished(state: tuple[jax.Array, ...]) -> jax.Array:
        _, nodes, place, *_ = state
        last = nodes[jnp.arange(nodes.shape[0]), place]
        return ((place < length - 1) & (offsets[last + 1] > offsets[last])).any()

    def together(arguments: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        # Each walk goes on as soon as what was drawn for it is taken, and waits for no other: all wait for the unluckiest walk as
        # a whole, which needs little more than the mean, and not for the unluckiest draw of each step.
        starts, key = arguments
        first = jnp.zeros((starts.shape[0], length), jnp.int32).at[:, 0].set(starts)
        state = jnp.int32(0), first, jnp.zeros_like(starts), jnp.full_like(starts, -1), key
        _, nodes, place, *_ = lax.while_loop(unfinished, proposed, state)
        reached = jnp.arange(length)[None] <= place[:, None]
        return jnp.where(reached, nodes, nodes[jnp.arange(nodes.shape[0]), place][:, None]), reached

    parts = -(-starts.shape[0] // AT_ONCE)
    size = -(-starts.shape[0] // parts)
    filled = jnp.pad(starts, (0, parts * size - starts.shape[0]), mode="edge").reshape(parts, size)
    nodes, reached = lax.map(together, (filled, jax.random.split(key, parts)))
    whole = lambda x: x.reshape(-1, length)[: starts.shape[0]]
    return whole(nodes), whole(reached)


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
