"""Which neighbours are drawn, how often, and what stands in for those that a node does not have."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxembed.data.graphs import Graph
from jaxembed.sampling import neighbours
from jaxembed.sampling.random import key_of


def star(n, weights=None):
    """A node that is linked with all others, the first; and one without links, the last."""
    return Graph.build(tuple(map(str, range(n + 1))), np.zeros(n - 1, int), np.arange(1, n), weights)


def drawn(graph, nodes, fanout, seed=0):
    rows = jax.tree.map(jnp.asarray, neighbours.rows_of(graph))
    depth = int(graph.degrees.max()).bit_length()
    return np.asarray(neighbours.draw(key_of(seed), rows, jnp.asarray(nodes, jnp.int32), fanout, depth))


def test_of_more_neighbours_than_draws_none_is_drawn_twice_and_all_as_often():
    found = drawn(star(8), np.zeros(7000), 3)
    assert all(len({*row}) == 3 for row in found.tolist())
    np.testing.assert_allclose(np.bincount(found.ravel(), minlength=8)[1:] / 7000, 3 / 7, atol=0.02)
    assert (found[0] != found[1]).any()  # each node of a step has draws of its own


@pytest.mark.parametrize("fanout", [3, 7, 10])
def test_of_fewer_neighbours_than_draws_all_are_drawn_as_evenly_as_may_be(fanout):
    found = drawn(star(4), np.zeros(500), fanout)
    counts = np.stack([np.bincount(row, minlength=4)[1:] for row in found])
    assert counts.min() == fanout // 3
    assert counts.max() == -(-fanout // 3)
    np.testing.assert_allclose(counts.mean(0), fanout / 3, atol=0.1)


def test_neighbours_are_drawn_by_the_weights_of_their_links():
    weights = np.array([1.0, 2.0, 3.0, 4.0, 0.0])
    found = drawn(star(6, weights), np.zeros(5000), 2)
    np.testing.assert_allclose(np.bincount(found.ravel(), minlength=6)[1:] / 10_000, weights / 10, atol=0.01)


def test_a_node_without_links_is_its_own_neighbour():
    graph = star(5)
    assert drawn(graph, [5], 4).tolist() == [[5] * 4]
    rows = neighbours.rows_of(graph)
    assert rows["neighbours"][rows["offsets"][5] :].tolist() == [5]
    assert rows["share"][-1] == 1
    weighted = neighbours.rows_of(star(5, [1.0, 1.0, 2.0, 4.0]))
    np.testing.assert_allclose(weighted["share"], [1 / 8, 1 / 8, 2 / 8, 4 / 8, 1, 1, 1, 1, 1])
    np.testing.assert_allclose(weighted["own"], 1 / (1 + np.array([8, 1, 1, 2, 4, 1])))
    alone = neighbours.rows_of(Graph.build(("a", "b"), [], []))
    assert alone["neighbours"].tolist() == [0, 1]


def test_levels_are_neighbours_of_neighbours_and_anew_for_each_key():
    graph = Graph.build(tuple("abcd"), [0, 1, 2], [1, 2, 3], directed=True)
    rows = jax.tree.map(jnp.asarray, neighbours.rows_of(graph))
    first, second, third = neighbours.levels(key_of(0), rows, jnp.asarray([0, 3], jnp.int32), (2, 3), 1)
    assert first.tolist() == [0, 3]
    assert second.tolist() == [[1, 1], [3, 3]]  # links are followed the way they lead; where none does, a node stays
    assert third.tolist() == [[[2] * 3] * 2, [[3] * 3] * 2]
    assert (drawn(star(30), np.zeros(9), 3, 0) != drawn(star(30), np.zeros(9), 3, 1)).any()
