"""Geometry against NumPy and scipy in float64, and the values that are known in closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import pdist

from jaxembed.evaluation.geometry import alignment, collapsed, dimension_std, effective_rank, geometry, uniformity

N, D = 53, 6


def vectors(seed: int = 0, count: int = N) -> np.ndarray:
    random = np.random.default_rng(seed)
    return (random.standard_normal((count, D)) * [3, 2, 1, 1, 0.5, 0.1] + 0.4).astype(np.float32)


def unit(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def rank_of(x: np.ndarray) -> float:
    values = np.linalg.svd(x.astype(np.float64), compute_uv=False)
    share = values[values > 0] / values.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_alignment_is_the_mean_distance_of_pairs(alpha):
    a, b = vectors(0), vectors(1)
    expected = np.mean(np.linalg.norm(unit(a) - unit(b), axis=1) ** alpha)
    assert float(alignment(a, b, alpha)) == pytest.approx(expected, rel=1e-5)
    assert float(alignment(a, 2 * a, alpha)) == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="pairs"):
        alignment(a, b[:-1])


@pytest.mark.parametrize(
    "t", [2.0, pytest.param(0.5, marks=pytest.mark.slow), pytest.param(50.0, marks=pytest.mark.slow)]
)
def test_uniformity_is_that_of_all_pairs(t):
    x = vectors()
    expected = np.log(np.mean(np.exp(-t * pdist(unit(x), "sqeuclidean"))))
    for batch in (8, 53, 1024):  # 53 rows: a last block of five, and blocks that hold all
        assert float(uniformity(x, t, batch)) == pytest.approx(expected, rel=2e-5, abs=2e-6)


def test_uniformity_of_a_point_of_opposites_and_of_zeros():
    assert float(uniformity(np.ones((9, 3)))) == pytest.approx(0, abs=1e-6)
    assert float(uniformity(np.array([[1.0, 0], [-1, 0]]))) == pytest.approx(-8)
    assert float(uniformity(np.array([[1.0, 0], [0, 0]]))) == pytest.approx(-2)
    with pytest.raises(ValueError, match=r"expected 2 or more vectors"):
        uniformity(np.ones((1, 3)))


@pytest.mark.parametrize("spread", [np.ones(D), 10.0 ** -np.arange(D)])
@pytest.mark.parametrize("count", [N, 4])
def test_effective_rank_is_that_of_the_singular_values(spread, count):
    x = vectors(count=count) * spread.astype(np.float32)
    for scale in (1, 1e-25, 1e25):
        assert float(effective_rank(x * np.float32(scale))) == pytest.approx(rank_of(x), rel=1e-5)


def test_effective_rank_in_closed_form():
    assert float(effective_rank(np.eye(7))) == pytest.approx(7, rel=1e-5)
    assert float(effective_rank(np.outer(np.arange(9), np.ones(64)))) == pytest.approx(1, abs=1e-3)
    assert float(effective_rank(np.zeros((9, 4)))) == 1
    line = np.diag([3.0, 1.0])
    assert float(effective_rank(line)) == pytest.approx((4 / 3) ** 0.75 * 4**0.25, rel=1e-5)


def test_dimension_std_is_that_of_unit_rows():
    x = vectors()
    assert float(dimension_std(x)) == pytest.approx(unit(x).std(0).mean() * np.sqrt(D), rel=1e-5)
    assert float(dimension_std(np.concatenate([np.eye(5), -np.eye(5)]))) == pytest.approx(1, rel=1e-5)
    assert float(dimension_std(np.ones((9, 3)))) == pytest.approx(0, abs=1e-6)


def test_geometry_runs_in_jit_and_over_seeds():
    many = jnp.stack([vectors(seed) for seed in range(3)])
    found = jax.jit(jax.vmap(geometry))(many)
    for seed, x in enumerate(many):
        expected = {
            "uniformity": np.log(np.mean(np.exp(-2 * pdist(unit(np.asarray(x)), "sqeuclidean")))),
            "effective_rank": rank_of(np.asarray(x)),
            "dimension_std": unit(np.asarray(x)).std(0).mean() * np.sqrt(D),
        }
        assert {name: float(values[seed]) for name, values in found.items()} == pytest.approx(expected, rel=2e-5)
    pairs = jax.jit(jax.vmap(alignment))(many, many[::-1])
    assert float(pairs[1]) == pytest.approx(0, abs=1e-6)
    assert float(pairs[0]) == pytest.approx(float(pairs[2]), rel=1e-5)


def test_collapse_is_told_with_its_reason():
    random = np.random.default_rng(3)
    noise = random.standard_normal((200, 32))
    assert collapsed(noise) is None
    assert collapsed(noise + 1) is None  # a large mean is no collapse
    assert "collapsed to a point: dimension_std is" in collapsed(noise * 1e-3 + 1)
    assert "collapsed to a point" in collapsed(np.zeros((200, 32)))
    line = random.standard_normal((200, 1)) * np.ones((1, 32))
    assert "collapsed to a line: effective_rank is 1" in collapsed(line + 1e-3 * noise)
    assert "diverged" in collapsed(np.where(noise > 3, np.nan, noise))
    figures = jax.jit(geometry)(line)
    assert collapsed(figures) == collapsed(line)
    assert collapsed(jax.jit(geometry)(noise)) is None
