"""Batches larger than memory or than a device: gradient caching, and candidates that go round a ring of devices.

The third way, scores a tile at a time, is the argument `chunk` of `contrast`, `two_views` and `two_towers`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jaxembed.objectives.chunks import by_chunks
from jaxembed.objectives.in_batch import (
    Compare,
    Relations,
    anchors_and_candidates,
    cuts_both_ways,
    negatives,
    positives,
    prepared,
    wants_everybody,
)
from jaxembed.scores import Score, cosine


def cached(encode: Callable[..., Any], xs: Any, chunk: int, key: jax.Array | None = None) -> Any:
    """Vectors of a batch whose activations do not fit in memory: gradient caching (Gao et al. 2021, section 3.2).

    `encode(rows)`, or with a key for dropout `encode(rows, key)`, gives `[rows, d]` or a pytree of such, of `chunk` rows at
    a time; it must treat rows apart: no batch statistics. The forward pass keeps the vectors alone. The backward pass, which
    brings the gradient of each vector, encodes each chunk once more, with the same key: a third more work, and the
    activations of one chunk. Raises ValueError for a chunk below one.
    """
    if chunk < 1:
        raise ValueError(f"chunk must be at least 1 row, not {chunk}")
    return by_chunks(encode, xs, chunk, key)


def ring_contrast(
    objective: Any, a: jax.Array, b: jax.Array, mesh: Mesh, axis: str = "data", *, score: Score = cosine,
    positive: jax.Array | None = None, exclude: Relations = None, alike: Relations = None,
    log_q: jax.Array | None = None, scale: Any = 1.0, bias: Any = 0.0,
) -> jax.Array:  # fmt: skip
    """`contrast`, its rows cut over `axis` of a mesh of n devices: anchors stay, candidates go round from device to device.

    A device holds one block of scores, `[A / n, B / n]`, at a time; for the backward pass, which computes blocks once more,
    it keeps the candidates that came by, `[B, d]`. Inside or outside jit.
    Raises ValueError as `contrast` does, where n does not divide A and B, for relations that are not `Same`, and for
    positives that are a relation: each anchor must have one at most.
    """
    size, everybody = mesh.shape[axis], wants_everybody(objective)
    score, a, b = prepared(score, a, b)
    anchors, candidates = anchors_and_candidates(a, b, positive, exclude, alike, log_q)
    if not cuts_both_ways(anchors, candidates):
        raise ValueError(
            "a ring takes at most one positive an anchor, named by its place, and Same for exclude and alike"
        )
    if a.shape[0] % size or b.shape[0] % size:
        raise ValueError(f"a ring of {size} devices cannot cut {a.shape[0]} anchors and {b.shape[0]} candidates evenly")
    onward = [(device, (device + 1) % size) for device in range(size)]

    def local(anchors, candidates, scale, bias):
        compare = Compare(score, scale, bias, b.shape[0])
        pos, pos_weight = positives(compare, anchors, candidates)

        # Kept for the backward pass are the vectors of a block; its scores, A B / n^2 numbers, are computed once more.
        @jax.checkpoint
        def block(anchors, passing):
            found = negatives(compare, anchors, passing, everybody)
            return objective(pos, pos_weight / size, *found) if objective.additive else objective.folded(*found)

        def hop(carried, _):
            passing, so_far = carried
            # What is known of the candidates travels with them: their numbers in relations and their chances.
            passing = jax.tree.map(lambda x: lax.ppermute(x, axis, onward), passing)
            more = block(anchors, passing)
            if objective.additive:
                return (passing, so_far + more), None
            # What two blocks left behind is folded into one of the same size, so the carried state does not grow with the hops.
            together = (jnp.concatenate(pair, -1) for pair in zip(so_far, more, strict=True))
            return (passing, objective.folded(*together)), None

        # The first block is the one at home: n blocks take n - 1 hops, and nothing is sent for nothing.
        (_, total), _ = lax.scan(hop, (candidates, block(anchors, candidates)), length=size - 1)
        return total if objective.additive else objective(pos, pos_weight, *total)

    rows = lambda tree: jax.tree.map(lambda _: P(axis), tree)
    cut = jax.shard_map(local, mesh=mesh, in_specs=(rows(anchors), rows(candidates), P(), P()), out_specs=P(axis))
    return cut(anchors, candidates, jnp.asarray(scale, anchors.vector.dtype), jnp.asarray(bias, anchors.vector.dtype))
