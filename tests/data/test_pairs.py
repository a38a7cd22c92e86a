import io
import json
import os
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jaxembed.data.images import Images, read_images
from jaxembed.data.pairs import (
    ImageTexts,
    Sentences,
    read_image_texts,
    read_scored_pairs,
    read_sentences,
    text_ids,
)

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 6, 4, 3), dtype=np.uint8)
NAN = float("nan")


@pytest.fixture
def keep(tmp_path, monkeypatch):
    """Writes a dataset where JAXEMBED_DATA points to."""
    monkeypatch.setenv("JAXEMBED_DATA", str(tmp_path / "data"))

    def write(dataset: datasets.Dataset, name: str = "mine", split: str = "train") -> None:
        path: Path = tmp_path / f"data/{name}/{split}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.to_parquet(path)

    return write


def table(**columns) -> datasets.Dataset:
    return datasets.Dataset.from_dict(columns)


def pictures(**columns) -> datasets.Dataset:
    """Rows of PIXELS, damaged where `None` stands in `whole`, with the columns beside them."""
    whole = columns.pop("whole", [True] * len(PIXELS))
    contents = []
    for pixels, is_whole in zip(PIXELS, whole, strict=True):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        contents.append({"bytes": file.getvalue() if is_whole else b"damaged", "path": None})
    return datasets.Dataset.from_dict({"image": contents, **columns}).cast_column("image", datasets.Image())


def test_equal_texts_share_a_number():
    ids = text_ids(["a", "b", "A", "c", "b", "STRASSE", "straße"])
    assert (ids.dtype, ids.tolist()) == (np.int32, [0, 1, 0, 2, 1, 3, 3])
    composed, spaced = "caf\u00e9 noir", "Cafe\u0301  noir\n"
    assert text_ids([composed, "cafe noir", spaced]).tolist() == [0, 1, 0]


# -- sentences


def test_lists_of_texts_are_groups(keep):
    keep(table(captions=[["a dog", " a hound "], ["a cat"], ["one", "A dog", "three"]]))
    found = read_sentences("mine", column="captions")
    assert found.texts == ("a dog", "a hound", "a cat", "one", "A dog", "three")
    assert (found.group.dtype, found.group.tolist()) == (np.int32, [0, 0, 1, 2, 2, 2])
    assert found.ids.tolist() == [0, 1, 2, 3, 0, 4]
    assert (len(found), found.groups, found.negatives) == (6, 3, ())
    summary = json.loads(json.dumps(found.summary()))
    expected = {"texts": 6, "groups": 3, "single": 1, "distinct": 5, "negatives": 0, "rows_left_out": 0, "name": "mine"}
    assert expected.items() <= summary.items()


def test_single_texts_are_alone():
    found = read_sentences(table(text=["x", "y", "x"]))
    assert (found.texts, found.group.tolist(), found.ids.tolist()) == (("x", "y", "x"), [0, 1, 2], [0, 1, 0])
    one = read_sentences(table(text=["x"]))
    assert (one.texts, one.group.tolist(), one.groups) == (("x",), [0], 1)


def test_pairs_and_hard_negatives():
    rows = {
        "a": ["a0", "a1", "a2", "a3", "a4"],
        "b": ["b0", None, "b2", "b3", "b4"],
        "c": ["c0", "c1", " ", "c3", "c4"],
    }
    found = read_sentences(table(**rows), pair=("a", "b"), negative="c")
    assert found.texts == ("a0", "b0", "a3", "b3", "a4", "b4")
    assert (found.group.tolist(), found.negatives) == ([0, 0, 1, 1, 2, 2], ("c0", "c3", "c4"))
    assert (found.origin["rows_left_out"], found.origin["negative"]) == (2, "c")
    pairs = read_sentences(table(**rows), pair=("b", "a"))
    assert pairs.texts[:4] == ("b0", "a0", "b2", "a2")
    alone = read_sentences(table(**rows), column="a", negative="c")
    assert (alone.texts, alone.negatives) == (("a0", "a1", "a3", "a4"), ("c0", "c1", "c3", "c4"))


