"""The shape of a representation: alignment, uniformity, effective rank, and whether it has collapsed.

All but `collapsed` are functions of arrays that run in jit and under vmap, for use during training.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

from jaxembed.evaluation.neighbours import cosines, unit

LEAST_STD = 0.1
LEAST_RANK = 1.9


def alignment(a: ArrayLike, b: ArrayLike, alpha: float = 2.0) -> jax.Array:
    """`mean |a_i - b_i|^alpha` of positive pairs [n, d], rows scaled to length 1 (Wang and Isola 2020, eq. 1); 0 is best."""
    a, b = _rows(a), _rows(b)
    if a.shape != b.shape:
        raise ValueError(f"expected pairs [n, d] of one shape, found {a.shape} and {b.shape}")
    return jnp.mean(jnp.sum((unit(a) - unit(b)) ** 2, axis=1) ** (alpha / 2))


def uniformity(x: ArrayLike, t: float = 2.0, batch: int = 1024) -> jax.Array:
    """`log mean_{i<j} exp(-t |x_i - x_j|^2)` over all pairs of rows [n, d], scaled to length 1 (Wang and Isola 2020, eq. 2).

    0 where all rows are one point; the lower, the more uniform. Blocks of `batch` rows meet block by block, so that the
    memory does not grow with n squared.
    """
    rows = unit(_rows(x, least=2))
    n, batch = len(rows), min(batch, len(rows))
    blocks = jnp.pad(rows, ((0, -n % batch), (0, 0))).reshape(-1, batch, rows.shape[1])
    square = jnp.sum(blocks * blocks, axis=2)  # 1, or 0 for a row of zeros
    place = jnp.arange(blocks.shape[0] * batch).reshape(-1, batch)

    def pairs(tile: jax.Array) -> jax.Array:
        i, j = tile
        distance = square[i][:, None] + square[j][None] - 2 * cosines(blocks[i], blocks[j])
        counted = (place[i][:, None] < place[j][None]) & (place[j] < n)[None]
        return jax.nn.logsumexp(jnp.where(counted, -t * jnp.maximum(distance, 0), -jnp.inf))

    tiles = jnp.stack(jnp.triu_indices(len(blocks)), axis=1)
    return jax.nn.logsumexp(lax.map(pairs, tiles)) - float(np.log(n * (n - 1) / 2))


def effective_rank(x: ArrayLike) -> jax.Array:
    """The exponential of the entropy of the singular values of x [n, d], divided by their sum (Roy and Vetterli 2007).

    Between 1 (all rows on a line through 0) and min(n, d); 1 for a matrix of zeros. The mean is not removed, as in RankMe
    (Garrido et al. 2023).
    """
    # By way of QR and not of the covariance, whose float32 squares would drown singular values below 1e-3 of the greatest.
    values = jnp.linalg.svd(jnp.linalg.qr(_scaled(_rows(x)), mode="r"), compute_uv=False)
    share = values / jnp.maximum(jnp.sum(values), jnp.finfo(jnp.float32).tiny)
    return jnp.exp(-jnp.sum(share * jnp.log(jnp.where(share > 0, share, 1))))


def dimension_std(x: ArrayLike) -> jax.Array:
    """The mean over dimensions of their standard deviation, times sqrt(d), of rows [n, d] scaled to length 1.

    1 where the rows fill the sphere evenly, 0 where they are one point (Chen and He 2021, section 4.1).
    """
    rows = unit(_rows(x))
    return jnp.mean(jnp.std(rows, axis=0)) * np.sqrt(rows.shape[1])


def geometry(x: ArrayLike) -> dict[str, jax.Array]:
    """`uniformity`, `effective_rank` and `dimension_std` of rows [n, d], n >= 2, by name."""
    return _geometry(_rows(x, least=2))


def collapsed(x: ArrayLike | Mapping[str, ArrayLike]) -> str | None:
    """One sentence that says that, and why, a representation has collapsed; None where it has not.

    `x` are rows [n, d], or the figures that `geometry` took of them on the device. Collapsed is a `dimension_std` below
    .1 (a mean cosine above about .99), an `effective_rank` below 1.9 (hardly more than a line), and what is not finite.
    """
    figures = x if isinstance(x, Mapping) else _watched(jnp.asarray(x))
    std, rank = (np.asarray(figures[name]).item() for name in ("dimension_std", "effective_rank"))
    if not np.isfinite([std, rank]).all():
        return f"diverged: the vectors are not finite (dimension_std {std:.3g}, effective_rank {rank:.3g})"
    if std < LEAST_STD:
        return (
            f"collapsed to a point: dimension_std is {std:.3g}, below {LEAST_STD} (1 where the sphere is filled evenly)"
        )
    if rank < LEAST_RANK:
        return f"collapsed to a line: effective_rank is {rank:.3g}, below {LEAST_RANK}"
    return None


@jax.jit  # one program, where each figure by itself would be a dozen small ones
def _geometry(x: jax.Array) -> dict[str, jax.Array]:
    return {"uniformity": uniformity(x), "effective_rank": effective_rank(x), "dimension_std": dimension_std(x)}


@jax.jit
def _watched(x: jax.Array) -> dict[str, jax.Array]:
    return {"effective_rank": effective_rank(x), "dimension_std": dimension_std(x)}


def _rows(x: ArrayLike, least: int = 1) -> jax.Array:
    x = jnp.asarray(x, jnp.float32)
    if x.ndim != 2 or len(x) < least or not x.shape[1]:
        raise ValueError(f"expected {least} or more vectors [n, d], found the shape {x.shape}")
    return x


def _scaled(x: jax.Array) -> jax.Array:
    # The greatest entry becomes 1: squares of very large or small ones would leave float32.
    return x / jnp.maximum(jnp.max(jnp.abs(x)), jnp.finfo(jnp.float32).tiny)
