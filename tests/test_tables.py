"""Row optimisers against dense references in float64 that know nothing of rows that repeat."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxembed.tables import (
    LANE,
    ROW_OPTIMIZERS,
    Bags,
    adagrad,
    gather,
    joined,
    lazy_adam,
    padded,
    row_adagrad,
    scatter_add,
    sgd,
)

ROWS, D, WIDTH, RATE = 6, 5, 16, 0.1


def steps(count=6, seed=0):
    """Ids that repeat within a step, and leave rows out, with gradients whose padding is zero."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        ids = rng.choice([0, 1, 1, 2, 4, 5], 8)
        yield ids, np.pad(rng.normal(size=(8, D)), ((0, 0), (0, WIDTH - D)))


def start():
    return np.pad(np.random.default_rng(9).normal(size=(ROWS, D)), ((0, 0), (0, WIDTH - D)))


def dense_sgd():
    def update(table, ids, gradients):
        for i, g in zip(ids, gradients, strict=True):
            table[i] -= RATE * g

    return update


def dense_row_adagrad(width, initial=1.0, damping=1.0, eps=0.0):
    accumulator = np.full(ROWS, initial)

    def update(table, ids, gradients):
        for i, g in zip(ids, gradients, strict=True):
            accumulator[i] += damping * (g * g).sum() / width
        for i, g in zip(ids, gradients, strict=True):
            table[i] -= RATE * g / (np.sqrt(accumulator[i]) + eps)

    return update


def dense_adagrad(initial=1.0, eps=0.0):
    accumulator = np.full((ROWS, WIDTH), initial)

    def update(table, ids, gradients):
        for i, g in zip(ids, gradients, strict=True):
            accumulator[i] += g * g
        for i, g in zip(ids, gradients, strict=True):
            table[i] -= RATE * g / (np.sqrt(accumulator[i]) + eps)

    return update


def dense_adam(b1=0.9, b2=0.999, epsilon=1e-8):
    """Adam over the whole table, but rows without a gradient stay where they are."""
    mean, square, t = np.zeros((ROWS, WIDTH)), np.zeros((ROWS, WIDTH)), 0

    def update(table, ids, gradients):
        nonlocal t
        t += 1
        total = np.zeros((ROWS, WIDTH))
        for i, g in zip(ids, gradients, strict=True):
            total[i] += g
        mean[:] = b1 * mean + (1 - b1) * total
        square[:] = b2 * square + (1 - b2) * total**2
        move = mean / (1 - b1**t) / (np.sqrt(square / (1 - b2**t)) + epsilon)
        touched = np.isin(np.arange(ROWS), ids)
        table[touched] -= RATE * move[touched]

    return update


CASES = {
    "sgd": (sgd(), dense_sgd),
    "row_adagrad": (row_adagrad(dimension=D), lambda: dense_row_adagrad(D)),
    "row_adagrad with damping": (row_adagrad(dimension=D, damping=3.0), lambda: dense_row_adagrad(D, damping=3.0)),
    "row_adagrad of full width": (row_adagrad(0.1), lambda: dense_row_adagrad(WIDTH, 0.1)),
    "row_adagrad with eps": (row_adagrad(0.0, dimension=D, eps=0.1), lambda: dense_row_adagrad(D, 0.0, eps=0.1)),
    "adagrad": (adagrad(0.5), lambda: dense_adagrad(0.5)),
    "adagrad as PyTorch's": (adagrad(0.0, 1e-10), lambda: dense_adagrad(0.0, eps=1e-10)),
    "lazy_adam": (lazy_adam(), dense_adam),
    "lazy_adam of other decays": (lazy_adam(0.5, 0.9, 1e-3), lambda: dense_adam(0.5, 0.9, 1e-3)),
}


def run(optimizer, batches, table):
    table = jnp.asarray(table, jnp.float32)
    state, update = optimizer.init(table), jax.jit(optimizer.update)
    for ids, gradients in batches:
        table, state = update(table, state, jnp.int32(ids), jnp.float32(gradients), RATE)
    return np.asarray(table)


def test_every_optimizer_has_a_reference():
    assert {name.split(" ")[0] for name in CASES} == set(ROW_OPTIMIZERS)


@pytest.mark.parametrize("name", CASES)
def test_equals_the_dense_reference(name):
    optimizer, make_reference = CASES[name]
    expected, update = start(), make_reference()
    for ids, gradients in steps():
        update(expected, ids, gradients)
    actual = run(optimizer, steps(), start())
    np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=1e-5)  # 1 - b2^t loses digits in float32
    np.testing.assert_array_equal(actual[3], np.float32(start()[3]))  # never touched
    assert not actual[:, D:].any()  # padding stays zero


@pytest.mark.parametrize("name", CASES)
def test_shared_gradients_are_those_of_each_row(name):
    optimizer, plain, shared = CASES[name][0], start(), start()
    states = [optimizer.init(jnp.float32(table)) for table in (plain, shared)]
    for ids, gradients in steps():
        of = np.random.default_rng(len(ids)).integers(0, 3, len(ids))
        few, ids = jnp.float32(gradients[:3]), jnp.int32(ids)
        plain, states[0] = optimizer.update(jnp.float32(plain), states[0], ids, few[of], RATE)
        shared, states[1] = optimizer.update(jnp.float32(shared), states[1], ids, few, RATE, jnp.int32(of))
    np.testing.assert_allclose(shared, plain, rtol=1e-5, atol=1e-6)
    assert np.abs(np.asarray(shared)[:, :D] - start()[:, :D]).max() > 0.01


