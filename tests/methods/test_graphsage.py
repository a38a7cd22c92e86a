"""GraphSAGE on a small graph: its losses in NumPy float64, what is seen in training, what it tells, and what it refuses."""

import os
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxembed.data.graphs import Graph, read_graph
from jaxembed.data.parts import by_hash
from jaxembed.encoders.functional import encoder
from jaxembed.methods.graphsage import (
    GraphSAGE,
    GraphSAGEUnsupervised,
    NodeFeatures,
    embed_nodes,
    features_of,
)
from jaxembed.methods.walks import DeepWalk
from jaxembed.objectives import PAIRWISE
from jaxembed.recipes import recipe
from jaxembed.sampling.random import key_of
from jaxembed.training.dense import Dense
from jaxembed.training.loop import fit
from jaxembed.training.method import Shard
from jaxembed.training.settings import Training

NET = encoder("sage", input_size=1, hidden_size=8)
TRAINING = Training(1, 0.05, dense=Dense())


def known(graph, features=6, seed=0):
    """The graph with features that say a little of its groups, and parts."""
    random = np.random.default_rng(seed)
    rows = random.normal(size=(len(graph), features)) + graph.labels.argmax(1)[:, None]
    part = by_hash(graph.nodes, graph.labels.argmax(1), 0.4, 0.2)
    return replace(graph, features=np.float32(rows), part=part)


@pytest.fixture(scope="module")
def karate():
    return known(read_graph("karate"))


def prepared(method, graph, seed=0):
    method = method.suited_to(graph)
    source = method.source(graph)
    shard = Shard(*(jax.tree.map(jnp.asarray, part) for part in (source.constants, source.piece(0))))
    return method, shard.prepared(method.prepare(shard, key_of(seed)))


@pytest.mark.parametrize("fanout", [(), (3, 2)])
def test_the_loss_is_the_cross_entropy_of_the_groups_of_a_batch(karate, fanout):
    method, shard = prepared(GraphSAGE(encoder=NET, fanout=fanout), karate)
    batch = method.batch(shard, jnp.int32(0), key_of(1))
    params = method.init(key_of(2), shard.constants)
    found = method.loss_in(shard, {}, params.net, None, batch, key_of(3))
    assert (
        sorted(np.asarray(batch["node"])[np.asarray(batch["present"]) > 0])
        == np.flatnonzero(karate.part == "train").tolist()
    )
    if not fanout:
        vectors = np.asarray(method.vectors(params, shard.constants), np.float64)
        head = {name: np.asarray(x, np.float64) for name, x in params.net["head"]["linears"]["0"].items()}
        logits = (vectors @ head["kernel"] + head["bias"])[karate.part == "train"]
        log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        truth = karate.labels[karate.part == "train"].argmax(1)
        assert float(found.value) == pytest.approx(-log_p[np.arange(len(truth)), truth].mean(), rel=1e-5)
    assert float(found.value) == pytest.approx(float(found.metrics["loss"] / found.metrics["weight"]), rel=1e-6)


