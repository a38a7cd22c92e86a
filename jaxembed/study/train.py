"""Training on the record: a run folder for each run of a group, benchmarks on the way, vectors and figures at the end."""

import hashlib
import json
import shutil
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.evaluation.geometry import collapsed
from jaxembed.files import write_text
from jaxembed.study.environment import Energy
from jaxembed.study.plan import Planned, Task, digest, ready
from jaxembed.study.run import Run
from jaxembed.tracking import Console, Tracker, Trackers, histogram
from jaxembed.training.checkpoints import Checkpoints
from jaxembed.training.loop import Progress, Result, fit
from jaxembed.training.mesh import Layout, make_mesh
from jaxembed.training.numbers import numbers_of
from jaxembed.training.processes import is_first, tell
from jaxembed.training.settings import Training

PROBES = 20  # of similarity, over a whole run
_LOOKED_AT = 2000  # vectors by which a collapse is told

Vectors = Callable[[], jax.Array]


@dataclass(frozen=True)
class Options:
    """How runs are trained and recorded; none of it changes what comes out, but for `layout` within float tolerance.

    checkpoint_seconds: time between checkpoints; 0 after every dispatch, None never. keep_checkpoints: also of finished runs.
    seeds_by, layout: as `fit` takes them. overwrite: finished runs are made anew. console: a progress bar.
    profile: writes a trace of some steps into the first run's folder, for TensorBoard's profiler.
    trackers: called with each run, give more trackers than TensorBoard and JSON lines.
    """

    checkpoint_seconds: float | None = 60.0
    keep_checkpoints: bool = False
    seeds_by: str | None = None
    layout: Layout | None = None
    overwrite: bool = False
    console: bool = True
    profile: bool = False
    trackers: Sequence[Callable[[Run], Tracker]] = ()

    @classmethod
    def of(cls, settings: Any) -> "Options":
        """From a command's settings: `overwrite`, `checkpoint_seconds`, `mesh` and `profile`."""
        return cls(
            checkpoint_seconds=settings.checkpoint_seconds,
            layout=Layout(make_mesh(*settings.mesh)) if settings.mesh else None,
            overwrite=settings.overwrite,
            profile=settings.profile,
        )


def train_group(
    plans: Sequence[Planned],
    task: Task,
    options: Options | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    description: str = "train",
) -> list[Run]:
    """Trains runs that share a program (`study.plan.groups`) all at once, each recorded in its folder: the runs, finished.

    A finished run of the same settings is kept and not trained again (`Run.made_now` tells). Steps are made smaller where
    the data are few (`sized_for`). A killed group goes on from its last checkpoint and ends as if it had never stopped.

    A run's settings.json holds `settings`, the variant with all of its method and training, the fingerprint of the data and
    the seed; environment.json has the method as it was sized. Its metrics are `train/loss`, `train/learning_rate`,
    `train/<unit>_per_second` (of all runs together, a second of training), `train/seconds`, `epoch/loss`,
    `held_out/loss`, what the task's probes measure, histograms of the vectors and their lengths. The summary has what the
    task judges, and `final/...`.

    Raises ValueError where a folder holds a run of other settings (unless `overwrite`) or two runs share a folder,
    BlockingIOError where another process is at it, Diverged, and Interrupted (Ctrl-C, saved).
    """
    options = options or Options()
    folders = [plan.folder for plan in plans]
    if not folders:
        raise ValueError("give at least one seed")
    if len(set(folders)) < len(folders):
        seeds = ", ".join(str(plan.seed) for plan in plans)
        raise ValueError(f"each seed needs a folder of its own, but seeds {seeds} share one")
    runs: dict[Path, Run] = {}
    while True:
        among, waiting, folder = tell(_next(plans, task, settings or {}, options, runs) if is_first() else None)
        if not waiting:
            return list(runs.values()) if is_first() else [Run(folder, folder) for folder in folders]
        _train_some(
            [plans[i] for i in among], [i in waiting for i in among], Path(folder), task, options, runs, description
        )


