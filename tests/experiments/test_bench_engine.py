import json
from dataclasses import replace

import pytest

from experiments import bench_engine


@pytest.mark.slow
def test_smoke_measures_overhead_and_checkpoints(tmp_path, capsys):
    settings = replace(bench_engine.PRESETS["smoke"], results=tmp_path, words=50_000)
    bench_engine.main(settings)
    rows = [json.loads(line) for line in (tmp_path / "measurements.jsonl").read_text().splitlines()]
    overhead, checkpoints = (next(row for row in rows if row["part"] == part) for part in settings.parts)
    assert 0 < overhead["fit_busy"] < overhead["fit"]
    assert 0 < overhead["recorded_busy"] < overhead["recorded"]
    assert checkpoints["saved"] > 0
    assert checkpoints["bytes"] > 0
    page = (tmp_path / "table.md").read_text()
    assert page in capsys.readouterr().out
    assert "slowdown by one a minute" in page


def test_a_difference_that_drowns_in_noise_is_not_called_zero():
    assert bench_engine.over_noise([0.3, -0.5, 0.1], "{:.1f} s") == "below the noise (± 1.0 s)"
    assert bench_engine.over_noise([-0.50, -0.51, -0.52], "{:.2f} s") == "-0.51 s"
    assert bench_engine.over_noise([-0.5], "{:.1f} s") == "-0.5 s"
