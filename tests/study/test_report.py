import csv
import math

import numpy as np
import pytest
from scipy import stats

from jaxembed.study import report


def rows_of(method, seeds, values, fingerprint="a"):
    return [
        {
            "method": method,
            "seed": seed,
            "train_seconds": 9.0,
            "seeds_at_once": len(seeds),
            "words_per_second": 2e6,
            "data_fingerprint": fingerprint,
            "benchmark": "simlex999",
            "value": value,
        }
        for seed, value in zip(seeds, values, strict=True)
    ]


def test_the_interval_is_students():
    values = [0.31, 0.28, 0.35, 0.30]
    found = report.estimate(values)
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert found.mean == pytest.approx(np.mean(values))
    assert (found.mean - found.half_width, found.mean + found.half_width) == pytest.approx((low, high))
    assert math.isnan(report.estimate([0.3]).half_width)


def test_a_table_has_a_line_a_method_and_marks_the_best():
    table = report.by_method(
        rows_of("one", (1, 2, 3), (0.1, 0.2, 0.3)) + rows_of("two", (1, 2, 3), (0.4, 0.4, 0.4)), ["simlex999"]
    )
    assert table["one"]["seconds"].mean == 3.0
    text = report.markdown(table, ["simlex999"])
    one, two = text.splitlines()[2:]
    assert "0.200 ± 0.248" in one
    assert "**0.400 ± 0.000**" in two
    assert "2.00 M" in two
    assert len({len(line) for line in text.splitlines()}) == 1


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="different data"):
        report.by_method(rows_of("one", (1,), (0.1,)) + rows_of("two", (1,), (0.1,), "b"), ["simlex999"])
    with pytest.raises(ValueError, match="missing"):
        report.by_method(rows_of("one", (1, 2), (0.1, 0.2)) + rows_of("two", (1,), (0.1,)), ["simlex999"])


def test_rows_and_pictures_are_written(tmp_path):
    rows = rows_of("one", (1, 2), (0.1, 0.2))
    report.write_csv(tmp_path / "results.csv", rows)
    with open(tmp_path / "results.csv", newline="") as file:
        assert [float(row["value"]) for row in csv.DictReader(file)] == [0.1, 0.2]
    report.plot_quality(tmp_path / "quality.png", report.by_method(rows, ["simlex999"]), ["simlex999"], "title")
    assert (tmp_path / "quality.png").read_bytes().startswith(b"\x89PNG")
