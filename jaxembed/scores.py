"""Scores of all pairs of two sets of vectors: stateless, interchangeable, `(a, b) -> score`."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

Score = Callable[[jax.Array, jax.Array], jax.Array]


@jax.custom_vjp
def dot(a: jax.Array, b: jax.Array) -> jax.Array:
    """Inner products of all pairs: `a [..., P, d]`, `b [..., Q, d]` -> `[..., P, Q]`; leading axes must be equal.

    Written, with its derivative, for the layout of the operands: XLA's CPU back end is up to three times slower with a
    transposed left operand or several batch axes, and the scores are the smallest of the arrays to lay out anew. It is
    fastest with the longer side as `a`.
    """
    return jnp.einsum("bpd,bqd->bpq", _flat(a), _flat(b)).reshape(*a.shape[:-1], b.shape[-2])


def _flat(x: jax.Array) -> jax.Array:
    return x.reshape(-1, *x.shape[-2:])


def _dot_forward(a, b):
    return dot(a, b), (a, b)


def _dot_backward(operands, gradient):
    a, b = operands
    gradient_PQ = lax.optimization_barrier(_flat(gradient))
    gradient_QP = lax.optimization_barrier(jnp.swapaxes(gradient_PQ, 1, 2))
    to_a = jnp.einsum("bpq,bqd->bpd", gradient_PQ, _flat(b))
    to_b = jnp.einsum("bqp,bpd->bqd", gradient_QP, _flat(a))
    return to_a.reshape(a.shape).astype(a.dtype), to_b.reshape(b.shape).astype(b.dtype)


dot.defvjp(_dot_forward, _dot_backward)


@jax.custom_vjp
def weighted_sums(weights: jax.Array, rows: jax.Array) -> jax.Array:
    """Sums of rows: `weights [..., P, Q]`, `rows [..., P, d]` -> `[..., Q, d]`; leading axes must be equal.

    Laid out, with its derivative, for XLA's CPU back end as `dot` is.
    """
    weights_QP = lax.optimization_barrier(jnp.swapaxes(_flat(weights), 1, 2))
    return jnp.einsum("bqp,bpd->bqd", weights_QP, _flat(rows)).reshape(*rows.shape[:-2], weights.shape[-1], -1)


def _weighted_sums_backward(operands, gradient):
    weights, rows = operands
    to_rows = jnp.einsum("bpq,bqd->bpd", _flat(weights), _flat(gradient))
    return dot(rows, gradient).astype(weights.dtype), to_rows.reshape(rows.shape).astype(rows.dtype)


weighted_sums.defvjp(lambda weights, rows: (weighted_sums(weights, rows), (weights, rows)), _weighted_sums_backward)


def normalized(x: jax.Array, epsilon: float = 1e-12) -> jax.Array:
    """Rows of `x [..., d]` divided by their Euclidean norm, or by `epsilon` where the norm is smaller.

    A row of zeros stays zero, and its gradient is that of a division by `epsilon`.
    """
    # The bound is set on the square, so that no root of zero is taken: its derivative would be infinite.
    return x * lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=-1, keepdims=True), epsilon**2))


def cosine(a: jax.Array, b: jax.Array) -> jax.Array:
    """Cosines of all pairs: `a [..., P, d]`, `b [..., Q, d]` -> `[..., P, Q]`, between -1 and 1."""
    return dot(normalized(a), normalized(b))


def negative_squared_distance(a: jax.Array, b: jax.Array) -> jax.Array:
    """`-|a - b|^2` of all pairs: `a [..., P, d]`, `b [..., Q, d]` -> `[..., P, Q]`, at most 0 up to rounding."""
    return 2 * dot(a, b) - jnp.sum(a * a, -1)[..., :, None] - jnp.sum(b * b, -1)[..., None, :]


SCORES: dict[str, Score] = {
    "dot": dot,
    "cosine": cosine,
    "negative_squared_distance": negative_squared_distance,
}
