"""SimCSE: a sentence must find another of the same meaning among the sentences of the batch (Gao et al. 2021)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.encoders.functional import Encoder, encoder
from jaxembed.methods.dense import DenseMethod, Fixed, named_objective, summed
from jaxembed.objectives import InfoNCE
from jaxembed.objectives.in_batch import Same, contrast
from jaxembed.ranges import Count, CountOrZero, NotNegative, Range, Share
from jaxembed.scores import normalized
from jaxembed.training.method import Batch, Loss, Params, Source

if TYPE_CHECKING:
    from jaxembed.data.tokenized import TokenGroups


@dataclass(frozen=True)
class SimCSE(DenseMethod):
    """Sentences of a group belong together; a group of one meets itself, and only dropout tells the two apart.

    Hard negatives, where the data have them, join the candidates of all anchors.
    """

    encoder: Encoder = field(
        default_factory=lambda: encoder("transformer")
    )  # Its vocabulary and length are the data's.
    # Any pairwise objective over cosines, or the name of one, which then has the temperature .05 if it has any.
    objective: Any = field(default_factory=lambda: InfoNCE(temperature=0.05))
    projection: tuple[Count, ...] = ()  # Widths of a head that is trained and then left out; () for none.
    chunk: CountOrZero = 0  # Anchors compared at a time, for large batches; 0 compares all at once.

    traced: ClassVar[tuple[str, ...]] = ("objective.temperature",)

    def __post_init__(self):
        super().__post_init__()
        if isinstance(self.objective, str):
            object.__setattr__(self, "objective", named_objective(self.objective, 0.05))

    def suited_to(self, data: "TokenGroups") -> Self:
        """The same for this vocabulary and length of sentences, with batches no larger than the data."""
        length = max(data.ids.shape[-1], data.max_length)
        if "max_length" in self.encoder:
            length = max(length, self.encoder["max_length"])
        return replace(super().suited_to(data), encoder=self.encoder.for_texts(data.vocabulary_size, length))

    def examples(self, data: "TokenGroups") -> dict[str, np.ndarray]:
        """Token ids of each group's sentences `[n, g, l]`, how many they are `[n]`, and a number for each `[n, g]`.

        With hard negatives, their token ids `[n, l]` and numbers `[n]` as well. Equal sentences have equal numbers.
        """
        columns = {"ids": data.ids, "sizes": data.sizes, "texts": data.texts}
        if data.negatives is None:
            return columns
        unlike = np.full(len(data.negatives), -1, np.int32)
        numbers = unlike if data.negative_texts is None else data.negative_texts
        return {**columns, "negatives": data.negatives, "negative_texts": numbers}

    def nets(self) -> dict[str, Encoder]:
        """The encoder, and a head if it has one."""
        if not self.projection:
            return {"encoder": self.encoder}
        head = encoder("head", sizes=(self.encoder.vector_size, *self.projection), norm="none")
        return {"encoder": self.encoder, "head": head}

    def init(self, key: jax.Array, constants: Mapping[str, Any]) -> Params:
        """Fresh parameters; vectors and weights of tokens are those that the data start from, where they have some."""
        params = super().init(key, constants)
        net = params.net["encoder"]
        for name, given in (("token_embedding", "start"), ("token_weight", "weights")):
            if given in constants and name in net:
                net[name] = with_rows(net[name], constants[given])
        return params

    def source(self, data: "TokenGroups") -> Source:
        """As DenseMethod's, with vectors and weights of tokens to start from, and which tokens are no part of a sentence."""
        made = super().source(data)
        if data.start is None:
            return made
        given = {"start": data.start, "special": np.asarray(data.special, np.int32)}
        given |= {} if data.weights is None else {"weights": data.weights}
        return replace(made, constants={**made.constants, **given})

    def encode(self, net: Any, kept: Any, examples: Any) -> jax.Array:
        """The encoder's output for sentences, or for the first of groups; of longer ones it sees as much as it takes."""
        return self.run("encoder", net, kept, _sentences(examples)[:, : self.encoder.longest])[0]

    def loss(self, rows, net: Any, kept: Any, batch: Batch, key: jax.Array) -> Loss:
        """Mean loss over the groups of the batch, from the first of two sentences to the second and back."""
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
    """SimCSE without pairs: each sentence is a group of its own, whatever the data's groups, and meets itself."""

    def examples(self, data: "TokenGroups") -> dict[str, np.ndarray]:
        """Token ids of each sentence `[n, 1, l]`."""
        there = np.arange(data.ids.shape[1]) < data.sizes[:, None]
        ids, texts = data.ids[there][:, None], data.texts[there][:, None]
        return {"ids": ids, "sizes": np.ones(len(ids), np.int32), "texts": texts}


def _sentences(examples: Any) -> jax.Array:
    """Ids of sentences `[b, l]`; of groups `[b, g, l]`, the first of each."""
    ids = examples["ids"]
    return ids[:, 0] if ids.ndim == 3 else ids


def with_rows(embedding: Any, start: jax.Array) -> Any:
    """A token embedding, whichever name its only array has, with `start` for its values."""
    if not isinstance(embedding, dict):
        if embedding.shape != start.shape:
            raise ValueError(f"the token vectors to start from are {start.shape}, but the encoder's {embedding.shape}")
        return jnp.asarray(start, embedding.dtype)
    ((name, value),) = embedding.items()
    return {name: with_rows(value, start)}


@dataclass(frozen=True)
class UntrainedSentences(Fixed, SimCSE):
    """The encoder as it starts."""


