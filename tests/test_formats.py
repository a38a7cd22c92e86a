"""word2vec and GloVe files: read back bit for bit, exchanged with gensim both ways, and refused by line or byte when damaged."""

import gc
import gzip
import string

import numpy as np
import pytest
from gensim.models import KeyedVectors as Gensim
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxembed import formats
from jaxembed.vectors import KeyedVectors, load_vectors

# Any finite float32, subnormals included, as bits.
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)
KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
WORDS = KEYS.filter(lambda key: " " not in key and "\n" not in key)


def bits(matrix: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(matrix, np.float32).view(np.uint32)


def example(count: int = 7, dimension: int = 5) -> tuple[list[str], np.ndarray]:
    random = np.random.default_rng(0)
    scale = 10.0 ** random.integers(-30, 30, (count, dimension))
    words = ["the", "naïve", "東京", "\u2028", "tab\there", "0.5", "-", *(f"w{i}" for i in range(count))]
    return words[:count], (random.standard_normal((count, dimension)) * scale).astype(np.float32)


@st.composite
def tables(draw: st.DrawFn, keys: st.SearchStrategy[str]) -> tuple[list[str], np.ndarray]:
    names = draw(st.lists(keys, min_size=1, max_size=6, unique=True))
    dimension = draw(st.integers(1, 4))
    values = draw(st.lists(FINITE, min_size=len(names) * dimension, max_size=len(names) * dimension))
    return names, np.array(values, np.float32).reshape(len(names), dimension)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("formats")


@settings(deadline=None)  # the first call imports pyarrow
@given(table=tables(WORDS))
def test_word2vec_and_glove_give_back_any_word_and_every_bit(folder, table):
    keys, vectors = table
    formats.write_text(folder / "text", keys, vectors)
    formats.write_text(folder / "glove", keys, vectors, header=False)
    formats.write_binary(folder / "binary", keys, vectors)
    for found, matrix in (
        formats.read_text(folder / "text"),
        formats.read_text(folder / "glove", header=False),
        formats.read_binary(folder / "binary"),
    ):
        assert found == keys
        assert (bits(matrix) == bits(vectors)).all()


@pytest.mark.parametrize("binary", [False, True])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_gensim_reads_ours_and_we_read_gensims(tmp_path, binary, suffix):
    keys, vectors = example()
    ours, theirs = tmp_path / f"ours{suffix}", tmp_path / f"theirs{suffix}"
    KeyedVectors(keys, vectors).save_word2vec_format(ours, binary=binary)
    read = Gensim.load_word2vec_format(str(ours), binary=binary)
    assert read.index_to_key == keys
    assert (bits(read.vectors) == bits(vectors)).all()

    gensim = Gensim(vectors.shape[1])
    gensim.add_vectors(keys, vectors)
    gensim.save_word2vec_format(str(theirs), binary=binary)
    back = KeyedVectors.load_word2vec_format(theirs, binary=binary)
    assert back.index_to_key == keys
    assert (bits(back.vectors) == bits(vectors)).all()


@pytest.mark.filterwarnings("ignore:Exception ignored in. <_io.FileIO:pytest.PytestUnraisableExceptionWarning")
def test_gensim_reads_our_glove_and_our_counts(tmp_path):
    keys, vectors = example()
    counts = np.array([90, 80, 70, 60, 50, 40, 30])
    ours = KeyedVectors(keys, vectors, counts)
    ours.save_word2vec_format(tmp_path / "glove", write_header=False)
    read = Gensim.load_word2vec_format(str(tmp_path / "glove"), no_header=True)
    gc.collect()  # gensim leaves that file open: let it be told here, where the warning is expected
    assert read.index_to_key == keys
    assert (bits(read.vectors) == bits(vectors)).all()

    words = [f"w{i}" for i in range(7)]  # gensim splits vocabulary files at any white space
    KeyedVectors(words, vectors, counts).save_word2vec_format(tmp_path / "w", tmp_path / "vocab", binary=True)
    read = Gensim.load_word2vec_format(str(tmp_path / "w"), fvocab=str(tmp_path / "vocab"), binary=True)
    assert [read.get_vecattr(word, "count") for word in words] == counts.tolist()
    back = KeyedVectors.load_word2vec_format(tmp_path / "w", tmp_path / "vocab", binary=True)
    assert back.get_vecattr("w2", "count") == 70


def test_the_c_programs_own_layout(tmp_path):
    """word2vec.c ends each vector with a newline, and each text line with a space before it."""
    keys, vectors = ["the", "of"], np.array([[1.5, -2], [0.25, 3]], np.float32)
    rows = [key.encode() + b" " + row.tobytes() + b"\n" for key, row in zip(keys, vectors, strict=True)]
    (tmp_path / "binary").write_bytes(b"2 2\n" + b"".join(rows))
    (tmp_path / "text").write_bytes(b"2 2\nthe 1.500000 -2.000000 \nof 0.250000 3.000000 \n")
    for name in ("binary", "text"):
        read = load_vectors(tmp_path / name)
        assert read.index_to_key == keys
        assert (read.vectors == vectors).all()


@pytest.mark.parametrize("dimension", [1, 2, 50])
def test_the_format_is_told_by_the_content(tmp_path, dimension):
    keys, vectors = example(7, dimension)
    vectors = np.random.default_rng(1).standard_normal(vectors.shape).astype(np.float32)
    ours = KeyedVectors(keys, vectors)
    ours.save(tmp_path / "vectors.safetensors")
    ours.save_word2vec_format(tmp_path / "a.bin.gz", binary=True)
    ours.save_word2vec_format(tmp_path / "b.txt")
    ours.save_word2vec_format(tmp_path / "c.txt.gz", write_header=False)
    for path in [*tmp_path.iterdir(), tmp_path]:
        assert load_vectors(path).index_to_key == keys
        assert (bits(load_vectors(path).vectors) == bits(vectors)).all()


def test_limit_takes_the_first_rows(tmp_path):
    keys, vectors = example()
    ours = KeyedVectors(keys, vectors)
    for options in ({}, {"binary": True}, {"write_header": False}):
        ours.save_word2vec_format(tmp_path / "v", **options)
        read = KeyedVectors.load_word2vec_format(
            tmp_path / "v", binary="binary" in options, no_header="write_header" in options, limit=3
        )
        assert read.index_to_key == keys[:3]
        assert (bits(read.vectors) == bits(vectors[:3])).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"3 2\na 1 2\nb 3 4\n", r"v: line 1 announces 3 vectors but the file ends after line 3 with 2"),
        (b"1 2\na 1 2\nb 3 4\n", r"v, line 3: more vectors than the 1"),
        (b"2 2\na 1 2\nb 3\n", r"v, line 3: 1 values after the key b'b', expected 2"),
        (b"2 2\na 1 2\nb 3 4 5\n", r"v, line 3: 3 values"),
        (b"2 2\na 1 2\nb 3 x\n", r"v, line 3: expected a key and numbers"),
        (b"2 2\na 1 2\nb 3 4x\n", r"v, line 3: expected a key and numbers"),
        (b"2 2\na 1 2\nb\n", r"v, line 3: expected a key and numbers"),
        (b"2 2\na 1 2\n\xff 3 4\n", r"v, line 3: the key b'\\xff' is not UTF-8"),
        (b"a 1 2\nb 3 4\n", r"v, line 1: expected the number of vectors and their dimension"),
        (b"2 0\na\nb\n", r"v, line 1: expected the number"),
        (b"", r"v, line 1: expected the number"),
    ],
)
def test_a_malformed_text_names_the_line(tmp_path, content, message):
    (tmp_path / "v").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        KeyedVectors.load_word2vec_format(tmp_path / "v")


