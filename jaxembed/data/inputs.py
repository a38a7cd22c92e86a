"""Turns raw inputs into examples of a method. A run keeps these objects with its weights, so that it needs no data."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from jaxembed.data.decode import as_pixels, reason, upright
from jaxembed.data.documents import DocumentInput
from jaxembed.data.fields import FieldsInput
from jaxembed.data.histories import HistoryInput
from jaxembed.data.tokenized import padded_by_zero
from jaxembed.data.tokens import Tokenizer, Tokens, encode, read_tokenizer
from jaxembed.data.triples import Triples
from jaxembed.naming import unknown

_AT_ONCE = 16  # number of pictures for which threads are worthwhile
_SORTED = 1 << 14  # number of texts that are sorted by length at a time
_TOKENIZER = "tokenizer.json"
_GRAPH = "graph.safetensors"


@dataclass(frozen=True, eq=False)
class TextInput:
    """Turns texts into token ids, int32 `[n, l]`, padded with 0 to the longest; texts over `max_length` are cut."""

    tokenizer: Tokenizer
    max_length: int  # Maximum number of tokens of a text, including those at its ends; 0 cuts none.
    classes: tuple[str, ...] = ()  # What a classifier's scores stand for.

    kind: ClassVar[str] = "text"
    column: ClassVar[str] = "ids"
    rank: ClassVar[int] = 2

    def within(self, longest: int | None) -> "TextInput":
        """Returns the same for a model that takes `longest` tokens of a text, or any number if it is None."""
        return self if longest is None or 0 < self.max_length <= longest else replace(self, max_length=longest)

    def blank(self, n: int, length: int = 1) -> np.ndarray:
        """Returns empty texts for padding a batch, `[n, l]`, with room for `length` tokens.

        Between two powers of two there are four lengths, all divided by 4: few shapes are compiled, and few tokens are padding.
        """
        step = max(4, (1 << (max(length, 1) - 1).bit_length()) // 8)
        room = -(-length // step) * step
        return np.zeros((n, min(room, self.max_length) if self.max_length else room), np.int32)

    def batches(
        self, texts: Sequence[str] | np.ndarray, size: int, too_long: Callable[[int], None]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields the places of at most `size` texts of like length, and their ids `[size, l]`, rows of zeros behind them.

        too_long: called with the number of texts that are longer than `max_length`, before they are encoded.
        """
        for start in range(0, len(texts), _SORTED):
            part = texts[start : start + _SORTED]
            tokens = self._tokens(part, start)
            if tokens.truncated:
                too_long(tokens.truncated)
            ids, lengths = padded_by_zero(tokens, self.tokenizer), tokens.lengths
            order = np.argsort(-lengths, kind="stable")
            for at in range(0, len(order), size):
                rows = order[at : at + size]
                longest = int(lengths[rows[0]])
                batch = self.blank(size, longest)
                batch[: len(rows), :longest] = ids[rows, :longest]
                yield start + rows, batch

    def examples(self, texts: Sequence[str] | np.ndarray, first: int = 0) -> dict[str, np.ndarray]:
        """Returns the token ids of texts. Raises ValueError for blank texts and other inputs; the first is number `first`."""
        return {self.column: padded_by_zero(self._tokens(texts, first), self.tokenizer)}

    def _tokens(self, texts: Sequence[str] | np.ndarray, first: int) -> Tokens:
        for row, text in enumerate(texts, first):
            if kind_of(text) != self.kind:
                raise ValueError(f"this model takes texts: number {row} is {described(text)}; give strings")
            if not text.strip():
                raise ValueError(f"text {row} is blank: leave it out")
        return encode(self.tokenizer, texts, self.max_length)

    def save(self, folder: Path) -> dict[str, Any]:
        """Writes tokenizer.json; returns what else `read_inputs` needs, as JSON values."""
        self.tokenizer.save(folder / _TOKENIZER)
        one = self.tokenizer
        ends = {"pad": one.pad, "cls": one.cls, "sep": one.sep}
        named = {name: (None if i is None else one.core.id_to_token(i)) or "" for name, i in ends.items()}
        classes = {"classes": list(self.classes)} if self.classes else {}
        return {"max_length": self.max_length, "ends": named, "buckets": one.buckets, **classes}

    @classmethod
    def open(
        cls, folder: Path, max_length: int, ends: dict[str, str], buckets: int = 0, classes: Sequence[str] = ()
    ) -> "TextInput":
        """Opens what `save` wrote. Raises FileNotFoundError if there is no tokenizer."""
        if not (folder / _TOKENIZER).is_file():
            raise FileNotFoundError(without_tokenizer(folder))
        return cls(read_tokenizer(folder, **ends).with_buckets(buckets), max_length, tuple(classes))


