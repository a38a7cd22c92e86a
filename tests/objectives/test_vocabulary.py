import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from jaxembed.objectives.vocabulary import (
    Adaptive,
    adaptive_cross_entropy,
    adaptive_scored,
    cross_entropy,
    sampled_cross_entropy,
    scored,
)

N, D, V = 37, 6, 50


@pytest.fixture(scope="module")
def given():
    """Hidden vectors, vectors and biases of words, targets, weights; some rows have none."""
    rng = np.random.default_rng(0)
    values = [rng.normal(size=shape).astype(np.float32) for shape in ((N, D), (V, D), (V,))]
    weight = rng.random(N).astype(np.float32) * (rng.random(N) < 0.8)
    return (*map(jnp.asarray, values), jnp.asarray(rng.integers(0, V, N)), jnp.asarray(weight))


def reference(hidden, table, bias, target, weight):
    """Loss of each row, their weighted sum, and its derivatives, in float64."""
    hidden, table, bias, weight = (np.asarray(x, np.float64) for x in (hidden, table, bias, weight))
    scores = hidden @ table.T + bias
    losses = logsumexp(scores, axis=1) - scores[np.arange(N), target]
    slope = weight[:, None] * (np.exp(scores - logsumexp(scores, axis=1, keepdims=True)) - np.eye(V)[target])
    return losses, weight @ losses, (slope @ table, slope.T @ hidden, slope.sum(0)), scores


@pytest.mark.parametrize(("chunk", "in_order"), [(0, False), (8, False), (8, True), (37, False), (100, True)])
def test_values_and_gradients_are_those_of_all_scores_at_once(given, chunk, in_order):
    losses, total, slopes, scores = reference(*given)
    hidden, table, bias, target, weight = given
    of = lambda *learned: 3 * cross_entropy(*learned, target, weight, chunk, in_order)
    value, gradients = jax.jit(jax.value_and_grad(of, (0, 1, 2)))(hidden, table, bias)
    assert value == pytest.approx(3 * total, rel=1e-6)
    for ours, theirs in zip(gradients, slopes, strict=True):
        np.testing.assert_allclose(ours, 3 * theirs, rtol=1e-5, atol=1e-5)
    found, first = jax.jit(lambda: scored(hidden, table, bias, target, chunk))()
    np.testing.assert_allclose(found, losses, rtol=1e-5)
    np.testing.assert_array_equal(first, scores.argmax(1) == np.asarray(target))


def test_many_seeds_at_once_give_what_each_gives_alone(given):
    hidden, table, bias, target, weight = given
    two = jnp.stack([table, 2 * table])
    slope = jax.grad(lambda table: cross_entropy(hidden, table, bias, target, weight, 8))
    for ours, theirs in zip(jax.jit(jax.vmap(slope))(two), two, strict=True):
        np.testing.assert_allclose(ours, slope(theirs), rtol=1e-5, atol=1e-6)


def test_scores_of_any_size_stay_finite(given):
    hidden, table, bias, target, weight = given
    of = lambda hidden: cross_entropy(1e4 * hidden, table, bias, target, weight, 8)
    value, gradient = jax.jit(jax.value_and_grad(of))(hidden)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_half_precision_is_close(given):
    hidden, table, bias, target, weight = given
    slope = jax.grad(lambda hidden: cross_entropy(hidden, table, bias, target, weight, 8))
    half = slope(hidden.astype(jnp.bfloat16))
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(np.float32), slope(hidden), atol=0.05)


def test_all_scores_of_8192_tokens_and_30000_words_never_stand_in_memory():
    shapes = [jax.ShapeDtypeStruct(shape, np.float32) for shape in ((8192, 64), (30_000, 64), (30_000,), (8192,))]
    target = jax.ShapeDtypeStruct((8192,), np.int32)

    def plain(hidden, table, bias, weight, target):
        scores = hidden @ table.T + bias[None]
        own = jnp.take_along_axis(scores, target[:, None], 1)[:, 0]
        return jnp.sum(weight * (jax.nn.logsumexp(scores, axis=1) - own))

    ours = lambda hidden, table, bias, weight, target: cross_entropy(hidden, table, bias, target, weight)
    temporary = lambda f: (
        jax.jit(jax.value_and_grad(f, (0, 1, 2))).lower(*shapes, target).compile().memory_analysis().temp_size_in_bytes
    )
    assert temporary(ours) <= temporary(plain) / 6


def test_a_sample_of_all_words_with_its_logq_is_the_full_softmax_on_average(given):
    hidden, table, bias, target, weight = given
    rng = np.random.default_rng(1)
    chance = rng.dirichlet(np.ones(V)).astype(np.float32)
    drawn = jnp.asarray(rng.choice(V, 400_000, p=chance / chance.sum(dtype=np.float64)))
    of = lambda hidden: sampled_cross_entropy(hidden, table, bias, target, weight, drawn, jnp.log(chance))
    value, slope = jax.jit(jax.value_and_grad(of))(hidden)
    _, total, slopes, _ = reference(*given)
    assert value == pytest.approx(total, rel=5e-3)
    np.testing.assert_allclose(slope, slopes[0], atol=0.03)


