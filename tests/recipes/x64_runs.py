"""Trains and judges recipes for a pass, where JAX's numbers are 64 bits wide by default: a script.

JAX_ENABLE_X64=1 python x64_runs.py RECIPE ...
"""

import os
import sys
import tempfile
from pathlib import Path

from tiny import tiny, write

from jaxembed.recipes import RECIPES
from jaxembed.study.options import Options
from jaxembed.study.plan import Planned, Variant
from jaxembed.study.train import train_group

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text, os.environ["JAXEMBED_DATA"] = write(folder), name
        for recipe in sys.argv[1:]:
            one = tiny(RECIPES[recipe], text).with_(epochs=1, reports=1)
            plan = Planned(folder / recipe / "seed-1", Variant("tiny", one.method, one.training), 1, one.task.data)
            (run,) = train_group([plan], one.task, Options(console=False, checkpoint_seconds=None))
            judged = {run.summary.get(key) for key in one.task.columns.values()} - {None}
            print(recipe, run.vectors().vectors.dtype, len(judged), flush=True)
