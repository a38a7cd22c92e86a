import csv
import json
import subprocess
import sys
from dataclasses import replace

import jax
import numpy as np
import pytest

from experiments import scaling as experiment
from experiments.roofline import Roofs, measure
from experiments.settings import parse
from jaxembed.methods.glove import GloVe
from jaxembed.training.loop import fit
from jaxembed.training.settings import Training

SMOKE = experiment.PRESETS["smoke"]
ROOFS = Roofs(1e11, None, 1e10, 1e7, 1e7)


def test_the_full_preset_is_the_default():
    assert parse(experiment.PRESETS, [], None) == experiment.Settings() == experiment.PRESETS["full"]
    settings = parse(experiment.PRESETS, ["--preset", "smoke", "--axes", "batch", "seeds"], None)
    assert settings == replace(SMOKE, axes=("batch", "seeds"))


def test_made_up_data_are_the_same_each_time_and_follow_zipf():
    ids = experiment.zipf(100, 200_000, 0)
    np.testing.assert_array_equal(ids, experiment.zipf(100, 200_000, 0))
    share = np.bincount(ids, minlength=100) / len(ids)
    expected = 1 / np.arange(1, 101) / np.sum(1 / np.arange(1, 101))
    np.testing.assert_allclose(share, expected, atol=5 * np.sqrt(0.2 / len(ids)))
    corpus, counts = experiment.corpus(50, 2500), experiment.counts(50, 1000)
    assert corpus.offsets.tolist() == [0, 1000, 2000, 2500]
    assert len(corpus.vocabulary) == len(counts.vocabulary) == 50
    assert (counts.rows >= counts.columns).all()
    assert 900 < counts.nnz_full <= 1000
    result = fit(GloVe(vector_size=4), counts, Training(epochs=1))
    assert np.isfinite(result.vectors).all()


def test_the_roof_is_the_lower_of_two_lines():
    assert ROOFS.attainable(1.0) == 1e10
    assert ROOFS.attainable(10.0) == ROOFS.attainable(1000.0) == 1e11
    found = measure(1 << 16, 64, 1)
    assert all(rate > 0 for rate in found if rate is not None)
    assert (found.flops_bf16 is None) == (jax.default_backend() == "cpu")


@pytest.mark.slow
def test_work_of_a_step_is_that_which_is_counted_by_hand():
    # 1,024 tokens in 16 blocks of 64: rows of centres, and of tokens and 32 negatives, each moved three times.
    program = experiment.program_of(experiment.Point("skipgram", 1024, 32, 500), 20_000)
    assert experiment.bytes_moved(program) == 3 * 4 * 32 * 16 * (64 + 64 + 32)
    # Three products a tile of 16, two of them backwards, for tokens and for negatives; the rest is smaller.
    products = 3 * 2 * 32 * 16 * 4 * 16 * (16 + 32)
    assert products < program.step_cost()["flops"] < 2 * products
    # 2,048 entries of the full matrix: as many rows in each of two tables, of 31 columns and a bias.
    program = experiment.program_of(experiment.Point("glove", 2048, 32, 500), 20_000)
    assert experiment.bytes_moved(program) == 3 * 4 * 32 * 2 * 2048


@pytest.mark.slow
@pytest.mark.parametrize("way", ["vmap", "threads"])
def test_several_seeds_are_that_many_times_the_work(way):
    one = experiment.program_of(experiment.Point("glove", 256, 32, 500), 20_000)
    three = experiment.program_of(experiment.Point("glove", 256, 32, 500, seeds=3, way=way), 20_000)
    assert experiment.bytes_moved(three) == 3 * experiment.bytes_moved(one)
    assert three.step_cost()["flops"] == pytest.approx(3 * one.step_cost()["flops"], rel=0.1)


