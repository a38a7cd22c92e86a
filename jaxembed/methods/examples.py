"""The common part of methods whose examples stay on the device: a pass meets each example once, in an order of its own."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxembed.ranges import Count
from jaxembed.sampling import random
from jaxembed.training.method import Batch, Method, Shard


def met(shard: Shard, names: tuple[str, ...], step: jax.Array, size: int) -> Batch:
    """Returns the rows of the columns `names` at place `step` of a pass, and `present [size]`, which is 0 for padding.

    The order is that of `random.shuffled` by the key `order`, without a table of all places.
    """
    n = shard.columns[names[0]].shape[0]
    places = random.shuffle_size(n)
    turn = step * size + jnp.arange(size)
    at = random.shuffled(shard.own["order"], places, jnp.minimum(turn, places - 1))
    rows = {name: shard.columns[name].at[at].get(mode="clip") for name in names}
    return rows | {"present": ((turn < places) & (at < n)).astype(jnp.float32)}


@dataclass(frozen=True)
class ExampleMethod(Method):
    """Methods whose source has one row per example: batches are drawn without replacement.

    A pass leaves out what does not fill its last batch, other examples in each pass.
    """

    batch_size: Count = 256  # Number of examples in one step.

    def prepare(self, shard: Shard, key: jax.Array) -> dict[str, jax.Array]:
        """Draws the order in which a pass meets the examples."""
        return {"order": jax.random.permutation(key, next(iter(shard.columns.values())).shape[0])}

    def steps(self, shard: Shard) -> int:
        """The number of whole batches in a pass; at least one, with all examples."""
        return max(1, shard.own["order"].shape[0] // self.batch_size)

    def batch(self, shard: Shard, step: jax.Array, key: jax.Array) -> Batch:
        """Returns the examples at place `step` of the order, `[batch_size, ...]` each."""
        order = shard.own["order"]
        size = min(self.batch_size, order.shape[0])
        chosen = jax.lax.dynamic_slice_in_dim(order, step * size, size)
        return {name: column[chosen] for name, column in shard.columns.items()}
