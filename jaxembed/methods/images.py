"""Methods that learn image encoders from two views of each image; they differ in how the views are compared."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.encoders.functional import Encoder, encoder
from jaxembed.methods.dense import EncoderMethod, Fixed, named_objective, summed
from jaxembed.objectives import InfoNCE, Softmax
from jaxembed.objectives.decorrelation import BarlowTwinsLoss, VICRegLoss
from jaxembed.objectives.in_batch import two_views, wants_everybody
from jaxembed.objectives.prediction import Regression
from jaxembed.pretrained import Parts
from jaxembed.ranges import Count, CountOrZero, Share
from jaxembed.sampling.augmentation import Augmentation
from jaxembed.scores import normalized
from jaxembed.training.method import Batch, Loss, Params

if TYPE_CHECKING:
    from jaxembed.data.images import Images


def sized(net: Encoder, images: np.ndarray, augmentation: Augmentation, trained: bool = False) -> Encoder:
    """Returns an encoder for views of images `[n, h, w, c]` as `augmentation` makes them.

    One that is trained keeps the size that it was trained with: its positions are resized as it is used.
    """
    size = augmentation.size or images.shape[1:3]
    height, width = (size, size) if isinstance(size, int) else size
    settings: dict[str, Any] = {"channels": images.shape[3]}
    if net.kind == "vit" and not trained:
        settings["image_size"] = height if height == width else (height, width)
    return net.with_(**settings)


@dataclass(frozen=True)
class ImageMethod(EncoderMethod):
    """Methods of images: an encoder, an augmentation, and a head that is trained with the encoder and then left out."""

    # Encoder of the images; their size and number of channels come from the data.
    encoder: Encoder = field(default_factory=lambda: encoder("vit"))
    augmentation: Augmentation = field(default_factory=Augmentation)
    projection: tuple[Count, ...] = (512, 128)  # Widths of the head's layers.

    takes: ClassVar[Mapping[str, str]] = {"encoder": "image"}

    def started(self, parts: Parts) -> dict[str, Any]:
        """Returns the encoder of a checkpoint, and the augmentation with the mean and standard deviation of its pixels."""
        return super().started(parts) | {"augmentation": replace(self.augmentation, mean=parts.mean, std=parts.std)}

    @property
    def vector_size(self) -> int:
        """Width of the encoder's output, which is the product."""
        return self.encoder.vector_size

    def suited_to(self, data: "Images") -> Self:
        """Adapts the encoder to the size of the images, with batches no larger than the data."""
        return replace(
            super().suited_to(data), encoder=sized(self.encoder, data.images, self.augmentation, self.start is not None)
        )

    def examples(self, data: "Images") -> dict[str, np.ndarray]:
        """Returns pixels, uint8 `[n, h, w, c]`, and labels (the indices of the images if there are none)."""
        labels = data.labels if data.labels is not None else np.arange(len(data.images))
        return {"images": data.images, "labels": np.asarray(labels, np.int32)}

    def nets(self) -> dict[str, Encoder]:
        """Returns the encoder and its head."""
        return {"encoder": self.encoder, "head": self._head(self.vector_size, *self.projection)}

    def _head(self, *sizes: int) -> Encoder:
        return encoder("head", sizes=sizes, norm="batch")

    def encode(self, net: Any, kept: Any, examples: Any) -> jax.Array:
        """Returns the encoder's output for whole images."""
        return self.run("encoder", net, kept, self.augmentation.plain(examples["images"]))[0]

    def views(self, batch: Batch, key: jax.Array) -> jax.Array:
        """Returns two views of each image, the first views before the second: `[2 b, h, w, c]`."""
        images = jnp.concatenate([batch["images"]] * 2)
        return self.augmentation(jax.random.split(key, len(images)), images)

    def projected(self, net: Any, kept: Any, views: jax.Array, key: jax.Array) -> tuple[jax.Array, dict]:
        """Returns the head's output for the views, `[2 b, d]`, and the statistics afterwards."""
        encoded, of_encoder = self.encoded("encoder", net, kept, views, key)
        z, of_head = self.run("head", net, kept, encoded, train=True)
        return z, {**kept, "encoder": of_encoder, "head": of_head}

    def compare(self, z: jax.Array, batch: Batch) -> jax.Array:
        """Returns the loss of the projections of both views: `[2 b]`, or a scalar for the batch."""
        raise NotImplementedError

    def loss(self, rows, net: Any, kept: Any, batch: Batch, key: jax.Array) -> Loss:
        """Returns the mean loss of the batch; the statistics of the nets are carried along."""
        augment, drop = jax.random.split(key)
        z, kept = self.projected(net, kept, self.views(batch, augment), drop)
        return summed(jnp.mean(self.compare(z, batch)), len(z) // 2, kept)


@dataclass(frozen=True)
class SimCLR(ImageMethod):
    """SimCLR: each view is matched with the other view of its image among all views of the batch (Chen et al. 2020)."""

    # Any pairwise objective, or its name, which sets the temperature .2 if the objective has one; infonce is NT-Xent.
    objective: Any = field(default_factory=lambda: InfoNCE(temperature=0.2))
    # How pairs with the same label count: "ignore" labels, "exclude" such pairs from the negatives, or make them "positive".
    labels: Literal["ignore", "exclude", "positive"] = "ignore"
    chunk: CountOrZero = 0  # Number of anchors that are compared at a time, for large batches; 0 compares all at once.

    traced: ClassVar[tuple[str, ...]] = ("objective.temperature",)

    def __post_init__(self):
        super().__post_init__()
        if isinstance(self.objective, str):
            object.__setattr__(self, "objective", named_objective(self.objective, 0.2))

    def suited_to(self, data: "Images") -> Self:
        """Like ImageMethod's. Raises ValueError if labels are needed and there are none."""
        if self.labels != "ignore" and data.labels is None:
            raise ValueError(f"{type(self).__name__} needs labels: name their column, or choose SimCLR")
        return super().suited_to(data)

    def compare(self, z: jax.Array, batch: Batch) -> jax.Array:
        """Returns the objective of each view: `[2 b]`."""
        labels = batch["labels"] if self.labels != "ignore" else None
        supervised = self.labels == "positive"
        return two_views(self.objective, *jnp.split(z, 2), labels=labels, supervised=supervised, chunk=self.chunk)


@dataclass(frozen=True)
class SupCon(SimCLR):
    """SupCon: SimCLR with labels, in which all views of a class are positives of each other (Khosla et al. 2020, L_out)."""

    objective: Any = field(default_factory=lambda: Softmax(temperature=0.1))
    labels: Literal["ignore", "exclude", "positive"] = "positive"


@dataclass(frozen=True)
class Decorrelating(ImageMethod):
    """Methods in which the views must agree and the dimensions of the projections must differ, without negatives."""

    objective: Any = field(default_factory=VICRegLoss)  # An objective of the decorrelation family.
    projection: tuple[Count, ...] = (512, 512, 512)

    def compare(self, z: jax.Array, batch: Batch) -> jax.Array:
        """Returns the objective of the batch: a scalar."""
        return self.objective(*jnp.split(z, 2))


@dataclass(frozen=True)
class VICReg(Decorrelating):
    """VICReg: the variance, invariance and covariance of the projections are regularised (Bardes et al. 2022)."""


@dataclass(frozen=True)
class BarlowTwins(Decorrelating):
    """Barlow Twins: the cross-correlation of the views' projections is pulled towards the identity (Zbontar et al. 2021)."""

    objective: Any = field(default_factory=BarlowTwinsLoss)


@dataclass(frozen=True)
class SimSiam(ImageMethod):
    """SimSiam: a predictor of one view predicts the projection of the other, which has no gradient (Chen and He 2021)."""

    projection: tuple[Count, ...] = (512, 512)
    prediction: tuple[Count, ...] = (128,)  # Widths of the predictor's hidden layers.
    objective: Any = field(default_factory=Regression)  # An objective of the prediction family.

    def nets(self) -> dict[str, Encoder]:
        """Returns the encoder, its head and the predictor."""
        out = self.projection[-1]
        last = encoder("head", sizes=(self.vector_size, *self.projection), norm="batch", final_norm=True)
        return {**super().nets(), "head": last, "predictor": self._head(out, *self.prediction, out)}

    def _predicted(self, net: Any, kept: dict, z: jax.Array) -> tuple[jax.Array, dict]:
        prediction, of_predictor = self.run("predictor", net, kept, z, train=True)
        return prediction, {**kept, "predictor": of_predictor}

    def loss(self, rows, net: Any, kept: Any, batch: Batch, key: jax.Array) -> Loss:
        """Returns the mean of both directions."""
        augment, drop = jax.random.split(key)
        views = self.views(batch, augment)
        z, kept = self.projected(net, kept, views, drop)
        prediction, kept = self._predicted(net, kept, z)
        first, second = jnp.split(self.targets(z, kept, views, drop), 2)
        loss = jnp.mean(self.objective(prediction, jnp.concatenate([second, first])))
        return summed(loss, len(views) // 2, kept)

    def targets(self, z: jax.Array, kept: dict, views: jax.Array, key: jax.Array) -> jax.Array:
        """Returns the targets of the prediction, the projections themselves."""
        return z


@dataclass(frozen=True)
class Averaged:
    """Methods with a second net that follows the trained one: `target = momentum target + (1 - momentum) net` after each step."""

    momentum: Share = 0.99  # Share of the second net that stays at each step; the higher, the more slowly it follows.

    followed: ClassVar[tuple[str, ...]] = ("encoder", "head")

    def init(self, key: jax.Array, constants: Mapping[str, Any]) -> Params:
        """Starts the net and the target with the same weights."""
        params: Params = super().init(key, constants)  # pyright: ignore[reportAttributeAccessIssue]
        target = jax.tree.map(jnp.array, {name: params.net[name] for name in self.followed})
        return params._replace(kept={**params.kept, "target": target})

    def keep(self, kept: dict, net: Any) -> dict:
        """Returns the target after the next step."""
        follow = lambda old, new: self.momentum * old + (1 - self.momentum) * new
        return {**kept, "target": jax.tree.map(follow, kept["target"], {name: net[name] for name in self.followed})}

    def target(self, kept: dict, views: jax.Array, key: jax.Array) -> jax.Array:
        """Returns the target's projections without gradient, by the statistics of the batch; `key` is for dropout."""
        encoded, _ = self.encoded("encoder", kept["target"], kept, views, key)  # pyright: ignore[reportAttributeAccessIssue]
        z, _ = self.run("head", kept["target"], kept, encoded, train=True)  # pyright: ignore[reportAttributeAccessIssue]
        return jax.lax.stop_gradient(z)


@dataclass(frozen=True)
class BYOL(Averaged, SimSiam):
    """BYOL: SimSiam whose targets come from a moving average of the net (Grill et al. 2020)."""

    def nets(self) -> dict[str, Encoder]:
        """Returns SimSiam's nets, but without normalisation at the end of the projections."""
        return {**super().nets(), "head": self._head(self.vector_size, *self.projection)}

    def targets(self, z: jax.Array, kept: dict, views: jax.Array, key: jax.Array) -> jax.Array:
        """Returns the projections of the averaged net."""
        return self.target(kept, views, jax.random.fold_in(key, 1))


@dataclass(frozen=True)
class MoCo(Averaged, SimCLR):
    """MoCo: a view is matched with the other view, encoded by an averaged net, among a queue of earlier images (He et al. 2020).

    The head uses no batch statistics, which would distinguish a view from the queue (ibid., section 3.3). Neither
    should the encoder: the statistics of a ResNet are not shuffled here.
    """

    queue: Count = 4096  # Number of earlier images in the queue; a multiple of the batch.

    def __post_init__(self):
        super().__post_init__()
        if self.labels != "ignore" or self.chunk:
            raise ValueError("MoCo's negatives are its queue: leave labels and chunk out")
        if wants_everybody(self.objective):
            raise ValueError(
                "softmax counts the positive among the negatives, which MoCo's queue does not hold: choose infonce"
            )

    def _head(self, *sizes: int) -> Encoder:
        return encoder("head", sizes=sizes, norm="none")

    def init(self, key: jax.Array, constants: Mapping[str, Any]) -> Params:
        """Starts the queue with random directions."""
        params = super().init(key, constants)
        queue = normalized(jax.random.normal(jax.random.fold_in(key, 1), (self.queue, self.projection[-1])))
        return params._replace(kept={**params.kept, "queue": queue})

    def loss(self, rows, net: Any, kept: Any, batch: Batch, key: jax.Array) -> Loss:
        """Returns the mean over the first views. The second views join the queue, in place of the oldest."""
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


# Baselines without training, which the other methods should surpass.


@dataclass(frozen=True)
class Untrained(Fixed, ImageMethod):
    """The encoder with its initial weights."""

    def nets(self) -> dict[str, Encoder]:
        """Returns the encoder, and the head if there is one, which draws from the same key as that of a method that trains it."""
        return super().nets() if self.projection else {"encoder": self.encoder}


@dataclass(frozen=True)
class Pixels(Untrained):
    """The pixels themselves, between 0 and 1, without an encoder."""

    def nets(self) -> dict[str, Encoder]:
        """Returns no nets."""
        return {}

    def init(self, key: jax.Array, constants: Mapping[str, Any]) -> Params:
        """Returns a number that nothing uses."""
        return Params({}, {"nothing": jnp.zeros(())}, {})

    def encode(self, net: Any, kept: Any, examples: Any) -> jax.Array:
        """Returns the pixels, `[b, h w c]`."""
        return examples["images"].reshape(len(examples["images"]), -1).astype(jnp.float32) / 255
