import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.objectives import glove_weight, weighted_squares


def test_glove_loss_equals_the_paper_in_float64():
    rng = np.random.default_rng(0)
    counts = np.array([0.1, 0.5, 1, 9.99, 10, 10.01, 5000], np.float64)
    prediction = rng.normal(0, 3, counts.shape)
    weight = np.where(counts < 10, (counts / 10) ** 0.75, 1.0)  # Pennington et al. 2014, eq. 9
    residual = prediction - np.log(counts)

    def loss(prediction):
        return jnp.sum(weighted_squares(prediction, jnp.log(jnp.float32(counts)), glove_weight(counts, 10.0, 0.75)))

    value, gradient = jax.jit(jax.value_and_grad(loss))(jnp.float32(prediction))
    np.testing.assert_allclose(value, (weight * residual**2).sum() / 2, rtol=1e-5)
    np.testing.assert_allclose(gradient, weight * residual, rtol=1e-4, atol=1e-6)


def test_a_count_of_zero_weighs_nothing():
    for alpha in (0.75, 0.0):
        np.testing.assert_array_equal(glove_weight(jnp.float32([0, 20]), 10.0, alpha), [0, 1])
