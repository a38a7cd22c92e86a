"""The bag of words against its formula in NumPy float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxembed.encoders.bag import Bag

V, D = 11, 5
IDS = np.array([[3, 4, 4, 0, 0], [7, 0, 0, 0, 0], [0, 0, 0, 0, 0], [5, 6, 7, 8, 9]])


@pytest.fixture
def bag(filled):
    return filled(lambda: Bag(V, D, dropout=0.5, rngs=nnx.Rngs(0)))


def expected(module, ids):
    table, weight = (np.asarray(x[...], np.float64) for x in (module.token_embedding, module.token_weight))
    weights = np.exp(weight)[ids] * (ids != 0)
    return (table[ids] * weights[..., None]).sum(1) / np.maximum(weights.sum(1, keepdims=True), 1e-30)


def test_it_is_the_weighted_mean_of_token_vectors_in_any_order_and_number(bag):
    found = np.asarray(bag(jnp.asarray(IDS)))
    np.testing.assert_allclose(found, expected(bag, IDS), rtol=1e-5, atol=1e-6)
    assert not found[2].any()
    rng = np.random.default_rng(0)
    long = np.pad(rng.permuted(np.repeat(IDS[3:], 300, axis=1), axis=1), ((0, 0), (0, 77)))
    np.testing.assert_allclose(bag(jnp.asarray(long)), found[3:], rtol=1e-4)
    masked = bag(jnp.asarray(IDS), mask=jnp.asarray((IDS != 4) & (IDS != 0)))
    np.testing.assert_allclose(masked[0], expected(bag, np.array([[3]]))[0], rtol=1e-5)


def test_dropout_leaves_out_whole_tokens(bag):
    ids = jnp.tile(jnp.asarray([[5, 6]]), (400, 1))
    found = np.asarray(bag(ids, train=True, rngs=nnx.Rngs(dropout=1)))
    kinds = np.concatenate([np.zeros((1, D)), expected(bag, np.array([[5, 0], [6, 0], [5, 6]]))])
    nearest = np.abs(found[:, None] - kinds[None]).max(-1)
    np.testing.assert_allclose(nearest.min(1), 0, atol=1e-5)
    counts = np.bincount(nearest.argmin(1), minlength=4)
    assert (counts > 60).all(), counts  # a quarter each


def test_bad_input_says_what_to_do(bag):
    assert np.isnan(bag(jnp.asarray([[V]]))).all()
    with pytest.raises(ValueError, match=r"ids must be \[texts, tokens\]"):
        bag(jnp.zeros(3, jnp.int32))
    with pytest.raises(ValueError, match="dropout needs a key"):
        bag(jnp.asarray(IDS), train=True)


def test_variables_are_float32_and_bfloat16_runs_close(filled):
    one, other = (
        filled(lambda dtype=dtype: Bag(V, D, dtype=dtype, rngs=nnx.Rngs(0))) for dtype in (jnp.float32, jnp.bfloat16)
    )
    assert {leaf.dtype for leaf in jax.tree.leaves(nnx.state(other))} == {jnp.dtype("float32")}
    np.testing.assert_allclose(other(jnp.asarray(IDS)).astype(jnp.float32), one(jnp.asarray(IDS)), rtol=0.05, atol=0.05)
