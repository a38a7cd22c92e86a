"""CBOW: the mean of a word's neighbours is scored with the word (Mikolov et al. 2013a)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxembed.methods.words import WordMethod
from jaxembed.scores import dot, weighted_sums
from jaxembed.training.method import Lookups, Loss


@dataclass(frozen=True)
class CBOW(WordMethod):
    """The neighbours' mean predicts the word, by any pairwise objective (Mikolov et al. 2013a).

    The gradient of a mean reaches each neighbour divided by their number: autodiff does by itself what word2vec.c forgets
    (Irsoy et al., Corrected CBOW Performs as well as Skip-gram, 2021).
    """

    cbow_mean: bool = True  # Mean of the neighbours, else their sum.

    def lookups(self, batch: dict[str, jax.Array]) -> Lookups:
        """Neighbours from `in`; centres and candidates from `out`."""
        neighbours = ("in", batch["tokens"])
        if "nodes" in batch:
            return {"neighbours": neighbours, "path": ("out", batch["nodes"])}
        centres = self.centres(batch["tokens"])
        if "everybody" in batch:
            return {"neighbours": neighbours, "centres": ("out", centres), "everybody": ("out", batch["everybody"])}
        return {"neighbours": neighbours, "candidates": ("out", jnp.concatenate([centres, batch["negatives"]], 1))}

    def loss(self, rows: dict[str, jax.Array], net, kept, batch: dict[str, jax.Array], key) -> Loss:
        """Sum of the objective over the tokens of the batch; `weight` is the number of tokens with a neighbour."""
        weight = self.pair_weights(batch, self.band(self.cbow_mean))  # [B, tiles, L, T]
        present = (jnp.sum(weight, -2) > 0).astype(jnp.float32)  # [B, tiles, T]
        if self.cbow_mean:  # at the border of a document fewer neighbours share the mean
            weight /= jnp.maximum(jnp.sum(weight, -2, keepdims=True), 1e-9)
        context = weighted_sums(weight, self.halo_tiles(rows["neighbours"]))
        if "nodes" in batch:
            turns = self.centre_tiles(batch["turns"])
            scores = jnp.einsum("ntid,ntihd->ntih", context, self.centre_tiles(rows["path"]))
            left, right = (((sign * turns) > 0) * present[..., None] for sign in (1, -1))
            loss = self.objective(scores, left, scores, right)
        else:
            flat = context.reshape(-1, self.block, context.shape[-1])
            if "everybody" in batch:
                centres, neg_weight = rows["centres"], 1.0
                neg = dot(flat.reshape(1, -1, flat.shape[-1]), rows["everybody"][None]).reshape(*flat.shape[:2], -1)
            else:
                centres, drawn = rows["candidates"][:, : self.block], rows["candidates"][:, self.block :]
                neg, neg_weight = dot(flat, drawn), self.negative_weights(batch, present)
            pos = jnp.sum(context * self.centre_tiles(centres), -1)[..., None]
            loss = self.objective(pos, present[..., None], self.centre_tiles(neg), neg_weight)
        total = jnp.sum(loss)
        return Loss(total, {"loss": total, "weight": jnp.sum(present)})
