"""Skip-gram: a word's vector is scored with its neighbours' (Mikolov et al. 2013a, 2013b)."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from jaxembed.methods.words import WordMethod
from jaxembed.sampling import windows
from jaxembed.scores import SCORES
from jaxembed.training.method import Lookups


@dataclass(frozen=True)
class SkipGram(WordMethod):
    """Skip-gram with any pairwise objective.

    A block of tokens is scored with itself, its halo and its negatives in one matrix product, of which the band counts.

    score: how two vectors are compared, one of `jaxembed.scores.SCORES`.
    """

    score: str = "dot"

    def __post_init__(self):
        super().__post_init__()
        if self.score not in SCORES:
            raise ValueError(f"unknown score {self.score!r}: the scores are {', '.join(SCORES)}")

    def lookups(self, batch: dict[str, jax.Array]) -> Lookups:
        """Centres from `in` and candidates from `out`; a Huffman path is met by the neighbours' input vectors."""
        tokens = batch["tokens"]
        if "nodes" in batch:
            return {"neighbours": ("in", tokens), "path": ("out", batch["nodes"].reshape(tokens.shape[0], -1))}
        centres = ("in", self.centres(tokens))
        if "everybody" in batch:
            return {"centres": centres, "contexts": ("out", tokens), "everybody": ("out", batch["everybody"])}
        return {"centres": centres, "candidates": ("out", jnp.concatenate([tokens, batch["negatives"]], axis=1))}

    def loss(self, rows: dict[str, jax.Array], net, batch: dict[str, jax.Array], key) -> tuple[jax.Array, dict]:
        """Sum of the objective over the tokens of the batch; `weight` is the expected number of pairs."""
        score = SCORES[self.score]
        weights = self.pair_weights(batch, windows.window_weights(self.tile, self.window))
        if "nodes" in batch:
            loss = self._path_loss(rows, weights, batch)
        elif "everybody" in batch:
            centres, contexts = self.centre_tiles(rows["centres"]), self.halo_tiles(rows["contexts"])
            flat = score(centres.reshape(-1, centres.shape[-1]), rows["everybody"])
            everybody = flat.reshape(*centres.shape[:-1], -1)
            loss = self.objective(score(centres, contexts), weights, everybody, 1.0)
        else:
            centres = rows["centres"]
            contexts, drawn = jnp.split(rows["candidates"], [self.block + 2 * self.window], axis=1)
            pos = score(self.centre_tiles(centres), self.halo_tiles(contexts))
            neg = self.centre_tiles(score(centres, drawn))
            loss = self.objective(pos, weights, neg, self.negative_weights(batch, jnp.sum(weights, -1)))
        total = jnp.sum(loss)
        return total, {"loss": total, "weight": jnp.sum(weights)}

    def _path_loss(self, rows, weights, batch):
        # As word2vec.c does, the neighbours' vectors walk down to the centre: each path is then gathered once.
        turns = self.centre_tiles(batch["turns"])  # [B, tiles, T, H]
        blocks, tiles, tokens, depth = turns.shape
        path = rows["path"].reshape(blocks, tiles, tokens * depth, -1)
        scores = SCORES[self.score](path, self.halo_tiles(rows["neighbours"]))
        scores_TLH = jnp.swapaxes(scores.reshape(blocks, tiles, tokens, depth, -1), -1, -2)
        left, right = (((sign * turns) > 0)[..., None, :] * weights[..., None] for sign in (1, -1))
        return self.objective(scores_TLH, left, scores_TLH, right)
