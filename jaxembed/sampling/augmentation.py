"""Random views of images, inside jit: uint8 pixels in, float32 out, a key an image.

`Augmentation` takes a batch [B, H, W, C]. The functions take one image as `sampling.pixels` does, where what is done with
the pixels is written: float32 in [0, 1], [C, H, W]; `jax.vmap` makes it a batch. What is drawn is here.
"""

import math
from dataclasses import dataclass
from itertools import permutations
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxembed.ranges import Checked, Count, Finite, NotNegative, Positive, Range, Share
from jaxembed.sampling import pixels
from jaxembed.sampling.pixels import Box, Size
from jaxembed.sampling.random import uniform

_TRIES = 10  # as torchvision
_AREA, _RATIO, _SIGMA = Range(above=0, most=1), Range(above=0), Range(least=1e-3)
_CHANCE, _STRENGTH, _TURN = Range(least=0, most=1), Range(least=0), Range(least=0, most=0.5)


def crop_box(
    key: jax.Array,
    height: int,
    width: int,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
) -> Box:
    """A random box in an image of `height` x `width`: its share of the area uniform in `scale`, width / height log-uniform
    in `ratio`, its place uniform; torchvision's `RandomResizedCrop`.

    torchvision's ten tries are drawn at once and the first that fits is taken, so the distribution is the same. Where
    none fits, it is the largest box in the middle whose ratio lies within `ratio`.
    """
    _ascending("scale", scale, _AREA)
    _ascending("ratio", ratio, _RATIO)
    u = uniform(key, (2 * _TRIES + 2,))
    area = height * width * (scale[0] + (scale[1] - scale[0]) * u[:_TRIES])
    logs = math.log(ratio[0]), math.log(ratio[1])
    aspect = jnp.exp(logs[0] + (logs[1] - logs[0]) * u[_TRIES:-2])
    widths, heights = jnp.round(jnp.sqrt(area * aspect)), jnp.round(jnp.sqrt(area / aspect))
    fits = (widths > 0) & (widths <= width) & (heights > 0) & (heights <= height)
    first = jnp.argmax(fits)
    middle_width = min(width, max(1, round(height * ratio[1])))
    middle_height = min(height, max(1, round(width / ratio[0])))
    w = jnp.where(fits[first], widths[first], middle_width)
    h = jnp.where(fits[first], heights[first], middle_height)
    spare_y, spare_x = height - h, width - w
    top = jnp.where(fits[first], jnp.floor(u[-2] * (spare_y + 1)), spare_y // 2)
    left = jnp.where(fits[first], jnp.floor(u[-1] * (spare_x + 1)), spare_x // 2)
    return Box(jnp.minimum(top, spare_y), jnp.minimum(left, spare_x), h, w)


def random_resized_crop(
    key: jax.Array,
    image: jax.Array,
    size: Size,
    scale: tuple[float, float] = (0.08, 1.0),
    ratio: tuple[float, float] = (3 / 4, 4 / 3),
    flip: float = 0.0,
) -> jax.Array:
    """A `crop_box` of the image at `size`, mirrored left to right with probability `flip`."""
    _CHANCE.check("flip", flip)
    place, side = jax.random.split(key)
    box = crop_box(place, image.shape[1], image.shape[2], scale, ratio)
    return pixels.resized_crop(image, box, size, uniform(side, (1,))[0] < flip)


def random_flip(key: jax.Array, image: jax.Array, p: float = 0.5) -> jax.Array:
    """The image mirrored left to right with probability `p`."""
    return _maybe(uniform(key, (1,))[0], p, lambda x: x[:, :, ::-1], image)


def color_jitter(
    key: jax.Array,
    image: jax.Array,
    brightness: float = 0.4,
    contrast: float = 0.4,
    saturation: float = 0.4,
    hue: float = 0.1,
    p: float = 1.0,
) -> jax.Array:
    """With probability `p`: brightness, contrast, saturation and hue in a random order; torchvision's `ColorJitter`.

    Factors are uniform in [max(0, 1 - s), 1 + s] for a strength `s`, the hue's turn in [-hue, hue]; a strength of zero
    leaves that change out. Grey images have brightness and contrast only.
    """
    for name, strength in (("brightness", brightness), ("contrast", contrast), ("saturation", saturation)):
        _STRENGTH.check(name, strength)
    _TURN.check("hue", hue)
    changes = [(pixels.adjust_brightness, brightness), (pixels.adjust_contrast, contrast)]
    if image.shape[0] == 3:
        changes += [(pixels.adjust_saturation, saturation), (pixels.adjust_hue, hue)]
    changes = [(adjust, strength) for adjust, strength in changes if strength > 0]
    if not changes:
        return image
    low = np.array([-s if adjust is pixels.adjust_hue else max(0.0, 1 - s) for adjust, s in changes], np.float32)
    high = np.array([s if adjust is pixels.adjust_hue else 1 + s for adjust, s in changes], np.float32)
    orders = np.array(list(permutations(range(len(changes)))), np.int32)
    u = uniform(key, (2 + len(changes),))
    order = jnp.asarray(orders)[(u[1] * len(orders)).astype(jnp.int32)]
    factors = (low + (high - low) * u[2:])[order]

    def turn(x, change):
        # All of them, and one is kept: under vmap a branch would cost as much.
        which, factor = change
        return lax.select_n(which, *(adjust(x, factor) for adjust, _ in changes)), None

    # A loop: written out, XLA's CPU back end fuses the turns and works each out many times over.
    return _maybe(u[0], p, lambda x: lax.scan(turn, x, (order, factors))[0], image)


def random_grayscale(key: jax.Array, image: jax.Array, p: float = 0.2) -> jax.Array:
    """`grayscale` with probability `p`."""
    return _maybe(uniform(key, (1,))[0], p, pixels.grayscale, image)


def random_blur(
    key: jax.Array,
    image: jax.Array,
    p: float = 0.5,
    sigma: tuple[float, float] = (0.1, 2.0),
    radius: int | None = None,
) -> jax.Array:
    """`gaussian_blur` with probability `p`, its sigma uniform in `sigma` (pixels)."""
    _ascending("sigma", sigma, _SIGMA)
    u = uniform(key, (2,))
    return _maybe(u[0], p, lambda x: pixels.gaussian_blur(x, sigma[0] + (sigma[1] - sigma[0]) * u[1], radius), image)


def random_solarize(key: jax.Array, image: jax.Array, p: float = 0.2, threshold: float = 0.5) -> jax.Array:
    """`solarize` with probability `p`."""
    _CHANCE.check("threshold", threshold)
    return _maybe(uniform(key, (1,))[0], p, lambda x: pixels.solarize(x, threshold), image)


def _maybe(u, p, change, image):
    _CHANCE.check("p", p)
    return image if p == 0 else jnp.where(u < p, change(image), image)


def _ascending(name: str, given: tuple[float, float], allowed: Range) -> None:
    """Raises ValueError unless both numbers are `allowed` and the first is not the larger one."""
    for one in given:
        allowed.check(name, one)
    if given[0] > given[1]:
        raise ValueError(f"{name} must be a range with the smaller number first, not {given}")


@dataclass(frozen=True)
class Augmentation(Checked):
    """How a training view of an image is drawn; the defaults are SimCLR's for small images (Chen et al. 2020, appendix A).

    In this order: crop and flip, colour jitter, greyscale, blur, solarise (BYOL, appendix B), then `(x - mean) / std`.
    Raises ValueError for a setting out of its range.
    """

    size: Count | tuple[Count, Count] | None = None  # Side, or height and width, of a view; none is the image's own.
    # Range of a crop's share of the area; none takes the whole image.
    crop: tuple[Annotated[float, _AREA], Annotated[float, _AREA]] | None = (0.08, 1.0)
    ratio: tuple[Positive, Positive] = (3 / 4, 4 / 3)  # Range of a crop's width / height.
    # Probability of a mirror image; 0, or --no-flip, for pictures in which left and right differ, as in digits and letters.
    flip: Share = 0.5
    brightness: NotNegative = 0.4  # Strength of the change of brightness, where colours are jittered.
    contrast: NotNegative = 0.4  # Strength of the change of contrast.
    saturation: NotNegative = 0.4  # Strength of the change of saturation.
    hue: Annotated[float, _TURN] = 0.1  # Strength of the change of hue: turns of the colour wheel.
    jitter: Share = 0.8  # Probability of colour jitter.
    grayscale: Share = 0.2  # Probability of greyscale.
    blur: Share = 0.0  # Probability of a blur.
    # Range of the blur's standard deviation, in pixels of the view.
    blur_sigma: tuple[Annotated[float, _SIGMA], Annotated[float, _SIGMA]] = (0.1, 2.0)
    # Pixels on each side of the blur's kernel; none is a twentieth of the shorter side.
    blur_radius: Count | None = None
    solarize: Share = 0.0  # Probability of solarising.
    solarize_threshold: Share = 0.5  # Pixels from here on, of 0 to 1, are inverted by solarising.
    mean: Finite | tuple[Finite, ...] = 0.5  # Subtracted from pixels in [0, 1]: one number, or one per channel.
    std: Positive | tuple[Positive, ...] = 0.5  # Pixels are then divided by it: one number, or one per channel.

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop is not None:
            _ascending("crop", self.crop, _AREA)
        _ascending("ratio", self.ratio, _RATIO)
        _ascending("blur_sigma", self.blur_sigma, _SIGMA)
        if self.size is not None:
            pixels.height_and_width(self.size)

    def __call__(self, keys: jax.Array, images: jax.Array) -> jax.Array:
        """A view of each image, a function of its own key [B] and pixels alone: uint8 [B, H, W, C] -> float32
        [B, *size, C], normalised. Raises ValueError for other images.
        """
        self._check(images)
        return jax.vmap(self._view)(keys, images)

    def plain(self, images: jax.Array) -> jax.Array:
        """The images as they are, for evaluation: resized if need be (the whole image, its shape not kept), normalised."""
        self._check(images)
        return jax.vmap(lambda image: self._finished(self._whole(_planes(image))))(images)

    def _view(self, key: jax.Array, image: jax.Array) -> jax.Array:
        crop, jitter, grey, blur, solar = jax.random.split(key, 5)
        x = _planes(image)
        if self.crop is None:
            x = random_flip(crop, self._whole(x), self.flip)
        else:
            x = random_resized_crop(crop, x, self._size(x), self.crop, self.ratio, self.flip)
        x = color_jitter(jitter, x, self.brightness, self.contrast, self.saturation, self.hue, self.jitter)
        x = random_grayscale(grey, x, self.grayscale)
        x = random_blur(blur, x, self.blur, self.blur_sigma, self.blur_radius)
        return self._finished(random_solarize(solar, x, self.solarize, self.solarize_threshold))

    def _size(self, x: jax.Array) -> tuple[int, int]:
        return (x.shape[1], x.shape[2]) if self.size is None else pixels.height_and_width(self.size)

    def _whole(self, x: jax.Array) -> jax.Array:
        size = self._size(x)
        return x if size == x.shape[1:] else pixels.resized_crop(x, pixels.whole(*x.shape[1:]), size)

    def _finished(self, x: jax.Array) -> jax.Array:
        mean, std = (jnp.float32(value).reshape(-1, 1, 1) for value in (self.mean, self.std))
        return jnp.moveaxis((x - mean) / std, 0, -1)

    def _check(self, images: jax.Array) -> None:
        if images.ndim != 4 or images.shape[-1] not in (1, 3) or images.dtype != jnp.uint8:
            raise ValueError(
                f"images are uint8 [batch, height, width, 1 or 3], got {images.dtype} {list(images.shape)}: "
                "add an axis for the channel of grey images, and do not scale the pixels"
            )
        for name, value in (("mean", self.mean), ("std", self.std)):
            if np.size(value) not in (1, images.shape[-1]):
                raise ValueError(
                    f"{name} must be one number, or one for each of {images.shape[-1]} channels, got {value}"
                )


def _planes(image: jax.Array) -> jax.Array:
    """uint8 [H, W, C] to float32 [C, H, W] in [0, 1]."""
    return jnp.moveaxis(image, -1, 0).astype(jnp.float32) / 255
