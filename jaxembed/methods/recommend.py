"""The common part of recommenders, and matrix factorisation: pairs of users and items, with negatives that a batch shares."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.data.interactions import Interactions
from jaxembed.methods.drawn import Drawn
from jaxembed.methods.examples import met
from jaxembed.ranges import Count, Positive
from jaxembed.sampling import negatives, random
from jaxembed.scores import normalized
from jaxembed.tables import lanes
from jaxembed.training.method import Lookups, Loss, Method, Params, Shard, Source, Static

Rows = dict[str, jax.Array]
#: Returns the scores `[q, items]` of users, given their rows `[q]`; it runs on the host.
Scorer = Callable[[np.ndarray], Any]


@dataclass(frozen=True)
class Recommender(Method):
    """Methods that order items for users. `vectors` returns `[users + items, d]`, and a score is an inner product.

    from_history: whether `scorer` computes a user from the user's items, so that a user need not be in the training
    data; otherwise the vectors are those of the users of the training data.
    """

    from_history: ClassVar[bool] = False

    def scorer(self, params: Params, known: Interactions) -> Scorer:
        """Returns a function that scores users by their items in `known`, for methods that are `from_history`.

        Raises ValueError for the others.
        """
        raise self.needs_user()

    def needs_user(self) -> ValueError:
        """Returns the error for a history that is given to a method that is not `from_history`."""
        name = type(self).__name__
        return ValueError(f"{name} knows the users of its training data alone: name one, or train sasrec or two_tower")


@dataclass(frozen=True)
class PairMethod(Drawn, Recommender):
    """Recommenders that learn from pairs: a user's item against negatives, by any pairwise objective."""

    vector_size: Count = 128  # Dimension of the vectors.
    start: Positive = 0.1  # Standard deviation of the initial vectors.
    batch_size: Count = 4096  # Number of pairs in one step; fewer if a pass would have fewer than 20 steps.

    def suited_to(self, data: Interactions) -> Self:
        """Chooses steps small enough that a pass has several of them."""
        if not len(data):
            raise ValueError("there are no pairs of a user and an item to train on")
        size = self.batch_size
        while size > 64 and len(data) < 20 * size:
            size //= 2
        return replace(self, batch_size=size)

    def drawn(self, data: Interactions) -> np.ndarray:
        """How often each item is drawn as a negative, in proportion: [items]. What nobody has is never drawn."""
        return np.where(data.counts > 0, np.maximum(data.counts, 1).astype(np.float64) ** self.ns_exponent, 0)

    def source(self, data: Interactions) -> Source:
        """All pairs in one piece, with the distribution that negatives are drawn from."""
        table = negatives.alias_table(self.drawn(data))
        constants = {**table._asdict(), "users": Static(len(data.users)), "items": Static(len(data.items))}
        return Source.cut({"user": data.user, "item": data.item}, constants=constants)

    def prepare(self, shard: Shard, key: jax.Array) -> dict[str, jax.Array]:
        """Draws the order of a pass."""
        return {"order": key}

    def steps(self, shard: Shard) -> int:
        """The number of batches in a pass."""
        return -(-random.shuffle_size(shard.columns["user"].shape[0]) // self.batch_size)

    def batch(self, shard: Shard, step: jax.Array, key: jax.Array) -> Rows:
        """Returns the pairs `user, item, present [B]`, and negatives `[N]`."""
        batch = met(shard, ("user", "item"), step, self.batch_size)
        return batch | self.negatives_of(shard, key, jnp.arange(shard.constants["items"].value))

    def compared(self, users: jax.Array, items: jax.Array, others: jax.Array, batch: Rows) -> Loss:
        """Returns the objective of the pairs of a batch, summed: `users, items [B, d]`, negatives `others [N, d]`."""
        return self.contrasted(users, items, others, batch, batch["item"][:, None])

    def scored(self, users: jax.Array, items: jax.Array) -> jax.Array:
        """Returns vectors whose inner products are the scores: those of the users, followed by those of the items."""
        vectors = jnp.concatenate([users, items])[:, : self.vector_size]
        return normalized(vectors) if self.score == "cosine" else vectors


@dataclass(frozen=True)
class MF(PairMethod):
    """Matrix factorisation: vectors of users and items, by any pairwise objective (Koren et al. 2009; Rendle et al. 2009)."""

    def init(self, key: jax.Array, constants: Mapping[str, Any]) -> Params:
        """Starts with normal entries, padded to whole lanes."""
        sizes = {"user": constants["users"].value, "item": constants["items"].value}
        draw = lambda key, n: lanes(self.start * jax.random.normal(key, (n, self.vector_size), jnp.float32))
        keys = jax.random.split(key)
        return Params({name: draw(one, n) for one, (name, n) in zip(keys, sizes.items(), strict=True)})

    def lookups(self, batch: Rows) -> Lookups:
        """Looks up the users and items of the pairs, and the negatives."""
        return {"users": ("user", batch["user"]), "items": ("item", batch["item"]),
                "others": ("item", batch["negatives"])}  # fmt: skip

    def loss(self, rows: Rows, net: Any, kept: Any, batch: Rows, key: jax.Array) -> Loss:
        """Returns the sum of the objective over the pairs."""
        return self.compared(rows["users"], rows["items"], rows["others"], batch)

    def vectors(self, params: Params, constants: Any = None) -> jax.Array:
        """Returns the vectors of the users, followed by those of the items."""
        return self.scored(params.tables["user"], params.tables["item"])

    @property
    def row_size(self) -> int:
        """The columns of a row that are not padding."""
        return self.vector_size
