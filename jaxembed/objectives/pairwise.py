"""The pairwise family: losses of an anchor's scores with its positives and with its negatives.

One contract: `objective(pos, pos_weight, neg, neg_weight, pos_axis=-1) -> loss`, with `pos [..., P]`, `neg [..., N]`,
weights that broadcast against them (all >= 0; a weight of zero is absence) and a loss for each anchor `[...]`. A method
whose scores come out with the positives in front of the anchors names their axis instead of moving it.

What the weights of the negatives mean depends on `negatives`, which says how a method should supply them:

* `"noise"`: draws from a noise distribution; the weights of an anchor add up to (negatives a positive) x (its positives).
* `"importance"`: draws that stand for everybody; the weight is 1 / (draws x probability), which is the logQ correction.
* `"everybody"`: all candidates there are, each of weight 1, the positives among them.
* `"path"`: the inner nodes of a Huffman tree on the way to the positive, left turns as `pos`, right turns as `neg`.

Negatives may also come in blocks, so that their scores never stand together. Where `additive`, the losses of blocks add up
(with the weights of the positives shared among them). Where not, `folded(neg, neg_weight)` gives one negative `[..., 1]`
that counts for all of them, and can be folded with others again: `objective(p, w, *folded(n, v)) == objective(p, w, n, v)`.
"""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp

from jaxembed.ranges import Checked, NotNegative, Positive


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


def _folded(neg, neg_weight, temperature):
    total = log_sum_exp(neg / temperature, _full(neg_weight, neg))[..., None]
    return total * temperature, (total > -1e29).astype(neg.dtype)


@dataclass(frozen=True)
class Logistic(Checked):
    """Each score classified on its own: `sum_p w softplus(-s) + sum_n w softplus(s)`.

    Negative sampling (Mikolov et al. 2013b, eq. 4); with a Huffman path for candidates, hierarchical softmax (ibid., eq. 3);
    over a batch, of scores `scale s + bias`, SigLIP (Zhai et al. 2023, eq. 2).
    """

    negatives: ClassVar[str] = "noise"
    additive: ClassVar[bool] = True

    def __call__(self, pos, pos_weight, neg, neg_weight, pos_axis=-1):
        """Loss of each anchor; the contract is the module's."""
        missed = jnp.sum(_full(pos_weight, pos) * softplus(-pos), pos_axis)
        return missed + jnp.sum(_full(neg_weight, neg) * softplus(neg), -1)


@dataclass(frozen=True)
class HierarchicalSoftmax(Logistic):
    """The logistic objective over the turns of a Huffman path (Morin and Bengio 2005; Mikolov et al. 2013b, eq. 3)."""

    negatives: ClassVar[str] = "path"


@dataclass(frozen=True)
class InfoNCE(Checked):
    """Each positive against all negatives: `sum_p w_p log(1 + sum_n w_n exp((s_n - s_p) / temperature))`.

    van den Oord et al. 2018, eq. 4; with negatives weighted 1 / (N q) it is the sampled softmax with logQ correction
    (Bengio and Senecal 2008); with the rest of two views' batch for negatives, NT-Xent (Chen et al. 2020, eq. 1).
    Positives are not negatives of one another.
    """

    temperature: Positive = 1.0
    negatives: ClassVar[str] = "importance"
    additive: ClassVar[bool] = False

    def __call__(self, pos, pos_weight, neg, neg_weight, pos_axis=-1):
        """Loss of each anchor; the contract is the module's."""
        against = log_sum_exp(neg / self.temperature, _full(neg_weight, neg))
        return jnp.sum(
            _full(pos_weight, pos) * softplus(jnp.expand_dims(against, pos_axis) - pos / self.temperature), pos_axis
        )

    def folded(self, neg, neg_weight):
        """One negative for all of them; the contract is the module's."""
        return _folded(neg, neg_weight, self.temperature)


