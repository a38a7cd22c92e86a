"""The figures of a finished run, measured again from the vectors that it kept."""

import os

from jaxembed.evaluation.benchmarks import Half
from jaxembed.study.recorded import check_data, rebuilt, upgraded
from jaxembed.study.recorder import judgement
from jaxembed.study.run import Run
from jaxembed.tasks.base import Figures, Trained, parted


def trained(run: Run) -> Trained:
    """What a finished run has become."""
    return Trained(run.vectors(), lambda: (rebuilt(run.trained_method), run.encoder()))


def judged(folder: str | os.PathLike, split: Half = "all") -> Figures:
    """What the task of a run measures of its vectors: all figures, or those of one half.

    "dev" are the figures that settings may be chosen by, "test" those that only confirm them.
    Raises FileNotFoundError where there is no run, ValueError where it is not finished, where its data are not the same any
    more, and where it has no figures of that half.
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