def _next(
    plans: Sequence[Planned], task: Task, extra: Mapping[str, Any], options: Options, runs: dict[Path, Run]
) -> tuple[list[int], list[int], str]:
    """Which runs train next as one program, which of them are not finished yet, and the folder of their checkpoints.

    First a group that was killed, as it was then, whatever has been added since: also those of its runs that were
    concluded already take part, so that the program is the same whatever the moment. Then all others.
    """
    told = [plan.settings(task, extra) for plan in plans]
    for plan, own in zip(plans, told, strict=True):
        if plan.folder not in runs:
            keep = options.checkpoint_seconds is not None
            runs[plan.folder] = Run.create(plan.folder, own, overwrite=options.overwrite, keep_unfinished=keep)
    waiting = [place for place, plan in enumerate(plans) if not runs[plan.folder].finished]
    names = [digest(*plan.folder.parts[-2:], own) for plan, own in zip(plans, told, strict=True)]
    roots = dict.fromkeys(plan.folder.parent / ".checkpoints" for plan in plans)
    for path in [path for root in roots for path in sorted(root.glob("*/members.json"))] if waiting else ():
        members = json.loads(path.read_text())
        among = [place for place, name in enumerate(names) if name in members]
        if set(members) <= set(names) and set(among) & set(waiting):
            if not options.overwrite:
                return among, [i for i in among if i in waiting], str(path.parent)
            shutil.rmtree(path.parent)
    folder = plans[(waiting or [0])[0]].folder.parent / ".checkpoints" / digest(*[names[i] for i in waiting])
    if waiting and options.checkpoint_seconds is not None:
        shutil.rmtree(folder, ignore_errors=True)
        write_text(folder / "members.json", json.dumps([names[i] for i in waiting]))
    return waiting, waiting, str(folder)


def _train_some(
    plans: Sequence[Planned],
    waiting: Sequence[bool],
    folder: Path,
    task: Task,
    options: Options,
    known: Mapping[Path, Run],
    description: str,
) -> None:
    # The first process writes; the others take part in the training.
    runs = [known.get(plan.folder) or Run(plan.folder, plan.folder) for plan in plans]
    recorded = [new and is_first() for new in waiting]
    with ExitStack() as stack:
        for run in runs:
            stack.enter_context(run)
        checkpoints = None
        if options.checkpoint_seconds is not None:
            checkpoints = Checkpoints(folder, seconds=options.checkpoint_seconds)
            stack.callback(checkpoints.close)
        recorder = _Recorder(runs, recorded, task, plans[0].variant.training, options)
        stack.callback(recorder.close)
        result = _fit(plans, task, options, recorder, checkpoints, description, stack)
        for place, here in enumerate(recorded):
            if here:
                recorder.conclude(place, result)
        if checkpoints and not options.keep_checkpoints:
            checkpoints.remove()
        tell(None)


def _fit(
    plans: Sequence[Planned],
    task: Task,
    options: Options,
    recorder: "_Recorder",
    checkpoints: Checkpoints | None,
    description: str,
    stack: ExitStack,
) -> Result:
    variant = plans[0].variant
    sized, data = ready(variant.method, task)
    held_out = task.data(variant.method, held_out=True)
    numbers = [numbers_of(plan.variant.method, plan.variant.training) for plan in plans]
    vary = {name: [own[name] for own in numbers] for name in numbers[0]}
    recorder.sized = sized
    recorder.bar = Trackers(*([Console(1000, description)] if options.console and is_first() else []))
    recorder.bar.start({})
    stack.callback(recorder.bar.finish, None)
    if checkpoints:
        checkpoints.extra, checkpoints.begin, checkpoints.metric = recorder.position, recorder.begin, recorder.metric
    else:
        recorder.begin({})
    return fit(
        sized,
        data,
        variant.training,
        seeds=[plan.seed for plan in plans],
        vary=vary,
        seeds_by=options.seeds_by,
        layout=options.layout,
        held_out=held_out,
        report=recorder.report,
        on_epoch=recorder.on_epoch,
        checkpoints=checkpoints,
    )


def vectors_digest(vectors: np.ndarray) -> str:
    """BLAKE2b of the numbers, by which two runs are told to be the same bit for bit."""
    return hashlib.blake2b(np.ascontiguousarray(vectors).tobytes(), digest_size=16).hexdigest()


