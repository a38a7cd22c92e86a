import jax
import numpy as np
import pytest

from jaxembed.data.graphs import Graph, read_graph
from jaxembed.sampling import walks
from jaxembed.sampling.random import key_of

# A triangle 0 1 2 with a tail 2 - 3, and a node 4 without links.
GRAPH = Graph.build(tuple("abcde"), [0, 0, 1, 2], [1, 2, 2, 3])


def drawn(graph, starts, length, seed=0, **options):
    depth = int(graph.degrees.max()).bit_length()
    walk = jax.jit(
        lambda key: walks.walk(key, walks.rows_of(graph), np.asarray(starts, np.int32), length, depth, **options)
    )
    return [np.asarray(part) for part in walk(key_of(seed))]


def test_walks_follow_links_and_end_where_there_are_none():
    nodes, reached = drawn(GRAPH, np.tile(np.arange(5), 50), 8)
    pairs = {tuple(link) for link in GRAPH.links.tolist()}
    alone = nodes[:, 0] == 4
    assert (nodes[alone] == 4).all()
    assert reached[alone].sum(1).tolist() == [1] * 50
    assert reached[~alone].all()
    steps = np.stack([nodes[~alone][:, :-1].ravel(), nodes[~alone][:, 1:].ravel()], 1)
    assert {tuple(sorted(step)) for step in steps.tolist()} == pairs


def test_walks_of_a_directed_graph_end_in_a_sink():
    graph = Graph.build(tuple("abc"), [0, 1], [1, 2], directed=True)
    nodes, reached = drawn(graph, [0, 2], 5)
    assert nodes.tolist() == [[0, 1, 2, 2, 2], [2] * 5]
    assert reached.tolist() == [[True] * 3 + [False] * 2, [True] + [False] * 4]


def test_a_graph_without_links_has_walks_of_one_node():
    graph = Graph.build(tuple("ab"), [0], [0])
    nodes, reached = drawn(graph, [1], 3)
    assert nodes.tolist() == [[1, 1, 1]]
    assert reached.tolist() == [[True, False, False]]


def shares(nodes, count):
    return np.bincount(nodes, minlength=count) / len(nodes)


def test_a_step_is_uniform_or_in_proportion_to_weights():
    many = np.full(60_000, 2)
    nodes, _ = drawn(GRAPH, many, 2)
    np.testing.assert_allclose(shares(nodes[:, 1], 5), [1 / 3, 1 / 3, 0, 1 / 3, 0], atol=0.008)
    weighted = Graph.build(tuple("abcde"), [0, 0, 1, 2], [1, 2, 2, 3], [1.0, 1.0, 5.0, 4.0])
    nodes, _ = drawn(weighted, many, 2)
    np.testing.assert_allclose(shares(nodes[:, 1], 5), [0.1, 0.5, 0, 0.4, 0], atol=0.008)


@pytest.mark.parametrize(("p", "q"), [(0.25, 4.0), (4.0, 0.5), (1.0, 1.0)])
@pytest.mark.parametrize("weights", [None, (1.0, 2.0, 3.0, 4.0)])
def test_steps_of_the_second_order_have_node2vecs_chances(p, q, weights):
    """All walks 0 -> 2 -> x, against the formula of Grover and Leskovec (2016, section 3.2.2)."""
    graph = Graph.build(tuple("abcde"), [0, 0, 1, 2], [1, 2, 2, 3], weights)
    nodes, _ = drawn(graph, np.zeros(200_000), 3, p=p, q=q, second_order=True)
    third = nodes[nodes[:, 1] == 2][:, 2]
    bias = {0: 1 / p, 1: 1.0, 3: 1 / q}  # back, linked with 0, not linked with 0
    weight = dict.fromkeys(bias, 1.0) if weights is None else {0: 2.0, 1: 3.0, 3: 4.0}
    chance = np.array([bias.get(x, 0) * weight.get(x, 0) for x in range(5)])
    np.testing.assert_allclose(shares(third, 5), chance / chance.sum(), atol=0.01)


def test_expected_visits_are_those_of_many_walks():
    graph = read_graph("karate")
    nodes, _ = drawn(graph, np.tile(np.arange(34), 2000), 10)
    np.testing.assert_allclose(np.bincount(nodes.ravel()) / 2000, walks.expected_visits(graph, 10), rtol=0.03)
    alone = walks.expected_visits(GRAPH, 10)
    assert alone[4] == 1
    assert alone.sum() == pytest.approx(41)
