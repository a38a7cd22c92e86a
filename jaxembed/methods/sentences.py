"""SimCSE: a sentence is matched with another of the same meaning among the sentences of the batch (Gao et al. 2021)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.encoders.functional import Encoder, encoder
from jaxembed.methods.dense import EncoderMethod, Fixed, named_objective, summed
from jaxembed.objectives import InfoNCE
from jaxembed.objectives.in_batch import Same, contrast
from jaxembed.ranges import Count, CountOrZero, NotNegative, Range, Share
from jaxembed.scores import normalized
from jaxembed.training.method import Batch, Loss, Params, Source

if TYPE_CHECKING:
    from jaxembed.data.tokenized import TokenGroups


@dataclass(frozen=True)
class SimCSE(EncoderMethod):
    """SimCSE: sentences of a group are positives of each other; a single sentence is its own positive, with other dropout.

    Hard negatives, if the data have them, join the candidates of all anchors.
    """

    encoder: Encoder = field(
        default_factory=lambda: encoder("transformer")
    )  # Encoder of the sentences; its vocabulary and length come from the data.
    # Any pairwise objective over cosines, or its name, which sets the temperature .05 if the objective has one.
    objective: Any = field(default_factory=lambda: InfoNCE(temperature=0.05))
    # Widths of a head that is trained with the encoder and then left out; () for none.
    projection: tuple[Count, ...] = ()
    chunk: CountOrZero = 0  # Number of anchors that are compared at a time, for large batches; 0 compares all at once.

    traced: ClassVar[tuple[str, ...]] = ("objective.temperature",)

    def __post_init__(self):
        super().__post_init__()
        if isinstance(self.objective, str):
            object.__setattr__(self, "objective", named_objective(self.objective, 0.05))

    def suited_to(self, data: "TokenGroups") -> Self:
        """Adapts the encoder to the vocabulary and length of the sentences, with batches no larger than the data."""
        length = max(data.ids.shape[-1], data.max_length)
        if "max_length" in self.encoder:
            length = max(length, self.encoder["max_length"])
        return replace(super().suited_to(data), encoder=self.for_texts(self.encoder, data.vocabulary_size, length))

    def examples(self, data: "TokenGroups") -> dict[str, np.ndarray]:
        """Returns the token ids of each group's sentences `[n, g, l]`, their number `[n]`, and an id for each `[n, g]`.

        If there are hard negatives, their token ids `[n, l]` and ids `[n]` follow. Equal sentences have equal ids.
        """
        columns = {"ids": data.ids, "sizes": data.sizes, "texts": data.texts}
        if data.negatives is None:
            return columns
        unlike = np.full(len(data.negatives), -1, np.int32)
        numbers = unlike if data.negative_texts is None else data.negative_texts
        return {**columns, "negatives": data.negatives, "negative_texts": numbers}

    def nets(self) -> dict[str, Encoder]:
        """Returns the encoder, and the head if there is one."""
        if not self.projection:
            return {"encoder": self.encoder}
        head = encoder("head", sizes=(self.encoder.vector_size, *self.projection), norm="none")
        return {"encoder": self.encoder, "head": head}

    def init(self, key: jax.Array, constants: Mapping[str, Any]) -> Params:
        """Starts with fresh parameters; vectors and weights of tokens come from the data, if these have some."""
        params = super().init(key, constants)
        net = params.net["encoder"]
        for name, given in (("token_embedding", "start"), ("token_weight", "weights")):
            if given in constants and name in net:
                net[name] = with_rows(net[name], constants[given])
        return params

    def source(self, data: "TokenGroups") -> Source:
        """Like DenseMethod's, with the initial vectors and weights of tokens, and the tokens that are not part of a sentence."""
        source = super().source(data)
        if data.start is None:
            return source
        given = {"start": data.start, "special": np.asarray(data.special, np.int32)}
        given |= {} if data.weights is None else {"weights": data.weights}
        return replace(source, constants={**source.constants, **given})

    def encode(self, net: Any, kept: Any, examples: Any) -> jax.Array:
        """Returns the encoder's output for sentences, or for the first of each group; texts that are too long for it are cut."""
        return self.run("encoder", net, kept, _sentences(examples)[:, : self.encoder.longest])[0]

    def loss(self, rows, net: Any, kept: Any, batch: Batch, key: jax.Array) -> Loss:
        """Returns the mean loss over the groups of the batch, from the first of two sentences to the second and back."""
        choose, drop = jax.random.split(key)
        n = len(batch["ids"])
        # Two different members of each group: a place, and another some steps on, round the group's end. A group of one
        # has nowhere to go and meets itself; dropout, which is drawn for each row, then makes the two views (unsupervised
        # SimCSE). Products of uniform numbers and sizes serve groups of all sizes in one shape.
        first, step = jax.random.uniform(choose, (2, n))
        sizes = batch["sizes"]
        one = jnp.minimum((first * sizes).astype(jnp.int32), sizes - 1)
        other = (one + 1 + jnp.minimum((step * (sizes - 1)).astype(jnp.int32), jnp.maximum(sizes - 2, 0))) % sizes
        place = jnp.arange(n)
        ids = jnp.concatenate([batch["ids"][place, one], batch["ids"][place, other]])
        texts = jnp.concatenate([batch["texts"][place, one], batch["texts"][place, other]])
        if "negatives" in batch:
            ids = jnp.concatenate([ids, batch["negatives"]])
        z, of_encoder = self.encoded("encoder", net, kept, ids, drop)
        kept = {**kept, "encoder": of_encoder}
        if self.projection:
            z, kept["head"] = self.run("head", net, kept, z, train=True)
        # One pass of the encoder made all rows: `n` of either side and then the hard negatives, which are candidates of
        # every anchor. Sentences of equal token ids are one to the encoder, so they are no negatives of each other (`alike`).
        # Both directions count, for a member is an anchor as good as the other.
        texts, hard = jnp.split(texts, 2), batch.get("negative_texts", jnp.zeros(0, jnp.int32))
        both = [
            contrast(
                self.objective,
                one,
                jnp.concatenate([other, z[2 * n :]]),
                alike=Same(own, jnp.concatenate([their, hard])),
                chunk=self.chunk,
            )
            for one, other, own, their in ((z[:n], z[n : 2 * n], *texts), (z[n : 2 * n], z[:n], *texts[::-1]))
        ]
        return summed(jnp.mean(jnp.stack(both)), n, kept)


