"""Two towers: a user is computed from the user's items, and an item from its id, so that new users can be served as well."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.data.interactions import Interactions
from jaxembed.encoders.functional import Encoder, encoder
from jaxembed.methods.recommend import PairMethod, Rows, Scorer
from jaxembed.ranges import Count, ShareBelowOne
from jaxembed.scores import normalized
from jaxembed.training.method import Batch, Loss, Params, Shard, Source, Static

_AT_ONCE = 1024  # number of users that are encoded together


@dataclass(frozen=True)
class TwoTower(PairMethod):
    """Two towers: a net reads the mean of a user's items, and its output is scored with items (Covington et al. 2016).

    In training, the item to be found is removed from the user's history. The net's output is added to the mean. If
    items have features (`item_features`), the mean of the features' vectors is added to the vector of an item.
    """

    vector_size: Count = 64  # Dimension of the vectors.
    hidden: tuple[Count, ...] = (128,)  # Widths of the net's hidden layers.
    length: Count = 100  # Number of a user's last items that are read.
    drop: ShareBelowOne = 0.2  # Share of the items of a history that are left out in training.

    from_history = True

    def nets(self) -> dict[str, Encoder]:
        """Returns the net of the users."""
        return {"tower": encoder("head", sizes=(self.vector_size, *self.hidden, self.vector_size), norm="none")}

    def source(self, data: Interactions) -> Source:
        """Returns the pairs, and the items of each user."""
        source = super().source(data)
        constants: dict[str, Any] = {"histories": data.histories(self.length)}
        if data.features is not None:
            constants["features"], constants["feature_rows"] = data.features, Static(len(data.feature_names))
        return replace(source, constants=source.constants | constants)

    def init(self, key: jax.Array, constants: Mapping[str, Any]) -> Params:
        """Starts with a fresh net, and normal vectors of the items as they are read and as they are found."""
        keys, n = jax.random.split(key, 4), constants["items"].value
        draw = lambda key, n=n: self.start * jax.random.normal(key, (n, self.vector_size), jnp.float32)
        net = self.nets()["tower"].init(keys[0])[0]
        learned = {"tower": net, "read": draw(keys[1]), "items": draw(keys[2])}
        if "features" not in constants:
            return Params({}, learned)
        # The features of items are kept with the net, since items cannot be computed without them.
        learned["features"] = draw(keys[3], constants["feature_rows"].value)
        return Params({}, learned, {"features": constants["features"]})

    def items(self, net: Any, kept: Any) -> jax.Array:
        """Returns the vectors of all items, `[items, d]`."""
        if not kept:
            return net["items"]
        there = (kept["features"] >= 0)[..., None]
        rows = jnp.where(there, net["features"].at[kept["features"]].get(mode="clip"), 0)
        return net["items"] + jnp.sum(rows, 1) / jnp.maximum(jnp.sum(there, 1), 1)

    def batch(self, shard: Shard, step: jax.Array, key: jax.Array) -> Batch:
        """Returns the pairs with the users' histories, `history [B, length]`."""
        batch = super().batch(shard, step, key)
        return batch | {"history": shard.constants["histories"][batch["user"]]}

    def users(self, net: Any, history: jax.Array, weight: jax.Array) -> jax.Array:
        """Returns the vectors of users, `[q, d]`, from their items `[q, length]`, weighted."""
        rows = net["read"].at[history].get(mode="clip")
        mean = jnp.sum(rows * weight[..., None], 1) / jnp.maximum(jnp.sum(weight, 1, keepdims=True), 1)
        unit = normalized(mean)
        return unit + self.nets()["tower"].apply(net["tower"], {}, unit)[0]

    def loss(self, rows: Rows, net: Any, kept: Any, batch: Batch, key: jax.Array) -> Loss:
        """Returns the sum of the objective over the pairs."""
        history = batch["history"]
        stays = jax.random.bernoulli(key, 1 - self.drop, history.shape)
        weight = jnp.where((history >= 0) & (history != batch["item"][:, None]) & stays, 1.0, 0.0)
        items, users = self.items(net, kept), self.users(net, history, weight)
        found = self.compared(users, items[batch["item"]], items[batch["negatives"]], batch)
        return found._replace(kept=kept)

    def _of_histories(self, params: Params, history: jax.Array) -> jax.Array:
        return self.users(params.net, history, (history >= 0).astype(jnp.float32))

    def vectors(self, params: Params, constants: Mapping[str, Any]) -> jax.Array:
        """Returns the vectors of the users by their training items, followed by those of the items."""
        histories = constants["histories"]
        n = histories.shape[0]
        filled = jnp.pad(histories, ((0, -n % _AT_ONCE), (0, 0)), constant_values=-1).reshape(-1, _AT_ONCE, self.length)
        users = jax.lax.map(lambda part: self._of_histories(params, part), filled)
        return self.scored(users.reshape(-1, users.shape[-1])[:n], self.items(params.net, params.kept))

    def scorer(self, params: Params, known: Interactions) -> Scorer:
        """Returns a function that scores users, by their current items, with all items."""
        histories, params = known.histories(self.length), jax.device_put(params)

        @jax.jit
        def score(params: Params, history: jax.Array) -> jax.Array:
            vectors = self.scored(self._of_histories(params, history), self.items(params.net, params.kept))
            return vectors[: len(history)] @ vectors[len(history) :].T

        return lambda users: score(params, histories[np.asarray(users)])
