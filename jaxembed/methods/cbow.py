"""CBOW: the mean of a word's neighbours is scored with the word (Mikolov et al. 2013a)."""

from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp

from jaxembed.data.text import Corpus
from jaxembed.methods.words import WordMethod
from jaxembed.ranges import Count
from jaxembed.sampling import random, windows
from jaxembed.scores import dot, weighted_sums
from jaxembed.training.method import Lookups, Loss, Shard
from jaxembed.training.settings import Training

# corpora with this many words are not repeated; the usual number of passes; the most sweeps of a pass
LARGE, USUAL, MOST = 10_000_000, 5, 64


@dataclass(frozen=True)
class CBOW(WordMethod):
    """The mean of the neighbours predicts the word, by any pairwise objective (Mikolov et al. 2013a).

    The gradient of a mean reaches each neighbour divided by the number of neighbours; word2vec.c leaves this out (Irsoy et
    al., Corrected CBOW Performs as well as Skip-gram, 2021). Here it is divided by the usual number of a drawn window, so that
    steps have the size of the corrected ones, and neighbours in narrow windows are not moved farther than those in wide ones:
    that costs small corpora a tenth of their quality (results/bench_passes).
    """

    cbow_mean: bool = True  # Whether the neighbours are averaged; otherwise they are added up.
    # As WordMethod's, but fewer: a token costs CBOW one row of scores where Skip-gram has one for each neighbour, so that
    # negatives are most of its work.
    shared_negatives: Count = 16

    def training_for(self, corpus: Corpus, training: Training) -> Training:
        """Chooses more sweeps and more damping for small corpora, if the training leaves them open (0).

        A small corpus needs more updates than a few passes bring, and steps that shrink as much sooner: else further passes
        make vectors worse. The rules were fitted to slices of 10 thousand to a million words, 5 to 50 passes
        (results/bench_passes).
        """
        words = max(len(corpus.tokens), 1)
        few = min(USUAL * (LARGE / words) ** 0.6, MOST) if words < LARGE else 1
        sweeps = training.sweeps or max(1, round(few * USUAL / max(training.epochs, USUAL)))
        damping = training.damping or max(1.0, sweeps * training.epochs / USUAL)
        return replace(training, sweeps=sweeps, damping=damping)

    def lookups(self, batch: dict[str, jax.Array]) -> Lookups:
        """Looks up the neighbours in `in`, the centres and candidates in `out`."""
        neighbours = ("in", batch["tokens"])
        if "nodes" in batch:
            return {"neighbours": neighbours, "path": ("out", batch["nodes"])}
        others = "everybody" if "everybody" in batch else "negatives"
        centres = ("out", self.centres(batch["tokens"]))
        return {"neighbours": neighbours, "centres": centres, others: ("out", batch[others])}

    def batch(self, shard: Shard, step: jax.Array, key: jax.Array) -> dict[str, jax.Array]:
        """Like Skip-gram's, with `reach [B, block]`: each token sees neighbours up to this distance.

        word2vec draws a window for each token. Skip-gram may weigh each pair by its chance instead, since its loss is a sum
        of pairs. CBOW may not: means over expected windows are too much alike, and small corpora are learned by heart.
        """
        found = super().batch(shard, step, key)
        if not self.shrink_windows:
            return found
        drawn = random.uniform(jax.random.fold_in(key, 1), (len(found["tokens"]), self.block))
        return found | {"reach": 1 + (drawn * self.window).astype(jnp.int32)}

    def context(self, rows: dict[str, jax.Array], batch: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
        """Returns what each token is predicted from, `[B, tiles, T, d]`, and 1 for tokens that have a neighbour, else 0."""
        widest = windows.window_weights(self.tile, self.window, self.halo, shrink=False)
        weight = self.pair_weights(batch, widest)  # [B, tiles, L, T]
        if "reach" in batch:
            distance = windows.distances(self.tile, self.halo).T[None, None]  # [1, 1, L, T]
            weight = jnp.where(distance <= self.centre_tiles(batch["reach"])[:, :, None], weight, 0)
        present = (jnp.sum(weight, -2) > 0).astype(jnp.float32)
        if not self.cbow_mean:
            return weighted_sums(weight, self.halo_tiles(rows["neighbours"])), present
        usual = self.window + 1 if self.shrink_windows else 2 * self.window
        share = weighted_sums((weight > 0) / jnp.float32(usual), self.halo_tiles(rows["neighbours"]))
        count = jnp.maximum(jnp.sum(weight > 0, -2), 1)[..., None]
        # The value is the mean, but its gradient is that of `share`: see the class.
        return share + jax.lax.stop_gradient(share * (usual / count - 1)), present

    def loss(self, rows: dict[str, jax.Array], net, kept, batch: dict[str, jax.Array], key) -> Loss:
        """Returns the sum of the objective over the tokens of the batch; `weight` is the number of tokens with a neighbour."""
        context, present = self.context(rows, batch)
        if "nodes" in batch:
            turns = self.centre_tiles(batch["turns"])
            scores = jnp.einsum("ntid,ntihd->ntih", context, self.centre_tiles(rows["path"]))
            left, right = (((sign * turns) > 0) * present[..., None] for sign in (1, -1))
            loss = self.objective(scores, left, scores, right)
        else:
            flat = context.reshape(-1, self.block, context.shape[-1])
            everybody = "everybody" in batch
            neg = self.against(dot, flat, rows["everybody"][None] if everybody else rows["negatives"])
            neg_weight = 1.0 if everybody else self.negative_weights(batch, present)
            pos = jnp.sum(context * self.centre_tiles(rows["centres"]), -1)[..., None]
            loss = self.objective(pos, present[..., None], self.centre_tiles(neg), neg_weight)
        total = jnp.sum(loss)
        return Loss(total, {"loss": total, "weight": jnp.sum(present)})
