from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxembed.data.graphs import Graph, read_graph
from jaxembed.methods.skipgram import SkipGram
from jaxembed.methods.walks import LINE, DeepWalk, Node2Vec
from jaxembed.sampling.random import key_of
from jaxembed.training.loop import fit
from jaxembed.training.method import Shard
from jaxembed.training.settings import Training


@pytest.fixture(scope="module")
def graph():
    return read_graph("karate")


def prepared(method, graph, seed=0):
    method = method.suited_to(graph)
    source = method.source(graph)
    constants, piece = (jax.tree.map(jnp.asarray, part) for part in (source.constants, source.piece(0)))
    shard = Shard(constants, piece)
    own = jax.jit(lambda key: method.prepare(shard, key))(key_of(seed))
    return method, shard.prepared(own)


def test_deepwalk_is_skipgram_on_its_walks(graph):
    """The loss of a batch is Skip-gram's on the same tokens, which is tested against a reference of its own."""
    method, shard = prepared(DeepWalk(walks=3, walk_length=12, window=4), graph)
    assert type(method).loss is SkipGram.loss
    own = {name: np.asarray(value) for name, value in shard.own.items() if name != "order"}
    walks = own["tokens"].reshape(3 * 34, 12)
    assert walks[:, 0].tolist() == list(range(34)) * 3
    assert own["documents"].reshape(3 * 34, 12).tolist() == np.repeat(np.arange(102)[:, None], 12, 1).tolist()
    met = []
    batches = jax.jit(lambda step: method.batch(shard, step, key_of(1)))
    for step in range(method.steps(shard)):
        batch = batches(step)
        met += [row[0] for row, tokens in zip(batch["documents"].tolist(), batch["tokens"].tolist(), strict=True)
                if row[0] >= 0 and len(set(row)) == 1 and tokens == walks[row[0]].tolist()]  # fmt: skip
    assert sorted(met) == list(range(102))  # each walk is a block, and a pass meets it once


def test_a_pair_of_a_walk_weighs_what_word2vecs_windows_make_of_its_distance(graph):
    band = DeepWalk(walks=1, walk_length=9, window=4).suited_to(graph).band()
    distance = np.abs(np.arange(9)[:, None] - np.arange(9)[None])
    np.testing.assert_allclose(band, np.where(distance > 0, np.maximum(5 - distance, 0) / 4, 0), rtol=1e-6)


def test_each_pass_has_walks_of_its_own(graph):
    method, shard = prepared(DeepWalk(walks=2), graph)
    _, other = prepared(DeepWalk(walks=2), graph, seed=1)
    assert (np.asarray(shard.own["tokens"]) != np.asarray(other.own["tokens"])).any()
    assert method.source(graph).pieces == 1


def test_stored_walks_are_the_same_in_each_pass_and_their_order_is_not(graph):
    passes = [prepared(DeepWalk(walks=2, stored=True), graph, seed)[1].own for seed in (0, 1)]
    np.testing.assert_array_equal(passes[0]["tokens"], passes[1]["tokens"])
    assert (jax.random.key_data(passes[0]["order"]) != jax.random.key_data(passes[1]["order"])).any()
    with pytest.raises(ValueError, match="stored walks are one piece"):
        DeepWalk(walks=2, stored=True, shard_tokens=40).source(graph)


def test_pieces_share_the_walks_of_a_pass_equally(graph):
    source = DeepWalk(walks=12, walk_length=10, shard_tokens=34 * 10 * 5).suited_to(graph).source(graph)
    assert source.pieces == 3  # of four walks from each node, since five do not divide twelve
    assert source.rows == 4 * 34
    assert source.size == 12 * 34 * 10


def test_node2vec_with_p_and_q_of_one_walks_as_deepwalk_does(graph):
    _, shard = prepared(Node2Vec(walks=200, walk_length=5), graph)
    _, plain = prepared(DeepWalk(walks=200, walk_length=5), graph)
    visits = [np.bincount(np.asarray(one.own["tokens"]), minlength=34) for one in (shard, plain)]
    np.testing.assert_allclose(*visits, rtol=0.15)


def test_node2vecs_that_train_in_one_program_have_walks_of_their_own(graph):
    own = Node2Vec(walks=40, walk_length=5, vector_size=8).suited_to(graph)
    vary = {"p": [0.25, 8.0, 8.0], "q": [1.0, 1.0, 0.25]}
    group = fit(own, graph, Training(epochs=1), seeds=(3, 3, 3), vary=vary).vectors
    alone = [
        fit(replace(own, p=p, q=q), graph, Training(epochs=1), seeds=(3,)).vectors[0]
        for p, q in zip(*vary.values(), strict=True)
    ]
    np.testing.assert_array_equal(group, alone)
    assert min(np.abs(alone[i] - alone[j]).max() for i, j in ((0, 1), (1, 2), (0, 2))) > 0.01


