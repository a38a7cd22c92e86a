"""GraphSAGE: nodes to vectors, by their features and what is aggregated of their neighbours (Hamilton et al. 2017)."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from jaxembed.encoders.attention import Linear, chosen, dropout, dropout_key
from jaxembed.ranges import Count, ShareBelowOne
from jaxembed.scores import normalized

#: Features of nodes: {"rows": [n, f]}, or where most are 0 {"ids": int32 [n, m], "values": [n, m]}, padded by values of 0.
Features = Mapping[str, jax.Array]
#: A graph as `jaxembed.sampling.neighbours.rows_of` gives it: every node has a neighbour.
Rows = Mapping[str, Any]

AGGREGATORS = ("mean", "pool", "gcn")


class SAGELayer(nnx.Module):
    """A layer: what a node has of itself, and what it has of its neighbours, in steps that `SAGE` puts together.

    mean: `x W + mean of neighbours V`; pool: `x W + max of relu(neighbours P + c) V` (ibid., eq. 3); gcn: `mean of the node and
    its neighbours V` (eq. 2). All add a bias. Maps that are linear come before the mean, which is the same and costs less.
    Without `outputs` there is no map: the parts stand side by side, `[x, mean of neighbours]`.
    """

    def __init__(self, inputs: int, outputs: int | None, aggregator: str, *, rngs: nnx.Rngs):
        self.aggregator = chosen("aggregator", aggregator, AGGREGATORS)
        linear = lambda size: Linear(inputs, size, rngs=rngs)
        self.own = Linear(inputs, outputs, bias=False, rngs=rngs) if outputs and aggregator != "gcn" else None
        self.pool = linear(outputs or inputs) if aggregator == "pool" else None
        self.near = Linear(outputs if self.pool else inputs, outputs, rngs=rngs) if outputs else None
        self.outputs = outputs or (inputs if aggregator == "gcn" else 2 * inputs)

    def of_itself(self, x: Any) -> jax.Array:
        """What a node has of itself, `[..., outputs]`."""
        return mapped(x, self._maps()[0])

    def of_neighbour(self, x: Any) -> jax.Array:
        """What a node gives to those that it is a neighbour of, `[..., outputs]`."""
        return self._given(mapped(x, self._maps()[1]))

    def of_both(self, x: Any) -> tuple[jax.Array, jax.Array]:
        """`of_itself` and `of_neighbour`, in one product where both are maps."""
        own, near = self._maps()
        if own is None or near is None or own is near:
            own, near = mapped(x, own), mapped(x, near)
        else:
            own, near = jnp.split(mapped(x, jnp.concatenate([own, near], 1)), [own.shape[1]], -1)
        return own, self._given(near)

    def _maps(self) -> tuple[jax.Array | None, jax.Array | None]:
        """The kernels that a node's own features meet, and those of a neighbour; None where there is no map."""
        kernel = lambda linear: None if linear is None else linear.kernel[...]
        near = kernel(self.pool or self.near)
        return (near if self.aggregator == "gcn" else kernel(self.own)), near

    def _given(self, x: jax.Array) -> jax.Array:
        return x if self.pool is None else jax.nn.relu(x + _bias(self.pool, x))

    def joined(self, own: jax.Array, near: jax.Array, share: jax.Array) -> jax.Array:
        """Both together; `near` is the mean or maximum over neighbours, and `share` the node's own in the mean of `gcn`."""
        if self.aggregator == "gcn":
            total = share[..., None] * own + (1 - share[..., None]) * near
        elif self.near is None:
            return jnp.concatenate([own, near], -1)
        else:
            total = own + (near if self.pool is None else mapped(near, self.near.kernel[...]))
        return total if self.near is None else total + _bias(self.near, total)


