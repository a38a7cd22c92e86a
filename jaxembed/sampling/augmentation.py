"""Random views of images, inside jit: uint8 pixels in, float32 out, a key an image.

`Augmentation` takes a batch [B, H, W, C]. The functions take one image as `sampling.pixels` does, where what is done with
the pixels is written: float32 in [0, 1], [C, H, W]; `jax.vmap` makes it a batch. What is drawn is here.
"""

import math
from dataclasses import dataclass
from itertools import permutations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxembed.sampling import pixels
from jaxembed.sampling.pixels import Box, Size
from jaxembed.sampling.random import uniform

_TRIES = 10  # as torchvision
_MOST = dict.fromkeys(("flip", "jitter", "grayscale", "blur", "solarize"), 1.0) | {
    "brightness": math.inf,
    "contrast": math.inf,
    "saturation": math.inf,
    "hue": 0.5,
}


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
    _between("scale", scale, 1e-6, 1)
    _between("ratio", ratio, 1e-6, math.inf)
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
    _between("flip", (flip, flip), 0, 1)
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
    given = {"brightness": brightness, "contrast": contrast, "saturation": saturation, "hue": hue}
    for name, strength in given.items():
        _between(name, (strength, strength), 0, _MOST[name])
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
    _between("sigma", sigma, 1e-3, math.inf)
    u = uniform(key, (2,))
    return _maybe(u[0], p, lambda x: pixels.gaussian_blur(x, sigma[0] + (sigma[1] - sigma[0]) * u[1], radius), image)


def random_solarize(key: jax.Array, image: jax.Array, p: float = 0.2, threshold: float = 0.5) -> jax.Array:
    """`solarize` with probability `p`."""
    _between("threshold", (threshold, threshold), 0, 1)
    return _maybe(uniform(key, (1,))[0], p, lambda x: pixels.solarize(x, threshold), image)


def _maybe(u, p, change, image):
    _between("p", (p, p), 0, 1)
    return image if p == 0 else jnp.where(u < p, change(image), image)


def _between(name: str, given: tuple[float, float], low: float, high: float) -> None:
    """Raises ValueError unless `low <= given[0] <= given[1] <= high`."""
    if not low <= given[0] <= given[1] <= high:
        shown = given[0] if given[0] == given[1] else given
        raise ValueError(f"{name} must lie between {low} and {high} (a range: the smaller first), got {shown}")


@dataclass(frozen=True)
class Augmentation:
    """How a training view of an image is drawn; the defaults are SimCLR's for small images (Chen et al. 2020, appendix A).

    In this order: crop and flip, colour jitter, greyscale, blur, solarise (BYOL, appendix B), then `(x - mean) / std`.
    Raises ValueError for a setting out of its range.
    """

    size: Size | None = None  # Side, or height and width, of a view; none is the image's own.
    crop: tuple[float, float] | None = (0.08, 1.0)  # Range of a crop's share of the area; none takes the whole image.
    ratio: tuple[float, float] = (3 / 4, 4 / 3)  # Range of a crop's width / height.
    flip: float = 0.5  # Probability of a mirror image.
    brightness: float = 0.4  # Strength of the change of brightness, where colours are jittered.
    contrast: float = 0.4  # Strength of the change of contrast.
    saturation: float = 0.4  # Strength of the change of saturation.
    hue: float = 0.1  # Strength of the change of hue.
    jitter: float = 0.8  # Probability of colour jitter.
    grayscale: float = 0.2  # Probability of greyscale.
    blur: float = 0.0  # Probability of a blur.
    blur_sigma: tuple[float, float] = (0.1, 2.0)  # Range of the blur, pixels of the view.
    solarize: float = 0.0  # Probability of solarising.
    mean: float | tuple[float, ...] = 0.5  # Of pixels in [0, 1], one number or one a channel; it is subtracted.
    std: float | tuple[float, ...] = 0.5  # By which pixels are divided then.

    def __post_init__(self) -> None:
        for name, most in _MOST.items():
            value = getattr(self, name)
            _between(name, (value, value), 0, most)
        _between("crop", self.crop or (1, 1), 1e-6, 1)
        _between("ratio", self.ratio, 1e-6, math.inf)
        _between("blur_sigma", self.blur_sigma, 1e-3, math.inf)
        lowest = float(np.min(self.std))
        _between("std", (lowest, lowest), 1e-6, math.inf)
        if self.size is not None:
            pixels.sides(self.size)

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
        x = random_blur(blur, x, self.blur, self.blur_sigma)
        return self._finished(random_solarize(solar, x, self.solarize))

    def _size(self, x: jax.Array) -> tuple[int, int]:
        return (x.shape[1], x.shape[2]) if self.size is None else pixels.sides(self.size)

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
