from itertools import pairwise

import datasets
import numpy as np
import pytest

from jaxembed.data.documents import DocumentInput, Documents, TaggedDocument, read_documents
from jaxembed.data.text import read_corpus
from jaxembed.data.tokenise import parts_of


@pytest.fixture
def folder(tmp_path):
    rows = {
        "train": {
            "text": ["Good film, good.", "Bad<br /><br />film!", "so so"],
            "label": [1, 0, 1],
            "id": ["x", "y", "z"],
        },
        "test": {"text": ["a good film"], "label": [1], "id": ["t"]},
        "more": {"text": ["unlabelled film", ""], "label": [-1, -1], "id": ["m", "n"]},
    }
    place = tmp_path / "films"
    place.mkdir()
    for split, columns in rows.items():
        datasets.Dataset.from_dict(columns).to_parquet(str(place / f"{split}.parquet"))
    return place


def test_all_splits_are_read_with_their_classes_and_parts(folder):
    found = read_documents(folder, label="label", min_count=1, lowercase=True, punctuation=True)
    assert found.names == ("train/0", "train/1", "train/2", "more/0", "more/1", "test/0")
    assert found.labels.tolist() == [1, 0, 1, -1, -1, 1]
    assert found.where("test").tolist() == [5]
    assert found.where("none").tolist() == []
    words, offsets = found.corpus.vocabulary.words, found.corpus.offsets
    text = [[words[i] for i in found.corpus.tokens[a:b]] for a, b in pairwise(offsets)]
    assert text[0] == ["good", "film", ",", "good", "."]
    assert text[1] == ["bad", "film", "!"]
    assert found.empty == 1


def test_names_come_from_a_column(folder):
    assert read_documents(folder, splits=["train"], name="id", min_count=1).names == ("x", "y", "z")
    assert read_documents(folder, splits=["train"], min_count=1).names == ("0", "1", "2")


def test_a_name_that_occurs_twice_is_an_error(folder):
    with pytest.raises(ValueError, match="two documents have the name '1'"):
        read_documents(folder, name="label", splits=["train"], min_count=1)


def test_the_lines_of_a_text_file_are_documents(tmp_path):
    file = tmp_path / "lines.txt"
    file.write_text("a b\n\nb c\n")
    found = read_documents(file, min_count=1)
    assert found.names == ("0", "1", "2")
    assert found.empty == 1
    with pytest.raises(ValueError, match="a text without columns"):
        read_documents(file, label="label")


@pytest.mark.parametrize(
    ("word", "parts"),
    [("don't", ["don't"]), ("(well)", ["(", "well", ")"]), ("great.<br", ["great", "."]), ("/><br", []), ("/>The", ["The"]),
     ("<i>so</i>", ["so"]), ("...", [".", ".", "."]), ("a<b", ["a", "<", "b"]), ("naïve", ["naïve"])],
)  # fmt: skip
def test_punctuation_is_set_apart(word, parts):
    assert parts_of(word) == parts


@pytest.mark.parametrize("size", [7, 40, 1 << 20])
def test_where_a_text_is_cut_for_reading_does_not_matter(tmp_path, size):
    text = "One, two<br />three!\n\n(four) 'five'  six.\nseven" * 3
    file = tmp_path / "text.txt"
    file.write_text(text)
    found = read_corpus(file, min_count=1, punctuation=True, cache=False, chunk_bytes=size)
    words = [found.vocabulary.words[i] for i in found.tokens]
    assert words == [part for word in text.replace("<br />", " ").split() for part in parts_of(word)]
    assert found.documents == len(text.split("\n"))


def test_a_corpus_that_is_read_as_before_keeps_its_fingerprint(tmp_path):
    """Fingerprints of recorded runs were made before punctuation could be set apart."""
    file = tmp_path / "text.txt"
    file.write_text("a b, c a\n")
    whole, apart = (read_corpus(file, min_count=1, punctuation=one) for one in (False, True))
    assert whole.fingerprint == "c1e380285715368bc6ad5841330ffa37"
    assert whole.fingerprint != apart.fingerprint
    assert "punctuation" not in whole.origin


def test_tags_are_names_or_rows():
    documents = [TaggedDocument(["a", "b"], [3]), TaggedDocument(["b"], [0, 3])]
    found = Documents.tagged(documents, min_count=1)
    assert found.names == ("0", "1", "2", "3")
    assert list(zip(found.document.tolist(), found.row.tolist(), strict=True)) == [(0, 3), (1, 0), (1, 3)]


@pytest.mark.parametrize(
    ("documents", "message"),
    [([["a", "b"]], "must be a TaggedDocument"), ([TaggedDocument(["a"], [])], "needs a list of tags"),
     ([TaggedDocument(["a"], "x")], "needs a list of tags"), ([TaggedDocument(["a"], [-1])], "cannot be -1"),
     ([TaggedDocument(["a"], [1]), TaggedDocument(["a"], ["x"])], "one kind of them"),
     ([TaggedDocument(["a"], ["x\ny"])], "holds a line break"),
     ([TaggedDocument(["a"], ["\ud800"])], "half of a surrogate pair")],
)  # fmt: skip
def test_bad_tags_are_errors(documents, message):
    with pytest.raises(ValueError, match=message):
        Documents.tagged(documents, min_count=1)


def test_a_tag_that_occurs_twice_in_a_document_counts_once():
    assert Documents.tagged([TaggedDocument(["a"], ["x", "x"])], min_count=1).row.tolist() == [0]


def test_texts_are_read_as_those_of_training_were(folder, tmp_path):
    found = read_documents(folder, min_count=1, lowercase=True, punctuation=True)
    reader = DocumentInput(found.corpus.vocabulary, lowercase=True, punctuation=True)
    offsets, tokens = found.corpus.offsets, found.corpus.tokens
    np.testing.assert_array_equal(reader.ids(["Bad<br /><br />film!"])[0], tokens[offsets[1] : offsets[2]])
    again = DocumentInput.open(tmp_path, **reader.save(tmp_path))
    np.testing.assert_array_equal(again.ids(["Good film"])[0], reader.ids([["good", "film"]])[0])
    with pytest.raises(ValueError, match="document 4 must be a string"):
        reader.ids([7], first=4)


def test_the_first_documents_keep_their_names(folder):
    whole = read_documents(folder, label="label", min_count=1)
    part = whole.head(5)
    assert part.names == ("train/0", "train/1")
    assert part.labels.tolist() == [1, 0]
