import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxembed.objectives import DECORRELATION, decorrelation


def vicreg(a, b, invariance=25.0, variance=25.0, covariance=1.0):
    loss = invariance * ((a - b) ** 2).mean()
    for x in (a, b):
        loss += variance * np.maximum(0, 1 - np.sqrt(x.var(0, ddof=1) + 1e-4)).mean() / 2
        covariances = np.cov(x, rowvar=False)
        loss += covariance * (covariances**2)[~np.eye(x.shape[1], dtype=bool)].sum() / x.shape[1]
    return loss


def barlow_twins(a, b, weight=5e-3):
    unit = lambda x: (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    correlation = unit(a).T @ unit(b) / len(a)
    diagonal = np.diag(correlation)
    return ((1 - diagonal) ** 2).sum() + weight * ((correlation**2).sum() - (diagonal**2).sum())


REFERENCES = {"vicreg": vicreg, "barlow_twins": barlow_twins}


def views():
    rng = np.random.default_rng(0)
    a = rng.normal(0, [0.4, 0.8, 1.5, 1.0], (7, 4)) + np.arange(4)  # deviations below and above VICReg's one
    return a, a + rng.normal(0, 0.3, a.shape)


def test_every_objective_has_a_reference():
    assert set(REFERENCES) == set(DECORRELATION)


@pytest.mark.parametrize(
    ("name", "settings"),
    [*((name, {}) for name in DECORRELATION), ("barlow_twins", {"weight": 0.1}),
     ("vicreg", {"invariance": 3.0, "variance": 5.0, "covariance": 7.0})],
)  # fmt: skip
def test_value_and_gradient_equal_the_formula_in_float64(name, settings):
    a, b = views()
    formula = lambda a, b: REFERENCES[name](a, b, **settings)
    step = jax.jit(jax.value_and_grad(decorrelation(name, **settings), (0, 1)))
    loss, gradients = step(jnp.float32(a), jnp.float32(b))
    np.testing.assert_allclose(loss, formula(a, b), rtol=1e-5)
    for side, gradient in enumerate(gradients):
        expected = np.zeros_like(a)
        for place in np.ndindex(*a.shape):
            nudge = np.zeros((2, *a.shape))
            nudge[side][place] = 1e-6
            expected[place] = (formula(a + nudge[0], b + nudge[1]) - formula(a - nudge[0], b - nudge[1])) / 2e-6
        np.testing.assert_allclose(gradient, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", DECORRELATION)
def test_a_collapse_is_finite_and_costs(name):
    objective = decorrelation(name)
    same = jnp.ones((5, 3), jnp.bfloat16)
    loss, gradient = jax.jit(jax.value_and_grad(objective))(same, same)
    assert loss.dtype == jnp.float32
    assert loss == pytest.approx(REFERENCES[name](*np.ones((2, 5, 3))), rel=1e-3)
    assert loss > 1
    assert np.isfinite(gradient.astype(jnp.float32)).all()


@pytest.mark.parametrize("name", DECORRELATION)
def test_bad_batches(name):
    with pytest.raises(ValueError, match="at least two, not 1"):
        decorrelation(name)(jnp.ones((1, 3)), jnp.ones((1, 3)))
    with pytest.raises(ValueError, match="of one shape"):
        decorrelation(name)(jnp.ones((4, 3)), jnp.ones((4, 2)))
    with pytest.raises(ValueError, match=r"vicreq.*did you mean 'vicreg'"):
        decorrelation("vicreq")
