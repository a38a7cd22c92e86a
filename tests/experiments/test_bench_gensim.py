from dataclasses import replace

import pytest

from experiments import bench_gensim as experiment

SMOKE = experiment.PRESETS["smoke"]


def test_without_gensim_a_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(experiment.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"pip install \.\[bench\]"):
        experiment.main(replace(SMOKE, results=tmp_path))


def test_both_sides_train_on_as_many_nodes_of_walks():
    pytest.importorskip("gensim")
    one = experiment.recipe_of("deepwalk", SMOKE)
    ours, theirs = experiment.ours("deepwalk", SMOKE), experiment.theirs("deepwalk", SMOKE)
    nodes = theirs["words_per_second"] * theirs["seconds"]
    assert round(nodes) == 34 * one.method.walks * one.method.walk_length
    assert min(side["nodes/micro_f1@50%"] for side in (ours, theirs)) > 0.5


def test_the_table_has_the_ratios():
    about = {"machine": {"cpu": "c", "cores": 2}, "commit": "0" * 40, "versions": {}, "command": "x", "device": {}}
    rows = [
        {"part": part, "who": who, "seconds": seconds, "words_per_second": 1e6 / seconds} | about
        for part in ("deepwalk", "doc2vec") for who, seconds in (("ours", 2.0), (experiment.PEER, 9.0))
    ]  # fmt: skip
    text = experiment.table(SMOKE, rows)
    assert "ours for the whole run: **4.5**" in text
    assert "our words/s over its: **4.5**" in text
