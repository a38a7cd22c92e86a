"""Augmentation against Pillow, colorsys, scipy and NumPy; and the laws of its draws."""

from dataclasses import fields

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from scipy import stats

from jaxembed.fields import settings as settings_of
from jaxembed.recipes import RECIPES
from jaxembed.sampling import augmentation, pixels
from jaxembed.sampling.augmentation import Augmentation
from jaxembed.sampling.random import uniform

from . import augmentation_reference as reference

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (12, 17, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (12, 17, 1), dtype=np.uint8)
MANY = 2000
LEVEL = 1 / 255


def keys(n, seed=0):
    return jax.random.split(jax.random.key(seed), n)


def planes(image):
    """uint8 [H, W, C] as the functions of one image take it."""
    return jnp.moveaxis(image / np.float32(255), -1, 0)


def pixels_last(image):
    return np.moveaxis(np.asarray(image), 0, -1)


def random_images(n, height, width, channels):
    return RNG.integers(0, 256, (n, height, width, channels), dtype=np.uint8)


def test_a_resized_crop_is_pillows():
    boxes = [(0, 0, 12, 17), (2, 3, 7, 9), (0, 0, 1, 1), (11, 4, 1, 13), (3, 0, 9, 17)]
    crop = jax.jit(jax.vmap(pixels.resized_crop, (None, 0, None, 0)), static_argnums=2)
    stacked = pixels.Box(*np.array(boxes, np.float32).T)
    flips = np.arange(len(boxes)) % 2 == 1
    for image, size in ((RGB, (8, 8)), (RGB, (31, 5)), (GREY, (12, 20))):
        for box, flipped, actual in zip(boxes, flips, crop(planes(image), stacked, size, flips), strict=True):
            expected = reference.resized_crop(image / 255, box, size, flipped)
            np.testing.assert_allclose(pixels_last(actual), expected, atol=1e-5)


def test_a_box_at_its_own_size_is_exact():
    image = planes(RGB)
    actual = jax.jit(lambda x: pixels.resized_crop(x, pixels.Box(*jnp.float32([2, 3, 8, 8])), 8))(image)
    np.testing.assert_array_equal(actual, image[:, 2:10, 3:11])


@pytest.mark.parametrize("factor", [0.0, 0.3, 1.0, 1.7])
def test_colours_are_pillows_but_for_its_rounding(factor):
    for ours, theirs, name in (
        (pixels.adjust_brightness, ImageEnhance.Brightness, "brightness"),
        (pixels.adjust_contrast, ImageEnhance.Contrast, "contrast"),
        (pixels.adjust_saturation, ImageEnhance.Color, "saturation"),
    ):
        actual = pixels_last(ours(planes(RGB), factor))
        np.testing.assert_allclose(actual, reference.ADJUST[name](RGB / 255, factor), atol=1e-6)
        pillow = np.asarray(theirs(Image.fromarray(RGB)).enhance(factor)) / 255
        np.testing.assert_allclose(actual, pillow, atol=(1 + 0.5 * abs(1 - factor)) * LEVEL + 1e-6)


def test_hue_is_that_of_colorsys():
    patches = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[9, 9, 0], [7, 7, 7], [0, 0, 0]], [[255] * 3] * 3])
    turned = jax.jit(pixels.adjust_hue)
    for image in (RGB, patches):
        for shift in (-0.5, -0.1, 0.0, 0.25, 0.5):
            actual = pixels_last(turned(planes(image), shift))
            np.testing.assert_allclose(actual, reference.hue(image / 255, shift), atol=2e-6)
    assert pixels.adjust_hue(planes(GREY), 0.3).shape == (1, 12, 17)