@dataclass(frozen=True)
class Softmax(Checked):
    """Cross-entropy of each positive among all candidates: `sum_p w_p (log sum_n w_n exp(s_n / t) - s_p / t)`.

    The candidates `neg` include the positive itself: the full softmax when they are everybody; SupCon's L_out when they are
    the rest of the batch and each of the positives P weighs 1 / |P| (Khosla et al. 2020, eq. 2).
    """

    temperature: Positive = 1.0
    negatives: ClassVar[str] = "everybody"
    additive: ClassVar[bool] = False

    def __call__(self, pos, pos_weight, neg, neg_weight, pos_axis=-1):
        """Loss of each anchor; the contract is the module's."""
        everybody = log_sum_exp(neg / self.temperature, _full(neg_weight, neg))
        return jnp.sum(
            _full(pos_weight, pos) * (jnp.expand_dims(everybody, pos_axis) - pos / self.temperature), pos_axis
        )

    def folded(self, neg, neg_weight):
        """One negative for all of them; the contract is the module's."""
        return _folded(neg, neg_weight, self.temperature)


@dataclass(frozen=True)
class DecoupledContrastive(Softmax):
    """InfoNCE without the positive in its own denominator: `sum_p w_p (log sum_n w_n exp(s_n / t) - s_p / t)`.

    Yeh et al. 2022, eq. 6. An anchor without negatives has a loss of zero, as InfoNCE's has.
    """

    negatives: ClassVar[str] = "importance"

    def __call__(self, pos, pos_weight, neg, neg_weight, pos_axis=-1):
        """Loss of each anchor; the contract is the module's."""
        loss = super().__call__(pos, pos_weight, neg, neg_weight, pos_axis)
        return jnp.where(jnp.any(_full(neg_weight, neg) > 0, -1), loss, 0)


@dataclass(frozen=True)
class Margin(Checked):
    """A hinge on every gap: `sum_n w_n mean_p max(0, margin - s_p + s_n)` (Weston et al. 2011; TransE, eq. 1)."""

    margin: NotNegative = 1.0
    negatives: ClassVar[str] = "noise"
    additive: ClassVar[bool] = True

    def __call__(self, pos, pos_weight, neg, neg_weight, pos_axis=-1):
        """Loss of each anchor; the contract is the module's."""
        hinge = lambda gap: jnp.maximum(gap + self.margin, 0)
        return _mean_over_positives(hinge, pos, _full(pos_weight, pos), neg, _full(neg_weight, neg), pos_axis)


@dataclass(frozen=True)
class Triplet(Margin):
    """The hinge with FaceNet's margin, of scores `-|a - b|^2` or cosines (Schroff et al. 2015, eq. 1).

    hardest: only the negative of the highest score counts, with its own weight (as in Hermans et al. 2017, eq. 5).
    """

    margin: NotNegative = 0.2
    hardest: bool = False

    @property
    def additive(self):
        """Whether blocks of negatives add up."""
        return not self.hardest

    def folded(self, neg, neg_weight):
        """The hardest negative; the contract is the module's."""
        weight = _full(neg_weight, neg)
        place = jnp.argmax(jnp.where(weight > 0, neg, -jnp.inf), -1, keepdims=True)
        return jnp.take_along_axis(neg, place, -1), jnp.take_along_axis(weight, place, -1)

    def __call__(self, pos, pos_weight, neg, neg_weight, pos_axis=-1):
        """Loss of each anchor; the contract is the module's."""
        if self.hardest and neg.shape[-1]:
            neg, neg_weight = self.folded(neg, neg_weight)
        return super().__call__(pos, pos_weight, neg, neg_weight, pos_axis)


@dataclass(frozen=True)
class BPR(Checked):
    """Bayesian personalised ranking: `sum_n w_n mean_p softplus(s_n - s_p)` (Rendle et al. 2009, section 4.1)."""

    negatives: ClassVar[str] = "noise"
    additive: ClassVar[bool] = True

    def __call__(self, pos, pos_weight, neg, neg_weight, pos_axis=-1):
        """Loss of each anchor; the contract is the module's."""
        return _mean_over_positives(softplus, pos, _full(pos_weight, pos), neg, _full(neg_weight, neg), pos_axis)


