"""Scores of all pairs of two sets of vectors: stateless, interchangeable, `(a, b) -> score`."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

Score = Callable[[jax.Array, jax.Array], jax.Array]


@jax.custom_vjp
def dot(a: jax.Array, b: jax.Array) -> jax.Array:
    """Inner products of all pairs: `a [..., P, d]`, `b [..., Q, d]` -> `[..., P, Q]`.

    The derivative is written out only for the layout of its operands: XLA's CPU back end multiplies a transposed left
    operand three times slower than one laid out anew, and the matrix of scores is the cheapest of the three to lay out.
    """
    return jnp.swapaxes(jnp.einsum("...qd,...pd->...qp", b, a), -1, -2)


def _dot_forward(a, b):
    return dot(a, b), (a, b)


def _dot_backward(operands, gradient_PQ):
    a, b = operands
    gradient_QP = lax.optimization_barrier(jnp.swapaxes(gradient_PQ, -1, -2))
    return (
        jnp.einsum("...pq,...qd->...pd", gradient_PQ, b).astype(a.dtype),
        jnp.einsum("...qp,...pd->...qd", gradient_QP, a).astype(b.dtype),
    )


dot.defvjp(_dot_forward, _dot_backward)


def normalized(x: jax.Array, epsilon: float = 1e-12) -> jax.Array:
    """Rows of `x [..., d]` divided by their Euclidean norm; a row of zeros stays zero and has a finite gradient."""
    return x * lax.rsqrt(jnp.maximum(jnp.sum(x * x, axis=-1, keepdims=True), epsilon))


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
