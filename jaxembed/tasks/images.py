"""Images as a task: what to train an encoder on, and how well its vectors tell the classes of others apart."""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

from jaxembed.data.images import Images, read_images
from jaxembed.evaluation.geometry import geometry
from jaxembed.evaluation.knn import knn_accuracy
from jaxembed.evaluation.probe import linear_probe
from jaxembed.evaluation.retrieval import nearest_items
from jaxembed.methods.dense import embed
from jaxembed.tasks.pictures import retrieval_grid
from jaxembed.training.method import Params
from jaxembed.vectors import KeyedVectors

#: Columns of a table of image vectors: the keys of a run's summary.
COLUMNS = {"linear": "probe/linear", "kNN": "probe/knn", "effective rank": "geometry/effective_rank"}

#: Metrics of a run of an encoder that are worth drawing.
CURVES = ("epoch/loss", "geometry/effective_rank", "geometry/dimension_std")

PICTURED, NEIGHBOURS, PROJECTED = 10, 8, 1000
ITERATIONS = 100  # of the linear probe
_JUDGED: dict[str, dict[str, float | None]] = {}


@dataclass(frozen=True)
class ImageTask:
    """Images to train on, without their labels but for SupCon, and those that are to be told apart after.

    k: neighbours that vote. origin: the arguments of `read` that give it again.
    """

    train: Images
    test: Images
    k: int = 200
    origin: Mapping[str, Any] = field(default_factory=dict)

    unit = "images"

    @classmethod
    def read(
        cls, data: str, *, train_split: str = "train", test_split: str = "test", max_images: int = 0, k: int = 200,
        **reading: Any,
    ) -> "ImageTask":  # fmt: skip
        """Reads both splits of a dataset as `read_images` does with `reading`; max_images: of the training split."""
        train = read_images(data, split=train_split, max_images=max_images, **reading)
        test = read_images(data, split=test_split, names=train.names or None, **reading)
        told = {"train_split": train_split, "test_split": test_split, "max_images": max_images, "k": k, **reading}
        return cls(
            train,
            test,
            k,
            {"data": data, **{n: value for n, value in told.items() if value is not None or n == "label"}},
        )

    @property
    def fingerprint(self) -> str:
        """Of the images that are trained on."""
        return self.train.fingerprint

    @property
    def examples(self) -> int:
        """Images in a pass."""
        return len(self.train)

    def about(self) -> dict[str, Any]:
        """The images, for environment.json."""
        return {**self.train.summary(), "test": self.test.summary()}

    def data(self, method: Any, held_out: bool = False) -> Any:
        """The training images; nothing is held out."""
        return None if held_out else self.train

    def size(self, data: Images) -> int:
        """Images in a pass."""
        return len(data)

    def settings(self, method: Any) -> dict[str, Any]:
        """How to read the images again."""
        return {"task": {"class": "ImageTask", **self.origin}}

    def probes(self) -> tuple[Any, Any]:
        """The shape of the watched images' vectors, by which a collapse shows."""
        return shape_of_vectors, lambda vectors: {}

    def embed(self, method: Any, params: Params) -> np.ndarray:
        """Vectors of the test images and then of those that were trained on."""
        return np.concatenate([embed(method, params, method.examples(images)) for images in (self.test, self.train)])

    def product(self, vectors: np.ndarray) -> KeyedVectors:
        """The vectors, named test/0, test/1, ..., train/0, ..."""
        return KeyedVectors([*(f"test/{i}" for i in range(len(self.test))),
                             *(f"train/{i}" for i in range(len(self.train)))], vectors)  # fmt: skip

    def _parts(self, product: KeyedVectors) -> tuple[np.ndarray, np.ndarray]:
        return product.vectors[: len(self.test)], product.vectors[len(self.test) :]

    def judge(self, vectors: KeyedVectors) -> dict[str, float | None]:
        """`probe/linear` and `probe/knn` on the test images, where there are labels; `geometry/...` of their vectors."""
        test, train = self._parts(vectors)
        against = f"{self.k} {self.train.fingerprint} {self.test.fingerprint}".encode()
        digest = hashlib.blake2b(vectors.vectors.tobytes() + against).hexdigest()
        if digest in _JUDGED:  # the same bits, as those of pixels are for every seed
            return dict(_JUDGED[digest])
        found: dict[str, float | None] = {f"geometry/{name}": told(value) for name, value in geometry(test).items()}
        if self.train.labels is not None and self.test.labels is not None:
            sides = (train, self.train.labels, test, self.test.labels)
            found["probe/knn"] = knn_accuracy(*sides, k=min(self.k, len(train)))
            found["probe/linear"] = linear_probe(*sides, iterations=ITERATIONS)
        _JUDGED[digest] = found
        return dict(found)

    def shown(self, product: KeyedVectors) -> dict[str, np.ndarray]:
        """Some test images and the training images nearest to each, framed by whether they are of the same class."""
        test, train = self._parts(product)
        asked = spread(self.test, PICTURED)
        found = nearest_items(test[asked], train, min(NEIGHBOURS, len(train)))
        ours, theirs = self.test.labels, self.train.labels
        right = theirs[found] == ours[asked][:, None] if ours is not None and theirs is not None else None
        return {"pictures/retrieval": retrieval_grid(self.test.images[asked], self.train.images[found], right)}

    def projected(self, product: KeyedVectors) -> KeyedVectors:
        """The first test images, with thumbnails."""
        n = min(PROJECTED, len(self.test))
        names, labels = self.test.names, self.test.labels
        key = lambda i: f"{i} {names[labels[i]]}" if labels is not None and names else str(i)
        return with_thumbnails([key(i) for i in range(n)], product.vectors[:n], self.test.images[:n])


def with_thumbnails(keys: list[str], vectors: np.ndarray, images: np.ndarray) -> KeyedVectors:
    """Vectors that the projector shows as their images, uint8 `[n, h, w, c]`."""
    shown = KeyedVectors(keys, vectors)
    shown.sprite = images  # pyright: ignore[reportAttributeAccessIssue]
    return shown


def shape_of_vectors(vectors: jax.Array) -> dict[str, np.ndarray]:
    """`geometry/...` of each run's vectors `[runs, n, d]`."""
    found = [jax.device_get(_geometry(one)) for one in vectors]
    return {f"geometry/{name}": np.stack([one[name] for one in found]) for name in found[0]}


_geometry = jax.jit(geometry)


def spread(images: Images, count: int) -> np.ndarray:
    """Places of some images, of all classes in turn where there are labels."""
    if images.labels is None:
        return np.linspace(0, len(images) - 1, min(count, len(images))).astype(int)
    order = np.argsort(images.labels, kind="stable")
    rank = np.empty(len(order), int)
    _, starts, sizes = np.unique(images.labels[order], return_index=True, return_counts=True)
    rank[order] = np.arange(len(order)) - np.repeat(starts, sizes)
    return np.lexsort((images.labels, rank))[:count]


def told(value: Any) -> float | None:
    """A figure as a summary has it: None where it is not finite."""
    return float(value) if math.isfinite(float(value)) else None