def test_a_pass_meets_each_node_as_often_as_asked_and_each_time_in_another_order(karate):
    method, shard = prepared(GraphSAGE(encoder=NET, batch_size=4, repeats=3), karate)
    met, steps = [], method.steps(shard)
    for step in range(steps):
        batch = method.batch(shard, jnp.int32(step), key_of(0))
        met.append(np.asarray(batch["node"])[np.asarray(batch["present"]) > 0].tolist())
    rounds = [[node for one in met[i : i + steps // 3] for node in one] for i in range(0, steps, steps // 3)]
    train = np.flatnonzero(karate.part == "train").tolist()
    assert [sorted(one) for one in rounds] == [train] * 3
    assert rounds[0] != rounds[1]


def test_neighbours_are_drawn_anew_in_each_step(karate):
    method, shard = prepared(GraphSAGE(encoder=NET, fanout=(3, 2)), karate)
    one, same, other = (method.batch(shard, jnp.int32(0), key_of(i)) for i in (1, 1, 2))
    np.testing.assert_array_equal(one["level_2"], same["level_2"])
    assert (one["level_1"] != other["level_1"]).any()
    assert one["level_2"].shape == (method.batch_size, 3, 2)


@pytest.mark.parametrize("fanout", [(), (3, 2)])
@pytest.mark.parametrize("objective", [name for name in PAIRWISE if name != "hierarchical_softmax"])
def test_every_pairwise_objective_learns_from_walks(karate, objective, fanout):
    method, shard = prepared(
        GraphSAGEUnsupervised(encoder=NET, objective=objective, shared_negatives=9, batch_size=16, fanout=fanout),
        karate,
    )
    params = method.init(key_of(2), shard.constants)
    batch = jax.jit(lambda: method.batch(shard, jnp.int32(0), key_of(1)))()
    loss = lambda net: method.loss_in(shard, {}, net, None, batch, key_of(3)).value
    value, slopes = jax.jit(jax.value_and_grad(loss))(params.net)
    assert np.isfinite(value)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))
    assert max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(slopes)) > 0
    if fanout or objective != "negative_sampling":
        return
    vectors = np.asarray(method.vectors(params, shard.constants), np.float64)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    total, log_sigmoid = [], lambda x: -np.logaddexp(0, -x)
    for node, positive, present in zip(
        *(np.asarray(batch[name]) for name in ("node", "positive", "present")), strict=True
    ):
        own = [n for n in np.asarray(batch["negatives"]) if n not in (node, positive)]
        terms = sum(log_sigmoid(-unit[node] @ unit[n]) for n in own) / 9
        total += [-(log_sigmoid(unit[node] @ unit[positive]) + terms)] if present else []
    assert float(value) == pytest.approx(np.mean(total), rel=1e-5)


def test_positives_are_other_nodes_that_a_walk_reaches(karate):
    lonely = Graph.build((*karate.nodes, "alone"), *karate.links.T)
    method, shard = prepared(GraphSAGEUnsupervised(encoder=NET, walk_length=3, batch_size=36), lonely)
    linked = {(int(a), int(b)) for a, b in lonely.links} | {(int(b), int(a)) for a, b in lonely.links}
    near = np.zeros((35, 35), bool)
    near[tuple(np.array(sorted(linked)).T)] = True
    within = near | (near.astype(int) @ near > 0)
    for step in range(8):
        batch = {k: np.asarray(v) for k, v in method.batch(shard, jnp.int32(step), key_of(step)).items()}
        assert 34 not in batch["node"]  # nobody is near a node without links, and it is no negative
        assert 34 not in batch["negatives"]
        there = batch["present"] > 0
        assert (batch["node"] != batch["positive"])[there].all()
        assert within[batch["node"], batch["positive"]][there].all()
    assert there.sum() > 20


def test_a_link_without_a_way_back_has_an_end_that_starts_no_walk():
    graph = Graph.build(tuple("abc"), [0, 1], [1, 2], directed=True)
    method, shard = prepared(GraphSAGEUnsupervised(encoder=NET, batch_size=4), graph)
    batch = method.batch(shard, jnp.int32(0), key_of(0))
    pairs = {(int(a), int(b)) for a, b, p in zip(batch["node"], batch["positive"], batch["present"], strict=True) if p}
    assert pairs <= {(0, 1), (0, 2), (1, 2)}


