"""One step of the word methods written out in NumPy: loops over centres, neighbours and negatives, in float64."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxembed.data.text import Corpus, Vocabulary
from jaxembed.tables import sgd
from jaxembed.training.method import Params, Shard
from jaxembed.training.step import Optimizers, State, train_step

RATE = 0.5
OPTIMIZERS = Optimizers(sgd(), optax.identity(), lambda step: jnp.float32(RATE))


def corpus_of(documents, size=None) -> Corpus:
    """A corpus of documents given as token ids, of a vocabulary of `size`."""
    tokens = np.concatenate([np.asarray(document, np.int32) for document in documents])
    offsets = np.cumsum([0, *map(len, documents)])
    size = size or int(tokens.max()) + 1
    vocabulary = Vocabulary([f"w{i}" for i in range(size)], np.maximum(np.bincount(tokens, minlength=size), 1))
    return Corpus(vocabulary, tokens, offsets, len(tokens), "0" * 32)


class InSlices:
    """An array that gives out slices only, and how long the longest was that was asked for."""

    def __init__(self, values):
        self.values, self.dtype, self.longest = values, values.dtype, 0

    def __len__(self):
        return len(self.values)

    def __getitem__(self, part):
        assert isinstance(part, slice)
        found = self.values[part]
        self.longest = max(self.longest, len(found))
        return found

    def __array__(self, *_, **__):
        raise AssertionError("all of it was asked for at once")


def zipf_documents(rng, words, count, length):
    chance = 1 / np.arange(1, words + 1)
    return [rng.choice(words, length, p=chance / chance.sum()) for _ in range(count)]


@dataclass(frozen=True)
class Fixed:
    """A method whose batch is given; everything else is the method's own."""

    method: Any
    drawn: Any

    def batch(self, shard, step, key):
        return self.drawn

    def __getattr__(self, name):
        return getattr(self.method, name)


def prepared(method, corpus, piece=0, seed=0, prepare=None):
    """Piece `piece` of the corpus as the engine would prepare it.

    Not compiled as a whole, unless `prepare` is: its parts, once compiled, serve every method and objective of the same
    shapes.
    """
    source = method.source(corpus)
    raw = jax.device_put(Shard(source.constants, source.piece(piece)))
    return raw.prepared((prepare or method.prepare)(raw, jax.random.key(seed)))


def state_of(tables, width=16):
    """A state with these tables `{name: [rows, d]}`, padded with zeros."""
    pad = lambda table: jnp.pad(jnp.float32(table), ((0, 0), (0, width - table.shape[1])))
    params = Params({name: pad(table) for name, table in tables.items()})
    return State(params, dict.fromkeys(tables, ()), None, jnp.int32(0), jax.random.key(1))


def random_tables(rng, words, d):
    return {name: rng.normal(0, 0.7, (words, d)) for name in ("in", "out")}


def step_on(method, batch, tables):
    """What the engine makes of `tables` in one step of SGD on `batch`: new tables with their padding, and metrics."""
    step = jax.jit(lambda state: train_step(Fixed(method, batch), OPTIMIZERS, state, Shard({}, {}), jnp.int32(0)))
    state, metrics = step(state_of(tables))
    return {name: np.asarray(table) for name, table in state.params.tables.items()}, metrics


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.logaddexp(0, x)