class SAGE(nnx.Module):
    """Layers that each mix a node with its neighbours; after so many, its vector depends on what is as many links away.

    There is a rectifier between layers. A node's neighbours may all be known (`__call__`), or drawn (`drawn`).
    """

    def __init__(
        self,
        input_size: Count,  # Features of a node.
        hidden_size: Count = 16,  # Width of the layers.
        depth: Count = 2,  # Number of layers: how many links away a node may be to count.
        aggregator: Literal[
            "mean", "pool", "gcn"
        ] = "mean",  # How neighbours are put together: mean, pool (a maximum) or gcn.
        dropout: ShareBelowOne = 0.0,  # Share of the entries that each layer does not see in training, features among them.
        # Whether the last layer ends with a map; otherwise vectors are what it would map, for a map to groups that stands on
        # them.
        last_map: bool = True,
        unit: bool = False,  # Whether the vectors are scaled to length 1.
        *,
        rngs: nnx.Rngs,
    ):
        if not last_map and depth < 2:
            raise ValueError(
                "without a map in the last layer, there must be one before it: choose a depth of 2 or more"
            )
        sizes = [input_size, *[hidden_size] * (depth - 1), hidden_size if last_map else None]
        self.layers = nnx.List([SAGELayer(*pair, aggregator, rngs=rngs) for pair in pairwise(sizes)])
        self.dropout, self.unit = dropout, unit
        self.vector_size = self.layers[-1].outputs

    def __call__(
        self, features: Features, rows: Rows, *, train: bool = False, rngs: nnx.Rngs | None = None
    ) -> jax.Array:
        """Vectors of all nodes of a graph, by all of their neighbours, `[n, hidden_size]`.

        rngs: whose stream "dropout" is used where `train` is true.
        """
        x: Any = features
        for number, layer in enumerate(self.layers):
            x = self._thinned(x, train, rngs)
            own, given = layer.of_both(x)
            near = aggregated(given, rows, layer.pool is not None)
            x = self._activated(layer.joined(own, near, rows["own"]), number)
        return x

    def drawn(
        self, features: Features, rows: Rows, levels: Sequence[jax.Array], *, train: bool = False,
        rngs: nnx.Rngs | None = None,
    ) -> jax.Array:  # fmt: skip
        """Vectors of some nodes by the neighbours that were drawn of them, `[b, hidden_size]`.

        levels: int32 `[b]`, the nodes; `[b, f1]`, of each so many neighbours; `[b, f1, f2]`, of each of those; one more than
        there are layers. Raises ValueError for another number.
        """
        depth = len(self.layers)
        if len(levels) != depth + 1:
            raise ValueError(f"{depth} layers need {depth + 1} levels of nodes, not {len(levels)}: one fan-out a layer")
        kind = "rows" if "rows" in features else "ids"
        if sum(level.size for level in levels) >= features[kind].shape[0]:
            # Every node is met about once, or more often: the first layer's maps are computed of each node once.
            own, near = self.layers[0].of_both(self._thinned(features, train, rngs))
            own, near = [own[level] for level in levels[:-1]], [near[level] for level in levels[1:]]
        else:
            own, near = self._parts(
                [{name: value[level] for name, value in features.items()} for level in levels], 0, train, rngs
            )
        for number, layer in enumerate(self.layers):
            shares = [rows["own"][level] for level in levels[: depth - number]]
            together = jnp.max if layer.pool is not None else jnp.mean
            x = [
                self._activated(layer.joined(mine, together(theirs, -2), share), number)
                for mine, theirs, share in zip(own, near, shares, strict=True)
            ]
            if number < depth - 1:
                own, near = self._parts(x, number + 1, train, rngs)
        return x[0]

    def _parts(self, x: Sequence[Any], number: int, train: bool, rngs: nnx.Rngs | None) -> tuple[list, list]:
        x, layer = [self._thinned(one, train, rngs) for one in x], self.layers[number]
        return [layer.of_itself(one) for one in x[:-1]], [layer.of_neighbour(one) for one in x[1:]]

    def _thinned(self, x: Any, train: bool, rngs: nnx.Rngs | None) -> Any:
        key = dropout_key(self.dropout, train, rngs)
        if not isinstance(x, Mapping):
            return dropout(x, self.dropout, key)
        name = "rows" if "rows" in x else "values"
        return {**x, name: dropout(x[name], self.dropout, key)}

    def _activated(self, x: jax.Array, number: int) -> jax.Array:
        if number < len(self.layers) - 1:
            return jax.nn.relu(x)
        return normalized(x) if self.unit else x


def mapped(x: Any, kernel: jax.Array | None) -> jax.Array:
    """`x [..., f]`, or features of nodes, times `kernel [f, h]`: `[..., h]`; as it is where that is None."""
    if kernel is None:
        return x
    if isinstance(x, Mapping) and "ids" in x:
        # One place of the lists after the other: all rows at once, [n, m, h], are twenty times slower on a CPU.
        add = lambda total, one: (total + kernel[one[0]] * one[1][..., None], None)
        start = jnp.zeros((*x["ids"].shape[:-1], kernel.shape[1]), kernel.dtype)
        return lax.scan(add, start, (jnp.moveaxis(x["ids"], -1, 0), jnp.moveaxis(x["values"], -1, 0)))[0]
    x = x["rows"] if isinstance(x, Mapping) else x
    return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], kernel.shape[1])


def _bias(linear: Linear, like: jax.Array) -> jax.Array:
    return jnp.broadcast_to(linear.bias[...], like.shape)  # pyright: ignore[reportOptionalSubscript]


def aggregated(x: jax.Array, rows: Rows, largest: bool) -> jax.Array:
    """The mean over each node's neighbours of `x [n, h]`, by the shares of its links, or the largest entries."""
    given = x[rows["neighbours"]]
    if largest:
        return jax.ops.segment_max(given, rows["source"], x.shape[0], indices_are_sorted=True)
    return jax.ops.segment_sum(given * rows["share"][:, None], rows["source"], x.shape[0], indices_are_sorted=True)
