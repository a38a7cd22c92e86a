import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxembed.encoders.attention import ACTIVATIONS, Block, LayerNorm, SelfAttention, dropout, masked_softmax

B, L, D, HEADS = 2, 5, 8, 2


@pytest.fixture(scope="module")
def given():
    return np.random.default_rng(0).normal(size=(B, L, D)).astype(np.float32)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_equals_the_reference(given, reference, filled, causal):
    module = filled(lambda: SelfAttention(D, HEADS, causal=causal, rngs=nnx.Rngs(0)))
    mask = np.array([[1, 1, 1, 0, 0], [0, 1, 0, 1, 1]], bool)  # causal: the second text's first place sees nothing
    p = reference.parameters(module)
    expected = reference.attention(p, given.astype(np.float64), HEADS, mask, causal)
    np.testing.assert_allclose(jax.jit(module)(given, mask), expected, atol=1e-5)
    whole = reference.attention(p, given.astype(np.float64), HEADS, None, causal)
    np.testing.assert_allclose(jax.jit(module)(given), whole, atol=1e-5)


def test_where_all_keys_are_masked_the_output_is_finite_and_the_gradient_zero(given, filled):
    module = filled(lambda: SelfAttention(D, HEADS, rngs=nnx.Rngs(0)))
    mask = jnp.asarray([[False] * L, [True] * L])
    weight = jnp.asarray(np.random.default_rng(1).normal(size=given.shape), jnp.float32)

    @jax.jit
    @jax.value_and_grad
    def total(x):
        return jnp.sum(module(x, mask) * weight)

    for scale in (1, 1e4):
        value, gradient = total(given * scale)
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
        assert not np.asarray(gradient[0]).any()
        assert np.asarray(gradient[1]).any()
    np.testing.assert_allclose(jax.jit(module)(given, mask)[0], np.tile(module.out.bias[...], (L, 1)), atol=1e-7)


def test_masked_softmax_and_its_gradient_in_float64():
    rng = np.random.default_rng(2)
    scores, cotangent = rng.normal(0, 3, (2, 3, 4, 5)).astype(np.float32)
    present = rng.random((3, 4, 5)) < 0.6
    present[0, :, 1] = False

    def softmax(scores):
        e = np.where(present, np.exp(scores), 0)
        return e / np.maximum(e.sum(-2, keepdims=True), 1e-300)

    value, pull = jax.vjp(masked_softmax, scores, present)
    np.testing.assert_allclose(value, softmax(scores.astype(np.float64)), atol=1e-6)
    w = softmax(scores.astype(np.float64))
    expected = w * (cotangent - (w * cotangent).sum(-2, keepdims=True))
    np.testing.assert_allclose(pull(cotangent)[0], expected, atol=1e-5)
    assert not np.asarray(value)[0, :, 1].any()
    huge = masked_softmax(jnp.asarray(np.where(present, 1e30, -1e30), jnp.float32), jnp.asarray(present))
    assert np.isfinite(huge).all()


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_and_their_derivatives(name, reference):
    x = np.linspace(-8, 8, 401)
    formula, ours = reference.activations[name], ACTIVATIONS[name]
    np.testing.assert_allclose(ours(jnp.asarray(x, jnp.float32)), formula(x), atol=3e-6)
    slope = jax.vmap(jax.grad(lambda x: ours(x)))(jnp.asarray(x, jnp.float32))
    away = np.abs(x) > 1e-3  # relu has no derivative at 0
    expected = (formula(x + 1e-5) - formula(x - 1e-5)) / 2e-5
    np.testing.assert_allclose(np.asarray(slope)[away], expected[away], atol=1e-5)


def test_layer_norm_and_its_gradient_far_from_zero(reference):
    rng = np.random.default_rng(3)
    x = (rng.normal(size=(6, 8)) + 100).astype(np.float32)
    module = LayerNorm(8, epsilon=1e-12)
    module.scale[...], module.bias[...] = (jnp.asarray(rng.normal(size=8), jnp.float32) for _ in range(2))
    p, cotangent = reference.parameters(module), rng.normal(size=(6, 8)).astype(np.float32)
    graph, state = nnx.split(module)
    value, pull = jax.vjp(lambda state, x: nnx.merge(graph, state)(x), state, x)
    formula = lambda p, x: reference.layer_norm(p, x, 1e-12)
    np.testing.assert_allclose(value, formula(p, x.astype(np.float64)), atol=2e-4)
    to_state, to_x = pull(cotangent)

    def slope(f, at, h=1e-4):  # central differences of sum(f * cotangent)
        out = np.zeros_like(at)
        for i in np.ndindex(*at.shape):
            step = np.zeros_like(at)
            step[i] = h
            out[i] = np.sum((f(at + step) - f(at - step)) * cotangent) / (2 * h)
        return out

    x = x.astype(np.float64)
    np.testing.assert_allclose(to_x, slope(lambda x: formula(p, x), x), atol=2e-3)
    for name in ("scale", "bias"):
        expected = slope(lambda v, name=name: formula(p | {name: v}, x), p[name])
        np.testing.assert_allclose(to_state[name][...], expected, atol=2e-3)


def test_dropout_zeroes_the_share_it_says_and_keeps_the_mean():
    x, key = jnp.ones((101, 997)), jax.random.key(0)
    for rate in (0.1, 0.5):
        y = np.asarray(dropout(x, rate, key))
        deviation = np.sqrt(rate * (1 - rate) / x.size)
        assert abs((y == 0).mean() - rate) < 5 * deviation
        np.testing.assert_allclose(np.unique(y), [0, 1 / (1 - rate)], rtol=1e-4)
        rows = (y == 0).astype(float) - rate  # neighbours, which share a random word, are independent
        pairs = (rows[:, 1:] * rows[:, :-1]).ravel()
        assert abs(pairs.mean()) < 5 * rate * (1 - rate) / np.sqrt(pairs.size)
    assert dropout(x, 0.5, None) is x


def test_settings_that_cannot_be():
    for settings, message in (
        ({"heads": 3}, "hidden_size 8 must be a multiple of heads 3"),
        ({"norm": "both"}, "norm is one of 'post', 'pre', not 'both'"),
        ({"activation": "swish"}, "activation is one of 'gelu', 'gelu_tanh', 'quick_gelu', 'relu', not 'swish'"),
        ({"dropout": 1.0}, "dropout must be at least 0 and less than 1, not 1.0"),
    ):
        with pytest.raises(ValueError, match=message):
            Block(**({"hidden_size": D, "heads": HEADS, "mlp_size": 4} | settings), rngs=nnx.Rngs(0))
