"""Retrieval by cosine: recall@k, mean reciprocal rank and mean average precision, one way and both ways.

recall@k is the field's figure for images and texts, also called hit rate: the share of queries with at least one relevant
item among the first k. Of equal scores the irrelevant items come first: an encoder that maps everything to one point finds
nothing, rather than everything.
"""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jaxembed.evaluation.checks import rows_of
from jaxembed.evaluation.neighbours import cosines, nearest, unit

KS = (1, 5, 10)


def retrieval(
    queries: ArrayLike,
    items: ArrayLike,
    relevant: ArrayLike | tuple[ArrayLike, ArrayLike],
    *,
    ks: Sequence[int] = KS,
    batch: int = 1024,
) -> dict[str, float]:
    """`{"recall@1": …, "mrr": …, "map": …}` of `queries` [q, d] that look for `items` [n, d].

    `relevant` is a bool matrix [q, n], or a pair of ids (or names) of the queries [q] and the items [n], which match where
    they are equal, so that names that recur count as right. `batch` queries are ranked at a time. A k of n or more gives 1.
    Raises ValueError for vectors that are not finite, shapes that do not fit, and a query without any relevant item.
    """
    items = rows_of("items", items)
    queries = rows_of("queries", queries, items.shape[1])
    _check_ks(ks)
    if batch < 1:
        raise ValueError(f"batch must be at least 1, found {batch}")
    if isinstance(relevant, tuple):
        wanted, answers = _codes(*relevant)
        if (len(wanted), len(answers)) != (len(queries), len(items)):
            raise ValueError(f"{len(wanted)} and {len(answers)} ids for {len(queries)} queries and {len(items)} items")
        counts = np.bincount(answers, minlength=int(wanted.max()) + 1)[wanted]
    else:
        wanted, answers = np.asarray(relevant), np.zeros(0, np.int32)
        if wanted.shape != (len(queries), len(items)) or wanted.dtype != bool:
            raise ValueError(
                f"relevant must be a bool matrix {(len(queries), len(items))} or a pair of ids, "
                f"found {wanted.dtype} {wanted.shape}"
            )
        counts = wanted.sum(axis=1)
    if lonely := np.flatnonzero(counts == 0).tolist():
        raise ValueError(f"{len(lonely)} queries have no relevant item (first: row {lonely[0]}): leave them out")
    ranks = _rank(queries, items, wanted, answers, int(counts.max()), min(batch, len(queries)))
    first, precision = map(np.asarray, ranks)
    return {f"recall@{k}": float(np.mean(first <= k)) for k in ks} | {
        "mrr": float(np.mean(1 / first)),
        "map": float(np.mean(precision, dtype=np.float64)),
    }


def cross_retrieval(
    a: ArrayLike, b: ArrayLike, ids: ArrayLike, *, groups: ArrayLike | None = None, names: tuple[str, str] = ("a", "b"),
    ks: Sequence[int] = KS, batch: int = 1024,
) -> dict[str, float]:  # fmt: skip
    """`retrieval` of pairs both ways, by the `names` of the sides: `{"a_to_b/recall@1": …, "b_to_a/recall@1": …, …}`.

    Rows i of `a` and `b` [n, d] belong together and to every row whose id (or name) of `ids` [n] is the same.
    groups [n]: ids (or names) of what the rows of `a` show, where one thing stands in several rows, as a picture does that
    has several captions. It is then one query and one item, with the vector of its first row, and belongs to all of its
    rows and to those of the same ids.
    """
    seen, to_b, to_a = a, (ids, ids), (ids, ids)
    if groups is not None and len(np.unique(groups)) < len(np.asarray(groups)):
        first, relevant = _of_groups(groups, ids)
        seen, to_b, to_a = np.asarray(a)[first], relevant, relevant.T
    ways = {"{}_to_{}".format(*names): (seen, b, to_b), "{1}_to_{0}".format(*names): (b, seen, to_a)}
    return {
        f"{way}/{figure}": value
        for way, (queries, items, right) in ways.items()
        for figure, value in retrieval(queries, items, right, ks=ks, batch=batch).items()
    }


def check_ids(ids: ArrayLike) -> None:
    """Raises ValueError if all rows have the same id (or name), since every answer would be right."""
    if len(np.unique(ids)) < 2:
        raise ValueError(f"all {len(np.asarray(ids))} rows have the same text or id, so that every answer is right")


