"""Trains a group of runs on the record: a folder for each, measurements on the way, vectors and figures at the end."""

import errno
import json
import shutil
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from jaxembed.files import write_text
from jaxembed.study.options import Options
from jaxembed.study.plan import Planned, digest, ready
from jaxembed.study.recorder import Recorder
from jaxembed.study.run import Run
from jaxembed.tasks.base import Task
from jaxembed.tracking import Console, Trackers
from jaxembed.training.checkpoints import Checkpoints
from jaxembed.training.loop import Diverged, Result, fit
from jaxembed.training.numbers import numbers_of
from jaxembed.training.processes import is_first, tell


def train_group(
    plans: Sequence[Planned],
    task: Task,
    options: Options | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    description: str = "train",
) -> list[Run]:
    """Trains runs that share a program (`study.plan.groups`) at once, records each in its folder, and returns them.

    A finished run with the same settings is kept and not trained again (`Run.made_now` says which). Steps are made
    smaller if there are few data (`Method.suited_to`). A killed group continues from its last checkpoint and ends as if
    it had never stopped.

    A run's settings.json holds `settings`, the variant with its whole method and training, the fingerprint of the data
    and the seed; environment.json holds the method as it was adapted to the data. Metrics are `train/loss`,
    `train/learning_rate`, `train/<unit>_per_second` (of all runs together), `train/seconds`, `epoch/loss`,
    `held_out/loss`, the task's probes, and histograms of the vectors and their lengths. The summary holds the task's
    figures and `final/...`.

    Figures that the data do not allow are warned about before training, and are None in the summary.

    Raises ValueError if a folder holds a run with other settings (unless `overwrite`) or if two runs share a folder,
    BlockingIOError if another process is training the same run, Diverged, and Interrupted (after Ctrl-C, saved). If one
    of several trained runs cannot be written, the others are written first.
    """
    options = options or Options()
    folders = [plan.folder for plan in plans]
    if not folders:
        raise ValueError("give at least one seed")
    if len(set(folders)) < len(folders):
        seeds = ", ".join(str(plan.seed) for plan in plans)
        raise ValueError(f"each seed needs a folder of its own, but seeds {seeds} share one")
    runs: dict[Path, Run] = {}
    warned = False
    while True:
        among, waiting, folder = tell(_next(plans, task, settings or {}, options, runs) if is_first() else None)
        if not waiting:
            return list(runs.values()) if is_first() else [Run(folder, folder) for folder in folders]
        if is_first() and not warned:
            _warn_of_gaps(task)
            warned = True
        _train_some(
            [plans[i] for i in among], [i in waiting for i in among], Path(folder), task, options, runs, description
        )


def _warn_of_gaps(task: Task) -> None:
    """Warns before training of figures that cannot be measured, with one line per reason."""
    reasons: dict[str, list[str]] = {}
    for name, why in task.unmeasurable().items():
        reasons.setdefault(why, []).append(name)
    for why, names in reasons.items():
        warnings.warn(f"{task.data}: {', '.join(names)} cannot be measured: {why}", stacklevel=3)


def _next(
    plans: Sequence[Planned], task: Task, extra: Mapping[str, Any], options: Options, runs: dict[Path, Run]
) -> tuple[list[int], list[int], str]:
    """Returns the runs to train next as one program, which of them are not finished, and the folder of their checkpoints.

    A group that was killed comes first, as it was then, whatever has been added since. Its runs that had finished take
    part again, so that the program is the same at any moment. Then come all other runs.
    """
    settings = [plan.settings(task, extra) for plan in plans]
    for plan, own in zip(plans, settings, strict=True):
        if plan.folder not in runs:
            keep = options.checkpoint_seconds is not None
            runs[plan.folder] = Run.create(plan.folder, own, overwrite=options.overwrite, keep_unfinished=keep)
    waiting = [place for place, plan in enumerate(plans) if not runs[plan.folder].finished]
    names = [digest(*plan.folder.parts[-2:], own) for plan, own in zip(plans, settings, strict=True)]
    roots = dict.fromkeys(plan.folder.parent / ".checkpoints" for plan in plans)
    for path in [path for root in roots for path in sorted(root.glob("*/members.json"))] if waiting else ():
        members = json.loads(path.read_text())
        among = [place for place, name in enumerate(names) if name in members]
        if set(members) <= set(names) and set(among) & set(waiting):
            # A run whose folder is gone starts again: its record would lack everything before the checkpoint.
            if all(runs[plans[i].folder].kept for i in among if i in waiting):
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
        recorder = Recorder(runs, recorded, task, plans[0].variant.training, options)
        stack.callback(recorder.close)
        try:
            result = _fit(plans, task, options, recorder, checkpoints, description, stack)
        except Diverged:
            if checkpoints:  # it would diverge again in the same way
                checkpoints.remove()
            raise
        failures = []
        for place, here in enumerate(recorded):
            if here:
                try:
                    _conclude(recorder, place, result, checkpoints)
                except Exception as error:  # whatever it is, the other runs have been trained too
                    failures.append(error)
        if failures:
            raise failures[0]
        if checkpoints and not options.keep_checkpoints:
            checkpoints.remove()
        tell(None)


def _conclude(recorder: Recorder, place: int, result: Result, checkpoints: Checkpoints | None) -> None:
    try:
        recorder.conclude(place, result)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or checkpoints is None:
            raise
        checkpoints.make_room()
        recorder.conclude(place, result)


def _fit(
    plans: Sequence[Planned],
    task: Task,
    options: Options,
    recorder: Recorder,
    checkpoints: Checkpoints | None,
    description: str,
    stack: ExitStack,
) -> Result:
    variant = plans[0].variant
    suited, data = ready(variant.method, task)
    numbers = [numbers_of(plan.variant.method, plan.variant.training) for plan in plans]
    vary = {name: [own[name] for own in numbers] for name in numbers[0]}
    recorder.suited = suited
    # Methods without training show no progress: they are only judged.
    shown = options.console and is_first() and suited.trained
    recorder.bar = Trackers(*([Console(1000, description)] if shown else []))
    recorder.bar.start({})
    stack.callback(recorder.bar.finish, None)
    if checkpoints:
        checkpoints.extra, checkpoints.begin = recorder.position, recorder.begin
    else:
        recorder.begin({})
    return fit(
        suited,
        data,
        variant.training,
        seeds=[plan.seed for plan in plans],
        vary=vary,
        seeds_by=options.seeds_by,
        layout=options.layout,
        held_out=task.found.held_out,
        report=recorder.report,
        on_epoch=recorder.on_epoch,
        checkpoints=checkpoints,
    )
