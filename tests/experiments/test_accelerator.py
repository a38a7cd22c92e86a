import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import accelerator

ROOT = Path(accelerator.__file__).parents[1]

#: The whole command, in a process that must not touch the device: its parts' processes need the memory.
CODE = """
from jax._src.xla_bridge import backends_are_initialized
from experiments import accelerator
accelerator.main({arguments!r})
assert not backends_are_initialized()
"""


def rows_of(folder):
    return [json.loads(line) for line in (folder / "measurements.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_the_toy_runs_without_datasets_and_tyro(tmp_path):
    for name in ("datasets", "tyro"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not installed')\n")
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    env = {**os.environ, "PYTHONPATH": paths, "JAX_PLATFORMS": "cpu", "JAXEMBED_CACHE": str(tmp_path / "cache")}
    env.pop("JAXEMBED_DATA", None)
    arguments = ["--toy", "--results", str(tmp_path / "results"), "--parts", "scatter", "words"]
    code = CODE.format(arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "results")
    assert not [row["failed"] for row in rows if "failed" in row]
    assert {row["part"] for row in rows} == {"scatter", "words"}
    for row in rows:
        assert {"command", "commit", "versions", "device", "machine", "started", "seed", "settings"} <= row.keys()
    called = next(row for row in rows if row["what"] == "Word2Vec(sg=1)")
    assert called["words_per_second"] > 0
    assert {f"google-{half}" for half in ("all", "dev", "test")} <= called.keys()
    page = (tmp_path / "results/table.md").read_text()
    assert done.stdout.endswith(page)
    assert page.count("Not yet measured.") == len(accelerator.PARTS) - 2


def test_a_part_that_would_not_end_in_time_is_not_started(tmp_path, capsys):
    accelerator.main(["--minutes", "0.5", "--results", str(tmp_path), "--parts", "words", "seeds"])
    page = (tmp_path / "table.md").read_text()
    assert page.count("Not yet measured.") == len(accelerator.PARTS)
    assert "Not started: it takes about 90 s, and 30 s were left." in page
    assert "seeds: Not started" in capsys.readouterr().out


def test_a_failure_is_told_and_earlier_figures_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(accelerator, "start", lambda deterministic: None)
    plan = accelerator.Plan(True, 0)

    def part(*rows):
        def measured(plan):
            for row in rows:
                if isinstance(row, BaseException):
                    raise row
                yield row

        monkeypatch.setitem(accelerator.PARTS, "words", accelerator.PARTS["words"]._replace(rows=measured))

    part({"what": "one", "words_per_second": 2.5e6}, {"what": "two", "words_per_second": 1.0, "epochs": 3})
    accelerator.one_part("words", plan, tmp_path, {"run": "first"}, {})
    part(SystemExit("no\nmemory"))
    accelerator.one_part("words", plan, tmp_path, {"run": "second"}, {"seeds": "Not started."})
    assert [row.get("failed") for row in rows_of(tmp_path)] == [None, None, "SystemExit: no memory"]
    page = (tmp_path / "table.md").read_text()
    assert "2.50 M" in page
    assert "SystemExit: no memory" in page
    assert "Not started." in page
    part({"what": "three", "words_per_second": 7000.0})
    accelerator.one_part("words", plan, tmp_path, {"run": "third"}, {})
    page = (tmp_path / "table.md").read_text()
    assert "7,000" in page
    assert "2.50 M" not in page
    assert "memory" not in page


def test_the_process_that_ends_by_itself_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(accelerator, "one_part", os._exit)  # with the part's name, which is no number: a TypeError
    accelerator.main(["--toy", "--results", str(tmp_path), "--parts", "scatter"])
    assert "Its process ended by itself, with 1." in (tmp_path / "table.md").read_text()


def test_each_part_reads_settings_that_there_are():
    for plan in (accelerator.Plan(False, 0), accelerator.Plan(True, 0)):
        assert accelerator.skipgram(plan, max_words=9).method.vector_size == (16 if plan.toy else 128)
        assert [accelerator.simclr(name, plan).method.encoder.kind for name in ("cifar", "fashion")] == (
            ["vit", "vit"] if plan.toy else ["resnet", "vit"]
        )


def test_a_dataset_that_is_here_comes_before_the_shipped_one(tmp_path, monkeypatch):
    monkeypatch.delenv("JAXEMBED_DATA", raising=False)
    assert accelerator.here("enwik8-text", "enwik8-small") == "enwik8-small"
    (tmp_path / "enwik8-text").mkdir()
    (tmp_path / "enwik8-text/train.parquet").touch()
    monkeypatch.setenv("JAXEMBED_DATA", str(tmp_path))
    assert accelerator.here("enwik8-text", "enwik8-small") == "enwik8-text"