def test_grayscale_and_solarize_are_pillows():
    actual = pixels_last(pixels.grayscale(planes(RGB)))
    luma = np.asarray(Image.fromarray(RGB).convert("L")) / 255
    np.testing.assert_allclose(actual, np.repeat(luma[..., None], 3, -1), atol=0.51 * LEVEL)
    np.testing.assert_array_equal(pixels.grayscale(planes(GREY)), planes(GREY))
    every = np.arange(256, dtype=np.uint8)[None]
    for threshold, level in ((1, 1 / 255), (128, 0.5), (255, 1.0)):
        actual = pixels.solarize(planes(every[..., None]), level)[0]
        np.testing.assert_allclose(
            actual, np.asarray(ImageOps.solarize(Image.fromarray(every), threshold)) / 255, atol=1e-6
        )


def test_blur_is_scipys():
    sigmas = (0.1, 0.8, 2.0)
    blur = jax.jit(jax.vmap(pixels.gaussian_blur, (None, 0, None)), static_argnums=2)
    for image, radius in ((RGB, 3), (GREY, 11)):
        for sigma, actual in zip(sigmas, blur(planes(image), jnp.float32(sigmas), radius), strict=True):
            np.testing.assert_allclose(pixels_last(actual), reference.blur(image / 255, sigma, radius), atol=1e-5)
    assert [pixels.blur_radius(*shape) for shape in ((28, 28), (224, 300), (10, 80))] == [1, 11, 1]
    with pytest.raises(ValueError, match="radius 12 needs an image of at least 13 pixels a side, got 12x17"):
        pixels.gaussian_blur(jnp.zeros((1, 12, 17)), 1.0, 12)


@pytest.mark.parametrize(
    ("height", "width", "scale", "ratio"),
    [(28, 28, (0.08, 1.0), (3 / 4, 4 / 3)), (20, 60, (0.5, 1.0), (0.5, 2.0))],
)
def test_boxes_are_torchvisions(height, width, scale, ratio):
    draw = lambda key: (augmentation.crop_box(key, height, width, scale, ratio), uniform(key, (22,)))
    boxes, draws = jax.jit(jax.vmap(draw))(keys(MANY))
    boxes = np.stack(boxes, -1)
    for actual, u in zip(boxes, np.asarray(draws, np.float64), strict=True):
        expected, nearest = reference.crop_box(u, height, width, scale, ratio)
        if nearest > 1e-4:  # nearer a tie, float32 may round a side the other way
            assert tuple(actual) == expected
    top, left, h, w = boxes.T
    assert ((top >= 0) & (left >= 0) & (h >= 1) & (w >= 1) & (top + h <= height) & (left + w <= width)).all()
    half_a_pixel = 1 / h + 1 / w
    assert (h * w / (height * width) >= scale[0] * (1 - half_a_pixel)).all()
    assert (w / h <= ratio[1] * (1 + half_a_pixel)).all()
    assert (w / h >= ratio[0] * (1 - half_a_pixel)).all()
    assert top[h < height].max() > 0


def test_a_box_that_never_fits_lies_in_the_middle():
    for height, width, ratio, expected in (
        (28, 28, (2.0, 3.0), (7, 0, 14, 28)),
        (20, 60, (3 / 4, 4 / 3), (0, 16, 20, 27)),
        (28, 28, (1 / 2, 2.0), (0, 0, 28, 28)),
    ):
        draw = jax.vmap(lambda key, h=height, w=width, r=ratio: augmentation.crop_box(key, h, w, (1.0, 1.0), r))
        np.testing.assert_array_equal(np.stack(jax.jit(draw)(keys(3)), -1), [expected] * 3)
        assert reference.crop_box(np.full(22, 0.1), height, width, (1.0, 1.0), ratio)[0] == expected