@dataclass(frozen=True)
class ImageInput:
    """Turns pictures into pixels, uint8 `[n, height, width, channels]`, as `jaxembed.data.read_images` does.

    A picture is a file (`pathlib.Path`), a Pillow image or an array of uint8, `[h, w]`, `[h, w, 1]` or `[h, w, 3]`. A
    picture of another size is resized, without keeping its proportions or, with `shortest`, keeping them and cutting out the
    middle; grey and colour are converted into each other.
    """

    height: int
    width: int
    channels: int  # 1 (grey) or 3 (colour).
    # The shorter side of a resized picture, out of whose middle height and width are cut; 0 resizes to these at once.
    shortest: int = 0
    resample: str = "bilinear"  # How it is resized: nearest, bilinear, bicubic or lanczos.

    kind: ClassVar[str] = "image"
    column: ClassVar[str] = "images"
    rank: ClassVar[int] = 4

    def blank(self, n: int, length: int = 0) -> np.ndarray:
        """Returns black pictures for padding a batch; they all have one size, whatever `length` is."""
        return np.zeros((n, self.height, self.width, self.channels), np.uint8)

    def batches(
        self, images: Sequence[Any] | np.ndarray, size: int, too_long: Callable[[int], None]
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yields the places of at most `size` pictures, and their pixels, black pictures behind them; none is too long."""
        for start in range(0, len(images), size):
            pixels, batch = self.examples(images[start : start + size], start)[self.column], self.blank(size)
            batch[: len(pixels)] = pixels
            yield np.arange(start, start + len(pixels)), batch

    def examples(self, images: Sequence[Any] | np.ndarray, first: int = 0) -> dict[str, np.ndarray]:
        """Returns the pixels of pictures. Raises ValueError, naming the picture, if one cannot be read or is not a picture."""
        from PIL import Image

        Image.init()  # its registry of formats is filled at the first use, which threads must not share
        if len(images) < _AT_ONCE or isinstance(images[0], np.ndarray):
            rows = list(map(self._pixels, count(first), images))
        else:
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                rows = list(pool.map(self._pixels, count(first), images))
        return {self.column: np.stack(rows)}

    def _pixels(self, row: int, image: Any) -> np.ndarray:
        from PIL import Image

        if kind_of(image) != self.kind:
            hint = "give paths (pathlib.Path('cat.png') for a file), Pillow images or arrays"
            raise ValueError(f"this model takes pictures: number {row} is {described(image)}; {hint}")
        shape = (self.height, self.width)
        if isinstance(image, os.PathLike):
            return _read(image, self._resized)
        if not isinstance(image, Image.Image):
            image = np.asarray(image)
            if image.dtype != np.uint8:
                raise ValueError(
                    f"picture {row} is of {image.dtype}: give pixels as uint8, 0 to 255; those between 0 and 1 are "
                    "np.uint8(np.round(255 * pixels))"
                )
            if not _is_picture(image) or not image.size:
                raise ValueError(f"picture {row} has the shape {image.shape}: give [h, w], [h, w, 1] or [h, w, 3]")
            if image.shape == (*shape, self.channels):
                return image
            image = Image.fromarray(image[..., 0] if image.ndim == 3 and image.shape[-1] == 1 else image)
        return self._resized(image)

    def _resized(self, image: Any) -> np.ndarray:
        options = {"shortest": self.shortest, "resample": self.resample}
        return as_pixels(upright(image), (self.height, self.width), self.channels, **options)

    def save(self, folder: Path) -> dict[str, Any]:
        """Returns what `read_inputs` needs, as JSON values."""
        return asdict(self)

    @classmethod
    def open(cls, folder: Path, **settings: Any) -> "ImageInput":
        """Opens the result of `save`."""
        return cls(**settings)


@dataclass(frozen=True, eq=False)
class GraphInput:
    """Turns names of entities and relations into numbers, and holds the known facts."""

    graph: Triples

    kind: ClassVar[str] = "graph"

    def save(self, folder: Path) -> dict[str, Any]:
        """Writes graph.safetensors."""
        self.graph.save(folder / _GRAPH)
        return {}

    @classmethod
    def open(cls, folder: Path) -> "GraphInput":
        """Opens what `save` wrote. Raises FileNotFoundError if there is no graph."""
        if not (folder / _GRAPH).is_file():
            raise FileNotFoundError(f"{folder} has no {_GRAPH}, the names and facts of its graph: train it again")
        return cls(Triples.load(folder / _GRAPH))


@dataclass(frozen=True)
class NodeInput:
    """Says which groups the numbers of a method of nodes stand for; a graph is read as it is trained on."""

    groups: tuple[str, ...] = ()

    kind: ClassVar[str] = "nodes"

    def save(self, folder: Path) -> dict[str, Any]:
        """Returns what `read_inputs` needs, as JSON values."""
        return {"groups": list(self.groups)}

    @classmethod
    def open(cls, folder: Path, groups: Sequence[str]) -> "NodeInput":
        """Opens the result of `save`."""
        return cls(tuple(groups))


Input = TextInput | ImageInput | HistoryInput | FieldsInput
Things = Sequence[Any] | np.ndarray
_INPUTS: dict[str, type[Any]] = {
    "text": TextInput, "image": ImageInput, "graph": GraphInput, "history": HistoryInput,
    "fields": FieldsInput, "documents": DocumentInput, "nodes": NodeInput,
}  # fmt: skip


def read_inputs(folder: str | os.PathLike, settings: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Returns the inputs of a run by kind, from its folder and the results of their `save`."""
    for kind in settings:
        if kind not in _INPUTS:
            raise unknown("input", kind, _INPUTS)
    return {kind: _INPUTS[kind].open(Path(folder), **own) for kind, own in settings.items()}


def without_tokenizer(folder: Path) -> str:
    """Returns the message about a run whose tokenizer is missing."""
    again = "train it again, as `jaxembed reproduce RUN --output FOLDER` does"
    return f"{folder} has no {_TOKENIZER}, so that it cannot read texts: {again}"


def kind_of(thing: Any) -> str | None:
    """Returns the kind of an input: "text" (a string), "image" (a path, a Pillow image, an array of numbers), or None."""
    from PIL import Image

    if isinstance(thing, str):
        return "text"
    is_numbers = hasattr(thing, "__array__") and np.asarray(thing).dtype.kind in "buif" and np.ndim(thing) > 0
    return "image" if is_numbers or isinstance(thing, os.PathLike | Image.Image) else None


def described(thing: Any) -> str:
    """Describes an input, for people."""
    return {"text": "a text", "image": "a picture"}.get(kind_of(thing) or "", f"{thing!r:.40}")


def listed(given: Any) -> tuple[Things, bool]:
    """Returns inputs as a sequence, and whether a single one was given.

    An array `[h, w]`, `[h, w, 1]` or `[h, w, 3]` is one picture, `[n, h, w, c]` are several. Raises ValueError for `[n,
    h, w]`, for something that cannot be encoded, and for an empty input.
    """
    from PIL import Image

    if isinstance(given, str | os.PathLike | Image.Image):
        return [given], True
    if hasattr(given, "__array__"):
        given = np.asarray(given)
        if given.dtype.kind in "OUT":
            given = given.tolist()
        elif _is_picture(given):
            return [given], True
        elif given.ndim != 4:
            raise ValueError(
                f"an array of shape {given.shape} is no picture: give [h, w, c], or several as [n, h, w, c]"
            )
    if not isinstance(given, Iterable) or isinstance(given, bytes | dict):
        raise ValueError(f"expected texts or pictures to encode, found {given!r:.40}")
    things = given if isinstance(given, np.ndarray) else list(given)
    if not len(things):
        raise ValueError("there is nothing to encode: give at least one text or picture")
    return things, False


def _is_picture(array: np.ndarray) -> bool:
    return array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in (1, 3))


def _read(path: os.PathLike, pixels: Callable[[Any], np.ndarray]) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return pixels(image)
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no picture {os.fspath(path)}") from None
    except Exception as error:  # Pillow's decoders raise nearly anything at damaged bytes
        raise ValueError(f"{os.fspath(path)} cannot be read as a picture: {reason(error)}") from error
