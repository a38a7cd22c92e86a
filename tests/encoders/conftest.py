"""A layer of a Transformer written out in NumPy float64, for the tests of the encoders that are made of it."""

import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx


def parameters(module):
    """All of a module's parameters as nested dictionaries of float64 arrays."""
    return jax.tree.map(lambda x: np.asarray(x, np.float64), nnx.to_pure_dict(nnx.state(module, nnx.Param)))


def filled(make, seed=0):
    """The module that `make` makes with values from NumPy: none stands where an error could hide, and nothing is compiled."""
    graph, state = nnx.split(nnx.eval_shape(make))
    rng = np.random.default_rng(seed)

    def values(path, x):
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        value = rng.normal(0, 0.3 if x.ndim < 2 else np.sqrt(1 / np.prod(x.shape[:-1])), x.shape)
        if any(f".{part}" in f".{name}" for part in ("scale", "var")):
            value = 1 + np.abs(value)
        return jnp.asarray(value * (3 if "embedding" in name and x.ndim == 2 else 1), x.dtype)

    return nnx.merge(graph, jax.tree_util.tree_map_with_path(values, state))


ACTIVATIONS = {
    "gelu": np.vectorize(lambda x: x * 0.5 * (1 + math.erf(x / math.sqrt(2)))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "quick_gelu": lambda x: x / (1 + np.exp(-1.702 * x)),
    "relu": lambda x: np.maximum(x, 0),
}


def linear(p, x):
    return x @ p["kernel"] + p.get("bias", 0)


def layer_norm(p, x, epsilon):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon) * p["scale"] + p["bias"]


def attention(p, x, heads, mask=None, causal=False, turn=lambda x: x):
    out = np.zeros_like(x)
    size = x.shape[-1] // heads
    for b, h in np.ndindex(len(x), heads):
        q, k, v = (linear(p["qkv"], x[b])[:, i * x.shape[-1] + h * size :][:, :size] for i in range(3))
        q, k = turn(q), turn(k)
        for i in range(len(q)):
            seen = [j for j in range(len(q)) if (mask is None or mask[b, j]) and (j <= i or not causal)]
            if seen:
                weights = np.exp(np.array([q[i] @ k[j] / math.sqrt(size) for j in seen]))
                out[b, i, h * size :][:size] = weights / weights.sum() @ v[seen]
    return linear(p["out"], out)


def block(p, x, heads, norm, activation, epsilon, **options):
    normed = lambda name, x, at: layer_norm(p[name], x, epsilon) if norm == at else x
    x = normed("norm1", x + attention(p["attention"], normed("norm1", x, "pre"), heads, **options), "post")
    wide = ACTIVATIONS[activation](linear(p["up"], normed("norm2", x, "pre")))
    return normed("norm2", x + linear(p["down"], wide), "post")


@pytest.fixture(scope="session")
def reference():
    return SimpleNamespace(
        parameters=parameters, linear=linear, layer_norm=layer_norm, attention=attention, block=block,
        activations=ACTIVATIONS,
    )  # fmt: skip


@pytest.fixture(name="filled", scope="session")
def filled_fixture():
    return filled
