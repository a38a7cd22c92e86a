from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chi2_contingency

from jaxembed.methods.cbow import CBOW
from jaxembed.objectives import PAIRWISE, pairwise
from jaxembed.training.loop import fit
from jaxembed.training.settings import Training

from .word_reference import cbow_step, check_step, corpus_of, prepared, pull_matrix

SMALL = {"vector_size": 6, "window": 3, "block": 8, "tile": 4, "step_tokens": 32, "shared_negatives": 5, "sample": 0.0}


@pytest.mark.slow
@pytest.mark.parametrize("name", PAIRWISE)
def test_a_step_equals_loops_in_float64(name):
    check_step(CBOW(objective=pairwise(name), negative=3, **SMALL), name, cbow_step)


def test_a_step_with_sums_for_means():
    check_step(CBOW(negative=3, cbow_mean=False, **SMALL), "negative_sampling", cbow_step)


@pytest.mark.parametrize(("window", "lengths", "shard_tokens"), [(3, [23], 1 << 20), (2, [5, 1, 0, 9, 2, 8], 13)])
def test_every_neighbour_in_the_window_gets_an_equal_share_of_the_gradient(window, lengths, shard_tokens):
    n = sum(lengths)
    places = np.split(np.arange(n), np.cumsum(lengths)[:-1])
    method = CBOW(
        vector_size=n,
        window=window,
        shrink_windows=False,
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
                    expected[i, j] = 1 / (2 * window)
    pull, weight = pull_matrix(method, corpus_of(places, n), "out")
    np.testing.assert_allclose(pull, expected, atol=1e-5)  # whole windows share one gradient
    assert weight == expected.any(1).sum()


def test_each_token_draws_a_window_of_its_own():
    method = CBOW(window=5, step_tokens=1 << 15)
    shard = prepared(method, corpus_of([np.zeros(1 << 15, np.int32)], 2))
    first, second = (np.asarray(method.batch(shard, jnp.int32(0), jax.random.key(one))["reach"]) for one in (0, 1))
    assert first.shape == (1 << 9, 64)
    assert (first != second).mean() > 0.7
    shares = np.bincount(first.ravel(), minlength=6) / first.size
    np.testing.assert_allclose(shares, [0, 0.2, 0.2, 0.2, 0.2, 0.2], atol=0.01)
    assert (
        chi2_contingency(np.histogram2d(*first[:, :2].T, bins=5)[0]).pvalue > 1e-3
    )  # neighbouring tokens draw independently


@pytest.mark.parametrize(
    ("words", "epochs", "sweeps", "damping"),
    [(20_000_000, 5, 1, 1.0), (20_000_000, 50, 1, 10.0), (1_000_000, 5, 20, 20.0), (1_000_000, 50, 2, 20.0), (20, 2, 64, 25.6)],
)  # fmt: skip
def test_small_corpora_are_swept_more_often_with_steps_that_shrink_sooner(words, epochs, sweeps, damping):
    corpus = replace(corpus_of([[0, 1]]), tokens=np.broadcast_to(np.int32(0), words))
    fitted = CBOW().training_for(corpus, Training(epochs, sweeps=0, damping=0.0))
    assert (fitted.sweeps, fitted.damping) == (sweeps, pytest.approx(damping, rel=1e-3))
    own = Training(epochs, sweeps=2, damping=3.0)
    assert CBOW().training_for(corpus, own) == own


@pytest.mark.slow
def test_a_pass_of_three_sweeps_meets_three_times_the_words():
    corpus = corpus_of([[0, 1, 2, 1, 0, 2, 1, 1]] * 20)
    once, thrice = (fit(CBOW(vector_size=8, sample=0), corpus, Training(2, sweeps=sweeps)) for sweeps in (1, 3))
    assert thrice.examples == 3 * once.examples
    alike = fit(CBOW(vector_size=8, sample=0), corpus, Training(6))
    np.testing.assert_array_equal(thrice.vectors, alike.vectors)  # two passes of three sweeps are six passes
