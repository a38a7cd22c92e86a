"""What recommenders share, and matrix factorisation: pairs of users and items, with negatives that a batch shares."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Self

import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.data.interactions import Interactions
from jaxembed.methods.examples import met
from jaxembed.objectives import InfoNCE, pairwise
from jaxembed.ranges import Count, NotNegative, Positive
from jaxembed.sampling import negatives, random
from jaxembed.scores import SCORES, normalized
from jaxembed.tables import lanes
from jaxembed.training.method import Lookups, Loss, Method, Params, Shard, Source, Static

Rows = dict[str, jax.Array]
#: Scores `[q, items]` of users, by their rows `[q]`; it runs on the host.
Scorer = Callable[[np.ndarray], Any]


@dataclass(frozen=True)
class Recommender(Method):
    """Methods that order items for users. `vectors` gives `[users + items, d]`: a score is an inner product.

    from_history: whether `scorer` makes a user from what the user has, also one who was not in the training data; else the
        vectors are those of the users of the training data.
    """

    from_history: ClassVar[bool] = False

    def scorer(self, params: Params, known: Interactions) -> Scorer:
        """What scores users by what they have of `known`, where the method is `from_history`."""
        raise ValueError(f"{type(self).__name__} knows the users that it was trained with alone: name one of them")


@dataclass(frozen=True)
class PairMethod(Recommender):
    """Recommenders that learn from pairs: a user's item against negatives, by any pairwise objective."""

    vector_size: Count = 128  # Dimension of the vectors.
    score: Literal["cosine", "dot"] = "cosine"  # How a user and an item are compared.
    objective: Any = field(default_factory=lambda: InfoNCE(temperature=0.15))  # Any pairwise objective, or its name.
    shared_negatives: Count = 1024  # Negatives drawn for a step, which all its pairs share.
    negative: Positive = 1.0  # How many negatives a positive they count as (for objectives with sampled negatives).
    ns_exponent: NotNegative = 0.0  # Negatives are drawn in proportion to count^ns_exponent; 0 draws all items alike.
    start: Positive = 0.1  # Standard deviation of the vectors at the start.
    batch_size: Count = 4096  # Pairs in one step; fewer where a pass would have less than 20 steps.

    traced: ClassVar[tuple[str, ...]] = ("negative", "objective.temperature", "objective.margin")

    def __post_init__(self):
        super().__post_init__()
        if isinstance(self.objective, str):
            object.__setattr__(self, "objective", pairwise(self.objective))
        if self.score not in ("cosine", "dot"):
            raise ValueError(f"score must be 'cosine' or 'dot', not {self.score!r}")
        if self.objective.negatives == "path":  # pyright: ignore[reportAttributeAccessIssue]
            raise ValueError("hierarchical_softmax is for words: choose another objective")

    def suited_to(self, data: Interactions) -> Self:
        """With steps small enough that a pass has some of them."""
        if not len(data):
            raise ValueError("there is no pair of a user and an item to train on")
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
        """The order of a pass."""
        return {"order": key}

    def steps(self, shard: Shard) -> int:
        """Batches of a pass."""
        return -(-random.shuffle_size(shard.columns["user"].shape[0]) // self.batch_size)

    def batch(self, shard: Shard, step: jax.Array, key: jax.Array) -> Rows:
        """Pairs `user, item, present [B]`, and negatives `[N]`."""
        batch = met(shard, ("user", "item"), step, self.batch_size)
        if self.objective.negatives == "everybody":
            return batch | {"negatives": jnp.arange(shard.constants["items"].value)}
        constants = shard.constants
        table = negatives.AliasTable(constants["threshold"], constants["alias"], constants["log_probability"])
        drawn = negatives.draw(key, table, (self.shared_negatives,))
        return batch | {"negatives": drawn, "log_probability": table.log_probability[drawn]}

    def compared(self, users: jax.Array, items: jax.Array, others: jax.Array, batch: Rows) -> Loss:
        """The objective of the pairs of a batch, summed: `users, items [B, d]`, `others [N, d]` the negatives."""
        if self.score == "cosine":
            users, items, others = normalized(users), normalized(items), normalized(others)
        pos = jnp.sum(users * items, -1)[:, None]
        neg = SCORES["dot"](users[None], others[None])[0]
        weight = self._weights(batch)[None]
        if self.objective.negatives != "everybody":  # a negative that happens to be the item itself is none
            weight = jnp.where(batch["negatives"][None] == batch["item"][:, None], 0.0, weight)
        loss = self.objective(pos, 1.0, neg, weight) * batch["present"]
        total = jnp.sum(loss)
        return Loss(total, {"loss": total, "weight": jnp.sum(batch["present"])})

    def _weights(self, batch: Rows) -> jax.Array:
        drawn = batch["negatives"].shape[0]
        if self.objective.negatives == "importance":  # 1 / (N q): the draws stand for all items
            return jnp.exp(-batch["log_probability"]) / drawn
        each = 1.0 if self.objective.negatives == "everybody" else self.negative / drawn
        return jnp.full(drawn, each, jnp.float32)

    def scored(self, users: jax.Array, items: jax.Array) -> jax.Array:
        """Both as vectors whose inner products are the scores, the users first."""
        vectors = jnp.concatenate([users, items])[:, : self.vector_size]
        return normalized(vectors) if self.score == "cosine" else vectors


@dataclass(frozen=True)
class MF(PairMethod):
    """Matrix factorisation: a vector a user and an item, by any pairwise objective (Koren et al. 2009; Rendle et al. 2009)."""

    def init(self, key: jax.Array, constants: Mapping[str, Any]) -> Params:
        """Normal entries, padded to whole lanes."""
        sizes = {"user": constants["users"].value, "item": constants["items"].value}
        draw = lambda key, n: lanes(self.start * jax.random.normal(key, (n, self.vector_size), jnp.float32))
        keys = jax.random.split(key)
        return Params({name: draw(one, n) for one, (name, n) in zip(keys, sizes.items(), strict=True)})

    def lookups(self, batch: Rows) -> Lookups:
        """The users and items of the pairs, and the negatives."""
        return {"users": ("user", batch["user"]), "items": ("item", batch["item"]),
                "others": ("item", batch["negatives"])}  # fmt: skip

    def loss(self, rows: Rows, net: Any, kept: Any, batch: Rows, key: jax.Array) -> Loss:
        """Sum of the objective over the pairs."""
        return self.compared(rows["users"], rows["items"], rows["others"], batch)

    def vectors(self, params: Params, constants: Any = None) -> jax.Array:
        """Users, then items."""
        return self.scored(params.tables["user"], params.tables["item"])

    @property
    def row_size(self) -> int:
        """Columns of a row that are not padding."""
        return self.vector_size
