import json
from dataclasses import replace

import pytest

from experiments import bench_knowledge as experiment

SMOKE = experiment.PRESETS["smoke"]


def test_without_pykeen_a_line_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(experiment.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"pip install \.\[bench\]"):
        experiment.main(replace(SMOKE, results=tmp_path))


def test_each_pass_of_ours_is_timed_with_all_entities_as_candidates():
    one = experiment.recipe_of(SMOKE, objective="softmax")
    assert one.method.objective.negatives == "everybody"
    assert (one.method.vector_size, one.method.reciprocal, one.method.regularizer) == (16, True, "n3")
    seconds = experiment.ours(SMOKE)
    assert len(seconds) == SMOKE.passes
    assert min(seconds) > 0


def test_the_table_has_the_ratio_and_the_largest_difference():
    about = {"machine": {"cpu": "c", "cores": 2}, "commit": "0" * 40, "versions": {}, "command": "x", "device": {}}
    times = [{"part": "pass", "who": who, "seconds": s} for who, s in (("ours", 2.0), (experiment.PEER, 9.0))]
    found = dict.fromkeys(experiment.FIGURES, 0.25) | {"seconds": 1.0}
    ranks = [{"part": "ranks", "who": "ours"} | found,
             {"part": "ranks", "who": experiment.PEER, "facts": 7, "differ/head": 0.0, "differ/tail": 0.5} | found]  # fmt: skip
    text = experiment.table(SMOKE, [row | about for row in times + ranks])
    assert "ours 2.0 s, PyKEEN 9.0 s: **4.5**" in text
    assert "of 7 facts, heads and tails: 0.5." in text


def test_both_rank_the_same_vectors_alike(tmp_path):
    pytest.importorskip("pykeen")
    experiment.main(replace(SMOKE, results=tmp_path, parts=("ranks",)))
    ours, peer = (json.loads(line) for line in (tmp_path / "measurements.jsonl").read_text().splitlines())
    assert peer["differ/head"] == peer["differ/tail"] == 0
    assert ours["mrr"] == pytest.approx(peer["mrr"], abs=1e-6)
