"""A table that is added to and changed, against gensim's."""

import warnings

import jax.numpy as jnp
import numpy as np
import pytest
from gensim.models import KeyedVectors as Gensim

from jaxembed.vectors import KeyedVectors


def small(count: int = 5, dimension: int = 4) -> KeyedVectors:
    vectors = np.random.default_rng(0).standard_normal((count, dimension)).astype(np.float32)
    return KeyedVectors(list("abcdefgh")[:count], vectors)


def test_keys_are_added_as_gensim_adds_them():
    rows = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    ours, theirs = KeyedVectors(4), Gensim(4)
    for kv in (ours, theirs):
        kv.add_vectors(["a", "b", "c"], rows)
        kv.add_vectors(["b", "d"], -rows[:2])  # the vector of b stays
        kv.add_vectors(["c", "e"], [2 * rows[0], 2 * rows[1]], replace=True)
        kv["f"] = 3 * rows[0]
        kv[["a", "g"]] = 4 * rows[1:]
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Adding single vectors", UserWarning)  # gensim's
            assert kv.add_vector("h", 5 * rows[2]) == 7
    assert ours.index_to_key == theirs.index_to_key
    assert ours.key_to_index == theirs.key_to_index
    np.testing.assert_array_equal(ours.vectors, theirs.vectors)
    assert repr(ours) == str(theirs) == "KeyedVectors<vector_size=4, 8 keys>"


@pytest.mark.parametrize("empty", [KeyedVectors(3), KeyedVectors(3, 10), KeyedVectors(vector_size=3, count=10)])
def test_a_table_without_keys_has_a_dimension(empty):
    assert (len(empty), empty.vector_size, empty.vectors.shape) == (0, 3, (0, 3))
    assert "a" not in empty
    assert empty.similar_by_vector(np.ones(3)) == []


def test_adding_one_by_one_seldom_moves_the_vectors():
    kv = KeyedVectors(2)
    places = set()
    for i in range(2000):
        kv[f"w{i}"] = np.array([i, 1.0])
        places.add(kv.vectors.ctypes.data)
    assert len(places) < 20
    assert kv.vectors[:, 0].tolist() == list(range(2000))
    assert kv["w1234"].tolist() == [1234, 1]


