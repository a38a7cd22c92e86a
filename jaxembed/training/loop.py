"""The loop: passes over pieces of data, many steps a dispatch, one seed or many at once."""

import os
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from importlib import metadata
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxembed.tables import ROW_OPTIMIZERS
from jaxembed.training.host import use_large_pages
from jaxembed.training.method import Method, Params, Shard, Source
from jaxembed.training.replicas import copies_of, merge
from jaxembed.training.step import Optimizers, evaluate_steps, init_state, train_steps


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
    track_loss: count the loss of every step; without, steps are faster and losses are NaN.
    replicas: copies of the tables that train side by side on parts of each pass, a core each, and are merged every
        `merge_steps` steps (local SGD: Ji et al., Parallelizing Word2Vec in Shared and Distributed Memory, 2016). The
        result depends on their number, not on timing; 1 trains exactly step by step.
    """

    epochs: int = 5
    learning_rate: float = 0.3
    final_rate: float = 1e-4
    optimizer: str = "row_adagrad"
    initial_accumulator: float = 1.0
    reports: int = 100
    track_loss: bool = True
    replicas: int = 1
    merge_steps: int = 512

    def __post_init__(self):
        if self.epochs < 1:
            raise ValueError(f"epochs must be at least 1, not {self.epochs}")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be above 0, not {self.learning_rate}")
        if self.replicas < 1 or self.merge_steps < 1:
            raise ValueError(f"replicas and merge_steps must be at least 1, not {self.replicas} and {self.merge_steps}")
        if self.replicas > 1 and self.optimizer == "lazy_adam":
            raise ValueError("lazy_adam cannot merge replicas: choose sgd or an Adagrad, or replicas=1")
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
        rate = lambda step: jnp.asarray(schedule(step))
        return Optimizers(ROW_OPTIMIZERS[self.optimizer](**settings), optax.scale_by_adam(), rate)


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
    """What training gave, for all seeds: arrays have a seed's axis, and `params` an entry for each seed.

    vectors: float32 `[seeds, rows, vector_size]`.
    losses: exact mean loss of each epoch, float64 `[epochs, seeds]`.
    held_out: the same on data that was held out, where some was.
    seconds, compile_seconds: time in steps (reports and probes left out), and time to get ready: the compiler's, with
        fresh tables made and the first piece of data read.
    """

    vectors: np.ndarray
    params: list[Params]
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
    seeds_by: str | None = None,
    init: Sequence[Params] | None = None,
    held_out: Any = None,
    report: Report | None = None,
    on_epoch: Callable[[int, Progress, Callable[[], jax.Array]], None] | None = None,
) -> Result:
    """Trains `method` on `data`, all `seeds` at once.

    `seeds_by="vmap"` trains them as one vectorised program, which fills an accelerator; `"threads"` runs one program a
    core, which fills a CPU, whose small matrix products XLA computes on one core. None chooses by the back end.
    `report(progress, vectors)` is called about `training.reports` times and `on_epoch(epoch, progress, vectors)` after each
    pass; `vectors()` is `[seeds, rows, vector_size]`, on the device, as they stand. `held_out` is data like `data`, on
    which the loss is measured after each pass and never trained. `init` are parameters to start from, a seed each.

    Raises Diverged as soon as a loss or a vector is not finite.
    """
    training = training or Training()
    _warn_of_slow_scatter()
    source = method.source(data)
    run = _Run(method, training, source, tuple(seeds), seeds_by)
    if init is not None:
        run.start_from(init)
    held = _HeldOut(run, method.source(held_out)) if held_out is not None else None
    losses, held_losses = [], []
    every = max(1, -(-run.total_steps // max(1, training.reports)))
    recent, since = _Mean(), 0
    with ThreadPoolExecutor(1, "jaxembed-prefetch") as prefetch:
        waiting = prefetch.submit(run.read, 0)
        for epoch in range(training.epochs):
            whole = _Mean()
            for turn in range(source.pieces):
                number = epoch * source.pieces + turn
                piece = waiting.result()
                if number + 1 < training.epochs * source.pieces:
                    waiting = prefetch.submit(run.read, number + 1)
                run.prepare(piece, number)
                del piece
                place = 0
                while place < run.steps:
                    # Replicas are met only where they merge, so that reports do not change what is trained.
                    stop = min(run.steps, place + (training.merge_steps if training.replicas > 1 else every - since))
                    metrics = run.advance(place, stop)
                    since += stop - place
                    place = stop
                    whole.add(metrics)
                    recent.add(metrics)
                    run.check(recent.loss)
                    if since >= every or run.done == run.total_steps:
                        if report:
                            report(run.progress(recent), run.vectors)
                        recent, since = _Mean(), 0
            losses.append(np.broadcast_to(whole.loss, len(seeds)))
            run.check(np.asarray(jnp.sum(run.vectors(), axis=(-2, -1))))
            if held:
                held_losses.append(held.loss())
            if on_epoch:
                metrics = {"held_out": held_losses[-1]} if held else {}
                on_epoch(epoch, replace(run.progress(whole), metrics=metrics), run.vectors)
    return Result(
        vectors=np.asarray(run.vectors()),
        params=run.params(),
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
        if not self.sums:  # not tracked
            return np.asarray(np.nan)
        return self.sums["loss"] / np.maximum(self.sums["weight"], 1e-300)


@dataclass
class _Lane:
    """Seeds that share a program: their keys, their state and their part of a shard, all with a seed's axis if several."""

    keys: jax.Array
    state: Any = None
    own: Any = None
    copies: list[Any] = field(default_factory=list)  # replicas, when there are several


