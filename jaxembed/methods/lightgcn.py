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
        """Returns the pairs, and the symmetric graph, by rows: users, then items."""
        source, users = super().source(data), len(data.users)
        degrees = [np.bincount(data.user, minlength=users), data.counts]
        value = 1 / np.sqrt(degrees[0][data.user] * degrees[1][data.item])
        row, column = np.concatenate([data.user, data.item + users]), np.concatenate([data.item + users, data.user])
        order = np.lexsort([column, row])
        indptr = np.concatenate([[0], np.cumsum(np.concatenate(degrees))]).astype(np.int32)
        graph = {"value": np.tile(value, 2)[order].astype(np.float32), "column": column[order].astype(np.int32),
                 "indptr": indptr}  # fmt: skip
        source.constants["graph"] = graph
        return source

    def init(self, key: jax.Array, constants: Mapping[str, Any]) -> Params:
        """Starts with normal entries."""
        n = constants["users"].value + constants["items"].value
        return Params({}, {"nodes": self.start * jax.random.normal(key, (n, self.vector_size), jnp.float32)})

    def loss_in(self, shard: Shard, rows: Rows, net: Any, kept: Any, batch: Batch, key: jax.Array) -> Loss:
        """Like `loss`, with the graph, and with items numbered after the users."""
        graph = {"graph": shard.constants["graph"], "first_item": jnp.int32(shard.constants["users"].value)}
        return self.loss(rows, net, kept, batch | graph, key)

    def loss(self, rows: Rows, net: Any, kept: Any, batch: Batch, key: jax.Array) -> Loss:
        """Returns the sum of the objective over the pairs; the vectors are propagated over the whole graph."""
        nodes, first = self._spread(net["nodes"], batch["graph"]), batch["first_item"]
        return self.compared(
            nodes[batch["user"]], nodes[first + batch["item"]], nodes[first + batch["negatives"]], batch
        )

    def _spread(self, nodes: jax.Array, graph: Mapping[str, jax.Array]) -> jax.Array:
        total = layer = nodes
        for _ in range(self.layers):
            layer = spread(layer, graph["value"], graph["column"], graph["indptr"])
            total = total + layer
        return total / (1 + self.layers)

    def vectors(self, params: Params, constants: Mapping[str, Any]) -> jax.Array:
        """Returns the propagated vectors of the users, followed by those of the items."""
        nodes = self._spread(params.net["nodes"], constants["graph"])
        users = constants["users"].value
        return self.scored(nodes[:users], nodes[users:])


@jax.custom_vjp
def spread(nodes: jax.Array, value: jax.Array, column: jax.Array, indptr: jax.Array) -> jax.Array:
    """Returns the product of a symmetric sparse matrix, by rows, and `nodes` [n, d]; its derivative is the same product.

    Automatic differentiation would transpose the matrix, which XLA computes by scattering, several times as slow on a
    CPU.
    """
    from jax.experimental import sparse  # which imports scipy, in a third of a second

    n = nodes.shape[0]
    return sparse.BCSR((value, column, indptr), shape=(n, n)) @ nodes


spread.defvjp(
    lambda nodes, *graph: (spread(nodes, *graph), graph),
    lambda graph, gradient: (spread(gradient, *graph), None, None, None),
)
