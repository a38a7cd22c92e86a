import json
import math
from dataclasses import replace

import pytest

from experiments import bench_words as experiment

QUALITY = [name + half for name in experiment.BENCHMARKS for half in ("", " (test half)")]


def measured(folder):
    return [json.loads(line) for line in (folder / "measurements.jsonl").read_text().splitlines()]


def test_the_full_preset_is_the_default_and_measures_what_was_chosen():
    assert experiment.parse([]) == experiment.Settings() == experiment.PRESETS["full"]
    for contenders in (experiment.MATCH, experiment.BEST):
        for contender in contenders.values():
            assert experiment.Settings().sized(contender) == contender
    settings = experiment.parse(["--preset", "smoke", "--parts", "cbow", "--results", "elsewhere"])
    assert settings == replace(experiment.PRESETS["smoke"], parts=("cbow",), results=settings.results)
    assert settings.results.name == "elsewhere"


@pytest.mark.slow
def test_smoke_measures_every_part_and_the_table_holds_it(tmp_path, monkeypatch):
    monkeypatch.delenv("GLOVE_BIN", raising=False)
    experiment.main(experiment.parse(["--preset", "smoke", "--results", str(tmp_path)]))
    rows, table = measured(tmp_path), (tmp_path / "table.md").read_text()
    lines = table.splitlines()
    ours, theirs = ["ours", "ours, best"], ["gensim"]
    expected = {"reading": ["ours", *theirs], "counting": ["ours"], "skipgram": [*ours, *theirs],
                "cbow": ["ours", *theirs], "glove": ["ours"], "glove_best": ["ours"],
                "memory": ["skipgram", "cbow", "glove"]}  # fmt: skip
    headings = {"glove_best": f"glove, counted to a distance of {experiment.BEST_WINDOW}"}
    found = {part: {row["who"] for row in rows if row["part"] == part} for part in expected}
    assert found == {part: set(sides) for part, sides in expected.items()}
    assert len(rows) == sum(map(len, expected.values()))  # one round, one seed
    for row in rows:
        assert {"command", "commit", "dirty", "versions", "machine", "started"} <= row.keys()
        if row["part"] == "memory":
            assert 10**8 < row["peak"] < row["bound"]
            assert f"Peak memory, {row['who']}: {row['peak'] / 1e9:.2f} GB; bound {row['bound'] / 1e9:.2f} GB." in lines
            continue
        assert row.get("seconds", 1) > 0
        if row["part"] not in ("reading", "counting"):
            assert row["epochs"] == 1
            assert all(math.isfinite(row[name]) for name in QUALITY)
            cells = " | ".join(f"{row[name]:.3f}" for name in experiment.BENCHMARKS)
            start = lines.index(f"## {headings.get(row['part'], row['part'])}")
            (line,) = (line for line in lines[start : start + 8] if line.startswith(f"| {row['who']} |"))
            assert f" | {cells} | " in line
            assert ("words_per_second" in row) == (row["part"] in ("skipgram", "cbow"))
    for row in rows:
        if row["who"].startswith("ours") and "method" in row:
            assert (row["method"]["vector_size"], row["training"]["epochs"], row["seed"]) == (16, 1, 1)
    words = {row["words"] for row in rows if row["part"] == "reading"}
    assert len(words) == 1  # as many as gensim finds
    assert any(line.startswith("Reading a text file") and "gensim" in line for line in lines)
    assert any(line.startswith("Counting co-occurrences") for line in lines)
    assert "enwik8-small, d=16," in table
    assert "Stanford" not in table  # its figures are those of another corpus
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
    assert "Counting co-occurrences" in table
    assert "gensim, to" not in table
