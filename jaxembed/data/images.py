"""Images as one uint8 array, decoded once and memory-mapped from the cache afterwards."""

import json
import warnings
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxembed.data.cache import cached, content_digest, mapped_file
from jaxembed.data.columns import Opened, open_split, read_labels, rows_of
from jaxembed.data.decode import decode_images

if TYPE_CHECKING:
    import datasets

FORMAT = 1  # part of every cache key: increase it when the meaning of a cached file changes
DECODING = 2  # part of a cached file's path only: increase it when some images are decoded differently


@dataclass(frozen=True, eq=False)
class Images:
    """Images of one size and, if they have any, their classes.

    images: uint8 [n, height, width, channels], memory-mapped if it comes from the cache.
    labels: int32 [n] or None; label i has the name `names[i]`.
    fingerprint: 32 hexadecimal digits that depend only on the content and the settings.
    origin: the source of the images and how they were read, for the record of a run (JSON-ready).

    Raises ValueError for arrays of other shapes or types, and for labels outside the range of the names.
    """

    images: np.ndarray
    labels: np.ndarray | None
    names: tuple[str, ...]
    fingerprint: str
    origin: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            found = f"{self.images.dtype} {list(self.images.shape)}"
            raise ValueError(f"expected images as uint8 [n, height, width, channels], found {found}")
        if self.labels is None:
            return
        if self.labels.shape != (len(self.images),) or self.labels.dtype != np.int32:
            found = f"{self.labels.dtype} {list(self.labels.shape)}"
            raise ValueError(f"expected a label for each image as int32 [{len(self.images)}], found {found}")
        if len(wrong := np.flatnonzero((self.labels < 0) | (self.labels >= len(self.names)))):
            label = self.labels[wrong[0]]
            raise ValueError(f"image {wrong[0]} has the label {label}, outside 0..{len(self.names) - 1}")

    def __len__(self) -> int:
        return len(self.images)

    def head(self, n: int) -> "Images":
        """Returns the first `n` images, or all if `n` is 0 or too large. The names stay complete."""
        if n < 1 or n >= len(self):
            return self
        return self.take(slice(n), {"images": n})

    def take(self, rows: slice | np.ndarray, note: dict[str, Any]) -> "Images":
        """Returns the images at `rows`; `note`, which must identify these rows, is added to the origin and the fingerprint."""
        return replace(
            self,
            images=self.images[rows],
            labels=None if self.labels is None else self.labels[rows],
            fingerprint=_digest(self.fingerprint, note),
            origin=self.origin | note,
        )

    def crops(self, seed: int = 0) -> np.ndarray:
        """Returns a random part of each image at full size, uint8 like `images`.

        A part has .3 to 1 of the area and the image's shape, and is mirrored half of the time.
        """
        from PIL import Image  # which takes a moment to import

        random = np.random.default_rng(seed)
        height, width, channels = self.images.shape[1:]
        out = np.empty(self.images.shape, np.uint8)
        for i, image in enumerate(self.images):
            side = np.sqrt(random.uniform(0.3, 1))
            h, w = round(height * side), round(width * side)
            y, x = random.integers(height - h, endpoint=True), random.integers(width - w, endpoint=True)
            part = image[y : y + h, x : x + w][:, :: random.choice((-1, 1))]
            whole = Image.fromarray(part[..., 0] if channels == 1 else part).resize(
                (width, height), Image.Resampling.BILINEAR
            )
            out[i] = np.asarray(whole).reshape(height, width, channels)
        return out

    def summary(self) -> dict[str, Any]:
        """Returns what a run's environment.json records of its data."""
        sizes = {"images": len(self), "shape": list(self.images.shape[1:]), "classes": len(self.names)}
        return {**self.origin, **sizes, "fingerprint": self.fingerprint}


