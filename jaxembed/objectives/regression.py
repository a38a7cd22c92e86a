"""Regression to a target: the family of GloVe and of implicit-feedback matrix factorisation."""

import jax.numpy as jnp


def weighted_squares(prediction, target, weight):
    """`weight (prediction - target)^2 / 2`, element by element (Pennington et al. 2014, eq. 8, halved as their code does)."""
    return 0.5 * weight * jnp.square(prediction - target)


def glove_weight(count, x_max: float, alpha: float):
    """`min(1, count / x_max)^alpha`: how much an entry of the co-occurrence matrix counts (ibid., eq. 9); 0 without a count."""
    return jnp.where(count > 0, jnp.minimum(count / x_max, 1.0) ** alpha, 0.0)
