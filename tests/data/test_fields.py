from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxembed.data.fields import Fields, FieldsInput, held_out, read_fields
from jaxembed.tasks.clicks import Clicks


def write(folder, name, **columns):
    folder.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    return str(folder)


@pytest.fixture
def data(tmp_path):
    write(tmp_path / "t", "train", label=[1, 0, 1], city=["b", "a", "b"], day=[3, 1, 2])
    return write(tmp_path / "t", "test", label=[0, 1], city=["c", "a"], day=[2, 9])


def test_all_fields_share_one_table_with_offsets(data):
    train = read_fields(data, ("city", "day"), "label", split="train")
    test = read_fields(data, ("city", "day"), "label", split="test", like=train)
    assert train.keys == ["city/", "city/a", "city/b", "day/", "day/1", "day/2", "day/3"]
    assert [[train.keys[i] for i in row] for row in train.ids] == [
        ["city/b", "day/3"],
        ["city/a", "day/1"],
        ["city/b", "day/2"],
    ]
    assert [[train.keys[i] for i in row] for row in test.ids] == [["city/", "day/2"], ["city/a", "day/"]]
    rows = [{"city": "c", "day": 2}, {"city": "a", "day": 9}]
    np.testing.assert_array_equal(FieldsInput(train.fields, train.values).examples(rows)["ids"], test.ids)
    with pytest.raises(ValueError, match="row 0 has no 'day'"):
        FieldsInput(train.fields, train.values).examples([{"city": "a"}])


def test_slips_are_told(data, tmp_path):
    with pytest.raises(ValueError, match="each once"):
        read_fields(data, ("city", "label"), "label", split="train")
    with pytest.raises(ValueError, match="has no column 'town'"):
        read_fields(data, ("town",), "label", split="train")
    other = write(tmp_path / "o", "train", label=[1, 2], city=["a", "b"])
    with pytest.raises(ValueError, match=r"row 1 of .* has the label 2: labels are 0 and 1"):
        read_fields(other, ("city",), "label")


def test_a_share_is_held_out_by_place(data):
    train = read_fields(data, ("city",), "label", split="train").take(np.tile(np.arange(3), 2000), "all")
    rest, dev = held_out(train, 0.1)
    assert len(rest) + len(dev) == 6000
    assert abs(len(dev) - 600) < 80
    assert held_out(train, 0.0)[1] is None


def test_a_single_table_is_divided_and_what_only_the_test_has_is_unknown(tmp_path):
    path = tmp_path / "clicks.csv"
    path.write_text("city,clicked\n" + "".join(f"{'abc'[i % 3]},{i % 2}\n" for i in range(299)) + "once,1\n" * 40)
    task = Clicks(data=str(path), fields=("city",), label="clicked", test_split=None, validation=0.0)
    found = task.read()
    assert len(found.train) + len(found.rest) == 339
    assert abs(len(found.rest) - 68) < 25
    alone = Fields(("city",), (("a", "b"),), np.int32([[1], [2], [2]]), np.float32([1, 0, 1]))
    np.testing.assert_array_equal(alone.among(alone.take(np.array([0]), "train")).ids, [[1], [0], [0]])
    path.write_text("city,clicked\na,1\n")
    with pytest.raises(ValueError, match="too few rows to set some apart for the test"):
        task.read()
    with pytest.raises(ValueError, match=r"name the columns of your fields \(--fields\) and of clicks \(--label\)"):
        replace(task, fields=("town",)).read()


def test_odd_rows(tmp_path):
    large = 2**40
    data = write(tmp_path / "t", "train", label=[1, 1, 0], user=[large, large, 7], city=["007", "007", "7"])
    found = read_fields(data, ("user", "city"), "label")
    assert found.values == ((str(large), "7"), ("007", "7"))
    assert len(found) == 3  # who clicks twice has clicked twice
    folder = tmp_path / "text"
    folder.mkdir()
    (folder / "train.csv").write_text("user,label\n007,1\n7,0\n")
    (folder / "test.csv").write_text("user,label\n007,1,2\n")
    assert read_fields(folder, ("user",), "label", split="train").values == (("007", "7"),)
    with pytest.raises(ValueError, match=r"test\.csv: line 2 has 3 fields, and the first line 2"):
        read_fields(folder, ("user",), "label", split="test")


@pytest.mark.parametrize(
    ("city", "message"),
    [
        (["a", None], r"row 1 of .* has no city: leave out what has none"),
        ([" ", "a"], r"row 0 of .* has no city"),
        ([-1, 2], r"row 0 of .* has the city -1: a negative id"),
        ([0.5, 2], "holds fractions"),
        ([], "has no rows"),
    ],
)
def test_bad_values_are_refused(tmp_path, city, message):
    with pytest.raises(ValueError, match=message):
        read_fields(write(tmp_path / "t", "train", label=[1, 0][: len(city)], city=city), ("city",), "label")
