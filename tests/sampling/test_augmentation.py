"""Augmentation against Pillow, colorsys, scipy and NumPy; and the laws of its draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from scipy import stats

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


def random_images(n, height, width, channels):
    return RNG.integers(0, 256, (n, height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize("image", [RGB, GREY], ids=["rgb", "grey"])
def test_a_resized_crop_is_pillows(image):
    boxes = [(0, 0, 12, 17), (2, 3, 7, 9), (0, 0, 1, 1), (11, 4, 1, 13), (3, 0, 9, 17)]
    crop = jax.jit(jax.vmap(pixels.resized_crop, (None, 0, None, 0)), static_argnums=2)
    stacked = pixels.Box(*np.array(boxes, np.float32).T)
    flips = np.arange(len(boxes)) % 2 == 1
    for size in ((8, 8), (31, 5)):
        for box, flipped, actual in zip(boxes, flips, crop(image / np.float32(255), stacked, size, flips), strict=True):
            expected = reference.resized_crop(image / 255, box, size, flipped)
            np.testing.assert_allclose(actual, expected, atol=1e-5)


def test_a_box_at_its_own_size_is_exact():
    unit = RGB / np.float32(255)
    actual = pixels.resized_crop(jnp.asarray(unit), pixels.Box(*np.float32([2, 3, 8, 8])), 8)
    np.testing.assert_array_equal(actual, unit[2:10, 3:11])


@pytest.mark.parametrize("factor", [0.0, 0.3, 1.0, 1.7])
def test_colours_are_pillows_but_for_its_rounding(factor):
    unit = RGB / np.float32(255)
    for ours, theirs, name in (
        (pixels.adjust_brightness, ImageEnhance.Brightness, "brightness"),
        (pixels.adjust_contrast, ImageEnhance.Contrast, "contrast"),
        (pixels.adjust_saturation, ImageEnhance.Color, "saturation"),
    ):
        actual = np.asarray(ours(unit, factor))
        np.testing.assert_allclose(actual, reference.ADJUST[name](RGB / 255, factor), atol=1e-6)
        pillow = np.asarray(theirs(Image.fromarray(RGB)).enhance(factor)) / 255
        np.testing.assert_allclose(actual, pillow, atol=(1 + 0.5 * abs(1 - factor)) * LEVEL + 1e-6)


def test_hue_is_that_of_colorsys():
    patches = np.array([[[1, 0, 0], [0, 1, 0], [0, 0, 1]], [[1, 1, 0], [0.3, 0.3, 0.3], [0, 0, 0]], [[1, 1, 1]] * 3])
    for image in (RGB / 255, patches):
        for shift in (-0.5, -0.1, 0.0, 0.25, 0.5):
            actual = pixels.adjust_hue(jnp.float32(image), shift)
            np.testing.assert_allclose(actual, reference.hue(np.float32(image), shift), atol=2e-6)


def test_grayscale_and_solarize_are_pillows():
    actual = np.asarray(pixels.grayscale(RGB / np.float32(255)))
    luma = np.asarray(Image.fromarray(RGB).convert("L")) / 255
    np.testing.assert_allclose(actual, np.repeat(luma[..., None], 3, -1), atol=0.51 * LEVEL)
    for threshold in (1, 128, 255):
        actual = pixels.solarize(RGB / np.float32(255), threshold / 255)
        expected = np.asarray(ImageOps.solarize(Image.fromarray(RGB), threshold)) / 255
        np.testing.assert_allclose(actual, expected, atol=1e-6)
    every = np.arange(256, dtype=np.uint8)[None]
    actual = pixels.solarize(every[..., None] / np.float32(255))[..., 0]
    np.testing.assert_allclose(actual, np.asarray(ImageOps.solarize(Image.fromarray(every), 128)) / 255, atol=1e-6)


def test_blur_is_scipys():
    for image, radius in ((RGB, 1), (RGB, 4), (GREY, 11)):
        for sigma in (0.1, 0.8, 2.0):
            actual = pixels.gaussian_blur(image / np.float32(255), sigma, radius)
            np.testing.assert_allclose(actual, reference.blur(image / 255, sigma, radius), atol=1e-5)
    assert [pixels.blur_radius(*shape) for shape in ((28, 28), (224, 300), (10, 80))] == [1, 11, 1]
    with pytest.raises(ValueError, match="radius 12 needs an image of at least 13 pixels a side, got 12x17"):
        pixels.gaussian_blur(jnp.zeros((12, 17, 1)), 1.0, 12)


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
    assert len(np.unique(boxes, axis=0)) > MANY / 4


def test_a_box_that_never_fits_lies_in_the_middle():
    for height, width, ratio, expected in (
        (28, 28, (2.0, 3.0), (7, 0, 14, 28)),
        (20, 60, (3 / 4, 4 / 3), (0, 16, 20, 27)),
        (28, 28, (1 / 2, 2.0), (0, 0, 28, 28)),
    ):
        for key in keys(3):
            box = augmentation.crop_box(key, height, width, (1.0, 1.0), ratio)
            assert tuple(int(side) for side in box) == expected
            assert reference.crop_box(np.full(22, 0.1), height, width, (1.0, 1.0), ratio)[0] == expected


def test_factors_are_uniform_in_their_stated_range():
    flat = jnp.full((1, 1, 3), 0.25)
    one = lambda key: augmentation.color_jitter(key, flat, 1.5, 0.0, 0.0, 0.0)[0, 0, 0] / 0.25
    factors = np.asarray(jax.jit(jax.vmap(one))(keys(MANY)))
    assert stats.kstest(factors, stats.uniform(0, 2.5).cdf).pvalue > 0.001
    red = jnp.asarray([[[0.5, 0.25, 0.25]]])
    two = lambda key: augmentation.color_jitter(key, red, 0.0, 0.0, 0.0, 1 / 6)[0, 0]
    turned = np.asarray(jax.jit(jax.vmap(two))(keys(MANY)))
    shift = (turned[:, 1] - turned[:, 2]) / 0.25 / 6  # red's hue, where red stays the largest
    assert stats.kstest(shift, stats.uniform(-1 / 6, 1 / 3).cdf).pvalue > 0.001


def test_each_change_happens_with_its_probability_and_never_at_zero():
    image = jnp.asarray(RGB[:4, :4] / np.float32(255))
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
        (1, Augmentation(40, grayscale=0.5, blur=0.5, mean=0.3, std=0.2)),
    ],
    ids=["rgb", "grey"],
)
def test_a_view_is_the_reference_with_the_same_draws(channels, settings):
    images = random_images(48, 28, 30, channels)
    chosen = keys(48, seed=channels)
    views = jax.jit(settings.__call__)(chosen, images)
    assert views.dtype == jnp.float32
    assert views.shape == (48, settings.size, settings.size, channels)
    orders = set()
    for key, image, actual in zip(chosen, images, views, strict=True):
        expected, order = reference.view(settings, key, image)
        orders.add(order)
        # A pixel within rounding of solarising's threshold may fall on the other side: it is .5 from either.
        np.testing.assert_allclose(actual, expected, atol=2e-4)
    assert len(orders) == (6 if channels == 3 else 2)

    again = jax.jit(settings.__call__)(chosen, images)
    np.testing.assert_array_equal(again, views)
    some = np.array([31, 4])  # whatever the rest of the batch
    np.testing.assert_allclose(jax.jit(settings.__call__)(chosen[some], images[some]), views[some], atol=1e-5)
    same = np.repeat(images[:1], 48, 0)
    assert len(np.unique(np.asarray(jax.jit(settings.__call__)(chosen, same)).reshape(48, -1), axis=0)) == 48


def test_nothing_asked_for_is_nothing_done():
    nothing = Augmentation(crop=None, flip=0, jitter=0, grayscale=0, mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0))
    images = random_images(3, 6, 9, 3)
    expected = (images / 255 - [0.1, 0.2, 0.3]) / [0.5, 1.0, 2.0]
    np.testing.assert_allclose(nothing(keys(3), images), expected, atol=1e-6)
    np.testing.assert_allclose(nothing.plain(images), expected, atol=1e-6)
    flipped = Augmentation(crop=None, flip=1, jitter=0, grayscale=0, mean=0, std=1)
    np.testing.assert_array_equal(flipped(keys(3), images), (images / np.float32(255))[:, :, ::-1])


def test_plain_images_are_resized_as_pillow_does():
    images = random_images(2, 12, 17, 3)
    whole = (0, 0, 12, 17)
    for settings, size in ((Augmentation(8), (8, 8)), (Augmentation((6, 20)), (6, 20))):
        expected = [(reference.resized_crop(image / 255, whole, size) - 0.5) / 0.5 for image in images]
        np.testing.assert_allclose(settings.plain(images), expected, atol=2e-5)
    views = Augmentation(8, crop=None, flip=0, jitter=0, grayscale=0)(keys(2), images)
    np.testing.assert_allclose(views, Augmentation(8).plain(images), atol=1e-6)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"flip": 1.5}, "flip must lie between 0 and 1"),
        ({"jitter": -0.1}, "jitter must lie"),
        ({"brightness": -1}, "brightness must lie"),
        ({"hue": 0.6}, r"hue must lie between 0 and 0\.5"),
        ({"crop": (0.0, 1.0)}, "crop must lie"),
        ({"crop": (0.9, 0.5)}, "the smaller first"),
        ({"ratio": (0, 1)}, "ratio must lie"),
        ({"blur_sigma": (0.0, 1.0)}, "blur_sigma must lie"),
        ({"solarize": float("nan")}, "solarize must lie"),
        ({"std": (1.0, 0.0, 1.0)}, "std must lie"),
        ({"size": 0}, "size must be a side"),
        ({"size": (3, 4, 5)}, "size must be a side"),
    ],
)
def test_settings_out_of_range_are_told(settings, told):
    with pytest.raises(ValueError, match=told):
        Augmentation(**settings)


def test_images_of_another_kind_are_told():
    for wrong in (np.zeros((2, 8, 8), np.uint8), np.zeros((2, 8, 8, 2), np.uint8), np.zeros((2, 8, 8, 3), np.float32)):
        for way in (lambda x: Augmentation()(keys(2), x), Augmentation().plain):
            with pytest.raises(ValueError, match=r"images are uint8 \[batch, height, width, 1 or 3\]"):
                way(wrong)
    with pytest.raises(ValueError, match="mean must be one number, or one for each of 1 channels"):
        Augmentation(mean=(0.1, 0.2, 0.3)).plain(np.zeros((2, 8, 8, 1), np.uint8))
    with pytest.raises(ValueError, match="p must lie between 0 and 1"):
        augmentation.random_flip(jax.random.key(0), jnp.zeros((2, 2, 1)), 2.0)
