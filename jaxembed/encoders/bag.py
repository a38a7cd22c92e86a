"""A bag of words: the weighted mean of token vectors."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxembed.encoders.attention import EMBEDDING, dropout, dropout_key, looked_up
from jaxembed.ranges import Count, ShareBelowOne
from jaxembed.scores import normalized


class Bag(nnx.Module):
    """Texts to vectors: the mean of their tokens' vectors, each with a learned weight; any order, any number of tokens."""

    def __init__(
        self,
        vocab_size: Count,  # Tokens that there are.
        hidden_size: Count = 256,  # Dimension of the vectors.
        dropout: ShareBelowOne = 0.0,  # Share of a text's tokens that are left out in training.
        normalize: bool = False,  # Scale the vectors of texts to length 1.
        *,
        dtype: Any = jnp.float32,  # Of the computation; parameters are float32.
        rngs: nnx.Rngs,
    ):
        self.token_embedding = nnx.Param(EMBEDDING(rngs.params(), (vocab_size, hidden_size), jnp.float32))
        self.token_weight = nnx.Param(jnp.zeros(vocab_size, jnp.float32))  # as logarithms, which keeps weights positive
        self.vector_size = hidden_size
        self.normalize = normalize
        self.dropout = dropout
        self.dtype = dtype

    def __call__(
        self, ids: jax.Array, mask: jax.Array | None = None, *, train: bool = False, rngs: nnx.Rngs | None = None
    ) -> jax.Array:
        """A vector per text, `[B, hidden_size]`; zero for a text without tokens.

        ids: `[B, L]` integers; one outside the vocabulary gives NaN. mask: `[B, L]`, true for tokens (None: ids != 0).
        rngs: whose stream "dropout" is used where `train` is true.
        """
        if ids.ndim != 2:
            raise ValueError(f"ids must be [texts, tokens], not of shape {ids.shape}")
        mask = ids != 0 if mask is None else mask
        weights = jnp.where(mask, jnp.exp(looked_up(self.token_weight[...], ids)), 0)
        weights = dropout(weights, self.dropout, dropout_key(self.dropout, train, rngs))
        weights /= jnp.maximum(jnp.sum(weights, axis=1, keepdims=True), 1e-30)
        x = looked_up(self.token_embedding[...], ids).astype(self.dtype)
        x = jnp.sum(x * weights[..., None].astype(self.dtype), axis=1)
        return normalized(x) if self.normalize else x
