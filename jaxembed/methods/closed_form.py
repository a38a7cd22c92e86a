"""Recommenders without gradients: popularity, item-cosine, GF-CF, and iALS with exact alternating solves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.data.interactions import Interactions
from jaxembed.methods.dense import Fixed, summed
from jaxembed.methods.recommend import Recommender, Scorer
from jaxembed.ranges import Count, NotNegative, Positive
from jaxembed.training.method import Batch, Loss, Params, Shard, Source, Static

if TYPE_CHECKING:
    import scipy.sparse as sp  # importing it takes a fifth of a second, which is spent only where it is needed

_ITERATIONS = 12  # of subspaces
_FEW = 100  # number of known users up to which the cosines of all items are not computed


def matrix(data: Interactions) -> sp.csr_matrix:
    """Returns which user has which item, 1 for each pair: float32 [users, items]."""
    return _ones(data.item, data.offsets, len(data.items))


def _ones(indices: np.ndarray, indptr: np.ndarray, columns: int) -> sp.csr_matrix:
    from scipy.sparse import csr_matrix

    return csr_matrix((np.ones(len(indices), np.float32), indices, indptr), (len(indptr) - 1, columns))


def _diagonal(values: np.ndarray) -> sp.dia_matrix:
    from scipy.sparse import diags

    return diags(values)


def _inverse_root(sums: np.ndarray) -> np.ndarray:
    return np.where(sums > 0, 1 / np.sqrt(np.maximum(sums, 1)), 0).astype(np.float32)


@dataclass(frozen=True)
class Baseline(Fixed, Recommender):
    """Recommenders that are computed from the data once: `learned(data)` returns arrays, `users` and `items` among them."""

    def learned(self, data: Interactions) -> dict[str, np.ndarray]:
        """Returns the arrays that the method keeps."""
        raise NotImplementedError

    def source(self, data: Interactions) -> Source:
        """Returns the computed arrays as constants."""
        return Source.cut({"user": data.user[:1]}, constants=self.learned(data), size=len(data))

    def init(self, key: jax.Array, constants: Mapping[str, Any]) -> Params:
        """Returns the computed arrays, which no step changes."""
        return Params({}, None, dict(constants))

    def batch(self, shard: Shard, step: jax.Array, key: jax.Array) -> Batch:
        """Returns a batch that nothing reads."""
        return shard.columns

    def vectors(self, params: Params, constants: Mapping[str, Any]) -> jax.Array:
        """Returns the vectors of the users, followed by those of the items."""
        return jnp.concatenate([params.kept["users"], params.kept["items"]])


@dataclass(frozen=True)
class Popularity(Baseline):
    """Popularity: every user gets the items that most users have."""

    def learned(self, data: Interactions) -> dict[str, np.ndarray]:
        """Returns the counts as vectors of one dimension."""
        return {"users": np.ones((len(data.users), 1), np.float32), "items": data.counts[:, None].astype(np.float32)}


@dataclass(frozen=True)
class ItemCosine(Baseline):
    """Recommends items that users with the same items have: sums of cosines between the columns of items (Sarwar et al. 2001).

    Scores are exact. The vectors are the columns projected onto their strongest directions.
    """

    vector_size: Count = 64  # Dimension of the vectors, which are kept for inspection only.

    from_history: ClassVar[bool] = True

    def learned(self, data: Interactions) -> dict[str, np.ndarray]:
        """Returns the non-zero entries of the matrix, and the vectors."""
        had = matrix(data)
        scaled = self._scaled(had)
        u, s, vt = _decomposed(scaled, self.vector_size)
        return {"users": u * s, "items": vt.T.copy(), "indptr": had.indptr.astype(np.int32), "indices": had.indices}

    def _scaled(self, had: sp.csr_matrix) -> sp.csr_matrix:
        """Returns the matrix whose columns are compared."""
        return had @ _diagonal(_inverse_root(np.asarray(had.sum(0)).ravel()))

    def _trained(self, params: Params) -> sp.csr_matrix:
        indptr, indices = (np.asarray(params.kept[name]) for name in ("indptr", "indices"))
        return _ones(indices, indptr, len(params.kept["items"]))

    def scorer(self, params: Params, known: Interactions) -> Scorer:
        """Returns the scorer `x S^T S`, x a row of what a user has and S the matrix with columns of length 1."""
        scaled, had = self._scaled(self._trained(params)), matrix(known)
        if len(known.offsets) <= _FEW:
            return lambda users: (had[users] @ scaled.T @ scaled).toarray()
        similar = (scaled.T @ scaled).tocsr()  # pays for many users: all pairs of items that somebody has
        return lambda users: (had[users] @ similar).toarray()


@dataclass(frozen=True)
class GFCF(ItemCosine):
    """Filters the graph of users and items: neighbours, and lowest frequencies (Shen et al. 2021, GF-CF).

    Scores are `x R^T R + alpha x D^-1/2 V V^T D^1/2`, where R is the matrix divided by the roots of both degrees, V its
    first right singular vectors, and D the degrees of the items.
    """

    vector_size: Count = 256  # Number of singular vectors.
    alpha: NotNegative = 0.3  # Weight of the lowest frequencies.

    def learned(self, data: Interactions) -> dict[str, np.ndarray]:
        """Returns the non-zero entries of the matrix, and the vectors of the lowest frequencies."""
        had = matrix(data)
        _, _, vt = _decomposed(self._scaled(had), self.vector_size)
        degree = np.asarray(had.sum(0)).ravel()
        basis = vt.T * _inverse_root(degree)[:, None]
        back = vt.T * np.sqrt(degree).astype(np.float32)[:, None]
        return {"users": had @ basis, "items": back, "basis": basis, "indptr": had.indptr.astype(np.int32),
                "indices": had.indices}  # fmt: skip

    def _scaled(self, had: sp.csr_matrix) -> sp.csr_matrix:
        """Returns the matrix whose columns are compared."""
        return _diagonal(_inverse_root(np.asarray(had.sum(1)).ravel())) @ super()._scaled(had)

    def scorer(self, params: Params, known: Interactions) -> Scorer:
        """Returns the scorer that the class describes."""
        near, had = super().scorer(params, known), matrix(known)
        basis, back = (np.asarray(params.kept[name]) for name in ("basis", "items"))
        return lambda users: near(users) + self.alpha * ((had[users] @ basis) @ back.T)


def _decomposed(a: Any, rank: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the first singular vectors and values, the largest first: u [n, r], s [r], vt [r, m]."""
    size = min(rank + 64, *a.shape)
    # Subspace iteration (Halko et al. 2011, algorithm 4.4) takes seconds where Lanczos takes minutes, and is as good here.
    q = np.random.default_rng(0).normal(size=(a.shape[1], size)).astype(np.float32)
    for _ in range(_ITERATIONS):
        q = np.linalg.qr(a.T @ (a @ q))[0]
    u, s, vt = np.linalg.svd(a @ q, full_matrices=False)
    rank = min(rank, size)
    return u[:, :rank], s[:rank], (vt @ q.T)[:rank]


