"""Recipes where JAX's numbers are 64 bits wide by default: a script.

JAX_ENABLE_X64=1 python x64_runs.py RECIPE ...

The first recipe is trained for a pass and judged. Of the others, which share its data and its judging, a step is traced: what
it gives must be of the types that it takes, as it is carried from step to step. Types are known without compiling.
"""

import os
import sys
import tempfile
from pathlib import Path

import jax
from tiny import tiny, write

from jaxembed.recipes import RECIPES
from jaxembed.study.options import Options
from jaxembed.study.plan import Planned, Variant, abstract_step, ready
from jaxembed.study.train import train_group


def trained(name, one, folder):
    """What became of a recipe: the type of its vectors, and how many figures there are."""
    plan = Planned(folder / name / "seed-1", Variant("tiny", one.method, one.training), 1, one.task.data)
    (run,) = train_group([plan], one.task, Options(console=False, checkpoint_seconds=None))
    judged = {run.summary.get(key) for key in one.task.columns.values()} - {None}
    return run.vectors().vectors.dtype, len(judged)


def traced(one):
    """Whether a step gives back what it takes."""
    method, data = ready(one.method, one.task)
    step, shapes = abstract_step(method, one.training, method.source(data))
    kinds = lambda tree: jax.tree.map(lambda leaf: (leaf.shape, str(leaf.dtype)), tree)
    return kinds(jax.eval_shape(step, *shapes)[0]) == kinds(shapes[0])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text, os.environ["JAXEMBED_DATA"] = write(folder), name
        for recipe in sys.argv[1:]:
            one = tiny(RECIPES[recipe], text).with_(epochs=1, reports=1)
            print(recipe, *(trained(recipe, one, folder) if recipe == sys.argv[1] else (traced(one),)), flush=True)
