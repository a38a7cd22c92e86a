"""Linear classifiers of frozen features, dense or sparse, and how many labels they need.

All minimise `mean cross-entropy + l2 / 2 |W|^2` with a free bias, as `jaxembed.evaluation.probe` does. Features are compared at
one scale (`at_one_scale`), so that one list of penalties suits all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import log_softmax

from jaxembed.evaluation.checks import labels_of
from jaxembed.evaluation.probe import fit_probe

#: Features of texts, [n, d]: of words, sparse.
Rows = np.ndarray | sparse.csr_array

#: Penalties that are tried, a strong one first, for rows whose mean square length is 1.
PENALTIES = tuple(10.0**-power for power in range(8))


class Classifier(NamedTuple):
    """The logits of rows X [n, d] are `X @ weight + bias`, [n, classes]."""

    weight: np.ndarray
    bias: np.ndarray

    def predict(self, rows: Rows) -> np.ndarray:
        """The most likely class of each row, [n]."""
        return (rows @ self.weight + self.bias[None]).argmax(axis=1)

    def accuracy(self, rows: Rows, labels: np.ndarray) -> float:
        """The share of rows whose most likely class is theirs."""
        return float(np.mean(self.predict(rows) == labels))


@dataclass(frozen=True, eq=False)
class Scale:
    """A shift and a scale of each dimension, by which rows are compared; sparse rows are not shifted, and stay sparse."""

    mean: np.ndarray | None
    factor: Any

    def __call__(self, rows: Rows) -> Rows:
        """The rows at this scale."""
        if self.mean is None or not isinstance(rows, np.ndarray):
            return sparse.csr_array(rows * self.factor)
        return ((rows - self.mean[None]) * self.factor).astype(np.float32)


def at_one_scale(rows: Rows) -> Scale:
    """The scale at which the mean square length of `rows` is 1: dimensions of dense rows have the same variance, and mean 0.

    It needs no labels.
    """
    if not isinstance(rows, np.ndarray):
        square = float(rows.multiply(rows).sum()) / len(rows.indptr[1:])
        return Scale(None, 1 / np.sqrt(square) if square else 1.0)
    mean, deviation = rows.mean(0, dtype=np.float64), rows.std(0, dtype=np.float64)
    varies = deviation > 1e-6 * np.abs(mean)
    return Scale(mean, np.where(varies, 1 / np.where(varies, deviation, 1), 0) / np.sqrt(max(varies.sum(), 1)))


def fit_rows(
    rows: Rows,
    labels: np.ndarray,
    l2: float,
    start: Classifier | None = None,
    classes: int = 0,
    iterations: int = 500,
) -> Classifier:
    """The minimum for rows [n, d], sparse or few, by L-BFGS in float64, from `start` on; `fit_dense` suits many dense rows.

    classes: their number, 0 for as many as the labels name.
    """
    shape: Any = rows.shape
    n, d = shape
    classes = classes or int(labels.max()) + 1
    wide: Any = rows.astype(np.float64)
    across = sparse.csr_array(wide.T) if sparse.issparse(wide) else wide.T  # both products then read rows

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight, bias = flat[classes:].reshape(d, classes), flat[:classes]
        logs = log_softmax(wide @ weight + bias[None], axis=1)
        wrong = np.exp(logs)
        wrong[np.arange(n), labels] -= 1
        wrong /= n
        slope = np.concatenate([wrong.sum(0), (across @ wrong + l2 * weight).ravel()])
        return -logs[np.arange(n), labels].mean() + l2 / 2 * np.sum(weight**2), slope

    begin = np.zeros(classes * (d + 1)) if start is None else np.concatenate([start.bias, start.weight.ravel()])
    found = minimize(
        loss, begin, jac=True, method="L-BFGS-B", options={"maxiter": iterations, "ftol": 1e-9, "gtol": 1e-6}
    )
    return Classifier(found.x[classes:].reshape(d, classes), found.x[:classes])


def fit_dense(rows: np.ndarray, labels: np.ndarray, l2: float) -> Classifier:
    """The minimum for dense rows [n, d]."""
    probe = fit_probe(rows, labels, l2=l2, standardize=False)
    return Classifier(probe.weight, probe.bias - probe.mean @ probe.weight)


def fit_by_dev(
    rows: Rows,
    labels: np.ndarray,
    dev: Rows,
    dev_labels: np.ndarray,
    penalties: Sequence[float] = PENALTIES,
    joined: bool = False,
) -> tuple[Classifier, float, float]:
    """A classifier with the penalty that is best on `dev`, the larger of equals; that penalty; and its accuracy there.

    It is SentEval's protocol (Conneau and Kiela 2018). joined: fits once more, to the rows of both, with that penalty.
    """
    best: tuple[Classifier, float, float] | None = None
    last = None
    for l2 in sorted(penalties, reverse=True):
        last = fit_dense(rows, labels, l2) if isinstance(rows, np.ndarray) else fit_rows(rows, labels, l2, last)
        accuracy = last.accuracy(dev, dev_labels)
        if best is None or accuracy > best[2]:
            best = last, l2, accuracy
    if best is None:
        raise ValueError("there is no penalty to try: give one or several")
    if not joined:
        return best
    both = np.concatenate([labels, dev_labels])
    if isinstance(rows, np.ndarray) and isinstance(dev, np.ndarray):
        return fit_dense(np.concatenate([rows, dev]), both, best[1]), *best[1:]
    return fit_rows(sparse.csr_array(sparse.vstack([rows, dev])), both, best[1], best[0]), *best[1:]


def fit_few(
    rows: Rows, labels: np.ndarray, penalties: Sequence[float] = PENALTIES, folds: int = 5
) -> tuple[Classifier, float]:
    """A classifier of few rows, and its penalty, that with the least cross-entropy in a cross-validation of these rows alone.

    Rows of a class take turns among the folds. Weights lie in the span of the rows: the minimum is sought in coordinates of which
    there are no more than rows. Raises ValueError where no class has two rows.
    """
    shape: Any = rows.shape
    n, d = shape
    labels = labels_of("labels", labels, n)
    counts = np.bincount(labels)
    if counts.max() < 2 or (counts > 0).sum() < 2:
        raise ValueError(
            f"{n} labels, {counts.max()} of a class, are too few to fit a classifier and to choose its penalty"
        )
    back: Any = None
    inside = rows
    if d > n or not isinstance(rows, np.ndarray):
        gram = rows @ rows.T
        values, axes = np.linalg.eigh(np.asarray(gram if isinstance(gram, np.ndarray) else gram.toarray(), np.float64))
        lengths = np.sqrt(np.maximum(values, 0))
        there = lengths > 1e-5 * lengths.max(initial=0)
        inside = axes * np.where(there, lengths, 0)[None]
        back = axes * np.where(there, 1 / np.where(there, lengths, 1), 0)[None]
    within = np.zeros(n, np.int64)  # of each row, how many of its class stand before it
    for one in np.flatnonzero(counts):
        within[labels == one] = np.arange(counts[one])
    fold = within % min(folds, counts.max())
    losses = _held_out_losses(np.asarray(inside), labels, fold, sorted(penalties, reverse=True))
    chosen = min(losses, key=lambda l2: losses[l2])  # the first of equals, which is the largest
    fitted = fit_rows(np.asarray(inside), labels, chosen)
    return (fitted if back is None else Classifier(rows.T @ (back @ fitted.weight), fitted.bias)), chosen


def _held_out_losses(
    rows: np.ndarray, labels: np.ndarray, fold: np.ndarray, penalties: Sequence[float]
) -> dict[float, float]:
    """Mean cross-entropy of each row by the classifier of the other folds, for each penalty, a strong one first."""
    found = dict.fromkeys(map(float, penalties), 0.0)
    for one in range(fold.max() + 1):
        held, last = fold == one, None
        for l2 in found:
            # A class of which no row is left has weights of zero: it is there, and not likely.
            last = fit_rows(rows[~held], labels[~held], l2, last, classes=int(labels.max()) + 1)
            logs = log_softmax(rows[held] @ last.weight + last.bias[None], axis=1)
            found[l2] -= logs[np.arange(held.sum()), labels[held]].sum() / len(labels)
    return found


def label_order(labels: np.ndarray, seed: int) -> np.ndarray:
    """An order of rows, drawn by `seed`, whose first n have as many of each class as there are, or one more: int [len(labels)].

    The first 30 rows are the first 10 and 20 more. Draws do not depend on what vectors the rows have.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(len(labels))
    turn = np.zeros(len(labels), np.int64)
    for one in np.unique(labels):
        own = order[labels[order] == one]
        turn[own] = np.arange(len(own))
    return order[np.argsort(turn[order], kind="stable")]


def labels_to_reach(accuracies: Mapping[int, float], target: float) -> float | None:
    """The number of labels at which accuracies by the number of labels reach `target`, between two of them by the logarithm.

    None if none reaches it. A target that the smallest number reaches already needs that many at most.
    """
    sizes = sorted(accuracies)
    for place, size in enumerate(sizes):
        if accuracies[size] < target:
            continue
        if place == 0:
            return float(size)
        before = sizes[place - 1]
        share = (target - accuracies[before]) / (accuracies[size] - accuracies[before])
        return float(np.exp(np.log(before) + share * np.log(size / before)))
    return None
