"""Recommenders against written-out NumPy: a step's loss, spread vectors, exact solves, filters, and users who change."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxembed.data.histories import HistoryInput
from jaxembed.data.interactions import Interactions
from jaxembed.encoders.functional import encoder
from jaxembed.methods.closed_form import GFCF, IALS, ItemCosine, Popularity, matrix
from jaxembed.methods.lightgcn import LightGCN, spread
from jaxembed.methods.recommend import MF
from jaxembed.methods.sasrec import SASRec
from jaxembed.methods.two_tower import TwoTower
from jaxembed.objectives import BPR, InfoNCE, Softmax, pairwise
from jaxembed.recommender import Recommender
from jaxembed.sampling.random import key_of
from jaxembed.training.method import Shard
from jaxembed.training.settings import Training
from jaxembed.training.step import init_state, train_step
from jaxembed.vectors import KeyedVectors


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    had = rng.random((12, 9)) < 0.4
    had[:, 0] |= ~had.any(1)
    user, item = np.nonzero(had)
    ids = [tuple(map(str, range(n))) for n in had.shape]
    return Interactions(*ids, user.astype(np.int32), item.astype(np.int32))


def batch_of(method, data):
    source = method.source(data)
    raw = Shard(source.constants, {name: jnp.asarray(x) for name, x in source.piece(0).items()})
    shard = raw.prepared(method.prepare(raw, key_of(0)))
    return shard, method.batch(shard, jnp.int32(0), key_of(1))


def losses(scores, at, batch, objective, weight):
    """The objective of each pair, one after the other, in float64."""
    total = 0.0
    for row, (item, present) in enumerate(zip(batch["item"], batch["present"], strict=True)):
        others = [i for i, n in enumerate(batch["negatives"]) if n != item or objective.negatives == "everybody"]
        pos, neg = at[row], scores[row, others]
        t = getattr(objective, "temperature", None)
        if isinstance(objective, BPR):
            one = weight * np.logaddexp(0, neg - pos).sum()
        elif isinstance(objective, Softmax):
            one = np.logaddexp.reduce(neg / t) - pos / t
        else:
            one = np.logaddexp(0, np.logaddexp.reduce(neg / t + np.log(weight)) - pos / t)
        total += present * one
    return total


@pytest.mark.parametrize("objective", [InfoNCE(0.2), BPR(), Softmax(0.5)])
@pytest.mark.parametrize("score", [pytest.param("cosine", marks=pytest.mark.slow), "dot"])
def test_a_pass_of_mf_meets_each_pair_with_its_objective(data, objective, score):
    method = MF(vector_size=4, score=score, objective=objective, shared_negatives=6, batch_size=64)
    shard, batch = batch_of(method, data)
    assert method.steps(shard) == 1
    met = sorted((int(u), int(i)) for u, i, p in zip(batch["user"], batch["item"], batch["present"], strict=True) if p)
    assert met == sorted(zip(data.user.tolist(), data.item.tolist(), strict=True))
    params = method.init(key_of(2), shard.constants)
    rows = {name: params.tables[table][ids] for name, (table, ids) in method.lookups(batch).items()}
    found = method.loss(rows, None, None, batch, key_of(3))
    users, items, others = (np.asarray(rows[name], np.float64) for name in ("users", "items", "others"))
    if score == "cosine":
        users, items, others = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (users, items, others))
    # Uniform draws of 9 items stand for all of them; noise counts as one negative.
    weight = 9 / 6 if objective.negatives == "importance" else 1 / 6
    plain = jax.device_get(batch)
    expected = losses(users @ others.T, (users * items).sum(1), plain, objective, weight)
    np.testing.assert_allclose(found.value, expected, rtol=2e-5)
    assert found.metrics["weight"] == len(data)
    # Inner products of the vectors are the scores.
    vectors = np.asarray(method.vectors(params))
    np.testing.assert_allclose(
        (vectors[:12] @ vectors[12:].T)[plain["user"], plain["item"]], (users * items).sum(1), atol=1e-6
    )


def test_frequent_negatives_weigh_less(data):
    method = MF(ns_exponent=1.0, shared_negatives=50, objective=InfoNCE(1.0), batch_size=64)
    _, batch = batch_of(method, data)
    shares = data.counts / data.counts.sum()
    np.testing.assert_allclose(method._weights(batch), 1 / (50 * shares[np.asarray(batch["negatives"])]), rtol=1e-5)


def test_paths_of_words_are_no_objective_of_recommenders():
    for kind in (MF, SASRec):
        with pytest.raises(ValueError, match="hierarchical_softmax is for words"):
            kind(objective="hierarchical_softmax")


def adjacency(data):
    had = matrix(data).toarray().astype(np.float64)
    whole = np.block([[np.zeros((12, 12)), had], [had.T, np.zeros((9, 9))]])
    degrees = np.maximum(whole.sum(1), 1)
    return whole / np.sqrt(degrees[:, None] * degrees[None])


def test_lightgcn_averages_over_the_graph(data):
    method = LightGCN(vector_size=4, layers=2, score="dot", batch_size=64, shared_negatives=6)
    shard, batch = batch_of(method, data)
    params = method.init(key_of(0), shard.constants)
    a, nodes = adjacency(data), np.asarray(params.net["nodes"], np.float64)
    expected = (nodes + a @ nodes + a @ a @ nodes) / 3
    np.testing.assert_allclose(method.vectors(params, shard.constants), expected, atol=1e-6)
    # The derivative is that of a dense product.
    dense = lambda net: replace(method, layers=0).loss_in(
        shard, {}, {"nodes": (net["nodes"] + a @ net["nodes"] + a @ (a @ net["nodes"])) / 3}, None, batch, key_of(0)
    )
    ours = jax.grad(lambda net: method.loss_in(shard, {}, net, None, batch, key_of(0)).value)(params.net)["nodes"]
    theirs = jax.grad(lambda net: dense(net).value)(params.net)["nodes"]
    np.testing.assert_allclose(ours, theirs, atol=2e-4)


def test_graphs_are_spread_over_for_many_seeds_at_once(data):
    constants = batch_of(LightGCN(batch_size=64, shared_negatives=4), data)[0].constants
    graph = constants["items_of"], constants["users_of"]
    nodes = jax.random.normal(key_of(0), (3, 12, 4)), jax.random.normal(key_of(1), (3, 9, 4))
    value = lambda *x: sum(jnp.sum(one**2) for one in spread(*x, *graph))
    for function in (lambda *x: spread(*x, *graph), jax.grad(value, (0, 1))):
        alone = [function(*(part[i] for part in nodes)) for i in range(3)]
        for found, expected in zip(jax.vmap(function)(*nodes), zip(*alone, strict=True), strict=True):
            np.testing.assert_allclose(found, jnp.stack(expected), rtol=1e-5, atol=1e-6)


def test_ials_solves_the_normal_equations(data):
    method = IALS(vector_size=5, unobserved=0.2, reg=0.05, nu=0.5, rows=4)
    source = method.source(data)
    training = Training()
    numbers = {"total_steps": 1.0, "learning_rate": 0.1, "final_rate": 0.0}
    state = init_state(method, training.optimizers(method, numbers), source.constants, key_of(0))
    before = jax.device_get(state.params.kept)
    shard = Shard(source.constants, source.piece(0)).prepared({})
    state, metrics = train_step(method, training.optimizers(method, numbers), state, shard, jnp.int32(0))
    had = matrix(data).toarray().astype(np.float64)

    def solved(other, had):
        rows = []
        for own in had:
            weight = 0.05 * (own.sum() + 0.2 * len(other)) ** 0.5
            left = other.T @ other * 0.2 + other.T @ (own[:, None] * other) + weight * np.eye(5)
            rows.append(np.linalg.solve(left, other.T @ own))
        return np.stack(rows)

    users = solved(np.float64(before["items"]), had)
    items = solved(users, had.T)
    np.testing.assert_allclose(state.params.kept["users"], users, atol=1e-5)
    np.testing.assert_allclose(state.params.kept["items"], items, atol=1e-5)
    scores = users @ items.T
    expected = (np.sum(had * (1 - scores) ** 2) + 0.2 * np.sum(scores**2)) / had.sum()
    np.testing.assert_allclose(metrics["loss"], expected, rtol=1e-5)


@pytest.mark.parametrize("few", [0, 1000])
def test_filters_equal_their_dense_forms(data, few, monkeypatch):
    monkeypatch.setattr("jaxembed.methods.closed_form._FEW", few)
    had = matrix(data).toarray().astype(np.float64)
    rows = np.array([3, 0, 7])

    def scores(method):
        params = method.init(key_of(0), method.source(data).constants)
        return method.scorer(params, data)(rows)

    unit = had / np.maximum(np.sqrt(had.sum(0)), 1)
    np.testing.assert_allclose(scores(ItemCosine(vector_size=3)), (had @ unit.T @ unit)[rows], atol=1e-5)
    normal = unit / np.sqrt(had.sum(1, keepdims=True))
    v = np.linalg.svd(normal)[2][:4].T
    root = np.sqrt(had.sum(0))
    low = (had / root) @ v @ v.T * root
    expected = had @ normal.T @ normal + 0.3 * low
    np.testing.assert_allclose(scores(GFCF(vector_size=4, alpha=0.3)), expected[rows], atol=1e-4)
    popular = Popularity()
    params = popular.init(key_of(0), popular.source(data).constants)
    np.testing.assert_array_equal(popular.vectors(params, {})[12:, 0], had.sum(0))


def test_a_user_of_sasrec_changes_with_each_item_and_sees_nothing_to_come(data):
    method = SASRec(length=4, batch_size=8).suited_to(data)
    params = method.init(key_of(0), method.source(data).constants)
    net = jax.jit(lambda items: method.encode(params.net, params.kept, {"items": items}))
    encode = lambda *rows: np.asarray(net(jnp.array(rows, jnp.int32)))
    before, after, empty = encode([-1, -1, 2, 5], [-1, 2, 5, 7], [-1, -1, -1, -1])
    assert np.abs(before - after).max() > 1e-3
    assert not empty.any()
    vectors = np.asarray(method.vectors(params, {"histories": jnp.array([[-1, 2, 5, 7]], jnp.int32)}))
    np.testing.assert_allclose(vectors[0], after, atol=1e-6)
    grown = replace(data, user=np.append(data.user, 11), item=np.append(data.item, 8))
    scores = [method.scorer(params, known)(np.array([10, 11])) for known in (data, grown)]
    np.testing.assert_array_equal(scores[0][0], scores[1][0])
    assert np.abs(scores[0][1] - scores[1][1]).max() > 1e-4
    # The loss of a place depends on the items up to the next one alone.
    read = jax.jit(lambda items: method._read(params.net, params.kept, items[None])[0][0])
    np.testing.assert_allclose(read(jnp.array([1, 2, 3, 4]))[:2], read(jnp.array([1, 2, 8, 0]))[:2], atol=1e-6)


def test_sasrec_needs_an_encoder_that_does_not_look_ahead():
    with pytest.raises(ValueError, match="causal=True"):
        SASRec(encoder=encoder("transformer", vocab_size=9))


def test_two_towers_do_not_read_the_item_that_is_to_be_found(data):
    method = TwoTower(vector_size=4, hidden=(6,), length=9, drop=0.0, shared_negatives=6, batch_size=64)
    shard, batch = batch_of(method, data)
    params = method.init(key_of(0), shard.constants)
    value = lambda history: method.loss({}, params.net, None, batch | {"history": history}, key_of(1)).value
    history = batch["history"]
    own = history == batch["item"][:, None]
    assert own.any(1)[np.asarray(batch["present"]) > 0].all()
    np.testing.assert_allclose(value(history), value(jnp.where(own, -1, history)), rtol=1e-6)
    assert not np.allclose(value(history), value(jnp.where(history == 0, -1, history)))


@pytest.mark.slow
def test_what_is_known_of_items_is_added_to_them(data):
    known = replace(
        data, features=np.array([[0, 2]] + [[1, -1]] * 7 + [[-1, -1]], np.int32), feature_names=("a", "b", "c")
    )
    method = TwoTower(vector_size=4, hidden=(6,), length=9, score="dot", shared_negatives=6, batch_size=64)
    params = method.init(key_of(0), method.source(known).constants)
    items, features = np.asarray(params.net["items"]), np.asarray(params.net["features"])
    expected = items.copy()
    expected[0] += features[[0, 2]].mean(0)
    expected[1:8] += features[1]
    found = np.asarray(method.vectors(params, method.source(known).constants))[12:]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    shard, batch = batch_of(method, known)
    del shard
    gradient = jax.grad(lambda net: method.loss({}, net, params.kept, batch, key_of(1)).value)(params.net)
    assert np.abs(gradient["features"]).max() > 0
    assert known.fingerprint != data.fingerprint


@pytest.mark.slow
def test_tied_towers_read_histories_with_the_vectors_that_items_are_found_by(data):
    known = replace(data, features=np.array([[0]] + [[1]] * 7 + [[-1]], np.int32), feature_names=("a", "b"))
    method = TwoTower(vector_size=4, hidden=(6,), length=9, score="dot", batch_size=64, tied=True)
    params = method.init(key_of(0), method.source(known).constants)
    assert set(params.net) == {"tower", "items", "features"}
    found = np.asarray(method.vectors(params, method.source(known).constants))
    users, items = np.split(found, [12])
    read = np.stack([items[data.item[data.user == user]].mean(0) for user in range(12)])
    read /= np.linalg.norm(read, axis=1, keepdims=True)
    net = method.nets()["tower"].apply(params.net["tower"], {}, read)[0]
    np.testing.assert_allclose(users, read + net, atol=1e-5)


@pytest.mark.slow
def test_what_is_known_of_users_is_added_to_what_their_net_reads(data, tmp_path):
    known = replace(
        data, user_features=np.array([[0, 2], *[[1, -1]] * 10, [-1, -1]], np.int32), user_feature_names=("a", "b", "c")
    )
    assert known.fingerprint != data.fingerprint
    method = TwoTower(vector_size=4, hidden=(6,), length=9, score="dot", shared_negatives=6, batch_size=64, drop=0.5)
    shard, batch = batch_of(method, known)
    params = method.init(key_of(0), shard.constants)
    net = jax.tree.map(np.asarray, params.net)
    without = method.init(key_of(0), batch_of(method, data)[0].constants).net
    np.testing.assert_array_equal(net["read"], without["read"])  # nothing else starts in another way
    read = np.stack([net["read"][data.item[data.user == user]].mean(0) for user in range(12)])
    read /= np.linalg.norm(read, axis=1, keepdims=True)
    read[0] += net["user_features"][[0, 2]].mean(0)
    read[1:11] += net["user_features"][1]
    kernels = [(one["kernel"], one["bias"]) for one in (net["tower"]["linears"][i] for i in "01")]
    expected = read + np.maximum(read @ kernels[0][0] + kernels[0][1], 0) @ kernels[1][0] + kernels[1][1]
    vectors = np.asarray(method.vectors(params, shard.constants))
    np.testing.assert_allclose(vectors[:12], expected, atol=1e-5)
    gradient = jax.grad(lambda net: method.loss({}, net, params.kept, batch, key_of(1)).value)(params.net)
    assert np.abs(gradient["user_features"]).max() > 0
    # In use a user keeps them, and a history alone has none.
    kept = HistoryInput(known, np.unique(known.item))
    assert kept.save(tmp_path) == {}
    keys = [f"user/{i}" for i in range(12)] + [f"item/{i}" for i in range(9)]
    model = Recommender(method, params, HistoryInput.open(tmp_path), KeyedVectors(keys, vectors))
    for user, same in ((0, False), (11, True)):
        ordered = data.item[data.user == user].tolist()
        own, stranger = dict(model.recommend(user, 9)), dict(model.recommend(history=ordered, k=9))
        assert own.keys() == stranger.keys()
        assert np.allclose(list(own.values()), [stranger[item] for item in own]) == same
        scores = vectors[12:] @ vectors[user]
        np.testing.assert_allclose(list(own.values()), [scores[int(item)] for item in own], atol=1e-5)


@pytest.mark.parametrize("name", ["margin", "align_uniform", "spectral", "triplet"])
def test_every_pairwise_objective_serves(data, name):
    method = MF(vector_size=4, objective=pairwise(name), shared_negatives=6, batch_size=64)
    _, batch = batch_of(method, data)
    params = method.init(key_of(2), method.source(data).constants)
    rows = {key: params.tables[table][ids] for key, (table, ids) in method.lookups(batch).items()}
    value, gradient = jax.value_and_grad(lambda rows: method.loss(rows, None, None, batch, key_of(3)).value)(rows)
    assert np.isfinite(value)
    assert np.abs(gradient["users"]).max() > 0
