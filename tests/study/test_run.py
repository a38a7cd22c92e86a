import enum
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from jaxembed.study import run as run_module
from jaxembed.study.run import Run
from jaxembed.study.values import as_json
from jaxembed.vectors import KeyedVectors


class Mode(enum.Enum):
    FAST = "fast"


@dataclass(frozen=True)
class Infonce:
    temperature: float = 0.1


@dataclass(frozen=True)
class Settings:
    seed: int = 1
    objective: Infonce = Infonce()
    sizes: tuple[int, ...] = (3, 4)
    data: Path = Path("data/text8")
    bound: float = float("inf")
    mode: Mode = Mode.FAST
    extra: dict[str, float] = field(default_factory=lambda: {"z": np.float32(0.5), "a": 1.0})


def finished(folder, settings=None, score=0.5, scale=1.0):
    with Run.create(folder, settings or Settings(), overwrite=True) as run:
        tracker = run.tracker()
        tracker.log({"loss": score}, 10)
        run.save(KeyedVectors(["a", "b"], scale * np.eye(2, dtype=np.float32)))
        run.finish({"score": score})
    return run


def failing(folder, settings):
    with Run.create(folder, settings, overwrite=True) as run:
        run.tracker().log({"loss": 1.0}, 1)
        raise ZeroDivisionError


def files(folder):
    return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file() and path.name != ".lock"}


def test_settings_become_json_in_the_order_of_their_fields():
    plain = as_json(Settings())
    assert plain == {
        "seed": 1,
        "objective": {"class": "Infonce", "temperature": 0.1},
        "sizes": [3, 4],
        "data": "data/text8",
        "bound": "Infinity",
        "mode": "fast",
        "extra": {"z": 0.5, "a": 1.0},
    }
    assert list(plain) == ["seed", "objective", "sizes", "data", "bound", "mode", "extra"]
    with pytest.raises(TypeError, match=r"'optimizer\.schedule' is a function"):
        as_json({"optimizer": {"schedule": lambda step: step}})


def test_a_run_reads_back(tmp_path):
    written = finished(tmp_path / "run")
    for run in (written, Run.open(tmp_path / "run")):
        assert run.finished
        assert run.settings == as_json(Settings())
        assert run.summary == {"score": 0.5}
        assert [(line["step"], line.get("loss"), line.get("score")) for line in run.metrics()] == [
            (10, 0.5, None),
            (10, None, 0.5),
        ]
        assert run.vectors().index_to_key == ["a", "b"]
        np.testing.assert_array_equal(run.vectors().vectors, np.eye(2))
        assert run.environment["peak_memory"] > 0
        assert run.environment["finished"] >= run.environment["started"]
    assert {name.partition(".tfevents")[0] for name in files(tmp_path / "run")} == {
        "settings.json",
        "environment.json",
        "metrics.jsonl",
        "vectors.safetensors",
        "summary.json",
        "events.out",
    }


def test_facts_can_be_noted(tmp_path):
    run = Run.create(tmp_path, Settings())
    run.note(data={"fingerprint": "abc", "tokens": 12})
    assert Run.open(tmp_path).environment["data"] == {"fingerprint": "abc", "tokens": 12}
    assert "commit" in Run.open(tmp_path).environment


def test_a_finished_run_with_the_same_settings_is_returned_untouched(tmp_path):
    finished(tmp_path)
    before = files(tmp_path)
    assert Run.create(tmp_path, Settings()).finished
    assert files(tmp_path) == before


def test_other_settings_are_refused_and_named(tmp_path):
    finished(tmp_path)
    before = files(tmp_path)
    with pytest.raises(ValueError, match=r"other settings \(seed: 1 there, 2 now\): choose another folder"):
        Run.create(tmp_path, Settings(seed=2))
    assert files(tmp_path) == before


def test_other_settings_are_refused_of_an_unfinished_run_too(tmp_path):
    with Run.create(tmp_path, Settings()) as run:
        run.tracker().log({"loss": 1.0}, 1)
    before = files(tmp_path)
    with pytest.raises(ValueError, match=r"unfinished run with other settings \(seed: 1 there, 2 now\)"):
        Run.create(tmp_path, Settings(seed=2), keep_unfinished=True)
    assert files(tmp_path) == before
    again = Run.create(tmp_path, Settings(seed=2), overwrite=True, keep_unfinished=True)
    assert (again.settings["seed"], again.metrics()) == (2, [])


def test_a_run_does_not_go_on_without_a_file_that_it_had(tmp_path):
    with Run.create(tmp_path, Settings()) as run:
        run.tracker().log({"loss": 1.0}, 1)
    position = run.position()
    run.rewind(position)
    (tmp_path / "metrics.jsonl").unlink()
    with pytest.raises(ValueError, match=r"metrics\.jsonl existed at the checkpoint and is missing: remove the folder"):
        run.rewind(position)