def _of_groups(groups: ArrayLike, ids: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The first row of each group [g], and which rows belong to it: bool [g, n]."""
    of, known = _codes(groups, groups)[0], _codes(ids, ids)[0]
    if len(of) != len(known):
        raise ValueError(f"expected a group for each of the {len(known)} ids, found {len(of)}")
    has = np.zeros((int(of.max()) + 1, int(known.max()) + 1), bool)
    has[of, known] = True
    return np.unique(of, return_index=True)[1], has[:, known]


def random_recall(
    query_ids: ArrayLike, item_ids: ArrayLike, ks: Sequence[int] = KS, *, groups: ArrayLike | None = None
) -> dict[str, float]:
    """The recall@k to expect of a random ranking, `{"recall@1": …}`.

    Of n items R are relevant to a query: none of them is among k with probability C(n - R, k) / C(n, k).
    groups: of the queries, as `cross_retrieval` has them; each group is then one query.
    """
    _check_ks(ks)
    wanted, answers = _codes(query_ids, item_ids)
    sizes = np.bincount(answers, minlength=int(wanted.max()) + 1)
    found = sizes[wanted]
    if groups is not None:
        pairs = np.unique(np.stack([_codes(groups, groups)[0], wanted]), axis=1)  # each id of a group counts once
        found = np.bincount(pairs[0], sizes[pairs[1]]).astype(np.int64)
    n, figures = len(answers), {}
    for k in ks:
        drawn = np.arange(min(k, n))
        missed = np.ones(len(found))
        for relevant in np.unique(found):
            missed[found == relevant] = np.prod(np.maximum(n - relevant - drawn, 0) / (n - drawn))
        figures[f"recall@{k}"] = float(np.mean(1 - missed))
    return figures


def nearest_items(queries: ArrayLike, items: ArrayLike, k: int) -> np.ndarray:
    """The rows of the `k` items [n, d] of highest cosine to each query [q, d], best first, [q, k]: for picture grids."""
    items = rows_of("items", items)
    queries = rows_of("queries", queries, items.shape[1])
    if not 1 <= k <= len(items):
        raise ValueError(f"k = {k} items were wanted of {len(items)}: choose k from 1 to {len(items)}")
    return np.asarray(nearest(items, queries, k)[1])


def _check_ks(ks: Sequence[int]) -> None:
    if not len(ks) or min(ks) < 1:
        raise ValueError(f"ks must be one or several numbers of at least 1, found {ks}")


def _codes(a: ArrayLike, b: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    # Ids of any width, and names, as small integers that are equal where the ids are.
    a, b = np.asarray(a), np.asarray(b)
    if a.ndim != 1 or b.ndim != 1 or not len(a) or not len(b) or "f" in (a.dtype.kind, b.dtype.kind):
        raise ValueError(f"ids must be integers or names, [q] and [n], found {a.dtype} {a.shape}, {b.dtype} {b.shape}")
    codes = np.unique(np.concatenate([a, b]), return_inverse=True)[1].astype(np.int32)
    return codes[: len(a)], codes[len(a) :]


@partial(jax.jit, static_argnames=("most", "batch"))
def _rank(queries, items, wanted, answers, most: int, batch: int) -> tuple[jax.Array, jax.Array]:
    """The rank of the first relevant item, and the average precision, of each query; `most` items at most are relevant."""
    candidates = unit(items)
    place = jnp.arange(1, most + 1)[None]

    def search(block):
        rows, wanted = block
        relevant = wanted if wanted.ndim == 2 else wanted[:, None] == answers[None]
        scores = cosines(unit(rows), candidates)
        # Counting the irrelevant items before each relevant one is far cheaper than XLA's sort on a CPU.
        right = lax.top_k(jnp.where(relevant, scores, -jnp.inf), most)[0]
        wrong = jnp.where(relevant, -jnp.inf, scores)
        before = lax.map(lambda one: jnp.sum(wrong >= one[:, None], axis=1), right.T).T
        precision = jnp.sum(jnp.where(right > -jnp.inf, place / (place + before), 0), axis=1)
        return 1 + before[:, 0], precision / jnp.maximum(jnp.sum(relevant, axis=1), 1)

    blocks = [_in_blocks(queries, batch, 0), _in_blocks(wanted, batch, -1 if wanted.ndim == 1 else False)]
    return jax.tree.map(lambda x: x.reshape(-1)[: len(queries)], lax.map(search, tuple(blocks)))


def _in_blocks(rows: jax.Array, size: int, fill) -> jax.Array:
    padding = ((0, -len(rows) % size), *((0, 0),) * (rows.ndim - 1))
    return jnp.pad(rows, padding, constant_values=fill).reshape(-1, size, *rows.shape[1:])
