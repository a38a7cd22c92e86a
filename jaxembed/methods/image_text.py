"""CLIP and SigLIP: images and their texts are encoded into one space."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.encoders.functional import Encoder, encoder
from jaxembed.methods.dense import EncoderMethod, Fixed, named_objective, summed
from jaxembed.methods.images import sized
from jaxembed.objectives import InfoNCE, Logistic
from jaxembed.objectives.in_batch import Same, two_towers
from jaxembed.pretrained import Part, Parts
from jaxembed.ranges import Count, CountOrZero, Finite, Range
from jaxembed.sampling.augmentation import Augmentation
from jaxembed.scores import normalized
from jaxembed.training.method import Batch, Loss, Params

if TYPE_CHECKING:
    from jaxembed.data.tokenized import TokenizedImages

LARGEST_SCALE = 100.0  # of cosines (Radford et al. 2021, section 2.5)


@dataclass(frozen=True)
class CLIP(EncoderMethod):
    """CLIP: two towers; images are matched with their texts within a batch, in both directions (Radford et al. 2021)."""

    image_encoder: Encoder = field(default_factory=lambda: encoder("vit"))  # Encoder of the images.
    text_encoder: Encoder = field(default_factory=lambda: encoder("transformer"))  # Encoder of the texts.
    vector_size: Count = 128  # Dimension of the common space, into which both are projected linearly.
    objective: Any = field(default_factory=InfoNCE)  # Any pairwise objective over `scale * cosine + bias`, or its name.
    # Initial scale of the scores, which is learned, up to 100.
    scale: Annotated[float, Range(above=0, most=LARGEST_SCALE)] = 1 / 0.07
    bias: Finite | None = None  # Initial bias of the scores, learned too (Zhai et al. 2023); None leaves it out.
    augmentation: Augmentation = field(default_factory=lambda: Augmentation(crop=(0.6, 1.0), jitter=0.0, grayscale=0.0))
    # Whether the projections into the common space have a bias; CLIP's own have none.
    projection_bias: bool = True
    # How pairs with the same text or picture count: as "positive", or "exclude", which takes them out of the negatives.
    same_text: Literal["exclude", "positive"] = "exclude"
    chunk: CountOrZero = 0  # Number of anchors that are compared at a time, for large batches; 0 compares all at once.

    takes: ClassVar[Mapping[str, str]] = {"image_encoder": "image", "text_encoder": "text"}

    def __post_init__(self):
        super().__post_init__()
        if isinstance(self.objective, str):
            object.__setattr__(self, "objective", named_objective(self.objective, 1.0))

    def started(self, parts: Parts) -> dict[str, Any]:
        """Returns both encoders of a checkpoint, the space in which they meet, and the mean and deviation of its pixels."""
        heads = [one.encoder for name, one in parts.nets.items() if name.endswith("_head")]
        space = {"vector_size": heads[0].vector_size, "projection_bias": heads[0]["bias"]} if heads else {}
        scale = {"scale": min(parts.scale, LARGEST_SCALE)} if parts.scale else {}
        views = replace(self.augmentation, mean=parts.mean, std=parts.std)
        return super().started(parts) | space | scale | {"augmentation": views}

    def started_nets(self, parts: Parts) -> dict[str, Part]:
        """Returns both towers, and their projections if the checkpoint has some."""
        return {name: parts.nets[name] for name in self.nets() if name in parts.nets}

    def suited_to(self, data: "TokenizedImages") -> Self:
        """Adapts the encoders to the images and the vocabulary of the data, with batches no larger than the data."""
        image = sized(self.image_encoder, data.images, self.augmentation, self.start is not None)
        length = max(data.ids.shape[-1], data.max_length)
        text = self.for_texts(self.text_encoder, data.vocabulary_size, length)
        return replace(super().suited_to(data), image_encoder=image, text_encoder=text)

    def examples(self, data: "TokenizedImages") -> dict[str, np.ndarray]:
        """Returns pixels uint8 `[n, h, w, c]`, token ids `[n, l]`, and the same number for equal texts and pictures, `[n]`."""
        pictures = np.arange(len(data.images), dtype=np.int32) if data.pictures is None else data.pictures
        return {"images": data.images, "ids": data.ids, "texts": data.texts, "pictures": pictures}

    def nets(self) -> dict[str, Encoder]:
        """Returns both towers and their projections."""
        towers = {"image": self.image_encoder, "text": self.text_encoder}
        head = lambda tower: encoder(
            "head", sizes=(tower.vector_size, self.vector_size), norm="none", bias=self.projection_bias
        )
        return towers | {f"{name}_head": head(tower) for name, tower in towers.items()}

    def init(self, key: jax.Array, constants: Mapping[str, Any]) -> Params:
        """Starts with fresh towers, the logarithm of the scale, and the bias."""
        params = super().init(key, constants)
        learned = {"log_scale": jnp.float32(math.log(self.scale))}
        if self.bias is not None:
            learned["bias"] = jnp.float32(self.bias)
        return params._replace(net={**params.net, **learned})

    def encode(self, net: Any, kept: Any, examples: Any) -> jax.Array:
        """Encodes images into the common space, with length 1; or texts, if the examples have no images."""
        if "images" not in examples:
            return self.encode_text(net, kept, examples)
        encoded = self.run("image", net, kept, self.augmentation.plain(examples["images"]))[0]
        return normalized(self.run("image_head", net, kept, encoded)[0])

    def encode_text(self, net: Any, kept: Any, examples: Any) -> jax.Array:
        """Encodes texts into the common space, with length 1."""
        return normalized(self.run("text_head", net, kept, self.run("text", net, kept, examples["ids"])[0])[0])

    def vectors(self, params: Params, constants: Mapping[str, Any]) -> jax.Array:
        """Returns the vectors of the watched examples, first of all images and then of all texts: `[2 watch, vector_size]`."""
        both = (self.encode, self.encode_text)
        return jnp.concatenate([encode(params.net, params.kept, constants["watch"]) for encode in both])

    def loss(self, rows, net: Any, kept: Any, batch: Batch, key: jax.Array) -> Loss:
        """Returns the mean loss of both directions."""
        augment, drop_image, drop_text = jax.random.split(key, 3)
        n = len(batch["images"])
        images = self.augmentation(jax.random.split(augment, n), batch["images"])
        image, of_image = self.encoded("image", net, kept, images, drop_image)
        text, of_text = self.encoded("text", net, kept, batch["ids"], drop_text)
        a, b = (self.run(f"{name}_head", net, kept, x)[0] for name, x in (("image", image), ("text", text)))
        # The bound applies to the scale and not to its gradient, so that a scale that has reached the bound can decrease again.
        log_scale = net["log_scale"]
        bound = jax.lax.stop_gradient(jnp.minimum(log_scale, math.log(LARGEST_SCALE)) - log_scale)
        options = {"scale": jnp.exp(log_scale + bound), "bias": net.get("bias", 0.0), "chunk": self.chunk}
        # Pairs with the same text match each other, and so do pairs with the same picture: none of these is a negative.
        ids = (batch["texts"], batch["pictures"])
        if self.same_text == "positive":
            options["positive"] = [Same(one, one) for one in ids]
        loss = two_towers(self.objective, a, b, ids=ids, **options)
        return summed(jnp.mean(loss), n, {**kept, "image": of_image, "text": of_text})


@dataclass(frozen=True)
class SigLIP(CLIP):
    """SigLIP: CLIP with a logistic loss for every pair on its own, and a learned bias (Zhai et al. 2023)."""

    objective: Any = field(default_factory=Logistic)
    scale: Annotated[float, Range(above=0, most=LARGEST_SCALE)] = 10.0
    bias: Finite | None = -10.0
    same_text: Literal["exclude", "positive"] = "positive"


@dataclass(frozen=True)
class UntrainedTowers(Fixed, CLIP):
    """Two towers with their initial weights."""
