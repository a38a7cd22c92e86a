"""The examples of CONTRIBUTING.md are files that run as they stand."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import jaxembed
from jaxembed.recipes import RECIPES

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
EXAMPLES = dict(re.findall(r"<!-- example: (\S+) -->\n```python\n(.*?)```", PAGE, re.DOTALL))


def run(folder, name, *line):
    (folder / name).write_text(EXAMPLES[name])
    paths = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, name, *line], cwd=folder, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_a_method_is_added_as_the_page_says(tmp_path):
    assert EXAMPLES["rotnet.py"].count("\n") < 120
    small = [
        "--max-images",
        "64",
        "--epochs",
        "2",
        "--batch-size",
        "16",
        "--hidden-size",
        "16",
        "--heads",
        "2",
        "--depth",
        "1",
    ]
    printed = run(tmp_path, "rotnet.py", "train", "rotnet", *small, "--features", "None", "--smoothing", "0.1")
    assert "probe/knn" in printed
    spec = importlib.util.spec_from_file_location("rotnet", tmp_path / "rotnet.py")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    try:
        model = jaxembed.load(tmp_path / "runs/rotnet/seed-1")
    finally:
        RECIPES.pop("rotnet")
    assert model.encode(np.zeros((2, 28, 28, 1), np.uint8)).shape == (2, 16)


@pytest.mark.slow
def test_an_experiment_is_declared_as_the_page_says(tmp_path):
    printed = run(tmp_path, "temperatures.py", "--preset", "smoke", "--max-words", "20000", "--vector-size", "8")
    assert "temperature=0.5" in printed
    assert (tmp_path / "runs/temperatures/table.md").exists()


def test_a_score_of_facts_and_a_sampler_are_added_as_the_page_says(tmp_path):
    for function in re.findall(r"\ndef .*?\n\n\n", EXAMPLES["reflected.py"], re.DOTALL):
        assert function.count("\n") < 20
    printed = run(tmp_path, "reflected.py", "train", "reflect", "--epochs", "1", "--vector-size", "8")
    assert "ranking/mrr" in printed


@pytest.mark.slow
def test_a_sampler_of_recommenders_is_added_as_the_page_says(tmp_path):
    added = EXAMPLES["mixed.py"].partition("@dataclass")[2].partition("\n\n\n")[0]
    assert added.count("\n") < 20
    printed = run(tmp_path, "mixed.py", "train", "mixed-mf", "--epochs", "1", "--vector-size", "8", "--mixed", "0.25")
    assert "ranking/recall@20" in printed
    assert '"mixed": 0.25' in next(tmp_path.glob("runs/*/seed-1/settings.json")).read_text()
