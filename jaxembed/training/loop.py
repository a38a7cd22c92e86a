"""The loop: passes over pieces of data, many steps a dispatch, one seed or many at once."""

import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxembed.tables import ROW_OPTIMIZERS
from jaxembed.training.method import Method, Params, Shard, Source
from jaxembed.training.step import Optimizers, State, evaluate_steps, init_state, train_steps


class Diverged(FloatingPointError):
    """Training met a number that is not finite; what was saved before stands as it was."""


@dataclass(frozen=True)
class Training:
    """How a method is trained.

    epochs: passes over the data.
    learning_rate: step size at the start.
    final_rate: share of it that is left at the end of a linear decay.
    optimizer: of the tables, one of `jaxembed.tables.ROW_OPTIMIZERS`.
    initial_accumulator: what Adagrad's accumulators start from (other optimisers have none).
    reports: how often the loss is reported over the whole run.
    """

    epochs: int = 5
    learning_rate: float = 0.3
    final_rate: float = 1e-4
    optimizer: str = "row_adagrad"
    initial_accumulator: float = 1.0
    reports: int = 100

    def __post_init__(self):
        if self.epochs < 1:
            raise ValueError(f"epochs must be at least 1, not {self.epochs}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be above 0, not {self.learning_rate}")
        if self.optimizer not in ROW_OPTIMIZERS:
            raise ValueError(f"unknown optimizer {self.optimizer!r}: choose one of {', '.join(ROW_OPTIMIZERS)}")

    def optimizers(self, method: Method, total_steps: int) -> Optimizers:
        """The update rules for a run of `total_steps`."""
        settings: dict[str, Any] = {}
        if "adagrad" in self.optimizer:
            settings["initial"] = self.initial_accumulator
        if self.optimizer == "row_adagrad":
            settings["dimension"] = getattr(method, "row_size", None)
        schedule = optax.linear_schedule(self.learning_rate, self.learning_rate * self.final_rate, total_steps)
        return Optimizers(ROW_OPTIMIZERS[self.optimizer](**settings), optax.scale_by_adam(), schedule)


@dataclass(frozen=True)
class Progress:
    """Where a run stands after a dispatch; `loss [seeds]` is the exact mean since the last report."""

    step: int
    total_steps: int
    epoch: float
    learning_rate: float
    loss: np.ndarray
    examples: int
    seconds: float
    metrics: dict[str, np.ndarray]

    @property
    def examples_per_second(self) -> float:
        """Examples of each seed a second, compilation and reports left out."""
        return self.examples / max(self.seconds, 1e-9)


@dataclass
class Result:
    """What training gave, for all seeds: arrays lead with a seed's axis.

    losses: exact mean loss of each epoch, float64 `[epochs, seeds]`.
    held_out: the same on data that was held out, where some was.
    seconds, compile_seconds: time in steps (reports and probes left out), and time in the compiler.
    """

    vectors: np.ndarray
    params: Params
    losses: np.ndarray
    held_out: np.ndarray | None
    steps: int
    examples: int
    seconds: float
    compile_seconds: float
    seeds: tuple[int, ...] = field(default=(0,))

    @property
    def examples_per_second(self) -> float:
        """Examples a second, those of all seeds together."""
        return self.examples * len(self.seeds) / max(self.seconds, 1e-9)


Report = Callable[[Progress, Callable[[], jax.Array]], None]


