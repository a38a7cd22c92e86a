"""Weighted nearest neighbours against a full sort in float64, and against scikit-learn where it is installed."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxembed.evaluation.knn import knn_accuracy, knn_predict

N, M, D, CLASSES = 101, 23, 5, 4


def clouds(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Classes that overlap, so that votes are split."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, count)
    centres = np.random.default_rng(0).standard_normal((CLASSES, D))
    return (centres[labels] + 1.5 * random.standard_normal((count, D))).astype(np.float32), labels


TRAIN, TEST = clouds(N, 1), clouds(M, 2)


def by_sorting(train, labels, test, k, temperature):
    a, b = (x.astype(np.float64) / np.linalg.norm(x, axis=1, keepdims=True) for x in (test, train))
    votes = np.zeros((len(test), CLASSES))
    for row, scores in enumerate(a @ b.T):
        for near in np.argsort(-scores)[:k]:
            votes[row, labels[near]] += np.exp(scores[near] / temperature)
    return votes.argmax(axis=1)


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.1), (20, 0.07), (20, 2.0), (101, 0.5)])
def test_votes_are_those_of_a_full_sort(k, temperature):
    expected = by_sorting(*TRAIN, TEST[0], k, temperature)
    for batch in (7, 1024):  # 23 rows: a last batch of two, and one batch larger than all
        found = knn_predict(*TRAIN, TEST[0], k=k, temperature=temperature, batch=batch)
        np.testing.assert_array_equal(found, expected)
        accuracy = knn_accuracy(*TRAIN, *TEST, k=k, temperature=temperature, batch=batch)
        assert accuracy == pytest.approx(np.mean(expected == TEST[1]), abs=1e-12)


def test_the_temperature_counts_in_these_votes():
    # Else the test above could not tell temperatures apart.
    for k, temperature, other in ((20, 0.07, 2.0), (101, 0.5, 0.1)):
        votes = [by_sorting(*TRAIN, TEST[0], k, value) for value in (temperature, other)]
        assert (votes[0] != votes[1]).any()


def test_votes_are_those_of_scikit_learn():
    neighbors = pytest.importorskip("sklearn.neighbors")
    weigh = lambda distances: np.exp((1 - distances) / 0.07)
    reference = neighbors.KNeighborsClassifier(20, weights=weigh, metric="cosine").fit(*TRAIN)
    np.testing.assert_array_equal(knn_predict(*TRAIN, TEST[0], k=20), reference.predict(TEST[0]))


def test_the_length_of_vectors_and_a_tiny_temperature_do_no_harm():
    expected = knn_predict(*TRAIN, TEST[0], k=1)
    lengths = np.random.default_rng(3).uniform(0.01, 100, (N, 1)).astype(np.float32)
    np.testing.assert_array_equal(knn_predict(TRAIN[0] * lengths, TRAIN[1], TEST[0], k=1), expected)
    # e^(1 / .001) is beyond float32; at the limit the nearest one decides
    np.testing.assert_array_equal(knn_predict(*TRAIN, jnp.asarray(TEST[0]), k=101, temperature=1e-3), expected)


def test_equal_votes_go_to_the_smaller_label():
    train = np.array([[1, 0], [0, 1], [1, 0], [0, 1]], np.float32)
    assert knn_predict(train, np.array([3, 1, 3, 1]), np.ones((1, 2)), k=4).tolist() == [1]


def test_bad_input_is_told():
    (x, y), (u, v) = TRAIN, TEST
    broken = np.where(np.arange(N)[:, None] == 7, np.nan, x)
    missing = np.where(np.arange(N) == 0, -1, y)
    for arguments, settings, message in (
        ((broken, y, u, v), {}, r"train: 1 of 101 rows hold NaN or infinity \(first: row 7\)"),
        ((x, y, u * np.inf, v), {}, "test: 23 of 23 rows"),
        ((x, y, u[:, :3], v), {}, "test have 3 dimensions where 5"),
        ((x[0], y, u, v), {}, r"train must be vectors \[n, d\]"),
        ((x[:0], y[:0], u, v), {}, r"train must be vectors \[n, d\]"),
        ((x, y[:-1], u, v), {}, "train_labels must be one label for each of 101"),
        ((x, y, u, v[None]), {}, "test_labels must be one label for each of 23"),
        ((x, y + 0.5, u, v), {}, "train_labels must be integers"),
        ((x, missing, u, v), {}, "train_labels must number the classes from 0; found -1 to 3"),
        ((x, y, u, v + 1), {}, "test_labels must number the classes from 0 and go up to 3.*found 1 to 4"),
        ((x, y, u, v), {"k": 102}, "k = 102 neighbours were wanted of 101.*choose k from 1 to 101"),
        ((x, y, u, v), {"k": 0}, "choose k from 1"),
        ((x, y, u, v), {"k": 1, "temperature": 0.0}, "temperature and batch must be positive"),
        ((x, y, u, v), {"k": 1, "batch": 0}, "temperature and batch must be positive"),
    ):
        with pytest.raises(ValueError, match=message):
            knn_accuracy(*arguments, **settings)
