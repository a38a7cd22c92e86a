"""The training loop: passes over pieces of data, many steps per dispatch, for one seed or many at once."""

import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import metadata
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.training.held_out import HeldOut
from jaxembed.training.mesh import Layout, make_mesh
from jaxembed.training.method import Method, Params
from jaxembed.training.numbers import seeds_of, table_of
from jaxembed.training.processes import anyone, together
from jaxembed.training.program import Program, Snapshot
from jaxembed.training.settings import Training

if TYPE_CHECKING:
    from jaxembed.training.checkpoints import Checkpoints


class Diverged(FloatingPointError):
    """Training met a number that is not finite; what was saved before stands as it was.

    places: of the runs that diverged, among those that trained at once.
    """

    def __init__(self, message: str, places: Sequence[int] = ()):
        super().__init__(message)
        self.places = tuple(places)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM came, and the state was saved; the message says how to go on."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands after a dispatch.

    loss: mean of those that were counted since the last report, `[seeds]`; where there were none, as it was reported last.
    learning_rate: `[seeds]`.
    """

    step: int
    total_steps: int
    epoch: float
    learning_rate: np.ndarray
    loss: np.ndarray
    examples: int
    seconds: float
    metrics: dict[str, np.ndarray]

    @property
    def examples_per_second(self) -> float:
        """Examples per second of each seed, without compilation and reports."""
        return self.examples / max(self.seconds, 1e-9)


@dataclass
class Result:
    """What training gave, for all seeds: arrays have a seed's axis, and `params` an entry for each seed.

    vectors: float32 `[seeds, rows, vector_size]`.
    losses: mean loss of each epoch over the steps at which it was counted, which are all of them with `loss_every` 1, NaN
        with 0; float64 `[epochs, seeds]`.
    held_out: the same on data that was held out, where some was.
    seconds, compile_seconds: time in steps and in waiting for data (reports and probes left out), and in the compiler.
    busy_seconds: of the time in steps, that in compiled programs alone; of the busiest run.
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
    busy_seconds: float = 0.0
    method: Any = None  # as it was trained: suited to the data
    best_pass: np.ndarray | None = None  # which pass of each seed was kept, counted from 1; None: the last

    @property
    def examples_per_second(self) -> float:
        """Examples per second of all seeds together."""
        return self.examples * len(self.seeds) / max(self.seconds, 1e-9)


Report = Callable[[Progress, Snapshot], None]
OnEpoch = Callable[[int, Progress, Snapshot], Any]


@together()
def fit(
    method: Method,
    data: Any,
    training: Training | None = None,
    *,
    seeds: Sequence[int] = (0,),
    vary: Mapping[str, Sequence[float]] | None = None,
    seeds_by: str | None = None,
    layout: Layout | None = None,
    init: Sequence[Params] | None = None,
    held_out: Any = None,
    report: Report | None = None,
    on_epoch: OnEpoch | None = None,
    checkpoints: "Checkpoints | None" = None,
) -> Result:
    """Trains `method` on `data`, all `seeds` (whole numbers from 0 to 2^32 - 1) at once.

    `vary` gives the runs numbers of their own, one for each of `seeds`: `{"learning_rate": (0.1, 0.3)}` and whatever the
    method names in its `traced`. `seeds_by="vmap"` trains them as one vectorised program, which fills an accelerator;
    `"threads"` runs one program per core, which fills a CPU, whose small matrix products XLA computes on one core; `"map"`
    is one program that takes one run after the other. None chooses by the back end: vmap, or threads on a CPU. `layout`
    spreads a run over a mesh of devices (`training.mesh`); None takes one device, or all of them where several processes
    train together.
    `report(progress, vectors)` is called about `training.reports` times and `on_epoch(epoch, progress, vectors)` after each
    pass; `vectors()` is `[seeds, rows, vector_size]`, on the device, as they stand, and `vectors.params()` what is learned. What
    `on_epoch` returns, a figure for each seed of which more is better, or None, says which pass `training.best_pass` keeps.
    `held_out` is data like `data`, on which the loss is measured after each pass and never trained. `init` are parameters to
    start from, one entry for each seed.
    `checkpoints` saves the whole state now and then; where it holds one, training goes on from there, and ends as if it
    had never stopped.

    Raises Diverged as soon as a loss or a vector is not finite, and Interrupted after Ctrl-C or SIGTERM, when `checkpoints`
    has saved what there is; WorkerLost where another process of the run is gone.
    """
    seeds = seeds_of(seeds)
    training, layout = (
        training or Training.of(method),
        layout or Layout(make_mesh() if jax.process_count() > 1 else None),
    )
    _warn_of_slow_scatter()
    data = method.read(data)
    method, training = method.suited_to(data), method.training_for(data, training)
    numbers = table_of(method, training, vary or {}, len(seeds))
    program = Program(method, training, method.source(data), tuple(seeds), numbers, seeds_by, layout)
    if init is not None:
        program.start_from(init)
    held = HeldOut(program, method.source(method.read(held_out))) if held_out is not None else None
    session = _Session(program, held, report, on_epoch, checkpoints)
    session.begin()
    with ThreadPoolExecutor(1, "jaxembed-prefetch") as prefetch, _signals(checkpoints) as stop_wanted:
        for piece in session.pieces(prefetch):
            program.prepare(piece, session.at.piece)
            del piece  # what was made of it takes its place in memory
            session.train_piece(stop_wanted)
    if checkpoints:
        checkpoints.wait()
    return session.result()


