"""Retrieval for people to look at: a picture of queries with their nearest neighbours, and thumbnails for the projector."""

import textwrap
from collections.abc import Sequence

import numpy as np

from jaxembed.data.images import Images
from jaxembed.data.pairs import ImageTexts
from jaxembed.evaluation.retrieval import nearest_items
from jaxembed.vectors import KeyedVectors

# queries and neighbours in a picture, and the number of vectors in the projector
PICTURED, NEIGHBOURS, PROJECTED = 10, 8, 1000

_RIGHT, _WRONG, _PAPER = (34, 139, 70), (208, 44, 44), 255
_GAP = 6


def retrieval_grid(
    queries: np.ndarray | None,
    neighbours: np.ndarray,
    correct: np.ndarray | None = None,
    captions: Sequence[str] | None = None,
    scale: int = 2,
) -> np.ndarray:
    """Returns a picture with one row per query: its caption, the query, and its nearest neighbours.

    Neighbours have a green frame if they are right and a red one if they are wrong. `queries` uint8 [q, h, w, c] (None
    if the query is a text, its caption), `neighbours` uint8 [q, k, h, w, c] with c = 1 or 3, `correct` bool [q, k]
    (None: no frames), `captions` q texts. Every pixel is shown as `scale` x `scale` pixels.
    Returns uint8 [H, W, 3]. Raises ValueError if shapes do not agree or a query has neither image nor caption.
    """
    if (
        neighbours.ndim != 5
        or neighbours.shape[-1] not in (1, 3)
        or neighbours.dtype != np.uint8
        or not neighbours.size
    ):
        raise ValueError(f"neighbours are uint8 [q, k, h, w, 1 or 3], got {neighbours.dtype} {list(neighbours.shape)}")
    rows, k, *shape = neighbours.shape
    if queries is None and captions is None:
        raise ValueError("a query is an image or a text: pass queries, captions, or both")
    if queries is not None and (queries.shape != (rows, *shape) or queries.dtype != np.uint8):
        raise ValueError(f"queries must be uint8 {[rows, *shape]}, got {queries.dtype} {list(queries.shape)}")
    if correct is not None and np.shape(correct) != (rows, k):
        raise ValueError(f"correct must be {[rows, k]}, got {list(np.shape(correct))}")
    if captions is not None and len(captions) != rows:
        raise ValueError(f"{rows} queries need as many captions, got {len(captions)}")
    if scale < 1:
        raise ValueError(f"scale must be at least 1, got {scale}")

    frame = max(2, scale)
    lines = []
    for row in range(rows):
        cells = []
        if captions is not None:
            height = shape[0] * scale + 2 * frame
            cells.append(_written(captions[row], height, max(2 * height, 120)))
        if queries is not None:
            cells.append(_framed(queries[row], scale, frame, None))
        if cells:
            cells.append(np.full((shape[0] * scale + 2 * frame, _GAP, 3), _PAPER, np.uint8))
        for column in range(k):
            color = None if correct is None else _RIGHT if correct[row][column] else _WRONG
            cells.append(_framed(neighbours[row, column], scale, frame, color))
        lines.append(_joined(cells, axis=1))
    return np.pad(_joined(lines, axis=0), ((_GAP, _GAP), (_GAP, _GAP), (0, 0)), constant_values=_PAPER)