def test_a_malformed_glove_file_names_the_line(tmp_path):
    (tmp_path / "v").write_bytes(b"a 1 2\nb 3 4\nc 5 6 7\n")
    with pytest.raises(ValueError, match=r"v, line 3: 3 values"):
        load_vectors(tmp_path / "v")


def test_spaces_in_the_keys_of_a_glove_file(tmp_path):
    """glove.840B has such keys as '. .' and 'at name@domain.com'."""
    (tmp_path / "v").write_bytes(b"a 1 2\n. . 3 4\nat name@domain.com 5 6\n")
    read = load_vectors(tmp_path / "v")
    assert read.index_to_key == ["a", ". .", "at name@domain.com"]
    assert read.vectors.tolist() == [[1, 2], [3, 4], [5, 6]]


def test_bad_utf8_can_be_replaced(tmp_path):
    (tmp_path / "v").write_bytes(b"1 2\n\xff 3 4\n")
    assert "�" in KeyedVectors.load_word2vec_format(tmp_path / "v", unicode_errors="replace")


@pytest.mark.parametrize("kept", [1, 9, 20, -1])
def test_a_binary_file_cut_short_names_vector_and_byte(tmp_path, kept):
    keys, vectors = ["a", "bb", "ccc"], np.ones((3, 2), np.float32)
    formats.write_binary(tmp_path / "v", keys, vectors)
    (tmp_path / "v").write_bytes((tmp_path / "v").read_bytes()[: kept if kept < 0 else 4 + kept])
    entry, byte = {1: (1, 4), 9: (1, 4), 20: (2, 14), -1: (3, 25)}[kept]
    with pytest.raises(ValueError, match=rf"v: cut short in vector {entry} of 3 \(byte {byte} of"):
        formats.read_binary(tmp_path / "v")


