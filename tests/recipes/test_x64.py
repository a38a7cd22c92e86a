"""Every recipe where JAX_ENABLE_X64 makes 64 bits the default: one process a kind of data, as JAX reads the variable once."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jaxembed.recipes import RECIPES

from .contract import GROUPS

SCRIPT = Path(__file__).with_name("x64_runs.py")
KINDS = {"words": GROUPS["words"], "images": GROUPS["images"] + GROUPS["views"], "sentences": GROUPS["sentences"],
         "pairs": GROUPS["pairs"], "facts": GROUPS["facts"], "interactions": GROUPS["interactions"],
         "clicks": GROUPS["clicks"], "nodes": GROUPS["nodes"], "texts": GROUPS["texts"],
         "classes": GROUPS["classes"], "documents": GROUPS["documents"]}  # fmt: skip


def test_every_recipe_is_of_a_kind():
    assert {name for kind in KINDS.values() for name in kind} == {*RECIPES}


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_recipes_train_and_are_judged_with_64_bits(kind):
    # An encoder as it starts is judged as all others are, and is compiled in a fraction of the time.
    first, *others = sorted(KINDS[kind], key=lambda name: not name.startswith("untrained"))
    surroundings = {**os.environ, "JAX_ENABLE_X64": "1", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, str(SCRIPT), first, *others]
    done = subprocess.run(command, env=surroundings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    lines = {name: rest for name, *rest in map(str.split, done.stdout.splitlines())}
    dtype, figures = lines.pop(first)
    assert dtype == "float32"
    assert int(figures) > 0
    assert lines == {name: ["True"] for name in others}