def read_images(
    data: "str | datasets.Dataset",
    *,
    split: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    column: str = "image",
    label: str | None = "label",
    names: Sequence[str] | None = None,
    size: int | tuple[int, int] | None = None,
    channels: int | None = None,
    max_images: int = 0,
    skip_corrupt: bool = False,
    cache: bool = True,
) -> Images:
    """Reads and decodes the images of a dataset (a Hugging Face Image column, or one of encoded bytes).

    `data` is named as `jaxembed.data.load` takes it with `split`, `config` and `revision`, or is a `datasets.Dataset`.
    `label` names the column of classes, None for none: a ClassLabel, texts, or whole numbers; pass `names` of the training
    split where another split may lack a class and the dataset itself does not name them.
    `size` (a side, or height and width) brings images of another size to it: the whole image, bilinear with
    anti-aliasing, proportions not kept. `channels` is 1 (grey), 3 (colour), or None: 1 where all images are grey.
    What is transparent becomes white, 16-bit grey its upper byte, and grey floats are scaled from 0 to 1; other grey levels
    of more than 8 bits are refused. An EXIF orientation is followed.
    The first `max_images` rows are read, or all.

    Decoded images of named datasets are kept in the cache (see `jaxembed.data.cache`) under a hash of the content and the
    settings, and memory-mapped. A `datasets.Dataset`, and everything when `cache` is false, is held in memory.

    Raises ValueError for an unknown column, images of several sizes without `size`, labels outside the range of names, and
    an image that cannot be decoded, naming the row; with `skip_corrupt` such rows are left out and a warning counts them.
    Raises as `jaxembed.data.load` does for a dataset that cannot be found or read.
    """
    settings = _settings(column, label, names, size, channels, max_images, skip_corrupt)
    opened = open_split(data, split, config, revision)
    if opened.fingerprint is None:
        images = _hold(opened, settings, None)
    else:
        key = _digest(opened.fingerprint, [FORMAT, settings])
        if cache:
            origin = opened.record | settings
            images = cached(
                f"images/{key}-{DECODING}", partial(_read, key, origin), partial(_write, opened, settings), "images"
            )
        else:
            images = _hold(opened, settings, key)
    if skipped := images.origin["skipped"]:
        warnings.warn(
            f"{len(skipped):,} of {len(images) + len(skipped):,} images of {opened.title} cannot be decoded and are left "
            f"out: rows {', '.join(map(str, skipped[:10]))}{' …' if len(skipped) > 10 else ''}",
            stacklevel=2,
        )
    return images


def _settings(column, label, names, size, channels, max_images, skip_corrupt) -> dict[str, Any]:
    """Returns the settings that the result depends on besides the content, checked and JSON-ready."""
    if channels not in (None, 1, 3):
        raise ValueError(f"channels must be 1, 3 or None, not {channels!r}")
    shape = [size, size] if isinstance(size, int) else list(size) if size is not None else None
    if shape is not None and (len(shape) != 2 or min(shape) < 1):
        raise ValueError(f"size must be a positive side or (height, width), not {size!r}")
    if max_images < 0:
        raise ValueError(f"max_images must be 0 (all) or more, not {max_images}")
    settings = {"column": column, "label": label, "size": shape, "channels": channels}
    more = {"names": names and list(names), "max_images": max_images, "skip_corrupt": skip_corrupt}
    return settings | {name: value for name, value in more.items() if value}


def _digest(start: str, settings: Any) -> str:
    return content_digest(start, json.dumps(settings))


def _decode(opened: Opened, settings: dict[str, Any], allocate: Callable[[tuple[int, ...]], np.ndarray]):
    """Returns images, labels or None, their names and the rows left out."""
    column, label = settings["column"], settings["label"]
    hints = {} if label is None else {label: "; pass label=None to read without labels"}
    dataset = rows_of(opened, [column, *hints], settings.get("max_images", 0), hints)
    labels, names = None, ()
    if label is not None:  # labels first: they take a moment, and are as likely to be wrong
        labels, names = read_labels(dataset, label, opened.title, settings.get("names"))
    skip = settings.get("skip_corrupt", False)
    size, channels = settings["size"], settings["channels"]
    images, skipped = decode_images(dataset, column, opened.title, size, channels, skip, allocate)
    if labels is not None:
        labels = np.delete(labels, skipped)
    return images, labels, names, skipped


def _hold(opened: Opened, settings: dict[str, Any], key: str | None) -> Images:
    """Returns the images in memory; if `key` is None, the fingerprint is that of the decoded images."""
    images, labels, names, skipped = _decode(opened, settings, partial(np.empty, dtype=np.uint8))
    if key is None:
        content = content_digest(images, b"" if labels is None else labels, size=64)
        key = _digest(content, [FORMAT, images.shape, names])
    return Images(images, labels, names, key, opened.record | settings | {"skipped": skipped})


def _write(opened: Opened, settings: dict[str, Any], folder: Path) -> None:
    allocate = lambda shape: mapped_file(folder / "images.npy", np.uint8, shape)
    images, labels, names, skipped = _decode(opened, settings, allocate)
    if labels is not None:
        mapped_file(folder / "labels.npy", labels.dtype, labels.shape)[:] = labels
    described = {"images": len(images), "labelled": labels is not None, "names": names, "skipped": skipped}
    described["crc32"] = _crc32(images, labels)
    (folder / "images.json").write_text(json.dumps(described), encoding="utf-8")


def _read(key: str, origin: dict[str, Any], folder: Path) -> Images:
    """Reads what `_write` wrote. Raises OSError, EOFError, ValueError, KeyError or TypeError if it is not complete."""
    described = json.loads((folder / "images.json").read_text(encoding="utf-8"))
    images = np.load(folder / "images.npy", mmap_mode="r")[: described["images"]]
    labels = np.load(folder / "labels.npy") if described["labelled"] else None
    if _crc32(images, labels) != described["crc32"]:
        raise ValueError("the images are not those that were written")
    return Images(images, labels, tuple(described["names"]), key, origin | {"skipped": described["skipped"]})


def _crc32(images: np.ndarray, labels: np.ndarray | None) -> int:
    return zlib.crc32(images.data, zlib.crc32(b"" if labels is None else labels.data))
