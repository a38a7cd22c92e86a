"""Scores of all pairs of two sets of vectors: stateless, interchangeable, `(a, b) -> score`."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

Score = Callable[[jax.Array, jax.Array], jax.Array]


@jax.custom_vjp
def dot(a: jax.Array, b: jax.Array) -> jax.Array:
    """Inner products of all pairs: `a [..., P, d]`, `b [..., Q, d]` -> `[..., P, Q]`; leading axes must be equal.

    Written, with its derivative, for the layout of the operands: XLA's CPU back end is up to three times slower with a
    transposed left operand or several batch axes, and the scores are the smallest of the arrays to lay out anew. It is
    fastest with the longer side as `a`. A single pair of matrices is multiplied as it is, which is faster by a third.
    """
    if math.prod(a.shape[:-2]) == 1:
        one = jnp.einsum("pd,qd->pq", a.reshape(a.shape[-2:]), b.reshape(b.shape[-2:]))
        return one.reshape(*a.shape[:-1], b.shape[-2])
    return jnp.einsum("bpd,bqd->bpq", _flat(a), _flat(b)).reshape(*a.shape[:-1], b.shape[-2])


def _flat(x: jax.Array) -> jax.Array:
    return x.reshape(-1, *x.shape[-2:])


def _dot_forward(a, b):
    return dot(a, b), (a, b)


def _dot_backward(operands, gradient):
    a, b = operands
    if math.prod(a.shape[:-2]) == 1:
        gradient, one, other = (x.reshape(x.shape[-2:]) for x in (gradient, a, b))
        to_a, to_b = gradient @ other, jnp.einsum("pq,pd->qd", gradient, one)
        return to_a.reshape(a.shape).astype(a.dtype), to_b.reshape(b.shape).astype(b.dtype)
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


def negative_distance(a: jax.Array, b: jax.Array) -> jax.Array:
    """`-|a - b|` of all pairs, Euclidean: `a [..., P, d]`, `b [..., Q, d]` -> `[..., P, Q]`.

    Of two points that are the same the gradient is zero.
    """
    square = -negative_squared_distance(a, b)
    apart = square > 1e-12
    return -jnp.where(apart, jnp.sqrt(jnp.where(apart, square, 1)), 0)


@jax.custom_vjp
def negative_manhattan(a: jax.Array, b: jax.Array) -> jax.Array:
    """`-sum_i |a_i - b_i|` of all pairs: `a [..., P, d]`, `b [..., Q, d]` -> `[..., P, Q]`; no `[..., P, Q, d]` is kept.

    Where two numbers are the same the gradient is zero.
    """
    return -jnp.sum(jnp.abs(_differences(a, b)), -1)


@jax.custom_vjp
def negative_modulus(a: jax.Array, b: jax.Array) -> jax.Array:
    """`-sum_i |a_i - b_i|` of all pairs of complex vectors, whose halves are the real and the imaginary parts.

    `a [..., P, d]`, `b [..., Q, d]` -> `[..., P, Q]`. Where two numbers are the same the gradient is zero.
    """
    (re, im), (b_re, b_im) = (jnp.split(x, 2, -1) for x in (a, b))
    return -jnp.sum(_modulus(_differences(re, b_re), _differences(im, b_im)), -1)


def _differences(a: jax.Array, b: jax.Array) -> jax.Array:
    return a[..., :, None, :] - b[..., None, :, :]


def _modulus(re: jax.Array, im: jax.Array) -> jax.Array:
    return jnp.sqrt(re * re + im * im)


def _unit(re: jax.Array, im: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Complex numbers divided by their moduli; 0 stays 0."""
    inverse = lax.rsqrt(jnp.maximum(re * re + im * im, 1e-24))
    return re * inverse, im * inverse


def _backward_of_distance(slope: Callable[..., tuple[jax.Array, ...]], parts: int) -> Callable:
    """The derivative of minus a sum over differences, of vectors in so many parts, whose own derivatives are `slope`.

    It is made a row of `a` at a time: all differences at once, [P, Q, d], are ten times slower on a CPU.
    """

    def of_rows(a, b, gradient):
        split = lambda x: tuple(jnp.split(x, parts, -1))
        others = split(b)

        def row(to_b, one):
            x, g = one
            slopes = slope(*(mine[None, :] - other for mine, other in zip(x, others, strict=True)))
            slopes = [g[:, None] * part for part in slopes]
            return tuple(map(jnp.add, to_b, slopes)), tuple(-jnp.sum(part, 0) for part in slopes)

        to_b, to_a = lax.scan(row, tuple(map(jnp.zeros_like, others)), (split(a), gradient))
        return jnp.concatenate(to_a, -1), jnp.concatenate(to_b, -1)

    def backward(operands, gradient):
        a, b = operands
        wide = jnp.promote_types(gradient.dtype, jnp.float32)
        to_a, to_b = jax.vmap(of_rows)(*(_flat(x).astype(wide) for x in (a, b, gradient)))
        return to_a.reshape(a.shape).astype(a.dtype), to_b.reshape(b.shape).astype(b.dtype)

    return backward