def test_a_sampled_target_is_no_negative_of_itself(given):
    hidden, table, bias, target, _ = given
    drawn = jnp.full(5, target[0])
    one = sampled_cross_entropy(
        hidden[:1], table, bias, target[:1], jnp.ones(1), drawn, jnp.full(V, -jnp.log(float(V)))
    )
    assert one == pytest.approx(0, abs=1e-6)


@pytest.fixture(scope="module")
def adaptive():
    rng = np.random.default_rng(2)
    order = rng.permutation(V).astype(np.int32)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    tails = ((draw(D, 3), draw(20, 3)), (draw(D, 2), draw(20, 2)))
    return Adaptive((10, 30), jnp.asarray(order), jnp.asarray(np.argsort(order)), draw(2, D), tails)


def probabilities(adaptive, hidden, table, bias):
    """The probabilities of all words by the adaptive softmax, float64 `[n, v]`, in the order of the words' ids."""
    softmax = lambda x: np.exp(x - logsumexp(x, axis=1, keepdims=True))
    hidden, table, bias = (np.asarray(x, np.float64) for x in (hidden, table, bias))
    order = np.asarray(adaptive.order)
    frequent = np.concatenate([table[order[:10]], np.asarray(adaptive.clusters, np.float64)])
    head = softmax(hidden @ frequent.T + np.concatenate([bias[order[:10]], [0, 0]]))
    parts = [head[:, :10]]
    for i, (lower, words) in enumerate(adaptive.tails):
        own = np.asarray(hidden @ np.asarray(lower, np.float64)) @ np.asarray(words, np.float64).T
        parts.append(head[:, 10 + i, None] * softmax(own + bias[order[10 + 20 * i : 30 + 20 * i]]))
    out = np.empty((len(hidden), V))
    out[:, order] = np.concatenate(parts, axis=1)
    return out


def test_the_adaptive_softmax_is_a_distribution_and_trains_what_it_is_measured_by(given, adaptive):
    hidden, table, bias, target, weight = given
    chances = probabilities(adaptive, hidden, table, bias)
    np.testing.assert_allclose(chances.sum(1), 1)
    wanted = -np.log(chances[np.arange(N), target])
    found, _ = jax.jit(lambda: adaptive_scored(hidden, table, bias, target, adaptive, 8))()
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
    total = jax.jit(lambda: adaptive_cross_entropy(hidden, table, bias, target, weight, adaptive, 8))()
    assert total == pytest.approx(np.asarray(weight, np.float64) @ wanted, rel=1e-5)


def test_a_word_is_first_if_it_is_the_most_likely_of_all(given, adaptive):
    hidden, table, bias, _, _ = given
    tails = tuple((3 * lower, words) for lower, words in adaptive.tails)
    adaptive = adaptive._replace(clusters=2 * adaptive.clusters, tails=tails)
    chances = probabilities(adaptive, hidden, table, bias)
    best, second = np.argsort(chances, axis=1)[:, :-3:-1].T
    first = jax.jit(lambda target: adaptive_scored(hidden, table, bias, target, adaptive, 8)[1])
    assert first(best).all()
    assert not first(second).any()
    # It is not always in the most likely of frequent words and clusters, and may be in any of these.
    cluster = lambda word: (np.asarray(adaptive.rank)[word, None] >= (10, 30)).sum(-1)
    sums = np.stack([chances[:, cluster(np.arange(V)) == i].sum(1) for i in (1, 2)], axis=1)
    frequent = chances[:, np.asarray(adaptive.order)[:10]].max(1)
    likely = np.where(sums.max(1) > frequent, 1 + sums.argmax(1), 0)
    assert set(cluster(best)) == {0, 1, 2}
    assert (cluster(best) != likely).any()


def test_the_gradient_of_the_adaptive_softmax_is_its_derivative(given, adaptive):
    hidden, table, bias, target, weight = given
    of = lambda h: (
        -np.asarray(weight, np.float64) @ np.log(probabilities(adaptive, h, table, bias)[np.arange(N), target])
    )
    slope = jax.jit(jax.grad(lambda h: adaptive_cross_entropy(h, table, bias, target, weight, adaptive, 8)))(hidden)
    step = np.random.default_rng(3).normal(size=hidden.shape)
    sides = [of(np.asarray(hidden, np.float64) + h * step) for h in (1e-5, -1e-5)]
    assert np.sum(np.asarray(slope) * step) == pytest.approx((sides[0] - sides[1]) / 2e-5, rel=1e-4)
