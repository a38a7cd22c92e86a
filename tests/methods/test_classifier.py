"""The classifier: its loss against NumPy in float64, and a start from a trained encoder."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from jaxembed.data.tokenized import TokenizedTexts
from jaxembed.encoders.functional import encoder
from jaxembed.methods.classifier import Classifier
from jaxembed.training.method import Shard

WORDS, CLASSES = 30, 3


def texts(n=12, length=6, seed=0):
    random = np.random.default_rng(seed)
    ids = random.integers(1, WORDS, (n, length)).astype(np.int32)
    ids[np.arange(length)[None] >= random.integers(2, length + 1, n)[:, None]] = 0
    return TokenizedTexts(ids, random.integers(0, CLASSES, n).astype(np.int32), CLASSES, WORDS, 8)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_loss_is_the_cross_entropy_of_a_linear_map_of_the_mean_token(smoothing):
    data = texts()
    net = encoder("bag", vocab_size=1, hidden_size=5, dropout=0.0)
    method = Classifier(encoder=net, smoothing=smoothing, watch=2).suited_to(data)
    assert method.classes == CLASSES
    params = method.init(jax.random.key(0), method.source(data).constants)
    batch = method.examples(data)
    found = method.loss({}, params.net, params.kept, batch, jax.random.key(1))
    table = np.asarray(jax.tree.leaves(params.net["encoder"]["token_embedding"])[0], np.float64)
    assert table.shape == (WORDS, 5)
    vectors = np.asarray(method.encode(params.net, params.kept, batch), np.float64)
    arrays = [np.asarray(x, np.float64) for x in jax.tree.leaves(params.net["head"])]
    weight = next(x for x in arrays if x.ndim == 2)
    bias = next((x for x in arrays if x.ndim == 1), np.zeros(CLASSES))
    logits = vectors @ weight + bias
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    wanted = np.eye(CLASSES)[data.labels] * (1 - smoothing) + smoothing / CLASSES
    assert float(found.value) == pytest.approx(-(wanted * logs).sum(1).mean(), rel=1e-5)
    np.testing.assert_allclose(method.logits(params.net, params.kept, batch), logits, rtol=1e-4, atol=1e-6)
    assert float(found.metrics["weight"]) == len(data.labels)


def test_padding_behind_a_text_changes_nothing():
    data = texts()
    net = encoder("transformer", vocab_size=1, hidden_size=8, depth=1, heads=2, dropout=0.0)
    method = Classifier(encoder=net, watch=2).suited_to(data)
    params = method.init(jax.random.key(0), method.source(data).constants)
    wide = np.pad(data.ids, ((0, 0), (0, 2)))
    logits = [method.logits(params.net, params.kept, {"ids": ids}) for ids in (data.ids, wide)]
    np.testing.assert_allclose(*logits, atol=1e-5)


def many(n=5000):
    """Texts of 2 to 40 words, most of them short."""
    random = np.random.default_rng(3)
    ids = random.integers(1, WORDS, (n, 40)).astype(np.int32)
    sizes = 2 + random.binomial(38, random.choice([0.1, 0.3, 0.9], n, p=[0.6, 0.35, 0.05]))
    ids[np.arange(40)[None] >= sizes[:, None]] = 0
    return TokenizedTexts(ids, random.integers(0, CLASSES, n).astype(np.int32), CLASSES, WORDS, 40)


def test_batches_of_many_texts_are_of_like_length_and_each_text_is_met_once():
    data = many()
    net = encoder("bag", vocab_size=1, hidden_size=4)
    method = Classifier(encoder=net, batch_size=8).suited_to(data)
    assert method.lengths == (8, 16, 40)
    assert method.suited_to(data) == method
    assert Classifier(encoder=net).suited_to(texts()).lengths == ()
    assert Classifier(encoder=net, lengths=None).suited_to(data).lengths is None
    sizes = np.count_nonzero(data.ids, axis=1)
    orders = [np.asarray(method.prepare(Shard({}, method.examples(data)), jax.random.key(i))["order"]) for i in (0, 1)]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(5000))
    assert not np.array_equal(*orders)
    longest = sizes[orders[0]].reshape(-1, 8).max(1)
    assert longest.mean() < 1.15 * sizes.mean()
    assert sizes.reshape(-1, 8).max(1).mean() > 1.5 * sizes.mean()  # as they come
    # neighbours in a pass are not of like length: the batches are mixed
    assert abs(np.corrcoef(longest[1:], longest[:-1])[0, 1]) < 0.2


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_a_batch_cut_to_its_length_has_the_loss_and_gradient_of_the_whole(place):
    data = many()
    net = encoder("transformer", vocab_size=1, hidden_size=8, depth=1, heads=2, dropout=0.0)
    method = Classifier(encoder=net).suited_to(data)
    params = method.init(jax.random.key(0), method.source(data).constants)
    sizes = np.count_nonzero(data.ids, axis=1)
    least, most = [(0, 8), (9, 16), (17, 24), (25, 40)][place]
    rows = np.flatnonzero((sizes >= least) & (sizes <= most))[:8]
    batch = {name: column[rows] for name, column in method.examples(data).items()}
    found = []
    for lengths in (method.lengths, None):
        one = replace(method, lengths=lengths)
        value = lambda net, one=one: one.loss({}, net, params.kept, batch, jax.random.key(1)).value
        found.append(jax.jit(jax.value_and_grad(value))(params.net))
    (cut, cut_gradient), (whole, gradient) = found
    assert float(cut) == pytest.approx(float(whole), rel=1e-5)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-6), cut_gradient, gradient)


def test_runs_that_are_vmapped_have_the_losses_and_gradients_of_each_alone():
    data = many()
    net = encoder("transformer", vocab_size=1, hidden_size=8, depth=1, heads=2, dropout=0.0)
    method = Classifier(encoder=net).suited_to(data)
    nets = [method.init(jax.random.key(i), method.source(data).constants) for i in (0, 1)]
    order = np.argsort(np.count_nonzero(data.ids, axis=1))
    rows = [order[:8], order[-8:]]  # short texts and long ones
    batches = [{name: column[some] for name, column in method.examples(data).items()} for some in rows]

    def value(net, batch):
        return method.loss({}, net, nets[0].kept, batch, jax.random.key(1)).value

    both = jax.vmap(jax.value_and_grad(value))
    stacked = jax.tree.map(
        lambda *leaves: np.stack(leaves), *[(one.net, batch) for one, batch in zip(nets, batches, strict=True)]
    )
    values, gradients = jax.jit(both)(*stacked)
    for i, (one, batch) in enumerate(zip(nets, batches, strict=True)):
        alone, gradient = jax.jit(jax.value_and_grad(value))(one.net, batch)
        assert float(values[i]) == pytest.approx(float(alone), rel=1e-5)
        jax.tree.map(lambda x, y, i=i: np.testing.assert_allclose(x[i], y, rtol=1e-5, atol=1e-6), gradients, gradient)