def test_missing_and_blank_texts_are_left_out_and_counted():
    found = read_sentences(table(captions=[["a", "", None, "b"], None, [], ["  "], ["c"]]), column="captions")
    assert (found.texts, found.group.tolist(), found.origin["rows_left_out"]) == (("a", "b", "c"), [0, 0, 1], 3)
    with pytest.raises(ValueError, match=r"the dataset has no row with text in text$"):
        read_sentences(table(text=["", "\n"]))
    with pytest.raises(ValueError, match=r"has no row with text in a and b and c$"):
        read_sentences(table(a=["x", "y"], b=["", "z"], c=["w", " "]), pair=("a", "b"), negative="c")


def test_wrong_columns():
    data = table(text=["x"], number=[1], many=[["a", "b"]])
    with pytest.raises(ValueError, match="has no column 'captions': its columns are text, number, many"):
        read_sentences(data, column="captions")
    with pytest.raises(ValueError, match="'number' of the dataset holds int64, not texts or lists of texts"):
        read_sentences(data, pair=("text", "number"))
    with pytest.raises(ValueError, match="'many' holds lists of texts, expected one text a row"):
        read_sentences(data, negative="many")
    with pytest.raises(ValueError, match="has no rows"):
        read_sentences(data.select([]))


def test_sentences_from_python_and_their_head():
    groups = [["a", "b"], "c", ("d", "e", "f")]
    whole = Sentences.build(groups, negatives=["x", "y", "z"])
    assert (whole.texts, whole.group.tolist()) == (tuple("abcdef"), [0, 0, 1, 2, 2, 2])
    part = whole.head(2)
    assert (part.texts, part.group.tolist(), part.negatives) == (("a", "b", "c"), [0, 0, 1], ("x", "y"))
    assert part.fingerprint == Sentences.build(groups[:2], ["x", "y"]).fingerprint
    assert whole.head(0) is whole.head(3) is whole
    others = [whole, part, Sentences.build(groups), Sentences.build([["a"], ["b", "c"], ["d", "e", "f"]])]
    others += [Sentences.build([["a", "b"], "c", ["d", "e", "F"]]), Sentences.build(groups, ["x", "y", "w"])]
    assert len({one.fingerprint for one in others}) == len(others)
    for wrong, message in (
        (([],), "there are no texts"),
        (([["a"], []],), "group 1 holds no text"),
        (([["a"], [" "]],), "group 1 holds no text, an empty one"),
        (([["a", 3]],), "group 0 .* not a string"),
        ((["a", None],), "group 1 holds no text, .* not a string: .None,"),
        (([["a", None]],), "group 0 holds no text, .* not a string"),
        (([["a"]], [""]), "group 0 holds no text, an empty one"),
        (([["a"]], ["b", "c"]), "expected a negative for each of the 1 groups, found 2"),
    ):
        with pytest.raises(ValueError, match=message):
            Sentences.build(*wrong)


def test_max_rows():
    data = table(captions=[["a", "b"], ["c"], ["d"]])
    found = read_sentences(data, column="captions", max_rows=2)
    assert (found.texts, found.origin["max_rows"]) == (("a", "b", "c"), 2)
    assert found.fingerprint == read_sentences(data, column="captions").head(2).fingerprint


# -- scored pairs


def test_scored_pairs(keep):
    keep(table(sentence1=[" a", "b"], sentence2=["c", "d "], score=[0.25, 5.0]), name="stsb", split="dev")
    found = read_scored_pairs(split="dev")
    assert (found.a, found.b) == (("a", "b"), ("c", "d"))
    assert (found.scores.dtype, found.scores.tolist(), len(found)) == (np.float64, [0.25, 5.0], 2)
    assert json.loads(json.dumps(found.summary()))["pairs"] == 2
    other = read_scored_pairs(table(x=["b"], y=["d"], grade=[5]), pair=("x", "y"), score="grade")
    assert (other.a, other.b, other.scores.tolist()) == (("b",), ("d",), [5.0])
    assert other.fingerprint != found.fingerprint