@dataclass(frozen=True)
class AveragedTokens(UntrainedSentences):
    """No encoder: the mean of the token vectors that the data start from."""

    def nets(self) -> dict[str, Encoder]:
        """None."""
        return {}

    def init(self, key: jax.Array, constants: Mapping[str, Any]) -> Params:
        """The token vectors. Raises ValueError where the data have none."""
        if "start" not in constants:
            raise ValueError("there are no token vectors to average: give the data some to start from")
        counted = jnp.ones(len(constants["start"]), bool).at[constants["special"]].set(False)
        return Params({}, {"tokens": jnp.asarray(constants["start"])}, {"counted": counted})

    def encode(self, net: Any, kept: Any, examples: Any) -> jax.Array:
        """The mean over the tokens that are words or parts of them, `[b, d]`."""
        ids = _sentences(examples)
        mask = kept["counted"][ids][..., None]
        return jnp.sum(net["tokens"][ids] * mask, 1) / jnp.maximum(jnp.sum(mask, 1), 1)


@dataclass(frozen=True)
class TfIdf(UntrainedSentences):
    """No encoder: the tokens of a sentence by their frequency, there and among the sentences that are judged (TF-IDF).

    Inverse frequencies are scikit-learn's, `log((1 + n) / (1 + df)) + 1`, over the n sentences that vectors are judged by.
    """

    # Of the vectors. Tokens have a column each, the most frequent ones first; those for which there is none left share the
    # last quarter of the columns.
    columns: Annotated[int, Range(least=4)] = 2048

    def nets(self) -> dict[str, Encoder]:
        """None."""
        return {}

    def inverse(self, n: int, having: np.ndarray) -> np.ndarray:
        """What tokens count of which `having` of `n` sentences have one."""
        return np.log((1 + n) / (1 + having)) + 1

    def source(self, data: "TokenGroups") -> Source:
        """As DenseMethod's, with what each token counts, its column, and the mean number of tokens."""
        if data.judged is None:
            raise ValueError(
                f"{type(self).__name__} is fitted to what is judged, and the data tell of no such sentences"
            )
        real = ~np.isin(data.judged, data.special)
        tokens = np.unique(np.stack([np.nonzero(real)[0], data.judged[real]]), axis=1)[1]  # each once a sentence
        having = np.bincount(tokens, minlength=data.vocabulary_size)
        counts = self.inverse(len(data.judged), having).astype(np.float32)
        counts[list(data.special)] = 0
        rank = np.argsort(np.argsort(-having, kind="stable"))
        alone = self.columns - self.columns // 4 if len(rank) > self.columns else self.columns
        column = np.where(rank < alone, rank, alone + (rank - alone) % max(self.columns - alone, 1)).astype(np.int32)
        fitted = {"counts": counts, "column": column, "length": np.float32(real.sum(1).mean())}
        made = super().source(data)
        return replace(made, constants={**made.constants, "fitted": fitted})

    def init(self, key: jax.Array, constants: Mapping[str, Any]) -> Params:
        """What was fitted."""
        return Params({}, {}, jax.tree.map(jnp.asarray, constants["fitted"]))

    def encode(self, net: Any, kept: Any, examples: Any) -> jax.Array:
        """Vectors of length 1, `[b, columns]`."""
        ids = _sentences(examples)
        return normalized(self.spread(kept, ids, kept["counts"][ids]))

    def spread(self, kept: Any, ids: jax.Array, values: jax.Array) -> jax.Array:
        """Values of tokens `[b, l]`, summed by their columns: `[b, columns]`."""
        rows = jnp.arange(len(ids))[:, None]
        return jnp.zeros((len(ids), self.columns), jnp.float32).at[rows, kept["column"][ids]].add(values)


@dataclass(frozen=True)
class BM25(TfIdf):
    """No encoder: the cosine of a query with a sentence orders sentences as BM25 does (Robertson et al. 1995).

    Inverse frequencies are Lucene's, `log(1 + (n - df + 1/2) / (df + 1/2))`. A query is the tokens that it has, and the vector
    of a sentence what each of them scores; one more column gives all sentences the same length, so that cosines order them as
    products do.
    """

    k1: NotNegative = 1.2  # How soon more of the same token stops to count.
    b: Share = 0.75  # How much long sentences lose.

    def inverse(self, n: int, having: np.ndarray) -> np.ndarray:
        """What tokens count of which `having` of `n` sentences have one."""
        return np.log1p((n - having + 0.5) / (having + 0.5))

    def encode(self, net: Any, kept: Any, examples: Any) -> jax.Array:
        """What sentences score, or where the examples say so the tokens of queries, `[b, columns + 1]`."""
        ids = _sentences(examples)
        words = (kept["counts"][ids] > 0).astype(jnp.float32)
        tokens = self.spread(kept, ids, words)
        often = jnp.take_along_axis(tokens, kept["column"][ids], axis=1)
        length = jnp.sum(words, axis=1, keepdims=True) / kept["length"]
        scores = kept["counts"][ids] * (self.k1 + 1) / (often + self.k1 * (1 - self.b + self.b * length))
        found = self.spread(kept, ids, jnp.where(words > 0, scores, 0))
        # No sentence that has as many tokens as those judged on average, four times over, is longer than this.
        most = 2 * (self.k1 + 1) * jnp.max(kept["counts"]) * jnp.sqrt(kept["length"])
        rest = jnp.sqrt(jnp.maximum(most**2 - jnp.sum(found**2, axis=1, keepdims=True), 0))
        query = examples.get("query", jnp.zeros(len(ids), bool))[:, None]
        return jnp.where(query, jnp.pad(tokens, ((0, 0), (0, 1))), jnp.concatenate([found, rest], axis=1))