@dataclass(frozen=True)
class IALS(Recommender):
    """Implicit matrix factorisation by weighted least squares, solved exactly for all users and then all items in each pass.

    Minimises `sum_had (1 - u . i)^2 + unobserved sum_all (u . i)^2 + reg (|u|^2 + |i|^2)`, where a row's reg is multiplied by
    its `(pairs + unobserved (rows of the other side))^nu` (Hu et al. 2008; Rendle et al. 2022, eq. 12).
    """

    vector_size: Count = 128  # Dimension of the vectors.
    # Weight of all pairs, also of those that no user has; a pair that a user has weighs 1 more.
    unobserved: Positive = 0.1
    reg: NotNegative = 0.003  # Weight of the squared lengths of vectors.
    nu: NotNegative = 1.0  # Exponent with which the regularisation grows with the number of pairs of a user or item.
    start: Positive = 0.1  # Standard deviation of the lengths of the initial vectors.
    rows: Count = 256  # Number of users or items that are solved for together.

    traced: ClassVar[tuple[str, ...]] = ("unobserved", "reg", "nu")

    def source(self, data: Interactions) -> Source:
        """Returns the pairs by user and by item, in blocks that are packed into equal chunks."""
        had = matrix(data)
        packed = {"user": _packed(had, self.rows), "item": _packed(had.T.tocsr(), self.rows)}
        sizes = {"users": Static(len(data.users)), "items": Static(len(data.items))}
        return Source.cut({"user": data.user[:1]}, constants={**packed, **sizes}, size=len(data))

    def init(self, key: jax.Array, constants: Mapping[str, Any]) -> Params:
        """Starts with normal entries, which are solved for and have no gradient."""
        draw = lambda key, n: (
            self.start / self.vector_size**0.5 * jax.random.normal(key, (n, self.vector_size), jnp.float32)
        )
        keys = jax.random.split(key)
        return Params({}, None, {"users": draw(keys[0], constants["users"].value),
                                 "items": draw(keys[1], constants["items"].value)})  # fmt: skip

    def steps(self, shard: Shard) -> int:
        """A pass is one step."""
        return 1

    def batch(self, shard: Shard, step: jax.Array, key: jax.Array) -> Batch:
        """Returns an empty batch, since a step sees all pairs."""
        return {}

    def loss_in(self, shard: Shard, rows: Any, net: Any, kept: Any, batch: Batch, key: jax.Array) -> Loss:
        """As `loss`, of all pairs."""
        with jax.default_matmul_precision("highest"):  # a Cholesky factor of rounded products may not exist
            return self.loss(rows, net, kept, {name: shard.constants[name] for name in ("user", "item")}, key)

    def loss(self, rows: Any, net: Any, kept: Any, batch: Batch, key: jax.Array) -> Loss:
        """Returns the loss per pair after a pass. The new vectors are what is kept."""
        users = self._solved(kept["items"], batch["user"], len(kept["users"]))
        items = self._solved(users, batch["item"], len(kept["items"]))
        return summed(self._objective(users, items, batch["item"]), 1, {"users": users, "items": items})

    def _solved(self, other: jax.Array, packed: dict[str, jax.Array], n: int) -> jax.Array:
        size = self.vector_size
        everybody = self.unobserved * other.T @ other

        def chunk(part: dict[str, jax.Array]) -> jax.Array:
            rows = other.at[part["ids"]].get(mode="fill", fill_value=0)  # [blocks, block, d]
            gram = jnp.einsum("bpd,bpe->bde", rows, rows)
            places = part["slot"]
            a = jnp.zeros((self.rows, size, size), jnp.float32).at[places].add(gram) + everybody[None]
            b = jnp.zeros((self.rows, size), jnp.float32).at[places].add(jnp.sum(rows, 1))
            weight = self.reg * (part["count"] + self.unobserved * len(other)) ** self.nu
            a = a + (weight[:, None, None] + 1e-9) * jnp.eye(size, dtype=jnp.float32)[None]
            return jax.scipy.linalg.cho_solve((jnp.linalg.cholesky(a), True), b[..., None])[..., 0]

        solved = jax.lax.map(chunk, packed)
        return (
            jnp.zeros((n, size), jnp.float32).at[packed["row"].reshape(-1)].set(solved.reshape(-1, size), mode="drop")
        )

    def _objective(self, users: jax.Array, items: jax.Array, packed: dict[str, jax.Array]) -> jax.Array:
        """Returns the two sums of squares, divided by the number of pairs."""

        def chunk(part: dict[str, jax.Array]) -> tuple[jax.Array, jax.Array]:
            own = items.at[part["row"]].get(mode="fill", fill_value=0)[part["slot"]]
            rows = users.at[part["ids"]].get(mode="fill", fill_value=0)
            there = part["ids"] < len(users)
            return jnp.sum(jnp.where(there, (1 - jnp.einsum("bpd,bd->bp", rows, own)) ** 2, 0)), jnp.sum(there)

        errors, count = jax.lax.map(chunk, packed)
        all_pairs = self.unobserved * jnp.sum((users.T @ users) * (items.T @ items))
        return (jnp.sum(errors) + all_pairs) / jnp.sum(count)

    def vectors(self, params: Params, constants: Mapping[str, Any]) -> jax.Array:
        """Returns the vectors of the users, followed by those of the items."""
        return jnp.concatenate([params.kept["users"], params.kept["items"]])