def test_factors_are_uniform_in_their_stated_range():
    flat = jnp.full((3, 1, 1), 0.25)
    one = lambda key: augmentation.color_jitter(key, flat, 1.5, 0.0, 0.0, 0.0)[0, 0, 0] / 0.25
    factors = np.asarray(jax.jit(jax.vmap(one))(keys(MANY)))
    assert stats.kstest(factors, stats.uniform(0, 2.5).cdf).pvalue > 0.001
    red = jnp.float32([0.5, 0.25, 0.25])[:, None, None]
    two = lambda key: augmentation.color_jitter(key, red, 0.0, 0.0, 0.0, 1 / 6)[:, 0, 0]
    turned = np.asarray(jax.jit(jax.vmap(two))(keys(MANY)))
    shift = (turned[:, 1] - turned[:, 2]) / 0.25 / 6  # red's hue, where red stays the largest
    assert stats.kstest(shift, stats.uniform(-1 / 6, 1 / 3).cdf).pvalue > 0.001


@pytest.mark.slow
def test_each_change_happens_with_its_probability_and_never_at_zero():
    image = planes(RGB[:4, :4])
    changes = {
        "flip": augmentation.random_flip,
        "jitter": lambda key, image, p: augmentation.color_jitter(key, image, p=p),
        "grayscale": augmentation.random_grayscale,
        "blur": lambda key, image, p: augmentation.random_blur(key, image, p, (0.5, 2.0)),
        "solarize": augmentation.random_solarize,
        "crop": lambda key, image, p: augmentation.random_resized_crop(key, image, 4, (1, 1), (1, 1), p),
    }

    @jax.jit
    def changed(keys):
        share = lambda change, p: jax.vmap(lambda key: jnp.any(change(key, image, p) != image))(keys)
        return {name: [share(change, p) for p in (0.0, 0.3, 1.0)] for name, change in changes.items()}

    for name, (never, sometimes, always) in changed(keys(MANY)).items():
        assert not never.any(), name
        assert stats.binomtest(int(sometimes.sum()), MANY, 0.3).pvalue > 0.001, name
        assert always.all(), name


@pytest.mark.parametrize(
    ("channels", "settings"),
    [
        (3, Augmentation(24, jitter=0.7, grayscale=0.3, blur=0.5, solarize=0.3)),
        pytest.param(1, Augmentation(40, grayscale=0.5, blur=0.5, mean=0.3, std=0.2), marks=pytest.mark.slow),
    ],
    ids=["rgb", "grey"],
)
def test_a_view_is_the_reference_with_the_same_draws(channels, settings):
    n = 96 if channels == 3 else 24
    images = random_images(n, 28, 30, channels)
    chosen = keys(n, seed=channels)
    draw = jax.jit(settings.__call__)
    views = draw(chosen, images)
    assert views.dtype == jnp.float32
    assert views.shape == (n, settings.size, settings.size, channels)
    orders = set()
    drawn = reference.draws(chosen, channels)
    for i, (image, actual) in enumerate(zip(images, views, strict=True)):
        expected, order = reference.view(settings, {name: u[i] for name, u in drawn.items()}, image)
        orders.add(order)
        np.testing.assert_allclose(actual, expected, atol=2e-4)
    assert len(orders) == (24 if channels == 3 else 2)

    order = np.random.default_rng(1).permutation(n)  # a view is its own key's and pixels', wherever they stand
    np.testing.assert_allclose(draw(chosen[order], images[order]), views[order], atol=1e-6)
    same = np.repeat(images[:1], n, 0)
    assert len(np.unique(np.asarray(draw(chosen, same)).reshape(n, -1), axis=0)) == n


def test_nothing_asked_for_is_nothing_done():
    nothing = Augmentation(crop=None, flip=0, jitter=0, grayscale=0, mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0))
    images = random_images(3, 6, 9, 3)
    expected = (images / 255 - [0.1, 0.2, 0.3]) / [0.5, 1.0, 2.0]
    np.testing.assert_allclose(jax.jit(nothing.__call__)(keys(3), images), expected, atol=1e-6)
    np.testing.assert_allclose(jax.jit(nothing.plain)(images), expected, atol=1e-6)
    flipped = Augmentation(crop=None, flip=1, jitter=0, grayscale=0, mean=0, std=1)
    np.testing.assert_allclose(jax.jit(flipped.__call__)(keys(3), images), (images / 255)[:, :, ::-1], atol=1e-6)