@dataclass(frozen=True)
class SimCSEUnsupervised(SimCSE):
    """SimCSE without pairs: each sentence is its own positive, with other dropout (Gao et al. 2021)."""

    def examples(self, data: "TokenGroups") -> dict[str, np.ndarray]:
        """Returns the token ids of each sentence `[n, 1, l]`."""
        there = np.arange(data.ids.shape[1]) < data.sizes[:, None]
        ids, texts = data.ids[there][:, None], data.texts[there][:, None]
        return {"ids": ids, "sizes": np.ones(len(ids), np.int32), "texts": texts}


def _sentences(examples: Any) -> jax.Array:
    """Returns the ids of sentences `[b, l]`; of groups `[b, g, l]`, those of the first sentence of each."""
    ids = examples["ids"]
    return ids[:, 0] if ids.ndim == 3 else ids


def with_rows(embedding: Any, start: jax.Array) -> Any:
    """Returns a token embedding with the values `start`, whatever its only array is called."""
    if not isinstance(embedding, dict):
        if embedding.shape != start.shape:
            raise ValueError(
                f"the token vectors to start from have the shape {start.shape}, but those of the encoder {embedding.shape}"
            )
        return jnp.asarray(start, embedding.dtype)
    ((name, value),) = embedding.items()
    return {name: with_rows(value, start)}


@dataclass(frozen=True)
class UntrainedSentences(Fixed, SimCSE):
    """The encoder with its initial weights."""


@dataclass(frozen=True)
class AveragedTokens(UntrainedSentences):
    """The mean of the token vectors that the data start from, without an encoder."""

    def nets(self) -> dict[str, Encoder]:
        """Returns no nets."""
        return {}

    def init(self, key: jax.Array, constants: Mapping[str, Any]) -> Params:
        """Starts with the token vectors of the data. Raises ValueError if there are none."""
        if "start" not in constants:
            raise ValueError(
                "there are no token vectors to average: give the task a start (do not pass --no-task.start)"
            )
        counted = jnp.ones(len(constants["start"]), bool).at[constants["special"]].set(False)
        return Params({}, {"tokens": jnp.asarray(constants["start"])}, {"counted": counted})

    def encode(self, net: Any, kept: Any, examples: Any) -> jax.Array:
        """Returns the mean over the tokens that are words or parts of words, `[b, d]`."""
        ids = _sentences(examples)
        mask = kept["counted"][ids][..., None]
        return jnp.sum(net["tokens"][ids] * mask, 1) / jnp.maximum(jnp.sum(mask, 1), 1)


