import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxembed.objectives import prediction


@pytest.mark.parametrize("normalize", [True, False])
def test_value_and_gradient_equal_the_formula_in_float64(normalize):
    rng = np.random.default_rng(0)
    p, z = rng.normal(size=(2, 5, 4))
    unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)
    objective = prediction("regression", normalize=normalize)

    @jax.jit
    def step(p, z):
        return objective(p, z), jax.grad(lambda p, z: objective(p, z).sum(), (0, 1))(p, z)

    loss, (to_p, to_z) = step(jnp.float32(p), jnp.float32(z))
    if normalize:  # of 2 - 2 u(p) u(z), with du/dp = (I - u u^T) / |p|
        expected = 2 - 2 * (unit(p) * unit(z)).sum(1)
        along = (unit(p) * unit(z)).sum(1, keepdims=True)
        slope = -2 * (unit(z) - along * unit(p)) / np.linalg.norm(p, axis=1, keepdims=True)
    else:
        expected, slope = ((p - z) ** 2).sum(1), 2 * (p - z)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(to_p, slope, rtol=1e-4, atol=1e-5)
    assert not to_z.any()  # no gradient flows through the target


def test_bad_predictions():
    with pytest.raises(ValueError, match="of one shape"):
        prediction("regression")(jnp.ones((4, 3)), jnp.ones((2, 3)))
    with pytest.raises(ValueError, match=r"regresion.*did you mean 'regression'"):
        prediction("regresion")
    loss, gradient = jax.value_and_grad(lambda p: prediction("regression")(p, jnp.ones((1, 3)))[0])(jnp.zeros((1, 3)))
    assert loss == 2
    assert np.isfinite(gradient).all()
