import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxembed.methods.skipgram import SkipGram
from jaxembed.objectives import PAIRWISE, pairwise

from .word_reference import check_step, corpus_of, pull_matrix, random_tables, skipgram_step, step_on

SMALL = {"vector_size": 6, "window": 3, "block": 8, "tile": 4, "step_tokens": 32, "shared_negatives": 5, "sample": 0.0}


@pytest.mark.parametrize("name", PAIRWISE)
def test_a_step_equals_loops_in_float64(name):
    check_step(SkipGram(objective=pairwise(name), negative=3, **SMALL), name, skipgram_step)


@pytest.mark.parametrize(
    ("window", "lengths", "shard_tokens"),
    [(3, [23], 1 << 20), (2, [5, 1, 0, 9, 2, 8], 1 << 20), (5, [12, 13], 9)],
    ids=["one document", "many documents", "three pieces"],
)
def test_a_pass_weighs_every_pair_as_word2vec_does_on_average(window, lengths, shard_tokens):
    # Every word occurs once, so a pair of words is a pair of places.
    n = sum(lengths)
    places = np.split(np.arange(n), np.cumsum(lengths)[:-1])
    corpus = corpus_of(places, n)
    method = SkipGram(
        vector_size=n,
        window=window,
        block=8,
        tile=4,
        halo=window,
        step_tokens=16,
        sample=0,
        negative=1e-9,
        shard_tokens=shard_tokens,
    )
    piece = -(-n // -(-n // shard_tokens))
    expected = np.zeros((n, n))
    for document in places:
        for i in document:
            for j in document:
                if 0 < abs(i - j) <= window and i // piece == j // piece:
                    expected[i, j] = (window + 1 - abs(i - j)) / window
    pull, weight = pull_matrix(method, corpus, "in")
    np.testing.assert_allclose(pull, expected, atol=1e-5)
    assert weight == pytest.approx(expected.sum(), rel=1e-5)


@pytest.mark.parametrize("score", ["cosine", "negative_squared_distance"])
def test_other_scores(score):
    method = SkipGram(objective=pairwise("negative_sampling"), score=score, **SMALL)
    rng = np.random.default_rng(0)
    tokens, documents = rng.integers(0, 9, (2, 14)), np.zeros((2, 14), int)
    batch = {"tokens": tokens, "documents": documents, "negatives": rng.integers(0, 9, (2, 5))}
    tables = random_tables(rng, 9, 6)

    def compare(a, b):
        if score == "cosine":
            return a @ b.T / np.linalg.norm(a) / np.linalg.norm(b, axis=1)
        return -((a - b) ** 2).sum(1)

    loss = 0.0
    for b, i in np.ndindex(2, 8):
        near = [j for j in range(i, i + 7) if j != i + 3]
        weight = np.array([(4 - abs(j - i - 3)) / 3 for j in near])
        centre = tables["in"][tokens[b, i + 3]]
        loss += weight @ np.logaddexp(0, -compare(centre, tables["out"][tokens[b, near]]))
        against = np.logaddexp(0, compare(centre, tables["out"][batch["negatives"][b]]))
        loss += weight.sum() * method.negative / 5 * against.sum()
    _, metrics = step_on(method, {name: jnp.int32(value) for name, value in batch.items()}, tables)
    np.testing.assert_allclose(metrics["loss"], loss, rtol=1e-5)


def test_the_start_is_word2vecs():
    method = SkipGram(**SMALL)
    shard = {"keep": jnp.ones(500)}
    tables = method.init(jax.random.key(0), shard).tables
    start = np.asarray(method.vectors(method.init(jax.random.key(0), shard)))
    assert start.shape == (500, 6)
    assert np.abs(start).max() <= 0.5 / 6
    assert start.std() == pytest.approx(1 / 6 / np.sqrt(12), rel=0.05)
    assert not tables["in"][:, 6:].any()
    assert not tables["out"].any()


def test_unknown_score():
    with pytest.raises(ValueError, match=r"unknown score 'dott'.*dot, cosine"):
        SkipGram(score="dott")


@pytest.mark.parametrize(
    ("words", "step", "block"), [(5400, 64, 64), (20_000, 64, 64), (30_000, 128, 128), (10**6, 512, 128)]
)
def test_steps_and_blocks_are_short_where_the_corpus_is(words, step, block):
    tokens = np.resize(np.arange(40, dtype=np.int32), words)
    fitted = SkipGram(block=128).suited_to(corpus_of([tokens]))
    assert (fitted.step_tokens, fitted.block) == (step, block)
    assert fitted.suited_to(corpus_of([tokens])) == fitted
