"""Click prediction from categorical fields: logistic regression, FM, DeepFM and DCN-v2, with one table for all fields."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.data.fields import Fields
from jaxembed.encoders.attention import dropout
from jaxembed.encoders.functional import Encoder, encoder
from jaxembed.methods.examples import met
from jaxembed.objectives.pairwise import softplus
from jaxembed.ranges import Count, NotNegative, Positive, ShareBelowOne
from jaxembed.sampling import random
from jaxembed.tables import lanes
from jaxembed.training.method import Batch, Lookups, Loss, Method, Params, Shard, Source, Static

Rows = dict[str, jax.Array]

_AT_ONCE = 1 << 16  # rows whose vectors are gathered together where many are judged


@dataclass(frozen=True)
class ClickMethod(Method):
    """Methods of clicks: a row of the table holds the weight of a value and then its vector; a subclass combines the vectors."""

    vector_size: Count = 16  # Dimension of the vectors.
    l2: NotNegative = 1e-4  # Weight of the squared entries of the rows that a step looks up.
    start: Positive = 0.01  # Standard deviation of the initial vectors.
    batch_size: Count = 512  # Number of rows in one step; fewer if a pass would have fewer than 20 steps.

    traced = ("l2",)

    def suited_to(self, data: Fields) -> Self:
        """Chooses steps small enough that a pass has several of them."""
        if not len(data):
            raise ValueError("there are no rows to train on")
        size = self.batch_size
        while size > 32 and len(data) < 20 * size:
            size //= 2
        return replace(self, batch_size=size, **self._fields(len(data.fields)))

    def _fields(self, number: int) -> dict[str, Any]:
        """The settings that depend on the number of fields."""
        return {}

    def source(self, data: Fields) -> Source:
        """Returns all rows as one piece."""
        return Source.cut({"ids": data.ids, "label": data.label}, constants={"rows": Static(data.rows)})

    def nets(self) -> dict[str, Encoder]:
        """Returns the nets that read the vectors of a row."""
        return {}

    def init(self, key: jax.Array, constants: Mapping[str, Any]) -> Params:
        """Starts with weights of zero, normal vectors and fresh nets."""
        keys = jax.random.split(key, 2)
        vectors = self.start * jax.random.normal(keys[0], (constants["rows"].value, self.vector_size), jnp.float32)
        nets = self.nets()
        ways = zip(nets.items(), jax.random.split(keys[1], max(1, len(nets))), strict=False)
        built = {name: net.init(one)[0] for (name, net), one in ways}
        return Params({"fields": lanes(jnp.pad(vectors, ((0, 0), (1, 0))))}, {**built, "bias": jnp.zeros(())})

    @property
    def row_size(self) -> int:
        """The columns of a row that are not padding."""
        return self.vector_size + 1

    def prepare(self, shard: Shard, key: jax.Array) -> Rows:
        """Draws the order of a pass."""
        return {"order": key}

    def steps(self, shard: Shard) -> int:
        """The number of batches in a pass."""
        return -(-random.shuffle_size(shard.columns["label"].shape[0]) // self.batch_size)

    def batch(self, shard: Shard, step: jax.Array, key: jax.Array) -> Batch:
        """Returns the rows `ids [B, fields]`, with `label, present [B]`."""
        return met(shard, ("ids", "label"), step, self.batch_size)

    def lookups(self, batch: Batch) -> Lookups:
        """Looks up the rows of all fields."""
        return {"fields": ("fields", batch["ids"])}

    def loss(self, rows: Rows, net: Any, kept: Any, batch: Batch, key: jax.Array) -> Loss:
        """Returns the mean cross-entropy, plus half the squared entries of the rows times their weight."""
        own, present = rows["fields"], batch["present"]
        logits = self.logits_of(own, net, key)
        losses = softplus(jnp.where(batch["label"] > 0, -logits, logits)) * present
        count = jnp.maximum(jnp.sum(present), 1)
        penalty = 0.5 * self.l2 * jnp.sum(own * own * present[:, None, None]) / count
        total = jnp.sum(losses)
        return Loss(total / count + penalty, {"loss": total, "weight": jnp.sum(present)})

    def logits_of(self, rows: jax.Array, net: Any, key: jax.Array | None = None) -> jax.Array:
        """Returns the logits `[B]` of rows `[B, fields, columns]`; `key` is for dropout in training."""
        linear = net["bias"] + jnp.sum(rows[..., 0], 1)
        return linear + self.interaction(rows[..., 1 : 1 + self.vector_size], net, key)

    def interaction(self, vectors: jax.Array, net: Any, key: jax.Array | None) -> jax.Array:
        """Combines the vectors `[B, fields, d]` of a row to a number, `[B]`."""
        raise NotImplementedError

    def logits(self, params: Params, ids: jax.Array) -> jax.Array:
        """Returns the logits `[n]` of rows of ids `[n, fields]`."""
        return self.logits_of(params.tables["fields"][ids], params.net)

    def vectors(self, params: Params, constants: Any = None) -> jax.Array:
        """Returns the vectors of all values, `[rows, d]`."""
        return params.tables["fields"][:, 1 : 1 + self.vector_size]


def logits_of_many(method: ClickMethod, params: Params, ids: np.ndarray) -> np.ndarray:
    """`method.logits`, float32 `[n]`, of any number of rows `[n, fields]`, some at a time."""
    # Filled up to a power of two, so that little is compiled.
    size = min(_AT_ONCE, 1 << (len(ids) - 1).bit_length())
    parts = [ids[start : start + size] for start in range(0, len(ids), size)]
    filled = (np.pad(part, ((0, size - len(part)), (0, 0))) for part in parts)
    return np.concatenate([np.asarray(_logits(method, params, part)) for part in filled])[: len(ids)]


@partial(jax.jit, static_argnums=0)
def _logits(method: ClickMethod, params: Params, ids: jax.Array) -> jax.Array:
    return method.logits(params, ids)


@dataclass(frozen=True)
class LogisticRegression(ClickMethod):
    """Logistic regression: each value of a field has a weight, without interactions; the vectors stay as they are initialised."""

    vector_size: Count = 1  # Dimension of the vectors, which have no effect.

    def interaction(self, vectors: jax.Array, net: Any, key: jax.Array | None) -> jax.Array:
        """Returns zeros, since no values interact."""
        return jnp.zeros(len(vectors))


@dataclass(frozen=True)
class FM(ClickMethod):
    """Factorisation machine: each pair of values in a row contributes the inner product of their vectors (Rendle 2010)."""

    def interaction(self, vectors: jax.Array, net: Any, key: jax.Array | None) -> jax.Array:
        """Returns the inner products of all pairs, computed in linear time (eq. 3)."""
        return 0.5 * jnp.sum(jnp.sum(vectors, 1) ** 2 - jnp.sum(vectors**2, 1), -1)


@dataclass(frozen=True)
class DeepFM(FM):
    """DeepFM: the sum of FM and of a net over the same vectors (Guo et al. 2017)."""

    hidden: tuple[Count, ...] = (128, 64)  # Widths of the net's hidden layers.
    # Dropout of the net: the share of the vectors' entries that it does not see in training.
    dropout: ShareBelowOne = 0.3
    field_count: Count = 1  # Number of fields, which comes from the data.

    def _fields(self, number: int) -> dict[str, Any]:
        return {"field_count": number}

    def nets(self) -> dict[str, Encoder]:
        """Returns the net."""
        return {"deep": encoder("head", sizes=(self.field_count * self.vector_size, *self.hidden, 1), norm="none")}

    def interaction(self, vectors: jax.Array, net: Any, key: jax.Array | None) -> jax.Array:
        """Returns the sum of both parts."""
        return super().interaction(vectors, net, key) + self.deep(vectors, net, key)

    def deep(self, vectors: jax.Array, net: Any, key: jax.Array | None) -> jax.Array:
        """Returns the net's output, `[B]`."""
        flat = dropout(vectors.reshape(len(vectors), -1), self.dropout, key)
        return self.nets()["deep"].apply(net["deep"], {}, flat)[0][:, 0]


