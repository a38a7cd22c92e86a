"""A Transformer over token ids, with BERT's input embedding."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from jaxembed.encoders.attention import EMBEDDING, Block, LayerNorm, Linear, chosen, dropout, dropout_key, looked_up
from jaxembed.encoders.positions import rotary, sinusoidal
from jaxembed.ranges import Count, CountOrZero, Positive, ShareBelowOne
from jaxembed.scores import normalized


class Transformer(nnx.Module):
    """Texts to vectors: token + segment + position, layer norm, dropout, then `depth` layers (Devlin et al. 2019).

    Raises ValueError for a setting that is none of its choices.
    """

    def __init__(
        self,
        vocab_size: Count,  # Tokens that there are.
        hidden_size: Count = 256,  # Width, and dimension of the vectors.
        depth: CountOrZero = 4,  # Layers; 0 is a bag of words.
        heads: Count = 4,  # Of attention.
        mlp_size: Count | None = None,  # Width inside a layer; by default 4 x hidden_size.
        max_length: Count = 64,  # Tokens of a text at most.
        segments: CountOrZero = 2,  # Kinds of segment; 0 for none.
        dropout: ShareBelowOne = 0.1,  # Share of activations that are left out in training.
        causal: bool = False,  # A token sees only those before it.
        # The mean over a text's tokens, the same with a learned weight for each word of the vocabulary, the text's first
        # place, or its last token.
        pooling: Literal["mean", "weighted", "cls", "last"] = "mean",
        # How a token knows its place: a learned vector, fixed waves, or rotations of queries and keys (Su et al. 2021).
        positions: Literal["learned", "sinusoidal", "rotary", "none"] = "learned",
        norm: Literal["post", "pre"] = "post",  # As BERT, or before each part of a layer and once more at the end.
        activation: str = "gelu",  # Inside a layer: gelu, gelu_tanh, quick_gelu (CLIP's) or relu.
        token_dim: Count | None = None,  # Width of token vectors where it is not hidden_size; a linear map lifts them.
        embedding_norm: bool = True,  # Normalise what enters the first layer, as BERT does and GPT-2 does not.
        epsilon: Positive = 1e-12,  # What layer norms add to the variance.
        normalize: bool = False,  # Scale the vectors of texts to length 1.
        *,
        dtype: Any = jnp.float32,  # Of the computation; parameters are float32.
        remat: bool = False,  # Layers are computed again in the backward pass, which takes less memory.
        rngs: nnx.Rngs,
    ):
        self.pooling = chosen("pooling", pooling, ("mean", "weighted", "cls", "last"))
        self.positions = chosen("positions", positions, ("learned", "sinusoidal", "rotary", "none"))
        if vocab_size < 1 or max_length < 1 or depth < 0:
            raise ValueError("vocab_size and max_length must be at least 1, and depth 0 (a bag of words) or more")
        if positions == "sinusoidal":
            sinusoidal(1, hidden_size)  # raises for a width that it cannot have
        if positions == "rotary":
            rotary(1, hidden_size // heads)
        table = lambda rows, size: nnx.Param(EMBEDDING(rngs.params(), (rows, size), jnp.float32))
        self.token_embedding = table(vocab_size, token_dim or hidden_size)
        # The layer norm below gives every token the same length, so its vector alone cannot say how much it counts. Weights
        # are kept as logarithms, which keeps them positive.
        self.token_weight = nnx.Param(jnp.zeros(vocab_size, jnp.float32)) if pooling == "weighted" else None
        self.lift = Linear(token_dim, hidden_size, dtype=dtype, rngs=rngs) if token_dim else None
        self.segment_embedding = table(segments, hidden_size) if segments else None
        self.position_embedding = table(max_length, hidden_size) if positions == "learned" else None
        self.embedding_norm = LayerNorm(hidden_size, epsilon=epsilon, dtype=dtype) if embedding_norm else None
        self.blocks = nnx.List([
            Block(
                hidden_size, heads, mlp_size or 4 * hidden_size, norm=norm, activation=activation, dropout=dropout,
                causal=causal, epsilon=epsilon, dtype=dtype, rngs=rngs,
            )
            for _ in range(depth)
        ])  # fmt: skip
        self.final_norm = LayerNorm(hidden_size, epsilon=epsilon, dtype=dtype) if norm == "pre" else None
        self.vector_size = hidden_size
        self.max_length = max_length
        self.normalize = normalize
        self.head_size = hidden_size // heads
        self.dropout = dropout
        self.dtype = dtype
        self.remat = remat

    def __call__(
        self, ids: jax.Array, mask: jax.Array | None = None, segments: jax.Array | None = None, *,
        train: bool = False, rngs: nnx.Rngs | None = None,
    ) -> jax.Array:  # fmt: skip
        """A vector a text, `[B, hidden_size]`; the arguments are those of `sequence`.

        A text without tokens (its mask is all false) gets a zero vector from every pooling but "cls".
        """
        mask = ids != 0 if mask is None else mask
        x = self._pooled(self.sequence(ids, mask, segments, train=train, rngs=rngs), ids, mask)
        return normalized(x) if self.normalize else x

    def _pooled(self, x: jax.Array, ids: jax.Array, mask: jax.Array) -> jax.Array:
        if self.pooling == "cls":
            return x[:, 0]
        if self.pooling == "last":
            later = jnp.cumsum(mask[:, ::-1], axis=1)[:, ::-1] - mask
            weights = jnp.where(mask & (later == 0), 1.0, 0.0)
        elif self.token_weight is not None:
            weights = mask * jnp.exp(looked_up(self.token_weight[...], ids))
            weights /= jnp.maximum(jnp.sum(weights, axis=1, keepdims=True), 1e-30)
        else:
            weights = mask / jnp.maximum(jnp.sum(mask, axis=1, keepdims=True), 1)
        return jnp.sum(x * weights[..., None].astype(x.dtype), axis=1)

    def sequence(
        self, ids: jax.Array, mask: jax.Array | None = None, segments: jax.Array | None = None, *,
        documents: jax.Array | None = None, train: bool = False, rngs: nnx.Rngs | None = None,
    ) -> jax.Array:  # fmt: skip
        """A vector a token, `[B, L, hidden_size]`; those of padding mean nothing.

        ids: `[B, L]` integers; one outside the vocabulary gives NaN. mask: `[B, L]`, true for tokens (None: ids != 0).
        segments: `[B, L]` integers (None: all 0). documents: `[B, L]`, ascending numbers of the documents that share a row
        (None: a row is one): a token sees those of its own document alone, whose places count from 0. rngs: whose stream
        "dropout" is used where `train` is true. Raises ValueError for texts longer than `max_length`, and for segments given
        to a model that has none.
        """
        if ids.ndim != 2:
            raise ValueError(f"ids must be [texts, tokens], not of shape {ids.shape}")
        if ids.shape[1] > self.max_length:
            raise ValueError(
                f"texts of {ids.shape[1]} tokens are longer than max_length {self.max_length}: truncate them, or build "
                "the Transformer with a larger max_length"
            )
        if segments is not None and self.segment_embedding is None:
            raise ValueError("segments were given to a Transformer without any: build it with segments=2")
        mask = ids != 0 if mask is None else mask
        key = dropout_key(self.dropout, train, rngs)
        keys = [None] * (len(self.blocks) + 1) if key is None else jax.random.split(key, len(self.blocks) + 1)
        if documents is not None:
            mask = mask[:, None, :] & (documents[:, :, None] == documents[:, None, :])
        x = dropout(self._embedded(ids, segments, documents), self.dropout, keys[0])
        # Rotations count from the row's start even inside a later document: only differences of places matter.
        turns = rotary(ids.shape[1], self.head_size) if self.positions == "rotary" else None
        for block, key in zip(self.blocks, keys[1:], strict=True):
            x = (
                nnx.remat(Block.__call__, graph_updates=False)(block, x, mask, turns, key)
                if self.remat
                else block(x, mask, turns, key)
            )
        return x if self.final_norm is None else self.final_norm(x)

    def _embedded(self, ids: jax.Array, segments: jax.Array | None, documents: jax.Array | None) -> jax.Array:
        length = ids.shape[1]
        x = looked_up(self.token_embedding[...], ids)
        if self.lift is not None:
            x = self.lift(x).astype(jnp.float32)
        if self.segment_embedding is not None:
            table = self.segment_embedding[...]
            x = x + (table[0][None, None] if segments is None else looked_up(table, segments))
        codes = None if self.position_embedding is None else self.position_embedding[...][:length]
        codes = sinusoidal(length, self.vector_size) if self.positions == "sinusoidal" else codes
        if codes is not None:
            x = x + (codes[None] if documents is None else jnp.asarray(codes)[places(documents)])
        return x.astype(self.dtype) if self.embedding_norm is None else self.embedding_norm(x)


def places(documents: jax.Array) -> jax.Array:
    """The place of each token in its document, from 0: int32 `[B, L]`, for ascending numbers of documents `[B, L]`."""
    place = jnp.broadcast_to(jnp.arange(documents.shape[1], dtype=jnp.int32), documents.shape)
    begins = documents != jnp.pad(documents, ((0, 0), (1, 0)), mode="edge")[:, :-1]
    return place - jax.lax.cummax(jnp.where(begins, place, 0), axis=1)