def _packed(had: Any, most: int, block: int = 32) -> dict[str, np.ndarray]:
    """Packs the rows of a matrix into chunks of `most` rows and equally many blocks, with what each chunk's solve needs.

    ids: `[chunks, blocks, block]`, indices of the other side (the number of columns for none). slot: the row within the
    chunk that a block belongs to. row: `[chunks, most]`, the rows of a chunk (the number of rows for none). count: the
    number of pairs of each row.
    """
    n, columns = had.shape
    sizes = np.diff(had.indptr)
    blocks = np.maximum(-(-sizes // block), 1)
    room = max(int(blocks.max(initial=1)), 2 * most)
    chunks: list[list[int]] = [[]]
    used = 0
    for row in range(n):
        if len(chunks[-1]) == most or used + blocks[row] > room:
            chunks.append([])
            used = 0
        chunks[-1].append(row)
        used += int(blocks[row])
    ids = np.full((len(chunks), room, block), columns, np.int32)
    slot = np.zeros((len(chunks), room), np.int32)
    place = np.full((len(chunks), most), n, np.int32)
    count = np.zeros((len(chunks), most), np.float32)
    for c, rows in enumerate(chunks):
        at = 0
        for i, row in enumerate(rows):
            own, need = had.indices[had.indptr[row] : had.indptr[row + 1]], int(blocks[row])
            ids[c, at : at + need].reshape(-1)[: len(own)] = own
            slot[c, at : at + need] = i
            at += need
        place[c, : len(rows)], count[c, : len(rows)] = rows, sizes[rows]
    return {"ids": ids, "slot": slot, "row": place, "count": count}
