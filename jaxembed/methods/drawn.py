"""Pairs against negatives that are drawn for a batch, which all its pairs share: the common part of recommenders and graphs."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import jax
import jax.numpy as jnp

from jaxembed.objectives import InfoNCE, pairwise
from jaxembed.ranges import Count, NotNegative, Positive
from jaxembed.sampling import negatives
from jaxembed.scores import SCORES, normalized
from jaxembed.training.method import Loss, Method, Shard

Rows = dict[str, jax.Array]


@dataclass(frozen=True)
class Drawn(Method):
    """Methods that compare pairs with drawn negatives, by any pairwise objective but hierarchical softmax."""

    score: Literal["cosine", "dot"] = "cosine"  # The score of a pair: cosine or dot.
    objective: Any = field(default_factory=lambda: InfoNCE(temperature=0.1))  # Any pairwise objective, or its name.
    shared_negatives: Count = 1024  # Number of negatives drawn for a step; all its pairs share them.
    # Number of negatives per positive that the drawn ones count as, for objectives with sampled negatives.
    negative: Positive = 1.0
    # Negatives are drawn in proportion to count^ns_exponent; 0 draws all with the same probability.
    ns_exponent: NotNegative = 0.0

    traced: ClassVar[tuple[str, ...]] = ("negative", "objective.temperature", "objective.margin")

    def __post_init__(self):
        super().__post_init__()
        if isinstance(self.objective, str):
            object.__setattr__(self, "objective", pairwise(self.objective))
        if self.objective.negatives == "path":  # pyright: ignore[reportAttributeAccessIssue]
            raise ValueError("hierarchical_softmax is for words only: choose another objective")

    def negatives_of(self, shard: Shard, key: jax.Array, everybody: jax.Array) -> Rows:
        """Returns the numbers of the negatives of a batch, `negatives [N]`, and where they are drawn, `log_probability [N]`.

        They are drawn from the table that the shard has (`AliasTable`), or are `everybody`, if the objective wants all.
        """
        if self.objective.negatives == "everybody":
            return {"negatives": everybody}
        constants = shard.constants
        table = negatives.AliasTable(constants["threshold"], constants["alias"], constants["log_probability"])
        drawn = negatives.draw(key, table, (self.shared_negatives,))
        return {"negatives": drawn, "log_probability": table.log_probability[drawn]}

    def contrasted(
        self, anchors: jax.Array, positives: jax.Array, others: jax.Array, batch: Rows, itself: jax.Array
    ) -> Loss:
        """Returns the objective of pairs, summed: `anchors, positives [B, d]`, negatives `others [N, d]`.

        `itself` [B, k] are the numbers of what is no negative of a pair, such as its positive.
        """
        if self.score == "cosine":
            anchors, positives, others = normalized(anchors), normalized(positives), normalized(others)
        pos = jnp.sum(anchors * positives, -1)[:, None]
        neg = SCORES["dot"](anchors[None], others[None])[0]
        weight = self._weights(batch)[None]
        if self.objective.negatives != "everybody":
            weight = jnp.where((batch["negatives"][None, None] == itself[:, :, None]).any(1), 0.0, weight)
        loss = self.objective(pos, 1.0, neg, weight) * batch["present"]
        total = jnp.sum(loss)
        return Loss(total, {"loss": total, "weight": jnp.sum(batch["present"])})

    def _weights(self, batch: Rows) -> jax.Array:
        drawn = batch["negatives"].shape[0]
        if self.objective.negatives == "importance":  # with the weight 1 / (N q), those drawn stand for all
            return jnp.exp(-batch["log_probability"]) / drawn
        each = 1.0 if self.objective.negatives == "everybody" else self.negative / drawn
        return jnp.full(drawn, each, jnp.float32)
