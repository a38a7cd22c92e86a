import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxembed.encoders import Head

X = np.random.default_rng(0).normal(2, 3, size=(6, 4)).astype(np.float32)


def formula(p, x, norm, final_norm, running=None):
    """Linear maps, each but the last followed by a norm and relu, in float64; with `running`, those statistics."""
    count = len(p["linears"])
    for i in range(count):
        x = x @ p["linears"][i]["kernel"] + p["linears"][i].get("bias", 0)
        if norm != "none" and (i < count - 1 or final_norm):
            axis, epsilon = (0, 1e-5) if norm == "batch" else (-1, 1e-6)
            mean, variance = x.mean(axis, keepdims=True), x.var(axis, keepdims=True)
            if running:
                mean, variance = running[i]["mean"], running[i]["var"]
            affine = p.get("norms", {}).get(i, {})
            x = (x - mean) / np.sqrt(variance + epsilon) * affine.get("scale", 1) + affine.get("bias", 0)
        x = np.maximum(x, 0) if i < count - 1 else x
    return x


def float64(state):
    return jax.tree.map(lambda x: np.asarray(x, np.float64), nnx.to_pure_dict(state))


@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
@pytest.mark.parametrize("final_norm", [False, True])
def test_values_and_running_statistics_equal_the_reference(norm, final_norm):
    if norm == "none" and final_norm:
        with pytest.raises(ValueError, match="final_norm needs a norm"):
            Head((4, 3), norm, final_norm, rngs=nnx.Rngs(0))
        return
    results = []
    for remat in (False, True):
        make = lambda remat=remat: Head((4, 5, 6, 3), norm, final_norm, remat=remat, rngs=nnx.Rngs(0))
        module = nnx.jit(make)()
        graph, params, statistics = nnx.split(module, nnx.Param, nnx.BatchStat)

        @jax.jit
        def run(params, statistics, graph=graph):
            def total(params):
                inside = nnx.merge(graph, params, statistics, copy=True)
                out = inside(X, train=True)
                return jnp.sum(out**2 * jnp.arange(3.0)[None]), (out, nnx.state(inside, nnx.BatchStat))

            return jax.grad(total, has_aux=True)(params)

        results.append(run(params, statistics))
    (gradient, (out, moved)), (gradient_remat, (out_remat, _)) = results
    p = float64(params)
    np.testing.assert_allclose(out, formula(p, X.astype(np.float64), norm, final_norm), atol=1e-4)
    np.testing.assert_allclose(out_remat, out, atol=1e-5)
    for ours, theirs in zip(jax.tree.leaves(gradient), jax.tree.leaves(gradient_remat), strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-3, atol=1e-3)
    if norm == "batch":
        first = X.astype(np.float64) @ p["linears"][0]["kernel"]
        moved = float64(moved)["norms"]
        np.testing.assert_allclose(moved[0]["mean"], 0.1 * first.mean(0), atol=1e-5)
        np.testing.assert_allclose(moved[0]["var"], 0.9 + 0.1 * first.var(0), rtol=1e-5)
        fixed = {i: {"mean": s["mean"] + 0.5, "var": s["var"] + 1} for i, s in moved.items()}
        nnx.update(module, {"norms": jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), fixed)})
        expected = formula(p, X.astype(np.float64), norm, final_norm, fixed)
        np.testing.assert_allclose(nnx.jit(lambda m: m(X))(module), expected, atol=1e-4)


@pytest.mark.parametrize(
    ("sizes", "settings", "parameters"),
    [
        ((2048, 2048, 128), {"norm": "none"}, 2048 * 2049 + 2049 * 128),  # SimCLR's projection as in its section 2
        ((2048, 4096, 256), {}, 2048 * 4096 + 2 * 4096 + 4097 * 256),  # BYOL
        ((2048, 2048, 2048, 2048), {"final_norm": True}, 3 * 2048**2 + 4 * 2048),  # SimSiam's projector
        ((512, 10), {}, 5130),
    ],
)
def test_published_numbers_of_parameters(sizes, settings, parameters):
    make = lambda: nnx.state(Head(sizes, **settings, rngs=nnx.Rngs(0)), nnx.Param)
    assert sum(x.size for x in jax.tree.leaves(nnx.eval_shape(make))) == parameters
    assert nnx.eval_shape(lambda: Head(sizes, **settings, rngs=nnx.Rngs(0))).vector_size == sizes[-1]


def test_bfloat16_runs_close_and_variables_are_float32(filled):
    exact, rounded = (
        filled(lambda dtype=dtype: Head((4, 16, 3), dtype=dtype, rngs=nnx.Rngs(0)))
        for dtype in (jnp.float32, jnp.bfloat16)
    )
    out = rounded(X, train=True)
    assert out.dtype == jnp.bfloat16
    assert {x.dtype.name for x in jax.tree.leaves(nnx.state(rounded))} == {"float32"}
    expected = np.asarray(exact(X, train=True))
    assert 0 < np.abs(np.asarray(out, np.float32) - expected).max() < 0.1


def test_settings_that_cannot_be():
    for settings, message in (
        ({"sizes": (4,)}, "widths of the input and of each layer"),
        ({"sizes": (4, 0)}, "widths of the input and of each layer"),
        ({"norm": "group"}, "norm is one of 'batch', 'layer', 'none', not 'group'"),
        ({"activation": "elu"}, "activation is one of 'gelu', 'gelu_tanh', 'quick_gelu', 'relu', not 'elu'"),
    ):
        with pytest.raises(ValueError, match=message):
            Head(**({"sizes": (4, 4)} | settings), rngs=nnx.Rngs(0))
