"""The modules behind word vectors: they score as the engine does, with the tables that it trains."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxembed.encoders.tables import GloVeModel, SkipGramModel, table
from jaxembed.methods.glove import GloVe
from jaxembed.methods.skipgram import SkipGram
from jaxembed.sampling.windows import window_weights

WORDS, D = 30, 20


@pytest.fixture(scope="module")
def vectors():
    return np.random.default_rng(0).normal(0, 0.5, (4, WORDS, D + 1)).astype(np.float32)


def lanes(rows):
    return jnp.pad(jnp.asarray(rows), ((0, 0), (0, 32 - rows.shape[1])))


def test_skipgram_scores_as_the_engine_does(vectors):
    method = SkipGram(vector_size=D, block=16, window=3, shared_negatives=4)
    model = SkipGramModel(WORDS, D, key=jax.random.key(0))
    model.centres, model.contexts = table(vectors[0][:, :D]), table(vectors[1][:, :D])
    rng = np.random.default_rng(1)
    tokens, drawn = rng.integers(0, WORDS, (1, 16)), rng.integers(0, WORDS, (1, 4))
    batch = {"tokens": jnp.int32(tokens), "documents": jnp.zeros((1, 16), jnp.int32), "negatives": jnp.int32(drawn)}
    tables = {"in": lanes(vectors[0][:, :D]), "out": lanes(vectors[1][:, :D])}
    rows = {name: tables[of][ids] for name, (of, ids) in method.lookups(batch).items()}
    loss = method.loss(rows, None, None, batch, jax.random.key(0)).value

    weights = window_weights(16, 3, 0)  # [centre, neighbour]
    pairs = model(tokens[0][:, None], tokens[0][None, :])
    against = model(tokens[0][:, None], drawn[0][None, :])
    each = np.sum(weights * np.logaddexp(0, -pairs))
    noise = method.negative / 4 * np.sum(weights.sum(1, keepdims=True) * np.logaddexp(0, against))
    np.testing.assert_allclose(loss, each + noise, rtol=1e-5)


def test_glove_scores_as_the_engine_does(vectors):
    model, rng = GloVeModel(WORDS, D, key=jax.random.key(0)), np.random.default_rng(1)
    model.words, model.contexts = table(vectors[0][:, :D]), table(vectors[1][:, :D])
    model.word_biases[...], model.context_biases[...] = vectors[0][:, D], vectors[1][:, D]
    at, to = rng.permutation(WORDS)[:8], np.arange(8)
    to = np.where(at == to, to + 8, to)
    batch = {"rows": jnp.int32(at), "columns": jnp.int32(to), "counts": jnp.full(8, 20.0)}  # all weigh 1
    method, tables = GloVe(vector_size=D), {"word": lanes(vectors[0]), "context": lanes(vectors[1])}
    rows = {name: tables[of][ids] for name, (of, ids) in method.lookups(batch).items()}
    expected = 0.5 * sum(np.sum((model(a, b) - np.log(20)) ** 2) for a, b in ((at, to), (to, at)))
    np.testing.assert_allclose(method.loss(rows, None, None, batch, jax.random.key(0)).value, expected, rtol=1e-5)


@pytest.mark.parametrize("model", [SkipGramModel, GloVeModel])
def test_they_are_flax_modules_that_can_be_trained(model):
    net = model(WORDS, D, key=jax.random.key(0))
    ids = np.arange(8)
    loss = lambda net: jnp.sum((net(ids, ids + 1) - 1) ** 2)
    gradient = nnx.grad(loss)(net)
    assert all(leaf.shape[0] == WORDS for leaf in jax.tree.leaves(gradient))
    assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(gradient)) > 0
    attended = net.contexts.attend(jnp.ones((2, D)))
    assert attended.shape == (2, WORDS)
