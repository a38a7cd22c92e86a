import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax

from jaxembed.tables import sgd
from jaxembed.training.method import Shard
from jaxembed.training.step import Optimizers, Total, init_state, train_step, train_steps

from .toy import Pull

SCHEDULE = optax.linear_schedule(0.05, 0.01, 6)
OPTIMIZERS = Optimizers(sgd(), optax.scale_by_adam(), SCHEDULE)


def start(method, tokens):
    source = method.source(np.asarray(tokens))
    shard = Shard(source.constants, source.piece(0))
    shard = shard.prepared(method.prepare(shard, jax.random.key(0)))
    return shard, init_state(method, OPTIMIZERS, source.constants, jax.random.key(1))


def test_steps_equal_the_gradient_of_whole_tables():
    method = Pull(net=True, shuffle=False)
    tokens = np.random.default_rng(0).integers(0, 5, 24)  # rows repeat within a batch, and one row is both sides
    shard, state = start(method, tokens)
    targets = jnp.asarray(shard.constants["targets"])
    rows, net = state.params.tables["rows"], state.params.net
    after, totals = jax.jit(lambda state: train_steps(method, OPTIMIZERS, state, shard, 0, 6))(state)

    def loss(rows, net, here):
        return 0.5 * jnp.sum((net["gain"] * rows[here] + rows[(here + 1) % 5] - targets[here]) ** 2)

    gradient, adam = jax.jit(jax.value_and_grad(loss, (0, 1))), optax.adam(SCHEDULE)
    adam_state, total = adam.init(net), 0.0
    for step in range(6):
        value, (d_rows, d_net) = gradient(rows, net, tokens[4 * step : 4 * step + 4])
        rows = rows - SCHEDULE(step) * d_rows
        updates, adam_state = adam.update(d_net, adam_state)
        net = optax.apply_updates(net, updates)
        total += float(value)
    np.testing.assert_allclose(after.params.tables["rows"], rows, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(after.params.net["gain"], net["gain"], rtol=1e-5)
    np.testing.assert_allclose(totals["loss"].sum + totals["loss"].lost, total, rtol=1e-5)
    assert totals["batches"].sum == after.step == 6


def test_many_steps_in_a_dispatch_are_single_steps():
    method = Pull(noise=1.0)
    shard, state = start(method, np.arange(24) % 5)
    many = jax.jit(lambda state, first, last: train_steps(method, OPTIMIZERS, state, shard, first, last)[0])
    one = jax.jit(lambda state, place: train_step(method, OPTIMIZERS, state, shard, place))
    single, drawn = state, []
    for place in range(6):
        single, metrics = one(single, place)
        drawn.append(float(metrics["loss"]))
    for split in (many(state, 0, 6), many(many(state, 0, 2), 2, 6)):
        np.testing.assert_allclose(split.params.tables["rows"], single.params.tables["rows"], rtol=1e-6, atol=1e-6)
    again = one(state._replace(step=jnp.int32(1)), 0)[1]["loss"]
    assert again != drawn[0]  # the same place at another step draws other noise


def test_a_total_keeps_what_float32_would_lose():
    rng = np.random.default_rng(0)
    values = np.float32(np.concatenate([[3e7], rng.uniform(0.5, 1.5, 100_000), [-2.9e7], rng.normal(0, 1e-3, 1000)]))
    zero = Total(jnp.float32(0), jnp.float32(0))
    add = jax.jit(lambda values: lax.scan(lambda total, value: (total.add(value), None), zero, values)[0])
    total = add(jnp.asarray(values))
    exact = math.fsum(values.tolist())
    assert abs(np.float64(total.sum) + np.float64(total.lost) - exact) < 1e-8 * abs(exact)
    assert abs(float(np.cumsum(values)[-1]) - exact) > 1e-4 * abs(exact)  # which a plain sum does not
