"""Methods that learn image encoders from two views of each image: all of them differ in how the views are compared."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.encoders.functional import Encoder, encoder
from jaxembed.methods.dense import DenseMethod, Fixed, named_objective, summed
from jaxembed.objectives import InfoNCE, Softmax
from jaxembed.objectives.decorrelation import BarlowTwinsLoss, VICRegLoss
from jaxembed.objectives.in_batch import two_views, wants_everybody
from jaxembed.objectives.prediction import Regression
from jaxembed.ranges import Count, CountOrZero, Share
from jaxembed.sampling.augmentation import Augmentation
from jaxembed.scores import normalized
from jaxembed.training.method import Batch, Loss, Params

if TYPE_CHECKING:
    from jaxembed.data.images import Images


def sized(net: Encoder, images: np.ndarray, augmentation: Augmentation) -> Encoder:
    """An encoder for views of images `[n, h, w, c]` as `augmentation` makes them."""
    size = augmentation.size or images.shape[1:3]
    height, width = (size, size) if isinstance(size, int) else size
    settings: dict[str, Any] = {"channels": images.shape[3]}
    if net.kind == "vit":
        settings["image_size"] = height if height == width else (height, width)
    return net.with_(**settings)


@dataclass(frozen=True)
class ImageMethod(DenseMethod):
    """What the methods share: an encoder, an augmentation, and a head that is trained with it and then left out."""

    # Encoder of the images; their size and channels come from the data.
    encoder: Encoder = field(default_factory=lambda: encoder("vit"))
    augmentation: Augmentation = field(default_factory=Augmentation)
    projection: tuple[Count, ...] = (512, 128)  # Widths of the head's layers.

    @property
    def vector_size(self) -> int:
        """Width of the encoder's output, which is the product."""
        return self.encoder.vector_size

    def suited_to(self, data: "Images") -> Self:
        """The same for images of this size, with batches no larger than the data."""
        return replace(super().suited_to(data), encoder=sized(self.encoder, data.images, self.augmentation))

    def examples(self, data: "Images") -> dict[str, np.ndarray]:
        """Pixels, uint8 `[n, h, w, c]`, and labels (places where there are none)."""
        labels = data.labels if data.labels is not None else np.arange(len(data.images))
        return {"images": data.images, "labels": np.asarray(labels, np.int32)}

    def nets(self) -> dict[str, Encoder]:
        """The encoder and its head."""
        return {"encoder": self.encoder, "head": self._head(self.vector_size, *self.projection)}

    def _head(self, *sizes: int) -> Encoder:
        return encoder("head", sizes=sizes, norm="batch")

    def encode(self, net: Any, kept: Any, examples: Any) -> jax.Array:
        """The encoder's output for whole images."""
        return self.run("encoder", net, kept, self.augmentation.plain(examples["images"]))[0]

    def views(self, batch: Batch, key: jax.Array) -> jax.Array:
        """Two views of each image, those of the first view in front: `[2 b, h, w, c]`."""
        images = jnp.concatenate([batch["images"]] * 2)
        return self.augmentation(jax.random.split(key, len(images)), images)

    def projected(self, net: Any, kept: Any, views: jax.Array, key: jax.Array) -> tuple[jax.Array, dict]:
        """What the head makes of the views `[2 b, d]`, and the statistics after."""
        encoded, of_encoder = self.encoded("encoder", net, kept, views, key)
        z, of_head = self.run("head", net, kept, encoded, train=True)
        return z, {**kept, "encoder": of_encoder, "head": of_head}

    def compare(self, z: jax.Array, batch: Batch) -> jax.Array:
        """The loss of the two views' projections: `[2 b]`, or a scalar for the batch."""
        raise NotImplementedError

    def loss(self, rows, net: Any, kept: Any, batch: Batch, key: jax.Array) -> Loss:
        """Mean loss of the batch; statistics of the nets are carried along."""
        augment, drop = jax.random.split(key)
        z, kept = self.projected(net, kept, self.views(batch, augment), drop)
        return summed(jnp.mean(self.compare(z, batch)), len(z) // 2, kept)


@dataclass(frozen=True)
class SimCLR(ImageMethod):
    """Each view must find the other of its image among all views of the batch (Chen et al. 2020)."""

    # Any pairwise objective, or the name of one, which then has the temperature .2 if it has any; infonce is NT-Xent.
    objective: Any = field(default_factory=lambda: InfoNCE(temperature=0.2))
    # How pairs of one label count: "ignore" the labels, "exclude" such pairs from the negatives, or take them as "positive".
    labels: str = "ignore"
    chunk: CountOrZero = 0  # Anchors compared at a time, for large batches; 0 compares all at once.

    traced: ClassVar[tuple[str, ...]] = ("objective.temperature",)

    def __post_init__(self):
        super().__post_init__()
        if isinstance(self.objective, str):
            object.__setattr__(self, "objective", named_objective(self.objective, 0.2))
        if self.labels not in ("ignore", "exclude", "positive"):
            raise ValueError(f"labels must be 'ignore', 'exclude' or 'positive', not {self.labels!r}")

    def suited_to(self, data: "Images") -> Self:
        """As ImageMethod's. Raises ValueError where labels are needed and there are none."""
        if self.labels != "ignore" and data.labels is None:
            raise ValueError(f"{type(self).__name__} needs labels: name their column, or choose SimCLR")
        return super().suited_to(data)

    def compare(self, z: jax.Array, batch: Batch) -> jax.Array:
        """The objective of each view: `[2 b]`."""
        labels = batch["labels"] if self.labels != "ignore" else None
        supervised = self.labels == "positive"
        return two_views(self.objective, *jnp.split(z, 2), labels=labels, supervised=supervised, chunk=self.chunk)


@dataclass(frozen=True)
class SupCon(SimCLR):
    """SimCLR in which all views of a class belong together (Khosla et al. 2020, L_out): it needs labels."""

    objective: Any = field(default_factory=lambda: Softmax(temperature=0.1))
    labels: str = "positive"


@dataclass(frozen=True)
class Decorrelating(ImageMethod):
    """The two views must agree, and the dimensions of the projections differ; no negatives."""

    objective: Any = field(default_factory=VICRegLoss)  # An objective of the decorrelation family.
    projection: tuple[Count, ...] = (512, 512, 512)

    def compare(self, z: jax.Array, batch: Batch) -> jax.Array:
        """The objective of the batch: a scalar."""
        return self.objective(*jnp.split(z, 2))


@dataclass(frozen=True)
class VICReg(Decorrelating):
    """Variance, invariance and covariance of the projections (Bardes et al. 2022)."""


@dataclass(frozen=True)
class BarlowTwins(Decorrelating):
    """The views' cross-correlation is to be the identity (Zbontar et al. 2021)."""

    objective: Any = field(default_factory=BarlowTwinsLoss)


@dataclass(frozen=True)
class SimSiam(ImageMethod):
    """From one view, a predictor tells the other's projection, which takes no gradient (Chen and He 2021)."""

    projection: tuple[Count, ...] = (512, 512)
    prediction: tuple[Count, ...] = (128,)  # Widths of the predictor's hidden layers.
    objective: Any = field(default_factory=Regression)  # An objective of the prediction family.

    def nets(self) -> dict[str, Encoder]:
        """The encoder, its head and the predictor."""
        out = self.projection[-1]
        last = encoder("head", sizes=(self.vector_size, *self.projection), norm="batch", final_norm=True)
        return {**super().nets(), "head": last, "predictor": self._head(out, *self.prediction, out)}

    def _predicted(self, net: Any, kept: dict, z: jax.Array) -> tuple[jax.Array, dict]:
        prediction, of_predictor = self.run("predictor", net, kept, z, train=True)
        return prediction, {**kept, "predictor": of_predictor}

    def loss(self, rows, net: Any, kept: Any, batch: Batch, key: jax.Array) -> Loss:
        """Mean of both directions."""
        augment, drop = jax.random.split(key)
        views = self.views(batch, augment)
        z, kept = self.projected(net, kept, views, drop)
        prediction, kept = self._predicted(net, kept, z)
        first, second = jnp.split(self.targets(z, kept, views, drop), 2)
        loss = jnp.mean(self.objective(prediction, jnp.concatenate([second, first])))
        return summed(loss, len(views) // 2, kept)

    def targets(self, z: jax.Array, kept: dict, views: jax.Array, key: jax.Array) -> jax.Array:
        """What is to be predicted: the projections themselves."""
        return z


@dataclass(frozen=True)
class Averaged:
    """A second net that follows the trained one: `target = momentum target + (1 - momentum) net` after each step."""

    momentum: Share = 0.99  # Share of the second net that stays at each step: how slowly it follows the first.

    followed: ClassVar[tuple[str, ...]] = ("encoder", "head")

    def init(self, key: jax.Array, constants: Mapping[str, Any]) -> Params:
        """Net and target start from the same."""
        params: Params = super().init(key, constants)  # pyright: ignore[reportAttributeAccessIssue]
        target = jax.tree.map(jnp.array, {name: params.net[name] for name in self.followed})
        return params._replace(kept={**params.kept, "target": target})

    def keep(self, kept: dict, net: Any) -> dict:
        """The target one step on."""
        follow = lambda old, new: self.momentum * old + (1 - self.momentum) * new
        return {**kept, "target": jax.tree.map(follow, kept["target"], {name: net[name] for name in self.followed})}

    def target(self, kept: dict, views: jax.Array, key: jax.Array) -> jax.Array:
        """The target's projections, without gradient, by the statistics of the batch; `key` is for dropout."""
        encoded, _ = self.encoded("encoder", kept["target"], kept, views, key)  # pyright: ignore[reportAttributeAccessIssue]
        z, _ = self.run("head", kept["target"], kept, encoded, train=True)  # pyright: ignore[reportAttributeAccessIssue]
        return jax.lax.stop_gradient(z)


@dataclass(frozen=True)
class BYOL(Averaged, SimSiam):
    """SimSiam whose targets come from an average of the net over its past (Grill et al. 2020)."""

    def nets(self) -> dict[str, Encoder]:
        """As SimSiam's, but the projections are not normalised at the end."""
        return {**super().nets(), "head": self._head(self.vector_size, *self.projection)}

    def targets(self, z: jax.Array, kept: dict, views: jax.Array, key: jax.Array) -> jax.Array:
        """The average net's projections."""
        return self.target(kept, views, jax.random.fold_in(key, 1))


@dataclass(frozen=True)
class MoCo(Averaged, SimCLR):
    """A view must find the other's projection by an averaged net among those of many earlier images (He et al. 2020).

    The head takes no batch statistics, which would distinguish a view from the queue (ibid., section 3.3). Neither should the
    encoder: a ResNet's statistics are not shuffled here.
    """

    queue: Count = 4096  # Number of earlier images in the queue; a multiple of the batch.

    def __post_init__(self):
        super().__post_init__()
        if self.labels != "ignore" or self.chunk:
            raise ValueError("MoCo's negatives are its queue: it takes neither labels nor chunk")
        if wants_everybody(self.objective):
            raise ValueError("MoCo's negatives are others than the positive: softmax, which counts it, is InfoNCE here")

    def _head(self, *sizes: int) -> Encoder:
        return encoder("head", sizes=sizes, norm="none")

    def init(self, key: jax.Array, constants: Mapping[str, Any]) -> Params:
        """The queue starts with random directions."""
        params = super().init(key, constants)
        queue = normalized(jax.random.normal(jax.random.fold_in(key, 1), (self.queue, self.projection[-1])))
        return params._replace(kept={**params.kept, "queue": queue})

    def loss(self, rows, net: Any, kept: Any, batch: Batch, key: jax.Array) -> Loss:
        """Mean over the first views; the second join the queue, in place of the oldest."""
        augment, drop = jax.random.split(key)
        first, second = jnp.split(self.views(batch, augment), 2)
        z, kept = self.projected(net, kept, first, drop)
        # Keys come from the averaged net, which changes slowly: those of many steps ago, in the queue, then still agree with
        # those of now, as the net's own would not. They take no gradient. The queue is met before this batch joins it, since
        # else each key would stand twice, as positive and as negative.
        keys = normalized(self.target(kept, second, jax.random.fold_in(drop, 1)))
        queue = kept["queue"]
        query = normalized(z)
        pos, neg = jnp.sum(query * keys, -1, keepdims=True), query @ queue.T
        kept = {**kept, "queue": jnp.concatenate([keys, queue])[: self.queue]}
        return summed(jnp.mean(self.objective(pos, 1.0, neg, 1.0)), len(first), kept)


# These are not trained: the others should be better.


@dataclass(frozen=True)
class Untrained(Fixed, ImageMethod):
    """The encoder as it starts."""


@dataclass(frozen=True)
class Pixels(Untrained):
    """No encoder: the pixels themselves, between 0 and 1."""

    def nets(self) -> dict[str, Encoder]:
        """No nets."""
        return {}

    def init(self, key: jax.Array, constants: Mapping[str, Any]) -> Params:
        """A number that nothing uses."""
        return Params({}, {"nothing": jnp.zeros(())}, {})

    def encode(self, net: Any, kept: Any, examples: Any) -> jax.Array:
        """The pixels, `[b, h w c]`."""
        return examples["images"].reshape(len(examples["images"]), -1).astype(jnp.float32) / 255
