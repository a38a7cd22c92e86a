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
    params = method.init(jax.random.key(1), source.constants)
    shard = Shard(source.constants, {name: jnp.asarray(x) for name, x in source.piece(0).items()})
    shard = shard.prepared(method.prepare(shard, jax.random.key(2)))
    return method, params, method.batch(shard, jnp.int32(0), jax.random.key(0))


@pytest.mark.parametrize(
    "method", [METHOD, replace(METHOD, projection=(8,)), sentences.SimCSEUnsupervised(**vars(METHOD))]
)
def test_it_learns(method):
    training = Training(epochs=8, learning_rate=3e-3, dense=Dense(warmup=0.1))
    result = fit(method, toy(), training, seeds=(1, 2))
    assert result.vectors.shape == (2, 6, 16)
    assert (result.losses[-1] < result.losses[0]).all()


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
    loss, metrics, _ = method.loss({}, params.net, params.kept, batch, jax.random.key(3))
    unit = lambda ids: (lambda z: z / np.linalg.norm(z, axis=1, keepdims=True))(
        np.asarray(method.run("encoder", params.net, params.kept, ids)[0], np.float64)
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
    loss = method.loss({}, params.net, params.kept, batch, jax.random.key(3))[0]
    unit = lambda ids: (lambda z: z / np.linalg.norm(z, axis=1, keepdims=True))(
        np.asarray(method.run("encoder", params.net, params.kept, ids)[0], np.float64)
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
    with pytest.raises(ValueError, match="the token vectors to start from are"):
        begun(METHOD, replace(data, start=data.start[:, :8]))