#: Most steps of a dispatch, so that a run looks now and then whether it should save or stop.
_DISPATCH = 4096


class _Mean:
    """Sums of metrics in float64, and the mean loss."""

    def __init__(self, sums: Mapping[str, Any] | None = None):
        self.sums: dict[str, np.ndarray] = {name: np.asarray(value) for name, value in (sums or {}).items()}

    def add(self, metrics: dict[str, np.ndarray]) -> None:
        for name, value in metrics.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def as_json(self) -> dict[str, list[float]]:
        return {name: value.tolist() for name, value in self.sums.items()}

    @property
    def loss(self) -> np.ndarray:
        if not self.sums:  # none was counted
            return np.asarray(np.nan)
        return self.sums["loss"] / np.maximum(self.sums["weight"], 1e-300)


@dataclass
class _Position:
    """How far a run is, with the sums that are still open: everything but the program's own state.

    piece: counted over all passes; place: the next batch of it; since: steps since the last report.
    best: the figure of each run's best pass, and best_pass: which it was; empty where none is kept.
    told: whether `recent` has been reported, so that the next losses start a new mean.
    """

    piece: int = 0
    place: int = 0
    since: int = 0
    done: int = 0
    seconds: float = 0.0
    told: bool = False  # a name on disk
    epoch_sums: _Mean = field(default_factory=_Mean)
    recent: _Mean = field(default_factory=_Mean)
    losses: list[np.ndarray] = field(default_factory=list)
    held_out: list[np.ndarray] = field(default_factory=list)
    best: list[float] = field(default_factory=list)
    best_pass: list[int] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        names = ("piece", "place", "since", "done", "seconds", "told", "best", "best_pass")
        plain = {name: getattr(self, name) for name in names}
        sums = {name: getattr(self, name).as_json() for name in ("epoch_sums", "recent")}
        return plain | sums | {name: np.stack(getattr(self, name)).tolist() if getattr(self, name) else []
                               for name in ("losses", "held_out")}  # fmt: skip

    @classmethod
    def from_json(cls, saved: dict[str, Any]) -> "_Position":
        sums = {name: _Mean(saved[name]) for name in ("epoch_sums", "recent")}
        lists = {name: [np.asarray(values) for values in saved[name]] for name in ("losses", "held_out")}
        return cls(**{**saved, **sums, **lists})


