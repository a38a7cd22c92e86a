"""How nets are trained: which of their variables decay, and whose decay recorded runs had."""

import jax
import numpy as np
import pytest

from jaxembed.encoders.functional import encoder
from jaxembed.training.dense import Dense

NETS = {
    "vit": encoder("vit", image_size=8, hidden_size=8, depth=1, heads=2, patch=4, pooling="cls", features=4),
    "transformer": encoder("transformer", vocab_size=9, hidden_size=8, depth=1, heads=2, max_length=5),
    "resnet": encoder("resnet", stem="patch", patch=4, width=4, channels=1),
    "head": encoder("head", sizes=(8, 8, 4), norm="layer", final_norm=True),
}


def named(tree):
    """Leaves by their names, as "blocks/0/up/kernel"."""
    return {"/".join(str(key.key) for key in path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def decayed(dense, params):
    """The variables that a step without a gradient moves, and by which factor."""
    rule = dense.transformation()
    still = jax.tree.map(np.zeros_like, params)
    updates = jax.jit(lambda params: rule.update(still, rule.init(params), params)[0])(params)
    before, moved = named(params), named(updates)
    return {name: np.asarray(moved[name]) / np.asarray(before[name]) for name in before if np.any(moved[name])}


@pytest.fixture(scope="module")
def params():
    shapes = jax.eval_shape(lambda key: {name: net.init(key)[0] for name, net in NETS.items()}, jax.random.key(0))
    return jax.tree.map(lambda leaf: np.ones(leaf.shape, leaf.dtype), shapes)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_maps_decay_and_nothing_else(params, optimizer):
    found = decayed(Dense(optimizer=optimizer, weight_decay=0.25), params)
    for factor in found.values():
        np.testing.assert_allclose(factor, 0.25, rtol=1e-6)
    kept = named(params).keys() - found.keys()
    for name in found:
        assert name.split("/")[-1] == "kernel" or any(
            table in name for table in ("token_embedding", "segment_embedding")
        )
    for part in ("vit/class_token", "vit/position_embedding", "transformer/position_embedding"):
        assert any(name.startswith(part) for name in kept), part
    assert not [name for name in kept if name.split("/")[-1] == "kernel"]
    assert any(name.endswith("bias") for name in kept)
    assert any(name.endswith("scale") for name in kept)


def test_places_decay_where_an_older_run_had_it(params):
    new, old = (decayed(Dense(optimizer="adamw", weight_decay=0.25, decay_places=one), params) for one in (False, True))
    more = {name.split("/")[1] for name in old.keys() - new.keys()}
    assert more == {"class_token", "position_embedding"}
    assert {name for name, leaf in named(params).items() if leaf.ndim > 1} == old.keys()


def test_adagrad_starts_from_zero_with_eps_outside_the_root():
    rule, gradients = Dense(optimizer="adagrad").transformation(), np.random.default_rng(0).normal(size=(4, 3))
    gradients[:, 1] = 0
    state, total = rule.init(np.zeros(3, np.float32)), np.zeros(3)
    for gradient in gradients:
        update, state = rule.update(np.float32(gradient), state)
        total += gradient**2
        np.testing.assert_allclose(update, gradient / (np.sqrt(total) + 1e-10), rtol=1e-5)
    with pytest.raises(ValueError, match="adagrad takes no weight_decay: choose adamw"):
        Dense(optimizer="adagrad", weight_decay=0.1)


def test_coupled_l2_is_added_to_the_gradients_of_maps_before_the_optimiser(params):
    for name in ("sgd", "adam"):
        rule = Dense(optimizer=name, l2=0.25, momentum=0.0).transformation()
        still = jax.tree.map(np.zeros_like, params)
        updates = named(
            jax.jit(lambda params, rule=rule, still=still: rule.update(still, rule.init(params), params)[0])(params)
        )
        moved = {one for one, leaf in updates.items() if np.any(leaf)}
        assert moved == decayed(Dense(optimizer="sgd", weight_decay=0.25), params).keys()
        for one in moved:  # Adam's first step is the sign of a gradient, however small
            np.testing.assert_allclose(updates[one], 0.25 if name == "sgd" else 1.0, rtol=1e-4)
