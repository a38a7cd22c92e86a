import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxembed.data import hub, load, read_corpus, read_images, read_scored_pairs
from jaxembed.data.parquet import Rows
from jaxembed.evaluation import load_pairs


@pytest.fixture
def without_datasets(monkeypatch):
    monkeypatch.setattr(hub, "installed", lambda: None)


def read_all(tmp_path):
    """What the readers make of shipped data and of a file: by name, and of rows that were loaded."""
    pq.write_table(
        pa.table({"a": ["one", "two"], "b": ["x", "y"], "score": [1.0, 2.5]}), tmp_path / "mine/train.parquet"
    )
    corpora = [read_corpus(source, cache=False) for source in ("enwik8-small", load("enwik8-small").select(range(9)))]
    images = [
        read_images(source, **split, max_images=20, cache=False)
        for source, split in (("fashion-mnist-small", {"split": "test"}), (load("fashion-mnist-small", "test"), {}))
    ]
    pairs = read_scored_pairs("mine", pair=("a", "b"))
    records = [one.origin for one in (*corpora, *images)]
    return [one.fingerprint for one in (*corpora, *images, pairs)], records, images[0].names, load_pairs("rg65")


def test_files_are_read_as_datasets_reads_them(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXEMBED_DATA", str(tmp_path))
    (tmp_path / "mine").mkdir()
    expected = read_all(tmp_path)
    monkeypatch.setattr(hub, "installed", lambda: None)
    assert isinstance(load("enwik8-small"), Rows)
    assert read_all(tmp_path) == expected


def test_rows_are_those_of_the_file(tmp_path):
    numbers = list(range(10))
    table = pa.table({"n": numbers, "text": list("abcdefghij"), "lists": [["a"]] * 10})
    pq.write_table(table, tmp_path / "n=1.parquet", row_group_size=4)
    rows = Rows.read(tmp_path / "n=1.parquet")
    assert (rows.column_names, len(rows)) == (["n", "text", "lists"], 10)
    assert (rows["n"], rows[2:4]) == (numbers, {"n": [2, 3], "text": ["c", "d"], "lists": [["a"], ["a"]]})
    part = rows.select(range(1, 8)).select_columns(["n"]).with_format("arrow")
    assert [batch["n"].to_pylist() for batch in part.iter(batch_size=3)] == [[1, 2, 3], [4, 5, 6], [7]]
    assert (rows.features["n"].dtype, rows.features.arrow_schema.field("text").type) == ("int64", pa.string())


@pytest.mark.usefixtures("without_datasets")
def test_the_hub_needs_datasets_and_says_so(monkeypatch):
    monkeypatch.setattr("huggingface_hub.HfApi", None)  # calling it would be another error
    with pytest.raises(FileNotFoundError, match=r"'imdb' is not on this machine, .* pip install datasets\. .*word-sim"):
        load("imdb")


@pytest.mark.usefixtures("without_datasets")
def test_a_damaged_file_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXEMBED_DATA", str(tmp_path))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/train.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(OSError, match=r"train.parquet cannot be read as parquet: .* Put back a whole copy"):
        load("mine")


def test_a_folder_of_that_name_is_not_the_library(monkeypatch):
    import types

    monkeypatch.setitem(__import__("sys").modules, "datasets", types.ModuleType("datasets"))
    assert hub.installed() is None
