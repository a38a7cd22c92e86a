import json
import os
import resource
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import jax
import numpy as np
import pytest

from jaxembed.study.environment import command, environment, peak_memory


def git(folder, *arguments):
    author = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    settings = ["-c", "user.name=t", "-c", "user.email=t@t", "-c", "commit.gpgsign=false", "-c", "init.defaultBranch=m"]
    done = subprocess.run(
        ["git", *settings, *arguments], cwd=folder, env=os.environ | author, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_fields_are_json_and_true():
    found = environment()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["versions"]["jax"] == jax.__version__
    assert found["versions"]["numpy"] == np.__version__
    assert found["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert None not in found["versions"].values()
    assert found["device"]["count"] == jax.device_count()
    assert found["device"]["platform"] == jax.default_backend()
    assert abs((datetime.now(UTC) - datetime.fromisoformat(found["started"])).total_seconds()) < 60
    assert found["machine"]["memory"] > found["peak_memory"] > 10_000_000
    assert found["machine"]["cores"] >= 1
    assert str(Path.home()) not in json.dumps(found)


@pytest.mark.slow
def test_peak_memory_is_in_bytes_and_grows_with_use():
    before = peak_memory()
    size = before + 50_000_000
    block = np.ones(size, np.uint8)
    assert peak_memory() >= size
    assert block.all()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss > 0


def test_command_is_as_typed_without_private_paths(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    python = "/home/someone/.venv/bin/python3.11"
    assert command([python, "-m", "experiments.compare", "--preset", "smoke", "--name", "a b"]) == (
        "python -m experiments.compare --preset smoke --name 'a b'"
    )
    assert command([python, "/home/someone/.venv/bin/jaxembed", "train", "--results=/home/someone/secret/out"]) == (
        "jaxembed train --results=out"
    )
    assert (
        command([python, str(tmp_path / "run.py"), str(tmp_path / "data" / "text.gz")]) == "python run.py data/text.gz"
    )


def copied(package: Path) -> None:
    """The package's source at another place: just what `environment` needs."""
    source = Path(__file__).parents[2] / "jaxembed" / "study" / "environment.py"
    (package / "study").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "study" / "__init__.py").write_text("")
    (package / "study" / "environment.py").write_text(source.read_text(encoding="utf-8"), encoding="utf-8")


def commit_told(folder: Path) -> tuple[str | None, bool | None]:
    code = (
        "import json; from jaxembed.study.environment import environment; "
        "told = environment(); print(json.dumps([told['commit'], told['dirty']]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=os.environ | {"PYTHONPATH": str(folder), "JAX_PLATFORMS": "cpu"},
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return tuple(json.loads(done.stdout))


def test_commit_and_whether_the_code_differs_from_it(tmp_path):
    copied(tmp_path / "jaxembed")
    (tmp_path / ".gitignore").write_text("__pycache__\n")
    git(tmp_path, "init")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "results.md").write_text("a run's own output is not code")
    assert commit_told(tmp_path) == (commit, False)
    (tmp_path / "jaxembed" / "method.py").write_text("not committed")
    assert commit_told(tmp_path) == (commit, True)


def test_a_package_installed_inside_another_repository_has_no_commit(tmp_path):
    git(tmp_path, "init")
    (tmp_path / "own.py").write_text("")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-m", "one")
    copied(tmp_path / "site-packages" / "jaxembed")
    assert commit_told(tmp_path / "site-packages") == (None, None)
