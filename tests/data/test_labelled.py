import datasets
import numpy as np
import pytest

from jaxembed.data.labelled import read_labelled, read_labelled_parts

FEATURES = datasets.Features({"title": datasets.Value("string"), "sentence": datasets.Value("string"),
                              "label": datasets.ClassLabel(names=["bad", "good"])})  # fmt: skip


def save(path, titles, sentences, labels):
    path.parent.mkdir(exist_ok=True)
    rows = {"title": titles, "sentence": sentences, "label": labels}
    datasets.Dataset.from_dict(rows, features=FEATURES).to_parquet(str(path))


@pytest.fixture
def folder(tmp_path):
    n = 40
    save(
        tmp_path / "d" / "train.parquet",
        [f"t{i}" for i in range(n)],
        [f"s{i}" for i in range(n)],
        [i % 2 for i in range(n)],
    )
    return tmp_path / "d"


def test_rows_without_a_text_or_a_class_are_left_out_and_counted(tmp_path):
    save(tmp_path / "x" / "train.parquet", ["a", "b", "c", "d"], ["one ", None, " ", "four"], [1, 0, 0, -1])
    found = read_labelled(str(tmp_path / "x"))  # there is no column "text"
    assert found.texts == ("one",)
    assert (found.labels.tolist(), found.names) == ([1], ("bad", "good"))
    assert found.origin["rows_left_out"] == 3
    joined = read_labelled(str(tmp_path / "x"), column="title+sentence")
    assert joined.texts == ("a one", "b", "c")


def test_what_has_no_split_is_set_apart_of_the_training_part(folder):
    parts = read_labelled_parts(str(folder))
    sizes = {part: len(of) for part, of in parts.items()}
    assert sizes == {"train": 33, "test": 4, "validation": 3}
    assert sorted(text for of in parts.values() for text in of.texts) == sorted(f"s{i}" for i in range(40))
    for of in parts.values():
        assert of.labels.tolist() == [int(text[1:]) % 2 for text in of.texts]
    assert [read_labelled_parts(str(folder))[part].fingerprint for part in parts] == [
        of.fingerprint for of in parts.values()
    ]


def test_splits_that_are_there_are_read_whole_with_the_classes_of_the_training_part(folder):
    save(folder / "dev.parquet", ["x"], ["y"], [1])
    save(folder / "test.parquet", ["x"], ["z"], [1])
    parts = read_labelled_parts(str(folder), splits={"validation": "dev"})
    assert {part: len(of) for part, of in parts.items()} == {"train": 40, "test": 1, "validation": 1}
    assert parts["test"].labels.tolist() == [1]
    np.testing.assert_array_equal(parts["train"].labels, np.arange(40) % 2)


def test_what_cannot_be_read_is_told(folder, tmp_path):
    with pytest.raises(ValueError, match="no column 'text'"):
        read_labelled(str(folder), column="text")
    with pytest.raises(ValueError, match=r"row 0 of .* has no text in the column 'label', but 0"):
        read_labelled(str(folder), column="label")
    with pytest.raises(
        ValueError, match=r"has no split 'tset': it has 'train'; '' sets a share of the training split apart"
    ):
        read_labelled_parts(str(folder), splits={"test": "tset"})
    assert len(read_labelled_parts(str(folder), splits={"test": ""})["test"]) == 4
    with pytest.raises(ValueError, match=r"column 'title' .*name a column of classes|row 0 .*name a column of classes"):
        read_labelled(str(folder), label="title", names=("x",))
    save(folder / "test.parquet", ["x"], ["y"], [-1])
    with pytest.raises(ValueError, match=r"not below 0: name another split, or '' for one that is to be set apart"):
        read_labelled_parts(str(folder))
    save(tmp_path / "few" / "train.parquet", ["a", "b"], ["b", "c"], [0, 1])
    with pytest.raises(ValueError, match=r"2 texts with classes: a share of 0.1"):
        read_labelled_parts(str(tmp_path / "few"))
