import json
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from experiments import bench_encoders, torch_encoders

pytestmark = pytest.mark.usefixtures("same_cores_afterwards")


def test_smoke_shows_that_the_models_are_the_same_and_measures_them(tmp_path, capsys):
    settings = replace(bench_encoders.PRESETS["smoke"], results=tmp_path)
    bench_encoders.main(settings)
    rows = [json.loads(line) for line in (tmp_path / "measurements.jsonl").read_text().splitlines()]
    assert [row["part"] for row in rows] == ["vit"] * 2 + ["transformer"] * 2 + ["resnet"] * 2
    for row in rows:
        assert row["difference"] < 1e-4
        assert row["losses"][0] == pytest.approx(row["losses"][1], rel=1e-3)
        assert row["ours"] > 0
        assert row["torch"] > 0
    page = (tmp_path / "table.md").read_text()
    assert page == capsys.readouterr().out[-len(page) :]
    assert page.count("not yet measured") == 3  # a GPU's rows

    bench_encoders.main(replace(settings, parts=("vit",), rounds=1))  # the other parts keep what stands there
    rows = [json.loads(line) for line in (tmp_path / "measurements.jsonl").read_text().splitlines()]
    assert sorted(row["part"] for row in rows) == ["resnet"] * 2 + ["transformer"] * 2 + ["vit"]


def test_weights_without_a_place_are_an_error():
    module = torch_encoders.ViT(4, 1, 2, 4, 1, 1)
    with pytest.raises(ValueError, match=r"embedding.weight of shape \(4, 3\) has no place"):
        torch_encoders.load(module, {"embedding": {"kernel": np.zeros((3, 4))}})
    with pytest.raises(ValueError, match=r"not given: blocks.0"):
        torch_encoders.load(module, {"embedding": {"kernel": np.zeros((4, 4)), "bias": np.zeros(4)}})
