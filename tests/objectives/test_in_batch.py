"""Losses of a batch against the papers' formulas, written as loops in float64."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxembed.objectives import Same, contrast, in_batch, pairwise, two_towers, two_views
from jaxembed.scores import dot, negative_squared_distance

B, D, T = 6, 4, 0.3
LABELS = np.array([0, 1, 0, 2, -1, -1])  # below zero: like no other
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(2, B, D))


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def logsum(values):
    return np.logaddexp.reduce(np.asarray(values, np.float64))


def assert_near(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-5)


def jitted(function, *arrays):
    return jax.jit(function)(*(jnp.float32(x) for x in arrays))


def nt_xent(z, labels=None):
    # Chen et al. 2020, eq. 1, the sum over k != i; without those of the anchor's label, but its other view
    s, n, losses = unit(z) @ unit(z).T / T, len(z) // 2, []
    for i in range(2 * n):
        partner = (i + n) % (2 * n)
        others = [
            k for k in range(2 * n)
            if k == partner or (k != i and (labels is None or labels[i % n] < 0 or labels[k % n] != labels[i % n]))
        ]  # fmt: skip
        losses.append(logsum(s[i, others]) - s[i, partner])
    return losses


def test_two_views_are_nt_xent():
    both = np.concatenate([X, Y])
    # InfoNCE counts the positive once by itself, softmax among its candidates: the same.
    for name in ("infonce", "softmax"):
        objective = pairwise(name, temperature=T)
        assert_near(jitted(lambda a, b, o=objective: two_views(o, a, b), X, Y), nt_xent(both))
        masked = jitted(lambda a, b, o=objective: two_views(o, a, b, labels=jnp.asarray(LABELS)), X, Y)
        assert_near(masked, nt_xent(both, LABELS))
    assert np.abs(np.subtract(nt_xent(both, LABELS), nt_xent(both))).max() > 0.01


def test_short_vectors_are_compared_by_their_direction():
    losses = jitted(lambda a, b: two_views(pairwise("infonce", temperature=T), a, b), 5e-7 * unit(X), 5e-7 * unit(Y))
    assert_near(losses, nt_xent(np.concatenate([X, Y])))


def test_supervised_views_are_supcon():
    # Khosla et al. 2020, eq. 2: positives share the label; everybody but the anchor is in the denominator.
    z, labels = unit(np.concatenate([X, Y])), np.concatenate([LABELS, LABELS])
    s, expected = z @ z.T / T, []
    for i in range(2 * B):
        positives = [p for p in range(2 * B) if p != i and labels[p] == labels[i] >= 0]
        total = logsum([s[i, k] for k in range(2 * B) if k != i])
        expected.append(np.mean([total - s[i, p] for p in positives]) if positives else 0.0)
    how = {"labels": jnp.asarray(LABELS), "supervised": True}
    for chunk in (0, 5):
        loss = lambda a, b, c=chunk: two_views(pairwise("softmax", temperature=T), a, b, chunk=c, **how)
        assert_near(jitted(loss, X, Y), expected)


def test_several_relations_of_positives_are_their_union():
    pictures = np.array([0, 1, 2, 2, 4, 0])
    same = (LABELS[:, None] == LABELS) & (LABELS[:, None] >= 0)
    relations = [Same(*(jnp.asarray(ids),) * 2) for ids in (LABELS, pictures)]
    whole = jnp.asarray(same | (pictures[:, None] == pictures))
    for name in ("negative_sampling", "softmax"):
        for chunk in (0, 4):
            of = lambda positive, n=name, c=chunk: jitted(
                lambda a, b: two_towers(pairwise(n), a, b, positive=positive, scale=7.0, chunk=c), X, Y
            )
            assert_near(of(relations), of(whole))
    with pytest.raises(ValueError, match="positive must be at least one relation"):
        contrast(pairwise("softmax"), jnp.float32(X), jnp.float32(Y), positive=[])


def test_two_towers_are_clip():
    # Radford et al. 2021, figure 3: the mean of the cross-entropies of rows and of columns
    s = 7.0 * unit(X) @ unit(Y).T
    expected = [(logsum(s[i]) + logsum(s[:, i])) / 2 - s[i, i] for i in range(B)]
    assert_near(jitted(lambda a, b: two_towers(pairwise("infonce"), a, b, scale=7.0), X, Y), expected)
    # The same text, or the same picture: neither positive nor negative
    pictures = np.array([0, 1, 2, 3, 4, 0])
    alike = (LABELS[:, None] == LABELS) & (LABELS[:, None] >= 0) | (pictures[:, None] == pictures)
    kept = np.where(alike & ~np.eye(B, dtype=bool), -np.inf, s)
    expected = [(logsum(kept[i]) + logsum(kept[:, i])) / 2 - s[i, i] for i in range(B)]
    for name in ("infonce", "softmax"):
        ids = [jnp.asarray(LABELS), jnp.asarray(pictures)]
        assert_near(jitted(lambda a, b, n=name, i=ids: two_towers(pairwise(n), a, b, scale=7.0, ids=i), X, Y), expected)


def test_logistic_with_scale_and_bias_is_siglip():
    # Zhai et al. 2023, eq. 2 and algorithm 1: z = 1 on the diagonal, else -1; the sum over pairs, divided by the batch
    z, t, bias = 2 * np.eye(B) - 1, 1.7, -2.5
    expected = np.logaddexp(0, -z * (math.exp(t) * unit(X) @ unit(Y).T + bias)).sum() / B
    siglip = lambda a, b, t, bias: jnp.mean(
        two_towers(pairwise("negative_sampling"), a, b, scale=jnp.exp(t), bias=bias, chunk=4)
    )
    loss, gradient = jax.jit(jax.value_and_grad(siglip, (2, 3)))(jnp.float32(X), jnp.float32(Y), t, bias)
    assert_near(loss, expected)
    of = lambda t, bias: np.logaddexp(0, -z * (math.exp(t) * unit(X) @ unit(Y).T + bias)).sum() / B
    h = 1e-5
    assert_near(gradient[0], (of(t + h, bias) - of(t - h, bias)) / (2 * h))
    assert_near(gradient[1], (of(t, bias + h) - of(t, bias - h)) / (2 * h))


def test_other_objectives_of_a_batch():
    s, cos = X @ Y.T, unit(X) @ unit(Y).T
    far = ((X[:, None] - Y) ** 2).sum(-1)
    rest = [[j for j in range(B) if j != i] for i in range(B)]
    expected = {
        "dcl": [logsum(cos[i, rest[i]]) - cos[i, i] for i in range(B)],  # Yeh et al. 2022, eq. 6
        "spectral": [-2 * s[i, i] + (s[i, rest[i]] ** 2).mean() for i in range(B)],  # HaoChen et al. 2021, eq. 6
        "triplet": [np.maximum(far[i, i] - far[i, rest[i]] + 0.2, 0).sum() for i in range(B)],  # Schroff et al. 2015
        "align_uniform": [
            (d := ((unit(X)[i] - unit(Y)) ** 2).sum(-1))[i] + math.log(np.exp(-2 * d[rest[i]]).mean()) for i in range(B)
        ],
    }
    scores = {"spectral": {"score": dot}, "triplet": {"score": negative_squared_distance}}
    for name, losses in expected.items():
        how = scores.get(name, {})
        assert_near(jitted(lambda a, b, n=name, h=how: contrast(pairwise(n), a, b, **h), X, Y), losses)


def test_places_and_chances_of_candidates():
    """A queue of more candidates than anchors, positives anywhere or nowhere, and candidates that come more often."""
    queue = np.concatenate([Y, X[:3] + 1, -Y])
    place = np.array([7, 0, -1, 12, 5, 5])
    q = RNG.uniform(0.01, 0.2, len(queue))
    s, Q = unit(X) @ unit(queue).T / T, len(queue)
    expected = []
    for i, p in enumerate(place):
        against = logsum([s[i, k] - math.log(Q * q[k]) for k in range(Q) if k != p])
        expected.append(np.logaddexp(against, s[i, p]) - s[i, p] if p >= 0 else 0.0)
    how = {"positive": jnp.asarray(place), "log_q": jnp.log(jnp.float32(q))}
    loss = lambda name, c: lambda a, b: contrast(pairwise(name, temperature=T), a, b, chunk=c, **how)
    for chunk in (0, 4):
        assert_near(jitted(loss("infonce", chunk), X, queue), expected)
    # Of softmax the correction of the positive's own score (Yi et al. 2019, eq. 3) is a constant: positives are at 1 / q too.
    corrected = s - np.log(Q * q)
    yi = [logsum(corrected[i]) - corrected[i, p] if p >= 0 else 0.0 for i, p in enumerate(place)]
    shift = np.where(place >= 0, np.log(Q * q[place]), 0)
    assert_near(jitted(loss("softmax", 0), X, queue), np.subtract(yi, shift))


def test_the_four_arrays():
    labels_a, labels_b = np.array([0, 1, 2, -1]), np.array([1, 0, 1, -1, 3])
    hidden, blurred = np.zeros((2, 4, 5), bool)
    hidden[1, 0] = blurred[0, 0] = blurred[2, 3] = blurred[1, 2] = True
    a, b = RNG.normal(size=(4, D)), RNG.normal(size=(5, D))
    positive = (labels_a[:, None] == labels_b) & (labels_a[:, None] >= 0) & ~hidden
    assert positive.sum(1).tolist() == [1, 1, 0, 0]
    how = {"positive": Same(*map(jnp.asarray, (labels_a, labels_b))), "alike": [jnp.asarray(blurred)]}
    how["exclude"] = jnp.asarray(hidden)
    for everybody in (False, True):
        pos, pos_weight, neg, neg_weight = in_batch(
            jnp.float32(a), jnp.float32(b), score=dot, scale=2.0, bias=1.0, everybody=everybody, **how
        )
        for scores in (pos, neg):
            np.testing.assert_allclose(scores, 2 * a @ b.T + 1, rtol=1e-5, atol=1e-5)
        np.testing.assert_array_equal(pos_weight, positive)  # an anchor's positives share a weight of one
        out = hidden | (blurred & ~positive) | (False if everybody else positive)
        np.testing.assert_array_equal(neg_weight, ~out)


def test_half_precision_is_compared_in_float32():
    a, b = (jnp.asarray(x, jnp.bfloat16) for x in (X, Y))
    loss = contrast(pairwise("infonce"), a, b)
    assert loss.dtype == jnp.float32
    np.testing.assert_array_equal(loss, contrast(pairwise("infonce"), jnp.float32(a), jnp.float32(b)))


@pytest.mark.parametrize(
    "name",
    ["infonce", pytest.param("softmax", marks=pytest.mark.slow), pytest.param("bpr", marks=pytest.mark.slow)],
)
def test_chunks_give_what_the_whole_gives(name):
    def losses(chunk):
        def total(a, b, scale):
            ids = jnp.asarray(LABELS)
            both = two_towers(pairwise(name), a, b, ids=ids, scale=scale, chunk=chunk)
            return jnp.sum(both * jnp.arange(1, B + 1)), both

        return jax.jit(jax.grad(total, (0, 1, 2), has_aux=True))(jnp.float32(X), jnp.float32(Y), 3.0)

    for ours, theirs in zip(*map(jax.tree.leaves, (losses(4), losses(0))), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_bad_batches():
    a = jnp.ones((4, 3))
    objective = pairwise("infonce")
    with pytest.raises(ValueError, match="a batch of one has no negatives"):
        two_towers(objective, a[:1], a[:1])
    with pytest.raises(ValueError, match="at least two rows"):
        two_views(objective, a[:1], a[:1])
    with pytest.raises(ValueError, match="one dimension"):
        contrast(objective, a, jnp.ones((4, 2)))
    with pytest.raises(ValueError, match="name `positive`"):
        contrast(objective, a, a[:2])
    with pytest.raises(ValueError, match="whole numbers, not float32"):
        contrast(objective, a, a, positive=jnp.ones(4))
    with pytest.raises(ValueError, match=r"alike must be Same\(\[4\], \[3\]\) or of shape \[4, 3\], not"):
        contrast(objective, a, a[:3], positive=jnp.zeros(4, int), alike=Same(jnp.ones(4), jnp.ones(4)))
    with pytest.raises(ValueError, match="needs labels"):
        two_views(objective, a, a, supervised=True)
    with pytest.raises(ValueError, match="needs a Huffman path"):
        contrast(pairwise("hierarchical_softmax"), a, a)
    with pytest.raises(ValueError, match="vectors of one shape"):
        two_towers(objective, a, a[:3])
