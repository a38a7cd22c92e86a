"""What vectors of nodes tell of their groups, and of links that were taken out of a graph."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from jax.typing import ArrayLike

from jaxembed.evaluation.checks import rows_of
from jaxembed.evaluation.probe import fit_logistic, fit_probe
from jaxembed.evaluation.top_k import click_figures

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def node_classification(
    vectors: ArrayLike, labels: np.ndarray, shares: Sequence[float] = SHARES, *, splits: int = 10, c: float = 1.0,
    seed: int = 0,
) -> dict[float, tuple[float, float]]:  # fmt: skip
    """Micro and macro F1 of one-vs-rest logistic regression, for each share of labelled nodes, means over random splits.

    vectors: [n, d], taken as they are. labels: bool [n, groups]; nodes without a group take no part. As many groups are predicted
    for a node as it has (Perozzi et al. 2014, section 5; Tang and Liu 2009). `c` is scikit-learn's C, with a bias that is not
    penalised. The macro F1 counts a group that occurs neither in truth nor in prediction as 0, as scikit-learn does.

    Raises ValueError for vectors that are not finite, and for shares that leave nothing to fit or to judge.
    """
    rows, labels = np.asarray(rows_of("vectors", vectors)), np.asarray(labels, bool)
    used = labels.any(1)
    rows, labels = rows[used], labels[used]
    found = {}
    for share in shares:
        count = fitted_count(labels, share)
        orders = [np.random.default_rng([seed, split]).permutation(len(rows)) for split in range(splits)]
        # The first split's fit is near that of the others, which begin there.
        start = _fitted(rows, labels, orders[0][:count], c, np.zeros((rows.shape[1] + 1, labels.shape[1]), np.float32))
        judged = partial(_judged, rows, labels, count, c, start)
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # XLA leaves products of this size to one core
            each = list(pool.map(judged, orders))
        found[share] = (float(np.mean([micro for micro, _ in each])), float(np.mean([macro for _, macro in each])))
    return found


def fitted_count(labels: np.ndarray, share: float) -> int:
    """The number of nodes in a share of those with a group. Raises ValueError if it leaves nothing to fit or to judge."""
    n = int(labels.any(1).sum())
    count = round(share * n)
    if not 0 < count < n:
        raise ValueError(f"a share of {share:g} of {n} nodes with a group leaves nothing to fit or to judge")
    return count


#: Penalties of the probe of parts that are tried.
L2 = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)


def probed_groups(vectors: ArrayLike, labels: np.ndarray, part: np.ndarray, l2: Sequence[float] = L2) -> np.ndarray:
    """The group that a linear probe predicts for each of `vectors` [n, d], int [n]; it is fitted to the training part.

    labels: bool [n, groups], one for each node of a part at most; part: [n], "train", "validation", "test", or anything else.
    Of the penalties the one is taken that predicts most groups of the validation part, the larger of equals; without that part,
    the first of them. Vectors are centred and divided by their mean length, all by the same number. Raises what `fit_probe`
    raises.
    """
    rows, truth = np.asarray(rows_of("vectors", vectors)), labels.argmax(1)
    fitted, chosen = ((part == one) & labels.any(1) for one in ("train", "validation"))
    rows = rows - rows[fitted].mean(0)
    rows /= max(float(np.sqrt((rows[fitted] ** 2).sum(1).mean())), 1e-12)
    found: list[tuple[float, np.ndarray]] = []
    for penalty in sorted(l2, reverse=True):
        groups = fit_probe(rows[fitted], truth[fitted], l2=penalty, standardize=False).predict(rows)
        found.append((float((groups == truth)[chosen].mean()) if chosen.any() else 0.0, groups))
    return max(found, key=lambda one: one[0])[1]


def part_accuracy(groups: np.ndarray, labels: np.ndarray, part: np.ndarray) -> dict[str, float]:
    """The share of nodes whose group is predicted right: `accuracy` of the test part and `accuracy-dev` of the validation part.

    groups: int [n]; labels and part as in `probed_groups`. Nodes without a group take no part; where all are, the share is NaN.
    """
    right = labels[np.arange(len(groups)), groups]
    of = lambda one: right[(part == one) & labels.any(1)]
    return {
        name: float(of(one).mean()) if len(of(one)) else float("nan")
        for name, one in (("accuracy", "test"), ("accuracy-dev", "validation"))
    }


def _judged(
    rows: np.ndarray, labels: np.ndarray, count: int, c: float, start: np.ndarray, order: np.ndarray
) -> tuple[float, float]:
    """F1 of the nodes after the first `count` of an order, by what is fitted to those."""
    fit, rest = order[:count], order[count:]
    weights = _fitted(rows, labels, fit, c, start)
    scores = rows[rest] @ weights[:-1] + weights[-1]
    scores[:, ~labels[fit].any(0)] = -np.inf  # a group that no fitted node has is predicted last
    return f1(labels[rest], top(scores, labels[rest].sum(1)))


def _fitted(rows: np.ndarray, labels: np.ndarray, fit: np.ndarray, c: float, start: np.ndarray) -> np.ndarray:
    return np.asarray(fit_logistic(rows[fit], labels[fit], 1 / (c * len(fit)), start))


def top(scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The groups with the highest scores [n, groups], `counts` [n] of them in each row: bool [n, groups]."""
    place = np.argsort(np.argsort(-scores, 1, kind="stable"), 1)
    return place < counts[:, None]


def f1(true: np.ndarray, found: np.ndarray) -> tuple[float, float]:
    """Micro and macro F1 of predictions, bool [n, groups]; a group without truth and prediction has 0."""
    hits, wrong = (true & found).sum(0), (true ^ found).sum(0)
    each = np.divide(2 * hits, 2 * hits + wrong, out=np.zeros(len(hits)), where=hits + wrong > 0)
    return float(2 * hits.sum() / max((2 * hits + wrong).sum(), 1)), float(each.mean())


def non_links(offsets: np.ndarray, neighbours: np.ndarray, count: int, seed: int = 0) -> np.ndarray:
    """Pairs of different nodes that no link joins in that direction, int32 [count, 2], none twice.

    Raises ValueError where the graph has too few.
    """
    n = len(offsets) - 1
    source = np.repeat(np.arange(n), np.diff(offsets))
    known = np.unique(np.concatenate([source * n + neighbours, np.arange(n) * (n + 1)]))
    if n * n - len(known) < 2 * count:
        raise ValueError(
            f"a graph of {n} nodes has fewer than {2 * count} pairs that are not linked, to draw {count} from"
        )
    random, found = np.random.default_rng(seed), np.zeros(0, np.int64)
    while len(found) < count:
        drawn = random.integers(0, n * n, 2 * count)
        found = np.concatenate([found, drawn[~np.isin(drawn, known)]])
        found = found[np.sort(np.unique(found, return_index=True)[1])]
    return np.stack([found[:count] // n, found[:count] % n], 1).astype(np.int32)


def link_auc(vectors: ArrayLike, links: np.ndarray, others: np.ndarray) -> float:
    """The area under the ROC curve of cosines of pairs: `links` [n, 2] above `others` [m, 2], rows of `vectors` [nodes, d].

    Equal cosines count half. A row of zeros has the cosine 0 with all.
    """
    rows = np.asarray(rows_of("vectors", vectors), np.float64)
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    score = lambda pairs: np.einsum("nd,nd->n", rows[pairs[:, 0]], rows[pairs[:, 1]])
    found = np.concatenate([score(links), score(others)])
    return click_figures(found, np.arange(len(found)) < len(links))["auc"]
