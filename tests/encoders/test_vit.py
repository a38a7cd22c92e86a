import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxembed.encoders import ViT
from jaxembed.encoders.positions import sincos_2d

POSITIONS = ("learned", "sincos2d", "rotary", "none")
IMAGES = np.random.default_rng(0).normal(size=(2, 4, 6, 2)).astype(np.float32)


@pytest.fixture
def model(filled):
    def make(**settings):
        settings = {
            "image_size": (4, 6),
            "channels": 2,
            "patch": 2,
            "hidden_size": 8,
            "depth": 1,
            "heads": 2,
        } | settings
        return filled(lambda: ViT(**settings, rngs=nnx.Rngs(0)))

    return make


def turned(x, rows, columns, own):
    """Rotary positions by complex numbers: `x [L, d]`, whose first `own` rows stand at no place."""
    pairs = x[:, : x.shape[1] // 2] + 1j * x[:, x.shape[1] // 2 :]
    half = pairs.shape[1] // 2
    for i in range(own, len(x)):
        row, column = divmod(i - own, columns)
        for t in range(half):
            pairs[i, t] *= np.exp(1j * row * 100 ** (-t / half))
            pairs[i, half + t] *= np.exp(1j * column * 100 ** (-t / half))
    return np.concatenate([pairs.real, pairs.imag], axis=1)


def formula(reference, p, images, positions, pooling):
    batch, height, width, _ = images.shape
    rows, columns, own = height // 2, width // 2, int(pooling == "cls")
    cut = [
        image[2 * r : 2 * r + 2, 2 * c : 2 * c + 2].ravel() for image in images for r, c in np.ndindex(rows, columns)
    ]
    x = reference.linear(p["embedding"], np.array(cut, np.float64)).reshape(batch, rows * columns, -1)
    if own:
        x = np.concatenate([np.tile(p["class_token"], (batch, 1, 1)), x], axis=1)
    if positions == "learned":
        x = x + p["position_embedding"]
    elif positions == "sincos2d":
        x[:, own:] += sincos_2d(rows, columns, 8)
    turn = (lambda q: turned(q, rows, columns, own)) if positions == "rotary" else (lambda q: q)
    for layer in p["blocks"].values():
        x = reference.block(layer, x, 2, "pre", "gelu_tanh", 1e-6, turn=turn)
    x = reference.layer_norm(p["final_norm"], x, 1e-6)
    return (x[:, 0] if own else x.mean(1)), x[:, own:]


@pytest.mark.parametrize(
    ("positions", "pooling"), [("learned", "cls"), ("sincos2d", "mean"), ("rotary", "cls"), ("none", "mean")]
)
def test_forward_equals_the_reference_in_float64(reference, model, positions, pooling):
    module = model(positions=positions, pooling=pooling, depth=2)
    p = reference.parameters(module)
    whole, patches = jax.jit(lambda x: (module(x), module.patches(x)))(IMAGES)
    expected = formula(reference, p, IMAGES, positions, pooling)
    np.testing.assert_allclose(whole, expected[0], atol=2e-5)
    np.testing.assert_allclose(patches, expected[1], atol=2e-5)
    assert whole.shape == (2, module.vector_size)


@pytest.mark.parametrize("positions", ["sincos2d", "rotary", "none"])
def test_another_size_at_test_time_has_the_positions_of_its_grid(reference, model, positions):
    module = model(positions=positions)
    images = np.random.default_rng(1).normal(size=(1, 8, 4, 2)).astype(np.float32)
    expected = formula(reference, reference.parameters(module), images, positions, "mean")[0]
    np.testing.assert_allclose(jax.jit(module.__call__)(images), expected, atol=2e-5)


def test_learned_positions_follow_another_size(reference, model):
    module = model(pooling="cls")
    images = np.random.default_rng(1).normal(size=(1, 8, 12, 2)).astype(np.float32)
    p = reference.parameters(module)
    grid = p["position_embedding"][1:].reshape(2, 3, 8)
    fine = np.asarray(jax.image.resize(grid, (4, 6, 8), "linear"), np.float64).reshape(24, 8)
    p["position_embedding"] = np.concatenate([p["position_embedding"][:1], fine])
    expected = formula(reference, p, images, "learned", "cls")[0]
    np.testing.assert_allclose(jax.jit(module.__call__)(images), expected, atol=2e-5)


def test_without_positions_the_order_of_patches_does_not_matter(model):
    swapped = np.concatenate([IMAGES[:, 2:], IMAGES[:, :2]], axis=1)
    for positions in POSITIONS:
        encode = jax.jit(model(positions=positions).__call__)
        moved = np.abs(np.asarray(encode(swapped) - encode(IMAGES))).max()
        assert moved < 1e-5 if positions == "none" else moved > 1e-3


@pytest.mark.slow
def test_remat_gives_the_same_values_and_gradients(model):
    both = [model(positions="rotary", dropout=0.2, remat=remat) for remat in (False, True)]

    def total(state, graph):
        out = nnx.merge(graph, state)(IMAGES, train=True, rngs=nnx.Rngs(dropout=jax.random.key(3)))
        return jnp.sum(out[:, :3] ** 3)

    (graph, state), (graph_remat, _) = map(nnx.split, both)
    step = jax.jit(jax.value_and_grad(total), static_argnums=1)
    value, gradient = step(state, graph)
    value_remat, gradient_remat = step(state, graph_remat)
    np.testing.assert_allclose(value_remat, value, rtol=1e-5)
    for ours, theirs in zip(jax.tree.leaves(gradient), jax.tree.leaves(gradient_remat), strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("hidden_size", "heads", "parameters"),
    [(384, 6, 22_050_664 - 385_000), (768, 12, 86_567_656 - 769_000)],  # without the 1,000 classes
)
def test_published_numbers_of_parameters(hidden_size, heads, parameters):
    make = lambda: nnx.state(ViT(224, 3, 16, hidden_size, 12, heads, pooling="cls", rngs=nnx.Rngs(0)))
    assert sum(x.size for x in jax.tree.leaves(nnx.eval_shape(make))) == parameters


def test_bfloat16_runs_close_and_parameters_are_float32(model):
    exact, rounded = model(), model(dtype=jnp.bfloat16)
    assert {x.dtype.name for x in jax.tree.leaves(nnx.state(rounded))} == {"float32"}
    out = jax.jit(rounded.__call__)(IMAGES)
    assert out.dtype == jnp.bfloat16
    assert 0 < np.abs(np.asarray(out, np.float32) - np.asarray(jax.jit(exact.__call__)(IMAGES))).max() < 0.1


def test_bad_input_says_what_to_do(model):
    module = model()
    for images, message in (
        (np.zeros((1, 5, 6, 2), np.float32), "5 x 6 cannot be cut into patches of 2: resize or crop"),
        (np.zeros((1, 4, 6, 3), np.float32), r"\[batch, height, width, 2\], not of shape \(1, 4, 6, 3\)"),
        (np.zeros((4, 6, 2), np.float32), r"not of shape \(4, 6, 2\)"),
        (np.zeros((1, 4, 6, 2), np.uint8), "floating point, not uint8: divide them by 255"),
    ):
        with pytest.raises(ValueError, match=message):
            module(images)
    for settings, message in (
        ({"image_size": 5}, "image_size of 5 x 5 cannot be cut into patches of 2"),
        ({"positions": "learned1d"}, "positions is one of 'learned', 'sincos2d', 'rotary', 'none', not 'learned1d'"),
        ({"pooling": "last"}, "pooling is one of 'mean', 'cls', not 'last'"),
        ({"positions": "rotary", "heads": 4}, "multiple of 4, not 2"),
        ({"positions": "sincos2d", "hidden_size": 6, "heads": 1}, "multiple of 4, not 6"),
        ({"dropout": -0.1}, "dropout must be at least 0"),
    ):
        with pytest.raises(ValueError, match=message):
            model(**settings)
    with pytest.raises(ValueError, match="dropout needs a key"):
        model(dropout=0.1)(IMAGES, train=True)
