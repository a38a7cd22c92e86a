"""Decodes images (PNG, JPEG, whatever Pillow opens) to one uint8 array, on all cores."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import datasets
    from PIL.Image import Image

ROWS = 256  # number of rows read from the dataset at a time
RUN = 16  # number of images that a thread decodes before it takes more

_WIDE = ("I;16", "I;16L", "I;16B", "I;16N")
_GREY = ("1", "L", "LA", "La", "I", "F", *_WIDE)
_CLEAR = ("RGBA", "RGBa", "LA", "La", "PA")

Content = bytes | str | None  # an encoded image, the path of a file that is missing, or nothing


class _Unlike(Exception):
    """An image that does not match those before it."""


def decode_images(
    dataset: "datasets.Dataset",
    column: str,
    title: str,
    size: Sequence[int] | None,
    channels: int | None,
    skip_corrupt: bool,
    allocate: Callable[[tuple[int, ...]], np.ndarray],
) -> tuple[np.ndarray, list[int]]:
    """Decodes `column` of a dataset in Arrow's form; the rest is as `jaxembed.data.read_images` has it.

    `allocate` makes the array of a given shape. Returns it, cut to the images that could be decoded: uint8 [n, height,
    width, channels]; and the rows of those that could not.
    """
    from PIL import Image
    from tqdm import tqdm

    Image.init()  # its registry of formats fills at the first use, which threads must not share
    undecodable = f"none of the {len(dataset):,} images of {title} can be decoded; row 0: {{}}"
    first = next((image for image in map(_opened, _encoded(dataset, column, title)) if image is not None), None)
    if first is None:
        raise ValueError(undecodable.format(_refusal(next(_encoded(dataset, column, title)))))
    height, width = size or (first.height, first.width)
    depth = channels or (1 if first.mode in _GREY else 3)
    out = allocate((len(dataset), height, width, depth))

    def run(start: int, rows: list[Content]) -> list[tuple[int, str]]:
        failures = []
        for row, content in enumerate(rows, start):
            try:
                image = _image(content)
                if channels is None and depth == 1 and image.mode not in _GREY:
                    raise _Unlike("mode")
                if size is None and image.size != (width, height):
                    raise _Unlike("size")
                out[row] = as_pixels(image, (height, width), depth)
            except _Unlike:
                raise
            except Exception as error:  # Pillow's decoders raise nearly anything at damaged bytes
                failures.append((row, reason(error)))
        return failures

    skipped: list[int] = []
    first_reason = ""
    try:
        with (
            ThreadPoolExecutor(os.cpu_count()) as pool,
            tqdm(
                total=len(dataset), desc=f"decoding {title}", unit=" images", delay=2, disable=None, leave=False
            ) as bar,
        ):
            for start, rows in _batches(dataset, column, title):
                starts = range(0, len(rows), RUN)
                runs = pool.map(run, [start + i for i in starts], [rows[i : i + RUN] for i in starts])
                failures = [failure for found in runs for failure in found]
                if failures and not skip_corrupt:
                    row, why = failures[0]
                    raise ValueError(
                        f"row {row} of {title} cannot be decoded: {why}; drop it or pass skip_corrupt=True"
                    )
                skipped += [row for row, _ in failures]
                first_reason = first_reason or (failures[0][1] if failures else "")
                bar.update(len(rows))
    except _Unlike as unlike:
        if str(unlike) == "mode":  # grey until now: colour from the start
            return decode_images(dataset, column, title, size, 3, skip_corrupt, allocate)
        raise ValueError(_sizes(dataset, column, title)) from None
    if len(skipped) == len(dataset):
        raise ValueError(undecodable.format(first_reason))
    if skipped:
        kept = np.delete(np.arange(len(dataset)), skipped)
        for start in range(0, len(kept), ROWS):  # in place: images only move forward, and there may be more than memory
            part = kept[start : start + ROWS]
            out[start : start + len(part)] = out[part]
        out = out[: len(kept)]
    return out, skipped


def _batches(dataset: "datasets.Dataset", column: str, title: str) -> Iterator[tuple[int, list[Content]]]:
    """Yields the first row of each batch, and its encoded images."""
    import pyarrow as pa

    kind = dataset.features.arrow_schema.field(column).type
    encoded = kind.field("bytes").type if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else kind
    if not (pa.types.is_binary(encoded) or pa.types.is_large_binary(encoded)):
        raise ValueError(f"the column {column!r} of {title} holds {kind}, not encoded images; name another")
    start = 0
    for batch in dataset.iter(batch_size=ROWS):
        rows = batch[column].to_pylist()  # pyright: ignore[reportArgumentType, reportCallIssue]
        yield start, [_content(row) for row in rows]
        start += len(rows)


def _encoded(dataset: "datasets.Dataset", column: str, title: str) -> Iterator[Content]:
    return (row for _, rows in _batches(dataset, column, title) for row in rows)


def _content(row: Any) -> Content:
    """Returns the bytes of an image, read from its file if the dataset holds only a path; the path if there is no such file."""
    if not isinstance(row, dict):
        return row
    path = row.get("path")
    if row["bytes"] is not None or not path:
        return row["bytes"]
    if not os.path.isfile(path):
        return str(path)
    with open(path, "rb") as file:
        return file.read()


def _image(content: Content) -> "Image":
    """The image, upright. Raises ValueError where there is none, and whatever Pillow raises where it cannot be opened."""
    from PIL import Image

    if not isinstance(content, bytes):
        raise ValueError(f"there is no file {content}" if content else "there is no image")
    return upright(Image.open(BytesIO(content)))


def _opened(content: Content) -> "Image | None":
    """Returns the image, upright; None if it cannot be opened."""
    try:
        return _image(content)
    except Exception:  # see `run`
        return None


def _refusal(content: Content) -> str:
    """Returns why an image cannot be opened."""
    try:
        _image(content)
    except Exception as error:  # see `run`
        return reason(error)
    return ""


def upright(image: "Image") -> "Image":
    """Returns the image upright, according to its EXIF data."""
    from PIL import ImageOps

    return ImageOps.exif_transpose(image) if "exif" in image.info else image


def as_pixels(
    image: "Image", shape: tuple[int, int], depth: int, *, shortest: int = 0, resample: str = "bilinear"
) -> np.ndarray:
    """Returns the image as grey (depth 1) or colour (3) of that height and width: uint8 [height, width, depth].

    shortest: the shorter side to which it is resized, keeping its proportions, before its middle is cut out; 0 resizes it to
    `shape` at once. resample: nearest, bilinear, bicubic or lanczos.
    Raises ValueError for grey levels whose scale is unknown (see `narrowed`).
    """
    from PIL import Image

    if image.mode in ("I", "F", *_WIDE):
        image = Image.fromarray(narrowed(image))
    elif image.mode in _CLEAR or "transparency" in image.info:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    mode = "L" if depth == 1 else "RGB"
    image = image if image.mode == mode else image.convert(mode)
    height, width = shape
    side = min(image.size)
    size = (width, height)
    if shortest:
        size = int(shortest * image.width / side), int(shortest * image.height / side)
    image = image if image.size == size else image.resize(size, Image.Resampling[resample.upper()])
    if shortest:
        left, top = (image.width - width) // 2, (image.height - height) // 2
        image = image.crop((left, top, left + width, top + height))
    return np.asarray(image).reshape(height, width, depth)


def narrowed(image: "Image") -> np.ndarray:
    """Returns grey levels of more than 8 bits as uint8 [height, width]; Pillow itself would cut them off at 255.

    16 bits are reduced to their upper byte, floats from 0 to 1 are scaled, and whole numbers of 32 bits are kept if
    none is above 255. Raises ValueError for all others, whose scale cannot be known.
    """
    levels = np.asarray(image)
    low, high = levels.min(), levels.max()
    if image.mode == "F":
        if not (low >= 0 and high <= 1):  # also where one is NaN
            raise ValueError(
                f"its floats lie between {low:g} and {high:g}: scale them to 0 to 1, or save it with 8 bits"
            )
        return np.round(levels * 255).astype(np.uint8)
    if low < 0:
        raise ValueError(f"its levels go down to {low}: save it with levels from 0 up")
    if _bits(image) == 16:
        return (levels >> 8).astype(np.uint8)
    if high > 255:
        raise ValueError(
            f"its levels of 32 bits go up to {high}, and what is white is not known: save it with 8 or 16 bits"
        )
    return levels.astype(np.uint8)


def _bits(image: "Image") -> int:
    """Returns the bits of a grey level, from the file if possible: Pillow opens some files of 16 bits in its mode of 32."""
    from PIL.TiffImagePlugin import BITSPERSAMPLE, TiffImageFile

    if (
        image.mode in _WIDE or image.format == "PPM"
    ):  # Pillow scales the levels of a PGM file with more than 8 bits to 16
        return 16
    return image.tag_v2.get(BITSPERSAMPLE, (32,))[0] if isinstance(image, TiffImageFile) else 32


def reason(error: Exception) -> str:
    """Returns why an image cannot be decoded, for people."""
    from PIL import UnidentifiedImageError

    if isinstance(error, UnidentifiedImageError):
        return "it is no image of a known format"  # Pillow's message ends in an address in memory
    return str(error) or type(error).__name__


def _sizes(dataset: "datasets.Dataset", column: str, title: str) -> str:
    """Returns the message about images of several sizes."""
    sizes = Counter(image.size for image in map(_opened, _encoded(dataset, column, title)) if image is not None)
    listed = ", ".join(f"{height}×{width} ({count:,})" for (width, height), count in sizes.most_common(4))
    more = f" and {len(sizes) - 4:,} more" if len(sizes) > 4 else ""
    (width, height), _ = sizes.most_common(1)[0]
    return (
        f"the images of {title} have several sizes (height×width): {listed}{more}; pass a size that all are brought to, "
        f"such as size=({height}, {width})"
    )
