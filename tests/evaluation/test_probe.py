"""The linear probe against scipy's minimum in float64, and against scikit-learn where it is installed."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from jaxembed.evaluation.probe import SIMCLR_L2, cross_probe, few_label_probe, fit_probe, linear_probe

N, D, CLASSES = 301, 6, 3


def clouds(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping classes of correlated features, of unlike scales and far from 0."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, CLASSES, count)
    given = np.random.default_rng(0)
    centres, mixing = given.standard_normal((CLASSES, D)), given.standard_normal((D, D))
    spread = centres[labels] + random.standard_normal((count, D))
    return (spread @ mixing * 10.0 ** np.arange(-2, D - 2) + 5).astype(np.float32), labels


TRAIN, TEST = clouds(N, 1), clouds(97, 2)


def objective(weight, bias, rows, labels, l2):
    chosen = log_softmax(rows @ weight + bias, axis=1)[np.arange(len(labels)), labels]
    return -chosen.mean() + l2 / 2 * (weight**2).sum()


def by_scipy(rows, labels, l2):
    """The least value and its weight and bias, in float64."""
    parts = lambda flat: (flat[CLASSES:].reshape(-1, CLASSES), flat[:CLASSES])

    def value_and_gradient(flat):
        weight, bias = parts(flat)
        wrong = (softmax(rows @ weight + bias, axis=1) - np.eye(CLASSES)[labels]) / len(labels)
        gradient = np.concatenate([wrong.sum(0), (rows.T @ wrong + l2 * weight).ravel()])
        return objective(weight, bias, rows, labels, l2), gradient

    start = np.zeros((rows.shape[1] + 1) * CLASSES)
    options = {"maxiter": 20_000, "maxfun": 50_000, "ftol": 1e-15, "gtol": 1e-10}
    found = minimize(value_and_gradient, start, jac=True, method="L-BFGS-B", options=options)
    return found.fun, *parts(found.x)


@pytest.mark.parametrize("l2", [10.0, 1e-2, 1e-5])
@pytest.mark.parametrize("standardize", [True, False])
def test_the_fit_is_scipys_minimum(l2, standardize):
    rows, labels = TRAIN[0].astype(np.float64), TRAIN[1]
    if not standardize:
        rows = (rows - rows.mean(0)) / rows.std(0).max()  # what scipy can minimise
    scaled = (rows - rows.mean(0)) / (rows.std(0) if standardize else 1)
    least, weight, bias = by_scipy(scaled, labels, l2)
    probe = fit_probe(rows, labels, l2=l2, standardize=standardize)
    assert objective(probe.weight.astype(np.float64), probe.bias, scaled, labels, l2) <= least + 1e-6
    np.testing.assert_allclose(probe.weight, weight, atol=2e-3 * np.abs(weight).max())
    logits = (rows - rows.mean(0)) / probe.scale @ weight + bias
    actual = np.asarray(probe.logits(rows))
    np.testing.assert_allclose(softmax(actual, axis=1), softmax(logits, axis=1), atol=2e-3)
    np.testing.assert_array_equal(probe.predict(rows), actual.argmax(axis=1))


def test_accuracy_is_that_of_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    mean, std = TRAIN[0].mean(0), TRAIN[0].std(0)
    reference = linear_model.LogisticRegression(C=1 / (N * 1e-3), tol=1e-8, max_iter=10_000)
    reference.fit((TRAIN[0] - mean) / std, TRAIN[1])
    expected = reference.score((TEST[0] - mean) / std, TEST[1])
    assert linear_probe(*TRAIN, *TEST, l2=1e-3) == pytest.approx(expected, abs=1.5 / len(TEST[1]))


def test_each_fold_is_judged_by_scipys_minimum_on_the_others():
    folds, l2 = 3, 1e-2
    parts, right = np.array_split(np.random.default_rng(5).permutation(N), folds), 0
    for part in parts:
        rest = np.setdiff1d(np.arange(N), part)
        mean, std = TRAIN[0][rest].astype(np.float64).mean(0), TRAIN[0][rest].std(0)
        _, weight, bias = by_scipy((TRAIN[0][rest] - mean) / std, TRAIN[1][rest], l2)
        right += np.sum(((TRAIN[0][part] - mean) / std @ weight + bias).argmax(1) == TRAIN[1][part])
    assert cross_probe(*TRAIN, folds=folds, l2=l2, seed=5) == pytest.approx(right / N, abs=1.5 / N)
    with pytest.raises(ValueError, match="folds must be between 2 and the 301 rows"):
        cross_probe(*TRAIN, folds=1)


@pytest.mark.slow
def test_the_penalty_is_chosen_on_held_out_training_rows():
    # Nearly as many noisy dimensions as rows: a weak penalty fits the noise.
    random = np.random.default_rng(4)
    labels = random.integers(0, 2, 120)
    rows = np.concatenate([labels[:, None] * 2.0, random.standard_normal((120, 80))], axis=1)
    penalties = (1e-3, 0.3, 1e3)
    probe = fit_probe(rows, labels, l2=penalties, validation=0.25, seed=3)
    held = np.random.default_rng(3).permutation(120) < 30
    for penalty in penalties:
        alone = fit_probe(rows[~held], labels[~held], l2=penalty)
        expected = np.mean(alone.predict(rows[held]) == labels[held])
        assert probe.tried[penalty] == pytest.approx(expected, abs=1.5 / 30)
    assert probe.l2 == max(sorted(penalties, reverse=True), key=lambda value: probe.tried[value])
    again = fit_probe(rows, labels, l2=probe.l2)  # the last fit is of all rows, wherever it starts from
    np.testing.assert_allclose(probe.weight, again.weight, atol=1e-3 * np.abs(again.weight).max())
    assert again.tried == {}
    assert len(set(probe.tried.values())) > 1


def test_simclrs_protocol_chooses_among_45_penalties_on_features_as_they_are():
    rows = (TRAIN[0] - TRAIN[0].mean(0)) / TRAIN[0].std(0) * np.linspace(0.5, 2, D)  # of unlike scales
    probe = fit_probe(rows, TRAIN[1], l2=SIMCLR_L2, standardize=False)
    assert len(probe.tried) == 45
    assert (max(probe.tried), min(probe.tried)) == pytest.approx((1e5, 1e-6))
    np.testing.assert_array_equal(probe.scale, 1)
    assert probe.tried[max(probe.tried)] < 0.6 < probe.tried[probe.l2]  # the strongest leaves nothing but the bias
    _, weight, _ = by_scipy(rows.astype(np.float64), TRAIN[1], probe.l2)
    np.testing.assert_allclose(probe.weight, weight, atol=5e-3 * np.abs(weight).max())


def test_the_accuracy_is_that_of_the_test_rows():
    probe = fit_probe(*TRAIN, l2=1e-3)
    expected = np.mean(probe.predict(TEST[0]) == TEST[1])
    assert 0.5 < expected < 1
    assert linear_probe(*TRAIN, *TEST, l2=1e-3) == pytest.approx(expected)


@pytest.mark.parametrize(
    "kind",
    [pytest.param("constant", marks=pytest.mark.slow), pytest.param("collapsed", marks=pytest.mark.slow), "separable"],
)
def test_hard_features_give_finite_weights(kind):
    rows, labels = TRAIN
    if kind == "constant":  # a dimension that does not vary, but for rounding, and one of zeros
        rows = np.concatenate([rows, np.full((N, 1), 0.1), np.zeros((N, 1))], axis=1)
    elif kind == "collapsed":  # more dimensions than directions
        rows = rows[:, :1] @ np.ones((1, 64), np.float32)
    else:
        rows = np.eye(CLASSES)[labels] * 3
    probe = fit_probe(rows, labels, l2=1e-6)
    assert np.isfinite(probe.weight).all()
    accuracy = np.mean(probe.predict(rows) == labels)
    if kind == "separable":
        assert accuracy == 1
    else:
        kept = TRAIN[0] if kind == "constant" else TRAIN[0][:, :1]
        expected = np.mean(fit_probe(kept, labels, l2=1e-6).predict(kept) == labels)
        assert accuracy == pytest.approx(expected, abs=0.01)


def test_bad_input_is_told():
    (x, y), (u, v) = TRAIN, TEST
    for arguments, settings, message in (
        ((x * np.nan, y, u, v), {}, "train: 301 of 301 rows hold NaN"),
        ((x, y, u[:, :2], v), {}, "test have 2 dimensions where 6"),
        ((x, y[:5], u, v), {}, "train_labels must be one label for each of 301"),
        ((x, y, u, v + 1), {}, "test_labels must number the classes from 0 and go up to 2"),
        ((x, y * 0, u, v * 0), {}, "all training labels are 0"),
        ((x, y, u, v), {"l2": -1.0}, "l2 must be"),
        ((x, y, u, v), {"l2": ()}, "l2 must be"),
        ((x, y, u, v), {"l2": float("nan")}, "l2 must be"),
        ((x, y, u, v), {"validation": 0.0}, "a share of 0.0 of 301 rows cannot be held out"),
        ((x, y, u, v), {"validation": 1.0}, "cannot be held out"),
    ):
        with pytest.raises(ValueError, match=message):
            linear_probe(*arguments, **settings)


@pytest.mark.slow
def test_a_probe_on_few_labels_sees_no_more_than_these():
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 60)
    centres = 8 * np.eye(4, 6)
    rows = centres[labels] + random.normal(size=(240, 6))
    assert few_label_probe(rows, labels, rows, labels, each=5) == 1.0
    noise = random.normal(size=(240, 6))
    fresh = random.normal(size=(2000, 6))
    assert 0.15 < few_label_probe(noise, labels, fresh, np.arange(2000) % 4, each=5) < 0.35
    assert few_label_probe(rows, labels, rows, labels, each=5, seed=1) == few_label_probe(
        rows, labels, rows, labels, each=5, seed=1
    )
    # With all rows of each class it is the probe on all of them, whatever the draw.
    whole = fit_probe(noise, labels, validation=0.3, iterations=100).accuracy(fresh, np.arange(2000) % 4)
    everything = few_label_probe(noise, labels, fresh, np.arange(2000) % 4, each=60, draws=3)
    assert abs(everything - whole) < 0.03
    # More dimensions than rows, where it works in the span of the rows: as scikit-learn does in all dimensions.
    wide, unseen = (
        centres[labels] @ mix + random.normal(size=(240, 90)) for mix in 2 * [random.normal(size=(6, 90)) / 9]
    )
    draw = np.random.default_rng(0)
    drawn = np.concatenate([draw.choice(np.flatnonzero(labels == one), 5, replace=False) for one in range(4)])
    linear_model, preprocessing = (
        pytest.importorskip("sklearn.linear_model"),
        pytest.importorskip("sklearn.preprocessing"),
    )
    scaler = preprocessing.StandardScaler().fit(wide[drawn])
    peer = linear_model.LogisticRegression(C=1 / (20 * 1e-2), max_iter=1000).fit(
        scaler.transform(wide[drawn]), labels[drawn]
    )
    found = few_label_probe(wide, labels, unseen, labels, each=5, draws=1, l2=1e-2)
    assert abs(found - peer.score(scaler.transform(unseen), labels)) < 0.01
    with pytest.raises(ValueError, match="class 3 has 59 rows, fewer than the 60 labels a class"):
        few_label_probe(rows[:-1], labels[:-1], rows, labels, each=60)
