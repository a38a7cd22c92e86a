"""Recommendations judged by full rankings, and clicks by their probabilities.

Every item is ranked, never a sample of them (Krichene and Rendle 2020), but for those that a user has already. Items come in
the order of their scores, among equals in that of their rows, and the rank of an item is the mean over its equals.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

CHUNK = 1024  # users that are ranked at a time, fewer where there are many items
_BYTES = 256 << 20  # of the scores that are looked at together


class Lists(NamedTuple):
    """A list of items for each user: those of user i are `values[offsets[i]:offsets[i + 1]]`."""

    offsets: np.ndarray
    values: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """How many items each user has, [users]."""
        return np.diff(self.offsets)

    def flat(self, rows: np.ndarray, size: int, none: int) -> tuple[np.ndarray, np.ndarray]:
        """Pairs (place among `rows`, item), int32, filled up to `size` with the item `none`."""
        sizes = self.sizes[rows]
        place = np.repeat(np.arange(len(rows)), sizes)
        within = np.arange(len(place)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        item = self.values[self.offsets[:-1][rows][place] + within]
        fill = size - len(place)
        return np.pad(place, (0, fill)).astype(np.int32), np.pad(item, (0, fill), constant_values=none).astype(np.int32)


class Ranking(NamedTuple):
    """Figures of each user, [users], and how many of the items stand in some user's first k."""

    recall: np.ndarray
    ndcg: np.ndarray
    reciprocal_rank: np.ndarray
    coverage: float

    def means(self, k: int, which: np.ndarray | None = None) -> dict[str, float]:
        """`recall@k`, `ndcg@k`, `mrr`: means over users, or over those of `which`, bool [users]."""
        figures = {f"recall@{k}": self.recall, f"ndcg@{k}": self.ndcg, "mrr": self.reciprocal_rank}
        chosen = slice(None) if which is None else which
        return {name: float(np.mean(values[chosen])) for name, values in figures.items()}