class _Session:
    """A run from where it stands to its end: dispatches, and what happens between them. `at` is all that changes."""

    def __init__(
        self, program: Program, held: HeldOut | None, report: Any, on_epoch: Any, checkpoints: "Checkpoints | None"
    ):
        self.program, self.held, self.checkpoints = program, held, checkpoints
        self.report, self.on_epoch = report, on_epoch
        self.at = _Position()
        self.every = max(1, -(-program.total_steps // max(1, program.training.reports)))

    def begin(self) -> None:
        """Goes back to where the newest checkpoint is, if there is any."""
        if not self.checkpoints:
            return
        program, found = self.program, self.checkpoints.restore(self.program.saved, self.program.layout)
        if found:
            program.restore(found[0])
            self.at = _Position.from_json(found[1])
            program.done, program.seconds = self.at.done, self.at.seconds
        self.checkpoints.begin(found[2] if found else {})

    def pieces(self, prefetch: ThreadPoolExecutor) -> Iterator[dict[str, Any]]:
        """The pieces that are still to be trained on; the next is read while one is trained, and one that is all is kept."""
        program, last = self.program, self.program.training.epochs * self.program.source.pieces
        kept = waiting = None
        while self.at.piece < last:
            start, more = time.perf_counter(), self.at.piece + 1 < last
            piece = [waiting.result() if waiting else kept or program.read(self.at.piece)]
            program.seconds += time.perf_counter() - start
            if program.source.pieces == 1:
                kept = piece[0] if more else None
            elif more:
                waiting = prefetch.submit(program.read, self.at.piece + 1)
            yield piece.pop()  # and keep no hold of it
            self.at.piece, self.at.place = self.at.piece + 1, 0
            if self.at.piece % program.source.pieces == 0:
                self._end_pass()

    def train_piece(self, stop_wanted: Callable[[], bool]) -> None:
        """Trains on the prepared piece from `at.place` on. Raises Interrupted when a signal has come and the state is saved."""
        at, program = self.at, self.program
        while at.place < program.steps:
            # Replicas are met only where they merge, so that reports do not change what is trained.
            steps = program.merge_steps if program.replicas > 1 else min(self.every - at.since, _DISPATCH)
            stop = min(program.steps, at.place + steps)
            metrics = program.advance(at.place, stop)
            at.since += stop - at.place
            at.place = stop
            self._count(metrics)
            if at.since >= self.every or program.done == program.total_steps:
                if self.report:
                    self.report(_progress(program, at.recent), Snapshot(program))
                at.since, at.told = 0, True
            self._save(stop_wanted)

    def _count(self, metrics: dict[str, np.ndarray]) -> None:
        if not metrics:  # losses are counted now and then: what was reported last stands until there are others
            return
        if self.at.told:
            self.at.recent, self.at.told = _Mean(), False
        self.at.epoch_sums.add(metrics)
        self.at.recent.add(metrics)
        _check(self.program, self.at.recent.loss)

    def _save(self, stop_wanted: Callable[[], bool]) -> None:
        if self.checkpoints is None:
            return
        at, program, stopping = self.at, self.program, anyone(stop_wanted())
        if stopping or self.checkpoints.due():
            at.done, at.seconds = program.done, program.seconds
            self.checkpoints.save(program.done, program.saved(), at.as_json())
        if stopping:
            self.checkpoints.wait()
            raise Interrupted(
                f"stopped at step {program.done:,} of {program.total_steps:,} and saved: the same command goes on from there"
            )

    def _end_pass(self) -> None:
        at, program = self.at, self.program
        whole, at.epoch_sums = at.epoch_sums, _Mean()
        at.losses.append(np.broadcast_to(whole.loss, len(program.seeds)))
        _check(program, np.asarray(jnp.sum(program.vectors(), axis=(-2, -1))))
        if self.held:
            at.held_out.append(self.held.loss())
        if self.on_epoch:
            metrics = {"held_out": at.held_out[-1]} if self.held else {}
            progress = replace(_progress(program, whole), metrics=metrics)
            epoch = at.piece // program.source.pieces - 1
            figure = self.on_epoch(epoch, progress, Snapshot(program))
            if program.training.best_pass and figure is not None:
                self._keep(epoch, np.asarray(figure, np.float64))

    def _keep(self, epoch: int, figure: np.ndarray) -> None:
        """Keeps the runs whose figure `[runs]` is better than it ever was; the first is."""
        at, runs = self.at, len(self.program.seeds)
        best, which = (
            (np.array(at.best), np.array(at.best_pass)) if at.best else (np.full(runs, -np.inf), np.zeros(runs, int))
        )
        better = (figure > best) | (not at.best)
        at.best, at.best_pass = np.where(better, figure, best).tolist(), np.where(better, epoch + 1, which).tolist()
        self.program.keep(better)

    def result(self) -> Result:
        """What came out."""
        at, program = self.at, self.program
        if at.best:
            program.go_back()
        return Result(
            vectors=np.asarray(program.vectors()),
            params=program.params(),
            losses=np.stack(at.losses),
            held_out=np.stack(at.held_out) if self.held else None,
            steps=program.done,
            examples=program.source.size * program.training.epochs,
            seconds=program.seconds,
            compile_seconds=program.compile_seconds,
            seeds=program.seeds,
            busy_seconds=max(lane.busy for lane in program.lanes),
            method=program.method,
            best_pass=np.array(at.best_pass) if at.best else None,
        )


def _check(program: Program, values: np.ndarray) -> None:
    """Raises Diverged when a value is not finite."""
    if np.ndim(values) == 0:  # losses are not tracked
        return
    places = np.flatnonzero(~np.isfinite(np.ravel(values))).tolist()
    if places:
        seeds = ", ".join(str(program.seeds[place]) for place in places)
        raise Diverged(
            f"training diverged: the loss or the vectors of seed {seeds} are not finite after step "
            f"{program.done} of {program.total_steps}. Lower the learning rate (now {program.rate()[places].max():.3g}) "
            "or the batch size.",
            places,
        )


def _progress(program: Program, recent: _Mean) -> Progress:
    share = program.done / program.total_steps
    examples = round(program.source.size * program.training.epochs * share)
    extra = {name: value for name, value in recent.sums.items() if name not in ("loss", "weight")}
    return Progress(
        program.done, program.total_steps, share * program.training.epochs, program.rate(),
        np.broadcast_to(recent.loss, len(program.seeds)), examples, program.seconds, extra,
    )  # fmt: skip


@contextmanager
def _signals(checkpoints: "Checkpoints | None") -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or SIGTERM (a cluster's warning) has come; a second Ctrl-C stops at once. Without checkpoints: as ever."""
    received: list[int] = []
    if not checkpoints or threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def note(number: int, frame: Any) -> None:
        if received and number == signal.SIGINT:
            again = before[signal.SIGINT]
            if callable(again):  # the program's own way to end at once
                again(number, frame)
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _warn_of_slow_scatter() -> None:
    version = metadata.version("jaxlib")
    parts = tuple(int(part) for part in version.split(".")[:3] if part.isdigit())
    if jax.default_backend() == "gpu" and (0, 10, 2) <= parts <= (0, 11, 0):
        warnings.warn(
            f"jaxlib {version} adds rows to tables hundreds of times too slowly on NVIDIA GPUs when ids repeat; "
            "install jaxlib 0.11.1 or newer",
            stacklevel=3,
        )
