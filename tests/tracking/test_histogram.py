import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxembed.tracking import histogram

RNG = np.random.default_rng(0)
ARRAYS = {
    "normal": RNG.normal(0.1, 0.3, (300, 40)),
    "skewed": RNG.lognormal(0, 2, 5000),
    "integers, many on the edges": RNG.integers(0, 65, 4000),
    "tiny range far from zero": 1000 + RNG.uniform(0, 1e-2, 2000),
    "one value": np.full(7, 2.5),
    "one element": np.array([-3.0]),
    "wide": np.array([-3e38, 0.0, 3e38]),
}


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("bins", [64, 7])
def test_counts_and_moments_are_numpys(name, bins):
    x = ARRAYS[name].astype(np.float32)
    ours = histogram(jnp.asarray(x), bins)
    wide = x.astype(np.float64)
    low, high = (wide.min(), wide.max()) if np.ptp(wide) else (wide.min() - 0.5, wide.max() + 0.5)
    np.testing.assert_allclose(ours.edges, np.linspace(low, high, bins + 1), rtol=3e-7, atol=1e-6 * abs(wide).max())
    np.testing.assert_array_equal(ours.counts, np.histogram(x, bins=np.asarray(ours.edges))[0])
    assert int(ours.counts.sum()) == int(ours.number) == x.size
    assert (float(ours.minimum), float(ours.maximum)) == (wide.min(), wide.max())
    if name != "wide":  # its squares overflow float32
        np.testing.assert_allclose(ours.sum, wide.sum(), rtol=1e-5)
        np.testing.assert_allclose(ours.sum_squares, np.square(wide).sum(), rtol=1e-5)


def test_moments_of_millions_of_values_keep_float32_precision():
    x = RNG.normal(0.1, 0.3, (20000, 100)).astype(np.float32)
    summary = histogram(jnp.asarray(x)).summary()
    assert summary["mean"] == pytest.approx(x.mean(dtype=np.float64), rel=2e-6)
    assert summary["std"] == pytest.approx(x.std(dtype=np.float64), rel=2e-6)
    assert summary["number"] == x.size


def test_values_that_are_not_finite_are_left_out():
    x = np.array([1.0, np.nan, 2.0, np.inf, -np.inf, 4.0], np.float32)
    ours = histogram(jnp.asarray(x), 3)
    np.testing.assert_array_equal(ours.counts, [1, 1, 1])
    assert (int(ours.number), float(ours.sum), float(ours.sum_squares)) == (3, 7.0, 21.0)
    nothing = histogram(jnp.asarray([np.nan, np.nan]), 3)
    assert int(nothing.counts.sum()) == int(nothing.number) == 0
    assert np.isfinite(nothing.edges).all()
    assert np.isnan(nothing.summary()["mean"])


def test_each_member_of_a_vmap_equals_the_one_alone():
    x = jnp.asarray(RNG.normal(0, [[1.0], [5.0]], (2, 500)), jnp.bfloat16)
    both = jax.vmap(histogram)(x)
    for member in range(2):
        for together, alone in zip(both, histogram(x[member]), strict=True):
            np.testing.assert_allclose(together[member], alone, rtol=1e-6)


def test_bad_arguments_are_told():
    with pytest.raises(ValueError, match="got 0: pass a sample"):
        histogram(jnp.zeros((0, 3)))
    with pytest.raises(ValueError, match="bins must be at least 1"):
        histogram(jnp.zeros(3), 0)
    with pytest.raises(ValueError, match="got 2147483648: pass a sample"):
        jax.eval_shape(histogram, jax.ShapeDtypeStruct((2**31,), jnp.float32))
