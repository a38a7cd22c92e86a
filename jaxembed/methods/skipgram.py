"""Skip-gram: a word's vector is scored with those of its neighbours (Mikolov et al. 2013a, 2013b)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxembed.methods.words import WordMethod
from jaxembed.naming import unknown
from jaxembed.scores import SCORES
from jaxembed.training.method import Lookups, Loss


@dataclass(frozen=True)
class SkipGram(WordMethod):
    """A word predicts its neighbours, by any pairwise objective (Mikolov et al. 2013a, 2013b).

    A block of tokens is scored with itself, its halo and its negatives in one matrix product, of which only a band
    counts.
    """

    score: str = "dot"  # The score of two vectors, one of `jaxembed.scores.SCORES`.

    def __post_init__(self):
        super().__post_init__()
        if self.score not in SCORES:
            raise unknown("score", self.score, SCORES)

    def lookups(self, batch: dict[str, jax.Array]) -> Lookups:
        """Looks up centres in `in` and candidates in `out`; a Huffman path meets the neighbours' input vectors."""
        tokens = batch["tokens"]
        if "nodes" in batch:
            return {"neighbours": ("in", tokens), "path": ("out", batch["nodes"].reshape(tokens.shape[0], -1))}
        centres = ("in", self.centres(tokens))
        others = "everybody" if "everybody" in batch else "negatives"
        return {"centres": centres, "contexts": ("out", tokens), others: ("out", batch[others])}

    def loss(self, rows: dict[str, jax.Array], net, kept, batch: dict[str, jax.Array], key) -> Loss:
        """Returns the sum of the objective over the tokens of the batch; `weight` is the expected number of pairs."""
        weights = self.pair_weights(batch, self.band())  # [B, tiles, L, T]
        if "nodes" in batch:
            loss = self.path_loss(batch, weights, self.halo_tiles(rows["neighbours"]), rows["path"])
        else:
            centres, contexts = self.centre_tiles(rows["centres"]), self.halo_tiles(rows["contexts"])
            loss = self.pair_loss(batch, weights, centres, contexts, rows)
        total = jnp.sum(loss)
        return Loss(total, {"loss": total, "weight": jnp.sum(weights)})

    def pair_loss(
        self, batch: dict[str, jax.Array], weights: jax.Array, centres: jax.Array, contexts: jax.Array, rows: dict
    ) -> jax.Array:
        """Returns the objective of centres `[B, tiles, T, d]` with contexts `[B, tiles, L, d]`, of `weights [B, tiles, L, T]`.

        The candidates are those of `rows`: everybody, or negatives.
        """
        score = SCORES[self.score]
        everybody = "everybody" in batch
        others = rows["everybody"][None] if everybody else rows["negatives"]
        neg = self.against(score, centres.reshape(centres.shape[0], -1, centres.shape[-1]), others)
        neg = neg.reshape(*centres.shape[:3], -1)
        neg_weight = 1.0 if everybody else self.negative_weights(batch, jnp.sum(weights, -2))
        return self.objective(score(contexts, centres), weights, neg, neg_weight, pos_axis=-2)

    def path_loss(
        self, batch: dict[str, jax.Array], weights: jax.Array, neighbours: jax.Array, path: jax.Array
    ) -> jax.Array:
        """Returns the objective of neighbours `[B, tiles, L, d]` that walk down to their centres, `weights [B, tiles, L, T]`.

        As word2vec.c does: the path of a centre, `path [B, T * H, d]`, is then gathered once.
        """
        turns = self.centre_tiles(batch["turns"])  # [B, tiles, T, H]
        blocks, tiles, tokens, depth = turns.shape
        scores = SCORES[self.score](path.reshape(blocks, tiles, tokens * depth, -1), neighbours)
        scores_THL = scores.reshape(blocks, tiles, tokens, depth, -1)
        weights_TL = jnp.swapaxes(weights, -1, -2)[..., None, :]
        # The logistic terms add up to the same in any order: a node is met by all neighbours of its word at once.
        left, right = (((sign * turns) > 0)[..., None] * weights_TL for sign in (1, -1))
        return self.objective(scores_THL, left, scores_THL, right)