@pytest.mark.parametrize("content", [b"{", b"null", b"[]", b"\xff"])
@pytest.mark.parametrize("name", ["settings.json", "environment.json", "summary.json"])
def test_a_broken_record_says_what_to_do_and_that_works(tmp_path, name, content):
    finished(tmp_path / "run")
    (tmp_path / "run" / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name} .*: remove the folder \S+run and run again"):
        getattr(Run.open(tmp_path / "run"), name.removesuffix(".json"))
    if name == "settings.json":
        with pytest.raises(ValueError, match="remove the folder"):
            Run.create(tmp_path / "run", Settings())
    finished(tmp_path / "run", score=0.9)  # overwritten
    assert Run.open(tmp_path / "run").summary == {"score": 0.9}
    (tmp_path / "run" / "settings.json").unlink()
    with pytest.raises(ValueError, match=r"finished run without settings\.json: remove the folder"):
        Run.create(tmp_path / "run", Settings())
    shutil.rmtree(tmp_path / "run")
    assert not Run.create(tmp_path / "run", Settings()).finished


def test_overwriting_replaces_everything_at_the_end_and_nothing_before(tmp_path):
    finished(tmp_path, score=0.5)
    (tmp_path / "notes.txt").write_text("mine")
    before = files(tmp_path)
    with Run.create(tmp_path, Settings(seed=2), overwrite=True) as run:
        run.tracker().log({"loss": 9.0}, 1)
        run.save(KeyedVectors(["c"], np.ones((1, 2), np.float32)))
        assert files(tmp_path) == before
        assert not run.finished
        run.finish({"score": 0.9})
    again = Run.open(tmp_path)
    assert (again.settings["seed"], again.summary["score"]) == (2, 0.9)
    assert again.vectors().index_to_key == ["c"]
    assert [line["step"] for line in again.metrics()] == [1, 1]
    assert len(list(tmp_path.glob("*tfevents*"))) == 1
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert not (tmp_path / ".next").exists()


def test_an_exception_leaves_the_run_unfinished_and_an_earlier_one_whole(tmp_path):
    finished(tmp_path)
    before = files(tmp_path)
    with pytest.raises(ZeroDivisionError):
        failing(tmp_path, Settings(seed=2))
    assert files(tmp_path) == before
    with pytest.raises(ZeroDivisionError):
        failing(tmp_path / "new", Settings())
    left = Run.open(tmp_path / "new")
    assert not left.finished
    assert left.summary == {}
    assert [line["loss"] for line in left.metrics()] == [1.0]
    fresh = Run.create(tmp_path / "new", Settings())
    assert fresh.metrics() == []


KILLED = """
import os, signal, sys
import numpy as np
from jaxembed.study.run import Run
from jaxembed.vectors import KeyedVectors
with Run.create(sys.argv[1], {"seed": 2}, overwrite=True) as run:
    run.tracker().log({"loss": 1.0}, 1)
    run.save(KeyedVectors(["c"], np.ones((1, 2), np.float32)))
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_run_leaves_the_earlier_one_whole(tmp_path):
    finished(tmp_path)
    before = files(tmp_path)
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=environment, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert (tmp_path / ".next" / "vectors.safetensors").exists()  # it had come that far
    assert files(tmp_path) == before
    assert Run.open(tmp_path).vectors().index_to_key == ["a", "b"]
    assert Run.create(tmp_path, Settings()).finished
    finished(tmp_path, score=0.9)
    assert Run.open(tmp_path).summary == {"score": 0.9}


def test_a_kill_at_any_point_of_the_replacement_is_made_good(tmp_path, monkeypatch):
    """Stops after each of its removals and moves in turn: opening the folder always gives the new run, whole."""
    finished(tmp_path / "old", score=0.1)
    finished(tmp_path / "new", Settings(seed=2), score=0.9, scale=3.0)
    expected = files(tmp_path / "new")
    for survived in range(100):
        folder = tmp_path / f"case{survived}"
        shutil.copytree(tmp_path / "old", folder)
        shutil.copytree(tmp_path / "new", folder / ".next")
        left = survived

        def dying(action):
            def act(*arguments):
                nonlocal left
                if left == 0:
                    raise KeyboardInterrupt
                left -= 1
                return action(*arguments)

            return act

        with monkeypatch.context() as patch:
            patch.setattr(run_module.os, "replace", dying(os.replace))
            patch.setattr(run_module.Path, "unlink", dying(Path.unlink))
            patch.setattr(run_module.shutil, "rmtree", dying(shutil.rmtree))
            try:
                Run.open(folder)
                whole = True
            except KeyboardInterrupt:
                whole = False
        assert Run.open(folder).summary == {"score": 0.9}
        assert files(folder) == expected
        if whole:
            break
    assert survived > 10


def test_a_folder_without_a_run_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no run"):
        Run.open(tmp_path)
    run = Run.create(tmp_path, Settings())
    with pytest.raises(FileNotFoundError, match="has saved no vectors"):
        run.vectors()
    (tmp_path / "settings.json").write_text("{")
    with pytest.raises(ValueError, match=r"settings\.json is not valid JSON .* remove the folder"):
        _ = run.settings


def test_json_written_is_strict_and_stable(tmp_path):
    Run.create(tmp_path / "one", Settings())
    Run.create(tmp_path / "two", Settings())
    text = (tmp_path / "one" / "settings.json").read_text()
    assert text == (tmp_path / "two" / "settings.json").read_text()
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert SimpleNamespace(**json.loads(text)).bound == "Infinity"
