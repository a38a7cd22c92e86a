"""Contrast within a batch: from two sets of vectors to the scores and weights that the pairwise objectives take.

Anchors are the rows of `a [A, d]`, candidates those of `b [B, d]`. Three arguments say how pairs count:

* `positive`: `[A]` ints, the place in `b` of each anchor's one positive (-1: it has none; None: the anchor's own place),
  or relations, where an anchor may have many;
* `exclude`: relations; such a pair is left out altogether (an anchor and itself);
* `alike`: relations; such a pair is no negative, since it may well be a positive (same label, same text, same id).

A relation is `Same(a [A], b [B])`: pairs of equal numbers, where a number below zero is like no other; or bool `[A, B]`.
Each of the three takes one relation or a list of them; a pair is related where any of these relates it. As everything here
is plain jnp over the whole batch, the negatives are global where the batch is spread over devices.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.objectives.chunks import by_chunks
from jaxembed.objectives.pairwise import Logistic
from jaxembed.scores import Score, cosine, dot, normalized


class Same(NamedTuple):
    """A pair is related where its numbers are equal and not below zero: ints `a [A]` of anchors, `b [B]` of candidates."""

    a: jax.Array
    b: jax.Array


Relation = Same | jax.Array | np.ndarray
Relations = Relation | Sequence[Relation] | None


class Anchors(NamedTuple):
    """What is known of each anchor, by row: its vector, its one positive's (`mate`), its side of each relation."""

    vector: jax.Array
    mate: jax.Array | None
    positive: list[jax.Array]
    exclude: list[jax.Array]
    alike: list[jax.Array]


class Candidates(NamedTuple):
    """What is known of each candidate, by row; None stands for a relation that the anchors hold in full."""

    vector: jax.Array
    positive: list[jax.Array | None]
    exclude: list[jax.Array | None]
    alike: list[jax.Array | None]
    log_q: jax.Array | None


class Compare(NamedTuple):
    """How vectors become scores: `scale * score(a, b) + bias`; `draws` is how many candidates there are in all."""

    score: Score
    scale: Any
    bias: Any
    draws: int

    def __call__(self, a: jax.Array, b: jax.Array) -> jax.Array:
        """Scores of all pairs, `[A, B]`."""
        return self.scale * self.score(a, b) + self.bias

    def pairs(self, a: jax.Array, b: jax.Array) -> jax.Array:
        """Scores of the rows of `a [A, d]` with those of `b [A, d]`, `[A, 1]`."""
        if self.score is _products:
            return self.scale * jnp.sum(a * b, -1, keepdims=True) + self.bias
        return self(a[:, None], b[:, None])[:, 0]


def _products(a: jax.Array, b: jax.Array) -> jax.Array:
    # `scores.dot` is written for many small products: its barriers keep two more arrays of the scores' size.
    return a @ b.T


def prepared(score: Score, a: jax.Array, b: jax.Array) -> tuple[Score, jax.Array, jax.Array]:
    """A score and vectors that give the same scores at less cost per chunk, in float32 or wider."""
    # Vectors are scaled to length 1 here, once, and not again for each tile. Encoders may compute in bfloat16, but scores
    # are divided by temperatures of a few hundredths: they are taken in float32.
    wide = jnp.promote_types(jnp.promote_types(a.dtype, b.dtype), jnp.float32)
    a, b = a.astype(wide), b.astype(wide)
    if score is cosine:
        score, a, b = dot, normalized(a), normalized(b)
    return (_products if score is dot else score), a, b


def anchors_and_candidates(a, b, positive=None, exclude: Relations = None, alike: Relations = None, log_q=None):
    """`Anchors, Candidates` out of the arguments of `contrast`, which names the errors."""
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"contrast takes vectors [A, d] and [B, d] of one dimension, not {a.shape} and {b.shape}")
    A, B = a.shape[0], b.shape[0]
    if B < 2:
        raise ValueError("contrast needs at least two candidates: a batch of one has no negatives")
    mate = None
    if positive is None:
        if A > B:
            raise ValueError(f"{A} anchors have no positives at their own places among {B} candidates: name `positive`")
        positive, mate = Same(jnp.arange(A), jnp.arange(B)), b[:A]
    elif isinstance(positive, jax.Array | np.ndarray) and positive.ndim == 1:
        if not jnp.issubdtype(positive.dtype, jnp.integer):
            raise ValueError(f"places of positives must be whole numbers, not {positive.dtype}")
        # An anchor without a positive (-1) gets any row, and the weight 0 in `positives`.
        positive, mate = Same(jnp.asarray(positive), jnp.arange(B)), b[jnp.maximum(positive, 0)]
    positive, exclude, alike = _listed(positive), _listed(exclude), _listed(alike)
    if not positive:
        raise ValueError("positive must be at least one relation, or None for each anchor's own place")
    for name, relations in (("positive", positive), ("exclude", exclude), ("alike", alike)):
        for relation in relations:
            shapes = tuple(map(jnp.shape, relation)) if isinstance(relation, Same) else jnp.shape(relation)
            if shapes not in (((A,), (B,)), (A, B)):
                raise ValueError(f"{name} must be Same([{A}], [{B}]) or of shape [{A}, {B}], not of shape {shapes}")
    anchor = lambda relation: jnp.asarray(relation.a if isinstance(relation, Same) else relation)
    candidate = lambda relation: jnp.asarray(relation.b) if isinstance(relation, Same) else None
    return (
        Anchors(a, mate, [*map(anchor, positive)], [*map(anchor, exclude)], [*map(anchor, alike)]),
        Candidates(b, [*map(candidate, positive)], [*map(candidate, exclude)], [*map(candidate, alike)], log_q),
    )


