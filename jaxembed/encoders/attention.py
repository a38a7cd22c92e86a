"""Multi-head self-attention and the layer around it, laid out for XLA's CPU back end as well as for accelerators.

Rows are kept as `[B * L, D]` for all that is not attention, queries, keys and values are one product, and the batched
products run over `[B * heads, L, d]`. Where `key` is given dropout is on, with randomness from that key alone.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from jaxembed.encoders.positions import rotate
from jaxembed.scores import dot, weighted_sums

Rotary = tuple[jax.Array | np.ndarray, jax.Array | np.ndarray]


def gelu(x: jax.Array) -> jax.Array:
    """`x Phi(x)`, Phi the normal distribution's (Hendrycks and Gimpel 2016), to 1e-6.

    By erf, as PyTorch: jax.nn.gelu goes by erfc, which XLA computes several times as slowly, for the sake of tails.
    """
    return 0.5 * x * (1 + lax.erf(x * np.asarray(np.sqrt(0.5), x.dtype)))


ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": gelu,
    "gelu_tanh": lambda x: jax.nn.gelu(x, approximate=True),
    "quick_gelu": lambda x: x * jax.nn.sigmoid(1.702 * x),
    "relu": jax.nn.relu,
}
KERNEL = nnx.initializers.xavier_uniform()
EMBEDDING = nnx.initializers.truncated_normal(0.02)


def chosen(name: str, value: str, choices: Any) -> str:
    """`value`, or ValueError that lists the choices of the setting `name`."""
    if value not in choices:
        raise ValueError(f"{name} is one of {', '.join(map(repr, choices))}, not {value!r}")
    return value


def dropout_key(rate: float, train: bool, rngs: nnx.Rngs | None) -> jax.Array | None:
    """A key of the stream "dropout" where dropout is on, else None; raises ValueError where `rngs` is missing."""
    if not train or rate == 0:
        return None
    if rngs is None:
        raise ValueError("dropout needs a key: pass rngs=nnx.Rngs(dropout=key), or build the encoder with dropout=0")
    return rngs.dropout()


def dropout(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Zeroes entries of `x` with probability `rate` (to 1 / 65,536) and scales the others to the same mean."""
    if key is None or rate == 0:
        return x
    # Two entries share a word: random bits are the greater part of what dropout costs.
    words = jax.random.bits(key, ((x.size + 1) // 2,), jnp.uint32)
    bits = lax.bitcast_convert_type(words, jnp.uint16).reshape(-1)[: x.size].reshape(x.shape)
    dropped = min(max(round(rate * 65536), 1), 65535)
    return jnp.where(bits >= dropped, x * (65536 / (65536 - dropped)), 0).astype(x.dtype)


def looked_up(table: jax.Array, ids: jax.Array) -> jax.Array:
    """The entries of a table at `ids`, NaN for an id outside: a vector of another id would never be noticed."""
    return table.at[ids].get(mode="fill", fill_value=jnp.nan, wrap_negative_indices=False)


class Linear(nnx.Module):
    """`x [..., inputs] -> [..., outputs]`, as one product of two matrices."""

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True, dtype: Any = jnp.float32, rngs: nnx.Rngs):
        self.kernel = nnx.Param(KERNEL(rngs.params(), (inputs, outputs), jnp.float32))
        self.bias = nnx.Param(jnp.zeros(outputs, jnp.float32)) if bias else None
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        """The product plus the bias, in the compute dtype."""
        y = x.reshape(-1, x.shape[-1]).astype(self.dtype) @ self.kernel[...].astype(self.dtype)
        if self.bias is not None:
            y = y + self.bias[...].astype(self.dtype)[None]
        return y.reshape(*x.shape[:-1], -1)


class LayerNorm(nnx.Module):
    """Layer normalisation over the last axis (Ba et al. 2016), in float32 whatever the compute dtype."""

    def __init__(self, size: int, *, epsilon: float = 1e-6, dtype: Any = jnp.float32):
        self.scale = nnx.Param(jnp.ones(size, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(size, jnp.float32))
        self.epsilon = epsilon
        self.dtype = dtype

    def __call__(self, x: jax.Array) -> jax.Array:
        """Rows of mean 0 and variance 1, then scaled and shifted."""
        rows = x.reshape(-1, x.shape[-1]).astype(jnp.float32)
        centred = rows - jnp.mean(rows, axis=-1, keepdims=True)
        rows = centred * lax.rsqrt(jnp.mean(centred * centred, axis=-1, keepdims=True) + self.epsilon)
        return (rows * self.scale[...][None] + self.bias[...][None]).reshape(x.shape).astype(self.dtype)


@jax.custom_vjp
def masked_softmax(scores: jax.Array, present: jax.Array | None) -> jax.Array:
    """Softmax over axis -2 among the entries that are `present` (None: all); all zeros, with gradient zero, where none is."""
    if present is not None:
        scores = jnp.where(present, scores, -1e30)
    exponentials = jnp.exp(scores - jnp.max(scores, axis=-2, keepdims=True))
    if present is not None:
        exponentials = jnp.where(present, exponentials, 0)
    return exponentials / jnp.maximum(jnp.sum(exponentials, axis=-2, keepdims=True), 1e-30)


def _softmax_forward(scores, present):
    weights = masked_softmax(scores, present)
    return weights, weights


def _softmax_backward(weights, gradient):
    inner = weights * gradient
    return inner - weights * jnp.sum(inner, axis=-2, keepdims=True), None


masked_softmax.defvjp(_softmax_forward, _softmax_backward)


class SelfAttention(nnx.Module):
    """Scaled dot-product self-attention of several heads (Vaswani et al. 2017, section 3.2)."""

    def __init__(
        self, hidden_size: int, heads: int, *, causal: bool = False, dropout: float = 0.0,
        dtype: Any = jnp.float32, rngs: nnx.Rngs,
    ):  # fmt: skip
        if heads < 1 or hidden_size % heads:
            raise ValueError(f"hidden_size {hidden_size} must be a multiple of heads {heads}")
        self.qkv = Linear(hidden_size, 3 * hidden_size, dtype=dtype, rngs=rngs)
        self.out = Linear(hidden_size, hidden_size, dtype=dtype, rngs=rngs)
        self.heads = heads
        self.causal = causal
        self.dropout = dropout
        self.vector_size = hidden_size

    def __call__(
        self, x: jax.Array, mask: jax.Array | None = None, rotary: Rotary | None = None, key: jax.Array | None = None
    ) -> jax.Array:
        """Attends from each place of `x [B, L, D]` to those whose `mask [B, L]` is true (None: all), none later if causal.

        A mask `[B, L, L]` says for each place (second axis) which places (third axis) it attends to.
        `rotary` turns queries and keys: (cosines, sines), each `[L, D / heads / 2]`. A place that may attend to nothing
        gets the output of a zero vector, and gives no gradient to any place.
        """
        (batch, length, size), heads = x.shape, self.heads
        qkv = self.qkv(x).reshape(batch, length, 3, heads, size // heads).transpose(2, 0, 3, 1, 4)
        q, k, v = qkv.reshape(3, batch * heads, length, size // heads)
        if rotary is not None:
            cosine, sine = rotary
            q, k = rotate(q, cosine, sine), rotate(k, cosine, sine)
        # Scores stand with the keys in rows: of the products, and of their derivatives, most are then laid out as stored.
        scores = dot(k, q * (size // heads) ** -0.5).astype(jnp.float32)
        present = None
        if mask is not None:
            keys_first = mask[:, None, :, None] if mask.ndim == 2 else jnp.swapaxes(mask, 1, 2)[:, None]
            present = jnp.broadcast_to(keys_first, (batch, heads, length, length)).reshape(scores.shape)
        if self.causal:
            earlier = jnp.asarray(np.triu(np.ones((1, length, length), bool)))
            present = earlier if present is None else present & earlier
        weights = dropout(masked_softmax(scores, present).astype(v.dtype), self.dropout, key)
        mixed = weighted_sums(weights, v).reshape(batch, heads, length, size // heads)
        return self.out(mixed.transpose(0, 2, 1, 3).reshape(batch, length, size))


class Block(nnx.Module):
    """A layer of a Transformer: attention and a two-layer network, each with a residual connection.

    `norm="post"` normalises after adding (Vaswani et al. 2017; BERT), `"pre"` before each part (ViT).
    """

    def __init__(
        self, hidden_size: int, heads: int, mlp_size: int, *, norm: str = "pre", activation: str = "gelu",
        dropout: float = 0.0, causal: bool = False, epsilon: float = 1e-6, dtype: Any = jnp.float32, rngs: nnx.Rngs,
    ):  # fmt: skip
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and less than 1, not {dropout}")
        self.pre = chosen("norm", norm, ("post", "pre")) == "pre"
        self.activation = chosen("activation", activation, ACTIVATIONS)
        self.attention = SelfAttention(
            hidden_size, heads, causal=causal, dropout=dropout, dtype=dtype, rngs=rngs
        )  # fmt: skip
        self.norm1 = LayerNorm(hidden_size, epsilon=epsilon, dtype=dtype)
        self.norm2 = LayerNorm(hidden_size, epsilon=epsilon, dtype=dtype)
        self.up = Linear(hidden_size, mlp_size, dtype=dtype, rngs=rngs)
        self.down = Linear(mlp_size, hidden_size, dtype=dtype, rngs=rngs)
        self.dropout = dropout
        self.vector_size = hidden_size

    def __call__(
        self, x: jax.Array, mask: jax.Array | None = None, rotary: Rotary | None = None, key: jax.Array | None = None
    ) -> jax.Array:
        """`[B, L, D] -> [B, L, D]`; the arguments are those of `SelfAttention`."""
        keys = (None, None, None) if key is None else tuple(jax.random.split(key, 3))
        attended = self.attention(self.norm1(x) if self.pre else x, mask, rotary, keys[0])
        x = x + dropout(attended, self.dropout, keys[1])
        x = x if self.pre else self.norm1(x)
        widened = ACTIVATIONS[self.activation](self.up(self.norm2(x) if self.pre else x))
        x = x + dropout(self.down(widened), self.dropout, keys[2])
        return x if self.pre else self.norm2(x)