def fit(
    method: Method,
    data: Any,
    training: Training | None = None,
    *,
    seeds: Sequence[int] = (0,),
    init: Params | None = None,
    held_out: Any = None,
    report: Report | None = None,
    on_epoch: Callable[[int, Progress, Callable[[], jax.Array]], None] | None = None,
) -> Result:
    """Trains `method` on `data`, all `seeds` at once in one vectorised program.

    `report(progress, vectors)` is called `training.reports` times and `on_epoch(epoch, progress, vectors)` after each
    pass; `vectors()` is `[seeds, rows, vector_size]`, on the device, as they stand. `held_out` is data like `data`, on
    which the loss is measured after each pass and never trained. `init` are parameters to start from (of all seeds).

    Raises Diverged as soon as a loss or a vector is not finite.
    """
    training = training or Training()
    _warn_of_slow_scatter()
    source = method.source(data)
    run = _Run(method, training, source, tuple(seeds))
    if init is not None:
        run.state = run.state._replace(params=jax.tree.map(jnp.array, init))  # a copy: the state is donated
    held = _HeldOut(run, method.source(held_out)) if held_out is not None else None
    losses, held_losses = [], []
    every = max(1, -(-run.total_steps // max(1, training.reports)))
    recent, since, progress = _Mean(), 0, None
    with ThreadPoolExecutor(1, "jaxembed-prefetch") as prefetch:
        waiting = prefetch.submit(run.read, 0)
        for epoch in range(training.epochs):
            whole = _Mean()
            for turn in range(source.pieces):
                number = epoch * source.pieces + turn
                piece = waiting.result()
                if number + 1 < training.epochs * source.pieces:
                    waiting = prefetch.submit(run.read, number + 1)
                shard = run.prepare(piece, number)
                del piece
                place = 0
                while place < run.steps:
                    stop = min(run.steps, place + every - since)
                    metrics = run.advance(shard, place, stop)
                    since += stop - place
                    place = stop
                    whole.add(metrics)
                    recent.add(metrics)
                    run.check(recent.loss)
                    if since == every or run.done == run.total_steps:
                        progress = run.progress(recent)
                        if report:
                            report(progress, run.vectors)
                        recent, since = _Mean(), 0
                del shard
            losses.append(whole.loss)
            run.check(np.asarray(jnp.sum(run.vectors(), axis=(-2, -1))))
            if held:
                held_losses.append(held.loss())
            if on_epoch:
                shown = progress or run.progress(whole)
                metrics = {"held_out": held_losses[-1]} if held else {}
                on_epoch(epoch, replace(shown, loss=losses[-1], metrics=metrics), run.vectors)
    return Result(
        vectors=np.asarray(run.vectors()),
        params=run.state.params,
        losses=np.stack(losses),
        held_out=np.stack(held_losses) if held else None,
        steps=run.done,
        examples=source.size * training.epochs,
        seconds=run.seconds,
        compile_seconds=run.compile_seconds,
        seeds=tuple(seeds),
    )


class _Mean:
    """Sums of metrics in float64, and the mean loss."""

    def __init__(self):
        self.sums: dict[str, np.ndarray] = {}

    def add(self, metrics: dict[str, np.ndarray]) -> None:
        for name, value in metrics.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    @property
    def loss(self) -> np.ndarray:
        return self.sums["loss"] / np.maximum(self.sums["weight"], 1e-300)


class _Run:
    """Compiled functions, the state and the clock. One seed is not vmapped: its program is the plain one."""

    def __init__(self, method: Method, training: Training, source: Source, seeds: tuple[int, ...]):
        if not seeds:
            raise ValueError("give at least one seed")
        self.method, self.source, self.seeds = method, source, seeds
        keys = [jax.random.key(seed) for seed in seeds]
        self.keys = keys[0] if len(seeds) == 1 else jnp.stack(keys)
        self.constants = jax.device_put(source.constants)
        self.first = self.read(0)
        start = time.perf_counter()
        self._prepare = jax.jit(self.over_seeds(self._prepare_one, (None, 0, None)))
        shared, own = self._shard(self.first, 0)
        self.steps = method.steps({**shared, **self._of_one(own)})
        self.total_steps = self.steps * source.pieces * training.epochs
        self.optimizers = training.optimizers(method, self.total_steps)
        init = self.over_seeds(partial(init_state, method, self.optimizers), (None, 0))
        self.state: State = jax.jit(init)(self.constants, self.keys)

        def advance(state, shared, own, first, last):
            return train_steps(method, self.optimizers, state, {**shared, **own}, first, last)

        mapped = self.over_seeds(advance, (0, None, 0, None, None))
        place = jnp.zeros((), jnp.int32)
        self._advance = jax.jit(mapped, donate_argnums=0).lower(self.state, shared, own, place, place).compile()
        self._vectors = jax.jit(jax.vmap(method.vectors) if len(seeds) > 1 else lambda p: method.vectors(p)[None])
        self.prepared = (0, shared, own)
        jax.block_until_ready(self.state)
        self.compile_seconds = time.perf_counter() - start
        self.seconds, self.done = 0.0, 0

    def over_seeds(self, function: Callable, axes: tuple) -> Callable:
        """`function` for all seeds; `axes` says which arguments differ between them."""
        return jax.vmap(function, axes) if len(self.seeds) > 1 else function

    def _of_one(self, own: Shard) -> Shard:
        shapes = jax.eval_shape(lambda: own)
        return shapes if len(self.seeds) == 1 else jax.eval_shape(lambda x: jax.tree.map(lambda leaf: leaf[0], x), own)

    def read(self, number: int) -> Shard:
        """Piece `number`, counted over all passes, on the device; each pass meets the pieces in an order of its own."""
        epoch, turn = divmod(number, self.source.pieces)
        order = np.random.default_rng([_ORDER, epoch]).permutation(self.source.pieces)
        return jax.device_put(self.source.piece(int(order[turn])))

    def _prepare_one(self, raw: Shard, key: jax.Array, number: jax.Array) -> Shard:
        return self.method.prepare(raw, jax.random.fold_in(jax.random.fold_in(key, _PREPARE), number))

    def _shard(self, piece: Shard, number: int) -> tuple[Shard, Shard]:
        raw = {**self.constants, **piece}
        own = self._prepare(raw, self.keys, jnp.int32(number))
        return {name: value for name, value in raw.items() if name not in own}, own

    def prepare(self, piece: Shard, number: int) -> tuple[Shard, Shard]:
        """What the seeds share of a shard, and what each has of its own."""
        if self.prepared is not None and self.prepared[0] == number:
            shard, self.prepared = self.prepared[1:], None
            return shard
        start = time.perf_counter()
        shard = jax.block_until_ready(self._shard(piece, number))
        self.seconds += time.perf_counter() - start
        return shard

    def advance(self, shard: tuple[Shard, Shard], first: int, last: int) -> dict[str, np.ndarray]:
        """Trains on the batches at `first` to `last - 1` of a shard; sums of the metrics, float64 `[seeds]`."""
        start = time.perf_counter()
        self.state, totals = self._advance(self.state, *shard, jnp.int32(first), jnp.int32(last))
        metrics = _on_host(totals)
        self.seconds += time.perf_counter() - start
        self.done += last - first
        return metrics

    def vectors(self) -> jax.Array:
        """The vectors as they stand, `[seeds, rows, vector_size]`."""
        return self._vectors(self.state.params)

    def check(self, values: np.ndarray) -> None:
        """Raises Diverged when a value is not finite."""
        bad = [seed for seed, value in zip(self.seeds, np.ravel(values), strict=True) if not np.isfinite(value)]
        if bad:
            raise Diverged(
                f"training diverged: the loss or the vectors of seed {', '.join(map(str, bad))} are not finite after step "
                f"{self.done} of {self.total_steps}. Lower the learning rate (now {self.rate():.3g}) or the batch size."
            )

    def rate(self) -> float:
        """The learning rate of the next step."""
        return float(self.optimizers.schedule(jnp.int32(self.done)))

    def progress(self, recent: _Mean) -> Progress:
        """Where the run stands."""
        share = self.done / self.total_steps
        passes = self.total_steps // (self.steps * self.source.pieces)
        examples = round(self.source.size * passes * share)
        extra = {name: value for name, value in recent.sums.items() if name not in ("loss", "weight")}
        return Progress(
            self.done, self.total_steps, share * passes, self.rate(), recent.loss, examples, self.seconds, extra
        )


class _HeldOut:
    """The loss on data that is not trained on: the same batches, drawn with the same key, whatever the state."""

    def __init__(self, run: _Run, source: Source):
        self.run, self.source = run, source
        method, self.key = run.method, jax.random.key(_HELD_OUT)
        self.constants = jax.device_put(source.constants)

        def total(params, shard, key, last):
            shard = {**shard, **method.prepare(shard, key)}
            return evaluate_steps(method, params, shard, key, jnp.int32(0), last)

        self._total = jax.jit(run.over_seeds(total, (0, None, None, None)))
        self._steps = lambda shard: method.steps({**shard, **jax.eval_shape(method.prepare, shard, self.key)})

    def loss(self) -> np.ndarray:
        """Mean loss over all pieces, float64 `[seeds]`."""
        mean = _Mean()
        for i in range(self.source.pieces):
            shard = {**self.constants, **jax.device_put(self.source.piece(i))}
            mean.add(_on_host(self._total(self.run.state.params, shard, self.key, jnp.int32(self._steps(shard)))))
        return mean.loss


def _on_host(totals: dict[str, Any]) -> dict[str, np.ndarray]:
    values = jax.device_get(totals)
    return {name: np.atleast_1d(np.float64(total.sum) + np.float64(total.lost)) for name, total in values.items()}


# Streams of random numbers that must not meet.
_ORDER, _PREPARE, _HELD_OUT = 0x0DE2, 0x93EA, 0x8E1D


def _warn_of_slow_scatter() -> None:
    import jaxlib

    version = tuple(int(part) for part in jaxlib.__version__.split(".")[:3] if part.isdigit())
    if jax.default_backend() == "gpu" and (0, 10, 2) <= version <= (0, 11, 0):
        warnings.warn(
            f"jaxlib {jaxlib.__version__} adds rows to tables hundreds of times too slowly on NVIDIA GPUs when ids repeat; "
            "install jaxlib 0.11.1 or newer",
            stacklevel=3,
        )