def test_line_draws_links_in_proportion_to_weight():
    graph = Graph.build(tuple("abcd"), [0, 1, 2], [1, 2, 3], [1.0, 2.0, 7.0])
    _, shard = prepared(LINE(samples=20_000, vector_size=8), graph)
    ends = np.asarray(shard.own["tokens"]).reshape(-1, 2)
    assert len(ends) == 60_000
    counts = {pair: (np.sort(ends, 1) == pair).all(1).mean() for pair in ((0, 1), (1, 2), (2, 3))}
    np.testing.assert_allclose(list(counts.values()), [0.1, 0.2, 0.7], atol=0.01)
    assert (ends[:, 0] < ends[:, 1]).mean() == pytest.approx(0.5, abs=0.01)


def reference(order, centres, contexts, tokens, pairs, negatives, method):
    """LINE's objective with negative sampling, pair by pair: Tang et al. 2015, eq. 7."""
    total, log_sigmoid = 0.0, lambda x: -np.logaddexp(0, -x)
    other = centres if order == "first" else contexts
    for block, own in enumerate(pairs):
        for i, j in own:
            u, v = tokens[block][i], tokens[block][j]
            total -= log_sigmoid(centres[u] @ other[v])
            share = method.negative / method.shared_negatives
            total -= share * sum(log_sigmoid(-centres[u] @ other[k]) for k in negatives[block])
    return total


@pytest.mark.parametrize("one_way", [False, True])
@pytest.mark.parametrize("order", ["first", "second", "both"])
def test_lines_loss_is_that_of_its_paper(graph, order, one_way):
    method, shard = prepared(LINE(order=order, samples=4, vector_size=6, block=16, tile=8, shared_negatives=5), graph)
    method = replace(method, one_way=one_way)
    batch = method.batch(shard, jnp.int32(1), key_of(2))
    random = np.random.default_rng(0)
    tables = {name: random.normal(size=(34, 8)).astype(np.float32) for name in ("in", "out")}
    rows = {name: jnp.asarray(tables[table][np.asarray(ids)]) for name, (table, ids) in method.lookups(batch).items()}
    found = float(method.loss(rows, None, None, batch, None).value)
    tokens, documents = np.asarray(batch["tokens"]), np.asarray(batch["documents"])
    pairs = [
        [pair for i in range(0, 16, 2) if row[i] >= 0 and row[i] == row[i + 1]
         for pair in ([(i, i + 1)] if one_way else [(i, i + 1), (i + 1, i)])]
        for row in documents
    ]  # fmt: skip
    parts = {"first": slice(0, 3), "second": slice(3, 6)} if order == "both" else {order: slice(0, 6)}
    expected = sum(
        reference(name, tables["in"][:, columns].astype(float), tables["out"][:, columns].astype(float), tokens, pairs,
                  np.asarray(batch["negatives"]), method)
        for name, columns in parts.items()
    )  # fmt: skip
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_directed_graph_is_learned_one_way():
    graph = Graph.build(tuple("abc"), [0, 1], [1, 2], directed=True)
    assert LINE().suited_to(graph).one_way
    assert not LINE().suited_to(read_graph("karate")).one_way


@pytest.mark.parametrize(
    ("settings", "told"),
    [({"tile": 5, "block": 20}, "tile must be even"), ({"vector_size": 7}, "vector_size"),
     ({"objective": "hierarchical_softmax"}, "line draws negatives"), ({"order": "third"}, "order")],
)  # fmt: skip
def test_lines_settings_are_checked(settings, told):
    with pytest.raises(ValueError, match=told):
        LINE(**settings)


@pytest.mark.parametrize("method", [DeepWalk(), LINE()])
def test_a_graph_without_links_is_refused(method):
    with pytest.raises(ValueError, match="no links between two nodes"):
        method.suited_to(Graph.build(tuple("ab"), [0], [0]))


@pytest.mark.parametrize("method", [DeepWalk(vector_size=16, walks=20), LINE(vector_size=16, samples=200)])
def test_linked_nodes_come_near_and_a_node_without_links_stays(method, graph):
    more = Graph.build((*graph.nodes, "alone"), *graph.links.T)
    found = np.asarray(fit(method, more, Training(1, 0.3), seeds=(1,)).vectors)[0]
    unit = found / np.linalg.norm(found, axis=1, keepdims=True)
    cosines = unit @ unit.T
    linked = cosines[tuple(graph.links.T)].mean()
    assert linked > cosines[:34, :34].mean() + 0.1
    assert np.isfinite(found).all()
