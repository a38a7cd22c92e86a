import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxembed.scores import SCORES, TRIPLE_SCORES, cosine, normalized, weighted_sums


def cosine64(a, b):
    return a @ b / np.sqrt((a @ a) * (b @ b))


REFERENCES = {
    "dot": lambda a, b: a @ b,
    "cosine": cosine64,
    "negative_squared_distance": lambda a, b: -((a - b) @ (a - b)),
    "negative_distance": lambda a, b: -np.sqrt((a - b) @ (a - b)),
    "negative_manhattan": lambda a, b: -np.sum(np.abs(a - b)),
    "negative_modulus": lambda a, b: -np.sum(np.abs((a - b)[: len(a) // 2] + 1j * (a - b)[len(a) // 2 :])),
}
each = pytest.mark.parametrize("name", SCORES)


def vectors(*batch, P=3, Q=4, d=6):
    rng = np.random.default_rng(0)
    return rng.normal(size=(*batch, P, d)), rng.normal(size=(*batch, Q, d))


def all_pairs(name, a, b):
    out = np.empty((*a.shape[:-1], b.shape[-2]))
    for *batch, p, q in np.ndindex(*out.shape):
        out[(*batch, p, q)] = REFERENCES[name](a[(*batch, p)], b[(*batch, q)])
    return out


def test_every_score_has_a_reference():
    assert set(REFERENCES) == set(SCORES)


@each
@pytest.mark.parametrize(("batch", "P", "Q"), [((), 3, 4), ((1,), 3, 4), ((2, 3), 4, 3)])
def test_all_pairs_and_their_gradients_equal_float64(name, batch, P, Q):
    a, b = vectors(*batch, P=P, Q=Q)
    pull = np.random.default_rng(1).normal(size=(*a.shape[:-1], b.shape[-2]))
    score = SCORES[name]
    np.testing.assert_allclose(score(jnp.float32(a), jnp.float32(b)), all_pairs(name, a, b), rtol=1e-4, atol=1e-5)

    total = lambda a, b: jnp.sum(score(a, b) * jnp.float32(pull))
    gradients = jax.jit(jax.grad(total, (0, 1)))(jnp.float32(a), jnp.float32(b))
    h = 1e-6
    for which, gradient in enumerate(gradients):
        operands = [a.copy(), b.copy()]
        for at in np.ndindex(*operands[which].shape):
            values = []
            for sign in (1, -1):
                moved = [x.copy() for x in operands]
                moved[which][at] += sign * h
                values.append((all_pairs(name, *moved) * pull).sum())
            assert gradient[at] == pytest.approx((values[0] - values[1]) / (2 * h), rel=1e-3, abs=2e-4)


@each
def test_vmap_is_a_batch_dimension(name):
    a, b = (jnp.float32(x) for x in vectors(6))
    score = SCORES[name]
    np.testing.assert_allclose(jax.jit(jax.vmap(score))(a, b), jax.jit(score)(a, b), rtol=1e-6, atol=1e-6)
    gradients = jax.grad(lambda a, b: jnp.sum(jnp.sin(score(a, b))), (0, 1))
    for one, other in zip(jax.jit(jax.vmap(gradients))(a, b), jax.jit(gradients)(a, b), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@each
def test_gradients_keep_the_precision_of_their_operands(name):
    a, b = (jnp.asarray(x, jnp.bfloat16) for x in vectors())
    gradients = jax.eval_shape(jax.grad(lambda a, b: jnp.sum(SCORES[name](a, b)), (0, 1)), a, b)
    assert [g.dtype for g in gradients] == [jnp.bfloat16, jnp.bfloat16]


@pytest.mark.parametrize("name", ["negative_distance", "negative_manhattan", "negative_modulus"])
def test_points_that_are_the_same_have_a_distance_and_a_slope_of_zero(name):
    a = jnp.float32(vectors()[0])
    a = a.at[:, -1].set(0).at[:, 2].set(0)  # as padding is
    score = lambda a, b: SCORES[name](a[..., None, :], b[..., None, :])
    np.testing.assert_allclose(score(a, a), 0, atol=2e-3)
    for gradient in jax.grad(lambda a, b: jnp.sum(score(a, b)), (0, 1))(a, a):
        np.testing.assert_allclose(gradient, 0, atol=1e-6)


@pytest.mark.parametrize("name", TRIPLE_SCORES)
def test_a_fact_has_one_score_from_either_side(name):
    rng = np.random.default_rng(0)
    score = TRIPLE_SCORES[name]
    head, tail = (jnp.float32(rng.normal(size=(4, 6))) for _ in range(2))
    relation = jnp.float32(rng.normal(size=(4, score.width(6))))
    forward = score(head, relation, tail)
    back = score.compare(score.move(tail, relation, True)[:, None, :], head[:, None, :])[:, 0, 0]
    np.testing.assert_allclose(forward, back, rtol=1e-4, atol=1e-5)
    if score.between is not None:
        told = score.compare(score.between(head, tail)[:, None, :], relation[:, None, :])[:, 0, 0]
        np.testing.assert_allclose(told, forward, rtol=1e-4, atol=1e-5)


def test_zero_vectors_under_cosine():
    a, b = jnp.zeros((1, 5)), jnp.ones((2, 5))
    assert not normalized(a).any()
    assert not cosine(a, b).any()
    for gradient in jax.jit(jax.grad(lambda a, b: jnp.sum(cosine(a, b)), (0, 1)))(a, b):
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("norm", [1e-9, 5e-7, 1e-3, 1e6])
def test_a_short_vector_has_a_direction_too(norm):
    x, pull = (row.astype(np.float64) for row in np.random.default_rng(3).normal(size=(2, 1, 6)))
    x *= norm / np.linalg.norm(x)
    unit = x / np.linalg.norm(x)
    np.testing.assert_allclose(normalized(jnp.float32(x)), unit, rtol=1e-5)
    gradient = jax.grad(lambda x: jnp.sum(normalized(x) * jnp.float32(pull)))(jnp.float32(x))
    np.testing.assert_allclose(gradient * norm, pull - unit * (unit @ pull.T), rtol=1e-4, atol=1e-5)


def test_the_bound_is_on_the_norm_and_the_gradient_below_it_is_that_of_a_division():
    pull = jnp.float32([[3.0, -1.0, 2.0]])
    for x in (jnp.zeros((1, 3)), jnp.float32([[0.3, 0.0, 0.4]]) * 1e-3):
        of = lambda x: jnp.sum(normalized(x, 1e-2) * pull)
        np.testing.assert_allclose(normalized(x, 1e-2), x / 1e-2, rtol=1e-6)
        np.testing.assert_allclose(jax.grad(of)(x), pull / 1e-2, rtol=1e-5)


def test_cosine_overlooks_length():
    a, b = (jnp.float32(x) for x in vectors())
    np.testing.assert_allclose(cosine(100 * a, b), cosine(a, 0.01 * b), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(jnp.diagonal(cosine(a, 3 * a)), 1, rtol=1e-6)


@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_weighted_sums_and_their_gradients_equal_float64(batch):
    rng = np.random.default_rng(2)
    weights, rows, pull = (rng.normal(size=(*batch, *shape)) for shape in ((6, 3), (6, 5), (3, 5)))
    operands = jnp.float32(weights), jnp.float32(rows)
    np.testing.assert_allclose(weighted_sums(*operands), np.swapaxes(weights, -1, -2) @ rows, rtol=1e-5, atol=1e-5)

    total = lambda weights, rows: jnp.sum(weighted_sums(weights, rows) * jnp.float32(pull))
    to_weights, to_rows = jax.jit(jax.grad(total, (0, 1)))(*operands)
    np.testing.assert_allclose(to_weights, rows @ np.swapaxes(pull, -1, -2), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(to_rows, weights @ pull, rtol=1e-5, atol=1e-5)
