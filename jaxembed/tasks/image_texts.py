"""Images and their texts as a task: pairs to train on, and retrieval among others, both ways."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import numpy as np

from jaxembed.data.inputs import ImageInput, TextInput
from jaxembed.data.pairs import read_image_texts
from jaxembed.data.tokenized import tokenized_images
from jaxembed.data.tokens import tokenizer_for
from jaxembed.evaluation.geometry import geometry
from jaxembed.evaluation.retrieval import cross_retrieval, random_recall
from jaxembed.tasks.base import Figures, Read, Task, shape_of_vectors, told
from jaxembed.tasks.pictures import PROJECTED, of_pairs, with_thumbnails
from jaxembed.vectors import KeyedVectors


@dataclass(frozen=True)
class ImageTexts(Task):
    """Images with a text each to train on, and others to be found."""

    train_split: str = "train"  # What is trained on.
    test_split: str = "test"  # What is searched.
    image: str = "image"  # Column of the images.
    text: str = "name"  # Column of the texts, or a template of columns: "{name}, {base_colour}".
    size: tuple[int, int] | None = (48, 36)  # Height and width that images are brought to.
    channels: int | None = 3  # 1 for grey, 3 for colour.
    max_images: int = 0  # Only so many of the training images; 0 takes all.
    tokenizer: str = "wordpiece"  # wordpiece, bpe or word, trained on the training texts, or a tokenizer.json.
    vocab_size: int = 4000  # Of a tokenizer that is trained.
    max_length: int = 24  # Tokens of a text, those at its ends included; longer texts are cut, and counted.

    unit: ClassVar[str] = "pairs"
    columns: ClassVar[Mapping[str, str]] = {
        "image → text R@10": "retrieval/image_to_text/recall@10",
        "text → image R@10": "retrieval/text_to_image/recall@10",
        "image → text R@1": "retrieval/image_to_text/recall@1",
        "text → image R@1": "retrieval/text_to_image/recall@1",
        "image → text MRR": "retrieval/image_to_text/mrr",
        "random R@10": "retrieval/random/recall@10",
    }
    curves: ClassVar[tuple[str, ...]] = ("epoch/loss", "retrieval/watched/recall@10", "geometry/effective_rank")
    unranked: ClassVar[tuple[str, ...]] = ("random R@10",)

    def read(self) -> Read:
        """Both splits, and the tokenizer that is trained on the first."""
        how: dict[str, Any] = {"image": self.image, "text": self.text, "size": self.size, "channels": self.channels}
        train = read_image_texts(self.data, split=self.train_split, max_images=self.max_images, **how, **self.origin)
        test = read_image_texts(self.data, split=self.test_split, **how, **self.origin)
        tokenizer = tokenizer_for(train.texts, self.tokenizer, self.vocab_size)
        text, pixels = TextInput(tokenizer, self.max_length), test.images.images
        tokenized = tokenized_images(train, tokenizer, self.max_length)
        more = {"truncated": tokenized.truncated, "tokenizer": tokenizer.summary(), "test": test.summary()}
        judged = {"image": {"images": pixels}, "text": text.examples(test.texts)}
        inputs = {"image": ImageInput(*pixels.shape[1:]), "text": text}
        about = train.summary() | more
        return Read(tokenized, len(train), train.fingerprint, about, inputs=inputs, judged=judged, rest=test)

    def probes(self) -> tuple[Any, Any]:
        """The shape of the watched vectors now and then; how well images find their texts after each pass."""
        found = lambda vectors: {"retrieval/watched/recall@10": np.array([*map(self._recall, vectors)])}
        return shape_of_vectors, found

    def _recall(self, vectors: jax.Array) -> float:
        image, text = np.split(np.asarray(vectors), 2)  # the watched images come first, their texts after them
        return cross_retrieval(image, text, self.found.train.texts[: len(image)])["a_to_b/recall@10"]

    def judge(self, vectors: dict[str, np.ndarray]) -> Figures:
        """`retrieval/...` among all test pairs, both ways, an equal text counting as right; `geometry/...` of the images."""
        ids = self.found.rest.ids
        figures = cross_retrieval(vectors["image"], vectors["text"], ids, names=("image", "text"))
        figures |= {f"random/{key}": value for key, value in random_recall(ids, ids).items()}
        return told(figures, "retrieval/") | told(geometry(vectors["image"]), "geometry/")

    def pictures(self, vectors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Some texts and some images of the test set, and the images nearest to each."""
        return of_pairs(self.found.rest, vectors["image"], vectors["text"])

    def projected(self, product: KeyedVectors) -> KeyedVectors:
        """The first test images, with thumbnails and their texts for names."""
        test = self.found.rest
        keys = [f"{i} {' '.join(text.split())}" for i, text in enumerate(test.texts[:PROJECTED])]
        return with_thumbnails(keys, product.vectors, test.images.images)
