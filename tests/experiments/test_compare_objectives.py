import csv
from dataclasses import replace

import pytest

from experiments import compare_objectives as experiment
from experiments.settings import parse, run
from jaxembed.data import read_corpus
from jaxembed.study.run import Run


def test_presets_can_be_overridden():
    settings = parse(
        experiment.PRESETS, ["--preset", "smoke", "--seeds", "7", "8", "9", "--results", "elsewhere"], None
    )
    assert settings == replace(experiment.PRESETS["smoke"], seeds=(7, 8, 9), results=settings.results)
    assert settings.results.name == "elsewhere"
    assert parse(experiment.PRESETS, [], None).preset == "enwik8"


def test_an_unknown_contender_is_told():
    with pytest.raises(ValueError, match="skipgram/OBJECTIVE"):
        experiment.contender("word2vec", experiment.PRESETS["smoke"])
    with pytest.raises(ValueError, match="skipgram/OBJECTIVE"):
        experiment.contender("glove/infonce", experiment.PRESETS["smoke"])
    with pytest.raises(ValueError, match="unknown objective"):
        experiment.contender("cbow/nce", experiment.PRESETS["smoke"])


def test_everything_lies_under_the_results_folder_and_a_second_run_trains_nothing(tmp_path, capsys):
    settings = replace(
        experiment.PRESETS["smoke"],
        results=tmp_path,
        max_words=20_000,
        vector_size=8,
        glove_epochs=1,
        contenders=("skipgram/infonce", "glove"),
    )
    run(settings, experiment.study, experiment.show)
    shown = capsys.readouterr().out
    assert "skipgram/infonce" in shown
    assert "tensorboard --logdir" in shown
    with open(tmp_path / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {(row["label"], row["seed"]) for row in rows} == {(m, s) for m in settings.contenders for s in "12"}
    assert {"wordsim353", "simlex999", "google"} <= {row["benchmark"] for row in rows}
    for name in ("table.md", "table.tex", "quality.png", "curves.png"):
        assert (tmp_path / name).stat().st_size > 100
    finished = Run.open(tmp_path / "runs" / "glove" / "seed-2")
    assert finished.finished
    assert finished.environment["data"]["vocabulary"] == len(finished.vectors())
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    run(settings, experiment.study, experiment.show)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    with pytest.raises(ValueError, match="window"):  # what stands there was counted with another window
        run(replace(settings, glove_window=3), experiment.study)


def test_the_head_of_a_corpus_keeps_whole_documents():
    corpus = read_corpus([["a", "b"], ["c"] * 3, ["a"] * 5], min_count=1)
    head = corpus.head(3)
    assert head.documents == 2
    assert len(head.tokens) == 5
    assert head.fingerprint != corpus.fingerprint
    assert corpus.head(100) is corpus
    assert corpus.head(0) is corpus
