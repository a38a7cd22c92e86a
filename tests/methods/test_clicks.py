"""Methods of clicks against written-out NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxembed.data.fields import Fields
from jaxembed.methods.clicks import DCN, FM, DeepFM, LogisticRegression
from jaxembed.sampling.random import key_of
from jaxembed.training.method import Shard


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    values = (("a", "b", "c"), ("d", "e"), ("f", "g", "h", "i"))
    offsets = np.cumsum([0, *(1 + len(one) for one in values)])[:-1]
    ids = offsets + 1 + np.stack([rng.integers(0, len(one), 40) for one in values], 1)
    return Fields(("x", "y", "z"), values, ids.astype(np.int32), rng.integers(0, 2, 40).astype(np.float32))


def params_of(method, data):
    """Parameters in which nothing is zero."""
    params = method.init(key_of(0), method.source(data).constants)
    rng = np.random.default_rng(1)
    filled = lambda x: jnp.asarray(rng.normal(scale=0.5, size=x.shape), jnp.float32)
    return params._replace(tables=jax.tree.map(filled, params.tables), net=jax.tree.map(filled, params.net))


def dense(tree, x):
    return x @ np.asarray(tree["kernel"], np.float64) + np.asarray(tree["bias"], np.float64)


def net(tree, x):
    for i in range(len(tree["linears"])):
        x = dense(tree["linears"][str(i)], x)
        x = np.maximum(x, 0) if i < len(tree["linears"]) - 1 else x
    return x[:, 0]


def expected(method, params, ids):
    rows, own = np.asarray(params.tables["fields"], np.float64)[ids], params.net
    vectors = rows[..., 1 : 1 + method.vector_size]
    linear = np.asarray(own["bias"], np.float64) + rows[..., 0].sum(1)
    if isinstance(method, LogisticRegression):
        return linear
    pairs = sum((vectors[:, i] * vectors[:, j]).sum(1) for i in range(3) for j in range(i))
    flat = vectors.reshape(len(ids), -1)
    if isinstance(method, DCN):
        x, size = flat, method.vector_size
        for i in range(method.crosses):
            start = 0 if i else x @ np.kron(np.triu(np.ones((3, 3)), 1), np.eye(size)) - 1
            x = flat * (start + dense(own[f"cross_{i}"]["linears"]["0"], x) / size) + x
        return linear + x.sum(1) + dense(own["out"]["linears"]["0"], x)[:, 0] / size + net(own["deep"], flat)
    return linear + pairs + (net(own["deep"], flat) if isinstance(method, DeepFM) else 0)


def test_dcn_starts_as_fm_and_a_net(data):
    method = DCN(vector_size=4, hidden=(5,), start=0.5).suited_to(data)
    params = method.init(key_of(0), method.source(data).constants)
    vectors = np.asarray(params.tables["fields"], np.float64)[data.ids][..., 1:5]
    fm = expected(FM(vector_size=4), params, data.ids)
    assert np.abs(fm).max() > 1  # the vectors are large enough to tell
    logits = fm + net(params.net["deep"], vectors.reshape(len(data), -1))
    np.testing.assert_allclose(method.logits(params, data.ids), logits, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [LogisticRegression(), FM(vector_size=4), DeepFM(vector_size=4, hidden=(5, 3)), DCN(vector_size=4, hidden=(5,))],
)
def test_logits_and_loss_are_the_papers(data, method):
    method = method.suited_to(data)
    params = params_of(method, data)
    logits = expected(method, params, data.ids)
    np.testing.assert_allclose(method.logits(params, data.ids), logits, rtol=1e-4, atol=1e-4)
    source = method.source(data)
    raw = Shard(source.constants, {name: jnp.asarray(x) for name, x in source.piece(0).items()})
    shard = raw.prepared(method.prepare(raw, key_of(0)))
    met, total = [], 0.0
    plain = method.with_(**({"dropout": 0.0} if isinstance(method, DeepFM) else {}))
    for step in range(method.steps(shard)):
        batch = plain.batch(shard, jnp.int32(step), key_of(1))
        rows = {"fields": params.tables["fields"][batch["ids"]]}
        found = plain.loss(rows, params.net, None, batch, key_of(2))
        total += float(found.metrics["loss"])
        there = np.asarray(batch["present"]) > 0
        met += np.asarray(batch["ids"])[there].tolist()
        entries = np.asarray(rows["fields"], np.float64)[there]
        penalty = 0.5 * method.l2 * (entries**2).sum() / there.sum()
        assert float(found.value) == pytest.approx(float(found.metrics["loss"]) / there.sum() + penalty, rel=1e-4)
    assert sorted(met) == sorted(data.ids.tolist())
    assert total == pytest.approx(np.logaddexp(0, np.where(data.label > 0, -logits, logits)).sum(), rel=1e-4)
