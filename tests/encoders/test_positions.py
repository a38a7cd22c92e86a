import math

import jax.numpy as jnp
import numpy as np
import pytest

from jaxembed.encoders import positions


def test_sinusoidal_equals_the_formula():
    codes = positions.sinusoidal(5, 6)
    for place, i in np.ndindex(5, 3):  # Vaswani et al. 2017, section 3.5
        angle = place / 10000 ** (2 * i / 6)
        assert codes[place, 2 * i] == pytest.approx(math.sin(angle), abs=1e-6)
        assert codes[place, 2 * i + 1] == pytest.approx(math.cos(angle), abs=1e-6)


def test_sincos_2d_equals_the_formula():
    codes = positions.sincos_2d(3, 4, 8).reshape(3, 4, 8)
    for row, column, i in np.ndindex(3, 4, 2):
        for start, place in ((0, column), (4, row)):
            angle = place / 10000 ** (i / 2)
            assert codes[row, column, start + i] == pytest.approx(math.sin(angle), abs=1e-6)
            assert codes[row, column, start + 2 + i] == pytest.approx(math.cos(angle), abs=1e-6)


def test_rotary_scores_depend_on_the_difference_of_places():
    rows, columns, size = 4, 5, 8
    cosine, sine = positions.axial_rotary(rows, columns, size)
    rng = np.random.default_rng(0)
    q, k = rng.normal(size=(2, 1, 1, size)).astype(np.float32)
    everywhere = lambda x: np.asarray(
        positions.rotate(jnp.tile(x, (1, rows * columns, 1)), cosine, sine), np.float64
    ).reshape(rows, columns, size)
    scores = np.einsum("rcd,RCd->rcRC", everywhere(q), everywhere(k))
    by_difference = {}
    for r, c, R, C in np.ndindex(*scores.shape):
        by_difference.setdefault((R - r, C - c), []).append(scores[r, c, R, C])
    assert max(np.ptp(values) for values in by_difference.values()) < 1e-5
    means = [np.mean(values) for values in by_difference.values()]
    assert len(np.unique(np.round(means, 5))) == len(means)  # and every difference is told from the others
    assert by_difference[0, 0][0] == pytest.approx(np.sum(q * k), rel=1e-5)


def test_axial_rotary_angles():
    cosine, sine = positions.axial_rotary(2, 3, 8)
    for row, column in np.ndindex(2, 3):
        # Heo et al. 2024: theta_t = 100^(-t / (d / 4)), half by row and half by column
        angles = np.array([place / 100 ** (t / 2) for place in (row, column) for t in range(2)])
        np.testing.assert_allclose(cosine[row * 3 + column], np.cos(angles), atol=1e-6)
        np.testing.assert_allclose(sine[row * 3 + column], np.sin(angles), atol=1e-6)


def test_a_resized_grid_is_bilinear_and_its_own_size_is_a_no_op():
    grid = np.random.default_rng(0).normal(size=(3, 4, 2)).astype(np.float32)
    assert positions.resized_grid(jnp.asarray(grid), (3, 4)).tobytes() == grid.tobytes()

    def along(x, axis, count):  # pixel centres, the edge's value beyond the edge
        n = x.shape[axis]
        at = np.clip((np.arange(count) + 0.5) * n / count - 0.5, 0, n - 1)
        left = np.minimum(np.floor(at).astype(int), n - 2)
        share = np.expand_dims(at - left, tuple(i for i in range(x.ndim) if i != axis))
        return np.take(x, left, axis) * (1 - share) + np.take(x, left + 1, axis) * share

    expected = along(along(grid.astype(np.float64), 0, 7), 1, 9)
    np.testing.assert_allclose(positions.resized_grid(jnp.asarray(grid), (7, 9)), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: positions.sinusoidal(3, 5), "even hidden_size, not 5"),
        (lambda: positions.sincos_2d(2, 2, 6), "multiple of 4, not 6"),
        (lambda: positions.axial_rotary(2, 2, 6), "multiple of 4, not 6"),
    ],
)
def test_sizes_that_do_not_divide(call, message):
    with pytest.raises(ValueError, match=message):
        call()