CHANGES = {
    "assigned": lambda kv: setattr(kv, "vectors", kv.vectors[::-1] * 20),
    "assigned in another dimension": lambda kv: setattr(kv, "vectors", kv.vectors[:, :2]),
    "a row in place": lambda kv: kv.vectors.__setitem__(0, [0, 2, 0, 9]),
    "all in place": lambda kv: kv.vectors.__imul__(np.arange(1, 5, dtype=np.float32)),
    "a key": lambda kv: kv.__setitem__("a", [7.0, 0, 0, 1]),
    "added": lambda kv: kv.add_vectors(["y", "z"], np.eye(4)[:2]),
    "normalized": lambda kv: kv.unit_normalize_all(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_searches_follow_every_change(change):
    kv = small()
    kv.fill_norms()
    before = kv.most_similar("b")
    change(kv)
    fresh = KeyedVectors(kv.index_to_key, kv.vectors.copy())
    # The order of a sum's terms, hence its last bit, follows how rows lie in memory.
    for search in ("most_similar", "most_similar_cosmul"):
        (keys, scores), (expected_keys, expected) = (zip(*getattr(v, search)("b"), strict=True) for v in (kv, fresh))
        assert keys == expected_keys
        np.testing.assert_allclose(scores, expected, rtol=1e-6)
    np.testing.assert_allclose(kv.norms, fresh.norms, rtol=1e-6)
    np.testing.assert_allclose(kv.norms, np.linalg.norm(kv.vectors, axis=1), rtol=1e-6)
    for key in kv.index_to_key:
        assert kv.similarity(key, key) == pytest.approx(1, abs=1e-6)
    if change is not CHANGES["normalized"]:  # the change shows
        assert kv.most_similar("b") != before


def test_normed_vectors_are_gensims():
    ours = small()
    theirs = Gensim(4)
    theirs.add_vectors(ours.index_to_key, ours.vectors)
    np.testing.assert_allclose(ours.get_normed_vectors(), theirs.get_normed_vectors(), rtol=1e-6)
    theirs.unit_normalize_all()
    ours.unit_normalize_all()
    np.testing.assert_allclose(ours.vectors, theirs.vectors, rtol=1e-6)


@pytest.mark.parametrize("scale", [1e-36, 1e-25, 1e25, 1e37])
def test_lengths_beyond_the_squares_of_float32(scale):
    kv = small()
    expected = kv.most_similar("a")
    kv.vectors = kv.vectors * np.float32(scale)
    found = kv.most_similar("a")
    assert [key for key, _ in found] == [key for key, _ in expected]
    np.testing.assert_allclose([s for _, s in found], [s for _, s in expected], atol=1e-5)


def test_vectors_may_always_be_written():
    of_jax = KeyedVectors(["a", "b"], jnp.ones((2, 3)))  # as training ends with them
    frozen = np.ones((2, 3), np.float32)
    frozen.setflags(write=False)
    for kv in (of_jax, KeyedVectors(["a", "b"], frozen)):
        kv.vectors[0] = 5
        assert kv["a"].tolist() == [5, 5, 5]
        kv.vectors *= 2
        assert kv["b"].tolist() == [2, 2, 2]
    assert (frozen == 1).all()


def test_a_mapped_file_is_not_written_to(tmp_path):
    small().save(tmp_path / "v")
    before = (tmp_path / "v").read_bytes()
    mapped = KeyedVectors.load(tmp_path / "v", mmap="r")
    with pytest.raises(ValueError, match="read-only"):
        mapped.vectors[0] = 1
    mapped["a"] = [1.0, 2, 3, 4]  # makes the vectors the table's own
    mapped["new"] = [5.0, 6, 7, 8]
    assert mapped[["a", "new"]].tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert (mapped["b"] == small()["b"]).all()
    assert (tmp_path / "v").read_bytes() == before


def test_counts_go_along():
    kv = KeyedVectors(["a", "b"], np.ones((2, 2)), [5, 3])
    kv["c"] = [0.0, 1.0]
    kv.add_vectors(["d", "a"], np.zeros((2, 2)), extras={"count": [7, 9]}, replace=True)
    assert [kv.get_vecattr(key, "count") for key in "abcd"] == [9, 3, 0, 7]


ATTRIBUTES = {
    "share": (0.25, 0.5),
    "length": (3, 4),
    "known": (True, False),
    "kind": ("noun", "verb"),
    "tags": (["x"], []),
}


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes_are_those_of_gensim(name):
    ours, theirs = KeyedVectors(["a", "b", "c"], np.eye(3)), Gensim(3)
    theirs.add_vectors(["a", "b", "c"], np.eye(3, dtype=np.float32))
    for kv in (ours, theirs):
        with pytest.raises(KeyError):
            kv.get_vecattr("a", name)
        for key, value in zip("ca", ATTRIBUTES[name], strict=True):
            kv.set_vecattr(key, name, value)
    assert [ours.get_vecattr(key, name) for key in "ac"] == [theirs.get_vecattr(key, name) for key in "ac"]
    assert bool(ours.get_vecattr("b", name)) == bool(theirs.get_vecattr("b", name)) is False


def test_attributes_go_along_and_keep_their_type():
    kv = KeyedVectors(["a", "b"], np.eye(2))
    for value in ([1, 2], {"x": 1}):
        kv.set_vecattr("a", "anything", value)
        assert kv.get_vecattr("a", "anything") == value
    kv.set_vecattr("a", "length", 3)
    kv.add_vectors(["c"], np.ones((1, 2)), extras={"length": [7], "share": np.array([0.5])})
    assert [kv.get_vecattr(key, "length") for key in "abc"] == [3, 0, 7]
    assert [kv.get_vecattr(key, "share") for key in "abc"] == [0, 0, 0.5]
    assert kv.get_vecattr("c", "anything") is None
    for call in (lambda: kv.set_vecattr("b", "length", 0.5), lambda: kv.set_vecattr("b", "share", "half"),
                 lambda: kv.set_vecattr("b", "count", 1.5)):  # fmt: skip
        with pytest.raises(TypeError, match=r"cannot hold|whole numbers"):
            call()
    with pytest.raises(TypeError, match="cannot hold"):
        kv.add_vectors(["d"], np.ones((1, 2)), extras={"length": [0.5]})
    assert "d" not in kv
    assert kv.counts is None
    kv.set_vecattr("b", "count", 5)
    assert kv.counts.tolist() == [0, 5, 0]
    chosen = kv.vectors_for_all(["c", "x", "a"], copy_vecattrs=True)
    assert [chosen.get_vecattr(key, "length") for key in "ca"] == [7, 3]
    assert chosen.counts.tolist() == [0, 0]
    chosen.set_vecattr("c", "length", 8)
    assert kv.get_vecattr("c", "length") == 7
    assert kv.vectors_for_all(["c"]).expandos == {}


def test_locked_rows_are_refused():
    kv = small()
    assert kv.vectors_lockf.tolist() == [1]
    kv.vectors_lockf = np.ones(5, np.float32)  # as tutorials do before intersect_word2vec_format
    with pytest.raises(ValueError, match="training moves all vectors"):
        kv.vectors_lockf = np.array([1, 0, 1, 1, 1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda kv: kv.add_vectors(["x", "y"], np.ones((2, 3))), "dimension 4 for each of the 2 keys"),
        (lambda kv: kv.add_vectors(["x", "y"], np.ones((1, 4))), "dimension 4 for each of the 2 keys"),
        (lambda kv: kv.add_vectors(["x", "x"], np.ones((2, 4))), "'x' comes twice"),
        (lambda kv: kv.add_vectors(["x"], np.ones((1, 4)), extras={"size": [1, 2]}), "expected 1 values of .*'size'"),
        (lambda kv: kv.add_vectors(["x"], np.ones((1, 4)), extras={"count": [1, 2]}), "expected 1 values of .*'count'"),
        (lambda kv: kv.add_vector("x", np.ones(5)), "dimension 4"),
        (lambda kv: kv.__setitem__(0, np.ones(4)), "keys are strings"),
        (lambda kv: setattr(kv, "vectors", np.ones((4, 4))), "a row for each of the 5 keys"),
        (lambda kv: KeyedVectors(0), "vector_size must be at least 1"),
        (lambda kv: KeyedVectors(), "vector_size must be at least 1"),
        (lambda kv: KeyedVectors(["a"]), "a row for each of the 1 keys"),
    ],
)
def test_a_bad_change_leaves_the_table_as_it_was(call, message):
    kv = small()
    with pytest.raises(ValueError, match=message):
        call(kv)
    assert kv.index_to_key == list("abcde")
    np.testing.assert_array_equal(kv.vectors, small().vectors)