def test_efficiency_is_throughput_over_the_first():
    row = lambda speed, dimension: {"examples_per_second": speed, "dimension": dimension, "devices": 1}
    assert experiment.efficiency("batch", row(2.0, 8), row(3.0, 8)) == 1.5
    assert experiment.efficiency("dimension", row(2.0, 100), row(1.0, 200)) == 0.5 * 200 / 104  # whole lanes of 8


def test_an_unknown_family_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"unknown family 'word2vec'.* the families are skipgram, "):
        experiment.run(replace(SMOKE, families=("word2vec",), results=tmp_path))


@pytest.mark.slow
def test_points_are_written_and_other_axes_keep_what_stands_there(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment.roofline, "measure", lambda *_: ROOFS)
    settings = replace(SMOKE, results=tmp_path, examples=20_000, rows=(500, 1000), repeats=3, seconds=0.001)
    settings = replace(settings, families=("glove",), dimension=(16, 32))
    experiment.run(replace(settings, axes=("rows",)))
    first = (tmp_path / "measurements.jsonl").read_text()
    experiment.run(replace(settings, axes=("batch", "seeds")))
    text = (tmp_path / "measurements.jsonl").read_text()
    assert text.startswith(first)
    rows = [json.loads(line) for line in text.splitlines()]
    points = [(row["axis"], row["way"], row["x"]) for row in rows]
    assert points == [
        ("rows", "", 500), ("rows", "", 1000), ("batch", "", 2048), ("batch", "", 8192), ("seeds", "vmap", 1),
        ("seeds", "vmap", 2), ("seeds", "threads", 1), ("seeds", "threads", 2),
    ]  # fmt: skip
    for row in rows:
        assert len(row["seconds_step_repeats"]) == 3
        assert row["seconds_step"] == sorted(row["seconds_step_repeats"])[1]
        assert row["examples_per_second"] == pytest.approx(row["seeds"] * row["batch"] / row["seconds_step"])
        attainable = min(1e11, row["flops_step"] / row["row_bytes_step"] * 1e10)
        assert row["roofline_share"] == pytest.approx(row["flops_step"] / row["seconds_step"] / attainable)
        bound = row["row_bytes_step"] / 3 / 512 * 2e-7
        assert row["random_rows_share"] == pytest.approx(bound / row["seconds_step"])
        assert {"command", "versions", "device", "commit"} <= row.keys()
    with open(tmp_path / "scaling.csv", newline="") as file:
        tidy = list(csv.DictReader(file))
    assert [(row["axis"], row["way"], int(row["x"])) for row in tidy] == points
    assert [float(row["seconds_step"]) for row in tidy] == [row["seconds_step"] for row in rows]
    page = (tmp_path / "table.md").read_text()
    assert "Accelerators: not yet measured." in page
    assert page.index("## Against examples in a step") < page.index("## Against rows of a table")
    assert {path.name for path in tmp_path.glob("scaling-*.png")} == {
        f"scaling-{a}.png" for a in ("rows", "batch", "seeds")
    }
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {
        "glove-rows", "glove-batch", "glove-seeds-vmap", "glove-seeds-threads",
    }  # fmt: skip
    assert all(len(list(folder.glob("events.*"))) == 1 for folder in (tmp_path / "runs").iterdir())


@pytest.mark.slow
def test_a_cpu_cut_into_devices_is_measured_and_called_so(tmp_path):
    options = [
        "--preset",
        "smoke",
        "--axes",
        "devices",
        "--families",
        "glove",
        "--virtual-devices",
        "2",
        "--seconds",
        "0.001",
    ]
    command = [sys.executable, "-W", "error", "-m", "experiments.scaling", *options, "--results", str(tmp_path)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    with open(tmp_path / "scaling.csv", newline="") as file:
        points = [(row["way"], row["devices"]) for row in csv.DictReader(file)]
    assert points == [("columns", "1"), ("columns", "2"), ("batches", "1"), ("batches", "2")]
    assert "can show no speed-up" in printed