def _listed(relations: Relations) -> list[Relation]:
    if relations is None:
        return []
    return [relations] if isinstance(relations, Same | jax.Array | np.ndarray) else [*relations]


def _related(anchor: jax.Array, candidate: jax.Array | None) -> jax.Array:
    if candidate is None:
        return anchor.astype(bool)
    return (anchor[:, None] == candidate[None, :]) & (anchor[:, None] >= 0)


def _any_related(anchors: list[jax.Array], candidates: list[jax.Array | None]) -> jax.Array:
    return functools.reduce(jnp.logical_or, map(_related, anchors, candidates))


def positives(compare: Compare, anchors: Anchors, candidates: Candidates) -> tuple[jax.Array, jax.Array]:
    """`pos, pos_weight`: `[A, 1]` where each anchor has its one mate, else `[A, B]`, the weights of an anchor adding to 1."""
    if anchors.mate is not None:
        pos = compare.pairs(anchors.vector, anchors.mate)
        return pos, (anchors.positive[0] >= 0)[:, None].astype(pos.dtype)
    pos = compare(anchors.vector, candidates.vector)
    there = _any_related(anchors.positive, candidates.positive)
    if anchors.exclude:
        there &= ~_any_related(anchors.exclude, candidates.exclude)
    weight = there.astype(pos.dtype)
    return pos, weight / jnp.maximum(jnp.sum(weight, -1, keepdims=True), 1)


def negatives(
    compare: Compare, anchors: Anchors, candidates: Candidates, everybody: bool
) -> tuple[jax.Array, jax.Array]:
    """`neg, neg_weight`, `[A, B]`: with `everybody` the positives are among them."""
    neg = compare(anchors.vector, candidates.vector)
    positive = _any_related(anchors.positive, candidates.positive)
    # Negatives are struck out by a weight of 0: scores stay finite, whatever an objective and its gradient do with them.
    # With `everybody` (softmax, spectral) the positives count among them, so `alike` must not strike those.
    out = jnp.zeros_like(positive) if everybody else positive
    if anchors.alike:
        alike = _any_related(anchors.alike, candidates.alike)
        out |= alike & ~positive if everybody else alike
    if anchors.exclude:
        out |= _any_related(anchors.exclude, candidates.exclude)
    # A candidate drawn with chance q stands for 1 / (B q) of those that might have been drawn: the sum over a batch is then,
    # in expectation, that over all (logQ correction, Bengio and Senecal 2008).
    one = 1.0 if candidates.log_q is None else jnp.exp(-candidates.log_q)[None, :] / compare.draws
    return neg, jnp.where(out, 0, jnp.asarray(one, neg.dtype))


