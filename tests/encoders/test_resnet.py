import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from numpy.lib.stride_tricks import sliding_window_view

from jaxembed.encoders import ResNet
from jaxembed.encoders.resnet import STAGES, Residual

IMAGES = np.random.default_rng(0).normal(size=(2, 16, 16, 3)).astype(np.float32)


def conv(x, kernel, stride):
    k = len(kernel)
    padded = np.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2), (0, 0)))
    windows = sliding_window_view(padded, (k, k), axis=(1, 2))[:, ::stride, ::stride]
    return np.tensordot(windows, kernel, [(3, 4, 5), (2, 0, 1)])


def norm(p, x, train):
    mean, variance = (x.mean((0, 1, 2)), x.var((0, 1, 2))) if train else (p["mean"], p["var"])
    return (x - mean) / np.sqrt(variance + 1e-5) * p["scale"] + p["bias"]


def formula(p, images, stages, stem, patch, train):
    """He et al. 2016 with the stride in the 3x3 convolution, in float64."""
    x, relu = images.astype(np.float64), lambda x: np.maximum(x, 0)
    if stem == "patch":
        b, h, w, _ = x.shape
        cut = [
            [image[r : r + patch, s : s + patch].ravel() for r in range(0, h, patch) for s in range(0, w, patch)]
            for image in x
        ]
        x = np.array(cut).reshape(b, h // patch, w // patch, -1) @ p["stem"]["kernel"]
    else:
        x = conv(x, p["stem"]["kernel"], 2 if stem == "imagenet" else 1)
    x = relu(norm(p["stem_norm"], x, train))
    if stem == "imagenet":
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
        x = sliding_window_view(padded, (3, 3), axis=(1, 2))[:, ::2, ::2].max((-1, -2))
    number = 0
    for stage, count in enumerate(stages):
        for i in range(count):
            block, y = p["blocks"][number], x
            strided = 2 if stage > 0 and i == 0 else 1
            for j in range(len(block["convs"])):
                kernel = block["convs"][j]["kernel"]
                first3 = len(kernel) == 3 and (j == 0 or len(block["convs"]) == 3)
                y = norm(block["norms"][j], conv(y, kernel, strided if first3 else 1), train)
                y = relu(y) if j < len(block["convs"]) - 1 else y
            if "shortcut" in block:
                x = norm(block["shortcut_norm"], conv(x, block["shortcut"]["kernel"], strided), train)
            x, number = relu(x + y), number + 1
    return x.mean((1, 2))


@pytest.fixture
def toy(monkeypatch):
    """One block a stage instead of two or more: less than half the compiler's time."""
    monkeypatch.setitem(STAGES, 18, (1, 1, 1, 1))
    monkeypatch.setitem(STAGES, 50, (1, 1, 1, 1))


@pytest.mark.parametrize(
    ("depth", "stem", "train"), [(18, "cifar", True), (50, "imagenet", False), (18, "patch", False)]
)
@pytest.mark.usefixtures("toy")
def test_forward_equals_the_reference_in_float64(filled, depth, stem, train):
    module = filled(lambda: ResNet(depth, stem, width=4, patch=2, rngs=nnx.Rngs(0)))
    p = jax.tree.map(lambda x: np.asarray(x, np.float64), nnx.to_pure_dict(nnx.state(module)))
    out = nnx.jit(lambda m, x: m(x, train=train))(module, IMAGES)
    expected = formula(p, IMAGES, STAGES[depth], stem, 2, train)
    np.testing.assert_allclose(out, expected, atol=1e-4 * np.abs(expected).max())
    assert out.shape == (2, module.vector_size)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("depth", "stem", "parameters"),
    [(18, "imagenet", 11_176_512), (50, "imagenet", 23_508_032), (18, "cifar", 11_168_832)],
)
def test_published_numbers_of_parameters(depth, stem, parameters):
    make = lambda: nnx.state(ResNet(depth, stem, rngs=nnx.Rngs(0)), nnx.Param)
    assert sum(x.size for x in jax.tree.leaves(nnx.eval_shape(make))) == parameters
    assert nnx.eval_shape(lambda: ResNet(depth, stem, rngs=nnx.Rngs(0))).vector_size == (512 if depth == 18 else 2048)


@pytest.mark.slow
@pytest.mark.usefixtures("toy")
def test_training_moves_the_running_statistics_also_under_remat(filled):
    results = []
    for remat in (False, True):
        module = filled(lambda remat=remat: ResNet(18, "patch", width=4, remat=remat, rngs=nnx.Rngs(0)))
        graph, params, statistics = nnx.split(module, nnx.Param, nnx.BatchStat)

        @jax.jit
        def step(params, statistics, graph=graph):
            def loss(params):
                inside = nnx.merge(graph, params, statistics, copy=True)
                out = inside(IMAGES, train=True)
                return jnp.mean(out**2), nnx.state(inside, nnx.BatchStat)

            return jax.value_and_grad(loss, has_aux=True)(params)

        results.append(step(params, statistics))
    cut = IMAGES.reshape(2, 4, 4, 4, 4, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 48)
    x = cut @ np.asarray(module.stem.kernel[...], np.float64)
    before = statistics["stem_norm"]
    for (_, after), _ in results:  # nine tenths of what stood there and a tenth of the batch's
        for name, batch in (("mean", x.mean(0)), ("var", x.var(0))):
            expected = 0.9 * np.asarray(before[name][...]) + 0.1 * batch
            np.testing.assert_allclose(after["stem_norm"][name][...], expected, atol=1e-5)
    assert len(jax.tree.leaves(results[0])) == len(jax.tree.leaves(results[1]))
    for ours, theirs in zip(jax.tree.leaves(results[0]), jax.tree.leaves(results[1]), strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-3, atol=1e-5)


def test_blocks_may_start_as_the_identity():
    x = jnp.abs(jnp.asarray(IMAGES[..., [0, 1, 2, 0]]))
    start, usual = (Residual(4, 4, 1, False, zero, dtype=jnp.float32, rngs=nnx.Rngs(0)) for zero in (True, False))
    np.testing.assert_array_equal(start(x), x)
    assert np.abs(np.asarray(usual(x) - x)).max() > 0.01


@pytest.mark.usefixtures("toy")
def test_bfloat16_runs_close_and_variables_are_float32(filled):
    exact, rounded = (
        filled(lambda dtype=dtype: ResNet(18, "patch", width=4, dtype=dtype, rngs=nnx.Rngs(0)))
        for dtype in (jnp.float32, jnp.bfloat16)
    )
    assert {x.dtype.name for x in jax.tree.leaves(nnx.state(rounded))} == {"float32"}
    out, expected = (np.asarray(jax.jit(m.__call__)(IMAGES), np.float32) for m in (rounded, exact))
    assert 0 < np.abs(out - expected).max() < 0.1 * np.abs(expected).max()


def test_bad_input_says_what_to_do():
    for settings, message in (
        ({"depth": 33}, "depth is one of 18, 34, 50, 101, 152, not 33"),
        ({"stem": "vgg"}, "stem is one of 'cifar'"),
    ):
        with pytest.raises(ValueError, match=message):
            ResNet(**settings, rngs=nnx.Rngs(0))
    module = nnx.eval_shape(lambda: ResNet(18, "patch", width=4, rngs=nnx.Rngs(0)))
    for shape, message in (((1, 10, 8, 3), "10 x 8 cannot be cut into patches of 4"), ((1, 8, 8, 1), "width, 3]")):
        with pytest.raises(ValueError, match=message):
            module(np.zeros(shape, np.float32))
