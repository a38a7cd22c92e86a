"""The figures of a finished run, measured again from its vectors."""

import os

from jaxembed.evaluation.benchmarks import Half
from jaxembed.study.recorded import check_data, rebuilt, upgraded
from jaxembed.study.recorder import judgement
from jaxembed.study.run import Run
from jaxembed.tasks.base import Figures, Trained, parted


def trained(run: Run) -> Trained:
    """Returns the outcome of a finished run."""
    return Trained(run.vectors(), lambda: (rebuilt(run.trained_method), run.encoder()))


def judged(folder: str | os.PathLike, split: Half = "all") -> Figures:
    """Returns the figures that the task of a run measures, all of them or those of one half.

    "dev" are the figures by which settings may be chosen, "test" those that only confirm them.
    Raises FileNotFoundError if there is no run; ValueError if the run is not finished, if its data have changed, or if
    it has no figures of that half.
    """
    run = Run.open(folder)
    if not run.finished:
        raise ValueError(f"{folder} is not finished: start its command again, then evaluate it")
    task = rebuilt(upgraded(run.settings)["task"])
    check_data(task, run.settings)
    figures, _ = parted(judgement(task, trained(run)))
    chosen = {name: value for name, value in figures.items() if split in ("all", task.half(name))}
    if not chosen:
        raise ValueError(f"{folder} has no {split} figures: no part of its data was set apart to choose settings on")
    return chosen
