"""Nearest neighbours against a full sort in float64."""

import numpy as np
import pytest

from jaxembed.evaluation.neighbours import nearest, neighbours
from jaxembed.vectors import KeyedVectors


def vectors(count: int = 103) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, 6)).astype(np.float32)


def by_sorting(matrix: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    a, b = (x.astype(np.float64) / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, matrix))
    return np.argsort(-(a @ b.T), axis=1)[:, :k]


@pytest.mark.parametrize("chunk", [1, 10, 103, 8192])
def test_neighbours_are_those_of_a_full_sort(chunk):
    matrix, queries = vectors(), np.random.default_rng(1).standard_normal((17, 6)).astype(np.float32)
    scores, rows = nearest(matrix, queries, 5, chunk=chunk)
    assert (np.asarray(rows) == by_sorting(matrix, queries, 5)).all()
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    cosines = np.einsum("qd,qkd->qk", queries / np.linalg.norm(queries, axis=1, keepdims=True), unit[rows])
    np.testing.assert_allclose(scores, cosines, atol=1e-6)


@pytest.mark.parametrize("chunk", [10, 8192])
def test_excluded_rows_are_not_found(chunk):
    matrix = vectors()
    own = np.arange(len(matrix))
    _, rows = nearest(matrix, matrix, 4, exclude=own[:, None], chunk=chunk)
    assert (np.asarray(rows) == by_sorting(matrix, matrix, 5)[:, 1:]).all()


def test_many_queries_are_taken_in_blocks():
    matrix = vectors(9)
    queries = np.tile(matrix, (150_000, 1))[:1_000_003]
    _, rows = nearest(matrix, queries, 1)
    assert (np.asarray(rows)[:, 0] == np.arange(1_000_003) % 9).all()


def test_fewer_rows_than_asked_for():
    scores, rows = nearest(vectors(3), vectors(3), 10, exclude=np.arange(3)[:, None])
    assert rows.shape == (3, 3)
    assert (np.asarray(scores)[:, 2] == -np.inf).all()


def test_words_are_those_of_most_similar():
    kv = KeyedVectors([f"w{i}" for i in range(103)], vectors())
    near = neighbours(kv, ["w3", "w50"], topn=4)
    for word, found in near.items():
        expected = kv.most_similar(word, topn=4)
        assert [key for key, _ in found] == [key for key, _ in expected]
        np.testing.assert_allclose([s for _, s in found], [s for _, s in expected], atol=1e-6)
    assert len(neighbours(kv, ["w3"], topn=1000)["w3"]) == 102


def test_an_unknown_word_is_told_as_keyed_vectors_do():
    kv = KeyedVectors(["king", "queen", "stone"], vectors(3))
    with pytest.raises(KeyError, match="'quene' is not among the 3 keys: did you mean 'queen'") as ours:
        neighbours(kv, ["king", "quene"])
    with pytest.raises(type(ours.value)) as theirs:
        kv.most_similar("quene")
    assert str(ours.value) == str(theirs.value)


def test_bad_shapes_are_told():
    for matrix, queries, k in (
        (vectors(), vectors()[0], 3),
        (vectors(), np.ones((2, 5)), 3),
        (vectors(), vectors(), 0),
    ):
        with pytest.raises(ValueError, match="expected a matrix"):
            nearest(matrix, queries, k)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("chunk", [10, 8192])
def test_rows_that_are_not_finite_are_not_found(bad, chunk):
    good = vectors()
    spoilt = np.concatenate([good, np.full((2, 6), bad, np.float32)])
    scores, rows = nearest(spoilt, good[:9], 4, chunk=chunk)
    assert (np.asarray(rows) == by_sorting(good, good[:9], 4)).all()
    assert np.isfinite(scores).all()
    kv = KeyedVectors([f"w{i}" for i in range(105)], spoilt)
    assert [key for key, _ in neighbours(kv, ["w3"], topn=1000)["w3"]].count("w104") == 0
    assert len(neighbours(kv, ["w3"], topn=1000)["w3"]) == 102
    with pytest.raises(ValueError, match="the vector of 'w104' is not finite"):
        neighbours(kv, ["w3", "w104"])
