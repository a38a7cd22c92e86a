import csv
from dataclasses import replace

import numpy as np
import pytest

from experiments.ablate import EXPERIMENT, PRESETS
from jaxembed.methods.skipgram import SkipGram
from jaxembed.report.record import read_study

SMOKE = PRESETS["smoke"]


def variants(changes=None, **settings):
    return EXPERIMENT.study(replace(SMOKE, **settings), changes).variants


def labels(**settings):
    return [variant.label for variant in variants(**settings)]


def test_the_full_preset_is_the_default_and_varies_what_the_issue_names():
    assert EXPERIMENT.parse([])[1] == PRESETS["full"]
    _, preset, changes = EXPERIMENT.parse(["--preset", "smoke", "--vary", "lr=0.1,0.2", "window=3", "--method", "cbow"])
    assert preset == replace(SMOKE, vary=("lr=0.1,0.2", "window=3"), contenders=("cbow",))
    assert not changes
    assert [variant.label for variant in EXPERIMENT.study(PRESETS["full"]).variants] == [
        "base", "negative=1", "negative=15", "window=2", "window=10", "vector_size=50", "vector_size=200", "vector_size=300",
    ]  # fmt: skip


def test_all_combinations_have_a_line_each():
    assert labels(vary=("dim=8,16", "window=2,5"), grid="full") == [
        "vector_size=8, window=2", "vector_size=8, window=5", "vector_size=16, window=2", "vector_size=16, window=5",
    ]  # fmt: skip


@pytest.mark.parametrize("window", [2, 10, 20, 40])
def test_a_window_is_trained_as_the_method_would_by_itself(window):
    *_, variant = variants(vary=(f"window={window}",))
    expected = SkipGram(vector_size=32, window=window, negative=5.0)
    assert variant.method == expected  # with the tile and the halo that it chooses for such a window


def test_objectives_are_varied_by_name_and_temperature_where_there_is_one():
    assert labels(vary=("objective=negative_sampling,infonce,hierarchical_softmax",)) == [
        "base", "objective=infonce", "objective=hierarchical_softmax",
    ]  # fmt: skip
    found = variants({"objective": "infonce"}, vary=("temperature=0.5,1",))
    assert [variant.factors["temperature"] for variant in found] == [1, 0.5]
    assert [variant.method.objective.temperature for variant in found] == [1, 0.5]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vary": ("colour=red",)}, "unknown setting 'colour'"),
        ({"vary": ("temperature=1,2",)}, "the objective negative_sampling has no temperature"),
        ({"vary": ("negative=2",), "contenders": ("glove",)}, "unknown setting 'negative'"),
        ({"vary": ("window",)}, "NAME=VALUE"),
        ({"vary": ("window=2,,3",)}, "NAME=VALUE"),
        ({"vary": ("window=2.5",)}, "window is a whole number, not '2.5'"),
        ({"vary": ("lr=high",)}, "learning_rate is a number, not 'high'"),
        ({"vary": ("dim=2", "vector_size=3")}, "stands twice after --vary"),
        ({"vary": ("objective=nce",)}, "unknown objective"),
        ({"vary": ()}, "nothing to vary"),
        ({"contenders": ("glove", "cbow")}, "one recipe is varied at a time"),
    ],
)
def test_what_cannot_be_varied_is_told(changes, message):
    with pytest.raises(ValueError, match=message):
        variants(**changes)


def cells(text, factor):
    section = text.split(f"## {factor}\n\n")[1].split("\n\n")[0].splitlines()[2:]
    return {cells[1]: cells[2:-1] for line in section if (cells := [cell.strip() for cell in line.split("|")])}


@pytest.mark.slow
@pytest.mark.parametrize("grid", ["one-at-a-time", "full"])
def test_tables_for_each_factor_are_those_of_the_runs(tmp_path, capsys, grid):
    line = f"--preset smoke --results {tmp_path} --max-words 20000 --vector-size 16 --grid {grid}".split()
    vary = ["negatives=5,1", "lr=0.3,0.1"]
    EXPERIMENT.main([*line, "--vary", *vary])
    text = (tmp_path / "ablation.md").read_text()
    assert text in capsys.readouterr().out
    with open(tmp_path / "results.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["benchmark"] == "wordsim353 test"]  # the first column
    assert len(rows) == (3 if grid == "one-at-a-time" else 4) * 2
    if grid == "one-at-a-time":
        assert [row["label"] for row in rows[::2]] == ["base", "negative=1", "learning_rate=0.1"]
    value = lambda negative, rate, seed: next(
        float(row["value"])
        for row in rows
        if (row["negative"], row["learning_rate"], row["seed"]) == (negative, rate, seed)
    )
    rates = ["0.3"] if grid == "one-at-a-time" else ["0.3", "0.1"]
    mean = lambda negative, seed: np.mean([value(negative, rate, seed) for rate in rates])
    found = cells(text, "negative")
    assert list(found) == ["1", "5 (base)"]
    assert float(found["1"][0].split(" ± ")[0]) == pytest.approx(np.mean([mean("1", s) for s in "12"]), abs=6e-4)
    change = [mean("1", seed) - mean("5", seed) for seed in "12"]
    shown, half = map(float, found["1"][1].split(" ± "))
    assert shown == pytest.approx(np.mean(change), abs=6e-4)
    # With two values, Student's t at 97.5 % is 12.706, and the standard error is half their difference.
    assert half == pytest.approx(12.7062 * abs(change[0] - change[1]) / 2, abs=6e-4)
    assert found["5 (base)"][1] == "–"
    assert {entry.label for entry in read_study(tmp_path).entries} == {row["label"] for row in rows}
    # Another factor is added to what is there: nothing of it is trained anew.
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("vectors.safetensors")}
    if grid == "one-at-a-time":
        EXPERIMENT.main([*line, "--vary", *vary, "dim=8"])
        assert before.items() <= {p: p.stat().st_mtime_ns for p in tmp_path.rglob("vectors.safetensors")}.items()
        assert len(read_study(tmp_path).entries) == 8
