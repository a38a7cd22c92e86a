"""Every recipe where JAX_ENABLE_X64 makes 64 bits the default: one process a group, since JAX reads the variable once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .contract import GROUPS

SCRIPT = Path(__file__).with_name("x64_runs.py")


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_recipes_train_and_are_judged_with_64_bits(group):
    surroundings = {**os.environ, "JAX_ENABLE_X64": "1", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, str(SCRIPT), *GROUPS[group]]
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    for line, name in zip(done.stdout.splitlines(), GROUPS[group], strict=True):
        recipe, dtype, figures = line.split()
        assert (recipe, dtype) == (name, "float32")
        assert int(figures) > 0
