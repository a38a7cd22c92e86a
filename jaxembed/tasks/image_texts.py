"""Images and their texts as a task: pairs to train on, and others on which retrieval is measured in both directions."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, ClassVar, Self

import jax
import numpy as np

from jaxembed.data.inputs import ImageInput, TextInput
from jaxembed.data.pairs import ImageTexts as Pairs
from jaxembed.data.pairs import read_image_texts
from jaxembed.data.parts import with_dev
from jaxembed.data.tokenized import tokenized_images
from jaxembed.evaluation.geometry import geometry
from jaxembed.evaluation.retrieval import check_ids, cross_retrieval, random_recall
from jaxembed.pretrained import Parts, tokenizer_for
from jaxembed.ranges import Count, CountOrZero, Range
from jaxembed.tasks.base import DEV, GEOMETRY, Channels, Figures, Read, Task, measured, refusal, shape_of_vectors
from jaxembed.tasks.pictures import PROJECTED, of_pairs, with_thumbnails
from jaxembed.vectors import KeyedVectors

_WATCHED = "retrieval/watched/recall@10"


@dataclass(frozen=True)
class ImageTexts(Task):
    """Pairs of an image and a text to train on, and others among which retrieval is measured."""

    train_split: str = "train"  # Split to train on.
    test_split: str = "test"  # Split in which retrieval is measured, in both directions.
    image: str = "image"  # Column of the images.
    text: str = "name"  # Column of the texts, or a template of columns: "{name}, {base_colour}".
    picture: str | None = None  # Column that identifies pictures that stand in several rows; None: equal pixels do.
    size: tuple[Count, Count] | None = (48, 36)  # Height and width to which images are resized.
    channels: Channels | None = 3  # 1 for grey, 3 for colour.
    max_images: CountOrZero = 0  # Number of training pairs, the first of the split; 0 takes all.
    # Share of the training pictures that is not trained on; settings are chosen by the figures on it. 0 sets none apart.
    validation: Annotated[float, Range(least=0, most=0.5)] = 0.1
    # wordpiece, bpe or word, which are trained on the training texts, a tokenizer.json, or a checkpoint or run that has one.
    tokenizer: str = "wordpiece"
    vocab_size: Count = 4000  # Size of the vocabulary of a tokenizer that is trained.
    # Maximum number of tokens of a text, including those at its ends. Longer texts are cut, and counted.
    max_length: Annotated[int, Range(least=3, why="the ends of a text take two")] = 24

    unit: ClassVar[str] = "pairs"
    columns: ClassVar[Mapping[str, str]] = {
        "image → text R@10": "retrieval/image_to_text/recall@10",
        "text → image R@10": "retrieval/text_to_image/recall@10",
        "image → text R@1": "retrieval/image_to_text/recall@1",
        "text → image R@1": "retrieval/text_to_image/recall@1",
        "image → text MRR": "retrieval/image_to_text/mrr",
        "random R@10": "retrieval/random/recall@10",
    }
    curves: ClassVar[tuple[str, ...]] = ("epoch/loss", _WATCHED, "geometry/effective_rank")
    unranked: ClassVar[tuple[str, ...]] = ("random R@10",)

    def started(self, parts: Parts) -> Self:
        """Returns the task with the tokenizer of a checkpoint, and pictures of its size."""
        return replace(
            self,
            tokenizer=parts.pinned,
            max_length=parts.most(self.max_length),
            size=parts.size,
            channels=parts.nets["image"].encoder["channels"],
        )

    def read(self) -> Read:
        """Reads both splits, divides the first if a part is set apart, and trains the tokenizer."""
        columns = {"image": self.image, "text": self.text, "picture": self.picture}
        reading: dict[str, Any] = {**columns, "size": self.size, "channels": self.channels, **self.origin}
        wanted = with_dev(self.max_images, self.validation)
        whole = read_image_texts(self.data, split=self.train_split, max_images=wanted, **reading)
        train, dev = whole.parted(self.validation)
        train = train.head(self.max_images)
        test = read_image_texts(self.data, split=self.test_split, **reading)
        tokenizer = tokenizer_for(train.texts, self.tokenizer, self.vocab_size)
        text, pixels = TextInput(tokenizer, self.max_length), test.images.images
        tokenized = tokenized_images(train, tokenizer, self.max_length)
        more = {"truncated": tokenized.truncated, "tokenizer": tokenizer.summary(), "test": test.summary()}
        judged = {"image": {"images": pixels}, "text": text.examples(test.texts)}
        if dev:
            more["dev"] = dev.summary()
            judged |= {"dev/image": {"images": dev.images.images}, "dev/text": text.examples(dev.texts)}
        inputs = {"image": ImageInput(*pixels.shape[1:]), "text": text}
        return Read(tokenized, len(train), train.fingerprint, train.summary() | more, dev=dev, inputs=inputs,
                    judged=judged, rest=test, judged_by=test.fingerprint)  # fmt: skip

    def probes(self) -> tuple[Any, Any]:
        """Measures the geometry of the watched vectors now and then, and after each pass how well images find their texts."""
        return shape_of_vectors, lambda vectors: {_WATCHED: np.array([*map(self._recall, vectors)])}

    def _recall(self, vectors: jax.Array) -> float:
        image, text = np.split(np.asarray(vectors), 2)  # the watched images come first, their texts after them
        texts, pictures = (ids[: len(image)] for ids in (self.found.train.texts, self.found.train.pictures))
        return cross_retrieval(image, text, texts, groups=pictures)["a_to_b/recall@10"]

    def unmeasurable(self) -> dict[str, str]:
        """Nothing can be measured if all pairs have the same text, since every answer would be right."""
        why = refusal(lambda: check_ids(self.found.rest.ids))
        return dict.fromkeys(self.columns.values(), why) if why else {}

    def judge(self, vectors: dict[str, np.ndarray]) -> Figures:
        """Returns `retrieval/...` among all test pairs in both directions, and `geometry/...` of the images.

        A text that equals the query's counts as right, and so do all texts of a picture. A picture with several texts
        is searched once. If pairs were set apart, the same figures among these have the suffix `-dev`.
        """
        figures = measured(GEOMETRY, lambda: geometry(vectors["image"]), "geometry/")
        names = [key.partition("/")[2] for key in self.columns.values()]
        for side, pairs, end in (("", self.found.rest, ""), ("dev/", self.found.dev, DEV)):
            if pairs:
                both = vectors[f"{side}image"], vectors[f"{side}text"]
                found = measured(names, partial(_retrieval, *both, pairs), "retrieval/")
                figures |= {f"{name}{end}": value for name, value in found.items()}
        return figures

    def pictures(self, vectors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Shows some texts and some images of the test set, each with the images nearest to it."""
        return of_pairs(self.found.rest, vectors["image"], vectors["text"])

    def projected(self, product: KeyedVectors) -> KeyedVectors:
        """Returns the first test images, with thumbnails, named by their texts."""
        test = self.found.rest
        keys = [f"{i} {' '.join(text.split())}" for i, text in enumerate(test.texts[:PROJECTED])]
        return with_thumbnails(keys, product.vectors, test.images.images)


def _retrieval(image: np.ndarray, text: np.ndarray, pairs: Pairs) -> dict[str, float]:
    """Returns the figures of retrieval among pairs in both directions, and those of a random ranking."""
    check_ids(pairs.ids)
    found = cross_retrieval(image, text, pairs.ids, groups=pairs.pictures, names=("image", "text"))
    chance = random_recall(pairs.ids, pairs.ids, groups=pairs.pictures)
    return found | {f"random/{name}": value for name, value in chance.items()}
