import json
from dataclasses import replace

from experiments import many_seeds


def test_smoke_measures_all_ways_and_a_run_is_what_it_is_alone(tmp_path, capsys):
    settings = replace(many_seeds.PRESETS["smoke"], results=tmp_path, words=5_000, counts=(1, 3), vector_size=8)
    many_seeds.main(settings)  # fails by itself where a group gives other vectors
    rows = [json.loads(line) for line in (tmp_path / "measurements.jsonl").read_text().splitlines()]
    assert {(row["runs"], row["how"], row["varied"]) for row in rows} == {
        (number, how, varied) for number, varied in ((1, False), (3, False), (2, True)) for how in ("threads", "vmap")
    }
    assert [row["gap"] for row in rows if row["how"] == "threads" and not row["varied"]] == [0, 0]
    table = (tmp_path / "table.md").read_text()
    assert table in capsys.readouterr().out
    assert "| 3 | seed | vmap |" in table
    assert (tmp_path / "seconds.png").stat().st_size > 1000
    assert list(tmp_path.glob("events.out.tfevents.*"))
