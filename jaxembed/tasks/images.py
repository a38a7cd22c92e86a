"""Images as a task: an encoder is trained on some, and its vectors are judged by how well they separate classes of others."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Annotated, Any, ClassVar, Self

import numpy as np

from jaxembed.data.images import read_images
from jaxembed.data.inputs import ImageInput
from jaxembed.data.parts import set_apart, with_dev
from jaxembed.evaluation.checks import labels_of
from jaxembed.evaluation.geometry import geometry
from jaxembed.evaluation.knn import knn_accuracy
from jaxembed.evaluation.probe import check_probe, few_label_probe, fit_probe
from jaxembed.evaluation.retrieval import retrieval
from jaxembed.pretrained import Parts
from jaxembed.ranges import Count, CountOrZero, Range
from jaxembed.tasks.base import DEV, GEOMETRY, Channels, Figures, Read, Task, measured, refusal
from jaxembed.tasks.pictures import PROJECTED, of_classes, with_thumbnails
from jaxembed.vectors import KeyedVectors

ITERATIONS = 100  # iterations of the linear probe
MOST_DEV = 5_000  # maximum number of images that are set apart
FOUND = "retrieval/crop_to_image/recall@10"


@dataclass(frozen=True)
class Images(Task):
    """Images to train on, whose labels only SupCon uses, and others whose classes are predicted."""

    train_split: str = "train"  # Split to train on.
    test_split: str = "test"  # Split on which the vectors are judged.
    max_images: CountOrZero = 0  # Number of training images, the first of the split; 0 takes all.
    # Share of the training images, at most 5,000 images, that is not trained on; settings are chosen by the figures on it.
    # 0 sets none apart, which images that do not fit into memory require.
    validation: Annotated[float, Range(least=0, most=0.5)] = 0.1
    k: Count = 200  # Number of neighbours that vote on a class.
    few: CountOrZero = 0  # Number of labels per class for a second probe; 0 for no such probe.
    crops: bool = False  # Also judge how often a random part of a test image finds that image.
    # Side, or height and width, of test images by which the probe is judged as well, such as larger ones than those of training.
    larger: Count | tuple[Count, Count] | None = None
    column: str = "image"  # Column of the images.
    label: str | None = "label"  # Column of their classes, by which vectors are judged; None if there is none.
    size: Count | tuple[Count, Count] | None = None  # Side, or height and width, to which images are resized.
    channels: Channels | None = None  # 1 for grey, 3 for colour. By default 1 if all images are grey, otherwise 3.

    unit: ClassVar[str] = "images"
    curves: ClassVar[tuple[str, ...]] = ("epoch/loss", "geometry/effective_rank", "geometry/dimension_std")
    unranked: ClassVar[tuple[str, ...]] = ("effective rank",)

    @property
    def columns(self) -> Mapping[str, str]:
        """The columns of a table."""
        few = {f"{self.few} labels a class": "probe/few"} if self.few else {}
        crops = {"found by a part, R@10": FOUND} if self.crops else {}
        larger = {"linear, larger": "probe/linear-larger", "kNN, larger": "probe/knn-larger"} if self.larger else {}
        return {
            "linear": "probe/linear", **few, "kNN": "probe/knn", **larger, **crops,
            "effective rank": "geometry/effective_rank",
        }  # fmt: skip

    def started(self, parts: Parts) -> Self:
        """Returns the task with pictures of a checkpoint's size and channels."""
        return replace(self, size=parts.size, channels=parts.nets["image"].encoder["channels"])

    def read(self) -> Read:
        """Reads both splits, and divides the first if a part is set apart."""
        reading: dict[str, Any] = {
            "column": self.column,
            "label": self.label,
            "size": self.size,
            "channels": self.channels,
        }
        reading |= self.origin
        wanted = with_dev(self.max_images, self.validation, MOST_DEV)
        train, dev = read_images(self.data, split=self.train_split, max_images=wanted, **reading), None
        places, held = set_apart(len(train), self.validation, MOST_DEV)
        if len(held):
            part = lambda rows, name: train.take(rows, {"validation": self.validation, "part": name})
            train, dev = part(places, "train"), part(held, "dev")
        train = train.head(self.max_images)
        test = read_images(self.data, split=self.test_split, names=train.names or None, **reading)
        parts = {"test": test, "train": train, **({"dev": dev} if dev else {})}
        about = {**train.summary(), **{name: one.summary() for name, one in parts.items() if name != "train"}}
        judged = {name: {"images": one.images} for name, one in parts.items()}
        judged |= {"crop": {"images": test.crops()}} if self.crops else {}
        if self.larger:
            reading["size"] = self.larger
            large = read_images(self.data, split=self.test_split, names=train.names or None, **reading)
            judged |= {"larger": {"images": large.images}}
        inputs = {"image": ImageInput(*train.images.shape[1:])}
        return Read(
            train, len(train), train.fingerprint, about, dev=dev, inputs=inputs, judged=judged, rest=test,
            judged_by=test.fingerprint,
        )  # fmt: skip

    @cached_property
    def _known(self) -> dict[int, Figures]:
        """Figures by a hash of their vectors. The pixels of an image are the same for every seed, and a probe takes long."""
        return {}

    def unmeasurable(self) -> dict[str, str]:
        """kNN needs training images of every test class, the probe also two classes, and the geometry several test images."""
        train, test = self.found.train.labels, self.found.rest.labels
        found = {}
        if train is not None and test is not None:
            unseen = refusal(lambda: labels_of("test_labels", test, len(test), int(train.max()) + 1))
            found = {"probe/knn": unseen, "probe/linear": unseen or refusal(lambda: check_probe(train))}
            if self.few and (rarest := int(np.unique(train, return_counts=True)[1].min())) < self.few:
                found["probe/few"] = f"a class has {rarest} training images, fewer than {self.few}"
        if self.crops and len(self.found.rest) <= 10:
            found[FOUND] = "there are no more than 10 test images"
        if len(self.found.rest) < 2:
            found |= {f"geometry/{name}": "there is only one test image" for name in GEOMETRY}
        return {name: why for name, why in found.items() if why}

    def judge(self, vectors: dict[str, np.ndarray]) -> Figures:
        """Returns `probe/linear`, `probe/few` and `probe/knn` on the test images if they have labels, and `geometry/...`.

        With `crops`, also `retrieval/crop_to_image/recall@10`. If images were set apart, the probes' figures on these have
        the suffix `-dev`: `probe/linear-dev` and so on. Those on larger test images have `-larger`: the probe learns from the
        training images at their own size.
        """
        train, test, dev = self.found.train, self.found.rest, self.found.dev
        key = hash(b"".join(part.tobytes() for part in vectors.values()))
        if key not in self._known:
            figures = measured(GEOMETRY, lambda: geometry(vectors["test"]), "geometry/")
            if self.crops:
                pairs, ids = (vectors["crop"], vectors["test"]), np.arange(len(test))
                found = lambda: {FOUND: retrieval(*pairs, (ids, ids), ks=(10,))["recall@10"]}
                figures |= measured([FOUND], found)
            if train.labels is not None and test.labels is not None:
                known, k = (vectors["train"], train.labels), min(self.k, len(train))
                fitted = cache(lambda: fit_probe(*known, iterations=ITERATIONS))
                judged = {"": (vectors["test"], test.labels)} | ({DEV: (vectors["dev"], dev.labels)} if dev else {})
                judged |= {"-larger": (vectors["larger"], test.labels)} if self.larger else {}
                for name, labelled in judged.items():
                    knn = lambda name=name, labelled=labelled: {f"knn{name}": knn_accuracy(*known, *labelled, k=k)}
                    linear = lambda name=name, labelled=labelled: {f"linear{name}": fitted().accuracy(*labelled)}
                    few = lambda name=name, labelled=labelled: {
                        f"few{name}": few_label_probe(*known, *labelled, each=self.few)
                    }
                    measures = {"knn": knn, "linear": linear} | ({"few": few} if self.few else {})
                    for figure, measure in measures.items():
                        figures |= measured([f"{figure}{name}"], measure, "probe/")
            self._known[key] = figures
        return dict(self._known[key])

    def pictures(self, vectors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Shows some test images, each with the training images nearest to it."""
        return of_classes(self.found.train, self.found.rest, vectors)

    def projected(self, product: KeyedVectors) -> KeyedVectors:
        """Returns the first test images, with thumbnails."""
        test = self.found.rest
        key = lambda i: f"{i} {test.names[test.labels[i]]}" if test.labels is not None and test.names else str(i)
        keys = [key(i) for i in range(min(PROJECTED, len(test)))]
        return with_thumbnails(keys, product.vectors, test.images)
