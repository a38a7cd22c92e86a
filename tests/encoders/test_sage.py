"""GraphSAGE's layers against their formulas in NumPy float64, node by node."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxembed.data.graphs import Graph
from jaxembed.encoders.sage import AGGREGATORS, SAGE
from jaxembed.methods.graphsage import features_of
from jaxembed.sampling import neighbours
from jaxembed.sampling.random import key_of

NAMES = tuple("abcdef")
LINKS = [(0, 1), (0, 2), (0, 3), (1, 2), (3, 4)]  # f has none
WEIGHTS = [1.0, 2.0, 3.0, 0.5, 1.0]


def made(weights=None, seed=0):
    features = np.random.default_rng(seed).normal(size=(6, 5)).astype(np.float32)
    return Graph.build(NAMES, *np.array(LINKS).T, weights, features=features)


def near(graph, node):
    """Each neighbour with the weight of its link; a node without links is its own."""
    row = slice(graph.offsets[node], graph.offsets[node + 1])
    found = graph.neighbours[row].tolist()
    weights = [1.0] * len(found) if graph.weights is None else graph.weights[row].tolist()
    return (found, weights) if found else ([node], [1.0])


def expected(module, parameters, graph, x):
    """Every node's vector: Hamilton et al. 2017, algorithm 1 with equations 2 and 3."""
    for number, (layer, own) in enumerate(zip(module.layers, parameters["layers"].values(), strict=True)):
        rows = []
        for node in range(len(graph)):
            ids, weights = near(graph, node)
            share = np.array(weights) / sum(weights)
            if layer.aggregator == "gcn":
                joined = (x[node] + sum(w * x[i] for i, w in zip(ids, weights, strict=True))) / (1 + sum(weights))
                rows.append(joined if layer.near is None else joined @ own["near"]["kernel"] + own["near"]["bias"])
                continue
            if layer.aggregator == "pool":
                given = [np.maximum(x[i] @ own["pool"]["kernel"] + own["pool"]["bias"], 0) for i in ids]
                around = np.max(given, 0)
            else:
                around = sum(s * x[i] for i, s in zip(ids, share, strict=True))
            if layer.near is None:
                rows.append(np.concatenate([x[node], around]))
            else:
                rows.append(x[node] @ own["own"]["kernel"] + around @ own["near"]["kernel"] + own["near"]["bias"])
        x = np.stack(rows)
        if number < len(module.layers) - 1:
            x = np.maximum(x, 0)
    return x / np.linalg.norm(x, axis=1, keepdims=True) if module.unit else x


@pytest.fixture(scope="module")
def sage(filled):
    """Makes modules, whose layers are without values where the last has no map."""
    return lambda **settings: filled(lambda: SAGE(5, hidden_size=4, rngs=nnx.Rngs(0), **settings))


def arrays(graph):
    features, rows = features_of(graph, scaled=False), neighbours.rows_of(graph)
    return jax.tree.map(jnp.asarray, (features, rows))


@pytest.mark.parametrize("weights", [None, WEIGHTS])
@pytest.mark.parametrize("settings", [{}, {"last_map": False}, {"unit": True, "depth": 3}])
@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_a_node_is_what_the_papers_equations_make_of_it(sage, reference, aggregator, settings, weights):
    module, graph = sage(aggregator=aggregator, **settings), made(weights)
    found = np.asarray(module(*arrays(graph)))
    parameters = reference.parameters(module)
    layers = parameters["layers"]
    parameters["layers"] = {i: layers.get(i, {}) for i in range(len(module.layers))}
    np.testing.assert_allclose(found, expected(module, parameters, graph, graph.features.astype(float)), atol=1e-5)
    assert found.shape == (6, module.vector_size)


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_a_permutation_of_nodes_permutes_their_vectors(sage, aggregator):
    module, graph = sage(aggregator=aggregator), made()
    order = np.random.default_rng(1).permutation(6)
    place = np.argsort(order)
    other = Graph.build(NAMES, *place[np.array(LINKS)].T, features=graph.features[order])
    np.testing.assert_allclose(module(*arrays(other)), module(*arrays(graph))[order], atol=1e-6)


def cycle(n=8):
    features = np.random.default_rng(2).normal(size=(n, 5)).astype(np.float32)
    return Graph.build(tuple(map(str, range(n))), np.arange(n), (np.arange(n) + 1) % n, features=features)


@pytest.mark.parametrize("few", [True, False])
@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_draws_that_cover_all_neighbours_give_what_all_neighbours_give(sage, aggregator, few):
    """Also of one node, so that the first layer is computed of the nodes that are met rather than of all."""
    module, graph = sage(aggregator=aggregator), cycle(64)
    features, rows = arrays(graph)
    nodes = jnp.arange(1 if few else 64, dtype=jnp.int32)
    levels = neighbours.levels(key_of(3), rows, nodes, (2, 4), 2)  # every node has two neighbours
    found = module.drawn(features, rows, levels)
    np.testing.assert_allclose(found, module(features, rows)[nodes], atol=1e-5)


@pytest.mark.parametrize("aggregator", ["mean", "gcn"])
def test_the_mean_over_draws_is_that_over_neighbours(sage, aggregator):
    """Of one layer, which is linear; by weights, and of nodes with more and with fewer neighbours than draws."""
    module, graph = sage(aggregator=aggregator, depth=1), made(WEIGHTS)
    features, rows = arrays(graph)
    nodes = jnp.tile(jnp.arange(6, dtype=jnp.int32), 4000)
    found = module.drawn(features, rows, neighbours.levels(key_of(4), rows, nodes, (2,), 2))
    np.testing.assert_allclose(found.reshape(4000, 6, 4).mean(0), module(features, rows), atol=0.03)


@pytest.mark.parametrize("aggregator", AGGREGATORS)
def test_lists_of_features_are_rows_of_them(sage, aggregator):
    rows = np.zeros((6, 5), np.float32)
    rows[[0, 1, 1, 4], [2, 0, 3, 1]] = 1
    lists = {"ids": jnp.asarray([[2, 0], [0, 3], [0, 0], [0, 0], [1, 2], [4, 4]]),
             "values": jnp.asarray([[1.0, 0], [1, 1], [0, 0], [0, 0], [1, 0], [0, 0]])}  # fmt: skip
    module, (_, graph) = sage(aggregator=aggregator), arrays(made())
    np.testing.assert_allclose(module(lists, graph), module({"rows": jnp.asarray(rows)}, graph), atol=1e-6)


def test_dropout_is_on_inputs_and_hidden_and_keeps_the_mean(sage):
    module, graph = sage(dropout=0.5, depth=1), arrays(made())
    run = jax.jit(lambda key: module(*graph, train=True, rngs=nnx.Rngs(dropout=key)))
    found = np.stack([run(key_of(i)) for i in range(1500)])
    np.testing.assert_allclose(found.mean(0), module(*graph), atol=0.15)
    assert found.std(0).min() > 0.1
    with pytest.raises(ValueError, match="dropout needs a key"):
        module(*graph, train=True)


def test_settings_that_do_not_fit_are_named(sage):
    with pytest.raises(ValueError, match="choose a depth of 2 or more"):
        sage(depth=1, last_map=False)
    with pytest.raises(ValueError, match="aggregator is one of 'mean', 'pool', 'gcn'"):
        sage(aggregator="lstm")
    features, rows = arrays(made())
    with pytest.raises(ValueError, match="2 layers need 3 levels of nodes, not 2"):
        sage().drawn(features, rows, [jnp.zeros(1, jnp.int32), jnp.zeros((1, 2), jnp.int32)])