@dataclass(frozen=True)
class DCN(DeepFM):
    """Deep and cross network v2: layers that multiply by the input, in parallel with a net (Wang et al. 2021, eq. 1).

    The cross part starts as the factorisation machine that it contains: in the first layer, the block of two fields is the
    identity where the second comes before the first, and the bias is -1; further layers add nothing, and the output's weights
    are 1. What is learned is the departure from this start, whose steps are 1/vector_size of the others: Adam's do not shrink
    with the gradient, and larger ones overfitted.
    """

    crosses: Count = 2  # Number of layers that multiply.

    def nets(self) -> dict[str, Encoder]:
        """Returns the net, and what is learned of the cross layers' maps and of the map from their output."""
        width = self.field_count * self.vector_size
        maps = {f"cross_{i}": encoder("head", sizes=(width, width), norm="none") for i in range(self.crosses)}
        return {**super().nets(), **maps, "out": encoder("head", sizes=(width, 1), norm="none")}

    def init(self, key: jax.Array, constants: Mapping[str, Any]) -> Params:
        """Starts as the sum of FM and a fresh net."""
        params = super().init(key, constants)
        zeros = {name: jax.tree.map(jnp.zeros_like, params.net[name]) for name in self.nets() if name != "deep"}
        return params._replace(net={**params.net, **zeros})

    def interaction(self, vectors: jax.Array, net: Any, key: jax.Array | None) -> jax.Array:
        """Returns the sum of both parts."""
        nets, x = self.nets(), vectors.reshape(len(vectors), -1)
        learned = lambda name, x: nets[name].apply(net[name], {}, x)[0] / self.vector_size
        # The sum over the fields before each is its product with the identity blocks.
        first, start = x, (jnp.cumsum(vectors, 1) - vectors).reshape(x.shape) - 1
        for i in range(self.crosses):
            x = x + first * (learned(f"cross_{i}", x) + (0 if i else start))
        return jnp.sum(x, 1) + learned("out", x)[:, 0] + self.deep(vectors, net, key)
