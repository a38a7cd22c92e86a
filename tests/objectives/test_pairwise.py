"""The contract of the pairwise objectives, held to every one that is registered.

A new objective joins by an entry in `REFERENCES`: its loss for one anchor, written from its paper in float64.
"""

import math
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxembed.objectives import PAIRWISE, pairwise


def softplus(x):
    return np.logaddexp(0.0, x)


def logistic(pos, pos_weight, neg, neg_weight):
    positive = sum(w * softplus(-s) for s, w in zip(pos, pos_weight, strict=True))
    return positive + sum(w * softplus(s) for s, w in zip(neg, neg_weight, strict=True))


def log_total(neg, neg_weight, temperature):
    terms = [s / temperature + math.log(w) for s, w in zip(neg, neg_weight, strict=True) if w > 0]
    return np.logaddexp.reduce(terms) if terms else -math.inf


def infonce(pos, pos_weight, neg, neg_weight, temperature=1.0):
    # van den Oord et al. 2018, eq. 4: -log(e^s / (e^s + sum of the others))
    total = log_total(neg, neg_weight, temperature)
    return sum(
        w * (np.logaddexp(s / temperature, total) - s / temperature) for s, w in zip(pos, pos_weight, strict=True)
    )


def softmax(pos, pos_weight, neg, neg_weight, temperature=1.0):
    total = log_total(neg, neg_weight, temperature)
    return sum(w * (total - s / temperature) for s, w in zip(pos, pos_weight, strict=True) if w > 0)


def ranked(gap_loss, pos, pos_weight, neg, neg_weight):
    total = sum(
        v * w * gap_loss(s - t)
        for s, v in zip(neg, neg_weight, strict=True)
        for t, w in zip(pos, pos_weight, strict=True)
        if w > 0
    )
    return total / sum(pos_weight) if sum(pos_weight) > 0 else 0.0


def margin(*candidates, margin=1.0):
    return ranked(lambda gap: max(0.0, margin + gap), *candidates)


def bpr(*candidates):
    return ranked(softplus, *candidates)


def decoupled(pos, pos_weight, neg, neg_weight, temperature=1.0):
    # Yeh et al. 2022, eq. 6; nobody to be told from is no loss
    return softmax(pos, pos_weight, neg, neg_weight, temperature) if sum(neg_weight) > 0 else 0.0


def triplet(pos, pos_weight, neg, neg_weight, margin=0.2, hardest=False):
    present = [(s, w) for s, w in zip(neg, neg_weight, strict=True) if w > 0]
    if hardest and present:
        neg, neg_weight = zip(max(present), strict=True)
    return ranked(lambda gap: max(0.0, margin + gap), pos, pos_weight, neg, neg_weight)


def mean(values, weights):
    values, weights = zip(*[(x, w) for x, w in zip(values, weights, strict=True) if w > 0] or [(0.0, 1.0)], strict=True)
    return np.average(values, weights=weights)


def spectral(pos, pos_weight, neg, neg_weight):
    # HaoChen et al. 2021, eq. 6
    square = mean(np.square(neg), neg_weight)
    return sum(w * (-2 * s + square) for s, w in zip(pos, pos_weight, strict=True))


def align_uniform(pos, pos_weight, neg, neg_weight, alpha=2.0, t=2.0, weight=1.0):
    # Wang and Isola 2020, section 4.1, with |a - b|^2 = 2 - 2 cos; exp(-t |a - n|^2) overflows where cosines are none
    exponents = -t * (2 - 2 * np.asarray(neg))
    uniformity = log_total(exponents, neg_weight, 1) - math.log(sum(neg_weight)) if sum(neg_weight) > 0 else 0.0
    apart = lambda s: max(0.0, 2 - 2 * s) ** (alpha / 2)
    return sum(w * (apart(s) + weight * uniformity) for s, w in zip(pos, pos_weight, strict=True))


def cosine_contrastive(pos, pos_weight, neg, neg_weight, margin=0.4, weight=1.0):
    # Mao et al. 2021, eq. 1, with the weights of the negatives in the place of a mean
    near = sum(w * (1 - s) for s, w in zip(pos, pos_weight, strict=True))
    return near + weight * sum(w * max(0.0, s - margin) for s, w in zip(neg, neg_weight, strict=True))


REFERENCES = {
    "negative_sampling": logistic,
    "hierarchical_softmax": logistic,
    "infonce": infonce,
    "softmax": softmax,
    "margin": margin,
    "bpr": bpr,
    "dcl": decoupled,
    "triplet": triplet,
    "spectral": spectral,
    "align_uniform": align_uniform,
    "cosine_contrastive": cosine_contrastive,
}
SETTINGS = [(name, {}) for name in PAIRWISE] + [
    ("infonce", {"temperature": 0.2}),
    ("softmax", {"temperature": 2.0}),
    ("margin", {"margin": 0.3}),
    ("dcl", {"temperature": 0.2}),
    ("triplet", {"hardest": True}),
    ("cosine_contrastive", {"margin": 0.9, "weight": 3.0}),
    ("align_uniform", {"alpha": 1.0, "t": 0.5, "weight": 0.7}),
]
each = pytest.mark.parametrize("name", PAIRWISE)
A, P, N = 3, 4, 5


