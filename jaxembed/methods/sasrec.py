"""SASRec: a causal Transformer reads the items of a user in order, and predicts the next."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.data.interactions import Interactions
from jaxembed.encoders.functional import Encoder, encoder
from jaxembed.methods.dense import DenseMethod, summed
from jaxembed.methods.recommend import Recommender, Scorer
from jaxembed.objectives import Softmax, pairwise
from jaxembed.ranges import Count
from jaxembed.sampling import random
from jaxembed.scores import SCORES
from jaxembed.training.method import Batch, Loss, Params, Shard, Source

_AT_ONCE = 512  # number of users that are encoded together


def _transformer() -> Encoder:
    return encoder("transformer", vocab_size=1, hidden_size=48, depth=1, heads=2, dropout=0.2, segments=0, norm="pre",
                   causal=True, pooling="last")  # fmt: skip


@dataclass(frozen=True)
class SASRec(DenseMethod, Recommender):
    """SASRec: a causal Transformer predicts a user's next item from the recent items (Kang and McAuley 2018).

    A user is the vector of the last position, computed from the user's current items, so that it changes with every new
    item. Items are scored by the vectors by which they are read.
    """

    encoder: Encoder = field(default_factory=_transformer)  # Encoder of the ordered items; it must be causal.
    objective: Any = field(default_factory=Softmax)  # Any pairwise objective of the scores of items, or its name.
    length: Count = 50  # Number of a user's last items that are read; training cuts longer histories into pieces.
    # Number of items drawn for a step, for objectives with sampled negatives; softmax takes all items.
    shared_negatives: Count = 1024
    batch_size: Count = 128  # Number of pieces of histories in one step.

    from_history = True

    def __post_init__(self):
        super().__post_init__()
        if isinstance(self.objective, str):
            object.__setattr__(self, "objective", pairwise(self.objective))
        if self.objective.negatives == "path":  # pyright: ignore[reportAttributeAccessIssue]
            raise ValueError("hierarchical_softmax is for words only: choose another objective")
        if self.encoder.kind != "transformer" or not self.encoder["causal"]:
            raise ValueError(
                "the encoder must be a transformer with causal=True: any other would see the items that it predicts"
            )

    def suited_to(self, data: Interactions) -> Self:
        """Adapts the encoder to the number of items, with batches no larger than the data."""
        fitted = self.encoder.for_texts(len(data.items) + 1, self.length)
        return replace(super().suited_to(data), encoder=fitted)

    def examples(self, data: Interactions) -> dict[str, np.ndarray]:
        """Returns the items of each user in pieces of `length + 1`, int32 `[n, length + 1]`, padded with -1 in front."""
        return {"items": data.pieces(self.length + 1)}

    def nets(self) -> dict[str, Encoder]:
        """Returns the encoder."""
        return {"encoder": self.encoder}

    def source(self, data: Interactions) -> Source:
        """Returns the users' items, and all items of each user at the end of training."""
        source = super().source(data)
        return replace(source, constants={"histories": data.histories(self.length)})

    def batch(self, shard: Shard, step: jax.Array, key: jax.Array) -> Batch:
        """Returns the users' items `[B, length + 1]`."""
        return super().batch(shard, step, key)

    def _read(self, net: Any, kept: Any, items: jax.Array, **options: Any) -> tuple[jax.Array, Any]:
        return self.run("encoder", net, kept, items + 1, call="sequence", **options)

    def _items(self, net: Any) -> jax.Array:
        return net["encoder"]["token_embedding"][1:]

    def encode(self, net: Any, kept: Any, examples: Mapping[str, jax.Array]) -> jax.Array:
        """Encodes users by their histories: the vector of the last position, or zero for an empty history."""
        items = examples["items"]
        read = self._read(net, kept, items)[0][:, -1]
        return jnp.where(items[:, -1:] >= 0, read, 0)

    def loss(self, rows: Any, net: Any, kept: Any, batch: Batch, key: jax.Array) -> Loss:
        """Returns the mean of the objective over all positions that have a next item."""
        drop, draw = jax.random.split(key)
        items = batch["items"]
        read, of_encoder = self._read(net, kept, items[:, :-1], train=True, key=drop)
        read, target = read.reshape(-1, read.shape[-1]), items[:, 1:].reshape(-1)
        present = ((items[:, :-1] >= 0) & (items[:, 1:] >= 0)).reshape(-1).astype(jnp.float32)
        table, n = self._items(net), self._items(net).shape[0]
        pos = jnp.sum(read * table[jnp.maximum(target, 0)], -1)[:, None]
        if self.objective.negatives == "everybody":
            neg, weight = SCORES["dot"](read[None], table[None])[0], 1.0
        else:
            drawn = (random.bits(draw, (self.shared_negatives,)) % jnp.uint32(n)).astype(jnp.int32)
            neg = SCORES["dot"](read[None], table[drawn][None])[0]
            each = n / self.shared_negatives if self.objective.negatives == "importance" else 1 / self.shared_negatives
            weight = jnp.where(drawn[None] == target[:, None], 0.0, each)
        total = jnp.sum(self.objective(pos, 1.0, neg, weight) * present)
        count = jnp.sum(present)
        found = summed(total / jnp.maximum(count, 1), 1, {**kept, "encoder": of_encoder})
        return found._replace(metrics={"loss": total, "weight": count})

    def vectors(self, params: Params, constants: Mapping[str, Any]) -> jax.Array:
        """Returns the vectors of the users by their training items, followed by those of the items."""
        histories = constants["histories"]
        n = histories.shape[0]
        filled = jnp.pad(histories, ((0, -n % _AT_ONCE), (0, 0)), constant_values=-1).reshape(-1, _AT_ONCE, self.length)
        users = jax.lax.map(lambda part: self.encode(params.net, params.kept, {"items": part}), filled)
        return jnp.concatenate([users.reshape(-1, users.shape[-1])[:n], self._items(params.net)])

    def scorer(self, params: Params, known: Interactions) -> Scorer:
        """Returns a function that scores users, by their current items, by inner products with all items."""
        histories, params = known.histories(self.length), jax.device_put(params)
        return lambda users: _scores(self, params, histories[np.asarray(users)])


@partial(jax.jit, static_argnums=0)
def _scores(method: SASRec, params: Params, items: jax.Array) -> jax.Array:
    read = method.encode(params.net, params.kept, {"items": items})
    return jnp.matmul(read, method._items(params.net).T, precision=jax.lax.Precision.HIGHEST)
