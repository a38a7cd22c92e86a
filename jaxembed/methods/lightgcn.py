"""LightGCN: the vectors of users and items are averages over their neighbourhoods in the graph of interactions."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.data.interactions import Interactions
from jaxembed.methods.recommend import PairMethod, Rows
from jaxembed.ranges import Count, CountOrZero
from jaxembed.training.method import Batch, Loss, Params, Shard, Source


@dataclass(frozen=True)
class LightGCN(PairMethod):
    """LightGCN: vectors are propagated over the graph of users and items, without weights or activations (He et al. 2020).

    Each layer averages over neighbours, divided by the roots of both degrees; the result is the mean over the layers.
    All vectors move in each step, so they are trained like a net and not like the rows of a table.
    """

    vector_size: Count = 64  # Dimension of the vectors.
    layers: CountOrZero = 2  # Number of layers; 0 is matrix factorisation.

    def source(self, data: Interactions) -> Source:
        """Returns the pairs, and the graph, by rows: the items of each user, and the users of each item."""
        source, sizes = super().source(data), (len(data.users), len(data.items))
        ends = data.user, data.item
        degrees = [np.bincount(end, minlength=size) for end, size in zip(ends, sizes, strict=True)]
        value = (1 / np.sqrt(degrees[0][data.user] * degrees[1][data.item])).astype(np.float32)
        for name, row, column, degree in zip(("items_of", "users_of"), ends, ends[::-1], degrees, strict=True):
            order = np.lexsort([column, row])
            first = np.concatenate([[0], np.cumsum(degree)])
            source.constants[name] = {"value": value[order], "column": column[order].astype(np.int32),
                                      "first": first.astype(np.int32)}  # fmt: skip
        return source

    def init(self, key: jax.Array, constants: Mapping[str, Any]) -> Params:
        """Starts with normal entries."""
        n = constants["users"].value + constants["items"].value
        return Params({}, {"nodes": self.start * jax.random.normal(key, (n, self.vector_size), jnp.float32)})

    def loss_in(self, shard: Shard, rows: Rows, net: Any, kept: Any, batch: Batch, key: jax.Array) -> Loss:
        """Returns the sum of the objective over the pairs; the vectors are propagated over the whole graph."""
        users, items = self._spread(net["nodes"], shard.constants)
        return self.compared(users[batch["user"]], items[batch["item"]], items[batch["negatives"]], batch)

    def _spread(self, nodes: jax.Array, constants: Mapping[str, Any]) -> tuple[jax.Array, jax.Array]:
        users = constants["users"].value
        total = layer = nodes[:users], nodes[users:]
        for _ in range(self.layers):
            layer = spread(*layer, constants["items_of"], constants["users_of"])
            total = total[0] + layer[0], total[1] + layer[1]
        return total[0] / (1 + self.layers), total[1] / (1 + self.layers)

    def vectors(self, params: Params, constants: Mapping[str, Any]) -> jax.Array:
        """Returns the propagated vectors of the users, followed by those of the items."""
        return self.scored(*self._spread(params.net["nodes"], constants))


@jax.custom_vjp
def spread(users: jax.Array, items: jax.Array, items_of: Rows, users_of: Rows) -> tuple[jax.Array, jax.Array]:
    """Returns what users `[u, d]` and items `[i, d]` get from each other: products with a sparse matrix and its transpose.

    `items_of` and `users_of` hold the rows of both: `value, column [entries]` and where each row begins, `first`. The
    derivative is the same function. Automatic differentiation would transpose the matrices, which XLA computes by
    scattering, several times as slow on a CPU. The two products take about equally long, and run at once on two cores.
    """
    from jax.experimental import sparse  # which imports scipy, in a third of a second

    of = lambda rows, n: sparse.BCSR((rows["value"], rows["column"], rows["first"]), shape=(len(rows["first"]) - 1, n))
    return of(items_of, len(items)) @ items, of(users_of, len(users)) @ users


spread.defvjp(
    lambda users, items, *graph: (spread(users, items, *graph), graph),
    lambda graph, gradients: (*spread(*gradients, *graph), None, None),
)
