"""Recipes with tables: on meshes of devices, columns sharded, they learn what they learn on one device."""

import subprocess
import sys
from pathlib import Path

import pytest

from .contract import GROUPS

SCRIPT = Path(__file__).with_name("shard_runs.py")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["facts", "interactions", "clicks"])
def test_recipes_learn_the_same_with_sharded_columns(kind):
    names = sorted(GROUPS[kind])
    done = subprocess.run([sys.executable, str(SCRIPT), *names], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    found = {name: float(value) for name, value in map(str.split, done.stdout.splitlines())}
    assert set(found) == set(names)
    assert max(found.values()) < 1e-3, found
