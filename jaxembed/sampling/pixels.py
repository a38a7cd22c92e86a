"""What is done with the pixels of one image, inside jit: crop and resize, colour, blur, solarise; nothing is drawn here.

Images are float32 in [0, 1], [H, W, C] with C = 1 (grey) or 3 (RGB), and are not rounded to whole levels, as Pillow's are.

Resizing and blurring are two small matrix products, one for each side, `Y @ image @ X^T`: accelerators and XLA's CPU back
end are fast at them, and a crop, a flip, a resize and its antialiasing are then one step.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Size = int | tuple[int, int]
_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601-2, as Pillow's "L"


class Box(NamedTuple):
    """A rectangle of whole pixels, as numbers of float32: its corner, and its sides."""

    top: jax.Array
    left: jax.Array
    height: jax.Array
    width: jax.Array


def unit(image: jax.Array) -> jax.Array:
    """uint8 to float32 in [0, 1]."""
    return image.astype(jnp.float32) / 255


def whole(height: int, width: int) -> Box:
    """The box that is the whole image."""
    return Box(*(jnp.float32(side) for side in (0, 0, height, width)))


def sides(size: Size) -> tuple[int, int]:
    """Height and width; ValueError unless both are at least 1."""
    both = (size, size) if isinstance(size, int) else tuple(size)
    if len(both) != 2 or min(both) < 1:
        raise ValueError(f"size must be a side, or (height, width), of at least 1 pixel, got {size}")
    return both


def _weights(start: jax.Array, length: jax.Array, given: int, wanted: int) -> jax.Array:
    """What each of `wanted` pixels takes from each of `given`: [wanted, given], rows add up to 1.

    A triangle over the pixels of [start, start + length), as wide as two steps of the coarser of both grids: bilinear
    where it enlarges, and antialiased where it shrinks, as Pillow's BILINEAR.
    """
    step = length / wanted
    center = start + (jnp.arange(wanted, dtype=jnp.float32) + 0.5) * step
    pixel = jnp.arange(given, dtype=jnp.float32) + 0.5
    triangle = jnp.maximum(0, 1 - jnp.abs(pixel[None, :] - center[:, None]) / jnp.maximum(step, 1))
    inside = (pixel > start) & (pixel < start + length)
    triangle = triangle * inside[None, :]
    return triangle / jnp.sum(triangle, -1, keepdims=True)


def _by_sides(y: jax.Array, image: jax.Array, x: jax.Array) -> jax.Array:
    # Full precision: an accelerator's default would round pixels to eight or eleven bits.
    rows = jnp.einsum("yh,hwc->ywc", y, image, precision="highest")
    return jnp.einsum("xw,ywc->yxc", x, rows, precision="highest")


def resized_crop(image: jax.Array, box: Box, size: Size, flipped: jax.Array | bool = False) -> jax.Array:
    """The pixels of `box` at `size` (a side, or height and width), mirrored left to right if `flipped`; bilinear.

    `image [H, W, C]` -> `[*size, C]`, equal to Pillow's `resize(size, BILINEAR, box)` of the crop but for its rounding.
    """
    height, width = sides(size)
    y = _weights(box.top, box.height, image.shape[0], height)
    x = _weights(box.left, box.width, image.shape[1], width)
    return _by_sides(y, image, jnp.where(flipped, x[::-1], x))


def luma(image: jax.Array) -> jax.Array:
    """The luma of an image [H, W, C], [H, W, 1]."""
    if image.shape[-1] == 1:
        return image
    red, green, blue = (image[..., i : i + 1] * _LUMA[i] for i in range(3))
    return red + green + blue


def blend(image: jax.Array, other: jax.Array | float, factor: jax.Array | float) -> jax.Array:
    """`factor` of the image and the rest of `other`, clipped to [0, 1]; a factor above 1 goes away from `other`."""
    return jnp.clip(factor * image + (1 - factor) * other, 0, 1)


def adjust_brightness(image: jax.Array, factor: jax.Array | float) -> jax.Array:
    """`factor` times the image, clipped to [0, 1]; Pillow's `ImageEnhance.Brightness`."""
    return blend(image, 0.0, factor)


