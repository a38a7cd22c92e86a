"""Images and their texts as a task: pairs to train on, and retrieval among others, both ways."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import numpy as np

from jaxembed.data.pairs import ImageTexts, read_image_texts
from jaxembed.data.tokenized import TokenizedImages, text_rows, tokenized_images
from jaxembed.data.tokens import Tokenizer, tokenizer_for
from jaxembed.evaluation.geometry import geometry
from jaxembed.evaluation.retrieval import cross_retrieval, nearest_items, random_recall
from jaxembed.methods.dense import embed
from jaxembed.tasks.images import NEIGHBOURS, PICTURED, PROJECTED, shape_of_vectors, told, with_thumbnails
from jaxembed.tasks.pictures import retrieval_grid
from jaxembed.training.method import Params
from jaxembed.vectors import KeyedVectors

#: Columns of a table: the keys of a run's summary.
COLUMNS = {
    "image → text R@10": "retrieval/image_to_text/recall@10",
    "text → image R@10": "retrieval/text_to_image/recall@10",
    "image → text R@1": "retrieval/image_to_text/recall@1",
    "text → image R@1": "retrieval/text_to_image/recall@1",
    "image → text MRR": "retrieval/image_to_text/mrr",
    "random R@10": "retrieval/random/recall@10",
}

#: Metrics of a run that are worth drawing.
CURVES = ("epoch/loss", "retrieval/watched/recall@10", "geometry/effective_rank")


@dataclass(frozen=True)
class ImageTextTask:
    """Pairs to train on, and others to be found.

    tokenizer, max_length: how texts become ids; longer ones are cut. origin: the arguments of `read` that give it again.
    """

    train: ImageTexts
    test: ImageTexts
    tokenizer: Tokenizer
    max_length: int = 24
    origin: Mapping[str, Any] = field(default_factory=dict)

    unit = "pairs"

    @classmethod
    def read(
        cls, data: str, *, train_split: str = "train", test_split: str = "test", max_images: int = 0,
        tokenizer: str = "wordpiece", vocab_size: int = 4000, max_length: int = 24, **reading: Any,
    ) -> "ImageTextTask":  # fmt: skip
        """Reads both splits of a dataset as `read_image_texts` does with `reading`.

        tokenizer: wordpiece, bpe or word, trained on the training texts, or a tokenizer.json.
        """
        if isinstance(reading.get("size"), list):
            reading["size"] = tuple(reading["size"])
        train = read_image_texts(data, split=train_split, max_images=max_images, **reading)
        test = read_image_texts(data, split=test_split, **reading)
        made = tokenizer_for(train.texts, tokenizer, vocab_size)
        known = {"train_split": train_split, "test_split": test_split, "max_images": max_images, "tokenizer": tokenizer,
                 "vocab_size": vocab_size, "max_length": max_length, **reading}  # fmt: skip
        origin = {"data": data, **{name: value for name, value in known.items() if value is not None}}
        return cls(train, test, made, max_length, origin)

    @property
    def fingerprint(self) -> str:
        """Of the pairs that are trained on."""
        return self.train.fingerprint

    @property
    def examples(self) -> int:
        """Pairs in a pass."""
        return len(self.train)

    @cached_property
    def _tokenized(self) -> TokenizedImages:
        return tokenized_images(self.train, self.tokenizer, self.max_length)

    def about(self) -> dict[str, Any]:
        """The pairs, for environment.json."""
        more = {"truncated": self._tokenized.truncated, "tokenizer": self.tokenizer.summary()}
        return {**self.train.summary(), **more, "test": self.test.summary()}

    def data(self, method: Any, held_out: bool = False) -> Any:
        """The training pairs; nothing is held out."""
        return None if held_out else self._tokenized

    def size(self, data: TokenizedImages) -> int:
        """Pairs in a pass."""
        return len(data.images)

    def settings(self, method: Any) -> dict[str, Any]:
        """How to read the pairs again."""
        return {"task": {"class": "ImageTextTask", **self.origin}}

    def probes(self) -> tuple[Any, Any]:
        """The shape of the watched vectors now and then; how well they find each other after each pass."""

        def found(vectors: jax.Array) -> dict[str, np.ndarray]:
            recalls = []
            for one in np.asarray(vectors):
                image, text = np.split(one, 2)
                recalls.append(cross_retrieval(image, text, self.train.ids[: len(image)])["a_to_b/recall@10"])
            return {"retrieval/watched/recall@10": np.asarray(recalls)}

        return shape_of_vectors, found

    def embed(self, method: Any, params: Params) -> np.ndarray:
        """Vectors of the test images, and then of their texts."""
        ids = text_rows(self.test.texts, self.tokenizer, self.max_length)
        image = embed(method, params, {"images": self.test.images.images})
        return np.concatenate([image, embed(method, params, {"ids": ids}, encode=method.encode_text)])

    def product(self, vectors: np.ndarray) -> KeyedVectors:
        """The vectors, named image/0, ..., text/0, ..."""
        return KeyedVectors([f"{side}/{i}" for side in ("image", "text") for i in range(len(self.test))], vectors)

    def judge(self, vectors: KeyedVectors) -> dict[str, float | None]:
        """`retrieval/...` among all test pairs, both ways, an equal text counting as right; `geometry/...` of the images."""
        image, text = np.split(vectors.vectors, 2)
        names = {"a_to_b": "image_to_text", "b_to_a": "text_to_image"}
        found: dict[str, float | None] = {}
        for key, value in cross_retrieval(image, text, self.test.ids).items():
            way, _, figure = key.partition("/")
            found[f"retrieval/{names[way]}/{figure}"] = told(value)
        chance = random_recall(self.test.ids, self.test.ids)
        found |= {f"retrieval/random/{key}": told(value) for key, value in chance.items()}
        return found | {f"geometry/{key}": told(value) for key, value in geometry(image).items()}

    def shown(self, product: KeyedVectors) -> dict[str, np.ndarray]:
        """Some texts of the test set and the images nearest to each; some images and the images nearest to them."""
        image, text = np.split(product.vectors, 2)
        asked = np.linspace(0, len(self.test) - 1, min(PICTURED, len(self.test))).astype(int)
        pictures, count = self.test.images.images, min(NEIGHBOURS, len(self.test))
        found = nearest_items(text[asked], image, count)
        right = self.test.ids[found] == self.test.ids[asked][:, None]
        captions = [self.test.texts[i] for i in asked]
        of_texts = retrieval_grid(None, pictures[found], right, captions)
        others = nearest_items(image[asked], image, min(count + 1, len(self.test)))[:, 1:]  # the nearest is itself
        of_images = retrieval_grid(pictures[asked], pictures[others])
        return {"pictures/retrieval-text-to-image": of_texts, "pictures/retrieval-images": of_images}

    def projected(self, product: KeyedVectors) -> KeyedVectors:
        """The first test images, with thumbnails and their texts for names."""
        n = min(PROJECTED, len(self.test))
        keys = [f"{i} {' '.join(self.test.texts[i].split())}" for i in range(n)]
        return with_thumbnails(keys, product.vectors[:n], self.test.images.images[:n])