def in_batch(
    a: jax.Array, b: jax.Array, *, score: Score = cosine, positive=None, exclude: Relations = None,
    alike: Relations = None, log_q: jax.Array | None = None, scale: Any = 1.0, bias: Any = 0.0, everybody: bool = False,
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:  # fmt: skip
    """The four arrays of a pairwise objective, `pos, pos_weight, neg, neg_weight`; arguments and errors as `contrast`.

    everybody: negatives are all candidates, the positives among them.
    """
    score, a, b = prepared(score, a, b)
    anchors, candidates = anchors_and_candidates(a, b, positive, exclude, alike, log_q)
    compare = Compare(score, scale, bias, b.shape[0])
    return (*positives(compare, anchors, candidates), *negatives(compare, anchors, candidates, everybody))


def contrast(
    objective: Any, a: jax.Array, b: jax.Array, *, score: Score = cosine, positive=None, exclude: Relations = None,
    alike: Relations = None, log_q: jax.Array | None = None, scale: Any = 1.0, bias: Any = 0.0, chunk: int = 0,
) -> jax.Array:  # fmt: skip
    """Loss `[A]` of each anchor `a [A, d]` against the candidates `b [B, d]`, with any pairwise objective.

    The module says what `positive`, `exclude` and `alike` are. An anchor's positives share a weight of one; a negative
    weighs one, or with `log_q [B]`, the logarithms of the candidates' chances to be in the batch, `1 / (B q)`. Scores are
    `scale * score(a, b) + bias`, in float32 or wider. With `chunk`, scores are made in tiles of so many anchors and
    candidates, and once more for the gradient; where `positive` is a relation, or another is not `Same`, so many anchors and
    all candidates. With a relation for `positive`, margin, triplet and BPR compare every positive with every negative,
    [A, B, B].
    Raises ValueError for a single candidate, for an objective of a Huffman path and for shapes that do not fit.
    """
    score, a, b = prepared(score, a, b)
    anchors, candidates = anchors_and_candidates(a, b, positive, exclude, alike, log_q)
    compare, everybody = Compare(score, scale, bias, b.shape[0]), wants_everybody(objective)

    if chunk and cuts_both_ways(anchors, candidates):
        return tiled(objective, compare, anchors, candidates, chunk)

    def losses(anchors):
        return objective(*positives(compare, anchors, candidates), *negatives(compare, anchors, candidates, everybody))

    return by_chunks(losses, anchors, chunk)


def cuts_both_ways(anchors: Anchors, candidates: Candidates) -> bool:
    """Whether candidates can come in blocks: one positive an anchor at most, and each side of a relation known by row."""
    return anchors.mate is not None and None not in (*candidates.exclude, *candidates.alike)


def tiled(objective: Any, compare: Compare, anchors: Anchors, candidates: Candidates, chunk: int) -> jax.Array:
    """Losses `[A]` by tiles of `chunk` x `chunk` scores, which leave behind a number or two an anchor; see `folded`."""
    everybody, B = wants_everybody(objective), candidates.vector.shape[0]
    pos, pos_weight = positives(compare, anchors, candidates)

    def tile(rows, columns):
        rows, pos, pos_weight = rows
        neg, neg_weight = negatives(compare, rows, columns, everybody)
        # An additive loss is a sum over negatives: tiles give parts of it, and the positive is shared out by the size of the
        # tile. Of others, a tile leaves behind one negative that stands for all of its own (a softmax: their logsumexp).
        if objective.additive:
            return objective(pos, pos_weight * (neg.shape[1] / B), neg, neg_weight)[None]
        return tuple(x.T for x in objective.folded(neg, neg_weight))

    def across(rows):
        parts = by_chunks(lambda columns: tile(rows, columns), candidates, chunk)
        return jax.tree.map(jnp.transpose, parts)

    parts = by_chunks(across, (anchors, pos, pos_weight), chunk, again=False)
    return jnp.sum(parts, -1) if objective.additive else objective(pos, pos_weight, *parts)


def wants_everybody(objective: Any) -> bool:
    """Whether an objective counts positives among the negatives; ValueError for one that a batch cannot serve."""
    if objective.negatives == "path":
        raise ValueError(
            "hierarchical softmax needs a Huffman path, which a batch does not have: choose another objective"
        )
    return objective.negatives == "everybody"


def two_views(
    objective: Any, a: jax.Array, b: jax.Array, *, labels: jax.Array | None = None, supervised: bool = False, **options
) -> jax.Array:
    """Loss `[2 B]` of two views `a, b [B, d]` in one batch: an anchor's candidates are all views but itself.

    With InfoNCE, NT-Xent (Chen et al. 2020, eq. 1). labels: `[B]` ints; rows of one label are no negatives of each other, or
    with `supervised`, positives (SupCon, Khosla et al. 2020). A label below zero is like no other, and its rows then have no
    positive when `supervised`. `options` go to `contrast`. Raises ValueError for a batch of one.
    """
    size = a.shape[0]
    if a.shape != b.shape or size < 2:
        raise ValueError(
            f"contrast of two views needs two batches of one shape, of at least two rows: {a.shape}, {b.shape}"
        )
    if supervised and labels is None:
        raise ValueError("supervised contrast needs labels")
    both, place = jnp.concatenate([a, b]), jnp.arange(2 * size)
    itself, same = Same(place, place), None
    if labels is not None:
        same = Same(*(jnp.concatenate([labels, labels]),) * 2)
    if supervised:
        return contrast(objective, both, both, positive=same, exclude=itself, **options)
    # The rows of the first view stand before those of the second: the other view of row i is B rows further on, or back.
    other = (place + size) % (2 * size)
    return contrast(objective, both, both, positive=other, exclude=itself, alike=same, **options)


def two_towers(
    objective: Any, a: jax.Array, b: jax.Array, *, ids: jax.Array | Sequence[jax.Array] = (), score: Score = cosine,
    positive: Relations = None, scale: Any = 1.0, bias: Any = 0.0, chunk: int = 0,
) -> jax.Array:  # fmt: skip
    """Loss `[B]` of pairs `a, b [B, d]`, the mean of both directions (CLIP: Radford et al. 2021, figure 3).

    ids: `[B]` ints, or several of them (of texts, of images; below zero: unlike all others); pairs that share one are no
    negatives of each other. score: a symmetric one. positive: None for the pairs alone, or symmetric relations. The other
    arguments are `contrast`'s. The logistic objective adds up to the same both ways: only the first is computed.
    Raises ValueError for a batch of one.
    """
    if a.shape != b.shape:
        raise ValueError(f"two towers must give vectors of one shape, not {a.shape} and {b.shape}")
    alike = [Same(x, x) for x in ([ids] if isinstance(ids, jax.Array | np.ndarray) else ids)]
    options = {"score": score, "positive": positive, "alike": alike, "scale": scale, "bias": bias, "chunk": chunk}
    there = contrast(objective, a, b, **options)
    return there if isinstance(objective, Logistic) else (there + contrast(objective, b, a, **options)) / 2
