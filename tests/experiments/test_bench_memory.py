import json
from dataclasses import replace

import pytest

from experiments import bench_memory


@pytest.mark.slow
def test_smoke_measures_every_part(tmp_path, capsys):
    settings = replace(bench_memory.PRESETS["smoke"], results=tmp_path)
    bench_memory.main(settings)
    rows = [json.loads(line) for line in (tmp_path / "measurements.jsonl").read_text().splitlines()]
    of = lambda part: [row for row in rows if row["part"] == part]
    assert (
        {row["objective"] for row in of("memory")} == {row["objective"] for row in of("time")} == {"InfoNCE", "SigLIP"}
    )
    for row in of("memory"):
        assert min(row["plain"], row["textbook"]) > 4 * row["batch"] ** 2
        assert row["chunked"] < min(row["plain"], row["textbook"]) / 1.5
    for row in of("time"):
        assert max(row["gradients_apart"], row["from_textbook"]) < 1e-5
    (caching,) = of("caching")
    assert caching["cached"] < caching["plain"] / 2
    assert caching["gradients_apart"] < 1e-5
    page = (tmp_path / "table.md").read_text()
    assert page in capsys.readouterr().out
    assert "| InfoNCE | 256 |" in page
