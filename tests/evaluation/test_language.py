from dataclasses import replace

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax

from jaxembed.data.streams import Marks, TokenStream
from jaxembed.encoders.functional import encoder
from jaxembed.evaluation.language import Prediction, predict, windows
from jaxembed.methods.language import CausalLanguageModel, MaskedLanguageModel
from jaxembed.sampling.random import key_of

V = 30
MARKS = Marks(2, 2, 3, consecutive=True)


def stream(n=83, marks=MARKS):
    tokens = np.random.default_rng(0).integers(4, V, n).astype(np.uint16)
    tokens[::9] = 2
    return TokenStream(tokens, np.array([0, n]), np.array([n]), V, marks, "toy")


def trained(kind, segments=0, **own):
    net = encoder(
        "transformer", vocab_size=1, hidden_size=8, depth=2, heads=2, segments=segments, norm="pre", causal=kind.causal,
        positions="rotary",
    )  # fmt: skip
    method = kind(encoder=net, length=12, batch_size=4, chunk=7, watch=2, **own).suited_to(stream())
    params = jax.jit(method.init)(jax.random.key(0), method.source(stream()).constants)
    return method, params._replace(net=jax.tree.map(lambda x: 5 * x, params.net))


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 60))
def test_windows_predict_each_token_once_with_enough_before_it(length, stride, more):
    n, stride = length + 1 + more, min(stride, length)
    starts, fresh = windows(n, length, stride)
    predicted = [start + length - i for start, count in zip(starts, fresh, strict=True) for i in range(count)]
    assert sorted(predicted) == list(range(1, n))
    assert (fresh[1:] <= stride).all()
    assert (starts + length < n).all()


@pytest.mark.parametrize("consecutive", [True, False])
def test_perplexity_is_that_of_a_plain_loop_over_the_tokens(consecutive):
    data = stream(marks=replace(MARKS, consecutive=consecutive))
    method, params = trained(CausalLanguageModel)
    method = replace(method, marks=data.marks)
    net = method.encoder.module(params.net["encoder"], {})
    read = jax.jit(lambda ids, documents: net.sequence(ids, documents=documents))
    table = np.asarray(params.net["encoder"]["token_embedding"], np.float64)
    loss = hits = 0.0
    for t in range(1, 83):
        start = min(next(s for s in range(0, 83, 5) if s + 12 >= t), 83 - 13)
        ids = data.tokens[start : start + 12].astype(np.int32)[None]
        documents = None if consecutive else np.cumsum(ids == 2, axis=1)
        hidden = np.asarray(read(ids, documents), np.float64)[0, t - 1 - start]
        chances = log_softmax(np.append(-np.inf, hidden @ table[1:].T))  # padding is never predicted
        loss -= chances[data.tokens[t]]
        hits += chances.argmax() == data.tokens[t]
    found = predict(method, params, data, stride=5)
    assert found.tokens == 82
    assert found.hits == hits
    assert found.loss == pytest.approx(loss, rel=1e-4)
    assert found.perplexity() == pytest.approx(np.exp(loss / 82), rel=1e-3)
    assert found.perplexity(41) == pytest.approx(np.exp(loss / 41), rel=1e-3)


def test_a_text_shorter_than_a_row_is_predicted_whole():
    method, params = trained(CausalLanguageModel)
    assert predict(method, params, stream(6), stride=3).tokens == 5


def test_a_masked_model_predicts_the_same_hidden_tokens_each_time():
    method, params = trained(MaskedLanguageModel, share=0.25)
    first, again = (predict(method, params, stream()) for _ in range(2))
    assert first == again
    assert first.tokens == 6 * 2  # whole rows, 15% of 12 tokens of each, though training hides a quarter
    assert first.loss > 0
    assert first.pair_accuracy is None


@pytest.mark.parametrize("pairs", [False, True])
def test_other_batches_hide_the_same_tokens(pairs):
    data = stream(12 * 9 + 5)
    method, params = trained(MaskedLanguageModel, next_sentence=pairs, segments=2)
    found = [predict(replace(method, batch_size=size), params, data) for size in (2, 4, 9, 100)]
    for one in found[1:]:
        assert replace(one, loss=0) == replace(found[0], loss=0)
        assert one.loss == pytest.approx(found[0].loss, rel=1e-5)


def test_pairs_are_judged_as_they_are_trained():
    """By hand: each row's pair, with the half of the row that is half the stream away."""
    data = stream(12 * 9, replace(MARKS, consecutive=False))
    method, params = trained(MaskedLanguageModel, next_sentence=True, segments=2)
    method = replace(method, marks=data.marks)
    rows, found = data.tokens[: 12 * 9].reshape(9, 12).astype(np.int32), predict(method, params, data)
    total = np.zeros(5)
    for i in range(9):
        keys = jax.random.fold_in(key_of(0x51DE), i)[None]
        one = replace(method, share=0.15).judged(params, rows[i, None], keys, rows[(i + 4) % 9, None])
        total += [
            float(x.sum())
            for x in (one.weight * one.loss, one.weight, one.weight * one.first, one.pairs, one.pairs * one.right)
        ]
    np.testing.assert_allclose([found.loss, found.tokens, found.hits, found.pairs, found.right], total, rtol=1e-5)
    assert found.pairs > 2
    assert found.pair_accuracy == found.right / found.pairs
    with pytest.raises(ValueError, match="pairs need other rows"):
        method.judged(params, rows[:1], keys)


def test_figures_of_a_prediction():
    found = Prediction(loss=20.0, tokens=10.0, hits=4.0)
    assert (found.log_likelihood, found.accuracy) == (-2.0, 0.4)
    assert found.perplexity() == pytest.approx(np.exp(2))


def test_what_cannot_be_predicted_is_refused():
    method, params = trained(CausalLanguageModel)
    with pytest.raises(ValueError, match="give a text of two tokens or more"):
        predict(method, params, stream(1))
    with pytest.raises(ValueError, match="outside the model's vocabulary of 30"):
        predict(method, params, replace(stream(), tokens=stream().tokens + np.uint16(10)))
