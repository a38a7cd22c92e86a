import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxembed.objectives import by_chunks, cached

ROWS = 10


def encoder(weights):
    """Two layers, with dropout where there is a key; a chunk's rows are told by their first feature."""

    def encode(rows, key=None):
        hidden = jnp.tanh(rows["x"] @ weights[0])
        if key is not None:
            hidden = jnp.where(jax.random.bernoulli(key, 0.7, hidden.shape), hidden / 0.7, 0)
        return hidden @ weights[1], rows["x"][:, 0]

    return encode


@pytest.mark.parametrize(
    ("chunk", "dropout"), [pytest.param(4, False, marks=pytest.mark.slow), (4, True), (5, False), (99, True)]
)
def test_values_and_gradients_are_those_of_the_whole(chunk, dropout):
    rng = np.random.default_rng(0)
    xs = {"x": jnp.float32(rng.normal(size=(ROWS, 3)))}
    weights = jnp.float32(rng.normal(size=(3, 6))), jnp.float32(rng.normal(size=(6, 2)))
    key = jax.random.key(1) if dropout else None

    def plain(weights, xs):
        if key is None:
            return encoder(weights)(xs)
        keys = jax.random.split(key, -(-ROWS // chunk))
        parts = [{"x": xs["x"][i * chunk : (i + 1) * chunk]} for i in range(len(keys))]
        done = [encoder(weights)(part, key) for part, key in zip(parts, keys, strict=True)]
        return jax.tree.map(lambda *parts: jnp.concatenate(parts), *done)

    def loss(encoded):
        # Every row meets every other, as in a contrast.
        def total(weights, xs):
            vectors, first = encoded(weights, xs)
            return jnp.sum(jnp.tanh(vectors @ vectors.T) * first[:, None]), vectors

        return jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True))

    in_chunks = loss(lambda weights, xs: cached(encoder(weights), xs, chunk, key))
    for ours, theirs in zip(*map(jax.tree.leaves, (in_chunks(weights, xs), loss(plain)(weights, xs))), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_activations_of_one_chunk_at_a_time():
    batch, chunk, width, layers = 8192, 512, 256, 8
    rows = jax.ShapeDtypeStruct((batch, 16), jnp.float32)
    weights = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((16, width), (width, width), (width, 16))]

    def encode(weights, rows):
        hidden = rows @ weights[0]
        for _ in range(layers):
            hidden = jnp.tanh(hidden @ weights[1])
        return hidden @ weights[2]

    def temporary(encoded):
        step = jax.grad(lambda weights, xs: jnp.sum(jnp.square(jnp.mean(encoded(weights, xs), 0, keepdims=True))))
        return jax.jit(step).lower(weights, rows).compile().memory_analysis().temp_size_in_bytes

    activations, vectors, gradients = layers * width * 4, 16 * 4, 4 * width * (width + 2 * 16)
    assert temporary(encode) > batch * activations
    in_chunks = temporary(lambda weights, xs: cached(lambda rows: encode(weights, rows), xs, chunk))
    assert in_chunks < 2 * chunk * activations + 4 * batch * vectors + 4 * gradients


def test_bad_chunks():
    with pytest.raises(ValueError, match="chunk must be 0"):
        by_chunks(jnp.sin, jnp.ones(3), -1)
    with pytest.raises(ValueError, match="chunk must be at least 1"):
        cached(jnp.sin, jnp.ones(3), 0)
