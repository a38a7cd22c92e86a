"""Pixels as PNG, and many small images on one sheet, as the embedding projector wants them."""

import math
from io import BytesIO

import numpy as np


def png(pixels: np.ndarray) -> bytes:
    """The PNG of an image, uint8 [H, W] or [H, W, 1, 3 or 4]. Raises ValueError for other arrays."""
    from PIL import Image

    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3) or (pixels.ndim == 3 and pixels.shape[2] not in (1, 3, 4)):
        raise ValueError(f"a picture is uint8 [h, w] or [h, w, 1|3|4], got {pixels.dtype} {list(pixels.shape)}")
    content = BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels).save(content, format="PNG")
    return content.getvalue()


def columns_of(n: int) -> int:
    """Thumbnails in a row of the sheet of `n`, and the rows of it: the projector takes only sheets with as many of both."""
    return math.isqrt(n - 1) + 1


def sprite(images: np.ndarray, max_side: int = 4096) -> np.ndarray:
    """Images, uint8 [n, h, w, 1 or 3], on one sheet [side * h, side * w, channels], row by row; unused places are black.

    They are shrunk, their shape kept, until neither side of the sheet is above `max_side` pixels (the projector refuses
    more than 8192). Raises ValueError for other arrays, none, or more images than the sheet has pixels for.
    """
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or images.dtype != np.uint8 or not images.size:
        raise ValueError(f"a sprite is made of uint8 [n, h, w, 1 or 3], got {images.dtype} {list(images.shape)}")
    n, height, width, channels = images.shape
    side = columns_of(n)
    share = min(1.0, max_side / (side * max(height, width)))
    if share < 1:
        height, width = int(height * share), int(width * share)
        if min(height, width) < 1:
            raise ValueError(
                f"{n} thumbnails do not fit on {max_side} x {max_side} pixels: pass fewer, or a larger max_side"
            )
        images = np.stack([_shrunk(image, height, width) for image in images])
    sheet = np.zeros((side * side, height, width, channels), np.uint8)
    sheet[:n] = images
    return (
        sheet.reshape(side, side, height, width, channels).swapaxes(1, 2).reshape(side * height, side * width, channels)
    )


def _shrunk(image: np.ndarray, height: int, width: int) -> np.ndarray:
    from PIL import Image

    flat = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    return np.asarray(flat.resize((width, height), Image.Resampling.BILINEAR)).reshape(height, width, -1)
