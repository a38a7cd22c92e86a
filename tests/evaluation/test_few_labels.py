"""Classifiers of few labels and of sparse features against scikit-learn, in float64."""

import numpy as np
import pytest
from scipy import sparse

from jaxembed.evaluation.few_labels import (
    at_one_scale,
    fit_by_dev,
    fit_dense,
    fit_few,
    fit_rows,
    label_order,
    labels_to_reach,
)

CLASSES, WORDS = 3, 40


def bags(count, seed):
    """Texts as the words that they have; some words tell their class."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, count)
    often = np.full((CLASSES, WORDS), 0.1) + 0.3 * (np.arange(WORDS) % 10 == np.arange(CLASSES)[:, None])
    return sparse.csr_array((random.random((count, WORDS)) < often[labels]).astype(np.float64)), labels


ROWS, LABELS = bags(120, 0)
TEST, WANTED = bags(300, 1)


def by_sklearn(rows, labels, l2):
    linear_model = pytest.importorskip("sklearn.linear_model")
    return linear_model.LogisticRegression(C=1 / (len(labels) * l2), tol=1e-10, max_iter=20_000).fit(rows, labels)


@pytest.mark.parametrize("l2", [1e-1, 1e-3])
def test_sparse_and_dense_fits_are_those_of_scikit_learn(l2):
    reference = by_sklearn(ROWS.toarray(), LABELS, l2)
    for found in (fit_rows(ROWS, LABELS, l2), fit_dense(ROWS.toarray().astype(np.float32), LABELS, l2)):
        expected = reference.coef_.T
        np.testing.assert_allclose(
            found.weight, expected - expected.mean(1)[:, None], atol=3e-3 * np.abs(expected).max()
        )
        np.testing.assert_array_equal(found.predict(TEST), reference.predict(TEST.toarray()))


def test_few_rows_are_fitted_within_their_span_and_the_penalty_is_that_of_a_cross_validation():
    rows, labels = ROWS[:24], LABELS[:24]  # fewer than dimensions
    found, l2 = fit_few(rows, labels, folds=3)
    reference = by_sklearn(rows.toarray(), labels, l2)
    expected = reference.coef_.T
    np.testing.assert_allclose(found.weight, expected - expected.mean(1)[:, None], atol=3e-3 * np.abs(expected).max())
    dense, same = fit_few(rows.toarray().astype(np.float32), labels, folds=3)
    assert same == l2
    np.testing.assert_allclose(dense.weight, found.weight, atol=1e-3 * np.abs(found.weight).max())
    turn = np.array([np.sum(labels[:i] == labels[i]) for i in range(24)]) % 3
    losses = {}
    for one in (1.0, 0.1, 1e-2, 1e-3):
        logs = np.zeros(24)
        for fold in range(3):
            of = by_sklearn(rows.toarray()[turn != fold], labels[turn != fold], one)
            logs[turn == fold] = of.predict_log_proba(rows.toarray()[turn == fold])[
                np.arange((turn == fold).sum()), labels[turn == fold]
            ]
        losses[one] = -logs.mean()
    assert fit_few(rows, labels, penalties=tuple(losses), folds=3)[1] == min(losses, key=lambda value: losses[value])


def test_more_rows_than_dimensions_and_more_dimensions_than_rows_agree_on_the_same_rows():
    dense = ROWS.toarray().astype(np.float32)
    found, l2 = fit_few(dense, LABELS, penalties=(1e-2,))
    wide, _ = fit_few(ROWS, LABELS, penalties=(1e-2,))
    assert l2 == 1e-2
    np.testing.assert_allclose(wide.weight, found.weight, atol=2e-3 * np.abs(found.weight).max())
    assert wide.accuracy(TEST, WANTED) == pytest.approx(found.accuracy(TEST.toarray(), WANTED), abs=1e-9)


def test_the_penalty_is_chosen_on_dev_rows_and_all_rows_are_fitted_where_these_are_training_rows():
    train, dev = ROWS[:80], ROWS[80:]
    accuracies = {
        l2: by_sklearn(train.toarray(), LABELS[:80], l2).score(dev.toarray(), LABELS[80:]) for l2 in (1.0, 1e-2, 1e-5)
    }
    found, l2, accuracy = fit_by_dev(train, LABELS[:80], dev, LABELS[80:], tuple(accuracies))
    assert accuracy == pytest.approx(max(accuracies.values()))
    assert l2 == max(accuracies, key=lambda value: (accuracies[value], value))
    assert found.accuracy(dev, LABELS[80:]) == accuracy
    joined, same, _ = fit_by_dev(train, LABELS[:80], dev, LABELS[80:], tuple(accuracies), joined=True)
    whole = fit_rows(ROWS, LABELS, same)
    assert same == l2
    np.testing.assert_allclose(joined.weight, whole.weight, atol=2e-3 * np.abs(whole.weight).max())


def test_scaled_rows_have_a_mean_square_length_of_one():
    dense = np.random.default_rng(0).normal(3, [1, 10, 1e-3], (50, 3))
    dense = np.concatenate([dense, np.ones((50, 1))], axis=1).astype(np.float32)  # a dimension that tells nothing
    scaled = at_one_scale(dense)(dense)
    np.testing.assert_allclose(scaled.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose((scaled**2).mean(0), [1 / 3, 1 / 3, 1 / 3, 0], rtol=1e-2)
    assert np.mean((at_one_scale(ROWS)(ROWS).toarray() ** 2).sum(1)) == pytest.approx(1)


def test_first_labels_are_balanced_nested_and_drawn_by_the_seed():
    labels = np.array([0] * 90 + [1] * 10)
    order = label_order(labels, 3)
    assert sorted(order) == list(range(100))
    assert np.bincount(labels[order[:10]]).tolist() == [5, 5]
    assert np.bincount(labels[order[:30]]).tolist() == [20, 10]  # there are no more of the second
    np.testing.assert_array_equal(order, label_order(labels, 3))
    assert set(order[:10]) != set(label_order(labels, 4)[:10])


def test_numbers_of_labels_lie_between_on_a_logarithmic_scale():
    curve = {10: 0.5, 100: 0.7, 1000: 0.8}
    assert labels_to_reach(curve, 0.75) == pytest.approx(10**2.5)
    assert labels_to_reach(curve, 0.8) == pytest.approx(1000)
    assert labels_to_reach(curve, 0.4) == 10
    assert labels_to_reach(curve, 0.81) is None


def test_a_single_row_of_each_class_is_refused():
    with pytest.raises(ValueError, match="too few to fit a classifier"):
        fit_few(ROWS[:2], np.array([0, 1]))
