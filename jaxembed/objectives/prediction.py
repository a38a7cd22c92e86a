"""The prediction family: a head's output against another view's vector, through which no gradient flows.

One contract: `objective(prediction [B, d], target [B, d]) -> loss [B]`, in float32 or wider.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxembed.ranges import Checked
from jaxembed.scores import normalized


@dataclass(frozen=True)
class Regression(Checked):
    """`2 - 2 cos(prediction, target)` (BYOL: Grill et al. 2020, eq. 2; twice SimSiam's and two more: Chen and He 2021, eq. 1).

    normalize: of unit vectors, as above; without, the squared distance of the vectors as they are.
    """

    normalize: bool = True

    def __call__(self, prediction: jax.Array, target: jax.Array) -> jax.Array:
        """Loss of each row; raises ValueError where the shapes differ."""
        if prediction.shape != target.shape:
            raise ValueError(f"prediction and target must be of one shape, not {prediction.shape} and {target.shape}")
        wide = jnp.promote_types(prediction.dtype, jnp.float32)
        prediction, target = prediction.astype(wide), jax.lax.stop_gradient(target.astype(wide))
        if self.normalize:
            return 2 - 2 * jnp.sum(normalized(prediction) * normalized(target), -1)
        return jnp.sum(jnp.square(prediction - target), -1)
