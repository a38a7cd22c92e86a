"""Augmentation written out: NumPy in float64, Pillow, colorsys and scipy, one image at a time."""

import colorsys
import itertools
import math

import jax
import numpy as np
from PIL import Image
from scipy import ndimage

from jaxembed.sampling.random import uniform


def crop_box(u, height, width, scale, ratio):
    """torchvision's `RandomResizedCrop.get_params`, from twenty-two uniform draws; and how near a side was to a tie."""
    nearest = 1.0
    for area_u, ratio_u in zip(u[:10], u[10:20], strict=True):
        area = height * width * (scale[0] + (scale[1] - scale[0]) * area_u)
        aspect = math.exp(math.log(ratio[0]) + (math.log(ratio[1]) - math.log(ratio[0])) * ratio_u)
        exact = math.sqrt(area * aspect), math.sqrt(area / aspect)
        nearest = min(nearest, *(abs(side % 1 - 0.5) for side in exact))
        w, h = (round(side) for side in exact)
        if 0 < w <= width and 0 < h <= height:
            return (math.floor(u[20] * (height - h + 1)), math.floor(u[21] * (width - w + 1)), h, w), nearest
    shape = width / height
    if shape < ratio[0]:
        w, h = width, round(width / ratio[0])
    elif shape > ratio[1]:
        w, h = round(height * ratio[1]), height
    else:
        w, h = width, height
    return ((height - h) // 2, (width - w) // 2, h, w), nearest


def resized_crop(image, box, size, flipped=False):
    """Pillow's bilinear in floating point, channel by channel; `image` [H, W, C]."""
    top, left, height, width = (int(side) for side in box)
    crop = np.asarray(image, np.float32)[top : top + height, left : left + width]
    planes = [
        np.asarray(Image.fromarray(np.ascontiguousarray(plane)).resize(size[::-1], Image.Resampling.BILINEAR))
        for plane in np.moveaxis(crop, -1, 0)
    ]
    resized = np.stack(planes, -1).astype(np.float64)
    return resized[:, ::-1] if flipped else resized


def grey(image):
    return image if image.shape[-1] == 1 else (image @ [0.299, 0.587, 0.114])[..., None]


def blend(image, other, factor):
    return np.clip(factor * image + (1 - factor) * other, 0, 1)


def hue(image, shift):
    turned = np.empty_like(image, dtype=np.float64)
    for place in np.ndindex(*image.shape[:2]):
        h, s, v = colorsys.rgb_to_hsv(*(float(level) for level in image[place]))
        turned[place] = colorsys.hsv_to_rgb((h + shift) % 1, s, v)
    return turned


ADJUST = {
    "brightness": lambda image, factor: blend(image, 0, factor),
    "contrast": lambda image, factor: blend(image, grey(image).mean(), factor),
    "hue": hue,
    "saturation": lambda image, factor: blend(image, grey(image), factor),
}


def blur(image, sigma, radius):
    planes = [
        ndimage.gaussian_filter(plane, sigma, mode="mirror", radius=radius) for plane in np.moveaxis(image, -1, 0)
    ]
    return np.stack(planes, -1)


def draws(keys, channels):
    """The uniform draws behind the views of `keys`, {part: [n, draws]}."""

    def parts(key):
        crop, jitter, grey, blur, solar = jax.random.split(key, 5)
        place, side = jax.random.split(crop)
        sizes = {"box": (place, 22), "flip": (side, 1), "jitter": (jitter, 2 + (4 if channels == 3 else 2))}
        sizes |= {"grey": (grey, 1), "blur": (blur, 2), "solarize": (solar, 1)}
        return {name: uniform(key, (n,)) for name, (key, n) in sizes.items()}

    return {name: np.asarray(u, np.float64) for name, u in jax.jit(jax.vmap(parts))(keys).items()}


def view(settings, drawn, image):
    """What `Augmentation.__call__` should make of one image with these draws, and the order of its colour jitter."""
    colored = image.shape[-1] == 3
    box, _ = crop_box(drawn["box"], *image.shape[:2], settings.crop, settings.ratio)
    size = (settings.size, settings.size)
    x = resized_crop(image / 255, box, size, drawn["flip"][0] < settings.flip)

    names = ["brightness", "contrast", "saturation", "hue"][: 4 if colored else 2]
    u = drawn["jitter"]
    order = list(itertools.permutations(range(len(names))))[int(u[1] * math.factorial(len(names)))]
    if u[0] < settings.jitter:
        for i in order:
            strength = getattr(settings, names[i])
            low, high = (-strength, strength) if names[i] == "hue" else (max(0, 1 - strength), 1 + strength)
            x = ADJUST[names[i]](x, low + (high - low) * u[2 + i])
    if drawn["grey"][0] < settings.grayscale:
        x = np.broadcast_to(grey(x), x.shape)
    u = drawn["blur"]
    if u[0] < settings.blur:
        low, high = settings.blur_sigma
        x = blur(x, low + (high - low) * u[1], max(1, min(size) // 20))
    if drawn["solarize"][0] < settings.solarize:
        x = np.where(x < 0.5, x, 1 - x)
    return (x - settings.mean) / settings.std, order
