"""What is done with the pixels of one image, inside jit: crop and resize, colour, blur, solarise; nothing is drawn here.

Images are float32 in [0, 1], [C, H, W] with C = 1 (grey) or 3 (RGB): XLA's CPU back end is fast on whole planes, and
many times slower with the channels last. Unlike Pillow's, they are not rounded to whole levels after each step.
"""

from functools import reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

Size = int | tuple[int, int]
_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601-2, as Pillow's "L"


class Box(NamedTuple):
    """A rectangle of whole pixels, as numbers of float32: its corner, and its sides."""

    top: jax.Array
    left: jax.Array
    height: jax.Array
    width: jax.Array


def whole(height: int, width: int) -> Box:
    """The box that is the whole image."""
    return Box(*(jnp.float32(side) for side in (0, 0, height, width)))


def height_and_width(size: Size) -> tuple[int, int]:
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


def resized_crop(image: jax.Array, box: Box, size: Size, flipped: jax.Array | bool = False) -> jax.Array:
    """The pixels of `box` at `size` (a side, or height and width), mirrored left to right if `flipped`; bilinear.

    `image [C, H, W]` -> `[C, *size]`, equal to Pillow's `resize(size, BILINEAR)` of the crop but for its rounding. Crop,
    flip, resize and antialiasing are two small matrix products a plane, `Y @ plane @ X^T`.
    """
    height, width = height_and_width(size)
    y = _weights(box.top, box.height, image.shape[1], height)
    x = _weights(box.left, box.width, image.shape[2], width)
    y, x = lax.optimization_barrier((y, jnp.where(flipped, x[::-1], x).T))
    # Full precision: an accelerator's default would round pixels to eight or eleven bits.
    product = lambda a, b: jnp.matmul(a, b, precision="highest")
    return jnp.stack([product(y, product(plane, x)) for plane in image])


def luma(image: jax.Array) -> jax.Array:
    """The luma of an image [C, H, W], [1, H, W]."""
    if image.shape[0] == 1:
        return image
    red, green, blue = (plane * weight for plane, weight in zip(image, _LUMA, strict=True))
    return (red + green + blue)[None]


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
    if image.shape[0] == 1:
        return image
    red, green, blue = image
    value = jnp.maximum(jnp.maximum(red, green), blue)
    chroma = value - jnp.minimum(jnp.minimum(red, green), blue)
    safe = jnp.where(chroma > 0, chroma, 1)
    sixth = jnp.where(
        value == red,
        (green - blue) / safe,
        jnp.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    # The three channels in one expression: stacked one by one, XLA's CPU back end takes twenty times as long.
    k = sixth[None] + (jnp.float32([5, 3, 1]) + 6 * shift)[:, None, None]
    k = k - 6 * jnp.floor(k / 6)  # `%` would call fmod, pixel by pixel
    return value[None] - chroma[None] * jnp.clip(jnp.minimum(k, 4 - k), 0, 1)


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
    height, width = image.shape[1:]
    radius = blur_radius(height, width) if radius is None else radius
    if not 1 <= radius < min(height, width):
        raise ValueError(
            f"a blur of radius {radius} needs an image of at least {radius + 1} pixels a side, got {height}x{width}"
        )
    distance = jnp.arange(-radius, radius + 1, dtype=jnp.float32)
    taps = jnp.exp(-0.5 * jnp.square(distance / sigma))
    taps = taps / jnp.sum(taps)
    for axis, side in ((1, height), (2, width)):
        padding = [(radius, radius) if i == axis else (0, 0) for i in range(3)]
        # Without a barrier XLA would look for the mirrored pixel anew at every tap.
        padded = lax.optimization_barrier(jnp.pad(image, padding, mode="reflect"))
        image = reduce(jnp.add, [tap * lax.slice_in_dim(padded, i, i + side, axis=axis) for i, tap in enumerate(taps)])
    return image


def solarize(image: jax.Array, threshold: float = 0.5) -> jax.Array:
    """Pixels at or above `threshold` (in [0, 1]) inverted; .5 is Pillow's `ImageOps.solarize(image, 128)`."""
    return jnp.where(image < threshold, image, 1 - image)