def ranking(
    score: Callable[[np.ndarray], ArrayLike], users: np.ndarray, wanted: Lists, seen: Lists, candidates: np.ndarray,
    k: int = 20, chunk: int = CHUNK,
) -> Ranking:  # fmt: skip
    """How the items that `users` (rows) want stand among all `candidates`, bool [items], that they have not seen.

    `score(rows [q]) -> [q, items]`, called with `chunk` users at a time or, with many items, fewer. recall@k: the share of a
    user's wanted items among the first k; nDCG@k: binary gains, by the best possible order (as LightGCN's code has both); the
    reciprocal rank is that of the first wanted item in the whole order. A wanted item that is no candidate is missed.
    Raises ValueError for no users, for a user who wants nothing, and for k outside 1 .. items.
    """
    users, items = np.asarray(users), len(candidates)
    if not len(users):
        raise ValueError("there are no users to recommend to")
    if not 1 <= k <= items:
        raise ValueError(f"k must be from 1 to the {items} items, not {k}")
    if len(none := np.flatnonzero(wanted.sizes[users] == 0)):
        raise ValueError(f"user {users[none[0]]} wants nothing that could be found: leave such users out")
    chunk = min(chunk, len(users), max(1, _BYTES // (4 * items)))
    chunks = [users[start : start + chunk] for start in range(0, len(users), chunk)]
    # Lists travel as pairs, as many for every chunk, so that one program serves all: nothing of [users, list, items] is made.
    most = lambda lists: max(1, max(int(lists.sizes[rows].sum()) for rows in chunks))
    sizes = most(wanted), most(seen)
    found, shown = [], jnp.zeros(items, bool)
    barred = jnp.asarray(np.flatnonzero(~np.asarray(candidates, bool)), jnp.int32)
    for rows in chunks:
        filled = np.concatenate([rows, np.repeat(rows[-1:], chunk - len(rows))])
        pairs = [lists.flat(rows, size, items) for lists, size in zip((wanted, seen), sizes, strict=True)]
        figures, shown = _ranked(jnp.asarray(score(filled)), *pairs, barred, shown, np.int32(len(rows)), k)
        found.append(np.asarray(figures)[:, : len(rows)])
    recall, ndcg, reciprocal = np.concatenate(found, 1).astype(np.float64)
    return Ranking(recall, ndcg, reciprocal, float(np.asarray(shown).sum() / max(np.sum(candidates), 1)))


@partial(jax.jit, static_argnames="k")
def _ranked(scores, wanted, seen, barred, shown, users, k):
    """Figures [3, q] of a chunk, and which items it shows."""
    n, items = scores.shape
    # Few passes over [q, items]: they, and not the products, are what ranking costs.
    scores = scores.astype(jnp.float32).at[seen].set(-jnp.inf, mode="drop")
    scores = scores.at[:, barred].set(-jnp.inf, mode="drop")
    user, item = wanted
    there = item < items
    count = jnp.zeros(n, jnp.int32).at[user].add(there)
    relevant = jnp.zeros((n, items), bool).at[wanted].set(True, mode="drop")
    top, places = jax.lax.top_k(scores, k)
    hits = jnp.take_along_axis(relevant, places, 1) & (top > -jnp.inf)
    gains = 1 / jnp.log2(jnp.arange(k, dtype=jnp.float32) + 2)
    best = jnp.sum(jnp.where(jnp.arange(k)[None] < count[:, None], gains[None], 0), 1)
    ndcg = jnp.sum(hits * gains[None], 1) / jnp.maximum(best, 1e-30)
    recall = jnp.sum(hits, 1) / jnp.maximum(count, 1)
    own = jnp.where(there, scores.at[wanted].get(mode="fill", fill_value=-jnp.inf), -jnp.inf)
    first = jnp.full(n, -jnp.inf).at[user].max(own)[:, None]
    rank = 1 + jnp.sum(scores > first, 1) + (jnp.sum(scores == first, 1) - 1) / 2
    reciprocal = jnp.where(first[:, 0] > -jnp.inf, 1 / rank, 0)
    real = (jnp.arange(n) < users)[:, None] & (top > -jnp.inf)
    shown = shown.at[jnp.where(real, places, items)].set(True, mode="drop")
    return jnp.stack([recall, ndcg, reciprocal]), shown


def by_vectors(users: ArrayLike, items: ArrayLike) -> Callable[[np.ndarray], jax.Array]:
    """What scores rows of `users` [n, d] with all `items` [m, d] by inner products."""
    of_users, of_items = jnp.asarray(users, jnp.float32), jnp.asarray(items, jnp.float32)
    return lambda rows: _products(of_users, of_items, rows)


@jax.jit
def _products(users, items, rows):
    return jnp.matmul(users[rows], items.T, precision=jax.lax.Precision.HIGHEST)


def best_unseen(scores: ArrayLike, seen: np.ndarray, k: int) -> list[tuple[int, float]]:
    """The `k` best rows of `scores` [items] with their scores, without those of `seen` and those of score -inf."""
    scores = np.array(scores, np.float32)
    scores[seen] = -np.inf
    best = np.argsort(-scores, kind="stable")[:k]
    return [(int(row), float(scores[row])) for row in best if scores[row] > -np.inf]


def click_figures(logits: ArrayLike, labels: ArrayLike) -> dict[str, float]:
    """`auc`, equal scores counted half, and `log_loss` (nats) of logits [n] of labels 0 and 1, [n].

    Raises ValueError for other labels, logits that are not finite, and where all labels are equal.
    """
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    if logits.shape != labels.shape or logits.ndim != 1 or not np.isin(labels, (0, 1)).all():
        raise ValueError(f"expected logits [n] and labels of 0 and 1 [n], found {logits.shape} and {labels.shape}")
    if not np.isfinite(logits).all():
        raise ValueError("some logits are not finite: the model has diverged")
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        raise ValueError("all labels are equal: an AUC needs both kinds")
    _, inverse, counts = np.unique(logits, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # the mean rank among equals (Mann and Whitney 1947)
    auc = (ranks[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    loss = np.mean(np.logaddexp(0, np.where(labels == 1, -logits, logits)))
    return {"auc": float(auc), "log_loss": float(loss)}


__all__ = ["Lists", "Ranking", "best_unseen", "by_vectors", "click_figures", "ranking"]
