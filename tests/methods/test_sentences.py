"""SimCSE on toy token groups: who meets whom, the loss against a written-out one, what is not trained."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxembed.data.tokenized import TokenGroups
from jaxembed.encoders.functional import encoder
from jaxembed.methods import sentences
from jaxembed.objectives import InfoNCE
from jaxembed.training.dense import Dense
from jaxembed.training.loop import fit
from jaxembed.training.method import Shard
from jaxembed.training.settings import Training

TINY = encoder("transformer", vocab_size=1, hidden_size=16, depth=1, heads=2, dropout=0.0, segments=0, norm="pre")
N, G, L, V = 24, 3, 5, 20


def toy(negatives: bool = False, start: bool = False) -> TokenGroups:
    """Groups of 1 to 3 sentences over words of their own topic."""
    rng = np.random.default_rng(0)
    sizes = rng.integers(1, G + 1, N).astype(np.int32)
    sizes[:2] = 1, G
    ids = 4 + 8 * (np.arange(N) % 2)[:, None, None] + rng.integers(0, 8, (N, G, L))
    ids[:, :, -1] = 0
    there = np.arange(G) < sizes[:, None]
    ids *= there[..., None]
    texts = np.where(there, np.arange(N * G).reshape(N, G), -1).astype(np.int32)
    wrong = rng.integers(4, V, (N, L)).astype(np.int32) if negatives else None
    vectors = rng.normal(size=(V, 16)).astype(np.float32) if start else None
    return TokenGroups(ids.astype(np.int32), sizes, texts, V, wrong, vectors)


METHOD = sentences.SimCSE(encoder=TINY, batch_size=8, watch=6, objective=InfoNCE(temperature=0.1))


def begun(method, data):
    method = method.suited_to(data)
    source = method.source(data)
    params = jax.jit(method.init)(jax.random.key(1), source.constants)
    shard = Shard(source.constants, {name: jnp.asarray(x) for name, x in source.piece(0).items()})
    shard = shard.prepared(method.prepare(shard, jax.random.key(2)))
    return method, params, method.batch(shard, jnp.int32(0), jax.random.key(0))


@pytest.mark.slow
@pytest.mark.parametrize(
    "method", [METHOD, replace(METHOD, projection=(8,)), sentences.SimCSEUnsupervised(**vars(METHOD))]
)
def test_it_learns(method):
    training = Training(epochs=8, learning_rate=3e-3, dense=Dense(warmup=0.1))
    result = fit(method, toy(), training, seeds=(1, 2))
    assert result.vectors.shape == (2, 6, 16)
    assert (result.losses[-1] < result.losses[0]).all()


@pytest.mark.slow
def test_two_members_of_a_group_meet_and_a_single_one_meets_itself(monkeypatch):
    data, seen = toy(), []
    method, params, batch = begun(METHOD, data)
    told = lambda self, name, net, kept, ids, **rest: (seen.append(np.asarray(ids)), (jnp.ones((len(ids), 4)), {}))[1]
    monkeypatch.setattr(sentences.SimCSE, "run", told)
    pairs = set()
    for seed in range(40):
        seen.clear()
        method.loss({}, params.net, params.kept, batch, jax.random.key(seed))
        first, second = np.split(seen[0], 2)
        for row in range(8):
            members = [tuple(x) for x in np.asarray(batch["ids"][row])[: int(batch["sizes"][row])]]
            a, b = members.index(tuple(first[row])), members.index(tuple(second[row]))
            assert (a != b) == (len(members) > 1) or members[a] == members[b]
            pairs.add((row, a, b))
    for row in range(8):  # every ordered pair comes up
        size = int(batch["sizes"][row])
        assert len({(a, b) for r, a, b in pairs if r == row}) == (size * (size - 1) if size > 1 else 1)


def test_the_loss_is_infonce_both_ways_with_hard_negatives():
    data = toy(negatives=True)
    data = replace(data, sizes=np.ones_like(data.sizes), ids=data.ids[:, :1], texts=data.texts[:, :1])
    method, params, batch = begun(METHOD, data)
    loss, metrics, _ = jax.jit(method.loss)({}, params.net, params.kept, batch, jax.random.key(3))
    encoded = jax.jit(lambda net, kept, ids: method.run("encoder", net, kept, ids)[0])
    unit = lambda ids: (lambda z: z / np.linalg.norm(z, axis=1, keepdims=True))(
        np.asarray(encoded(params.net, params.kept, ids), np.float64)
    )
    own, hard = unit(batch["ids"][:, 0]), unit(batch["negatives"])
    scores = np.exp(np.concatenate([own @ own.T, own @ hard.T], 1) / 0.1)
    np.testing.assert_allclose(loss, -np.log(np.diag(scores[:, :8]) / scores.sum(1)).mean(), rtol=1e-5)
    assert float(metrics["weight"]) == 8


def test_a_hard_negative_that_an_anchor_says_itself_is_no_negative_of_it():
    data = toy(negatives=True)
    data = replace(data, sizes=np.ones_like(data.sizes), ids=data.ids[:, :1], texts=data.texts[:, :1])
    known = data.texts[:, 0].copy()
    known[::2] = -1
    data = replace(data, negative_texts=known)
    method, params, batch = begun(METHOD, data)
    loss = jax.jit(method.loss)({}, params.net, params.kept, batch, jax.random.key(3))[0]
    encoded = jax.jit(lambda net, kept, ids: method.run("encoder", net, kept, ids)[0])
    unit = lambda ids: (lambda z: z / np.linalg.norm(z, axis=1, keepdims=True))(
        np.asarray(encoded(params.net, params.kept, ids), np.float64)
    )
    own, hard = unit(batch["ids"][:, 0]), unit(batch["negatives"])
    said = np.asarray(batch["texts"]) == np.asarray(batch["negative_texts"])[None]
    assert said.any()
    scores = np.exp(np.concatenate([own @ own.T, own @ hard.T], 1) / 0.1)
    scores[:, 8:][said] = 0
    np.testing.assert_allclose(loss, -np.log(np.diag(scores[:, :8]) / scores.sum(1)).mean(), rtol=1e-5)


def test_token_vectors_start_where_they_are_told_and_their_mean_is_a_baseline():
    data = toy(start=True)
    _, params, _ = begun(METHOD, data)
    np.testing.assert_array_equal(jax.tree.leaves(params.net["encoder"]["token_embedding"])[0], data.start)
    mean = fit(sentences.AveragedTokens(encoder=TINY, batch_size=8, watch=6), data, Training(epochs=1))
    first = data.ids[:6, 0]
    expected = [data.start[row[row > 3]].mean(0) for row in first]
    np.testing.assert_allclose(mean.vectors[0], expected, rtol=1e-5)
    with pytest.raises(ValueError, match="no token vectors to average"):
        fit(sentences.AveragedTokens(encoder=TINY, batch_size=8), toy(), Training(epochs=1))
    with pytest.raises(ValueError, match="the token vectors to start from have the shape"):
        begun(METHOD, replace(data, start=data.start[:, :8]))


BAG = encoder("bag", vocab_size=1, hidden_size=16)


def test_weights_of_tokens_start_where_they_are_told():
    data = replace(toy(start=True), weights=np.linspace(-3, 0, V, dtype=np.float32))
    method, params, _ = begun(replace(METHOD, encoder=BAG), data)
    np.testing.assert_array_equal(params.net["encoder"]["token_weight"], data.weights)
    weights = np.exp(data.weights)[data.ids[:, 0]] * (data.ids[:, 0] > 0)
    means = (data.start[data.ids[:, 0]] * weights[..., None]).sum(1) / weights.sum(1, keepdims=True)
    np.testing.assert_allclose(method.encode(params.net, params.kept, {"ids": data.ids}), means, rtol=1e-4, atol=1e-6)
    begun(METHOD, data)  # an encoder without weights has no use for them


@pytest.mark.slow
def test_an_encoder_sees_of_a_text_as_much_as_it_takes():
    data = toy()
    ids = np.tile(data.ids[:4, 0], (1, 3))
    method, params, _ = begun(replace(METHOD, encoder=TINY.with_(max_length=7)), data)
    whole, cut = (method.encode(params.net, params.kept, {"ids": x}) for x in (ids, ids[:, :7]))
    np.testing.assert_allclose(whole, cut, rtol=1e-5)
    method, params, _ = begun(replace(METHOD, encoder=BAG), data)
    whole, cut = (method.encode(params.net, params.kept, {"ids": x}) for x in (ids, ids[:, :L]))
    np.testing.assert_allclose(whole, cut, rtol=1e-4, atol=1e-7)  # three times the same words


def fitted(kind, ids, **settings):
    data = replace(toy(), judged=ids, special=(0, 1, 2, 3))
    method = kind(encoder=BAG, batch_size=8, watch=6, **settings).suited_to(data)
    return method, method.init(jax.random.key(0), method.source(data).constants)


def judged(n=40, length=9):
    """Sentences of unlike lengths, each between the ends that tokenizers give it."""
    rng = np.random.default_rng(0)
    ids = np.minimum(4 + rng.geometric(0.2, (n, length)), V - 1).astype(np.int32)
    ids[np.arange(length) >= rng.integers(2, length + 1, n)[:, None]] = 0
    return np.concatenate([np.full((n, 1), 2, np.int32), ids], axis=1)


def test_tf_idf_is_that_of_scikit_learn():
    text = pytest.importorskip("sklearn.feature_extraction.text")
    ids = judged()
    method, params = fitted(sentences.TfIdf, ids)
    found = np.asarray(method.encode(params.net, params.kept, {"ids": jnp.asarray(ids)}))
    lines = [" ".join(f"w{i}" for i in row if i > 3) for row in ids]
    reference = text.TfidfVectorizer(token_pattern=r"\w+").fit_transform(lines).toarray()
    assert found.shape == (40, 2048)
    np.testing.assert_allclose(found @ found.T, reference @ reference.T, atol=1e-6)


def test_tokens_without_a_column_of_their_own_share_the_last_quarter():
    ids = judged()
    _, params = fitted(sentences.TfIdf, ids, columns=8)
    column = np.asarray(params.kept["column"])
    having = np.array([sum(token in row for row in ids) if token > 3 else -1 for token in range(V)])
    frequent = np.argsort(-having, kind="stable")[:6]
    assert sorted(column[frequent]) == list(range(6))
    assert set(np.delete(column, frequent)) == {6, 7}
    with pytest.raises(ValueError, match="fitted to the judged sentences"):
        begun(sentences.TfIdf(encoder=BAG, batch_size=8, watch=6), toy())


def test_cosines_of_bm25_order_sentences_as_its_formula_does():
    ids = judged()
    method, params = fitted(sentences.BM25, ids, k1=1.5, b=0.6)
    encode = lambda query: np.asarray(
        method.encode(params.net, params.kept, {"ids": jnp.asarray(ids), "query": jnp.full(len(ids), query)}),
        np.float64,
    )
    queries, found = encode(True), encode(False)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), np.linalg.norm(found[0]), rtol=1e-5)
    bags = [[i for i in row if i > 3] for row in ids.tolist()]
    mean = np.mean([len(bag) for bag in bags])

    def score(query, bag):
        total = 0.0
        for token in query:
            having = sum(token in other for other in bags)
            inverse = np.log(1 + (len(bags) - having + 0.5) / (having + 0.5))
            often = bag.count(token)
            total += inverse * often * 2.5 / (often + 1.5 * (1 - 0.6 + 0.6 * len(bag) / mean))
        return total

    np.testing.assert_allclose(queries @ found.T, [[score(q, bag) for bag in bags] for q in bags], rtol=1e-4, atol=1e-5)
    plain = method.encode(params.net, params.kept, {"ids": jnp.asarray(ids)})
    np.testing.assert_allclose(plain, found, rtol=1e-5)  # what is no query is a sentence to be found
