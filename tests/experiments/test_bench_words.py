import json
import math
import os
from dataclasses import replace

import pytest

from experiments import bench_words as experiment

QUALITY = [name + half for name in experiment.BENCHMARKS for half in ("", " (test half)")]


def measured(folder):
    return [json.loads(line) for line in (folder / "measurements.jsonl").read_text().splitlines()]


def test_the_full_preset_is_the_default():
    assert experiment.parse([]) == experiment.Settings() == experiment.PRESETS["full"]
    settings = experiment.parse(["--preset", "smoke", "--parts", "cbow", "--results", "elsewhere"])
    assert settings == replace(experiment.PRESETS["smoke"], parts=("cbow",), results=settings.results)


@pytest.mark.slow
def test_smoke_measures_every_part_and_the_table_holds_it(tmp_path, monkeypatch):
    monkeypatch.delenv("GLOVE_BIN", raising=False)
    before = os.environ.get("JAXEMBED_CACHE")
    experiment.main(experiment.parse(["--preset", "smoke", "--results", str(tmp_path)]))
    assert os.environ.get("JAXEMBED_CACHE") == before
    rows, table = measured(tmp_path), (tmp_path / "table.md").read_text()
    expected = {"reading": {"ours", "gensim"}, "counting": {"ours"}, "skipgram": {"ours", "gensim"},
                "fasttext": {"ours", "gensim"},
                "cbow": {"ours", "gensim"}, "glove": {"ours"}}  # fmt: skip
    assert {part: {row["who"] for row in rows if row["part"] == part} for part in expected} == expected
    for row in rows:
        assert {"command", "commit", "dirty", "versions", "machine", "started"} <= row.keys()
        if row["part"] in ("reading", "counting"):
            assert row["seconds"] > 0
            continue
        assert row["epochs"] == (10 if row["part"] == "glove" else 5)  # the defaults of the call
        assert row["whole"] > 0
        assert ("two more" in row) == (row["part"] != "glove")
        assert row["peak"] > 10**8
        assert all(math.isfinite(row[name]) for name in QUALITY)
        cells = " | ".join(f"{row[name]:.3f}" for name in experiment.BENCHMARKS)
        assert f" | {cells} | " in table[table.index(f"## {row['part']}") :]
    assert len({row["words"] for row in rows if row["part"] == "reading"}) == 1  # as many as gensim finds
    assert "whole: gensim's time over ours" in table
    assert experiment.NO_GENSIM not in table


def test_without_gensim_its_turns_are_left_out_and_it_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(experiment, "has_gensim", lambda: False)
    settings = replace(experiment.PRESETS["smoke"], results=tmp_path, parts=("counting",))
    experiment.main(settings)
    assert experiment.NO_GENSIM not in (tmp_path / "table.md").read_text()  # nothing is missing yet
    experiment.main(replace(settings, parts=("reading",)))
    assert experiment.NO_GENSIM in capsys.readouterr().err
    assert [(row["part"], row["who"]) for row in measured(tmp_path)] == [("counting", "ours"), ("reading", "ours")]
    table = (tmp_path / "table.md").read_text()
    assert experiment.NO_GENSIM in table
    assert "counting co-occurrences" in table


def test_seeds_are_added_to_those_measured_before(tmp_path, monkeypatch):
    found = dict.fromkeys(QUALITY + [f"{name} (dev half)" for name in experiment.BENCHMARKS], 0.5)
    times = {"whole": 2.0, "two more": 1.0, "epochs": 5, "peak": 10**9}
    calls = []

    def apart(who, kind, path, seed):
        calls.append(seed)
        return {"who": who, "seed": seed} | times | found

    monkeypatch.setattr(experiment, "apart", apart)
    monkeypatch.setattr(experiment, "has_gensim", lambda: False)
    settings = replace(experiment.PRESETS["smoke"], results=tmp_path, parts=("cbow", "skipgram"))
    for seeds in ((1,), (2, 3), (3,)):
        experiment.main(replace(settings, seeds=seeds))
    assert calls == [1, 1, 2, 3, 2, 3, 3, 3]
    rows = measured(tmp_path)
    assert sorted((row["part"], row["seed"]) for row in rows) == [
        (p, s) for p in ("cbow", "skipgram") for s in (1, 2, 3)
    ]
    assert "| 3 |" in (tmp_path / "table.md").read_text()
