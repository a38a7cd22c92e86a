"""Weighted nearest neighbours: the figure of a representation that needs no training (InstDisc, Wu et al. 2018)."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jaxembed.evaluation.checks import labels_of, rows_of
from jaxembed.evaluation.neighbours import nearest


def knn_accuracy(
    train: ArrayLike,
    train_labels: ArrayLike,
    test: ArrayLike,
    test_labels: ArrayLike,
    *,
    k: int = 200,
    temperature: float = 0.07,
    batch: int = 1024,
) -> float:
    """The share of `test` [m, d] whose label [m] is what the nearest `train` [n, d] vote for, as in `knn_predict`.

    A test label above all training labels, which no vote could find, is a ValueError, as are those of `knn_predict`.
    """
    train = rows_of("train", train)
    test = rows_of("test", test, train.shape[1])
    train_labels = labels_of("train_labels", train_labels, len(train))
    test_labels = labels_of("test_labels", test_labels, len(test), int(train_labels.max()) + 1)
    found = knn_predict(train, train_labels, test, k=k, temperature=temperature, batch=batch)
    return float(np.mean(found == test_labels))


def knn_predict(
    train: ArrayLike,
    train_labels: ArrayLike,
    test: ArrayLike,
    *,
    k: int = 200,
    temperature: float = 0.07,
    batch: int = 1024,
) -> np.ndarray:
    """The label that wins the vote of the `k` training vectors of highest cosine, int32 [m].

    A neighbour of cosine s votes for its label with weight exp(s / temperature) (Wu et al. 2018, section 3.4, whose settings
    are the defaults; SimSiam and lightly take a temperature of .1). Equal votes go to the smaller label. `batch` test
    vectors are scored at a time, against all training vectors in blocks. Raises ValueError for vectors that are not
    finite, labels that are not integers from 0, lengths that differ, k outside 1 .. n, temperature or batch not positive.
    """
    train = rows_of("train", train)
    test = rows_of("test", test, train.shape[1])
    labels = labels_of("train_labels", train_labels, len(train))
    if not 1 <= k <= len(train):
        raise ValueError(
            f"k = {k} neighbours were wanted of {len(train)} training vectors: choose k from 1 to {len(train)}"
        )
    if not temperature > 0 or batch < 1:
        raise ValueError(f"temperature and batch must be positive, found {temperature} and {batch}")
    classes = int(labels.max()) + 1
    return np.asarray(_predict(train, labels, test, float(temperature), k, classes, min(batch, len(test))))


@partial(jax.jit, static_argnames=("k", "classes", "batch"))
def _predict(train, labels, test, temperature, k: int, classes: int, batch: int) -> jax.Array:
    def vote(rows: jax.Array) -> jax.Array:
        scores, found = nearest(train, rows, k)
        weight = jnp.exp((scores - scores[:, :1]) / temperature)  # shifted: e^(1 / temperature) may be too large
        chosen = labels[found][:, :, None] == jnp.arange(classes)[None, None, :]
        return jnp.where(chosen, weight[:, :, None], 0).sum(axis=1).argmax(axis=-1)

    padded = jnp.pad(test, ((0, -len(test) % batch), (0, 0)))
    return lax.map(vote, padded.reshape(-1, batch, test.shape[1])).reshape(-1)[: len(test)]