def test_a_lying_header_does_not_take_the_memory(tmp_path):
    (tmp_path / "v").write_bytes(b"99999999999 300\nthe " + bytes(1200))
    with pytest.raises(ValueError, match=r"cut short in vector 2 of 99999999999"):
        formats.read_binary(tmp_path / "v")


@pytest.mark.parametrize("binary", [False, True])
def test_a_gzip_file_cut_short_is_told(tmp_path, binary):
    random = np.random.default_rng(0)
    vectors = random.standard_normal((500, 20)).astype(np.float32)
    path = tmp_path / "v.gz"
    KeyedVectors([f"w{i}" for i in range(500)], vectors).save_word2vec_format(path, binary=binary)
    path.write_bytes(path.read_bytes()[:-3000])
    with pytest.raises(ValueError, match=r"v\.gz: the gzip file is cut short or damaged"):
        load_vectors(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (bytes(range(256)), "not a vector file"),
        (b"\x80\x04\x95" + bytes(100), "Python pickle"),
    ],
)
def test_other_files_are_refused(tmp_path, content, message):
    (tmp_path / "v").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_vectors(tmp_path / "v")
    with pytest.raises(FileNotFoundError):
        load_vectors(tmp_path / "missing")


@pytest.mark.parametrize("key", ["", "two words", "line\nbreak"])
def test_a_key_that_the_format_cannot_hold_loses_no_file(tmp_path, key):
    path = tmp_path / "v"
    path.write_text("good")
    bad = KeyedVectors(["a", key], np.ones((2, 2), np.float32))
    for options in ({}, {"binary": True}):
        with pytest.raises(ValueError, match="cannot hold the key"):
            bad.save_word2vec_format(path, **options)
    assert path.read_text() == "good"
    assert [one.name for one in tmp_path.iterdir()] == ["v"]


def test_a_compressed_file_depends_on_its_content_alone(tmp_path):
    words = list(string.ascii_letters)
    for name in ("a.gz", "b.gz"):
        formats.write_text(tmp_path / name, words, np.ones((52, 3), np.float32))
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()).startswith(b"52 3\na 1 1 1\n")


