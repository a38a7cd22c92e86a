"""Modules as pure functions: settings, saving, dropout keys, statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxembed.encoders.functional import ENCODERS, encoder
from jaxembed.encoders.heads import Head
from jaxembed.encoders.transformer import Transformer
from jaxembed.methods.images import SimCLR


def test_it_is_the_module_itself():
    spec = encoder("head", sizes=[6, 5, 4])
    params, kept = spec.init(jax.random.key(0))
    module = Head((6, 5, 4), rngs=nnx.Rngs(params=jax.random.key(0)))
    x = jnp.asarray(np.random.default_rng(0).normal(size=(7, 6)), jnp.float32)
    output, moved = spec.apply(params, kept, x, train=True)
    np.testing.assert_allclose(output, module(x, train=True), rtol=1e-6)
    expected = jax.tree.leaves(nnx.to_pure_dict(nnx.state(module, nnx.BatchStat)))
    for mine, theirs in zip(jax.tree.leaves(moved), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6)
    assert all(isinstance(name, str) for name in params["linears"])  # as files and checkpoints have them


@pytest.mark.slow
def test_dropout_is_decided_by_the_key():
    spec = encoder("transformer", vocab_size=9, hidden_size=8, depth=1, heads=2, dropout=0.5)
    params, kept = spec.init(jax.random.key(0))
    ids = jnp.asarray([[1, 2, 3, 4]])
    run = jax.jit(lambda key: spec.apply(params, kept, ids, train=True, key=key)[0])
    first, same, other = (run(jax.random.key(i)) for i in (1, 1, 2))
    np.testing.assert_array_equal(first, same)
    assert np.abs(first - other).max() > 1e-3
    assert spec.apply(params, kept, ids, call="sequence")[0].shape == (1, 4, 8)


def test_settings_are_looked_up_compared_and_changed():
    spec = encoder("vit", patch=4, hidden_size=18)
    assert spec == encoder("vit", hidden_size=18, patch=4)
    assert hash(spec) == hash(encoder("vit", hidden_size=18, patch=4))
    assert (spec["patch"], spec["depth"], "depth" in spec) == (4, 6, False)
    assert spec.with_(patch=7)["patch"] == 7
    assert spec.with_(features=24).vector_size == 24
    assert encoder("transformer", vocab_size=5, hidden_size=8, heads=2).vector_size == 8
    assert ENCODERS["transformer"] is Transformer


class Flat(nnx.Module):
    """A linear map of all pixels: an encoder of one's own."""

    def __init__(self, image_size: int = 28, channels: int = 1, vector_size: int = 3, *, rngs: nnx.Rngs):
        self.map = nnx.Linear(image_size**2 * channels, vector_size, rngs=rngs)
        self.vector_size = vector_size

    def __call__(self, images, *, train=False, rngs=None):
        return self.map(images.reshape(len(images), -1))


def test_a_module_of_ones_own_is_an_encoder_as_soon_as_it_has_a_name(monkeypatch):
    monkeypatch.setitem(ENCODERS, "flat", Flat)
    spec = encoder("flat", image_size=4, vector_size=5)
    params, kept = spec.init(jax.random.key(0))
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 4, 1)), jnp.float32)
    expected = np.asarray(images).reshape(2, 16) @ params["map"]["kernel"] + params["map"]["bias"][None]
    np.testing.assert_allclose(spec.apply(params, kept, images)[0], expected, rtol=1e-5)
    assert spec.vector_size == 5
    assert SimCLR(encoder=spec).vector_size == 5


def test_bad_names():
    with pytest.raises(ValueError, match=r"unknown encoder 'vitt': did you mean 'vit'"):
        encoder("vitt")
    with pytest.raises(ValueError, match=r"unknown vit setting 'width'.* the vit settings are image_size"):
        encoder("vit", width=3)