_signs = lambda difference: (jnp.sign(difference),)
negative_manhattan.defvjp(lambda a, b: (negative_manhattan(a, b), (a, b)), _backward_of_distance(_signs, 1))
negative_modulus.defvjp(lambda a, b: (negative_modulus(a, b), (a, b)), _backward_of_distance(_unit, 2))


SCORES: dict[str, Score] = {
    "dot": dot,
    "cosine": cosine,
    "negative_squared_distance": negative_squared_distance,
    "negative_distance": negative_distance,
    "negative_manhattan": negative_manhattan,
    "negative_modulus": negative_modulus,
}


class TripleScore(NamedTuple):
    """How a fact (head, relation, tail) is scored: the relation moves one entity, and what comes out is compared with the other.

    move: `(entity [..., d], relation [..., k], back) -> [..., d]`: where the relation leads from a head or, `back`, from a tail.
    compare: a score of all pairs. between: `(head, tail) -> [..., k]`, which `compare` compares with relations to the same score;
    None where there is no such. is_complex: whether the halves of a vector are real and imaginary parts. is_angle: whether a
    relation is an angle for each complex number.
    """

    move: Callable[[jax.Array, jax.Array, bool], jax.Array]
    compare: Score
    between: Callable[[jax.Array, jax.Array], jax.Array] | None = None
    is_complex: bool = False
    is_angle: bool = False

    def width(self, size: int) -> int:
        """Numbers k of a relation, for entities of d = `size`."""
        return size // 2 if self.is_angle else size

    def __call__(self, head: jax.Array, relation: jax.Array, tail: jax.Array) -> jax.Array:
        """Scores `[...]` of facts: `head, tail [..., d]`, `relation [..., k]`."""
        return self.compare(self.move(head, relation, False)[..., None, :], tail[..., None, :])[..., 0, 0]


def translated(entity: jax.Array, relation: jax.Array, back: bool) -> jax.Array:
    """`entity + relation`, back `entity - relation` (TransE: Bordes et al. 2013)."""
    return entity - relation if back else entity + relation


def scaled(entity: jax.Array, relation: jax.Array, back: bool) -> jax.Array:
    """`entity * relation`, both ways (DistMult: Yang et al. 2015)."""
    return entity * relation


def multiplied(entity: jax.Array, relation: jax.Array, back: bool) -> jax.Array:
    """The product of complex vectors, halves of real and imaginary parts; back that with the relation's conjugate.

    Its inner product with the other entity is ComplEx's `Re sum_i h_i r_i conj(t_i)` (Trouillon et al. 2016, eq. 9).
    """
    (re, im), (r_re, r_im) = (jnp.split(x, 2, -1) for x in (entity, relation))
    r_im = -r_im if back else r_im
    return jnp.concatenate([re * r_re - im * r_im, re * r_im + im * r_re], -1)


def rotated(entity: jax.Array, relation: jax.Array, back: bool) -> jax.Array:
    """Complex numbers turned by the relation's angles, in radians; back the other way (RotatE: Sun et al. 2019)."""
    return multiplied(entity, jnp.concatenate([jnp.cos(relation), jnp.sin(relation)], -1), back)


TRIPLE_SCORES: dict[str, TripleScore] = {
    "transe_l1": TripleScore(translated, negative_manhattan, lambda head, tail: tail - head),
    "transe_l2": TripleScore(translated, negative_distance, lambda head, tail: tail - head),
    "distmult": TripleScore(scaled, dot, lambda head, tail: head * tail),
    "complex": TripleScore(multiplied, dot, lambda head, tail: multiplied(tail, head, True), is_complex=True),
    "rotate_l1": TripleScore(rotated, negative_modulus, is_complex=True, is_angle=True),
    "rotate_l2": TripleScore(rotated, negative_distance, is_complex=True, is_angle=True),
}
