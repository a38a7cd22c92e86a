"""Ctrl-C while `python -m experiments.NAME` starts: one line and the status 130, as of the command `jaxembed`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# These stand in front of packages that experiments import: one sends Ctrl-C while it is imported, one when it is called.
INTERRUPT = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nsignal.pause()\n"
CALLED = "import os, signal\n\n\ndef cli(*_, **__):\n    os.kill(os.getpid(), signal.SIGINT)\n    signal.pause()\n"


def run(folder, *line):
    paths = os.pathsep.join([str(folder), str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, *line], cwd=ROOT, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, timeout=120
    )  # fmt: skip


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
@pytest.mark.parametrize("name", ["compare_objectives", "accelerator", "bench_memory"])
def test_interrupted_while_modules_are_imported(tmp_path, name):
    (tmp_path / "jax").mkdir()
    (tmp_path / "jax/__init__.py").write_text(INTERRUPT)
    done = run(tmp_path, "-m", f"experiments.{name}")
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == f"{name}: interrupted; what was finished before stands as it was\n"


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX signals")
def test_interrupted_in_code_of_an_experiment(tmp_path):
    (tmp_path / "tyro.py").write_text(CALLED)
    done = run(tmp_path, "-m", "experiments.bench_memory")
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "bench_memory: interrupted; what was finished before stands as it was\n"


def test_importing_the_package_alone_changes_no_handler(tmp_path):
    code = "import signal, sys; before = signal.getsignal(signal.SIGINT), sys.excepthook; import experiments; "
    run(tmp_path, "-c", code + "assert before == (signal.getsignal(signal.SIGINT), sys.excepthook)").check_returncode()
