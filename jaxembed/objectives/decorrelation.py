"""The decorrelation family: losses of two views' dimensions, without negatives.

One contract: `objective(a [B, d], b [B, d]) -> loss`, of a batch as a whole, in float32 or wider. Statistics are the whole
batch's, also where it is spread over devices. Raises ValueError for a batch of one, which has no variance.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxembed.ranges import Checked, NotNegative, Positive


def _views(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"two views must be of one shape [batch, d], not {a.shape} and {b.shape}")
    if a.shape[0] < 2:
        raise ValueError(f"decorrelation needs a batch of at least two, not {a.shape[0]}: a single row has no variance")
    wide = jnp.promote_types(a.dtype, jnp.float32)
    return a.astype(wide), b.astype(wide)


def _off_diagonal_squares(matrix: jax.Array) -> jax.Array:
    return jnp.sum(jnp.where(jnp.eye(matrix.shape[0], dtype=bool), 0, jnp.square(matrix)))


@dataclass(frozen=True)
class VICRegLoss(Checked):
    """Views agree, every dimension keeps a deviation of at least one, dimensions do not go together (Bardes et al. 2022).

    `invariance mean (a - b)^2 + variance [v(a) + v(b)] / 2 + covariance [c(a) + c(b)]`, with `v` the mean over dimensions of
    `max(0, 1 - sqrt(var + epsilon))` and `c` the sum of squared covariances between dimensions over `d`: as the authors'
    code has it, whose weights these are (the paper's eq. 1-6 sum the first over dimensions and do not halve the second).
    """

    invariance: NotNegative = 25.0
    variance: NotNegative = 25.0
    covariance: NotNegative = 1.0
    epsilon: Positive = 1e-4

    def __call__(self, a: jax.Array, b: jax.Array) -> jax.Array:
        """Loss of the batch; the contract is the module's."""
        a, b = _views(a, b)
        spread, together = zip(*map(self._spread, (a, b)), strict=True)
        loss = self.invariance * jnp.mean(jnp.square(a - b)) + self.variance * sum(spread) / 2
        return loss + self.covariance * sum(together)

    def _spread(self, x):
        x = x - jnp.mean(x, 0, keepdims=True)
        covariance = x.T @ x / (x.shape[0] - 1)
        deviation = jnp.sqrt(jnp.diagonal(covariance) + self.epsilon)
        return jnp.mean(jnp.maximum(1 - deviation, 0)), _off_diagonal_squares(covariance) / x.shape[1]


@dataclass(frozen=True)
class BarlowTwinsLoss(Checked):
    """The views' cross-correlation is pulled to the identity: `sum_i (1 - C_ii)^2 + weight sum_(i != j) C_ij^2`.

    Zbontar et al. 2021, eq. 1 and 2; `epsilon` is added to variances, as the batch normalisation in the authors' code does.
    """

    weight: NotNegative = 5e-3
    epsilon: Positive = 1e-5

    def __call__(self, a: jax.Array, b: jax.Array) -> jax.Array:
        """Loss of the batch; the contract is the module's."""
        a, b = map(self._standardized, _views(a, b))
        correlation = a.T @ b / a.shape[0]
        return jnp.sum(jnp.square(1 - jnp.diagonal(correlation))) + self.weight * _off_diagonal_squares(correlation)

    def _standardized(self, x):
        x = x - jnp.mean(x, 0, keepdims=True)
        return x * jax.lax.rsqrt(jnp.mean(jnp.square(x), 0, keepdims=True) + self.epsilon)
