"""What stands between a Transformer and the words that it predicts."""

from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxembed.encoders.attention import ACTIVATIONS, EMBEDDING, LayerNorm, Linear, chosen
from jaxembed.ranges import Count


class Words(nnx.Module):
    """The output of a language model, whose vectors of words are those that the model reads them with (Press and Wolf 2017).

    A call gives vectors to compare with these; the rest is `bias`, a number for each word, and for the adaptive softmax the
    vectors of its `clusters` and, for each cluster, a map to fewer columns (`lowers`) and the vectors of its words (`tails`).
    """

    def __init__(
        self,
        vocab_size: Count,  # Number of words.
        hidden_size: Count = 256,  # Width of the Transformer.
        size: Count | None = None,  # Width of the words' vectors, if it is not hidden_size.
        transform: bool = False,  # A layer with an activation and a norm comes first, as in BERT.
        activation: str = "gelu",  # Activation of that layer.
        cutoffs: tuple[Count, ...] = (),  # Numbers of words, the most frequent, at which the adaptive softmax cuts.
        shrink: Count = 4,  # Each cluster's vectors have so many times fewer columns than those before.
        pairs: bool = False,  # Also tell whether a text follows another.
        *,
        dtype: Any = jnp.float32,  # Type of the computation; parameters are float32.
        remat: bool = False,  # Has no effect.
        rngs: nnx.Rngs,
    ):
        size = size or hidden_size
        self.activation = chosen("activation", activation, ACTIVATIONS)
        maps = transform or size != hidden_size
        self.lower = Linear(hidden_size, size, dtype=dtype, rngs=rngs) if maps else None
        self.norm = LayerNorm(size, epsilon=1e-12, dtype=dtype) if transform else None
        self.bias = nnx.Param(jnp.zeros(vocab_size, jnp.float32))
        table = lambda rows, columns: nnx.Param(EMBEDDING(rngs.params(), (rows, columns), jnp.float32))
        widths = [max(1, size // shrink ** (i + 1)) for i in range(len(cutoffs))]
        self.clusters = table(len(cutoffs), size) if cutoffs else None
        self.lowers = nnx.List([Linear(size, width, bias=False, dtype=dtype, rngs=rngs) for width in widths])
        self.tails = nnx.List([
            table(end - begin, width) for (begin, end), width in zip(pairwise((*cutoffs, vocab_size)), widths, strict=True)
        ] if cutoffs else [])  # fmt: skip
        self.follows = Linear(hidden_size, 2, dtype=dtype, rngs=rngs) if pairs else None
        self.vector_size = size
        self.dtype = dtype

    def __call__(self, x: jax.Array, *, train: bool = False, rngs: nnx.Rngs | None = None) -> jax.Array:
        """`[n, hidden_size] -> [n, size]`."""
        x = x if self.lower is None else self.lower(x)
        return x if self.norm is None else self.norm(ACTIVATIONS[self.activation](x))

    def follow(self, x: jax.Array, *, train: bool = False, rngs: nnx.Rngs | None = None) -> jax.Array:
        """Scores of "does not follow" and "follows", float32 `[n, 2]`, of the vectors of texts' first places."""
        if self.follows is None:
            raise ValueError("this output predicts no pairs: build it with pairs=True")
        return self.follows(x).astype(jnp.float32)
