"""Records what training reports: in the trackers of each run, and in its folder at the end."""

import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.data.cache import content_digest
from jaxembed.evaluation.geometry import collapsed
from jaxembed.study.environment import Energy
from jaxembed.study.options import Options
from jaxembed.study.run import Run
from jaxembed.tasks.base import Figures, Task, Trained, Unmeasured, parted
from jaxembed.tracking import Trackers, histogram
from jaxembed.training.loop import Progress, Result
from jaxembed.training.program import Snapshot
from jaxembed.training.settings import Training

PROBES = 20  # number of measurements of similarity over a whole run
_LOOKED_AT = 2000  # number of vectors that are checked for a collapse


def vectors_digest(vectors: np.ndarray) -> str:
    """Returns the BLAKE2b hash of the numbers, which is equal for two runs that are the same bit for bit."""
    return content_digest(np.ascontiguousarray(vectors))


class Recorder:
    """Passes what `fit` reports to the trackers of each recorded run."""

    def __init__(self, runs: Sequence[Run], recorded: Sequence[bool], task: Task, training: Training, options: Options):
        if training.best_pass and not task.select:
            kind = type(task).__name__
            raise ValueError(
                f"{kind} measures nothing after each pass by which the best one could be chosen: leave best_pass off"
            )
        self.runs, self.recorded = runs, recorded
        self.task, self.training, self.options = task, training, options
        self.trackers: list[Trackers | None] = [None] * len(runs)
        self.probes: dict[str, Any] = dict(zip(("often", "seldom"), task.probes(), strict=True))
        self.reports, self.every = 0, max(1, training.reports // PROBES)
        self.bar, self.suited = Trackers(), None
        self.begun, self.energy = time.perf_counter(), Energy()
        self.resumed = 0
        self.profiling = False

    def begin(self, extra: Mapping[str, Any]) -> None:
        """Opens the trackers, either at the start or at the position of a checkpoint."""
        self.reports, self.resumed = extra.get("reports", 0), extra.get("resumed", -1) + 1
        positions = extra.get("files", [{}] * len(self.runs))
        for place, (run, position) in enumerate(zip(self.runs, positions, strict=True)):
            if self.recorded[place]:
                run.rewind(position)
                self.trackers[place] = run.tracker(*(make(run) for make in self.options.trackers))

    def position(self) -> dict[str, Any]:
        """Returns the positions of the log files."""
        files = [run.position() if recorded else {} for run, recorded in zip(self.runs, self.recorded, strict=True)]
        return {"reports": self.reports, "resumed": self.resumed, "files": files}

    def report(self, progress: Progress, vectors: Snapshot) -> None:
        """Logs loss, learning rate and speed, and now and then the quick probes."""
        self.reports += 1
        self._profile()
        found = self.task.found
        examples = len(self.runs) * (progress.examples if found.drawn else found.examples * progress.epoch)
        same = {
            f"train/{self.task.unit}_per_second": examples / max(progress.seconds, 1e-9),
            "train/seconds": progress.seconds,
        }
        own: dict[str, Any] = {"train/loss": progress.loss, "train/learning_rate": progress.learning_rate}
        share = progress.step / progress.total_steps
        if self.reports % self.every == 0 or share == 1:
            own |= self._probed("often", vectors())
        self._log(own, same, progress.step)
        shown = {"train/loss": progress.loss.mean(), "train/learning_rate": progress.learning_rate.max()}
        self.bar.log({**same, **shown}, round(1000 * share))

    def on_epoch(self, epoch: int, progress: Progress, vectors: Snapshot) -> np.ndarray | None:
        """Logs the exact loss of the pass, held-out loss, slower probes and histograms; returns the figure of the best pass."""
        matrices = vectors()
        own: dict[str, Any] = {"epoch/loss": progress.loss, **self._probed("seldom", matrices)}
        if "held_out" in progress.metrics:
            own["held_out/loss"] = progress.metrics["held_out"]
        examined = [self.task.examine(vectors.method, params) for params in vectors.params()]
        own |= {name: np.array([one[name] for one in examined]) for name in examined[0]}
        own["tables/lengths"] = [histogram(jnp.linalg.norm(matrix, axis=-1)) for matrix in matrices]
        own["tables/values"] = [histogram(matrix) for matrix in matrices]
        self._log(own, {}, progress.total_steps * (epoch + 1) // self.training.epochs)
        return own.get(self.task.select)

    def _probed(self, which: str, vectors: jax.Array) -> Mapping[str, Any]:
        """Returns what a probe measures. A probe that fails on the data is left out from then on, and training continues."""
        try:
            return self.probes[which](vectors)
        except ValueError as error:
            warnings.warn(f"a figure cannot be measured while {self.runs[0].folder} trains: {error}", stacklevel=2)
            self.probes[which] = lambda vectors: {}
            return {}

    def _log(self, own: Mapping[str, Any], same: Mapping[str, float], step: int) -> None:
        for place, tracker in enumerate(self.trackers):
            if tracker is not None:
                tracker.log({**{name: values[place] for name, values in own.items()}, **same}, step)

    def _profile(self) -> None:
        """Records a trace between the second and the third report, which shows everything once in a file of moderate size."""
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
        run, tracker, task = self.runs[place], self.trackers[place], self.task
        params = result.params[place]
        product = task.product(result.method, params, result.vectors[place])
        if task.found.judged and task.spread:
            collapse = collapsed(product.vectors[:_LOOKED_AT])
            run.note(collapsed=collapse)
            if collapse:
                warnings.warn(f"{run.folder}: the vectors have {collapse}", stacklevel=2)
        # the method itself is used later, so it is kept as well as its vectors
        inputs = task.inputs_of(result.method)
        if task.found.judged or inputs:
            run.save_model(result.method, result.method.usable(params), inputs)
        run.save(product)
        parts = task.parts(product)
        try:
            pictures = task.pictures(parts)
            run.save_pictures(pictures)
            if tracker is not None:
                if pictures:
                    tracker.log(pictures, result.steps)
                tracker.artifact(task.shown or task.unit, task.projected(product))
        except ValueError as error:  # a missing picture is no reason to lose a run
            warnings.warn(f"{run.folder}: there are no pictures: {error}", stacklevel=2)
        found = self.task.found
        examples = result.examples if found.drawn else found.examples * self.training.epochs
        speed = examples * len(result.seeds) / max(result.seconds, 1e-9)
        summary: dict[str, Any] = {
            "final/loss": float(result.losses[-1, place]),
            f"final/{self.task.unit}_per_second": speed,
            "final/seconds": result.seconds,
        }
        if result.held_out is not None:
            summary["final/held_out_loss"] = float(result.held_out[-1, place])
        run.note(
            data=task.found.about,
            vectors_digest=vectors_digest(product.vectors),
            trained_method=self.suited,
            steps=result.steps,
            seeds_at_once=len(result.seeds),
            train_seconds=result.seconds,
            compile_seconds=result.compile_seconds,
            busy_seconds=result.busy_seconds,
            wall_seconds=time.perf_counter() - self.begun,
            energy_joules=self.energy.joules(),
            best_pass=None if result.best_pass is None else int(result.best_pass[place]),
            resumed=self.resumed,
        )
        figures, reasons = parted(judgement(task, Trained(product, lambda: (result.method, params))))
        run.note(unmeasured=reasons)
        run.finish(summary | figures)


def judgement(task: Task, trained: Trained) -> Figures:
    """Returns what `task` measures of a run; if it fails altogether, the reason for each of its columns."""
    try:
        return task.figures(trained)
    except ValueError as error:
        return {key: Unmeasured(str(error)) for key in task.columns.values()}
