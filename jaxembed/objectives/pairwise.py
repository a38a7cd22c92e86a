"""The pairwise family: losses of an anchor's scores with its positives and with its negatives.

One contract: `objective(pos, pos_weight, neg, neg_weight, pos_axis=-1) -> loss`, with `pos [..., P]`, `neg [..., N]`,
weights that broadcast against them (all >= 0; a weight of zero is absence) and a loss for each anchor `[...]`. A method
whose scores come out with the positives in front of the anchors names their axis instead of moving it.

What the weights of the negatives mean depends on `negatives`, which says how a method should supply them:

* `"noise"`: draws from a noise distribution; the weights of an anchor add up to (negatives a positive) x (its positives).
* `"importance"`: draws that stand for everybody; the weight is 1 / (draws x probability), which is the logQ correction.
* `"everybody"`: all candidates there are, each of weight 1, the positives among them.
* `"path"`: the inner nodes of a Huffman tree on the way to the positive, left turns as `pos`, right turns as `neg`.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp


@jax.custom_jvp
def softplus(x: jax.Array) -> jax.Array:
    """`log(1 + exp(x))`, finite for every finite `x`; its derivative is the logistic function, by way of tanh."""
    return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


@softplus.defjvp
def _softplus_jvp(primals, tangents):
    (x,), (t,) = primals, tangents
    return softplus(x), (0.5 + 0.5 * jnp.tanh(0.5 * x)) * t


def log_sum_exp(x: jax.Array, weight: jax.Array) -> jax.Array:
    """`log sum_i weight_i exp(x_i)` over the last axis; -1e30 where all weights are zero, with a gradient of zero."""
    present = weight > 0
    largest = jax.lax.stop_gradient(jnp.max(jnp.where(present, x, -jnp.inf), axis=-1, keepdims=True, initial=-jnp.inf))
    largest = jnp.where(jnp.isfinite(largest), largest, 0)
    total = jnp.sum(jnp.where(present, weight * jnp.exp(jnp.where(present, x - largest, 0)), 0), axis=-1)
    return jnp.where(total > 0, jnp.log(jnp.where(total > 0, total, 1)) + largest[..., 0], -1e30)


def _mean_over_positives(margin_loss, pos, pos_weight, neg, neg_weight, pos_axis):
    # sum over negatives of the mean over positives: a negative weighs what its weight says, however many positives.
    pos, pos_weight = jnp.moveaxis(pos, pos_axis, -1), jnp.moveaxis(pos_weight, pos_axis, -1)
    share = pos_weight / jnp.maximum(jnp.sum(pos_weight, -1, keepdims=True), 1e-30)
    gap_PN = neg[..., None, :] - pos[..., :, None]
    return jnp.einsum("...pn,...p,...n->...", margin_loss(gap_PN), share, neg_weight)


def _full(weight: jax.Array, scores: jax.Array) -> jax.Array:
    return jnp.broadcast_to(jnp.asarray(weight, scores.dtype), scores.shape)


@dataclass(frozen=True)
class Logistic:
    """Each score classified on its own: `sum_p w softplus(-s) + sum_n w softplus(s)`.

    Negative sampling (Mikolov et al. 2013b, eq. 4); with a Huffman path for candidates, hierarchical softmax (ibid., eq. 3).
    """

    negatives: ClassVar[str] = "noise"

    def __call__(self, pos, pos_weight, neg, neg_weight, pos_axis=-1):
        """Loss of each anchor; the contract is the module's."""
        missed = jnp.sum(_full(pos_weight, pos) * softplus(-pos), pos_axis)
        return missed + jnp.sum(_full(neg_weight, neg) * softplus(neg), -1)


@dataclass(frozen=True)
class HierarchicalSoftmax(Logistic):
    """The logistic objective over the turns of a Huffman path (Morin and Bengio 2005; Mikolov et al. 2013b, eq. 3)."""

    negatives: ClassVar[str] = "path"


@dataclass(frozen=True)
class InfoNCE:
    """Each positive against all negatives: `sum_p w_p log(1 + sum_n w_n exp((s_n - s_p) / temperature))`.

    van den Oord et al. 2018, eq. 4; with negatives weighted 1 / (N q) it is the sampled softmax with logQ correction
    (Bengio and Senecal 2008). Positives are not negatives of one another.
    """

    temperature: float = 1.0
    negatives: ClassVar[str] = "importance"

    def __call__(self, pos, pos_weight, neg, neg_weight, pos_axis=-1):
        """Loss of each anchor; the contract is the module's."""
        against = log_sum_exp(neg / self.temperature, _full(neg_weight, neg))
        return jnp.sum(
            _full(pos_weight, pos) * softplus(jnp.expand_dims(against, pos_axis) - pos / self.temperature), pos_axis
        )


@dataclass(frozen=True)
class Softmax:
    """Cross-entropy of each positive among all candidates: `sum_p w_p (log sum_n w_n exp(s_n / t) - s_p / t)`.

    The candidates `neg` include the positive itself: the full softmax when they are everybody.
    """

    temperature: float = 1.0
    negatives: ClassVar[str] = "everybody"

    def __call__(self, pos, pos_weight, neg, neg_weight, pos_axis=-1):
        """Loss of each anchor; the contract is the module's."""
        everybody = log_sum_exp(neg / self.temperature, _full(neg_weight, neg))
        return jnp.sum(
            _full(pos_weight, pos) * (jnp.expand_dims(everybody, pos_axis) - pos / self.temperature), pos_axis
        )


@dataclass(frozen=True)
class Margin:
    """A hinge on every gap: `sum_n w_n mean_p max(0, margin - s_p + s_n)` (Weston et al. 2011; TransE, eq. 1)."""

    margin: float = 1.0
    negatives: ClassVar[str] = "noise"

    def __call__(self, pos, pos_weight, neg, neg_weight, pos_axis=-1):
        """Loss of each anchor; the contract is the module's."""
        hinge = lambda gap: jnp.maximum(gap + self.margin, 0)
        return _mean_over_positives(hinge, pos, _full(pos_weight, pos), neg, _full(neg_weight, neg), pos_axis)


@dataclass(frozen=True)
class BPR:
    """Bayesian personalised ranking: `sum_n w_n mean_p softplus(s_n - s_p)` (Rendle et al. 2009, section 4.1)."""

    negatives: ClassVar[str] = "noise"

    def __call__(self, pos, pos_weight, neg, neg_weight, pos_axis=-1):
        """Loss of each anchor; the contract is the module's."""
        return _mean_over_positives(softplus, pos, _full(pos_weight, pos), neg, _full(neg_weight, neg), pos_axis)