def candidates(scale=2.0, dtype=np.float32, seed=0):
    """`pos, pos_weight, neg, neg_weight` of three anchors; the first has no positives, the second no negatives."""
    rng = np.random.default_rng(seed)
    pos, neg = rng.normal(0, scale, (A, P)), rng.normal(0, scale, (A, N))
    pos_weight, neg_weight = rng.uniform(0.2, 1.5, (A, P)), rng.uniform(0.2, 1.5, (A, N))
    pos_weight[0], neg_weight[1], pos_weight[2, 1], neg_weight[2, 3] = 0, 0, 0, 0
    return tuple(jnp.asarray(x, dtype) for x in (pos, pos_weight, neg, neg_weight))


@cache
def compiled(objective):
    def total(pos, neg, pos_weight, neg_weight):
        losses = objective(pos, pos_weight, neg, neg_weight)
        return jnp.sum(losses), losses

    return jax.jit(jax.grad(total, (0, 1), has_aux=True))


def value_and_gradients(objective, pos, pos_weight, neg, neg_weight):
    """The losses of all anchors, and the gradients of their sum with respect to the scores."""
    gradients, losses = compiled(objective)(pos, neg, pos_weight, neg_weight)
    return [np.asarray(x, np.float64) for x in (losses, *gradients)]


def reference(name, settings, pos, pos_weight, neg, neg_weight):
    """The same in float64: losses by the formula, gradients by central differences."""
    pos, pos_weight, neg, neg_weight = (np.asarray(x, np.float64) for x in (pos, pos_weight, neg, neg_weight))
    formula = REFERENCES[name]
    losses = np.array([formula(*anchor, **settings) for anchor in zip(pos, pos_weight, neg, neg_weight, strict=True)])
    # An anchor without negatives has no softmax; the contract asks that it stays finite, and the test says so below.
    h, gradients = 1e-5, []
    for scores in (pos, neg):
        gradient = np.zeros_like(scores)
        for a, i in np.ndindex(*scores.shape):
            sides = []
            for sign in (1, -1):
                kept, scores[a, i] = scores[a, i], scores[a, i] + sign * h
                sides.append(formula(pos[a], pos_weight[a], neg[a], neg_weight[a], **settings))
                scores[a, i] = kept
            gradient[a, i] = (sides[0] - sides[1]) / (2 * h) if np.isfinite(sides).all() else np.nan
        gradients.append(gradient)
    return [losses, *gradients]


def assert_close(actual, expected, rtol, atol):
    for ours, theirs in zip(actual, expected, strict=True):
        defined = np.isfinite(theirs)
        np.testing.assert_allclose(ours[defined], theirs[defined], rtol=rtol, atol=atol)


def test_every_objective_has_a_reference():
    assert set(REFERENCES) == set(PAIRWISE)


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_value_and_gradient_equal_the_formula_in_float64(name, settings):
    given = candidates()
    expected = reference(name, settings, *given)
    assert np.isfinite(expected[0][[0, 2]]).all()
    assert_close(value_and_gradients(pairwise(name, **settings), *given), expected, 2e-5, 2e-5)


@each
def test_bfloat16(name):
    given = candidates(dtype=jnp.bfloat16)
    objective = pairwise(name)
    assert jax.eval_shape(objective, *given).dtype == jnp.bfloat16
    expected = reference(name, {}, *given)  # of the rounded scores: what is left is rounding inside
    scale = max(1.0, np.abs(expected[0][np.isfinite(expected[0])]).max())
    assert_close(value_and_gradients(objective, *given), expected, 0.03, 0.01 * scale)


@each
def test_a_weight_of_zero_is_absence(name):
    objective = pairwise(name)
    pos, pos_weight, neg, neg_weight = candidates()
    before = value_and_gradients(objective, pos, pos_weight, neg, neg_weight)
    extra = jnp.broadcast_to(jnp.asarray([1e30, -1e30, 0.5], pos.dtype), (A, 3))
    longer = lambda x, more: jnp.concatenate([x, more], axis=-1)
    nothing = jnp.zeros((A, 3))
    losses, d_pos, d_neg = value_and_gradients(
        objective, longer(pos, extra), longer(pos_weight, nothing), longer(neg, extra), longer(neg_weight, nothing)
    )
    assert not d_pos[:, P:].any()
    assert not d_neg[:, N:].any()
    assert_close([losses, d_pos[:, :P], d_neg[:, :N]], before, 1e-6, 1e-6)