def of_classes(train: Images, test: Images, vectors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Shows some test images and the training images nearest to each; a frame says whether they are of the same class."""
    queries = spread(test, PICTURED)
    near = nearest_items(vectors["test"][queries], vectors["train"], min(NEIGHBOURS, len(train)))
    right = None if test.labels is None or train.labels is None else train.labels[near] == test.labels[queries][:, None]
    return {"pictures/retrieval": retrieval_grid(test.images[queries], train.images[near], right)}


def of_pairs(pairs: ImageTexts, image: np.ndarray, text: np.ndarray) -> dict[str, np.ndarray]:
    """Shows some texts with the images nearest to each, and some images with the images nearest to them."""
    pixels, queries = pairs.images.images, _spaced(len(pairs))
    shown = np.unique(pairs.pictures, return_index=True)[1]  # a picture with several captions is shown once
    found = shown[nearest_items(text[queries], image[shown], min(NEIGHBOURS, len(shown)))]
    right = (pairs.ids[found] == pairs.ids[queries][:, None]) | (
        pairs.pictures[found] == pairs.pictures[queries][:, None]
    )
    captions = [pairs.texts[i] for i in queries]
    grids = {"pictures/retrieval-text-to-image": retrieval_grid(None, pixels[found], right, captions)}
    if len(shown) > 1:
        queries = shown[_spaced(len(shown))]
        others = shown[nearest_items(image[queries], image[shown], min(NEIGHBOURS + 1, len(shown)))[:, 1:]]
        # the nearest image is the query itself
        grids["pictures/retrieval-images"] = retrieval_grid(pixels[queries], pixels[others])
    return grids


def _spaced(n: int) -> np.ndarray:
    """Returns the indices of some of `n` items, evenly spaced."""
    return np.linspace(0, n - 1, min(PICTURED, n)).astype(int)


def spread(images: Images, count: int) -> np.ndarray:
    """Returns the indices of some images; if there are labels, from all classes in turn."""
    if images.labels is None:
        return np.linspace(0, len(images) - 1, min(count, len(images))).astype(int)
    order = np.argsort(images.labels, kind="stable")
    rank = np.empty(len(order), int)
    _, starts, sizes = np.unique(images.labels[order], return_index=True, return_counts=True)
    rank[order] = np.arange(len(order)) - np.repeat(starts, sizes)
    return np.lexsort((images.labels, rank))[:count]


def with_thumbnails(keys: list[str], vectors: np.ndarray, images: np.ndarray) -> KeyedVectors:
    """Returns the first vectors under these keys; the projector shows them as their images, uint8 `[n, h, w, c]`."""
    shown = KeyedVectors(keys, vectors[: len(keys)])
    shown.sprite = images[: len(keys)]  # pyright: ignore[reportAttributeAccessIssue]
    return shown


def _framed(image: np.ndarray, scale: int, frame: int, color: tuple[int, int, int] | None) -> np.ndarray:
    large = np.broadcast_to(image, (*image.shape[:2], 3)).repeat(scale, 0).repeat(scale, 1)
    framed = np.empty((large.shape[0] + 2 * frame, large.shape[1] + 2 * frame, 3), np.uint8)
    framed[:] = _PAPER if color is None else color
    framed[frame:-frame, frame:-frame] = large
    return framed


def _joined(pieces: Sequence[np.ndarray], axis: int) -> np.ndarray:
    """Joins the pieces with a little white space between them."""
    space = np.full((pieces[0].shape[0], 2, 3) if axis else (2, pieces[0].shape[1], 3), _PAPER, np.uint8)
    parts = [part for piece in pieces for part in (piece, space)][:-1]
    return np.concatenate(parts, axis)


def _written(text: str, height: int, width: int) -> np.ndarray:
    """Writes the text on white, [height, width, 3]; it is wrapped, and cut with "..." if it is too long."""
    from PIL import Image, ImageDraw, ImageFont

    text = " ".join(text.split())
    font = ImageFont.load_default()
    paper = Image.new("RGB", (width, height), (_PAPER,) * 3)
    draw = ImageDraw.Draw(paper)
    _, top, _, bottom = draw.multiline_textbbox((0, 0), "Äg\nÄg", font=font)
    line_height = (bottom - top) / 2 + 1
    letters = max(4, int(0.9 * width / (draw.textlength(text, font=font) / len(text)))) if text else 4
    lines = textwrap.wrap(text, letters, max_lines=max(1, int(height / line_height)), placeholder="...")
    draw.multiline_text((2, height / 2), "\n".join(lines), fill=(0, 0, 0), font=font, anchor="lm")
    return np.asarray(paper)
