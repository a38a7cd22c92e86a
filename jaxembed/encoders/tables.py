"""The models behind word vectors as Flax modules: two tables and a score. The engine takes its tables from here."""

import jax
import jax.numpy as jnp
from flax import nnx


class SkipGramModel(nnx.Module):
    """A word's vector where it is the centre, and another where it is a neighbour (Mikolov et al. 2013b)."""

    def __init__(self, words: int, vector_size: int, *, key: jax.Array):
        # word2vec's start: centres uniform in +-1 / (2 d), neighbours zero.
        start = jax.random.uniform(key, (words, vector_size), minval=-0.5, maxval=0.5) / vector_size
        self.centres = table(start)
        self.contexts = table(jnp.zeros_like(start))

    def __call__(self, centres: jax.Array, contexts: jax.Array) -> jax.Array:
        """The logit of a centre and a neighbour, ids `[...]`, being a pair of the text and none of chance."""
        return jnp.sum(self.centres(centres) * self.contexts(contexts), -1)


class GloVeModel(nnx.Module):
    """A vector and a bias of each word, as a word and as a context (Pennington et al. 2014)."""

    def __init__(self, words: int, vector_size: int, *, key: jax.Array, biases: jax.Array | None = None):
        # The reference's start: everything uniform in +-0.5 / d, the biases too unless they are given.
        of_word, of_context = (
            jax.random.uniform(one, (words, vector_size + 1), minval=-0.5, maxval=0.5) / vector_size
            for one in jax.random.split(key)
        )
        self.words, self.contexts = table(of_word[:, :-1]), table(of_context[:, :-1])
        self.word_biases = nnx.Param(of_word[:, -1] if biases is None else biases)
        self.context_biases = nnx.Param(of_context[:, -1] if biases is None else biases)

    def __call__(self, centres: jax.Array, contexts: jax.Array) -> jax.Array:
        """What is to be the logarithm of the count of a word with a context, ids `[...]`."""
        scores = jnp.sum(self.words(centres) * self.contexts(contexts), -1)
        return scores + self.word_biases[centres] + self.context_biases[contexts]


def table(values: jax.Array) -> nnx.Embed:
    """Rows `[n, d]` as a Flax module: called with ids, it gives their rows; `attend` gives the dot products with all."""
    return nnx.Embed(*values.shape, embedding_init=lambda key, shape, dtype: values, rngs=nnx.Rngs(0))