def objective_of(name, pos, w, neg, v):
    """Loss of an anchor and its derivatives with respect to `pos` and `neg` (weights `w`, `v`), from the papers."""
    if name in ("negative_sampling", "hierarchical_softmax"):
        return w @ softplus(-pos) + v @ softplus(neg), -w * sigmoid(-pos), v * sigmoid(neg)
    if name in ("margin", "triplet", "bpr"):
        share, gap = w / max(w.sum(), 1e-30), neg[None, :] - pos[:, None]
        margin = {"margin": 1.0, "triplet": 0.2, "bpr": None}[name]
        loss, slope = (softplus(gap), sigmoid(gap)) if margin is None else (np.maximum(0, margin + gap), gap > -margin)
        return share @ loss @ v, -share * (slope @ v), (share @ slope) * v
    if name == "spectral":
        share = v / v.sum()
        return w @ (share @ neg**2 - 2 * pos), -2 * w, w.sum() * 2 * share * neg
    if name == "align_uniform":  # of scores above one, as if they were one
        kernels = v / v.sum() * np.exp(-4 + 4 * neg)
        loss = w @ (np.maximum(0, 2 - 2 * pos) + np.log(kernels.sum()))
        return loss, -2 * w * (pos < 1), w.sum() * 4 * kernels / kernels.sum()
    if name == "cosine_contrastive":
        return w @ (1 - pos) + v @ np.maximum(0, neg - 0.4), -w, v * (neg > 0.4)
    total = v @ np.exp(neg)
    if name in ("softmax", "dcl"):
        return w @ (np.log(total) - pos), -w, w.sum() * v * np.exp(neg) / total
    assert name == "infonce"
    chance = total / (total + np.exp(pos))
    return w @ np.log1p(total * np.exp(-pos)), -w * chance, (w / (total + np.exp(pos))).sum() * v * np.exp(neg)


def neighbours(documents, i, window):
    """Places of `documents [L]` within `window` of `i` in its document, each with its distance."""
    for j in range(i - window, i + window + 1):
        if j != i and documents[j] == documents[i] >= 0:
            yield j, abs(j - i)


def negatives_of(method, name, batch, block, size, counts, positives):
    """Ids of the negatives of a centre in a block, and what each weighs."""
    if name == "softmax":
        return np.arange(size), np.ones(size)
    drawn = np.asarray(batch["negatives"][block])
    if name not in ("infonce", "dcl"):
        return drawn, np.full(len(drawn), method.negative / len(drawn) * positives)
    chance = counts**method.ns_exponent / (counts**method.ns_exponent).sum()
    return drawn, 1 / (len(drawn) * chance[drawn])


def skipgram_step(method, name, batch, tables, counts):
    """`(loss, expected pairs, new tables)` of Skip-gram after one step of SGD."""
    vectors, outputs = tables["in"], tables["out"]
    moved = {key: table.copy() for key, table in tables.items()}
    window, loss, pairs = method.window, 0.0, 0.0
    tokens, documents = np.asarray(batch["tokens"]), np.asarray(batch["documents"])
    for b, i in np.ndindex(len(tokens), method.block):
        near = list(neighbours(documents[b], i + window, window))
        centre, ids = tokens[b, i + window], tokens[b, [j for j, _ in near]]
        w = np.array([(window + 1 - d) / window for _, d in near])
        pairs += w.sum()
        if name == "hierarchical_softmax":
            # As in word2vec.c, every neighbour's vector finds its way to the centre.
            on = np.asarray(batch["turns"][b, i]) != 0
            nodes, turns = np.asarray(batch["nodes"][b, i])[on], np.asarray(batch["turns"][b, i], np.float64)[on]
            for j, weight in zip(ids, w, strict=True):
                scores = turns * (outputs[nodes] @ vectors[j])
                loss += weight * softplus(-scores).sum()
                slope = -weight * turns * sigmoid(-scores)
                moved["in"][j] -= RATE * slope @ outputs[nodes]
                np.subtract.at(moved["out"], nodes, RATE * slope[:, None] * vectors[j])
            continue
        if not len(ids):
            continue
        others, v = negatives_of(method, name, batch, b, len(vectors), counts, w.sum())
        part, d_pos, d_neg = objective_of(name, outputs[ids] @ vectors[centre], w, outputs[others] @ vectors[centre], v)
        loss += part
        moved["in"][centre] -= RATE * (d_pos @ outputs[ids] + d_neg @ outputs[others])
        np.subtract.at(moved["out"], ids, RATE * d_pos[:, None] * vectors[centre])
        np.subtract.at(moved["out"], others, RATE * d_neg[:, None] * vectors[centre])
    return loss, pairs, moved


