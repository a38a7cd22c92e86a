"""Two towers: a user is computed from the user's items, and an item from its id, so that new users can be served as well."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
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

Weighted = tuple[jax.Array, jax.Array]  # rows of a table, `[q, l]`, and what each counts


@dataclass(frozen=True)
class TwoTower(PairMethod):
    """Two towers: a net reads the mean of a user's items, and its output is scored with items (Covington et al. 2016).

    In training the item that is to be found is taken out of the user's history. The net's output is added to the mean. What is
    known of items beside their ids (`item_features`) has vectors too, whose mean is added to those of an item; that of what is
    known of a user (`user_features`) is added to the mean that the net reads, and is zero for who has none.
    """

    vector_size: Count = 64  # Dimension of the vectors.
    hidden: tuple[Count, ...] = (128,)  # Widths inside the net.
    length: Count = 100  # How many of a user's last items count.
    drop: ShareBelowOne = 0.2  # Share of a history's items, and of a user's features, that are left out in training.
    # Whether a history is read with the vectors by which items are found, rather than with vectors of their own.
    tied: bool = False

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
        if data.user_features is not None:
            constants["user_features"] = data.user_features
            constants["user_feature_rows"] = Static(len(data.user_feature_names))
        return replace(source, constants=source.constants | constants)

    def init(self, key: jax.Array, constants: Mapping[str, Any]) -> Params:
        """Starts with a fresh net, and normal vectors of the items as they are read and as they are found."""
        keys, n = jax.random.split(key, 4), constants["items"].value
        draw = lambda key, n=n: self.start * jax.random.normal(key, (n, self.vector_size), jnp.float32)
        net = self.nets()["tower"].init(keys[0])[0]
        learned = {"tower": net, "items": draw(keys[2])} | ({} if self.tied else {"read": draw(keys[1])})
        if "user_features" in constants:
            learned["user_features"] = draw(jax.random.fold_in(key, len(keys)), constants["user_feature_rows"].value)
        if "features" not in constants:
            return Params({}, learned)
        # The features of items are kept with the net, since items cannot be computed without them.
        learned["features"] = draw(keys[3], constants["feature_rows"].value)
        return Params({}, learned, {"features": constants["features"]})

    def items(self, net: Any, kept: Any) -> jax.Array:
        """Returns the vectors of all items, `[items, d]`."""
        if not kept:
            return net["items"]
        return net["items"] + _mean(net["features"], kept["features"], (kept["features"] >= 0).astype(jnp.float32))

    def batch(self, shard: Shard, step: jax.Array, key: jax.Array) -> Batch:
        """The pairs with the users' histories, `history [B, length]`."""
        batch, constants = super().batch(shard, step, key), shard.constants
        batch |= {"history": constants["histories"][batch["user"]]}
        known = constants.get("user_features")
        return batch if known is None else batch | {"user_features": known[batch["user"]]}

    def users(self, net: Any, items: jax.Array, history: Weighted, features: Weighted | None = None) -> jax.Array:
        """Vectors of users, `[q, d]`, by what they have of the items, `[items, d]`, and by what else is known of them."""
        read = normalized(_mean(items if self.tied else net["read"], *history))
        if features is not None and "user_features" in net:
            read += _mean(net["user_features"], *features)
        return read + self.nets()["tower"].apply(net["tower"], {}, read)[0]

    def loss(self, rows: Rows, net: Any, kept: Any, batch: Batch, key: jax.Array) -> Loss:
        """Sum of the objective over the pairs."""
        stays = lambda key, ids: (ids >= 0) & jax.random.bernoulli(key, 1 - self.drop, ids.shape)
        history, features = batch["history"], batch.get("user_features")
        others = stays(key, history) & (history != batch["item"][:, None])
        if features is not None:
            features = features, stays(jax.random.fold_in(key, 1), features).astype(jnp.float32)
        items = self.items(net, kept)
        users = self.users(net, items, (history, others.astype(jnp.float32)), features)
        found = self.compared(users, items[batch["item"]], items[batch["negatives"]], batch)
        return found._replace(kept=kept)

    def _whole(self, params: Params, items: jax.Array, *ids: jax.Array) -> jax.Array:
        """Users by all of their ids: of their items and, where there are such, of their features."""
        return self.users(params.net, items, *((one, (one >= 0).astype(jnp.float32)) for one in ids))

    def vectors(self, params: Params, constants: Mapping[str, Any]) -> jax.Array:
        """Users by their training items, then items."""
        ids = [constants[name] for name in ("histories", "user_features") if name in constants]
        n = ids[0].shape[0]
        parts = [jnp.pad(one, ((0, -n % _AT_ONCE), (0, 0)), constant_values=-1) for one in ids]
        parts = [one.reshape(-1, _AT_ONCE, one.shape[1]) for one in parts]
        items = self.items(params.net, params.kept)
        users = jax.lax.map(lambda part: self._whole(params, items, *part), parts)
        return self.scored(users.reshape(-1, users.shape[-1])[:n], items)

    def scorer(self, params: Params, known: Interactions) -> Scorer:
        """Scores of users, as they are now, with all items."""
        ids = [known.histories(self.length)] + ([] if known.user_features is None else [known.user_features])
        params = jax.device_put(params)
        return lambda users: _scores(self, params, *(one[np.asarray(users)] for one in ids))


def _mean(table: jax.Array, ids: jax.Array, weight: jax.Array) -> jax.Array:
    """Means of rows of a table, `[n, d]`, by ids and their weights `[n, l]`; where these are all 0 it is 0."""
    rows = table.at[ids].get(mode="clip")
    return jnp.sum(rows * weight[..., None], 1) / jnp.maximum(jnp.sum(weight, 1, keepdims=True), 1)


@partial(jax.jit, static_argnums=0)
def _scores(method: TwoTower, params: Params, *ids: jax.Array) -> jax.Array:
    items = method.items(params.net, params.kept)
    vectors = method.scored(method._whole(params, items, *ids), items)
    return jnp.matmul(vectors[: -len(items)], vectors[-len(items) :].T, precision=jax.lax.Precision.HIGHEST)
