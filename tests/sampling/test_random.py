import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jaxembed.sampling import random

N = 1 << 16


def draws(seed, n=N):
    return np.asarray(random.bits(jax.random.key(seed), (n,)))


@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_every_byte_and_every_bit_is_uniform(seed):
    words = draws(seed)
    for byte in words.view(np.uint8).reshape(N, 4).T:
        assert stats.chisquare(np.bincount(byte, minlength=256)).pvalue > 1e-4
    ones = ((words[:, None] >> np.arange(32, dtype=np.uint32)) & 1).sum(0)
    assert np.abs(ones - N / 2).max() < 5 * np.sqrt(N) / 2


def test_streams_are_independent_of_each_other_and_of_their_own_past():
    one, other = draws(0), draws(1)
    bits = [np.unpackbits(x.view(np.uint8)).astype(np.float64) for x in (one, other)]
    assert abs(np.corrcoef(*bits)[0, 1]) < 5 / np.sqrt(32 * N)
    for lag in (1, 2, 1024):
        assert abs(np.corrcoef(one[lag:], one[:-lag])[0, 1]) < 5 / np.sqrt(N)
        assert abs(np.corrcoef(one[lag:], other[:-lag])[0, 1]) < 5 / np.sqrt(N)
    pairs = (one[1:] >> 28).astype(np.int64) * 16 + (one[:-1] >> 28)  # successive draws fill the square
    assert stats.chisquare(np.bincount(pairs, minlength=256)).pvalue > 1e-4


def test_a_draw_depends_on_its_key_and_position_alone():
    whole = draws(3)
    np.testing.assert_array_equal(draws(3, 100), whole[:100])
    np.testing.assert_array_equal(random.bits(jax.random.key(3), (4, 25)).reshape(-1), whole[:100])
    keys = jnp.stack([jax.random.key(seed) for seed in (2, 3, 4)])
    mapped = jax.jit(jax.vmap(lambda key: random.bits(key, (100,))))(keys)
    np.testing.assert_array_equal(mapped, [draws(seed, 100) for seed in (2, 3, 4)])


def test_uniform_is_uniform_and_below_one():
    values = np.asarray(random.uniform(jax.random.key(0), (N,)), np.float64)
    assert values.min() >= 0
    assert values.max() < 1
    assert stats.kstest(values, "uniform").pvalue > 1e-4
    np.testing.assert_array_equal(values * 2**24, np.floor(values * 2**24))


POSITIONS = jnp.arange(4000)  # of one shape, so that nothing is compiled again


def order(seed, n):
    return np.asarray(random.shuffled(jax.random.key(seed), n, POSITIONS))[:n]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 3800), st.integers(0, 2**31 - 1))
def test_shuffled_meets_every_position_once(k, seed):
    n = random.shuffle_size(k)
    np.testing.assert_array_equal(np.sort(order(seed, n)), np.arange(n))


@given(st.integers(1, 10**9))
def test_shuffle_size_is_near(n):
    assert n <= random.shuffle_size(n) < n + 2 * np.sqrt(n) + 2
    assert random.shuffle_size(random.shuffle_size(n)) == random.shuffle_size(n)


def test_shuffled_looks_random():
    n = random.shuffle_size(3900)
    one, other = order(0, n), order(1, n)
    limit = 4.5 / np.sqrt(n)
    assert abs(np.corrcoef(one, np.arange(n))[0, 1]) < limit
    assert abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < limit
    assert abs(np.corrcoef(one, other)[0, 1]) < limit
    assert (one == other).sum() < 12  # two random orders agree in one place, on average
    assert stats.chisquare(np.histogram(np.diff(one) % n, 20)[0]).pvalue > 1e-4  # neighbours do not stay together


@pytest.mark.parametrize("n", [6, 30])
def test_over_keys_every_pair_of_places_is_as_likely(n):
    keys = jax.random.split(jax.random.key(0), 6000)
    first, second = np.asarray(jax.jit(jax.vmap(lambda key: random.shuffled(key, n, jnp.arange(2))))(keys)).T
    pairs = np.bincount(first * n + second, minlength=n * n).reshape(n, n)
    assert not np.diagonal(pairs).any()
    assert stats.chisquare(pairs[~np.eye(n, dtype=bool)]).pvalue > 1e-4


def test_a_domain_that_is_no_shuffle_size_is_refused():
    with pytest.raises(ValueError, match="use 12"):
        random.shuffled(jax.random.key(0), 11, jnp.arange(11))
