"""How nets are trained: which of their variables decay, and whose decay recorded runs had."""

import jax
import jax.numpy as jnp
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


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_a_rate_of_the_nets_scales_all_of_a_step(optimizer):
    decay = {} if optimizer == "adam" else {"weight_decay": 0.25}
    whole, tenth = (Dense(optimizer=optimizer, net_rate=rate, **decay).transformation() for rate in (1.0, 0.1))
    params, gradient = np.float32([[1, -2]]), np.float32([[3, 0.7]])
    moved = [np.asarray(rule.update(gradient, rule.init(params), params)[0]) for rule in (whole, tenth)]
    assert np.all(moved[0] != 0)
    np.testing.assert_allclose(moved[1], 0.1 * moved[0], rtol=1e-6)


def layered(value):
    """Parameters of an encoder of two layers and of a head, all with this value."""
    of = lambda *shape: jnp.full(shape, value)
    blocks = {str(i): {"kernel": of(2, 2)} for i in range(2)}
    encoder = {"token_embedding": of(3, 2), "blocks": blocks, "final_norm": {"scale": of(2)}}
    return {"encoder": encoder, "head": {"kernel": of(2, 2)}}


def test_layers_take_smaller_rates_the_lower_they_are():
    update = Dense(optimizer="sgd", momentum=0.0, layer_decay=0.5).transformation()
    net = layered(1.0)
    moved, _ = update.update(layered(8.0), update.init(net), net)
    encoder = moved["encoder"]
    assert float(moved["head"]["kernel"][0, 0]) == float(encoder["final_norm"]["scale"][0]) == 8.0
    found = [float(one[0, 0]) for one in (encoder["blocks"]["1"]["kernel"], encoder["blocks"]["0"]["kernel"])]
    assert found == [4.0, 2.0]
    assert float(encoder["token_embedding"][0, 0]) == 1.0


@pytest.mark.parametrize(("layers", "trained"), [(0, ["head"]), (1, ["head", "1"]), (2, ["head", "1", "0"])])
def test_the_last_layers_are_trained_alone(layers, trained):
    update = Dense(optimizer="adamw", weight_decay=0.1, clip=1.0, train_layers=layers).transformation()
    net = layered(1.0)
    moved, _ = update.update(layered(8.0), update.init(net), net)
    parts = {
        **moved["encoder"]["blocks"],
        "head": moved["head"],
        "token_embedding": moved["encoder"]["token_embedding"],
    }
    assert {name for name, one in parts.items() if jax.tree.leaves(one)[0].any()} == set(trained)
    # frozen gradients do not count in the norm that is clipped
    clip = Dense(optimizer="sgd", momentum=0.0, clip=1.0, train_layers=0).transformation()
    moved, _ = clip.update(layered(8.0), clip.init(net), net)
    norm = np.sqrt(sum(float((x**2).sum()) for x in jax.tree.leaves(moved)))
    assert norm == pytest.approx(1.0)


def test_gradients_of_several_steps_are_averaged_before_one_update():
    rng = np.random.default_rng(0)
    params = {"kernel": jnp.asarray(rng.normal(size=(3, 2)), jnp.float32)}
    gradients = [{"kernel": jnp.asarray(rng.normal(size=(3, 2)), jnp.float32)} for _ in range(4)]
    settings = {"optimizer": "adamw", "weight_decay": 0.1, "clip": 0.5}
    few, whole = Dense(accumulate=2, **settings).transformation(), Dense(**settings).transformation()
    state, moved = few.init(params), []
    for one in gradients:
        update, state = few.update(one, state, params)
        moved.append(update["kernel"])
    state = whole.init(params)
    for i in (0, 2):
        mean = jax.tree.map(lambda a, b: (a + b) / 2, *gradients[i : i + 2])
        update, state = whole.update(mean, state, params)
        assert not np.any(moved[i])
        np.testing.assert_allclose(moved[i + 1], update["kernel"], rtol=1e-5)
