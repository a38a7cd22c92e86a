"""Row-sparse embedding tables: gather the rows a batch touches, and scatter what an optimiser makes of their gradients.

A step differentiates with respect to the *gathered* rows, so its cost does not depend on the size of a table. Optimisers
follow optax's habits (`init`, `update`; the learning rate is given at each step) but see `ids [R]` and `gradients [R, d]`
only. An id may stand several times among them: its gradients add up.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

# A multiple keeps rows on borders of half a cache line: XLA's CPU scatter is then a third faster than with rows that begin
# anywhere, and a width of 100 is stored in 104 columns, a tenth faster than in the 112 of whole cache lines.
LANE = 8  # columns


class RowOptimizer(NamedTuple):
    """A row-sparse optimiser: two pure functions.

    `init(table [n, d]) -> state`;
    `update(table, state, ids [R], gradients [R, d], learning_rate, of) -> (table, state)`, where with `of [R]` the gradient
    of `ids[i]` is `gradients[of[i]]`.
    """

    init: Callable[[jax.Array], Any]
    update: Callable[..., tuple[jax.Array, Any]]


class Bags(NamedTuple):
    """Sums of rows that are looked up in place of rows: bag b is the sum over `of == b` of `weights * table[ids]`.

    ids, weights: `[P, K]`; `of [P]` are numbers of bags, below `number`, in ascending order. What weighs nothing is padding, and
    of no bag; the last bag stays empty. Each row of a bag moves by the whole gradient of the bag, not by its share of it: that is
    the rule of fastText (Bojanowski et al. 2017), whose vectors, means of two dozen rows, would else hardly move.
    """

    ids: jax.Array
    weights: jax.Array
    of: jax.Array
    number: int

    @property
    def size(self) -> int:
        """How many rows are looked up, padding among them."""
        return self.ids.size


def padded(dimension: int) -> int:
    """`dimension` rounded up to whole lanes of 8 columns: the width that a table is stored with."""
    return -(-dimension // LANE) * LANE


def lanes(table: jax.Array) -> jax.Array:
    """`table [n, d]` as it is stored, padded with columns of zeros to whole lanes."""
    return jnp.pad(table, ((0, 0), (0, padded(table.shape[1]) - table.shape[1])))


def gather(table: jax.Array, ids: jax.Array | Bags) -> jax.Array:
    """Rows of `table [n, d]` at `ids [...]`: `[..., d]`; bags `[number, d]`. Ids must lie in `range(n)`; this is not checked."""
    if isinstance(ids, Bags):
        bags = jnp.zeros((ids.number, table.shape[1]), table.dtype)
        return scatter_add(bags, ids.of, weighted_rows(table, ids.ids, ids.weights))
    return table.at[ids].get(mode="promise_in_bounds")


def weighted_rows(table: jax.Array, ids: jax.Array, weights: jax.Array) -> jax.Array:
    """The sums over K of `weights [P, K]` times the rows of `table [n, d]` at `ids [P, K]`: `[P, d]`."""
    # Added up one by one, the rows are never all in memory: a third of the time of a product.
    parts = [gather(table, ids[:, k]) * weights[:, k, None] for k in range(ids.shape[1])]
    return sum(parts[1:], start=parts[0])


def joined(parts: Sequence[tuple[jax.Array | Bags, jax.Array]]) -> tuple[jax.Array, jax.Array, jax.Array | None]:
    """Several lookups of a table, each with its gradients, as one: ids `[R]`, gradients `[n, d]`, `of [R]` if any are bags."""
    gradients = [rows.reshape(-1, rows.shape[-1]) for _, rows in parts]
    ids = [part.ids.reshape(-1) if isinstance(part, Bags) else part.reshape(-1) for part, _ in parts]
    of, start = [], 0
    for (part, _), rows in zip(parts, gradients, strict=True):
        own = jnp.arange(len(rows), dtype=jnp.int32)
        if isinstance(part, Bags):  # padding moves by the gradient of the empty bag, which is 0
            own = jnp.where(part.weights == 0, part.number - 1, part.of[:, None]).reshape(-1)
        of.append(own + start)
        start += len(rows)
    bags = any(isinstance(part, Bags) for part, _ in parts)
    return concatenated(ids), concatenated(gradients), concatenated(of) if bags else None


def concatenated(parts: Sequence[jax.Array]) -> jax.Array:
    """Arrays one after the other; one alone as it is."""
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts)


def spread(values: jax.Array, of: jax.Array | None) -> jax.Array:
    """`values [n, ...]` as they are shared: `values[of]`."""
    return values if of is None else gather(values, of)


def scatter_add(table: jax.Array, ids: jax.Array, rows: jax.Array) -> jax.Array:
    """Adds `rows [R, ...]` to `table [n, ...]` at `ids [R]`. Ids must lie in `range(n)`; this is not checked."""
    return table.at[ids].add(rows.astype(table.dtype), mode="promise_in_bounds")


def sgd() -> RowOptimizer:
    """Plain gradient descent, the optimiser of word2vec; no state."""

    def update(table, state, ids, gradients, learning_rate, of=None):
        return scatter_add(table, ids, -learning_rate * spread(gradients, of)), state

    return RowOptimizer(lambda table: (), update)


def row_adagrad(
    initial: float = 1.0, dimension: int | None = None, damping: float = 1.0, eps: float = 0.0
) -> RowOptimizer:
    """Adagrad with one accumulator per row: the sum of the mean squares of its gradients, on top of `initial`.

    Gradients that meet in one step are accumulated one by one, so a word that is frequent in a large batch is damped at once.
    `dimension` is the true width of rows that are padded with zeros; every square counts `damping` times; `eps` is added to the
    root. One of `initial` and `eps` must be above 0. State: float32 `[n]`.
    Source: Duchi et al. 2011, with the diagonal averaged over a row (as in fbgemm's rowwise_adagrad).
    """
    _check_start(initial, eps)

    def init(table):
        return jnp.full(table.shape[0], initial, jnp.float32)

    def update(table, accumulator, ids, gradients, learning_rate, of=None):
        width = dimension or table.shape[1]
        gradients = gradients.astype(jnp.float32)
        squares = jnp.sum(gradients * gradients, -1) * (damping / width)
        accumulator = scatter_add(accumulator, ids, spread(squares, of))
        scale = -learning_rate * _inverse_root(gather(accumulator, ids), eps)
        return scatter_add(table, ids, scale[:, None] * spread(gradients, of)), accumulator

    return RowOptimizer(init, update)


def adagrad(initial: float = 1.0, eps: float = 0.0) -> RowOptimizer:
    """Adagrad with an accumulator for each element (Duchi et al. 2011): the optimiser of GloVe. State: float32 `[n, d]`.

    Accumulators begin at `initial`, and `eps` is added to their roots (PyTorch's default is 0 and 1e-10). One of the two must be
    above 0: an element whose gradient was always zero, as that of a padded column, would else be divided by zero.
    """
    _check_start(initial, eps)

    def init(table):
        return jnp.full(table.shape, initial, jnp.float32)

    def update(table, accumulator, ids, gradients, learning_rate, of=None):
        gradients = spread(gradients.astype(jnp.float32), of)
        accumulator = scatter_add(accumulator, ids, gradients * gradients)
        scale = _inverse_root(gather(accumulator, ids), eps)
        return scatter_add(table, ids, -learning_rate * gradients * scale), accumulator

    return RowOptimizer(init, update)


def _check_start(initial: float, eps: float) -> None:
    if initial <= 0 and eps <= 0:
        raise ValueError(
            "Adagrad divides by the root of its accumulators plus eps: initial_accumulator and eps cannot both be 0. For "
            "PyTorch's Adagrad pass initial_accumulator=0 and eps=1e-10"
        )


def _inverse_root(accumulator: jax.Array, eps: float) -> jax.Array:
    return 1 / (jnp.sqrt(accumulator) + eps) if eps else lax.rsqrt(accumulator)


class AdamState(NamedTuple):
    """State of `lazy_adam`: moments `[n, d]`, and the step at which each row was last touched."""

    mean: jax.Array
    square: jax.Array
    seen: jax.Array
    step: jax.Array


def lazy_adam(b1: float = 0.9, b2: float = 0.999, epsilon: float = 1e-8) -> RowOptimizer:
    """Adam on the rows a step touches, whose moments first catch up with the steps that they missed.

    A row missed for k steps decays by `b1^k` and `b2^k`, exactly as dense Adam would have made it decay; what is left out is
    the movement that dense Adam makes on rows without a gradient (Kingma and Ba 2015; TensorFlow's LazyAdam omits the
    decay too). Gradients of an id that stands several times are summed before they are squared.
    """

    def init(table):
        zeros = jnp.zeros(table.shape, jnp.float32)
        return AdamState(zeros, zeros, jnp.zeros(table.shape[0], jnp.int32), jnp.zeros((), jnp.int32))

    def update(table, state, ids, gradients, learning_rate, of=None):
        gradients = spread(gradients, of)
        step = state.step + 1
        # The first occurrence of each id stands for all: one row of work per id, however often it is repeated.
        order = jnp.argsort(ids)
        ordered = ids[order]
        fresh = jnp.concatenate([jnp.ones(1, bool), ordered[1:] != ordered[:-1]])
        group = jnp.cumsum(fresh) - 1
        total = jax.ops.segment_sum(gradients.astype(jnp.float32)[order], group, num_segments=len(ids))
        rows = jnp.full(len(ids), table.shape[0], ids.dtype).at[group].set(ordered)  # unused ones fall outside
        at = lambda x: x.at[rows].get(mode="fill", fill_value=0)
        put = lambda x, value: x.at[rows].set(value.astype(x.dtype), mode="drop")
        missed = (step - at(state.seen)).astype(jnp.float32)[:, None]
        mean = at(state.mean) * b1**missed + (1 - b1) * total
        square = at(state.square) * b2**missed + (1 - b2) * total * total
        t = step.astype(jnp.float32)
        move = (mean / (1 - b1**t)) / (jnp.sqrt(square / (1 - b2**t)) + epsilon)
        table = table.at[rows].add((-learning_rate * move).astype(table.dtype), mode="drop")
        seen = put(state.seen, jnp.broadcast_to(step, rows.shape))
        return table, AdamState(put(state.mean, mean), put(state.square, square), seen, step)

    return RowOptimizer(init, update)


ROW_OPTIMIZERS: dict[str, Callable[..., RowOptimizer]] = {
    "sgd": sgd,
    "row_adagrad": row_adagrad,
    "adagrad": adagrad,
    "lazy_adam": lazy_adam,
}