@each
def test_the_order_of_candidates_does_not_matter(name):
    objective = pairwise(name)
    given = candidates()
    p, n = np.random.default_rng(1).permutation(P), np.random.default_rng(2).permutation(N)
    moved = (x[:, order] for x, order in zip(given, (p, p, n, n), strict=True))
    losses, d_pos, d_neg = value_and_gradients(objective, *moved)
    whole = value_and_gradients(objective, *given)
    assert_close([losses, d_pos, d_neg], [whole[0], whole[1][:, p], whole[2][:, n]], 1e-6, 1e-6)


@each
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_finite_at_extreme_scores(name, dtype):
    signs = np.array([[1, 1, -1, -1], [1, -1, 1, -1], [-1, -1, -1, -1]])
    pos, neg = (jnp.asarray(1e4 * s, dtype) for s in (signs, np.pad(-signs, ((0, 0), (0, 1)), constant_values=1)))
    pos_weight, neg_weight = jnp.full(pos.shape, 0.5, dtype), jnp.full(neg.shape, 2.0, dtype)
    actual = value_and_gradients(pairwise(name), pos, pos_weight, neg, neg_weight)
    assert all(np.isfinite(x).all() for x in actual)
    expected = reference(name, {}, pos, pos_weight, neg, neg_weight)
    np.testing.assert_allclose(actual[0], expected[0], rtol=1e-5 if dtype == jnp.float32 else 0.03, atol=1e-3)


@each
def test_finite_without_positives_or_negatives(name):
    objective = pairwise(name)
    pos, pos_weight, neg, neg_weight = candidates()
    side = jnp.asarray([[0.0], [1.0], [0.0]])  # no positives, no negatives, neither
    actual = value_and_gradients(objective, pos, side * jnp.ones_like(pos), neg, jnp.roll(side, -1, 0) * neg_weight)
    assert all(np.isfinite(x).all() for x in actual)
    for p, n in ((0, N), (P, 0)):  # absent altogether, and not only by weight
        actual = value_and_gradients(objective, pos[:, :p], pos_weight[:, :p], neg[:, :n], neg_weight[:, :n])
        assert all(np.isfinite(x).all() for x in actual)


@each
def test_vmap_broadcast_weights_and_axes(name):
    objective = pairwise(name)
    pos, pos_weight, neg, neg_weight = candidates()

    @jax.jit
    def many_ways(pos, neg):
        full = objective(pos, jnp.full((A, P), 0.5), neg, jnp.full((A, N), 2.0))
        shapes = [objective(pos, jnp.full(s, 0.5), neg, jnp.full(s, 2.0)) for s in ((), (1,), (A, 1))]
        mapped = jax.vmap(lambda p, n: objective(p, 0.5, n, 2.0))(pos, neg)
        batched = objective(pos[:, None], 0.5, neg[:, None], jnp.full((A, 1, 1), 2.0))[:, 0]
        inside = objective(pos.T[None], 0.5, neg[None], 2.0, pos_axis=-2)[0]  # positives in front of the anchors
        weighted = objective(pos.T, pos_weight.T, neg, neg_weight, pos_axis=0)
        return weighted, full, [*shapes, mapped, batched, inside]

    weighted, full, others = many_ways(pos, neg)
    for other in others:
        np.testing.assert_allclose(other, full, rtol=1e-6)
    expected = value_and_gradients(objective, pos, pos_weight, neg, neg_weight)[0]
    np.testing.assert_allclose(weighted, expected, rtol=1e-5)


@pytest.mark.parametrize(("name", "settings"), SETTINGS)
def test_negatives_in_blocks(name, settings):
    """The parts of a batch make its loss: for rings of devices."""
    objective = pairwise(name, **settings)
    pos, pos_weight, neg, neg_weight = candidates()

    def in_blocks(pos, pos_weight, neg, neg_weight):
        blocks = [(neg[:, part], neg_weight[:, part]) for part in (slice(0, 2), slice(2, 3), slice(3, N))]
        if objective.additive:
            return sum(objective(pos, pos_weight / 3, *block) for block in blocks)
        first, *others = (objective.folded(*block) for block in blocks)
        for other in others:
            first = objective.folded(*(jnp.concatenate(pair, -1) for pair in zip(first, other, strict=True)))
            assert first[0].shape == first[1].shape == (A, 1)
        return objective(pos, pos_weight, *first)

    whole = value_and_gradients(objective, pos, pos_weight, neg, neg_weight)
    assert_close(value_and_gradients(in_blocks, pos, pos_weight, neg, neg_weight), whole, 1e-5, 1e-5)
    nobody = value_and_gradients(in_blocks, pos, pos_weight, neg, jnp.zeros_like(neg_weight))
    assert all(np.isfinite(x).all() for x in nobody)


def test_an_unknown_objective_suggests_one():
    with pytest.raises(ValueError, match=r"infonse.*did you mean 'infonce'.*negative_sampling"):
        pairwise("infonse")