@dataclass(frozen=True)
class Spectral(Checked):
    """Factorises the graph of positives: `sum_p w_p (-2 s_p + mean_n s_n^2)`, of inner products (HaoChen et al. 2021, eq. 6).

    The mean is weighted, so that only the proportions of the weights of an anchor's negatives matter.
    """

    negatives: ClassVar[str] = "noise"
    additive: ClassVar[bool] = False

    def __call__(self, pos, pos_weight, neg, neg_weight, pos_axis=-1):
        """Loss of each anchor; the contract is the module's."""
        square = self._square(neg, _full(neg_weight, neg))
        return jnp.sum(_full(pos_weight, pos) * (jnp.expand_dims(square, pos_axis) - 2 * pos), pos_axis)

    def folded(self, neg, neg_weight):
        """The root of the mean square; the contract is the module's."""
        weight = _full(neg_weight, neg)
        square = jnp.maximum(self._square(neg, weight), 1e-30)  # a root of zero has no slope
        return jnp.sqrt(square)[..., None], jnp.sum(weight, -1, keepdims=True)

    def _square(self, neg, weight):
        squares = jnp.square(jnp.where(weight > 0, neg, 0))
        return jnp.sum(weight * squares, -1) / jnp.maximum(jnp.sum(weight, -1), 1e-30)


@dataclass(frozen=True)
class AlignmentUniformity(Checked):
    """`sum_p w_p (|a - p|^alpha + weight log mean_n exp(-t |a - n|^2))` of unit vectors (Wang and Isola 2020, section 4.1).

    Scores are cosines: `|a - b|^2 = 2 - 2 s`. The mean is weighted, so that only the proportions of the weights of an
    anchor's negatives matter. The paper takes one logarithm of the mean over all pairs of a batch; here each anchor has its
    own, and their mean is at most the paper's (Jensen), equal when all anchors lie equally close to the rest.
    An anchor without negatives has no uniformity.
    """

    alpha: Positive = 2.0
    t: Positive = 2.0
    weight: NotNegative = 1.0
    negatives: ClassVar[str] = "noise"
    additive: ClassVar[bool] = False

    def __call__(self, pos, pos_weight, neg, neg_weight, pos_axis=-1):
        """Loss of each anchor; the contract is the module's."""
        weight = _full(pos_weight, pos)
        # At a distance of zero a power below two has no slope.
        apart = jnp.maximum(2 - 2 * jnp.where(weight > 0, pos, 1), 1e-12) ** (self.alpha / 2)
        (near,), (total,) = (jnp.moveaxis(x, -1, 0) for x in self.folded(neg, neg_weight))
        uniformity = jnp.where(total > 0, 2 * self.t * (near - 1), 0)
        return jnp.sum(weight * (apart + self.weight * jnp.expand_dims(uniformity, pos_axis)), pos_axis)

    def folded(self, neg, neg_weight):
        """The cosine whose kernel is the mean of the kernels; the contract is the module's."""
        weight = _full(neg_weight, neg)
        total = jnp.sum(weight, -1, keepdims=True)
        kernel = log_sum_exp(2 * self.t * neg, weight)[..., None] - jnp.log(jnp.where(total > 0, total, 1))
        return jnp.where(total > 0, kernel / (2 * self.t), 0), total


@dataclass(frozen=True)
class CosineContrastive(Checked):
    """Positives are drawn near, negatives pushed below a margin: `sum_p w_p (1 - s_p) + weight sum_n w_n max(0, s_n - margin)`.

    Of cosines (Mao et al. 2021, SimpleX, eq. 1).
    """

    margin: NotNegative = 0.4
    weight: NotNegative = 1.0
    negatives: ClassVar[str] = "noise"
    additive: ClassVar[bool] = True

    def __call__(self, pos, pos_weight, neg, neg_weight, pos_axis=-1):
        """Loss of each anchor; the contract is the module's."""
        # The score of what is absent may be any number.
        weight = _full(pos_weight, pos)
        near = jnp.sum(weight * (1 - jnp.where(weight > 0, pos, 1)), pos_axis)
        return near + self.weight * jnp.sum(_full(neg_weight, neg) * jnp.maximum(neg - self.margin, 0), -1)
