import numpy as np
import pytest

from jaxembed.evaluation.nodes import (
    f1,
    fitted_count,
    link_auc,
    node_classification,
    non_links,
    part_accuracy,
    probed_groups,
    top,
)


def made(n=300, groups=5, seed=0):
    random = np.random.default_rng(seed)
    labels = random.random((n, groups)) < 0.25
    labels[np.arange(n), random.integers(0, groups, n)] = True
    vectors = labels @ random.normal(size=(groups, 12)) + random.normal(size=(n, 12))
    return vectors.astype(np.float32), labels


def reference(vectors, labels, share, split, c):
    """As scikit-learn has it."""
    linear, metrics = pytest.importorskip("sklearn.linear_model"), pytest.importorskip("sklearn.metrics")
    order = np.random.default_rng([0, split]).permutation(len(vectors))
    fit, rest = np.split(order, [fitted_count(labels, share)])
    models = [
        linear.LogisticRegression(C=c, max_iter=2000, tol=1e-8).fit(vectors[fit], column[fit]) for column in labels.T
    ]
    scores = np.stack([model.decision_function(vectors[rest]) for model in models], 1)
    found = np.zeros_like(labels[rest])
    for row, count in enumerate(labels[rest].sum(1)):
        found[row, np.argsort(-scores[row])[:count]] = True
    return [metrics.f1_score(labels[rest], found, average=kind, zero_division=0) for kind in ("micro", "macro")]


@pytest.mark.parametrize("c", [1.0, 0.05])
def test_f1_is_scikit_learns(c):
    vectors, labels = made()
    found = node_classification(vectors, labels, (0.2, 0.6), splits=3, c=c)
    for share, figures in found.items():
        expected = np.mean([reference(vectors, labels, share, split, c) for split in range(3)], 0)
        np.testing.assert_allclose(figures, expected, atol=2e-3)  # a tie of two groups may fall either way


def test_nodes_without_a_group_take_no_part():
    vectors, labels = made()
    more = np.concatenate([vectors, np.full((50, 12), 9, np.float32)])
    none = np.concatenate([labels, np.zeros((50, 5), bool)])
    assert node_classification(more, none, (0.5,), splits=2) == node_classification(vectors, labels, (0.5,), splits=2)


def test_a_group_that_no_fitted_node_has_is_predicted_last():
    vectors, labels = made(groups=3)
    rare = np.concatenate([labels, np.zeros((300, 1), bool)], 1)
    micro, macro = node_classification(vectors, rare, (0.5,), splits=2)[0.5]
    expected = node_classification(vectors, labels, (0.5,), splits=2)[0.5]
    assert micro == pytest.approx(expected[0])
    assert macro == pytest.approx(expected[1] * 3 / 4)  # a group that is never there counts as 0


def test_as_many_groups_are_predicted_as_a_node_has():
    scores = np.array([[0.1, 0.9, 0.5], [3.0, 2.0, 1.0]])
    assert top(scores, np.array([2, 1])).tolist() == [[False, True, True], [True, False, False]]
    assert f1(np.array([[True, False]]), np.array([[True, True]])) == (pytest.approx(2 / 3), pytest.approx(0.5))


@pytest.mark.parametrize("share", [0.0, 1.0, 0.001])
def test_a_share_leaves_something_to_fit_and_to_judge(share):
    vectors, labels = made()
    with pytest.raises(ValueError, match="of 300 nodes with a group leaves nothing to fit or to judge"):
        node_classification(vectors, labels, (share,))


def test_links_are_told_from_other_pairs_by_their_cosines():
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(0)
    vectors = random.normal(size=(30, 4)).astype(np.float32)
    links, others = random.integers(0, 30, (40, 2)), random.integers(0, 30, (60, 2))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = [(unit[pair[0]] * unit[pair[1]]).sum() for pair in np.concatenate([links, others])]
    expected = metrics.roc_auc_score(np.arange(100) < 40, np.array(cosines))
    assert link_auc(vectors, links, others) == pytest.approx(expected, abs=1e-3)


def test_pairs_without_a_link_are_none():
    offsets, neighbours = np.array([0, 1, 2, 2, 2, 2]), np.array([1, 0])
    found = non_links(offsets, neighbours, 8)
    assert len({tuple(pair) for pair in found.tolist()}) == 8
    assert all(a != b and {a, b} != {0, 1} for a, b in found.tolist())
    with pytest.raises(ValueError, match="fewer than 20 pairs"):
        non_links(offsets, neighbours, 10)


def parted(n=300, groups=4, seed=0):
    random = np.random.default_rng(seed)
    truth = random.integers(0, groups, n)
    vectors = 3 + np.eye(groups)[truth] @ random.normal(size=(groups, 12)) + random.normal(size=(n, 12))
    part = np.array(["train"] * 60 + ["validation"] * 100 + ["test"] * 120 + ["none"] * 20, object)
    return vectors, np.eye(groups, dtype=bool)[truth], part


def test_the_probe_of_parts_is_scikit_learns_with_the_penalty_of_the_validation_part():
    linear = pytest.importorskip("sklearn.linear_model")
    vectors, labels, part = parted()
    rows, truth = vectors - vectors[part == "train"].mean(0), labels.argmax(1)
    rows /= np.sqrt((rows[part == "train"] ** 2).sum(1).mean())
    best = (-1.0, None)
    for l2 in (1.0, 0.1, 0.01, 1e-3):
        model = linear.LogisticRegression(C=1 / (60 * l2), max_iter=5000, tol=1e-9)
        told = model.fit(rows[part == "train"], truth[part == "train"]).predict(rows)
        best = max(best, ((told == truth)[part == "validation"].mean(), told), key=lambda one: one[0])
    found = probed_groups(vectors, labels, part, l2=(1e-3, 0.1, 1.0, 0.01))
    assert (found == best[1]).mean() > 0.99
    figures = part_accuracy(best[1], labels, part)
    assert figures == {"accuracy": (best[1] == truth)[part == "test"].mean(), "accuracy-dev": best[0]}


def test_the_test_part_takes_no_part_in_the_probe():
    vectors, labels, part = parted()
    other, wrong = vectors.copy(), labels.copy()
    other[part == "test"] *= 9
    wrong[part == "test"] = np.roll(labels[part == "test"], 1, axis=1)
    rest = part != "test"
    np.testing.assert_array_equal(probed_groups(vectors, labels, part)[rest], probed_groups(other, wrong, part)[rest])


def test_nodes_of_a_part_without_a_group_take_no_part():
    _, labels, part = parted()
    labels[part == "validation"] = False
    labels[np.flatnonzero(part == "test")[1:]] = False
    told = labels.argmax(1)
    found = part_accuracy(told, labels, part)
    assert found["accuracy"] == 1
    assert np.isnan(found["accuracy-dev"])
