"""SimCSE: a sentence must find another of the same meaning among the sentences of the batch (Gao et al. 2021)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.encoders.functional import Encoder, encoder
from jaxembed.methods.dense import DenseMethod, Fixed, named_objective, summed
from jaxembed.objectives import InfoNCE
from jaxembed.objectives.in_batch import Same, contrast
from jaxembed.ranges import Count, CountOrZero
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
        return replace(
            super().suited_to(data), encoder=self.encoder.with_(vocab_size=data.vocabulary_size, max_length=length)
        )

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
        """Fresh weights; token vectors are those that the data start from, where they have some."""
        params = super().init(key, constants)
        if "start" in constants:
            embedding = params.net["encoder"]["token_embedding"]
            params.net["encoder"]["token_embedding"] = with_rows(embedding, constants["start"])
        return params

    def source(self, data: "TokenGroups") -> Source:
        """As DenseMethod's, with the token vectors to start from, and which tokens are no part of a sentence."""
        made = super().source(data)
        if data.start is None:
            return made
        given = {"start": data.start, "special": np.asarray(data.special, np.int32)}
        return replace(made, constants={**made.constants, **given})

    def encode(self, net: Any, kept: Any, examples: Any) -> jax.Array:
        """The encoder's output for sentences `[b, l]`, or for the first of groups `[b, g, l]`."""
        ids = examples["ids"]
        return self.run("encoder", net, kept, ids[:, 0] if ids.ndim == 3 else ids)[0]

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
        ids = examples["ids"]
        ids = ids[:, 0] if ids.ndim == 3 else ids
        mask = kept["counted"][ids][..., None]
        return jnp.sum(net["tokens"][ids] * mask, 1) / jnp.maximum(jnp.sum(mask, 1), 1)
