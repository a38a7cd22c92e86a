"""Vectors in safetensors files: any key and every bit, numbers of every type, and what is damaged."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_dtypes import bfloat16
from safetensors.numpy import save_file

from jaxembed import tensors
from jaxembed.vectors import KeyedVectors, load_vectors

KEYS = st.text(st.characters(exclude_categories=["Cs"]).filter(lambda letter: letter != "\n"), min_size=1)
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tensors")


@settings(deadline=None)
@given(keys=st.lists(KEYS, min_size=1, max_size=6, unique=True), data=st.data(), count=st.booleans())
def test_any_key_without_a_line_break_and_every_bit_come_back(folder, keys, data, count):
    values = data.draw(st.lists(FINITE, min_size=2 * len(keys), max_size=2 * len(keys)))
    vectors = np.array(values, np.float32).reshape(-1, 2)
    counts = np.arange(len(keys))[::-1] if count else None
    tensors.write_safetensors(folder / "s", keys, vectors, {} if counts is None else {"count": counts})
    for mmap in (False, True):
        found, matrix, number = tensors.read_safetensors(folder / "s", mmap=mmap)
        assert found == keys
        assert (np.ascontiguousarray(matrix).view(np.uint32) == vectors.view(np.uint32)).all()
        assert (number is None) if counts is None else (number == counts).all()


def save(path, vectors, keys=b"a\nb", **others) -> None:
    save_file({"vectors": vectors, "keys": np.frombuffer(keys, np.uint8), **others}, path)


@pytest.mark.parametrize(
    "kind", [np.float32, np.float64, np.float16, bfloat16, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16]
)
def test_numbers_of_every_type_come_back_right(tmp_path, kind):
    vectors = np.array([[1, 2, 100], [0, 5, 7]]).astype(kind)
    save(tmp_path / "v", vectors)
    for mmap in (None, "r"):
        found = KeyedVectors.load(tmp_path / "v", mmap=mmap).vectors
        assert found.dtype == np.float32
        assert found.tolist() == [[1, 2, 100], [0, 5, 7]]


def test_fractions_of_other_floats_come_back_right(tmp_path):
    for kind in (np.float64, np.float16, bfloat16):
        vectors = np.array([[-1.2345, 3e-5], [7.7, 0.1]]).astype(kind)
        save(tmp_path / "v", vectors)
        for mmap in (None, "r"):
            found = KeyedVectors.load(tmp_path / "v", mmap=mmap).vectors
            np.testing.assert_array_equal(found, vectors.astype(np.float32))


def test_other_tensors_are_refused(tmp_path):
    for vectors, others, message in (
        (np.ones((2, 3), bool), {}, "expected vectors .* found BOOL"),
        (np.ones((2, 3, 1), np.float32), {}, "expected vectors"),
        (np.array([[1.0, 2], [3, 1e300]]), {}, "the vector of 'b', number 2, holds inf"),
        (np.ones((3, 2), np.float32), {}, "2 keys but 3 vectors"),
        (np.ones((2, 2), np.float32), {"counts": np.array([1.5, 2])}, "'counts' holds float64"),
        (np.ones((2, 2), np.float32), {"counts": np.array([1, 2, 3])}, "expected 2 values of the attribute 'count'"),
        (np.ones((2, 2), np.float32), {"keys": b"a\n\xff"}, "'keys' is not UTF-8"),
    ):
        save(tmp_path / "v", vectors, **others)
        with pytest.raises(ValueError, match=message) as raised:
            load_vectors(tmp_path / "v")
        assert str(raised.value).startswith(f"{tmp_path / 'v'}: ")
    save_file({"weight": np.ones(3, np.float32)}, tmp_path / "v")
    with pytest.raises(ValueError, match=r"found \['weight'\]"):
        load_vectors(tmp_path / "v")


def test_a_damaged_file_is_told(tmp_path):
    path = tmp_path / "v.safetensors"
    KeyedVectors(["a", "b"], np.eye(2)).save(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=r"not a whole safetensors file"):
        load_vectors(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_named(tmp_path, bad):
    vectors = np.ones((3, 2), np.float32)
    vectors[1, 0] = bad
    KeyedVectors(["a", "b", "c"], vectors).save(tmp_path / "v")  # saving loses nothing
    with pytest.raises(ValueError, match=rf"v: the vector of 'b', number 2, holds {bad}"):
        load_vectors(tmp_path / "v")
    mapped = KeyedVectors.load(tmp_path / "v", mmap="r")  # which reads nothing yet
    assert [key for key, _ in mapped.most_similar("a")] == ["c"]


@pytest.mark.parametrize(("key", "message"), [("line\nbreak", "line break"), ("\ud800", "surrogate")])
def test_a_key_that_no_file_can_hold_loses_none(tmp_path, key, message):
    path = tmp_path / "v"
    path.write_text("good")
    bad = KeyedVectors(["a", key], np.ones((2, 2)))
    for write in (bad.save, bad.save_word2vec_format, lambda path: bad.save_word2vec_format(path, binary=True)):
        with pytest.raises(ValueError, match=message):
            write(path)
    assert [one.name for one in tmp_path.iterdir()] == ["v"]
    assert path.read_text() == "good"


def test_limit_takes_the_first_rows(tmp_path):
    KeyedVectors(["a", "b", "c"], np.eye(3), [9, 5, 1]).save(tmp_path / "v")
    read = load_vectors(tmp_path / "v", limit=2)
    assert read.index_to_key == ["a", "b"]
    assert read.vectors.tolist() == [[1, 0, 0], [0, 1, 0]]
    assert read.get_vecattr("b", "count") == 5


def test_the_file_holds_plain_aligned_arrays(tmp_path):
    """No pickle: any safetensors reader finds the matrix, whose offset allows a memory map."""
    vectors = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    tensors.write_safetensors(tmp_path / "v", [f"w{i}" for i in range(7)], vectors)
    raw = (tmp_path / "v").read_bytes()
    size = int.from_bytes(raw[:8], "little")
    start, end = json.loads(raw[8 : 8 + size])["vectors"]["data_offsets"]
    assert (8 + size + start) % 4 == 0
    assert raw[8 + size + start : 8 + size + end] == vectors.tobytes()


def test_attributes_of_keys_come_back(tmp_path):
    kv = KeyedVectors(["a", "b"], np.eye(2), [9, 5])
    values = {"share": np.float32(0.1), "long": 1 << 40, "known": True, "tags": ["x", "ü"], "name": "β"}
    for name, value in values.items():
        kv.set_vecattr("b", name, value)
    kv.save(tmp_path / "v")
    read = KeyedVectors.load(tmp_path / "v", mmap="r")
    for key in "ab":
        for name in (*values, "count"):
            assert read.get_vecattr(key, name) == kv.get_vecattr(key, name)
            assert read.expandos[name].dtype == kv.expandos[name].dtype
    kv.set_vecattr("a", "name", object())
    with pytest.raises(ValueError, match=r"attribute 'name' cannot be saved .*expandos\['name'\]"):
        kv.save(tmp_path / "v")
    assert KeyedVectors.load(tmp_path / "v").get_vecattr("b", "name") == "β"
