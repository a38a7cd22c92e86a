"""Cross-entropy over a vocabulary, a chunk of rows at a time: the logits of a batch never stand whole.

The gradient is computed together with the loss. The derivative of a weighted sum of cross-entropies is known up to one factor as
soon as the logits are, so that no logit is computed twice, as it is where a backward pass computes chunks again.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from jaxembed.objectives.pairwise import InfoNCE


class Adaptive(NamedTuple):
    """The output of the adaptive softmax: the words, ordered by frequency, are cut at `cutoffs`.

    order: int32 [v], the words from frequent to rare. rank: its inverse. clusters: [k, d], a vector for each cluster of rarer
    words. tails: of each cluster the map `[d, e]` to fewer columns, and the vectors `[words, e]`.
    """

    cutoffs: tuple[int, ...]
    order: jax.Array
    rank: jax.Array
    clusters: jax.Array
    tails: tuple[tuple[jax.Array, jax.Array], ...]


@partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def cross_entropy(
    hidden: jax.Array, table: jax.Array, bias: jax.Array, target: jax.Array, weight: jax.Array, chunk: int = 256,
    in_order: bool = False,
) -> jax.Array:  # fmt: skip
    """Returns `sum_i weight_i (log sum_v exp(s_iv) - s_i,target_i)`, of scores `s_iv = hidden_i . table_v + bias_v`, float32.

    hidden: `[n, d]`. table: `[v, d]`. bias: `[v]`. target: int `[n]`. weight: `[n]`, of which no gradient is taken. `chunk` rows
    have their scores at a time (0: all); a chunk without weight is left out. A chunk has rows from all parts of the batch, so
    that devices that have a part each share the work on every chunk; `in_order`, it has consecutive rows, for rows without weight
    that stand together.
    """
    return jnp.sum(weight * scored(hidden, table, bias, target, chunk, weight)[0])


def scored(
    hidden: jax.Array, table: jax.Array, bias: jax.Array, target: jax.Array, chunk: int = 256, weight: Any = None
) -> tuple[jax.Array, jax.Array]:
    """Returns the cross-entropy of each row, float32 `[n]`, and whether its target has the highest score, bool `[n]`."""

    def some(h, t, w):
        scores, largest, total = _exponentials(h, table, bias)
        own = jnp.take_along_axis(scores, t[:, None], axis=1)[:, 0]
        return largest + jnp.log(total) - own, own >= largest

    parts = _cut(chunk, False, hidden, target, jnp.ones(len(hidden)) if weight is None else weight)
    loss, first = lax.map(lambda part: _where_weighted(some, *part), parts)
    return _joined(loss, len(hidden), False), _joined(first, len(hidden), False)


def _exponentials(h, table, bias):
    scores = jnp.einsum("cd,vd->cv", h, table.astype(h.dtype), preferred_element_type=jnp.float32) + bias[None]
    largest = jnp.max(scores, axis=1)
    return scores, largest, jnp.sum(jnp.exp(scores - largest[:, None]), axis=1)


def _cut(chunk: int, in_order: bool, *columns: jax.Array) -> tuple[jax.Array, ...]:
    """Cuts rows, filled up with zeros, into chunks `[chunks, chunk, ...]`: of consecutive rows, or of every so many-th."""
    n = len(columns[0])
    chunk = min(chunk or n, n)
    filled = [jnp.pad(x, ((0, -n % chunk), *[(0, 0)] * (x.ndim - 1))) for x in columns]
    if in_order:
        return tuple(x.reshape(-1, chunk, *x.shape[1:]) for x in filled)
    return tuple(x.reshape(chunk, -1, *x.shape[1:]).swapaxes(0, 1) for x in filled)


def _joined(chunks: jax.Array, n: int, in_order: bool) -> jax.Array:
    """The `n` rows of chunks that `_cut` made."""
    rows = chunks if in_order else chunks.swapaxes(0, 1)
    return rows.reshape(-1, *chunks.shape[2:])[:n]


def _where_weighted(function, h, t, w):
    """`function(h, t, w)`, or zeros if no row has a weight."""
    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(function, h, t, w))
    return lax.cond(jnp.any(w > 0), function, lambda *_: nothing, h, t, w)


def _forward(hidden, table, bias, target, weight, chunk, in_order):
    def some(carry, part):
        to_table, to_bias = carry
        h, t, w = part

        def computed(_):
            scores, largest, total = _exponentials(h, table, bias)
            own = jnp.take_along_axis(scores, t[:, None], axis=1)[:, 0]
            chances = jnp.exp(scores - largest[:, None]) * (w / total)[:, None]
            slope = chances.at[jnp.arange(len(t)), t].add(-w).astype(h.dtype)
            moved = jnp.einsum("cv,cd->vd", slope, h, preferred_element_type=jnp.float32)
            to_hidden = jnp.matmul(slope, table.astype(h.dtype), preferred_element_type=jnp.float32)
            loss = jnp.sum(w * (largest + jnp.log(total) - own))
            return (to_table + moved, to_bias + jnp.sum(slope.astype(jnp.float32), axis=0)), (loss, to_hidden)

        nothing = (jnp.float32(0), jnp.zeros(h.shape, jnp.float32))
        return lax.cond(jnp.any(w > 0), computed, lambda _: (carry, nothing), None)

    start = jnp.zeros(table.shape, jnp.float32), jnp.zeros(bias.shape, jnp.float32)
    (to_table, to_bias), (loss, to_hidden) = lax.scan(some, start, _cut(chunk, in_order, hidden, target, weight))
    to_hidden = _joined(to_hidden, len(hidden), in_order).astype(hidden.dtype)
    return jnp.sum(loss), (to_hidden, to_table.astype(table.dtype), to_bias.astype(bias.dtype))


def _backward(chunk, in_order, gradients, slope):
    return *((slope * x).astype(x.dtype) for x in gradients), None, None


cross_entropy.defvjp(_forward, _backward)


def sampled_cross_entropy(
    hidden: jax.Array, table: jax.Array, bias: jax.Array, target: jax.Array, weight: jax.Array,
    drawn: jax.Array, log_probability: jax.Array,
) -> jax.Array:  # fmt: skip
    """Like `cross_entropy` against words `drawn [k]` with replacement, in place of all others (Bengio and Senecal 2008).

    A drawn word of probability q counts 1 / (k q) times, which is the logQ correction: the sum over the drawn words is then right
    on average. A row's own target among them is left out. log_probability: `[v]`, of a draw of each word.
    """
    own = jnp.sum(hidden.astype(jnp.float32) * table[target], axis=1) + bias[target]
    rows = table[drawn].astype(hidden.dtype)
    scores = jnp.einsum("nd,kd->nk", hidden, rows, preferred_element_type=jnp.float32) + bias[drawn][None]
    times = jnp.exp(-log_probability[drawn]) / len(drawn)
    counts = jnp.where(drawn[None] == target[:, None], 0.0, times[None])
    return jnp.sum(weight * InfoNCE()(own[:, None], 1.0, scores, counts))


def adaptive_cross_entropy(
    hidden: jax.Array, table: jax.Array, bias: jax.Array, target: jax.Array, weight: jax.Array,
    adaptive: Adaptive, chunk: int = 256,
) -> jax.Array:  # fmt: skip
    """Like `cross_entropy` of the adaptive softmax (Grave et al. 2017): a frequent word, or a cluster and a word in it.

    Frequent words have their rows of `table`; those of a cluster have fewer columns. Rows whose target is in a cluster come first
    in their turn, and chunks without any are left out, so that a cluster costs as much as its words are frequent.
    """
    head, tails = _parts(hidden, table, bias, target, adaptive)
    losses: list[Any] = [cross_entropy(*head, weight, chunk)]
    for (rows, words, own, place), inside in tails:
        first = jnp.argsort(~inside, stable=True)
        losses.append(cross_entropy(rows[first], words, own, place[first], (weight * inside)[first], chunk, True))
    return jnp.sum(jnp.stack(losses))


def adaptive_scored(
    hidden: jax.Array, table: jax.Array, bias: jax.Array, target: jax.Array, adaptive: Adaptive, chunk: int = 256
) -> tuple[jax.Array, jax.Array]:
    """Like `scored`, of the adaptive softmax: a target is first if no word has a higher probability."""
    (rows, words, biases, frequent), tails = _parts(hidden, table, bias, target, adaptive)
    most = adaptive.cutoffs[0]

    def log_chances(rows, words, biases):
        scores, largest, total = _exponentials(rows, words, biases)
        return scores - (largest + jnp.log(total))[:, None]

    def some(part):
        (h, place), *others = part
        head = log_chances(h, words, biases)
        own, best = jnp.take_along_axis(head, place[:, None], axis=1)[:, 0], jnp.max(head[:, :most], axis=1)
        for i, (h, place, inside) in enumerate(others):
            (_, vectors, own_biases, _), _ = tails[i]
            both = head[:, most + i, None] + log_chances(h, vectors, own_biases)
            own = jnp.where(inside, jnp.take_along_axis(both, place[:, None], axis=1)[:, 0], own)
            best = jnp.maximum(best, jnp.max(both, axis=1))
        return -own, own >= best

    columns = [_cut(chunk, False, rows, frequent)]
    columns += [_cut(chunk, False, lowered, place, inside) for (lowered, _, _, place), inside in tails]
    loss, first = lax.map(some, columns)
    return _joined(loss, len(hidden), False), _joined(first, len(hidden), False)


def _parts(hidden, table, bias, target, adaptive: Adaptive):
    """The softmax of frequent words and clusters, and those of the clusters with the rows that take part in them.

    Each is rows, words, biases and targets, as `cross_entropy` takes them.
    """
    cutoffs, rank, n = adaptive.cutoffs, adaptive.rank[target], len(adaptive.order)
    biases = bias[adaptive.order]
    ends = (*cutoffs, n)
    k = len(cutoffs)
    cluster = jnp.sum(rank[:, None] >= jnp.asarray(cutoffs)[None], axis=1)
    frequent = jnp.where(cluster == 0, rank, cutoffs[0] + cluster - 1)
    words = jnp.concatenate([table[adaptive.order[: cutoffs[0]]], adaptive.clusters])
    head = hidden, words, jnp.concatenate([biases[: cutoffs[0]], jnp.zeros(k)]), frequent
    tails: list[Any] = []
    for i, (lower, words) in enumerate(adaptive.tails):
        rows = hidden @ lower.astype(hidden.dtype)
        place = jnp.clip(rank - ends[i], 0, ends[i + 1] - ends[i] - 1)
        tails.append(((rows, words, biases[ends[i] : ends[i + 1]], place), cluster == i + 1))
    return head, tails
