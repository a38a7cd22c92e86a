"""The linear probe: multinomial logistic regression on frozen features, by optax's L-BFGS, preconditioned.

It minimises `mean cross-entropy + l2 / 2 |W|^2`, the bias free, as Kornblith et al. 2019 and SimCLR's transfer
experiments (Chen et al. 2020, appendix) do: L-BFGS on all rows, no augmentation, the penalty chosen on held-out training
data. In scikit-learn's terms `C = 1 / (n l2)`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.lax.linalg import cholesky, triangular_solve
from jax.typing import ArrayLike

from jaxembed.evaluation.checks import labels_of, rows_of

#: Penalties that are tried by default; a strong one first.
L2 = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)

#: The 45 penalties of SimCLR's protocol (ibid.): `linear_probe(..., l2=SIMCLR_L2, standardize=False)`.
SIMCLR_L2 = tuple(np.logspace(5, -6, 45).tolist())

#: A fit ends where its gradient is shorter, in the coordinates of `_fit`.
TOLERANCE = 1e-5


@dataclass(frozen=True, eq=False)
class LinearProbe:
    """A fitted classifier: the logits of a vector x are `(x - mean) / scale @ weight + bias`.

    `weight` is [d, classes]; `l2` is the penalty chosen, `tried` the held-out accuracy of each (empty: there was no choice).
    """

    weight: np.ndarray
    bias: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    l2: float
    tried: dict[float, float]

    def logits(self, vectors: ArrayLike) -> jax.Array:
        """The logits of `vectors` [n, d], float32 [n, classes]; ValueError for rows that do not fit or are not finite."""
        rows = rows_of("vectors", vectors, len(self.weight))
        return _scaled_logits(rows, self.mean, self.scale, self.weight, self.bias)

    def predict(self, vectors: ArrayLike) -> np.ndarray:
        """The most likely label of each of `vectors` [n, d], [n]."""
        return np.asarray(self.logits(vectors).argmax(axis=1))

    def accuracy(self, vectors: ArrayLike, labels: ArrayLike) -> float:
        """The share of `vectors` [n, d] whose most likely label is theirs [n].

        A label above all training labels is a ValueError, as are those of `logits`.
        """
        found = self.predict(vectors)
        return float(np.mean(found == labels_of("test_labels", labels, len(found), self.weight.shape[1])))


def linear_probe(
    train: ArrayLike,
    train_labels: ArrayLike,
    test: ArrayLike,
    test_labels: ArrayLike,
    *,
    l2: float | Sequence[float] = L2,
    validation: float = 0.1,
    standardize: bool = True,
    iterations: int = 500,
    seed: int = 0,
) -> float:
    """The share of `test` [m, d] that a `fit_probe` of `train` [n, d] labels right.

    The test set takes no part in any choice. A test label above all training labels is a ValueError, as are those of
    `fit_probe`.
    """
    train = rows_of("train", train)
    test = rows_of("test", test, train.shape[1])
    train_labels = labels_of("train_labels", train_labels, len(train))
    test_labels = labels_of("test_labels", test_labels, len(test), int(train_labels.max()) + 1)
    probe = fit_probe(
        train,
        train_labels,
        l2=l2,
        validation=validation,
        standardize=standardize,
        iterations=iterations,
        seed=seed,
    )
    return probe.accuracy(test, test_labels)


def fit_probe(
    train: ArrayLike,
    labels: ArrayLike,
    *,
    l2: float | Sequence[float] = L2,
    validation: float = 0.1,
    standardize: bool = True,
    iterations: int = 500,
    seed: int = 0,
) -> LinearProbe:
    """Logistic regression of `labels` [n] on `train` [n, d], each dimension scaled to variance 1 if `standardize`.

    Of several penalties `l2` the one is taken that labels a held-out share `validation` of the rows (drawn by `seed`)
    best, the larger of equals, and all rows are fitted with it. Each fit takes at most `iterations`. Raises ValueError
    for vectors that are not finite, labels that are not integers from 0, lengths that differ, a single class, an l2 that
    is negative or not finite, and a share that leaves nothing to fit or to validate.
    """
    rows = rows_of("train", train)
    classes_of = labels_of("labels", labels, len(rows))
    penalties = sorted({float(value) for value in np.atleast_1d(l2)}, reverse=True)
    check_probe(classes_of, penalties, validation)
    start = jnp.zeros((rows.shape[1] + 1, int(classes_of.max()) + 1))

    tried = {}
    if len(penalties) > 1:
        held_out = round(validation * len(rows))
        # Held-out rows get the weight 0 instead of being cut out: every penalty and the last fit run the same compiled program.
        held = np.random.default_rng(seed).permutation(len(rows)) < held_out
        data = _prepare(rows, classes_of, jnp.asarray(~held), standardize)
        weights = start
        for penalty in penalties:  # from strong to weak, each from where the one before ended
            weights = _fit(data, penalty, weights, iterations)
            tried[penalty] = float(np.mean(np.asarray(_labels(data.rows, weights))[held] == classes_of[held]))
            if penalty == max(tried, key=lambda value: tried[value]):
                # The last fit, on all rows, starts from what fitted best: it is near already.
                start = weights
    chosen = max(tried, key=lambda value: tried[value]) if tried else penalties[0]
    data = _prepare(rows, classes_of, jnp.ones(len(rows), bool), standardize)
    fitted = np.asarray(_fit(data, chosen, start, iterations))
    return LinearProbe(fitted[:-1], fitted[-1], np.asarray(data.mean), np.asarray(data.scale), chosen, tried)


def check_probe(labels: ArrayLike, l2: Sequence[float] = L2, validation: float = 0.1) -> None:
    """Raises ValueError where no probe can be fitted to rows with these labels, whatever the rows are."""
    classes_of = labels_of("labels", labels, len(np.asarray(labels)))
    n = len(classes_of)
    if not len(l2) or not all(0 <= value < np.inf for value in l2):
        raise ValueError(f"l2 must be one or several penalties, finite and not negative, found {list(l2)}")
    if classes_of.min() == classes_of.max():
        raise ValueError(f"all training labels are {classes_of[0]}: a probe needs two classes or more")
    if len(l2) > 1 and not 0 < round(validation * n) < n:
        raise ValueError(f"a share of {validation} of {n} rows cannot be held out to choose among {list(l2)}")


class _Data(NamedTuple):
    rows: jax.Array  # centred: the bias takes up the mean, and the problem is better conditioned
    labels: jax.Array  # int [n], or bool [n, classes]
    share: jax.Array  # what a row weighs; 0 for those held out
    gram: jax.Array
    mean: jax.Array
    scale: jax.Array


@partial(jax.jit, static_argnames="standardize")
def _prepare(rows: jax.Array, labels: jax.Array, fitted: jax.Array, standardize: bool) -> _Data:
    share = fitted / fitted.sum()
    mean = share @ rows
    centred = rows - mean[None]
    deviation = jnp.sqrt(share @ centred**2)
    # A dimension that does not vary but for rounding stays as it is.
    scale = jnp.where(standardize & (deviation > 1e-6 * jnp.abs(mean)), deviation, 1)
    scaled = centred / scale[None]
    gram = jnp.matmul((scaled * share[:, None]).T, scaled, precision=lax.Precision.HIGHEST)
    return _Data(scaled, labels, share, gram, mean, scale)


def _logits(rows: jax.Array, weight: ArrayLike, bias: ArrayLike) -> jax.Array:
    return jnp.matmul(rows, weight, precision=lax.Precision.HIGHEST) + jnp.asarray(bias)[None]


@jax.jit
def _labels(rows: jax.Array, weights: jax.Array) -> jax.Array:
    return _logits(rows, weights[:-1], weights[-1]).argmax(axis=1)


@jax.jit
def _scaled_logits(rows: jax.Array, mean: ArrayLike, scale: ArrayLike, weight: ArrayLike, bias: ArrayLike) -> jax.Array:
    return _logits((rows - jnp.asarray(mean)[None]) / jnp.asarray(scale)[None], weight, bias)


@jax.jit
def _fit(data: _Data, l2: float, start: jax.Array, iterations: int) -> jax.Array:
    """The minimiser [d + 1, classes], the bias in its last row; of one problem for each class where labels are bool [n, classes].

    The Hessian is at most gram / 2 + l2 in every class (Boehning 1992). In coordinates in which that bound is the
    identity the condition of the features no longer counts, and a fit takes tens of iterations where it took hundreds.
    """
    # A little is added to the diagonal: features with fewer directions than dimensions have a singular matrix.
    diagonal = l2 + 1e-6 * jnp.trace(data.gram) + jnp.finfo(jnp.float32).tiny
    bound = cholesky(data.gram / 2 + diagonal * jnp.eye(len(data.gram)))
    solve = partial(triangular_solve, bound, left_side=True, lower=True, transpose_a=True)

    def weights(point: jax.Array) -> jax.Array:
        return jnp.concatenate([solve(point[:-1]), jnp.sqrt(2) * point[-1:]])

    def loss(point: jax.Array) -> jax.Array:
        weight, bias = weights(point)[:-1], weights(point)[-1]
        logits = _logits(data.rows, weight, bias)
        if data.labels.ndim == 1:
            errors = optax.softmax_cross_entropy_with_integer_labels(logits, data.labels)
        else:
            errors = optax.sigmoid_binary_cross_entropy(logits, data.labels).sum(1)
        return data.share @ errors + l2 / 2 * jnp.sum(weight**2)

    # The line search, which also checks slopes where float32 rounds differences of the loss away, keeps the value and the
    # gradient of where it ends: the next iteration does not compute them again.
    solver, evaluate = optax.lbfgs(), optax.value_and_grad_from_state(loss)

    def advance(now: Any) -> Any:
        point, state, done = now
        value, gradient = evaluate(point, state=state)
        step, state = solver.update(gradient, state, point, value=value, grad=gradient, value_fn=loss)
        return optax.apply_updates(point, step), state, done + 1

    def going(now: Any):
        _, state, done = now
        steep = jnp.linalg.norm(optax.tree.get(state, "grad")) > TOLERANCE
        return (done == 0) | (steep & (done < iterations))

    # The bias needs no more than a factor: rows are centred, so that it does not meet the weights, and the bound on its
    # curvature is 1 / 2.
    point = jnp.concatenate([bound.T @ start[:-1], start[-1:] / jnp.sqrt(2)])
    return weights(lax.while_loop(going, advance, (point, solver.init(point), 0))[0])


@jax.jit
def fit_logistic(
    rows: jax.Array, labels: jax.Array, l2: ArrayLike, start: jax.Array, iterations: int = 500
) -> jax.Array:
    """One logistic regression for each column of `labels`, bool [n, classes], on rows [n, d]: float32 [d + 1, classes].

    The bias, which is not penalised, stands in the last row; features are taken as they are. `start` is where it begins, of the
    same shape.
    """
    data = _prepare(rows, labels, jnp.ones(len(rows), bool), False)
    moved = data.mean @ start[:-1]  # `_fit` knows centred rows
    found = _fit(data, l2, start.at[-1].add(moved), iterations)
    return found.at[-1].add(-data.mean @ found[:-1])


def few_label_probe(
    train: ArrayLike,
    train_labels: ArrayLike,
    test: ArrayLike,
    test_labels: ArrayLike,
    *,
    each: int = 10,
    draws: int = 5,
    l2: float | Sequence[float] = L2,
    seed: int = 0,
    iterations: int = 100,
) -> float:
    """The mean accuracy on `test` of probes that are fitted to `each` rows of every class alone, drawn `draws` times.

    What vectors are worth where labels are few. The penalty is chosen on three tenths of the rows drawn. Rows are drawn by
    `seed`, the same for all vectors of the same labels. Raises ValueError where a class has fewer rows, and what
    `fit_probe` raises.
    """
    rows = rows_of("train", train)
    labels = labels_of("train_labels", train_labels, len(rows))
    classes, counts = np.unique(labels, return_counts=True)
    if counts.min() < each:
        raise ValueError(
            f"class {classes[counts.argmin()]} has {counts.min()} rows, fewer than the {each} labels a class"
        )
    test = rows_of("test", test, rows.shape[1])
    random, found = np.random.default_rng(seed), []
    for _ in range(draws):
        drawn = np.concatenate([random.choice(np.flatnonzero(labels == one), each, replace=False) for one in classes])
        some = np.asarray(rows[drawn])
        mean, deviation = some.mean(0), some.std(0)
        scale = np.where(deviation > 1e-6 * np.abs(mean), deviation, 1)
        # The penalty does not mind a rotation, and weights lie in the span of the rows: in its coordinates, of which there are
        # as many as rows, the same minimum is found in a fraction of the time.
        *_, span = np.linalg.svd((some - mean) / scale, full_matrices=False)
        within = lambda x, mean=mean, scale=scale, span=span: ((np.asarray(x) - mean) / scale) @ span.T
        probe = fit_probe(within(some), labels[drawn], l2=l2, validation=0.3, standardize=False, iterations=iterations)
        found.append(probe.accuracy(within(test), test_labels))
    return float(np.mean(found))
