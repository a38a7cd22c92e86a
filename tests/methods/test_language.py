"""Language models on toy streams: which tokens are hidden, what a row is, the loss against a written-out one."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import log_softmax

from jaxembed.data.streams import Marks, TokenStream
from jaxembed.encoders.functional import encoder
from jaxembed.evaluation.language import predict
from jaxembed.methods.language import CausalLanguageModel, MaskedLanguageModel
from jaxembed.methods.masking import hide, paired
from jaxembed.sampling import random
from jaxembed.training.dense import Dense
from jaxembed.training.loop import fit
from jaxembed.training.method import Shard
from jaxembed.training.settings import Training

CLS, SEP, MASK, V = 2, 3, 4, 40
TWO_ENDS, ONE_END = Marks(CLS, SEP, MASK), Marks(CLS, CLS, MASK)


def stream(marks=TWO_ENDS, texts=20, seed=0):
    """Texts of 3 to 11 words."""
    rng = np.random.default_rng(seed)
    parts = [[CLS, *rng.integers(5, V, rng.integers(3, 12)), SEP] for _ in range(texts)]
    if marks.cls == marks.sep:
        parts = [part[:-1] for part in parts]
    tokens = np.concatenate(parts).astype(np.uint16)
    offsets = np.cumsum([0, *map(len, parts)])
    return TokenStream(tokens, offsets, np.diff(offsets) - 2, V, marks, "toy")


def net(causal, **settings):
    own = {"hidden_size": 8, "depth": 0, "heads": 2, "dropout": 0.0, "segments": 0, "positions": "none", "norm": "pre"}
    return encoder("transformer", vocab_size=1, causal=causal, **(own | settings))


GPT = CausalLanguageModel(encoder=net(True), length=8, batch_size=4, chunk=5, watch=2)
BERT = MaskedLanguageModel(encoder=net(False), length=8, batch_size=4, chunk=5, watch=2, share=0.3)


def begun(method, data):
    """The method suited to the data, its parameters with biases that are not zero, and a prepared shard."""
    method = method.suited_to(data)
    source = method.source(data)
    params = jax.jit(method.init)(jax.random.key(1), source.constants)
    params.net["output"]["bias"] = jax.random.normal(jax.random.key(3), (V,))
    shard = Shard(source.constants, {name: jnp.asarray(x) for name, x in source.piece(0).items()})
    return method, params, shard.prepared(method.prepare(shard, jax.random.key(2)))


# -- rows


def test_a_pass_meets_each_row_once_and_rows_are_consecutive_tokens():
    data = stream(texts=60)
    method, _, shard = begun(GPT, data)
    rows = np.concatenate(
        [method.batch(shard, jnp.int32(i), jax.random.key(0))["ids"] for i in range(method.steps(shard))]
    )
    begin = int(shard.own["begin"])
    places = [begin + 8 * i for i in range(len(data.tokens) // 8 - 1)]
    known = {tuple(data.tokens[at : at + 9].tolist()) for at in places}
    assert {tuple(row) for row in rows.tolist()} <= known
    assert len(rows) == len(places) // 4 * 4
    assert len({tuple(row) for row in rows.tolist()}) == len(rows)


def test_rows_begin_elsewhere_in_another_pass():
    method, _, shard = begun(GPT, stream())
    begins = {int(method.prepare(shard, jax.random.key(i))["begin"]) for i in range(40)}
    assert begins == set(range(8))


def test_a_stream_larger_than_the_device_comes_in_pieces():
    data = stream(texts=60)
    whole, parts = (replace(GPT, device_bytes=size).source(data) for size in (1 << 30, 300))
    assert parts.pieces == -(-whole.rows * 16 // 300)
    tokens = np.concatenate([parts.piece(i)["tokens"] for i in range(parts.pieces)]).reshape(-1)
    np.testing.assert_array_equal(tokens[: 8 * whole.rows], data.tokens[: 8 * whole.rows])


def test_documents_are_told_by_their_first_token():
    ids = jnp.array([[7, 8, SEP, CLS, 9, SEP, CLS, 6]])
    assert BERT.suited_to(stream()).documents(ids).tolist() == [[0, 0, 0, 1, 1, 1, 2, 2]]
    ids = jnp.array([[7, 8, CLS, 9, CLS, 6]])
    assert GPT.suited_to(stream(ONE_END)).documents(ids).tolist() == [[0, 0, 1, 1, 2, 2]]
    assert GPT.suited_to(stream(replace(ONE_END, consecutive=True))).documents(ids) is None


# -- losses


def layer_norm(x):
    return (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-12)


def read(params, ids):
    """What an encoder without layers makes of tokens: two norms."""
    return layer_norm(layer_norm(np.asarray(params.net["encoder"]["token_embedding"], np.float64)[ids]))


def log_chances(params, hidden):
    table = np.asarray(params.net["encoder"]["token_embedding"], np.float64)
    scores = hidden @ table.T + np.asarray(params.net["output"]["bias"], np.float64)
    scores[..., 0] = -np.inf  # padding
    return log_softmax(scores, axis=-1)


@pytest.mark.parametrize("marks", [TWO_ENDS, ONE_END])
def test_the_loss_of_a_causal_model_is_the_written_out_one(marks):
    method, params, shard = begun(GPT, stream(marks))
    batch = method.batch(shard, jnp.int32(0), jax.random.key(0))
    found = jax.jit(method.loss)({}, params.net, params.kept, batch, jax.random.key(0))
    ids = np.asarray(batch["ids"])
    inputs, targets = ids[:, :-1], ids[:, 1:]
    # [CLS] follows [SEP] whatever the texts are, and so is not predicted; <eos>, which is both, is.
    there = np.ones(targets.shape, bool) if marks is ONE_END else targets != CLS
    assert there.sum() < there.size or marks is ONE_END
    losses = -np.take_along_axis(log_chances(params, read(params, inputs)), targets[..., None], -1)[..., 0]
    assert found.value == pytest.approx(losses[there].mean(), rel=1e-5)
    assert found.metrics["weight"] == there.sum()
    assert found.metrics["loss"] == pytest.approx(losses[there].sum(), rel=1e-5)


def test_the_loss_of_a_masked_model_is_the_written_out_one():
    method, params, shard = begun(replace(BERT, transform=False), stream())
    batch = method.batch(shard, jnp.int32(0), jax.random.key(0))
    key = jax.random.key(5)
    found = jax.jit(method.loss)({}, params.net, params.kept, batch, key)
    hidden = method.hide(jax.random.split(key, 4)[0], batch["ids"])
    rows = np.arange(4)[:, None]
    read_at = read(params, np.asarray(hidden.ids))[rows, np.asarray(hidden.places)]
    losses = -np.take_along_axis(log_chances(params, read_at), np.asarray(hidden.target)[..., None], -1)[..., 0]
    weight = np.asarray(hidden.weight)
    assert found.value == pytest.approx((losses * weight).sum() / weight.sum(), rel=1e-5)


def test_rows_encoded_some_at_a_time_give_the_same_loss_and_gradient():
    settings = {"depth": 1, "positions": "rotary"}
    both = [replace(GPT, encoder=net(True, **settings), encode_chunk=chunk) for chunk in (None, 2)]
    out = []
    for one in both:
        method, params, shard = begun(one, stream())
        batch = method.batch(shard, jnp.int32(0), jax.random.key(0))
        of = lambda net, m=method, p=params, b=batch: m.loss({}, net, p.kept, b, jax.random.key(0)).value
        out.append(jax.jit(jax.value_and_grad(of))(params.net))
    for ours, theirs in zip(*map(jax.tree.leaves, out), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["softmax", "sampled_softmax", "adaptive_softmax"])
@pytest.mark.parametrize("method", [GPT, BERT])
def test_it_learns_what_always_follows(method, objective):
    tokens = np.tile(np.arange(5, 25), 60).astype(np.uint16)
    data = TokenStream(
        tokens, np.array([0, len(tokens)]), np.array([len(tokens)]), V, replace(ONE_END, consecutive=True), "x"
    )
    own = net(method.causal, hidden_size=32, depth=1, positions="rotary")
    method = replace(method, encoder=own, objective=objective, cutoffs=(10,), shared_negatives=20)
    training = Training(epochs=20, learning_rate=1e-2, dense=Dense(warmup=0.1))
    result = fit(method, data, training, seeds=(1, 2))
    assert (result.losses[0] > 2.0).all()
    assert (result.losses[-1] < (0.3 if method.causal else 1.4)).all()  # a masked model learns from three tokens in ten


# -- hidden tokens


def test_as_many_tokens_are_hidden_as_devlin_hides_and_in_the_same_ways():
    rng = np.random.default_rng(0)
    ids = jnp.asarray(rng.integers(5, 1000, (2000, 40)))
    ids = ids.at[:, 0].set(CLS).at[:, -1].set(SEP).at[0, 2:].set(0)
    found = jax.jit(lambda key: hide(key, ids, TWO_ENDS, 1000, 0.15, 0.8, 0.1))(jax.random.key(0))
    rows = np.arange(2000)[:, None]
    before, after, places, weight = (np.asarray(x) for x in (ids, found.ids, found.places, found.weight))
    assert places.shape == (2000, 6)  # .15 of 40
    assert all(len(set(row)) == 6 for row in places.tolist())
    assert weight[0].sum() == 1  # the first row has one word
    assert (weight[1:] == 1).all()
    np.testing.assert_array_equal(before[rows, places], found.target)
    assert not np.isin(before[rows, places][weight > 0], (0, CLS, SEP)).any()
    others = np.ones(before.shape, bool)
    others[rows, places] = weight == 0
    np.testing.assert_array_equal(before[others], after[others])
    shown, own, n = after[rows, places][weight > 0], before[rows, places][weight > 0], weight.sum()
    allowed = lambda p: float(4 * np.sqrt(p * (1 - p) / n))
    assert np.mean(shown == MASK) == pytest.approx(0.8, abs=allowed(0.8))
    assert np.mean(shown == own) == pytest.approx(0.1, abs=allowed(0.1) + 0.001)
    random = shown[(shown != MASK) & (shown != own)]
    assert len(random) / n == pytest.approx(0.1, abs=allowed(0.1) + 0.001)
    assert random.min() >= 1
    counts = np.bincount(random, minlength=1000)[1:]
    assert counts.std() == pytest.approx(np.sqrt(counts.mean()), rel=0.2)  # all words alike: Poisson
    share = np.bincount(places[1:].ravel(), minlength=40)[1:-1] / 1999  # and all places
    assert np.abs(share - 6 / 38).max() < 5 * np.sqrt(6 / 38 / 1999)


def test_every_batch_is_hidden_anew_and_a_seed_hides_the_same():
    ids = jnp.full((3, 50), 9)
    places = lambda seed: np.asarray(hide(jax.random.key(seed), ids, TWO_ENDS, 1000, 0.15, 0.8, 0.1).places)
    np.testing.assert_array_equal(places(0), places(0))
    assert (places(0) != places(1)).any()


# -- pairs


def pieces(row, half, marks):
    """The words of the text at each side of the middle, and whether it is one text: a plain loop over the row."""
    text, numbers = 0, []
    for token in row:
        text += token == marks.cls and not marks.consecutive
        numbers.append(text)
    apart = (0, marks.cls, marks.sep)
    side = lambda begin, at: [
        int(row[i]) for i in range(begin, begin + half) if numbers[i] == numbers[at] and row[i] not in apart
    ]
    return side(0, half - 1), side(half, half), numbers[half - 1] == numbers[half]


@pytest.mark.parametrize("consecutive", [False, True])
@pytest.mark.parametrize("marks", [TWO_ENDS, ONE_END])
def test_pairs_are_pieces_of_one_text_and_follow_only_where_it_goes_on(marks, consecutive):
    marks = replace(marks, consecutive=consecutive)
    ids = stream(marks, texts=400).tokens[: 120 * 21].reshape(120, 21).astype(np.int32)
    follow, others = np.arange(120) % 3 > 0, np.roll(ids, 7, axis=0)
    found = jax.tree.map(np.asarray, jax.jit(paired, static_argnums=3)(follow, ids, others, marks))
    seen = set()
    for i in range(120):
        one, own, goes_on = pieces(ids[i], 9, marks)
        theirs = pieces(others[i], 9, marks)[1]
        follows = bool(follow[i] and goes_on and one and own)
        two = own if follows else theirs
        row = [marks.cls, *one, marks.sep, *two, marks.sep]
        assert found.ids[i].tolist() == row + [0] * (21 - len(row))
        assert found.segments[i, : len(row)].tolist() == [0] * (len(one) + 2) + [1] * (len(two) + 1)
        assert found.follows[i] == follows
        assert found.weight[i] == bool(one and two)
        seen.add((bool(follow[i]), follows, bool(found.weight[i])))
    assert {(True, True, True), (False, False, True)} <= seen
    assert (
        consecutive or {(True, False, True), (True, False, False)} <= seen
    )  # the text has ended; nothing is before it
    alone = paired(np.array([False]), ids[:1], ids[:1], marks)  # no other row: what follows is not called another's
    assert alone.weight.tolist() == [0]


def test_rows_with_padding_have_as_many_hidden_tokens_as_their_share():
    ids = jnp.asarray([[CLS, *range(5, 5 + n), SEP] + [0] * (38 - n) for n in range(38)])
    weight = hide(jax.random.key(0), ids, TWO_ENDS, 100, 0.3, 0.8, 0.1).weight
    assert weight.sum(1).tolist() == [min(n, max(1, round(0.3 * (n + 2)))) for n in range(38)]


@pytest.mark.parametrize("share", [0.15, 0.3])
def test_the_loss_of_a_model_of_pairs_is_the_written_out_one(share):
    own = net(False, segments=2)
    method, params, shard = begun(
        replace(BERT, encoder=own, transform=False, length=21, share=share, next_sentence=True), stream(texts=60)
    )
    batch, key = method.batch(shard, jnp.int32(0), jax.random.key(0)), jax.random.key(5)
    found = jax.jit(method.loss)({}, params.net, params.kept, batch, key)
    hide_key, _, _, pair_key = jax.random.split(key, 4)
    follow = random.uniform(pair_key, (4,)) < 0.5
    told = paired(follow, batch["ids"], jnp.roll(batch["ids"], 1, axis=0), method.ends)
    hidden = method.hide(hide_key, told.ids)
    table, segments = (np.asarray(params.net["encoder"][f"{x}_embedding"], np.float64) for x in ("token", "segment"))
    states = layer_norm(layer_norm(table[np.asarray(hidden.ids)] + segments[np.asarray(told.segments)]))
    at = states[np.arange(4)[:, None], np.asarray(hidden.places)]
    losses = -np.take_along_axis(log_chances(params, at), np.asarray(hidden.target)[..., None], -1)[..., 0]
    weight = np.asarray(hidden.weight)
    follows = params.net["output"]["follows"]
    scores = states[:, 0] @ np.asarray(follows["kernel"], np.float64) + np.asarray(follows["bias"], np.float64)
    of_pairs = -log_softmax(scores, axis=1)[np.arange(4), np.asarray(told.follows)]
    there = np.asarray(told.weight)
    assert there.sum() >= 2
    assert len({*told.follows.tolist()}) == 2
    value = (losses * weight).sum() / weight.sum() + (of_pairs * there).sum() / there.sum()
    assert found.value == pytest.approx(value, rel=1e-5)
    assert found.metrics["loss"] == pytest.approx((losses * weight).sum(), rel=1e-5)
    right = scores.argmax(1) == np.asarray(told.follows)
    assert (found.metrics["pairs"], found.metrics["pairs_right"]) == (there.sum(), (right * there).sum())


@pytest.mark.slow
def test_a_model_of_pairs_learns_which_pieces_follow():
    """Every text is of one kind of words: those of another text differ, so that which pieces belong together can be seen."""
    rng = np.random.default_rng(0)
    parts = [[CLS, *(5 + 7 * rng.integers(0, 5) + rng.integers(0, 7, 30)), SEP] for _ in range(300)]
    tokens, offsets = np.concatenate(parts).astype(np.uint16), np.arange(301) * 32
    data = TokenStream(tokens, offsets, np.full(300, 30), V, TWO_ENDS, "kinds")
    own = net(False, hidden_size=32, depth=2, segments=2, positions="learned", pooling="cls")
    method = replace(BERT, encoder=own, length=16, batch_size=16, next_sentence=True).suited_to(data)
    result = fit(method, data, Training(epochs=20, learning_rate=5e-3, dense=Dense(warmup=0.1)), seeds=(1,))
    found = predict(method, result.params[0], data)
    assert found.pairs > 100
    assert found.pair_accuracy > 0.8


# -- bad input


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_that_hides_nothing_or_everything_is_refused(share):
    with pytest.raises(ValueError, match="share must be above 0 and below 1"):
        replace(BERT, share=share)


def test_what_cannot_be_trained_is_refused_before_it_is_tried():
    with pytest.raises(ValueError, match="as_mask and as_random are shares of one"):
        replace(BERT, as_mask=0.9, as_random=0.2)
    with pytest.raises(ValueError, match="must be a transformer with causal=True"):
        replace(GPT, encoder=net(False))
    with pytest.raises(ValueError, match="must be a transformer with causal=False"):
        replace(BERT, encoder=net(True))
    with pytest.raises(ValueError, match="needs an encoder with segments=2"):
        replace(BERT, next_sentence=True)
    with pytest.raises(ValueError, match="too few for two rows of length=8"):
        GPT.suited_to(stream(texts=1))
    with pytest.raises(ValueError, match="needs a cutoff below the 40 tokens"):
        replace(GPT, objective="adaptive_softmax", cutoffs=(40,)).suited_to(stream())
    with pytest.raises(ValueError, match="outside the vocabulary of 20"):
        GPT.source(replace(stream(), vocabulary_size=20))
    with pytest.raises(ValueError, match="call suited_to"):
        GPT.documents(jnp.zeros((1, 3), int))
