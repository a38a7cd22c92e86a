import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jaxembed.sampling import negatives


def distribution(table):
    """What the table draws, worked out in float64: a column each, kept or handed to its alias."""
    threshold, n = np.asarray(table.threshold, np.float64), len(table.threshold)
    return (threshold + np.bincount(table.alias, weights=1 - threshold, minlength=n)) / n


WEIGHTS = {
    "one": [3.0],
    "equal": [1.0] * 7,
    "with zeros": [0, 5, 0, 1, 0],
    "one rules": [1e9, 1, 1, 1],
    "zipf": 1e6 / np.arange(1, 5001),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_the_table_holds_the_distribution_exactly(name):
    weights = np.asarray(WEIGHTS[name], np.float64)
    table = negatives.alias_table(weights)
    expected = weights / weights.sum()
    np.testing.assert_allclose(distribution(table), expected, rtol=0, atol=1e-6 / len(weights))
    np.testing.assert_allclose(np.exp(table.log_probability.astype(np.float64)), expected, rtol=1e-5)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50).filter(lambda weights: sum(weights) > 1e-3))
def test_any_weights(weights):
    table = negatives.alias_table(np.array(weights))
    np.testing.assert_allclose(distribution(table), np.array(weights) / np.sum(weights), rtol=0, atol=1e-6)
    assert (table.threshold >= 0).all()
    assert (table.threshold <= 1).all()


def test_draws_follow_the_smoothed_unigram_distribution():
    counts = np.array([5000, 900, 300, 120, 50, 20, 7, 1])
    n = 200_000
    drawn = np.asarray(negatives.draw(jax.random.key(0), negatives.unigram_table(counts, 0.75), (n // 8, 8)))
    expected = counts**0.75 / (counts**0.75).sum()
    observed = np.bincount(drawn.reshape(-1), minlength=len(counts))
    assert stats.chisquare(observed, n * expected).pvalue > 1e-4
    side_by_side = np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]
    assert abs(side_by_side) < 5 / np.sqrt(n // 8)


def test_a_weight_of_zero_is_never_drawn():
    table = negatives.alias_table(np.array([0.0, 1.0, 0.0, 3.0]))
    assert set(np.unique(negatives.draw(jax.random.key(0), table, (10_000,)))) == {1, 3}
    assert table.log_probability[0] == -np.inf


@pytest.mark.parametrize("exponent", [0.0, 1.0, -0.5])
def test_the_exponent(exponent):
    counts = np.array([100, 10, 1])
    expected = counts.astype(float) ** exponent
    np.testing.assert_allclose(
        distribution(negatives.unigram_table(counts, exponent)), expected / expected.sum(), rtol=1e-6
    )


@pytest.mark.parametrize("weights", [[], [0.0, 0.0], [1.0, -1.0], [1.0, np.nan], [1.0, np.inf], [[1.0, 2.0]]])
def test_bad_weights(weights):
    with pytest.raises(ValueError, match="finite numbers >= 0"):
        negatives.alias_table(np.array(weights))
