"""One step: gather, differentiate with respect to the gathered rows, scatter; and many steps a dispatch."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import lax

from jaxembed.tables import RowOptimizer, gather, joined
from jaxembed.training.mesh import Layout
from jaxembed.training.method import Method, Params, Shard


class State(NamedTuple):
    """Everything a run needs to go on: parameters, optimiser states, the number of steps done and the run's key."""

    params: Params
    rows: dict[str, Any]
    net: Any
    step: jax.Array
    key: jax.Array


class Optimizers(NamedTuple):
    """How tables and the dense rest are updated, and with which learning rate at each step.

    own: of tables that are not updated as the others are.
    """

    rows: RowOptimizer
    net: optax.GradientTransformation
    schedule: Callable[[jax.Array], jax.Array]
    own: Mapping[str, RowOptimizer] = MappingProxyType({})

    def of(self, table: str) -> RowOptimizer:
        """How the rows of a table are updated."""
        return self.own.get(table, self.rows)


_ONE_DEVICE = Layout()


def init_state(method: Method, optimizers: Optimizers, constants: Mapping[str, Any], key: jax.Array) -> State:
    """A fresh state; `key` decides everything random about the run."""
    init_key, run_key = jax.random.split(key)
    params = method.init(init_key, constants)
    rows = {name: optimizers.of(name).init(table) for name, table in params.tables.items()}
    net = optimizers.net.init(params.net) if params.net is not None else None
    return State(params, rows, net, jnp.zeros((), jnp.int32), run_key)


def train_step(
    method: Method, optimizers: Optimizers, state: State, shard: Shard, place: jax.Array, layout: Layout = _ONE_DEVICE
) -> tuple[State, dict[str, jax.Array]]:
    """One update from the batch at `place` of a prepared shard; returns the batch's metrics (sums)."""
    batch_key, loss_key = jax.random.split(jax.random.fold_in(state.key, state.step))
    batch = layout.batch(method.batch(shard, place, batch_key))
    lookups = method.lookups(batch)
    rows = {name: gather(state.params.tables[table], ids) for name, (table, ids) in lookups.items()}

    def objective(rows, net):
        value, *rest = method.loss_in(shard, rows, net, state.params.kept, batch, loss_key)
        return value, rest

    (row_gradients, net_gradients), (metrics, kept) = jax.grad(objective, (0, 1), has_aux=True)(rows, state.params.net)
    rate = optimizers.schedule(state.step)
    tables, row_states = dict(state.params.tables), dict(state.rows)
    for table in tables:
        used = [name for name, (of, _) in lookups.items() if of == table]
        if not used:
            continue
        # All rows of a table in one scatter: with two, XLA copies the whole table in between.
        ids, gradients, of = layout.moves(*joined([(lookups[name][1], row_gradients[name]) for name in used]))
        update = optimizers.of(table).update
        tables[table], row_states[table] = update(tables[table], row_states[table], ids, gradients, rate, of)
    net, net_state = state.params.net, state.net
    if net is not None:
        updates, net_state = optimizers.net.update(net_gradients, net_state, net)
        net = optax.apply_updates(net, jax.tree.map(lambda update: -rate * update, updates))
    return State(Params(tables, net, method.keep(kept, net)), row_states, net_state, state.step + 1, state.key), metrics


class Total(NamedTuple):
    """A float32 sum that keeps what rounding lost: the exact sum to about 2^-48 (Neumaier 1974)."""

    sum: jax.Array
    lost: jax.Array

    def add(self, value: jax.Array) -> "Total":
        """The total with `value` added."""
        total = self.sum + value
        larger = jnp.abs(self.sum) >= jnp.abs(value)
        lost = jnp.where(larger, (self.sum - total) + value, (value - total) + self.sum)
        return Total(total, self.lost + lost)


def _zero_totals(shapes: dict[str, jax.ShapeDtypeStruct]) -> dict[str, Total]:
    return {name: Total(jnp.zeros(s.shape, jnp.float32), jnp.zeros(s.shape, jnp.float32)) for name, s in shapes.items()}


def train_steps(
    method: Method,
    optimizers: Optimizers,
    state: State,
    shard: Shard,
    first: jax.Array,
    last: jax.Array,
    loss_every: int = 1,
    layout: Layout = _ONE_DEVICE,
) -> tuple[State, dict[str, Total]]:
    """Steps at places `first` to `last - 1` of a prepared shard, in one dispatch; metrics are summed exactly.

    The bounds are traced, so that one compilation serves any number of steps. Metrics are those of the places that
    `loss_every` divides; with 0 there are none.
    """
    one = lambda place, state: train_step(method, optimizers, state, shard, place, layout)
    silent = lambda place, state: one(place, state)[0]

    def counted(place, carry):
        state, metrics = one(place, carry[0])
        return state, {name: total.add(metrics[name].astype(jnp.float32)) for name, total in carry[1].items()}

    if loss_every == 0:
        return lax.fori_loop(first, last, silent, state), {}
    carry = state, _zero_totals(jax.eval_shape(one, first, state)[1])
    if loss_every == 1:
        return lax.fori_loop(first, last, counted, carry)

    # A gradient does not need the loss that it is of: where the metrics are not used, XLA leaves out what only they need.
    # So steps come in groups of `loss_every`, the first of each counted, the others silent, where the group's place says so
    # and not where the dispatch begins. Two loops one after the other, of which the first runs once or not at all, since with
    # a `cond`, or a loss measured beside the steps, XLA copies whole tables.
    def group(number, carry):
        start = number * loss_every
        begin, end = jnp.maximum(start, first), jnp.minimum(start + loss_every, last)
        after_first = jnp.where(begin == start, jnp.minimum(start + 1, end), begin)
        state, totals = lax.fori_loop(begin, after_first, counted, carry)
        return lax.fori_loop(after_first, end, silent, state), totals

    return lax.fori_loop(first // loss_every, -(-last // loss_every), group, carry)


def evaluate_steps(
    method: Method, params: Params, shard: Shard, key: jax.Array, first: jax.Array, last: jax.Array
) -> dict[str, Total]:
    """Metrics of the batches at places `first` to `last - 1` without an update: the held-out loss."""

    def one(place):
        batch_key, loss_key = jax.random.split(jax.random.fold_in(key, place))
        batch = method.batch(shard, place, batch_key)
        rows = {name: gather(params.tables[table], ids) for name, (table, ids) in method.lookups(batch).items()}
        return method.loss_in(shard, rows, params.net, params.kept, batch, loss_key).metrics

    def body(place, totals):
        metrics = one(place)
        return {name: totals[name].add(metrics[name].astype(jnp.float32)) for name in totals}

    return lax.fori_loop(first, last, body, _zero_totals(jax.eval_shape(one, first)))
