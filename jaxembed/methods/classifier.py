"""A classifier of texts: an encoder, trained or from scratch, and a linear map of its vectors (Devlin et al. 2019, 4.1)."""

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxembed.encoders.functional import Encoder, encoder
from jaxembed.methods.dense import EncoderMethod, summed
from jaxembed.pretrained import Parts
from jaxembed.ranges import Count, Range, Share
from jaxembed.training.method import Batch, Loss

if TYPE_CHECKING:
    from jaxembed.data.tokenized import TokenizedTexts


@dataclass(frozen=True)
class Classifier(EncoderMethod):
    """A text's class is told by an encoder and a linear map of its vector; with `start`, a trained encoder is fine-tuned."""

    encoder: Encoder = field(
        default_factory=lambda: encoder("transformer")
    )  # Encoder of the texts; its vocabulary and length come from the data.
    batch_size: Annotated[int, Range(least=1)] = 32  # Number of texts in one step.
    smoothing: Share = 0.0  # Share of a label that goes to all classes alike.
    classes: Count = 2  # Number of classes, which comes from the data.

    def started(self, parts: Parts) -> dict[str, Any]:
        """As EncoderMethod's; vectors are not scaled to length 1, so that logits may be of any size."""
        found = super().started(parts)
        return {name: net.with_(normalize=False) if "normalize" in net else net for name, net in found.items()}

    def suited_to(self, data: "TokenizedTexts") -> Self:
        """Adapts the encoder to the vocabulary and length of the texts, and takes the number of classes."""
        length = max(data.ids.shape[1], data.max_length)
        if "max_length" in self.encoder:
            length = max(length, self.encoder["max_length"])
        fitted = self.for_texts(self.encoder, data.vocabulary_size, length)
        return replace(super().suited_to(data), encoder=fitted, classes=data.classes)

    def examples(self, data: "TokenizedTexts") -> dict[str, np.ndarray]:
        """Returns the token ids `[n, l]` and the labels `[n]`."""
        return {"ids": data.ids, "labels": data.labels}

    def nets(self) -> dict[str, Encoder]:
        """Returns the encoder, and a linear map to a score for each class."""
        head = encoder("head", sizes=(self.encoder.vector_size, self.classes), norm="none")
        return {"encoder": self.encoder, "head": head}

    def encode(self, net: Any, kept: Any, examples: Any) -> jax.Array:
        """Returns the encoder's vectors of texts, `[b, d]`; texts that are too long for it are cut."""
        return self.run("encoder", net, kept, examples["ids"][:, : self.encoder.longest])[0]

    def logits(self, net: Any, kept: Any, examples: Any) -> jax.Array:
        """Returns the scores of classes, float32 `[b, classes]`."""
        return self.run("head", net, kept, self.encode(net, kept, examples))[0].astype(jnp.float32)

    def loss(self, rows, net: Any, kept: Any, batch: Batch, key: jax.Array) -> Loss:
        """Returns the mean cross-entropy of the classes."""
        vectors, of_encoder = self.encoded("encoder", net, kept, batch["ids"][:, : self.encoder.longest], key)
        scores, of_head = self.run("head", net, kept, vectors, train=True)
        wanted = optax.smooth_labels(jax.nn.one_hot(batch["labels"], self.classes), self.smoothing)
        value = jnp.mean(optax.softmax_cross_entropy(scores.astype(jnp.float32), wanted))
        return summed(value, len(batch["labels"]), {**kept, "encoder": of_encoder, "head": of_head})
