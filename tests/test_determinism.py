import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "determinism_runs.py"

pytestmark = pytest.mark.slow


def digests(folder, *arguments, **environment):
    """What the script tells, in a working directory and a cache of programs of its own."""
    folder.mkdir()
    own = {"JAX_COMPILATION_CACHE_DIR": str(folder / "programs"), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        cwd=folder, env={**os.environ, **own, **environment}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    return digests(tmp_path_factory.mktemp("usual") / "here", "words", PYTHONHASHSEED="0")


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (("words", "1"), {"PYTHONHASHSEED": "4242"}),
        (("words",), {"NPROC": "7", "OMP_NUM_THREADS": "3", "PYTHONHASHSEED": "random"}),
    ],
    ids=["one core", "more threads than cores"],
)
def test_vectors_and_losses_are_the_same_bit_for_bit(tmp_path, usual, arguments, environment):
    assert len(usual) == 7
    # In another working directory, too.
    assert digests(tmp_path / "elsewhere", *arguments, **environment) == usual


def test_an_encoder_is_the_same_bit_for_bit(tmp_path):
    # With the same number of threads: XLA cuts the large products of an encoder into parts by it, and adds these up.
    one, other = (digests(tmp_path / seed, "encoder", PYTHONHASHSEED=seed) for seed in ("0", "4242"))
    assert one == other