@pytest.mark.parametrize("kind", [GraphSAGE, GraphSAGEUnsupervised])
def test_nothing_of_unseen_nodes_changes_what_is_trained_and_they_are_embedded_after(karate, kind):
    unseen = np.isin(karate.part, ["validation", "test"])
    random = np.random.default_rng(5)
    features = np.where(unseen[:, None], random.normal(size=karate.features.shape), karate.features).astype(np.float32)
    ends = np.concatenate([karate.links, np.stack([np.flatnonzero(unseen)[:-1], np.flatnonzero(unseen)[1:]], 1)])
    other = replace(
        Graph.build(karate.nodes, *ends.T), features=features, part=karate.part,
        labels=np.where(unseen[:, None], ~karate.labels, karate.labels), label_names=karate.label_names,
    )  # fmt: skip
    results = [fit(kind(encoder=NET), one.inductive(unseen), TRAINING, seeds=(1,)) for one in (karate, other)]
    for mine, theirs in zip(*(jax.tree.leaves(one.params[0]) for one in results), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    vectors = [embed_nodes(results[0].method, results[0].params[0], one)[0] for one in (karate, other)]
    assert np.abs(vectors[0] - vectors[1])[unseen].max() > 0.01
    with pytest.raises(ValueError, match="inductive"):
        DeepWalk().suited_to(karate.inductive(unseen))
    with pytest.raises(ValueError, match="leave inductive out"):
        NodeFeatures().source(karate.inductive(unseen))


def test_seeds_train_at_once_as_alone(karate):
    method = GraphSAGE(encoder=NET.with_(dropout=0.5), fanout=(3, 2), repeats=3)
    alone, both = (fit(method, karate, TRAINING, seeds=seeds, seeds_by="vmap") for seeds in ((2,), (1, 2)))
    np.testing.assert_allclose(both.vectors[1], alone.vectors[0], atol=2e-5)


@pytest.mark.parametrize("name", ["graphsage", "graphsage_unsupervised"])
def test_the_shipped_graph_is_told_well_above_chance_without_features(name):
    one = recipe(name)
    task = one.task
    result = fit(one.method, task.found.train, one.training, seeds=(1, 2))
    assert result.method.inputs == "ids"
    accuracy = []
    for params, vectors in zip(result.params, result.vectors, strict=True):
        product = task.product(result.method, params, vectors)
        accuracy.append(task._judged(product.vectors, product.expandos.get("group"))["nodes/accuracy"])
    assert np.mean(accuracy) > 0.7  # half is chance


@pytest.mark.slow
@pytest.mark.skipif(
    not os.environ.get("JAXEMBED_DATA"), reason="JAXEMBED_DATA does not name the folder of the datasets"
)
@pytest.mark.parametrize(("inductive", "least"), [(False, 0.79), (True, 0.77)])
def test_cora_is_told_by_its_public_split(inductive, least):
    one = recipe("graphsage").with_(data="cora", inductive=inductive)
    task, accuracy = one.task, []
    result = fit(one.method, task.found.train, replace(one.training, epochs=20), seeds=(1, 2))
    for params, vectors in zip(result.params, result.vectors, strict=True):
        product = task.product(result.method, params, vectors)
        accuracy.append(task._judged(product.vectors, product.expandos["group"])["nodes/accuracy"])
    assert np.mean(accuracy) > least


def test_features_are_scaled_and_short_ones_become_lists():
    rows = np.zeros((3, 40), np.float32)
    rows[0, [3, 7]], rows[1, 39] = [1, -3], 5
    graph = Graph.build(tuple("abc"), [0], [1], features=rows)
    found = features_of(graph)
    dense = np.zeros((3, 40))
    np.add.at(dense, (np.arange(3)[:, None], found["ids"]), found["values"])
    np.testing.assert_allclose(dense, rows / np.array([[4], [5], [1]]))
    assert found["ids"].shape == (3, 2)
    np.testing.assert_array_equal(features_of(replace(graph, features=rows[:, :8]), scaled=False)["rows"], rows[:, :8])


def test_nodes_without_features_are_known_by_id_or_by_degree():
    graph = Graph.build(tuple("abcde"), [0, 0, 0, 1], [1, 2, 3, 2])
    bits = features_of(graph, "degrees")
    assert bits["ids"][:, 0].tolist() == [2, 2, 2, 1, 0]
    assert (bits["values"] == 1).all()
    ids = features_of(graph, "ids", ids=("c", "x", "a"))
    assert ids["ids"][:, 0].tolist() == [2, 0, 0, 0, 0]
    assert ids["values"][:, 0].tolist() == [1, 0, 1, 0, 0]
    suited = GraphSAGEUnsupervised(encoder=NET).suited_to
    assert (suited(graph).inputs, suited(graph).encoder["input_size"]) == ("ids", 5)
    apart = graph.inductive(np.array([False] * 4 + [True]))
    assert (suited(apart).inputs, suited(apart).encoder["input_size"]) == ("degrees", 32)


def test_a_node_that_only_labels_or_only_links_name_is_embedded():
    rows = np.float32([[1, 0], [0, 1], [0, 0]])
    graph = Graph.build(tuple("abc"), [0], [1], features=rows)  # c is linked with nobody, and has no features
    method = GraphSAGEUnsupervised(encoder=NET).suited_to(graph)
    vectors, groups = embed_nodes(method, method.init(key_of(0), {}), graph)
    assert np.isfinite(vectors).all()
    assert groups is None


def wrong(graph, **changes):
    return replace(graph, **changes)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda g: wrong(g, labels=None), "no nodes to learn groups from"),
        (lambda g: wrong(g, part=None), "no nodes to learn groups from"),
        (lambda g: wrong(g, part=np.full(34, "test", object)), "one of them called train"),
        (lambda g: wrong(g, labels=np.zeros_like(g.labels)), "is of the training part and has no group"),
        (lambda g: wrong(g, labels=np.ones_like(g.labels)), "several groups"),
    ],
)
def test_groups_that_cannot_be_learned_are_refused(karate, change, told):
    with pytest.raises(ValueError, match=told):
        GraphSAGE(encoder=NET).suited_to(change(karate))


