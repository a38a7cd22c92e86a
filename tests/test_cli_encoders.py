"""`jaxembed train` for the methods with encoders: from the command line to a run, and what it says of bad input."""

import numpy as np
import pytest

from jaxembed.cli import main
from jaxembed.study.run import Run

SMALL = [
    "--max-images",
    "64",
    "--epochs",
    "1",
    "--batch-size",
    "32",
    "--hidden-size",
    "16",
    "--heads",
    "2",
    "--depth",
    "1",
]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
def test_simclr_from_the_command_line(capsys):
    line = ["train", "simclr", *SMALL, "--features", "None", "--objective", "dcl", "--seeds", "1", "2"]
    assert main(line) == 0
    printed = capsys.readouterr().out
    assert "fashion-mnist-small: 64 images" in printed
    assert "probe/knn" in printed
    run = Run.open("runs/simclr-dcl/seed-2")
    assert run.settings["method"]["objective"] == {"class": "DecoupledContrastive", "temperature": 0.2}
    assert run.vectors().vectors.shape == (1000 + 64 + 7, 16)  # a tenth is set apart
    assert main(line) == 0
    assert "finished before and kept" in capsys.readouterr().out


@pytest.mark.slow
def test_simcse_on_plain_texts(capsys):
    settings = [
        "--column",
        "text",
        "--sts",
        "",
        "--max-rows",
        "40",
        "--max-length",
        "12",
        "--vocab-size",
        "500",
        "--no-task.start",
    ]
    shape = ["--epochs", "1", "--batch-size", "16", "--hidden-size", "16", "--heads", "2", "--tokenizer", "wordpiece"]
    shape += ["--encoder", "transformer", "--depth", "0", "--no-whole"]
    assert main(["train", "simcse", "--data", "enwik8-small", *settings, *shape]) == 0
    assert "texts cut to 12 tokens" in capsys.readouterr().out
    run = Run.open("runs/simcse/seed-1")
    assert np.isfinite(run.vectors().vectors).all()
    assert run.settings["task"]["start"] is None


@pytest.mark.slow
def test_settings_are_chosen_by_what_was_set_apart(capsys, tmp_path, monkeypatch):
    class Guess:
        """Stands for a probe, whose fit on all pixels takes long."""

        def accuracy(self, vectors, labels):
            return len(vectors) / 2000

    monkeypatch.setattr("jaxembed.tasks.images.fit_probe", lambda *_, **__: Guess())
    assert main(["train", "pixels", "--max-images", "64"]) == 0
    capsys.readouterr()
    summary = Run.open("runs/pixels/seed-1").summary
    shown = {}
    for split in ("dev", "test", "all"):
        assert main(["evaluate", "runs/pixels/seed-1", "--split", split, "--csv", "figures.csv"]) == 0
        assert f"figures: {split}" in capsys.readouterr().out
        lines = (tmp_path / "figures.csv").read_text().splitlines()[1:]
        shown[split] = {line.split(",")[1]: float(line.split(",")[2]) for line in lines}
    assert shown["dev"] == {name: summary[name] for name in ("probe/knn-dev", "probe/linear-dev")}
    assert not shown["test"].keys() & shown["dev"].keys()
    assert shown["all"] == shown["test"] | shown["dev"]
    assert main(["train", "pixels", "--max-images", "64", "--validation", "0", "--output", "whole"]) == 0
    capsys.readouterr()
    assert main(["evaluate", "whole/seed-1", "--split", "dev"]) == 1
    assert "no part of its data was set apart" in capsys.readouterr().err


@pytest.mark.slow
def test_mirror_images_can_be_left_out(capsys):
    line = ["train", "simclr", *SMALL, "--features", "None", "--no-flip", "--no-grayscale", "--solarize", "0.25"]
    assert main(line) == 0
    capsys.readouterr()
    views = Run.open("runs/simclr/seed-1").settings["method"]["augmentation"]
    assert (views["flip"], views["grayscale"], views["solarize"], views["jitter"]) == (0, 0, 0.25, 0.8)
    assert main(["train", "simclr", "--no-temperature"]) == 2


def test_another_kind_of_encoder_has_its_own_options(capsys):
    assert main(["train", "simclr", "--encoder", "resnet", "--help"]) == 0
    assert "--stem" in capsys.readouterr().out
    assert main(["train", "simclr", "--stem", "patch"]) == 2
    capsys.readouterr()


@pytest.mark.slow
def test_what_is_not_trained_shows_no_progress(capsys):
    assert main(["train", "pixels", "--max-images", "64"]) == 0
    printed = capsys.readouterr()
    assert "probe/knn" in printed.out
    assert " lr " not in printed.err


def test_bad_input_is_told_in_a_line(capsys):
    for arguments, message in (
        (["simclr", "--objective", "infonse"], "did you mean 'infonce'"),
        (["simclr", "--objective", "triplet", "--temperature", "1"], "has no temperature"),
        (["simclr", "--batch-size", "1"], "is compared with the others of its batch"),
        (["simclr", "--temperature", "0"], "temperature must be above 0, not 0.0"),
        (["byol", "--momentum", "1.5"], "momentum must be from 0 to 1, not 1.5"),
        (["simclr", "--column", "picture"], "picture"),
        (["simclr", "--encoder", "resnett"], "did you mean 'resnet'"),
        (["simcrl"], "did you mean 'simclr'"),
    ):
        assert main(["train", *arguments]) == 1
        printed = capsys.readouterr().err
        assert message in printed
        assert printed.count("\n") == 1


@pytest.mark.slow
def test_a_dash_is_accepted_and_the_spelling_is_one(capsys):
    assert main(["train", "barlow-twins", *SMALL, "--features", "None"]) == 0
    capsys.readouterr()
    assert Run.open("runs/barlow_twins/seed-1").settings["method"]["class"] == "BarlowTwins"


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_too_few_images_to_be_judged_are_trained_all_the_same(capsys):
    line = [
        "train",
        "simclr",
        *SMALL,
        "--max-images",
        "4",
        "--batch-size",
        "4",
        "--features",
        "None",
        "--output",
        "few",
    ]
    assert main(line) == 0
    printed = capsys.readouterr()
    before, *_ = printed.err.splitlines()
    assert "probe/linear cannot be measured: a share of 0.1 of 4 rows cannot be held out" in before
    assert "not measured: probe/linear: a share of 0.1 of 4 rows" in printed.out
    run = Run.open("few/seed-1")
    assert run.finished
    assert run.summary["probe/linear"] is None
    assert run.summary["probe/knn"] > 0
    assert "held out" in run.environment["unmeasured"]["probe/linear"]
