"""Recipes on meshes of eight CPU devices beside one device: a script.

python shard_runs.py RECIPE ...

Prints for each recipe the largest difference of the vectors after a pass, columns of tables sharded, over their largest value.
"""

import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
from tiny import tiny, write

from jaxembed.recipes import RECIPES
from jaxembed.study.plan import ready
from jaxembed.training.loop import fit
from jaxembed.training.mesh import Layout, make_mesh

if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 8)
    with tempfile.TemporaryDirectory() as name:
        text, os.environ["JAXEMBED_DATA"] = write(Path(name)), name
        for recipe in sys.argv[1:]:
            one = tiny(RECIPES[recipe], text)
            # Adam divides by gradients that are nearly zero, and makes differences of rounding large.
            dense = replace(one.training.dense, optimizer="sgd") if one.training.dense else None
            method, data = ready(one.method, one.task)
            training = replace(
                one.training, replicas=1, dense=dense, epochs=1 if one.method.trained else one.training.epochs
            )
            alone = fit(method, data, training, seeds=(1,)).vectors[0]
            largest = 0.0
            for data_axis, columns in ((1, 8), (4, 2)):
                layout = Layout(make_mesh(data_axis, columns))
                spread = fit(method, data, training, seeds=(1,), layout=layout).vectors[0]
                largest = max(largest, float(np.abs(spread - alone).max() / np.abs(alone).max()))
            print(recipe, largest, flush=True)
