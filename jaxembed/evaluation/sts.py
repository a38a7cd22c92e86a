"""Semantic textual similarity: how well cosines of sentence vectors agree with what people say."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxembed.evaluation.checks import rows_of
from jaxembed.evaluation.neighbours import unit
from jaxembed.evaluation.similarity import spearman


def sts_spearman(a: ArrayLike, b: ArrayLike, scores: ArrayLike) -> float:
    """Spearman's correlation of the cosines of rows of `a` and `b` [n, d] with human `scores` [n], ties by mean rank.

    NaN where all cosines or all scores are equal. Raises ValueError for vectors or scores that are not finite, shapes that
    differ, and fewer than two pairs.
    """
    a = rows_of("a", a)
    b = rows_of("b", b, a.shape[1])
    gold = np.asarray(scores, np.float64)
    if len(a) != len(b) or gold.shape != (len(a),) or len(a) < 2:
        raise ValueError(f"expected two or more pairs and a score for each, found {len(a)}, {len(b)} and {gold.shape}")
    if not np.isfinite(gold).all():
        raise ValueError(
            f"scores: {np.sum(~np.isfinite(gold))} of {len(gold)} are NaN or infinite: leave their pairs out"
        )
    # Places among the distinct scores rank as the scores do, and float32 holds them exactly.
    return float(_agreement(a, b, np.unique(gold, return_inverse=True)[1].astype(np.float32)))


def check_scores(scores: ArrayLike) -> None:
    """Raises ValueError where pairs with these scores have no correlation, whatever their vectors are."""
    gold = np.asarray(scores, np.float64)
    if len(gold) < 2:
        raise ValueError(f"a correlation needs two or more pairs, found {len(gold)}")
    if gold.min() == gold.max():
        raise ValueError(f"all {len(gold)} pairs have the score {gold[0]:g}: a correlation needs different ones")


@jax.jit
def _agreement(a: jax.Array, b: jax.Array, scores: jax.Array) -> jax.Array:
    return spearman(jnp.sum(unit(a) * unit(b), axis=-1), scores)