class _Run:
    """Compiled functions, the state and the clock. A lane of one seed is not vmapped: its program is the plain one."""

    def __init__(
        self, method: Method, training: Training, source: Source, seeds: tuple[int, ...], seeds_by: str | None
    ):
        if not seeds:
            raise ValueError("give at least one seed")
        seeds_by = seeds_by or ("threads" if jax.default_backend() == "cpu" else "vmap")
        if seeds_by not in ("vmap", "threads"):
            raise ValueError(f"seeds_by must be 'vmap' or 'threads', not {seeds_by!r}")
        self.method, self.source, self.seeds, self.epochs = method, source, seeds, training.epochs
        keys = [jax.random.key(seed) for seed in seeds]
        self.vmapped = seeds_by == "vmap" and len(seeds) > 1
        self.replicas = training.replicas
        if self.vmapped and self.replicas > 1:
            raise ValueError("replicas train a core each: with several seeds, they need seeds_by='threads'")
        self.lanes = [_Lane(jnp.stack(keys))] if self.vmapped else [_Lane(key) for key in keys]
        self.pool = ThreadPoolExecutor(min(len(self.lanes) * self.replicas, os.cpu_count() or 1), "jaxembed-lane")
        self.constants = jax.device_put(source.constants)
        start = time.perf_counter()
        lane, number, raw = self.lanes[0], np.int32(0), {**self.constants, **self.read(0)}
        prepare = jax.jit(self.over_seeds(self._prepare_one, (None, 0, None)))
        own = jax.eval_shape(prepare, raw, lane.keys, number)
        self._prepare = prepare.lower(raw, lane.keys, number).compile()
        self.shared = {name: value for name, value in raw.items() if name not in own}
        self.batches = method.steps({**self.shared, **self._of_one(own)})
        self.steps = -(-self.batches // self.replicas)  # of each replica, in a pass over a piece
        self.total_steps = self.steps * source.pieces * training.epochs
        self.optimizers = training.optimizers(method, self.total_steps)
        init = jax.jit(self.over_seeds(partial(init_state, method, self.optimizers), (None, 0)))
        for lane in reversed(self.lanes):
            lane.state = init(self.constants, lane.keys)
            use_large_pages(jax.block_until_ready((lane.state.params, lane.state.rows)))

        def advance(state, shared, own, first, last):
            shard = {**shared, **own}
            return train_steps(method, self.optimizers, state, shard, first, last, training.track_loss)

        mapped = jax.jit(self.over_seeds(advance, (0, None, 0, None, None)), donate_argnums=0)
        place = jnp.zeros((), jnp.int32)
        self._advance = mapped.lower(lane.state, self.shared, own, place, place).compile()
        self._copy()
        self._vectors = jax.jit(
            jax.vmap(method.vectors) if self.vmapped else lambda params: method.vectors(params)[None]
        )
        self.compile_seconds = time.perf_counter() - start
        self.seconds, self.done = 0.0, 0

    def over_seeds(self, function: Callable, axes: tuple) -> Callable:
        """`function` for all seeds of a lane; `axes` says which arguments differ between them."""
        return jax.vmap(function, axes) if self.vmapped else function

    def on_lanes(self, function: Callable[[_Lane], Any]) -> list[Any]:
        """`function` of each lane, a core each; a lane's own work is in XLA, which lets the others run."""
        return [function(self.lanes[0])] if len(self.lanes) == 1 else list(self.pool.map(function, self.lanes))

    def start_from(self, params: Sequence[Params]) -> None:
        """Goes on from `params`, an entry a seed, of which it keeps a copy."""
        for lane, start in zip(self.lanes, [_stacked(params)] if self.vmapped else params, strict=True):
            replaced = jax.tree.map(lambda new, old: old.at[...].set(new), start, lane.state.params)
            use_large_pages(jax.block_until_ready(replaced))
            lane.state = lane.state._replace(params=replaced)
        self._copy()

    def _copy(self) -> None:
        for lane in self.lanes if self.replicas > 1 else ():
            lane.copies = copies_of(lane.state, self.replicas)
            use_large_pages(jax.block_until_ready([(copy.params, copy.rows) for copy in lane.copies]))
            lane.state, lane.copies = merge(lane.state, lane.copies)  # nothing has moved: this compiles it

    def params(self) -> list[Params]:
        """The parameters of each seed."""
        if not self.vmapped:
            return [lane.state.params for lane in self.lanes]
        return [jax.tree.map(lambda leaf, i=i: leaf[i], self.lanes[0].state.params) for i in range(len(self.seeds))]

    def _of_one(self, own: Shard) -> Shard:
        return jax.eval_shape(lambda tree: jax.tree.map(lambda leaf: leaf[0] if self.vmapped else leaf, tree), own)

    def read(self, number: int) -> Shard:
        """Piece `number`, counted over all passes, on the device; each pass meets the pieces in an order of its own."""
        epoch, turn = divmod(number, self.source.pieces)
        order = np.random.default_rng([_ORDER, epoch]).permutation(self.source.pieces)
        return jax.device_put(self.source.piece(int(order[turn])))

    def _prepare_one(self, raw: Shard, key: jax.Array, number: jax.Array) -> Shard:
        return self.method.prepare(raw, jax.random.fold_in(jax.random.fold_in(key, _PREPARE), number))

    def prepare(self, piece: Shard, number: int) -> None:
        """Makes piece `number` the current shard: what the seeds share of it, and what each has of its own."""
        start = time.perf_counter()
        raw = {**self.constants, **piece}

        def one(lane: _Lane) -> None:
            lane.own = None  # the last shard makes room
            lane.own = jax.block_until_ready(self._prepare(raw, lane.keys, np.int32(number)))

        self.on_lanes(one)
        self.shared = {name: value for name, value in raw.items() if name not in self.lanes[0].own}
        self.seconds += time.perf_counter() - start

    def advance(self, first: int, last: int) -> dict[str, np.ndarray]:
        """Trains on the batches at `first` to `last - 1` of the shard; sums of the metrics, float64 `[seeds]`."""
        start = time.perf_counter()

        def run(state, lane: _Lane, offset: int = 0):
            ends = (np.int32(min(place + offset, self.batches)) for place in (first, last))
            state, totals = jax.block_until_ready(self._advance(state, self.shared, lane.own, *ends))
            return state, _on_host(totals)

        def one(lane: _Lane) -> dict[str, np.ndarray]:
            lane.state, metrics = run(lane.state, lane)
            return metrics

        def replica(task: tuple[_Lane, int]) -> dict[str, np.ndarray]:
            lane, i = task
            lane.copies[i], metrics = run(lane.copies[i], lane, i * self.steps)
            return metrics

        if self.replicas > 1:
            found = list(self.pool.map(replica, [(lane, i) for lane in self.lanes for i in range(self.replicas)]))
            for lane in self.lanes:
                lane.state, lane.copies = jax.block_until_ready(merge(lane.state, lane.copies))
            groups = [found[i : i + self.replicas] for i in range(0, len(found), self.replicas)]
            metrics = _joined(
                [{name: np.sum([part[name] for part in group], 0) for name in group[0]} for group in groups]
            )
        else:
            metrics = _joined(self.on_lanes(one))
        self.seconds += time.perf_counter() - start
        self.done += last - first
        return metrics

    def vectors(self) -> jax.Array:
        """The vectors as they stand, `[seeds, rows, vector_size]`."""
        parts = [self._vectors(lane.state.params) for lane in self.lanes]
        return parts[0] if len(parts) == 1 else jnp.concatenate(parts)

    def check(self, values: np.ndarray) -> None:
        """Raises Diverged when a value is not finite."""
        if np.ndim(values) == 0:  # losses are not tracked
            return
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
        examples = round(self.source.size * self.epochs * share)
        extra = {name: value for name, value in recent.sums.items() if name not in ("loss", "weight")}
        return Progress(
            self.done, self.total_steps, share * self.epochs, self.rate(),
            np.broadcast_to(recent.loss, len(self.seeds)), examples, self.seconds, extra,
        )  # fmt: skip


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
            last = np.int32(self._steps(shard))
            total = lambda lane, shard=shard, last=last: _on_host(self._total(lane.state.params, shard, self.key, last))
            mean.add(_joined(self.run.on_lanes(total)))
        return mean.loss


def _joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _stacked(trees: Sequence[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _on_host(totals: dict[str, Any]) -> dict[str, np.ndarray]:
    values = jax.device_get(totals)
    return {name: np.atleast_1d(np.float64(total.sum) + np.float64(total.lost)) for name, total in values.items()}


# Streams of random numbers that must not meet.
_ORDER, _PREPARE, _HELD_OUT = 0x0DE2, 0x93EA, 0x8E1D


def _warn_of_slow_scatter() -> None:
    version = metadata.version("jaxlib")
    parts = tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
    if jax.default_backend() == "gpu" and (0, 10, 2) <= parts <= (0, 11, 0):
        warnings.warn(
            f"jaxlib {version} adds rows to tables hundreds of times too slowly on NVIDIA GPUs when ids repeat; "
            "install jaxlib 0.11.1 or newer",
            stacklevel=3,
        )
