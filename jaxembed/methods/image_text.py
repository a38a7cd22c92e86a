"""CLIP and SigLIP: images and their texts meet in one space."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.encoders.functional import Encoder, encoder
from jaxembed.methods.dense import DenseMethod, Fixed, named_objective, summed
from jaxembed.methods.images import sized
from jaxembed.objectives import InfoNCE, Logistic
from jaxembed.objectives.in_batch import Same, two_towers
from jaxembed.sampling.augmentation import Augmentation
from jaxembed.scores import normalized
from jaxembed.training.method import Batch, Loss, Params

if TYPE_CHECKING:
    from jaxembed.data.tokenized import TokenizedImages


@dataclass(frozen=True)
class CLIP(DenseMethod):
    """Two towers; an image must find its text among those of the batch, and back (Radford et al. 2021)."""

    image_encoder: Encoder = field(default_factory=lambda: encoder("vit"))  # The images' tower.
    text_encoder: Encoder = field(default_factory=lambda: encoder("transformer"))  # The texts' tower.
    vector_size: int = 128  # Of the space that both are projected into, linearly.
    objective: Any = field(default_factory=InfoNCE)  # Any pairwise objective over `scale cosine + bias`, or its name.
    scale: float = 1 / 0.07  # What the scale starts from; it is learned, up to 100.
    # What a bias starts from that is learned too (SigLIP: Zhai et al. 2023); none for no bias.
    bias: float | None = None
    augmentation: Augmentation = field(default_factory=lambda: Augmentation(crop=(0.6, 1.0), jitter=0.0, grayscale=0.0))
    # What an image is to the texts of others that say the same: "positive", or "exclude" for neither.
    same_text: str = "exclude"
    chunk: int = 0  # Anchors compared at a time, for large batches; 0 compares all at once.

    most: ClassVar[float] = 100.0

    def __post_init__(self):
        super().__post_init__()
        if isinstance(self.objective, str):
            object.__setattr__(self, "objective", named_objective(self.objective, 1.0))
        if self.same_text not in ("exclude", "positive"):
            raise ValueError(f"same_text must be 'exclude' or 'positive', not {self.same_text!r}")
        if not 0 < self.scale <= self.most:
            raise ValueError(f"scale must be above 0 and at most {self.most:g}, not {self.scale}")

    def suited_to(self, data: "TokenizedImages") -> Self:
        """The same for images and a vocabulary such as the data's, with batches no larger than the data."""
        text = {"vocab_size": data.vocabulary_size, "max_length": max(data.ids.shape[-1], data.max_length)}
        return replace(
            super().suited_to(data),
            image_encoder=sized(self.image_encoder, data.images, self.augmentation),
            text_encoder=self.text_encoder.with_(**text),
        )

    def examples(self, data: "TokenizedImages") -> dict[str, np.ndarray]:
        """Pixels uint8 `[n, h, w, c]`, token ids `[n, l]`, and a number for each text `[n]`, the same for the same text."""
        return {"images": data.images, "ids": data.ids, "texts": data.texts}

    def nets(self) -> dict[str, Encoder]:
        """Both towers and their projections."""
        head = lambda tower: encoder("head", sizes=(tower.vector_size, self.vector_size), norm="none")
        return {
            "image": self.image_encoder,
            "text": self.text_encoder,
            "image_head": head(self.image_encoder),
            "text_head": head(self.text_encoder),
        }

    def init(self, key: jax.Array, constants: Mapping[str, Any]) -> Params:
        """Fresh towers, the scale (its logarithm) and the bias."""
        params = super().init(key, constants)
        learned = {"log_scale": jnp.float32(math.log(self.scale))}
        if self.bias is not None:
            learned["bias"] = jnp.float32(self.bias)
        return params._replace(net={**params.net, **learned})

    def encode(self, net: Any, kept: Any, examples: Any) -> jax.Array:
        """Images in the common space, of length 1; texts where the examples have no images."""
        if "images" not in examples:
            return self.encode_text(net, kept, examples)
        encoded = self.run("image", net, kept, self.augmentation.plain(examples["images"]))[0]
        return normalized(self.run("image_head", net, kept, encoded)[0])

    def encode_text(self, net: Any, kept: Any, examples: Any) -> jax.Array:
        """Texts in the common space, of length 1."""
        return normalized(self.run("text_head", net, kept, self.run("text", net, kept, examples["ids"])[0])[0])

    def vectors(self, params: Params, constants: Mapping[str, Any]) -> jax.Array:
        """Of the watched examples, first all images and then all texts: `[2 watch, vector_size]`."""
        both = (self.encode, self.encode_text)
        return jnp.concatenate([encode(params.net, params.kept, constants["watch"]) for encode in both])

    def loss(self, rows, net: Any, kept: Any, batch: Batch, key: jax.Array) -> Loss:
        """Mean loss of both directions."""
        augment, drop_image, drop_text = jax.random.split(key, 3)
        n = len(batch["images"])
        images = self.augmentation(jax.random.split(augment, n), batch["images"])
        image, of_image = self.encoded("image", net, kept, images, drop_image)
        text, of_text = self.encoded("text", net, kept, batch["ids"], drop_text)
        a, b = (self.run(f"{name}_head", net, kept, x)[0] for name, x in (("image", image), ("text", text)))
        # The bound holds the scale and not its gradient: what has come to it can come back.
        log_scale = net["log_scale"]
        bound = jax.lax.stop_gradient(jnp.minimum(log_scale, math.log(self.most)) - log_scale)
        how = {
            "scale": jnp.exp(log_scale + bound),
            "bias": net.get("bias", 0.0),
            "chunk": self.chunk,
        }
        if self.same_text == "positive":
            how["positive"] = Same(batch["texts"], batch["texts"])
        loss = two_towers(self.objective, a, b, ids=batch["texts"], **how)
        return summed(jnp.mean(loss), n, {**kept, "image": of_image, "text": of_text})


@dataclass(frozen=True)
class SigLIP(CLIP):
    """CLIP by a logistic loss of every pair on its own, with a learned bias (Zhai et al. 2023)."""

    objective: Any = field(default_factory=Logistic)
    scale: float = 10.0
    bias: float | None = -10.0
    same_text: str = "positive"


@dataclass(frozen=True)
class UntrainedTowers(Fixed, CLIP):
    """The towers as they start."""