@dataclass(frozen=True)
class TfIdf(UntrainedSentences):
    """TF-IDF: tokens are weighted by their frequency in the sentence and their rarity among the judged sentences.

    Inverse frequencies are scikit-learn's, `log((1 + n) / (1 + df)) + 1`, over the n sentences that vectors are judged
    by.
    """

    # Dimension of the vectors. The most frequent tokens have one column each, and the tokens for which no column is left share
    # the last quarter of the columns.
    columns: Annotated[int, Range(least=4)] = 2048

    def nets(self) -> dict[str, Encoder]:
        """Returns no nets."""
        return {}

    def inverse(self, n: int, having: np.ndarray) -> np.ndarray:
        """Returns the weights of tokens that occur in `having` of `n` sentences."""
        return np.log((1 + n) / (1 + having)) + 1

    def source(self, data: "TokenGroups") -> Source:
        """Like DenseMethod's, with the weight of each token, its column, and the mean number of tokens."""
        if data.judged is None:
            raise ValueError(f"{type(self).__name__} is fitted to the judged sentences, but these data have none")
        real = ~np.isin(data.judged, data.special)
        # a token counts once per sentence
        tokens = np.unique(np.stack([np.nonzero(real)[0], data.judged[real]]), axis=1)[1]
        having = np.bincount(tokens, minlength=data.vocabulary_size)
        counts = self.inverse(len(data.judged), having).astype(np.float32)
        counts[list(data.special)] = 0
        rank = np.argsort(np.argsort(-having, kind="stable"))
        alone = self.columns - self.columns // 4 if len(rank) > self.columns else self.columns
        column = np.where(rank < alone, rank, alone + (rank - alone) % max(self.columns - alone, 1)).astype(np.int32)
        fitted = {"counts": counts, "column": column, "length": np.float32(real.sum(1).mean())}
        source = super().source(data)
        return replace(source, constants={**source.constants, "fitted": fitted})

    def init(self, key: jax.Array, constants: Mapping[str, Any]) -> Params:
        """Returns what was fitted."""
        return Params({}, {}, jax.tree.map(jnp.asarray, constants["fitted"]))

    def encode(self, net: Any, kept: Any, examples: Any) -> jax.Array:
        """Returns vectors of length 1, `[b, columns]`."""
        ids = _sentences(examples)
        return normalized(self.spread(kept, ids, kept["counts"][ids]))

    def spread(self, kept: Any, ids: jax.Array, values: jax.Array) -> jax.Array:
        """Adds up values of tokens `[b, l]` by their columns: `[b, columns]`."""
        rows = jnp.arange(len(ids))[:, None]
        return jnp.zeros((len(ids), self.columns), jnp.float32).at[rows, kept["column"][ids]].add(values)


@dataclass(frozen=True)
class BM25(TfIdf):
    """BM25: the cosine of a query with a sentence orders sentences as BM25 does (Robertson et al. 1995).

    Inverse frequencies are Lucene's, `log(1 + (n - df + 1/2) / (df + 1/2))`. A query is a vector of its tokens, and a
    sentence is a vector of the scores of its tokens. One more column gives all sentences the same length, so that
    cosines order them as products do.
    """

    k1: NotNegative = 1.2  # Saturation: the lower, the less does repeating a token count.
    b: Share = 0.75  # Strength of the penalty on long sentences.

    def inverse(self, n: int, having: np.ndarray) -> np.ndarray:
        """Returns the weights of tokens that occur in `having` of `n` sentences."""
        return np.log1p((n - having + 0.5) / (having + 0.5))

    def encode(self, net: Any, kept: Any, examples: Any) -> jax.Array:
        """Returns the scores of sentences, or the tokens of queries where the examples say so, `[b, columns + 1]`."""
        ids = _sentences(examples)
        words = (kept["counts"][ids] > 0).astype(jnp.float32)
        tokens = self.spread(kept, ids, words)
        often = jnp.take_along_axis(tokens, kept["column"][ids], axis=1)
        length = jnp.sum(words, axis=1, keepdims=True) / kept["length"]
        scores = kept["counts"][ids] * (self.k1 + 1) / (often + self.k1 * (1 - self.b + self.b * length))
        found = self.spread(kept, ids, jnp.where(words > 0, scores, 0))
        # No sentence is longer than this that has at most four times the mean number of tokens of those judged.
        most = 2 * (self.k1 + 1) * jnp.max(kept["counts"]) * jnp.sqrt(kept["length"])
        rest = jnp.sqrt(jnp.maximum(most**2 - jnp.sum(found**2, axis=1, keepdims=True), 0))
        query = examples.get("query", jnp.zeros(len(ids), bool))[:, None]
        return jnp.where(query, jnp.pad(tokens, ((0, 0), (0, 1))), jnp.concatenate([found, rest], axis=1))
