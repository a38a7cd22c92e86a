import json
from dataclasses import replace

import pytest

pytest.importorskip("torch")

from experiments import bench_language

pytestmark = pytest.mark.usefixtures("same_cores_afterwards")


def test_smoke_shows_that_the_models_are_the_same_and_measures_them(tmp_path, capsys):
    bench_language.main(replace(bench_language.PRESETS["smoke"], results=tmp_path))
    rows = [json.loads(line) for line in (tmp_path / "measurements.jsonl").read_text().splitlines()]
    assert [row["part"] for row in rows] == ["step", "step", "memory"]
    for row in rows[:2]:
        assert row["losses"][0] == pytest.approx(row["losses"][1], rel=1e-4)
        assert row["ours"] > 0
        assert row["torch"] > 0
    assert 0 < rows[2]["chunks"] < rows[2]["plain"]
    page = (tmp_path / "table.md").read_text()
    assert page == capsys.readouterr().out[-len(page) :]