def cbow_step(method, name, batch, tables, counts):
    """`(loss, tokens with a neighbour, new tables)` of CBOW after one step of SGD."""
    vectors, outputs = tables["in"], tables["out"]
    moved = {key: table.copy() for key, table in tables.items()}
    window, loss, centres = method.window, 0.0, 0
    tokens, documents = np.asarray(batch["tokens"]), np.asarray(batch["documents"])
    for b, i in np.ndindex(len(tokens), method.block):
        near = list(neighbours(documents[b], i + window, int(batch["reach"][b, i])))
        if not near:
            continue
        centres += 1
        centre, ids = tokens[b, i + window], tokens[b, [j for j, _ in near]]
        context = vectors[ids].mean(0) if method.cbow_mean else vectors[ids].sum(0)
        share = 1 / (window + 1) if method.cbow_mean else 1.0  # of the gradient, for each neighbour
        if name == "hierarchical_softmax":
            on = np.asarray(batch["turns"][b, i]) != 0
            nodes, turns = np.asarray(batch["nodes"][b, i])[on], np.asarray(batch["turns"][b, i], np.float64)[on]
            scores = turns * (outputs[nodes] @ context)
            loss += softplus(-scores).sum()
            slope = -turns * sigmoid(-scores)
            to_context = slope @ outputs[nodes]
            np.subtract.at(moved["out"], nodes, RATE * slope[:, None] * context)
        else:
            others, v = negatives_of(method, name, batch, b, len(vectors), counts, 1.0)
            pos, neg = outputs[[centre]] @ context, outputs[others] @ context
            part, d_pos, d_neg = objective_of(name, pos, np.ones(1), neg, v)
            loss += part
            to_context = d_pos @ outputs[[centre]] + d_neg @ outputs[others]
            np.subtract.at(moved["out"], [centre], RATE * d_pos[:, None] * context)
            np.subtract.at(moved["out"], others, RATE * d_neg[:, None] * context)
        np.subtract.at(moved["in"], ids, RATE * share * to_context)
    return loss, centres, moved


def check_step(method, name, reference, seed=0):
    """The engine's step and the written-out one on a batch of the method's own drawing."""
    rng = np.random.default_rng(seed)
    words = 12
    corpus = corpus_of([*zipf_documents(rng, words, 3, 17), [3], [0, 1]], words)
    counts = corpus.vocabulary.counts.astype(np.float64)
    shard = prepared(method, corpus)
    batch = method.batch(shard, jnp.int32(0), jax.random.key(seed))
    tables = random_tables(rng, words, method.vector_size)
    loss, weight, expected = reference(method, name, batch, tables, counts)
    actual, metrics = step_on(method, batch, tables)
    assert weight > 0
    np.testing.assert_allclose(metrics["loss"], loss, rtol=2e-5)
    np.testing.assert_allclose(metrics["weight"], weight, rtol=1e-5)
    for key, table in expected.items():
        np.testing.assert_allclose(actual[key][:, : method.vector_size], table, rtol=1e-4, atol=1e-4, err_msg=key)
        assert not actual[key][:, method.vector_size :].any()
        assert np.abs(table - tables[key]).max() > 0.01


def pull_matrix(method, corpus, table, seed=0):
    """How strongly a pass over `corpus` pulls each pair together: `[V, V]`, centres in rows.

    The centres have unit vectors and the other table is zero: then a pair of weight w moves the
    neighbour by w / 2 along its centre's axis, and negatives that weigh nothing leave no trace. No step is added to the
    next, so all see the same tables.
    """
    size = len(corpus.vocabulary)
    other = {"in": "out", "out": "in"}[table]
    state = state_of({table: np.eye(size), other: np.zeros((size, size))}, method_width(size))
    step = jax.jit(lambda shard, place: train_step(method, OPTIMIZERS, state, shard, place))
    prepare, pull, weight = jax.jit(method.prepare), np.zeros((size, size)), 0.0
    for piece in range(method.source(corpus).pieces):
        shard = prepared(method, corpus, piece, seed, prepare)
        for place in range(method.steps(shard)):
            after, metrics = step(shard, jnp.int32(place))
            pull += 2 / RATE * np.asarray(after.params.tables[other], np.float64)[:, :size].T
            weight += float(metrics["weight"])
    return pull, weight


def method_width(size):
    return -(-size // 16) * 16