def test_scored_pairs_leave_nothing_out():
    for columns, message in (
        ({"sentence1": ["a", "b"], "sentence2": ["c", "d"], "score": [1.0, NAN]}, "row 1 .* has the score nan"),
        ({"sentence1": ["a", "b"], "sentence2": ["c", "d"], "score": [None, 1.0]}, "row 0 .* has the score nan"),
        ({"sentence1": ["a", "b"], "sentence2": ["c", "d"], "score": [1.0, NAN - 1]}, "row 1 .* has the score nan"),
        ({"sentence1": ["a", "b"], "sentence2": ["c", " "], "score": [1.0, 2.0]}, "row 1 .* no text in 'sentence2'"),
        ({"sentence1": [None, "b"], "sentence2": ["c", "d"], "score": [1.0, 2.0]}, "row 0 .* no text in 'sentence1'"),
        (
            {"sentence1": ["a"], "sentence2": ["c"], "score": ["high"]},
            "'score' of the dataset holds .*string.*not numbers",
        ),
        ({"sentence1": ["a"], "sentence2": ["c"]}, "no column 'score': its columns are sentence1, sentence2"),
    ):
        with pytest.raises(ValueError, match=message):
            read_scored_pairs(table(**columns))


# -- images and texts


def test_images_with_names(keep):
    keep(pictures(name=["shoe", "bag", "Shoe", "hat", "bag"]))
    found = read_image_texts("mine")
    assert np.array_equal(found.images.images, PIXELS)
    assert isinstance(found.images.images, np.memmap)  # nothing was copied
    assert found.texts == ("shoe", "bag", "Shoe", "hat", "bag")
    assert (found.ids.dtype, found.ids.tolist()) == (np.int32, [0, 1, 0, 2, 1])
    summary = json.loads(json.dumps(found.summary()))
    expected = {"pairs": 5, "distinct_texts": 3, "shape": [6, 4, 3], "text": "name", "without_text": 0, "name": "mine"}
    assert expected.items() <= summary.items()
    part = found.head(3)
    assert np.array_equal(part.images.images, PIXELS[:3])
    assert (part.texts, part.ids.tolist()) == (("shoe", "bag", "Shoe"), [0, 1, 0])
    assert found.head(0) is found.head(5) is found
    few = read_image_texts("mine", max_images=1, size=3, channels=1)
    assert (few.images.images.shape, few.texts) == ((1, 3, 3, 1), ("shoe",))
    assert len({found.fingerprint, part.fingerprint, few.fingerprint}) == 3
    captions = [["first", "second"], ["one"], ["p", "q"], ["x"], ["y"]]
    assert read_image_texts(pictures(name=captions)).texts == ("first", "one", "p", "x", "y")


def test_templates():
    columns = {"name": ["shoe", "bag", None, " ", "tie"], "colour": ["red", None, "blue", "", "black"]}
    data = pictures(**columns, size=[1.5, NAN, 3.0, None, 2.0], gender=["m", "f", "m", "f", "m"])
    found = read_image_texts(data, text="{name}, {colour}  {gender}")
    assert found.texts == ("shoe, red m", "bag, f", ", blue m", ", f", "tie, black m")
    assert read_image_texts(data, text="a {colour} {name} of {size}").texts[:2] == ("a red shoe of 1.5", "a bag of")
    assert read_image_texts(data, text="{name:>6} {size:.2f}").texts == ("shoe 1.50", "bag", "3.00", "tie 2.00")
    for template, message in (
        ("{name:.2f}", "does not fit row 0 of the dataset: Unknown format code"),
        ("{name:{width}}", "does not fit row 0 of the dataset: 'width'"),
        ("{name} {price}", "no column 'price': its columns are image, name, colour, size, gender"),
        ("{name", r"the template '\{name' cannot be read \(expected '\}'"),
        ("{} of {name}", "no column ''"),
    ):
        with pytest.raises(ValueError, match=message):
            read_image_texts(data, text=template)


def test_rows_without_text_or_image_are_left_out(keep):
    keep(pictures(name=["shoe", None, "bag", " ", "hat"], whole=[True, True, False, True, True]))
    with pytest.raises(ValueError, match="row 2 of mine/train cannot be decoded"):
        read_image_texts("mine")
    with pytest.warns(UserWarning, match="1 of 5 images of mine/train .* rows 2"):
        found = read_image_texts("mine", skip_corrupt=True)
    assert found.texts == ("shoe", "hat")
    assert np.array_equal(found.images.images, PIXELS[[0, 4]])
    assert (found.origin["without_text"], found.origin["skipped"]) == (2, [2])
    with pytest.raises(ValueError, match="no image of the dataset has a text in 'name'"):
        read_image_texts(pictures(name=["", None, "", " ", ""]))
    with pytest.raises(ValueError, match=r"no image of the dataset has a text in 'a \{name\} \{kind\}'"):
        read_image_texts(pictures(name=["", None, "", " ", ""], kind=["", "", None, "", ""]), text="a {name} {kind}")


