import json
import shutil

from jaxembed.study.packed import pack
from jaxembed.study.run import Run

FILES = ("settings.json", "environment.json", "metrics.jsonl", "summary.json")


def write_run(folder, seed, lines=2):
    with Run.create(folder, {"seed": seed, "rate": 0.1 + 0.2}) as run:
        tracker = run.tracker()
        for step in range(lines):
            tracker.log({"train/loss": 1 / (step + 3)}, step)
        run.finish({"figure": 1e-17 * seed, "none": None, "ü": "ö"})
    return {name: (folder / name).read_bytes() for name in FILES}


def test_packed_runs_open_as_they_were_byte_for_byte(tmp_path):
    folders = [tmp_path / "runs" / "task" / f"a-{name}" / "seed-1" for name in "bc"] + [
        tmp_path / "runs" / "d" / "seed-2"
    ]
    before = [write_run(folder, seed) for seed, folder in enumerate(folders)]
    (folders[0] / "retrieval.png").write_bytes(b"a picture")
    assert pack(tmp_path) == 3
    assert sorted(path.name for path in tmp_path.rglob("*") if path.suffix in (".json", ".jsonl", ".png")) == [
        "retrieval.png", "runs.jsonl",
    ]  # fmt: skip
    for folder, files in zip(folders, before, strict=True):
        run = Run.open(folder)
        assert run.finished
        assert {name: (folder / name).read_bytes() for name in FILES} == files
    packed = (tmp_path / "runs.jsonl").read_bytes()
    assert pack(tmp_path) == 3
    assert (tmp_path / "runs.jsonl").read_bytes() == packed


def test_a_packed_run_is_finished_and_one_made_anew_takes_its_line(tmp_path):
    folder = tmp_path / "runs" / "a" / "seed-1"
    write_run(folder, 1)
    pack(tmp_path)
    shutil.rmtree(folder, ignore_errors=True)
    assert Run.create(folder, {"seed": 1, "rate": 0.1 + 0.2}).finished  # nothing is trained
    with Run.create(folder, {"seed": 2}, overwrite=True) as run:
        run.finish({"figure": 7.0})
    pack(tmp_path)
    (line,) = map(json.loads, (tmp_path / "runs.jsonl").read_text().splitlines())
    assert line["settings.json"]["seed"] == 2
    assert line["summary.json"] == {"figure": 7.0}
    assert line["metrics.jsonl"] is None
    assert Run.open(folder).metrics() == []


def test_a_study_within_keeps_its_own_runs(tmp_path):
    trial, run = tmp_path / "tuning" / "runs" / "a" / "seed-0", tmp_path / "runs" / "a" / "seed-1"
    write_run(trial, 0)
    pack(tmp_path / "tuning")
    other = tmp_path / "tuning" / "runs" / "b" / "seed-0"
    write_run(other, 0)
    write_run(run, 1)
    assert pack(tmp_path) == 3
    assert len((tmp_path / "runs.jsonl").read_text().splitlines()) == 1
    assert len((tmp_path / "tuning" / "runs.jsonl").read_text().splitlines()) == 2
    assert all(Run.open(one).finished for one in (trial, other, run))
