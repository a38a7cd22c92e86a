import json
from dataclasses import replace

import jax
import numpy as np
import pytest

from experiments import many_seeds as experiment
from experiments.settings import parse
from jaxembed.data import read_corpus
from jaxembed.training.loop import fit

SMOKE = replace(experiment.PRESETS["smoke"], max_words=5_000, vector_size=8, seeds=(1, 3), varied=2, repeats=2)


def test_the_full_preset_is_the_default():
    assert parse(experiment.PRESETS, [], None) == experiment.Settings() == experiment.PRESETS["full"]


@pytest.mark.slow
def test_a_group_trains_from_its_start_each_time_as_fit_does():
    corpus = read_corpus(SMOKE.data).head(SMOKE.max_words)
    group = experiment.Group(SMOKE, corpus, (4, 5), "threads")
    method, training = experiment.plain(SMOKE)
    expected = fit(method, corpus, training, seeds=(4, 5)).vectors
    for _ in range(2):
        group.train()
        np.testing.assert_array_equal(group.vectors(), expected)


def test_the_smallest_change_of_a_learning_rate():
    rate, moved = np.float32(0.3), np.float32(experiment.nudged(experiment.plain(SMOKE)[1]).learning_rate)
    assert moved.view(np.int32) - rate.view(np.int32) == 1


def test_sides_take_turns_in_alternating_order():
    order = []
    turns = {name: lambda name=name: float(order.append(name) or len(order)) for name in "ab"}
    assert experiment.in_turns(turns, 3) == {"a": [1, 4, 5], "b": [2, 3, 6]}
    assert "".join(order) == "abbaab"


def test_the_difference_is_zero_only_for_the_same_bits():
    ones = np.ones((2, 2), np.float32)
    assert experiment.difference(ones, ones.copy()) == 0
    assert experiment.difference(2 * ones, np.array([[2, 2], [2, 1]], np.float32)) == 0.25
    assert experiment.difference(0 * ones + [[0, 1], [1, 1]], np.array([[-0.0, 1], [1, 1]])) > 0


def test_a_run_that_is_not_the_same_in_a_group_is_an_error():
    seconds = {"after": [4.0, 2.0, 3.0], "threads": [1.5, 1.5, 9.0]}
    row = experiment.row_of(SMOKE, "seeds", 3, seconds, difference={"threads": 0.0, "vmap": 1e-4})
    assert (row["median"], row["over_after"]) == ({"after": 3.0, "threads": 1.5}, {"threads": 0.5})
    for apart in ({"threads": 1e-9}, {"vmap": 0.02}, {"vmap": float("nan")}):
        with pytest.raises(ValueError, match="differs from the same run alone"):
            experiment.row_of(SMOKE, "seeds", 3, seconds, difference=apart)


@pytest.mark.slow
def test_every_way_is_measured_and_written(tmp_path):
    experiment.run(replace(SMOKE, results=tmp_path))
    rows = [json.loads(line) for line in (tmp_path / "measurements.jsonl").read_text().splitlines()]
    ways = ("threads", "map", "vmap") if jax.default_backend() == "cpu" else ("vmap",)
    assert [(row["what"], row["count"]) for row in rows] == [
        ("seeds", 1), ("seeds", 3), ("learning rate and temperature", 2),
    ]  # fmt: skip
    for row in rows:
        assert tuple(row["seconds"]) == ("after", *ways)
        for name, seconds in row["seconds"].items():
            assert len(seconds) == 2
            assert row["median"][name] == pytest.approx(sum(seconds) / 2)
        assert row["difference"].get("threads", 0) == 0
        assert 0 < row["one_ulp"] < 0.01
        assert {"command", "versions", "device", "commit"} <= row.keys()
    assert len(rows[2]["vary"]["objective.temperature"]) == 2
    page = (tmp_path / "table.md").read_text()
    assert "not yet measured" in page
    assert "## Runs that differ in learning rate and temperature" in page
    assert (tmp_path / "many_seeds.png").stat().st_size > 1000
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"after", *ways}
    assert all(list(folder.glob("events.out.tfevents.*")) for folder in (tmp_path / "runs").iterdir())
