"""`jaxembed train` for the methods with encoders: from the command line to a run, and what it says of bad input."""

import numpy as np
import pytest

from jaxembed.cli import encoders, main
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


def test_simclr_from_the_command_line(capsys):
    assert main(["train", "simclr", *SMALL, "--objective", "dcl", "--seeds", "1", "2"]) == 0
    told = capsys.readouterr().out
    assert "fashion-mnist-small: 64 images" in told
    assert "probe/knn" in told
    run = Run.open("runs/simclr/seed-2")
    assert run.settings["method"]["objective"] == {"class": "DecoupledContrastive", "temperature": 0.2}
    assert run.vectors().vectors.shape == (1000 + 64, 16)
    assert main(["train", "simclr", *SMALL, "--objective", "dcl", "--seeds", "1", "2"]) == 0
    assert "finished before and kept" in capsys.readouterr().out


def test_simcse_on_plain_texts(capsys):
    settings = ["--column", "text", "--sts", "", "--max-rows", "40", "--max-length", "12", "--vocab-size", "500"]
    shape = ["--epochs", "1", "--batch-size", "16", "--hidden-size", "16", "--heads", "2", "--depth", "0"]
    assert main(["train", "simcse", "--data", "enwik8-small", *settings, *shape]) == 0
    assert "texts cut to 12 tokens" in capsys.readouterr().out
    assert np.isfinite(Run.open("runs/simcse/seed-1").vectors().vectors).all()


def test_bad_input_is_told_in_a_line(capsys):
    for arguments, message in (
        (["simclr", "--objective", "infonse"], "did you mean 'infonce'"),
        (["simclr", "--objective", "triplet", "--temperature", "1"], "has no temperature"),
        (["simclr", "--batch-size", "1"], "needs others to differ from"),
        (["simclr", "--column", "picture"], "picture"),
    ):
        assert main(["train", *arguments]) == 1
        told = capsys.readouterr().err
        assert message in told
        assert told.count("\n") == 1


def test_every_command_builds_its_method():
    for name, command in encoders.COMMANDS.items():
        assert command.__doc__
        assert name == "barlow-twins" or name == command.method.lower()
