"""The classifier: its loss against NumPy in float64, and a start from a trained encoder."""

import jax
import numpy as np
import pytest

from jaxembed.data.tokenized import TokenizedTexts
from jaxembed.encoders.functional import encoder
from jaxembed.methods.classifier import Classifier

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