class _Recorder:
    """What `fit` reports, to the trackers of each run that is recorded."""

    def __init__(self, runs: Sequence[Run], recorded: Sequence[bool], task: Task, training: Training, options: Options):
        self.runs, self.recorded = runs, recorded
        self.task, self.training, self.options = task, training, options
        self.trackers: list[Trackers | None] = [None] * len(runs)
        self.often, self.seldom = task.probes()
        self.reports, self.every = 0, max(1, training.reports // PROBES)
        self.bar, self.sized = Trackers(), None
        self.begun, self.energy = time.perf_counter(), Energy()
        self.latest: dict[str, float] = {}
        self.resumed = 0
        self.profiling = False

    def begin(self, extra: Mapping[str, Any]) -> None:
        """Opens the trackers, at a fresh start or where a checkpoint was."""
        self.reports, self.resumed = extra.get("reports", 0), extra.get("resumed", -1) + 1
        self.latest = dict(extra.get("latest", {}))
        positions = extra.get("files", [{}] * len(self.runs))
        for place, (run, position) in enumerate(zip(self.runs, positions, strict=True)):
            if self.recorded[place]:
                run.rewind(position)
                self.trackers[place] = run.tracker(*(make(run) for make in self.options.trackers))

    def position(self) -> dict[str, Any]:
        """How far the log files are."""
        files = [run.position() if recorded else {} for run, recorded in zip(self.runs, self.recorded, strict=True)]
        return {"reports": self.reports, "resumed": self.resumed, "latest": self.latest, "files": files}

    def metric(self) -> float:
        """By which the best checkpoint is told: the mean of the latest probes, or the loss where there are none."""
        # Of an encoder the probes are the shape of its vectors, of which more is not better.
        judged = not hasattr(self.task, "embed")
        probes = [value for name, value in self.latest.items() if name != "loss" and judged]
        return float(np.mean(probes)) if probes else -self.latest.get("loss", float("inf"))

    def report(self, progress: Progress, vectors: Vectors) -> None:
        """Loss, learning rate and speed; the quick probes now and then."""
        self.reports += 1
        self._profile()
        examples = self.task.examples * len(self.runs) * progress.epoch
        same = {
            f"train/{self.task.unit}_per_second": examples / max(progress.seconds, 1e-9),
            "train/seconds": progress.seconds,
        }
        own: dict[str, Any] = {"train/loss": progress.loss, "train/learning_rate": progress.learning_rate}
        share = progress.step / progress.total_steps
        if self.reports % self.every == 0 or share == 1:
            probed = self.often(vectors())
            self.latest = {name: float(np.mean(values)) for name, values in probed.items()}
            own |= probed
        if np.isfinite(progress.loss).all():
            self.latest["loss"] = float(progress.loss.mean())
        self._log(own, same, progress.step)
        shown = {"train/loss": progress.loss.mean(), "train/learning_rate": progress.learning_rate.max()}
        self.bar.log({**same, **shown}, round(1000 * share))

    def on_epoch(self, epoch: int, progress: Progress, vectors: Vectors) -> None:
        """Exact loss of the pass, held-out loss, the slower probes, and histograms."""
        matrices = vectors()
        own: dict[str, Any] = {"epoch/loss": progress.loss, **self.seldom(matrices)}
        if "held_out" in progress.metrics:
            own["held_out/loss"] = progress.metrics["held_out"]
        own["tables/lengths"] = [histogram(jnp.linalg.norm(matrix, axis=-1)) for matrix in matrices]
        own["tables/values"] = [histogram(matrix) for matrix in matrices]
        self._log(own, {}, progress.total_steps * (epoch + 1) // self.training.epochs)

    def _log(self, own: Mapping[str, Any], same: Mapping[str, float], step: int) -> None:
        for place, tracker in enumerate(self.trackers):
            if tracker is not None:
                tracker.log({**{name: values[place] for name, values in own.items()}, **same}, step)

    def _profile(self) -> None:
        """A trace between the second and the third report: all of the machinery once, and a file of bearable size."""
        if self.options.profile and self.reports in (2, 3):
            if self.reports == 2:
                jax.profiler.start_trace(self.runs[0].folder)
                self.profiling = True
            elif self.profiling:
                jax.profiler.stop_trace()
                self.profiling = False

    def close(self) -> None:
        """Ends a trace that is still open."""
        if self.profiling:
            jax.profiler.stop_trace()
            self.profiling = False

    def conclude(self, place: int, result: Result) -> None:
        """Saves a run's vectors, shows them in the projector, and writes its final figures."""
        run, tracker = self.runs[place], self.trackers[place]
        vectors, embed = result.vectors[place], getattr(self.task, "embed", None)
        if embed:  # of an encoder, whose vectors in training are those of a few watched examples
            vectors = embed(result.method, result.params[place])
            told = collapsed(vectors[:_LOOKED_AT])
            run.note(collapsed=told)
            if told:
                warnings.warn(f"{run.folder}: the vectors have {told}", stacklevel=2)
            run.save_encoder(result.params[place])
        product = self.task.product(vectors)
        run.save(product)
        pictures = getattr(self.task, "shown", lambda product: {})(product)
        run.save_pictures(pictures)
        if tracker is not None:
            if pictures:
                tracker.log(pictures, result.steps)
            projected = getattr(self.task, "projected", lambda product: product)(product)
            tracker.artifact(self.task.unit, projected)
        speed = self.task.examples * self.training.epochs * len(result.seeds) / max(result.seconds, 1e-9)
        summary: dict[str, Any] = {
            "final/loss": float(result.losses[-1, place]),
            f"final/{self.task.unit}_per_second": speed,
            "final/seconds": result.seconds,
        }
        if result.held_out is not None:
            summary["final/held_out_loss"] = float(result.held_out[-1, place])
        run.note(
            data=self.task.about(),
            vectors_digest=vectors_digest(vectors),
            trained_method=self.sized,
            steps=result.steps,
            seeds_at_once=len(result.seeds),
            train_seconds=result.seconds,
            compile_seconds=result.compile_seconds,
            busy_seconds=result.busy_seconds,
            wall_seconds=time.perf_counter() - self.begun,
            energy_joules=self.energy.joules(),
            resumed=self.resumed,
        )
        run.finish(summary | self.task.judge(product))