def test_settings_and_features_that_do_not_fit_are_refused(karate):
    with pytest.raises(ValueError, match="fanout must have a number for each of the 2 layers"):
        GraphSAGE(encoder=NET, fanout=(5,))
    with pytest.raises(ValueError, match="no links between two nodes"):
        GraphSAGEUnsupervised(encoder=NET).suited_to(Graph.build(("a", "b"), [0], [0]))
    with pytest.raises(ValueError, match="hierarchical_softmax"):
        GraphSAGEUnsupervised(encoder=NET, objective="hierarchical_softmax")
    method = GraphSAGE(encoder=NET).suited_to(karate)
    params = method.init(key_of(0), {})
    for other, has in ((known(karate, 7), "7"), (replace(karate, features=None), "none")):
        with pytest.raises(ValueError, match=f"known by 6 features, and these have {has}"):
            embed_nodes(method, params, other)


def test_coupled_l2_is_part_of_the_gradient_that_adam_sees(karate):
    """One step of Adam against its formula: the sign of the gradient with the decay in it."""
    method = GraphSAGE(encoder=NET, repeats=1)
    start = fit(method, karate, Training(1, 1e-9, dense=Dense()), seeds=(1,)).params[0].net
    suited, shard = prepared(method, karate)
    batch = suited.batch(shard, jnp.int32(0), key_of(0))
    slopes = jax.grad(lambda net: suited.loss_in(shard, {}, net, None, batch, key_of(0)).value)(start)
    moved = fit(method, karate, Training(1, 0.1, dense=Dense(l2=10.0, schedule="constant")), seeds=(1,)).params[0].net
    kernel = lambda tree: np.asarray(tree["encoder"]["layers"]["0"]["near"]["kernel"])
    bias = lambda tree: np.asarray(tree["encoder"]["layers"]["0"]["near"]["bias"])
    for part, decay in ((kernel, 10.0), (bias, 0.0)):
        seen = part(slopes) + decay * part(start)
        sure = np.abs(seen) > 1e-4
        np.testing.assert_allclose((part(moved) - part(start))[sure], -0.1 * np.sign(seen)[sure], atol=2e-4)
    assert (np.sign(kernel(slopes)) != np.sign(kernel(slopes) + 10 * kernel(start))).any()