def test_pictures_are_known_by_their_pixels_or_by_a_column(keep):
    twice = PIXELS[[0, 1, 0, 2, 1]]
    by_content = ImageTexts.build(Images(twice, None, (), "f"), "abcde")
    assert (by_content.pictures.dtype, by_content.pictures.tolist()) == (np.int32, [0, 1, 0, 2, 1])
    assert by_content.head(3).pictures.tolist() == [0, 1, 0]
    data = pictures(name=["a", None, "c", "d", "e"], image_id=[7, 7, 8, 7, 9])
    named = read_image_texts(data, picture="image_id")
    assert named.texts == ("a", "c", "d", "e")
    assert named.pictures.tolist() == [0, 1, 0, 2]
    assert named.head(3).pictures.tolist() == [0, 1, 0]
    assert named.summary()["distinct_pictures"] == 3
    plain = read_image_texts(data)
    assert plain.pictures.tolist() == [0, 1, 2, 3]
    assert plain.fingerprint != named.fingerprint  # another identity is another set to train on
    with pytest.raises(ValueError, match="row 1 of the dataset has None in 'image_id', which identifies no picture"):
        read_image_texts(pictures(name=list("abcde"), image_id=["x", None, "y", "z", "w"]), picture="image_id")


def test_image_texts_from_python():
    images = Images(PIXELS, None, (), "f")
    assert ImageTexts.build(images, list("abcab")).ids.tolist() == [0, 1, 2, 0, 1]
    with pytest.raises(ValueError, match="a text for each of the 5 images, found 4"):
        ImageTexts.build(images, "abcd")
    with pytest.raises(ValueError, match="expected a name for each of the 5 images, found 2"):
        ImageTexts.build(images, "abcde", names=[1, 2])
    with pytest.raises(ValueError, match="image 3 has a blank text"):
        ImageTexts.build(images, ["a", "b", "c", "\t", "d"])
    with pytest.raises(ValueError, match="image 1 has None for a text: leave it out"):
        ImageTexts.build(images, ["a", None, "c", "d", "e"])


# -- the real data


@pytest.mark.skipif(
    not os.environ.get("JAXEMBED_DATA"), reason="JAXEMBED_DATA is not set: needs captions, stsb, products"
)
def test_real_data_against_their_tables(monkeypatch, data_folder):
    monkeypatch.setenv("JAXEMBED_DATA", data_folder)
    captions = read_sentences("multi30k-captions", split="test", column="captions")
    rows = pq.read_table(Path(data_folder) / "multi30k-captions/test.parquet")["captions"].to_pylist()
    assert (captions.groups, len(captions)) == (1_000, 5_000)
    assert captions.texts == tuple(text.strip() for row in rows for text in row)
    assert np.array_equal(captions.group, np.repeat(np.arange(1_000), 5))
    pairs = read_scored_pairs("stsb", split="test")
    assert len(pairs) == 1_379
    assert (pairs.scores.min(), pairs.scores.max()) == (0.0, 1.0)
    products = read_image_texts("fashion-products", split="test", size=(80, 60), max_images=200)
    assert products.images.images.shape == (200, 80, 60, 3)
    columns = pq.read_table(Path(data_folder) / "fashion-products/test.parquet").slice(0, 200).to_pylist()
    assert products.texts == tuple(row["name"].strip() for row in columns)
    text = "{name}, {base_colour} {article_type}"
    joined = read_image_texts("fashion-products", split="test", size=(80, 60), max_images=200, text=text)
    assert np.array_equal(joined.images.images, products.images.images)
    words = [f"{row['name']}, {row['base_colour'] or ''} {row['article_type']}".split() for row in columns]
    assert joined.texts == tuple(map(" ".join, words))
    assert read_images("emoji", label="group", max_images=20).images.shape == (20, 32, 32, 3)