def test_plain_images_are_resized_as_pillow_does():
    images = random_images(2, 12, 17, 3)
    whole = (0, 0, 12, 17)
    for settings, size in ((Augmentation(8), (8, 8)), (Augmentation((6, 20)), (6, 20))):
        expected = [(reference.resized_crop(image / 255, whole, size) - 0.5) / 0.5 for image in images]
        np.testing.assert_allclose(jax.jit(settings.plain)(images), expected, atol=2e-5)
        still = Augmentation(size, crop=None, flip=0, jitter=0, grayscale=0)
        np.testing.assert_allclose(jax.jit(still.__call__)(keys(2), images), expected, atol=2e-5)


def test_every_strength_is_a_setting():
    images = random_images(2, 12, 17, 3)
    still = {"crop": None, "flip": 0.0, "jitter": 0.0, "grayscale": 0.0, "mean": 0.0, "std": 1.0}
    view = lambda **settings: jax.jit(Augmentation(**still, **settings).__call__)(keys(2), images)
    np.testing.assert_allclose(view(), images / 255, atol=1e-6)  # nothing is mirrored
    solarized = [pixels_last(pixels.solarize(planes(image), 0.25)) for image in images]
    np.testing.assert_allclose(view(solarize=1.0, solarize_threshold=0.25), solarized, atol=1e-6)
    blurred = [reference.blur(image / 255, 0.8, 3) for image in images]
    np.testing.assert_allclose(view(blur=1.0, blur_sigma=(0.8, 0.8), blur_radius=3), blurred, atol=1e-5)
    changed = {
        name: kind for name, kind in settings_of(RECIPES["simclr"]).items() if kind.path[1:2] == ("augmentation",)
    }
    assert {one.path[-1] for one in changed.values()} == {field.name for field in fields(Augmentation)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"flip": 1.5}, "flip must be from 0 to 1, not 1.5"),
        ({"jitter": -0.1}, "jitter must be from 0 to 1"),
        ({"brightness": -1}, "brightness must be at least 0"),
        ({"hue": 0.6}, r"hue must be from 0 to 0\.5"),
        ({"crop": (0.0, 1.0)}, "crop must be above 0 and at most 1, not 0.0"),
        ({"crop": (0.9, 0.5)}, "crop must be a range with the smaller number first"),
        ({"ratio": (0, 1)}, "ratio must be above 0"),
        ({"blur_sigma": (0.0, 1.0)}, "blur_sigma must be at least 0.001"),
        ({"solarize": float("nan")}, "solarize must be from 0 to 1, not nan"),
        ({"std": (1.0, 0.0, 1.0)}, "std must be above 0, not 0.0"),
        ({"size": 0}, "size must be at least 1, not 0"),
        ({"size": (3, 4, 5)}, "size must be a side"),
    ],
)
def test_settings_out_of_range_are_told(settings, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**settings)


def test_images_of_another_kind_are_told():
    for wrong in (np.zeros((2, 8, 8), np.uint8), np.zeros((2, 8, 8, 2), np.uint8), np.zeros((2, 8, 8, 3), np.float32)):
        for way in (lambda x: Augmentation()(keys(2), x), Augmentation().plain):
            with pytest.raises(ValueError, match=r"images are uint8 \[batch, height, width, 1 or 3\]"):
                way(wrong)
    with pytest.raises(ValueError, match="mean must be one number, or one for each of 1 channels"):
        Augmentation(mean=(0.1, 0.2, 0.3)).plain(np.zeros((2, 8, 8, 1), np.uint8))
    with pytest.raises(ValueError, match="p must be from 0 to 1, not 2"):
        augmentation.random_flip(jax.random.key(0), jnp.zeros((1, 2, 2)), 2.0)
