import json
from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed (the bench extra has it)")
pytest.importorskip("transformers", reason="transformers is not installed (the bench extra has it)")

from experiments import bench_checkpoints

pytestmark = pytest.mark.usefixtures("same_cores_afterwards")


def test_smoke_opens_every_family_as_transformers_saved_it(tmp_path, capsys):
    settings = replace(bench_checkpoints.PRESETS["smoke"], results=tmp_path)
    bench_checkpoints.main(settings)
    rows = [json.loads(line) for line in (tmp_path / "measurements.jsonl").read_text().splitlines()]
    assert {row["model"] for row in rows} >= {"BERT", "GPT-2", "CLIP, texts", "CLIP, pictures", "ViT", "ResNet-50"}
    for row in rows:
        assert row["difference"] < 1e-5 * max(1, row["largest"]), row["model"]
    assert (tmp_path / "table.md").read_text() in capsys.readouterr().out


def test_without_a_package_a_checkpoint_must_be_named(tmp_path, monkeypatch):
    monkeypatch.setattr(bench_checkpoints, "find_spec", lambda name: None)
    settings = replace(bench_checkpoints.PRESETS["cpu"], results=tmp_path, parts=("sts",))
    with pytest.raises(ValueError, match="name a --checkpoint"):
        bench_checkpoints.main(settings)
