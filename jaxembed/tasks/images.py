"""Images as a task: what to train an encoder on, and how well its vectors tell the classes of others apart."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from jaxembed.data.images import read_images
from jaxembed.data.inputs import ImageInput
from jaxembed.evaluation.geometry import geometry
from jaxembed.evaluation.knn import knn_accuracy
from jaxembed.evaluation.probe import linear_probe
from jaxembed.tasks.base import Figures, Read, Task, told
from jaxembed.tasks.pictures import PROJECTED, of_classes, with_thumbnails
from jaxembed.vectors import KeyedVectors

ITERATIONS = 100  # of the linear probe


@dataclass(frozen=True)
class Images(Task):
    """Images to train on, without their classes but for SupCon, and others whose classes are to be told."""

    train_split: str = "train"  # What is trained on.
    test_split: str = "test"  # What the vectors are judged on.
    max_images: int = 0  # Only so many of the training images; 0 takes all.
    k: int = 200  # Neighbours that vote on a class.
    column: str = "image"  # Column of the images.
    label: str | None = "label"  # Column of their classes, by which vectors are judged; none where there is none.
    size: int | tuple[int, int] | None = None  # Side, or height and width, that images are brought to.
    channels: int | None = None  # 1 for grey, 3 for colour; by default 1 where all images are grey.

    unit: ClassVar[str] = "images"
    columns: ClassVar[Mapping[str, str]] = {
        "linear": "probe/linear", "kNN": "probe/knn", "effective rank": "geometry/effective_rank",
    }  # fmt: skip
    curves: ClassVar[tuple[str, ...]] = ("epoch/loss", "geometry/effective_rank", "geometry/dimension_std")
    unranked: ClassVar[tuple[str, ...]] = ("effective rank",)

    def read(self) -> Read:
        """Both splits."""
        how: dict[str, Any] = {"column": self.column, "label": self.label, "size": self.size, "channels": self.channels}
        train = read_images(self.data, split=self.train_split, max_images=self.max_images, **how, **self.origin)
        test = read_images(self.data, split=self.test_split, names=train.names or None, **how, **self.origin)
        about = {**train.summary(), "test": test.summary()}
        judged = {"test": {"images": test.images}, "train": {"images": train.images}}
        inputs = {"image": ImageInput(*train.images.shape[1:])}
        return Read(train, len(train), train.fingerprint, about, inputs=inputs, judged=judged, rest=test)

    @cached_property
    def _known(self) -> dict[int, Figures]:
        """Figures by the bits of their vectors: those of pixels are the same for every seed, and a probe takes long."""
        return {}

    def judge(self, vectors: dict[str, np.ndarray]) -> Figures:
        """`probe/linear` and `probe/knn` on the test images, where there are labels; `geometry/...` of their vectors."""
        train, test = self.found.train, self.found.rest
        key = hash(b"".join(part.tobytes() for part in vectors.values()))
        if key not in self._known:
            figures = told(geometry(vectors["test"]), "geometry/")
            if train.labels is not None and test.labels is not None:
                sides = (vectors["train"], train.labels, vectors["test"], test.labels)
                figures["probe/knn"] = knn_accuracy(*sides, k=min(self.k, len(train)))
                figures["probe/linear"] = linear_probe(*sides, iterations=ITERATIONS)
            self._known[key] = figures
        return dict(self._known[key])

    def pictures(self, vectors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Some test images and the training images nearest to each."""
        return of_classes(self.found.train, self.found.rest, vectors)

    def projected(self, product: KeyedVectors) -> KeyedVectors:
        """The first test images, with thumbnails."""
        test = self.found.rest
        key = lambda i: f"{i} {test.names[test.labels[i]]}" if test.labels is not None and test.names else str(i)
        keys = [key(i) for i in range(min(PROJECTED, len(test)))]
        return with_thumbnails(keys, product.vectors, test.images)