def test_bags_are_sums_of_rows_which_move_by_their_gradients():
    rng = np.random.default_rng(2)
    table, rows = rng.normal(size=(9, 4)), rng.normal(size=(3, 4))
    # Bag 0 has three rows, of which one comes twice, bag 1 two, bag 2 one; what weighs nothing is padding.
    bags = Bags(jnp.int32([[1, 2], [5, 2], [3, 1], [8, 0]]), jnp.float32([[0.5, 1], [2, 3], [1, 4], [0.25, 0]]),
                jnp.int32([0, 0, 1, 2]), 4)  # fmt: skip
    summed = [table[[1, 2, 5, 2]].T @ [0.5, 1, 2, 3], table[[3, 1]].T @ [1, 4], 0.25 * table[8], np.zeros(4)]
    np.testing.assert_allclose(gather(jnp.float32(table), bags), summed, rtol=1e-5)
    expected, gradients = table.copy(), rng.normal(size=(4, 4)) * [[1], [1], [1], [0]]  # nothing needs the empty bag
    for i, bag in [(1, 0), (2, 0), (5, 0), (2, 0), (3, 1), (1, 1), (8, 2)]:
        expected[i] -= RATE * gradients[bag]
    for i, row in zip((7, 1, 0), rows, strict=True):
        expected[i] -= RATE * row
    ids, moves, of = joined([(bags, jnp.float32(gradients)), (jnp.int32([7, 1, 0]), jnp.float32(rows))])
    actual, _ = sgd().update(jnp.float32(table), (), ids, moves, RATE, of)
    np.testing.assert_allclose(actual, expected, rtol=1e-5)
    assert joined([(jnp.int32([7, 1, 0]), jnp.float32(rows))])[2] is None


@pytest.mark.parametrize("name", CASES)
def test_the_order_of_rows_does_not_matter(name):
    order = np.random.default_rng(1).permutation(8)
    moved = run(CASES[name][0], ((ids[order], gradients[order]) for ids, gradients in steps()), start())
    np.testing.assert_allclose(moved, run(CASES[name][0], steps(), start()), rtol=1e-5, atol=1e-6)


def test_lazy_adam_on_rows_touched_every_step_is_adam():
    gradients = np.random.default_rng(0).normal(size=(5, ROWS, WIDTH))
    everywhere = ((np.arange(ROWS)[::-1], g[::-1]) for g in gradients)
    optimizer, expected = optax.adam(RATE), jnp.float32(start())
    state, update = optimizer.init(expected), jax.jit(optimizer.update)
    for gradient in gradients:
        updates, state = update(jnp.float32(gradient), state)
        expected += updates
    np.testing.assert_allclose(run(lazy_adam(), everywhere, start()), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("optimizer", "width"), [(adagrad(0.1), WIDTH), (row_adagrad(0.1), 1)], ids=["each", "row"])
def test_adagrad_on_rows_touched_every_step_is_optax_s(optimizer, width):
    gradients = np.random.default_rng(0).normal(size=(5, ROWS, width))
    everywhere = ((np.arange(ROWS)[::-1], g[::-1]) for g in gradients)
    dense, expected = optax.adagrad(RATE, 0.1, 0.0), jnp.float32(start()[:, :width])
    state = dense.init(expected)
    for gradient in gradients:
        updates, state = dense.update(jnp.float32(gradient), state)
        expected += updates
    np.testing.assert_allclose(run(optimizer, everywhere, start()[:, :width]), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [adagrad, row_adagrad])
def test_adagrad_that_would_divide_by_zero_is_refused(make):
    with pytest.raises(ValueError, match=r"cannot both be 0.*pass initial_accumulator=0 and eps=1e-10"):
        make(0.0)


@pytest.mark.parametrize("name", ROW_OPTIMIZERS)
def test_a_table_keeps_its_precision(name):
    optimizer, table = ROW_OPTIMIZERS[name](), jnp.zeros((ROWS, WIDTH), jnp.bfloat16)
    arguments = (table, optimizer.init(table), jnp.zeros(4, jnp.int32), jnp.ones((4, WIDTH), jnp.bfloat16), RATE)
    moved, state = jax.eval_shape(optimizer.update, *arguments)
    assert moved.dtype == jnp.bfloat16
    assert jax.tree.map(lambda x: x.dtype, state) == jax.tree.map(lambda x: x.dtype, arguments[1])


def test_gather_and_scatter():
    table, ids = jnp.arange(12.0).reshape(4, 3), jnp.asarray([[3, 0], [3, 1]])
    np.testing.assert_array_equal(gather(table, ids), np.asarray(table)[np.asarray(ids)])
    added = scatter_add(table, ids.reshape(-1), jnp.ones((4, 3)))
    np.testing.assert_array_equal(added - table, np.array([1, 1, 0, 2])[:, None] * np.ones(3))


@pytest.mark.parametrize("dimension", [1, 15, 16, 17, 100])
def test_padded(dimension):
    assert padded(dimension) % LANE == 0
    assert 0 <= padded(dimension) - dimension < LANE