# One vector in three, in each format, that is not finite.
SPOILT = {
    "text": lambda value: b"3 2\na 1 2\nb 3 %b\nc 5 6\n" % value,
    "glove": lambda value: b"a 1 2\nb 3 %b\nc 5 6\n" % value,
    "binary": lambda value: b"3 2\n" + b"".join(
        key + b" " + np.array([1, float(value)], "<f4").tobytes()
        for key, value in ((b"a", b"2"), (b"b", value), (b"c", b"6"))
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:overflow encountered in cast:RuntimeWarning")  # of this test's 1e400
@pytest.mark.parametrize("value", [b"nan", b"NaN", b"inf", b"-inf", b"1e400", b"-1e39"])
@pytest.mark.parametrize("kind", SPOILT)
def test_the_first_vector_that_is_not_finite_is_named(tmp_path, kind, value):
    (tmp_path / "v").write_bytes(SPOILT[kind](value))
    with pytest.raises(ValueError, match=r"v: the vector of 'b', number 2, holds (nan|-?inf), which is no finite"):
        load_vectors(tmp_path / "v")
    if kind == "glove":
        return
    with pytest.raises(ValueError, match="the vector of 'b', number 2"):
        KeyedVectors.load_word2vec_format(tmp_path / "v", binary=kind == "binary")
    assert load_vectors(tmp_path / "v", limit=1).index_to_key == ["a"]  # what is not read is not missed


def test_a_narrow_datatype_that_cannot_hold_a_value_names_it(tmp_path):
    (tmp_path / "v").write_bytes(b"2 2\na 1 2\nb 3 100000\n")
    with pytest.raises(ValueError, match="the vector of 'b', number 2, holds inf"):
        KeyedVectors.load_word2vec_format(tmp_path / "v", datatype=np.float16)


@pytest.mark.parametrize("dimension", [1, 3, 2000])
@pytest.mark.parametrize("key", ["\x7f", "\x01\x02", "\x00", "\x1b[0m", "na\xefve", "\ufeffa", "\x80"])
def test_text_is_found_by_its_rows_whatever_its_keys(tmp_path, key, dimension):
    """Also where the first 8 KiB are not even a row."""
    vectors = np.random.default_rng(0).standard_normal((3, dimension)).astype(np.float32)
    ours = KeyedVectors([key, "z", "e\u0301"], vectors)
    for options in ({}, {"write_header": False}, {"binary": True}):
        ours.save_word2vec_format(tmp_path / "v", **options)
        read = load_vectors(tmp_path / "v")
        assert read.index_to_key == ours.index_to_key
        assert (bits(read.vectors) == bits(vectors)).all()


@pytest.mark.parametrize("header", [b"3 2\n", b""])
def test_latin_1_is_text_and_told_as_such(tmp_path, header):
    (tmp_path / "v").write_bytes(header + "naïve 1 2\nfaçade 3 4\nso 5 6\n".encode("latin-1"))
    line = 2 if header else 1
    with pytest.raises(ValueError, match=rf"v, line {line}: the key .* is not UTF-8; name its encoding") as raised:
        load_vectors(tmp_path / "v")
    assert "--encoding" in str(raised.value)
    read = load_vectors(tmp_path / "v", encoding="latin-1")
    assert read.index_to_key == ["naïve", "façade", "so"]
    assert read.vectors.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert load_vectors(tmp_path / "v", unicode_errors="ignore").index_to_key == ["nave", "faade", "so"]


def test_latin_1_in_binary_and_in_the_counts_is_as_gensim_reads_it(tmp_path):
    rows = [word.encode("latin-1") + b" " + np.full(2, i, "<f4").tobytes() for i, word in enumerate(("naïve", "so"))]
    (tmp_path / "v").write_bytes(b"2 2\n" + b"".join(rows))
    (tmp_path / "counts").write_bytes("naïve 7\nso 5\n".encode("latin-1"))
    for errors in ("replace", "ignore"):
        ours, theirs = (
            kind.load_word2vec_format(
                str(tmp_path / "v"), fvocab=str(tmp_path / "counts"), binary=True, unicode_errors=errors
            )
            for kind in (KeyedVectors, Gensim)
        )
        assert ours.index_to_key == theirs.index_to_key
        assert ours.get_vecattr(0, "count") == theirs.get_vecattr(0, "count") == 7
    (tmp_path / "v").write_bytes(b"1 2\nso " + bytes(8))
    with pytest.raises(ValueError, match=r"counts, line 1: the key .* is not UTF-8"):
        KeyedVectors.load_word2vec_format(tmp_path / "v", fvocab=tmp_path / "counts", binary=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoding": "latin-one"}, "unknown encoding: latin-one"),
        ({"unicode_errors": "loose"}, "unknown error handler name 'loose'"),
        ({"limit": 0}, "limit must be at least 1, not 0"),
    ],
)
def test_bad_options_are_told(tmp_path, options, message):
    KeyedVectors(["a"], [[1.0]]).save(tmp_path / "s")
    KeyedVectors(["a"], [[1.0]]).save_word2vec_format(tmp_path / "v")
    for name in ("s", "v"):
        with pytest.raises(ValueError, match=message):
            load_vectors(tmp_path / name, **options)


@pytest.mark.parametrize("binary", [False, True])
def test_of_a_word_that_comes_twice_the_first_is_kept_as_gensim_does(tmp_path, binary):
    path = tmp_path / "v"
    rows = [(b"a", [1, 2]), (b"b", [3, 4]), (b"a", [5, 6]), (b"c", [7, 8]), (b"b", [9, 9])]
    values = {False: lambda row: b"%d %d\n" % tuple(row), True: lambda row: np.array(row, "<f4").tobytes()}[binary]
    path.write_bytes(b"5 2\n" + b"".join(key + b" " + values(row) for key, row in rows))
    with pytest.warns(UserWarning, match=r"2 of 5 vectors have a key that came before \(the first is 'a', number 3\)"):
        ours = KeyedVectors.load_word2vec_format(path, binary=binary)
    theirs = Gensim.load_word2vec_format(str(path), binary=binary)
    assert ours.index_to_key == ["a", "b", "c"]
    assert ours.key_to_index == theirs.key_to_index  # its index_to_key has places for five
    np.testing.assert_array_equal(ours.vectors, theirs[["a", "b", "c"]])


def test_a_byte_order_mark_is_no_part_of_a_word(tmp_path):
    mark = b"\xef\xbb\xbf"
    (tmp_path / "text").write_bytes(mark + b"2 2\na 1 2\nb 3 4\n")
    (tmp_path / "glove").write_bytes(mark + b"a 1 2\nb 3 4\n")
    (tmp_path / "binary").write_bytes(mark + b"1 1\na " + np.ones(1, "<f4").tobytes())
    (tmp_path / "counts").write_bytes(mark + b"a 7\nb 5\n")
    for name, keys in (("text", ["a", "b"]), ("glove", ["a", "b"]), ("binary", ["a"])):
        assert load_vectors(tmp_path / name).index_to_key == keys
    read = KeyedVectors.load_word2vec_format(tmp_path / "text", tmp_path / "counts")
    assert read.get_vecattr("a", "count") == 7
    marked = KeyedVectors(["\ufeffa", "b"], np.eye(2), [7, 5])  # a word that has one itself keeps it
    marked.save_word2vec_format(tmp_path / "v", tmp_path / "counts", write_header=False)
    back = KeyedVectors.load_word2vec_format(tmp_path / "v", tmp_path / "counts", no_header=True)
    assert back.index_to_key == marked.index_to_key
    assert back.get_vecattr("\ufeffa", "count") == 7
    (tmp_path / "wide").write_bytes("a 1 2\n".encode("utf-16"))
    with pytest.raises(ValueError, match="UTF-16; convert it to UTF-8"):
        load_vectors(tmp_path / "wide")


@pytest.mark.parametrize("tail", [b"x", b"c " + bytes(8), b"\n\n1"])
def test_a_binary_file_longer_than_its_header_says_is_refused(tmp_path, tail):
    formats.write_binary(tmp_path / "v", ["a", "b"], np.ones((2, 2), np.float32))
    whole = (tmp_path / "v").read_bytes()
    (tmp_path / "v").write_bytes(whole + tail)
    with pytest.raises(ValueError, match=rf"v: more bytes \(from byte {len(whole)} on\) than the 2 vectors"):
        load_vectors(tmp_path / "v")
    assert load_vectors(tmp_path / "v", limit=2).index_to_key == ["a", "b"]
    (tmp_path / "v").write_bytes(whole + b"\n")  # as word2vec.c ends its files
    assert len(load_vectors(tmp_path / "v")) == 2


def test_a_binary_file_is_read_across_its_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "_BLOCK", 7)
    keys, vectors = example()
    formats.write_binary(tmp_path / "v", keys, vectors)
    found, matrix = formats.read_binary(tmp_path / "v")
    assert found == keys
    assert (bits(matrix) == bits(vectors)).all()
    found, matrix = formats.read_binary(tmp_path / "v", only={"of", keys[3], keys[1]})
    assert found == [keys[1], keys[3]]
    assert (bits(matrix) == bits(vectors[[1, 3]])).all()


def test_a_file_without_keys_is_no_binary_one(tmp_path):
    (tmp_path / "v").write_bytes(b"5 2\n" + bytes(100_000))
    with pytest.raises(ValueError, match=r"vector 1 \(byte 4\): no key here"):
        load_vectors(tmp_path / "v")
