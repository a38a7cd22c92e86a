"""How well a language model predicts a stream of tokens that it was not trained on."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.data.streams import TokenStream
from jaxembed.methods.language import Judged, LanguageModel
from jaxembed.sampling.random import key_of
from jaxembed.training.method import Params

_HIDDEN = 0x51DE  # the seed by which tokens are hidden: the same ones for every model and after every pass
_HOW = {"share": 0.15, "as_mask": 0.8, "as_random": 0.1}


@dataclass(frozen=True)
class Prediction:
    """What was predicted: the sum of minus the log-probabilities, how many tokens, and how many were the most likely ones.

    pairs, right: how many pairs of pieces of texts there were, and of how many the model told rightly whether the second follows.
    """

    loss: float
    tokens: float
    hits: float
    pairs: float = 0.0
    right: float = 0.0

    @property
    def log_likelihood(self) -> float:
        """The mean log-probability of a token, in nats."""
        return -self.loss / self.tokens

    @property
    def accuracy(self) -> float:
        """The share of tokens to which the model gave the highest probability."""
        return self.hits / self.tokens

    @property
    def pair_accuracy(self) -> float | None:
        """The share of pairs of which the model told rightly whether the second piece follows; None without pairs."""
        return self.right / self.pairs if self.pairs else None

    def perplexity(self, units: float | None = None) -> float:
        """The exponential of the mean loss, of a token, or of another unit of which the stream has `units`."""
        return math.exp(min(self.loss / (units or self.tokens), 700.0))


def windows(n: int, length: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns where windows of `length + 1` of `n` tokens begin, and how many of their last tokens no earlier one has predicted.

    They begin `stride` tokens apart, the last one where it ends with the stream, so that every token but the first is predicted
    once, by at least `length - stride` tokens before it (and those of the first window by all there are).
    """
    last = n - 1 - length
    starts = np.unique([*range(0, last, stride), last])
    return starts, np.diff(starts, prepend=starts[0] - length)


def predict(method: LanguageModel, params: Params, stream: TokenStream, stride: int = 0) -> Prediction:
    """Predicts every token of a stream by those before it; or, with a masked model, the tokens that are hidden.

    A causal model predicts in windows, `stride` tokens apart (0: they do not overlap). The rows of a masked model do not overlap.
    Of each, 15% are hidden as in Devlin et al. 2019, the same ones for all models with rows of this length, whatever share is
    hidden in training and however many rows a batch has; a model that is trained on pairs reads pairs. Raises ValueError for
    fewer than two tokens, and for one outside the model's vocabulary.
    """
    if len(stream.tokens) < 2:
        raise ValueError("there is nothing to predict: give a text of two tokens or more")
    if int(stream.tokens.max()) >= method.encoder["vocab_size"]:
        raise ValueError(
            f"a token has the id {stream.tokens.max()}, outside the model's vocabulary of {method.encoder['vocab_size']:,}: read "
            "the text with the tokenizer of the model"
        )
    params = jax.device_put(params)
    parts = _causal(method, params, stream, stride) if method.causal else _masked(method, params, stream)
    found = Prediction(*np.array([jax.device_get(part) for part in parts], np.float64).sum(0).tolist())
    if not found.tokens:
        raise ValueError("there is nothing to predict: the texts hold no token but their ends")
    return found


def _causal(method: Any, params: Params, stream: TokenStream, stride: int) -> Iterator[Any]:
    length = min(method.length, len(stream.tokens) - 1)
    starts, fresh = windows(len(stream.tokens), length, min(stride or length, length))
    # The first window counts all of its tokens, the others at most the `stride` last ones: only these need scores.
    for some, last in ((slice(0, 1), length), (slice(1, None), int(fresh[1:].max(initial=1)))):
        for begin, count in _batches(method.batch_size, starts[some], fresh[some]):
            ids = np.asarray(stream.tokens[begin[:, None] + np.arange(length + 1)], np.int32)
            yield _of_windows(method, last, params, ids, count)


def _masked(method: Any, params: Params, stream: TokenStream) -> Iterator[Any]:
    method, length = replace(method, **_HOW), min(method.length, len(stream.tokens))
    rows = len(stream.tokens) // length
    read = lambda rows: np.asarray(stream.tokens[rows[:, None] * length + np.arange(length)], np.int32)
    for numbers, count in _batches(method.batch_size, np.arange(rows), np.ones(rows, np.int64)):
        others = read((numbers + max(1, rows // 2)) % rows) if method.pairs else None
        yield _of_rows(method, params, read(numbers), others, count, numbers.astype(np.uint32))


def _batches(size: int, starts: np.ndarray, counts: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields batches of one size, the last filled up with rows that count nothing."""
    size = min(size, max(len(starts), 1))
    for at in range(0, len(starts), size):
        begin, count = starts[at : at + size], counts[at : at + size]
        yield np.resize(begin, size), np.pad(count, (0, size - len(count)))


@partial(jax.jit, static_argnums=(0, 1))
def _of_windows(method: Any, last: int, params: Params, ids: jax.Array, count: jax.Array) -> jax.Array:
    found = method.judged(params, ids, last)
    return _sums(found._replace(weight=found.weight * (jnp.arange(last)[None] >= last - count[:, None])))


@partial(jax.jit, static_argnums=0)
def _of_rows(
    method: Any, params: Params, ids: jax.Array, others: Any, count: jax.Array, numbers: jax.Array
) -> jax.Array:
    keys = jax.vmap(partial(jax.random.fold_in, key_of(_HIDDEN)))(numbers)
    found = method.judged(params, ids, keys, others)
    pairs = None if found.pairs is None else found.pairs * count
    return _sums(found._replace(weight=found.weight * count[:, None], pairs=pairs))


def _sums(found: Judged) -> jax.Array:
    """The numbers of a Prediction."""
    sums = [found.weight * found.loss, found.weight, found.weight * found.first]
    if found.right is not None and found.pairs is not None:
        sums += [found.pairs, found.pairs * found.right]
    return jnp.stack([jnp.sum(one) for one in sums])