def adjust_contrast(image: jax.Array, factor: jax.Array | float) -> jax.Array:
    """Away from the mean luma by `factor`, clipped; Pillow's `ImageEnhance.Contrast`, which rounds that mean."""
    return blend(image, jnp.mean(luma(image)), factor)


def adjust_saturation(image: jax.Array, factor: jax.Array | float) -> jax.Array:
    """Away from each pixel's luma by `factor`, clipped; Pillow's `ImageEnhance.Color`."""
    return blend(image, luma(image), factor)


def adjust_hue(image: jax.Array, shift: jax.Array | float) -> jax.Array:
    """The hue turned by `shift` turns (in [-.5, .5]) in HSV, an RGB image's saturation and value kept."""
    if image.shape[-1] == 1:
        return image
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    value = jnp.maximum(jnp.maximum(red, green), blue)
    chroma = value - jnp.minimum(jnp.minimum(red, green), blue)
    safe = jnp.where(chroma > 0, chroma, 1)
    sixth = jnp.where(
        value == red,
        (green - blue) / safe,
        jnp.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )

    def channel(n: int) -> jax.Array:
        k = sixth + (n + 6 * shift)
        k = k - 6 * jnp.floor(k / 6)  # `%` would call fmod, pixel by pixel
        return value - chroma * jnp.clip(jnp.minimum(k, 4 - k), 0, 1)

    return jnp.stack([channel(5), channel(3), channel(1)], -1)


def grayscale(image: jax.Array) -> jax.Array:
    """Every channel replaced by the luma; a grey image stays as it is. Pillow's `convert("L")`, unrounded."""
    return jnp.broadcast_to(luma(image), image.shape)


def blur_radius(height: int, width: int) -> int:
    """Pixels on each side of a blur's kernel: it spans a tenth of the shorter side (SimCLR, appendix A), at least 3."""
    return max(1, min(height, width) // 20)


def gaussian_blur(image: jax.Array, sigma: jax.Array | float, radius: int | None = None) -> jax.Array:
    """A Gaussian of `sigma` pixels over `2 radius + 1` taps that add up to 1; the border mirrored without the edge itself.

    Equal to `scipy.ndimage.gaussian_filter(mode="mirror", radius=radius)` and torchvision's `gaussian_blur`. Raises
    ValueError unless 1 <= radius < both sides; None is `blur_radius`.
    """
    height, width, _ = image.shape
    radius = blur_radius(height, width) if radius is None else radius
    if not 1 <= radius < min(height, width):
        raise ValueError(
            f"a blur of radius {radius} needs an image of at least {radius + 1} pixels a side, got {height}x{width}"
        )
    distance = jnp.arange(-radius, radius + 1, dtype=jnp.float32)
    taps = jnp.exp(-0.5 * jnp.square(distance / sigma))
    taps = taps / jnp.sum(taps)
    along = lambda n: jnp.einsum("t,tij->ij", taps, _taken(n, radius), precision="highest")
    return _by_sides(along(height), image, along(width))


def _taken(n: int, radius: int) -> np.ndarray:
    """1 where tap `t` of pixel `i` falls on pixel `j`, [2 radius + 1, n, n]."""
    at = np.abs(np.arange(n) + np.arange(-radius, radius + 1)[:, None])
    at = (n - 1) - np.abs((n - 1) - at)
    return (at[..., None] == np.arange(n)).astype(np.float32)


def solarize(image: jax.Array, threshold: float = 0.5) -> jax.Array:
    """Pixels at or above `threshold` (in [0, 1]) inverted; .5 is Pillow's `ImageOps.solarize(image, 128)`."""
    return jnp.where(image < threshold, image, 1 - image)
