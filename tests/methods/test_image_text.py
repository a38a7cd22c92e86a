"""CLIP and SigLIP on toy pairs: losses against written-out ones, the learned scale, texts that recur."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxembed.data.tokenized import TokenizedImages
from jaxembed.encoders.functional import encoder
from jaxembed.methods import image_text
from jaxembed.sampling.augmentation import Augmentation
from jaxembed.training.dense import Dense
from jaxembed.training.loop import fit
from jaxembed.training.settings import Training

N, L, V = 32, 4, 12
HOW = {
    "image_encoder": encoder("vit", hidden_size=16, depth=1, heads=2, patch=4),
    "text_encoder": encoder("transformer", vocab_size=1, hidden_size=16, depth=1, heads=2, dropout=0.0, segments=0),
    "vector_size": 8, "batch_size": 8, "watch": 4,
    "augmentation": Augmentation(crop=None, flip=0.0, jitter=0.0, grayscale=0.0),
}  # fmt: skip


def toy(repeated: bool = False) -> TokenizedImages:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (N, 8, 8, 3), dtype=np.uint8)
    ids = np.concatenate([rng.integers(4, V, (N, L - 1)), np.zeros((N, 1), int)], 1).astype(np.int32)
    texts = np.arange(N, dtype=np.int32) // (2 if repeated else 1)
    return TokenizedImages(images, ids, texts, V)


def losses(method, data, place=0):
    """The loss of a batch, and what it is made of in float64."""
    method = method.suited_to(data)
    source = method.source(data)
    params = jax.jit(method.init)(jax.random.key(1), source.constants)
    rows = slice(8 * place, 8 * place + 8)
    batch = {name: jnp.asarray(x[rows]) for name, x in source.piece(0).items()}
    loss = jax.jit(method.loss)({}, params.net, params.kept, batch, jax.random.key(3))[0]
    image, text = (
        np.asarray(jax.jit(f)(params.net, params.kept, batch), np.float64) for f in (method.encode, method.encode_text)
    )
    return float(loss), image @ text.T, np.asarray(batch["texts"])


@pytest.mark.slow
def test_clip_is_the_mean_of_both_softmaxes():
    loss, cosines, _ = losses(image_text.CLIP(**HOW), toy())
    scores = cosines / 0.07
    both = [np.log(np.exp(s).sum(1)) - np.diag(s) for s in (scores, scores.T)]
    np.testing.assert_allclose(loss, np.mean(both), rtol=1e-4)


def test_clip_leaves_out_others_of_the_same_text():
    loss, cosines, texts = losses(image_text.CLIP(**HOW), toy(repeated=True))
    scores = cosines / 0.07
    other = (texts[:, None] == texts[None]) & ~np.eye(8, dtype=bool)
    both = [np.log(np.where(other, 0, np.exp(s)).sum(1)) - np.diag(s) for s in (scores, scores.T)]
    np.testing.assert_allclose(loss, np.mean(both), rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [image_text.CLIP, image_text.SigLIP])
def test_the_other_captions_of_a_picture_are_no_negatives(kind):
    pictures = np.arange(N, dtype=np.int32) // 4
    loss, cosines, _ = losses(kind(**HOW), replace(toy(), pictures=pictures))
    same, own = pictures[:8, None] == pictures[None, :8], np.eye(8, dtype=bool)
    if kind is image_text.CLIP:
        scores = cosines / 0.07
        both = [np.log(np.where(same & ~own, 0, np.exp(s)).sum(1)) - np.diag(s) for s in (scores, scores.T)]
        expected = np.mean(both)
    else:  # all captions of a picture share the weight of one positive
        scores = 10 * cosines - 10
        terms = np.where(same, np.log1p(np.exp(-scores)) / same.sum(1), np.log1p(np.exp(scores)))
        expected = terms.sum() / 8
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


@pytest.mark.slow
def test_siglip_is_a_logistic_loss_of_every_pair():
    loss, cosines, _ = losses(image_text.SigLIP(**HOW), toy())
    sign = 2 * np.eye(8) - 1
    expected = np.log1p(np.exp(-sign * (10 * cosines - 10))).sum() / 8
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [image_text.CLIP, image_text.SigLIP])
def test_pairs_find_each_other_after_training(kind):
    training = Training(epochs=30, learning_rate=3e-3, dense=Dense(warmup=0.1))
    result = fit(kind(**HOW), toy(), training, seeds=(1,))
    assert result.losses[-1, 0] < 0.7 * result.losses[0, 0]
    image, text = np.split(result.vectors[0], 2)
    assert image.shape == text.shape == (4, 8)
    np.testing.assert_allclose(np.linalg.norm(image, axis=1), 1, rtol=1e-5)
    assert float(result.params[0].net["log_scale"]) != pytest.approx(np.log(kind(**HOW).scale))


def test_the_scale_stays_below_its_bound():
    method = image_text.CLIP(**HOW).suited_to(toy())
    source = method.source(toy())
    params = jax.jit(method.init)(jax.random.key(1), source.constants)
    batch = {name: jnp.asarray(x[:8]) for name, x in source.piece(0).items()}
    scaled = lambda x: method.loss({}, params.net | {"log_scale": x}, params.kept, batch, jax.random.key(3))[0]
    both = jax.jit(jax.value_and_grad(scaled))
    at = lambda scale: float(both(jnp.log(jnp.float32(scale)))[0])
    np.testing.assert_allclose(at(1000.0), at(100.0), rtol=1e-5)
    assert abs(at(100.0) - at(50.0)) > 1e-3
    assert abs(float(both(jnp.log(jnp.float32(1000.0)))[1])) > 1e-3  # what has come to the bound can come back


def test_texts_may_be_as_long_as_the_task_allows():
    method = image_text.CLIP(**HOW).suited_to(replace(toy(), max_length=9))
    assert method.text_encoder["max_length"] == 9


def test_bad_settings():
    for settings, message in (
        ({"same_text": "both"}, "same_text must be"), ({"scale": 0.0}, "scale must be"), ({"scale": 101.0}, "scale must be"),
        ({"batch_size": 1}, "at least 2"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            replace(image_text.CLIP(**HOW), **settings)
