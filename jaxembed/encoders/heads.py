"""Projection and prediction heads: what stands between an encoder and its objective."""

from itertools import pairwise
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from jaxembed.encoders.attention import ACTIVATIONS, LayerNorm, Linear, chosen
from jaxembed.encoders.resnet import batch_norm
from jaxembed.ranges import Count


class Head(nnx.Module):
    """A multi-layer perceptron of the widths `sizes` (the input's first), normalised between its layers.

    SimCLR (2020a), BYOL (2020), SimSiam and VICReg (2021) differ in `sizes`, `norm` and `final_norm` alone. A linear map
    before a norm has no bias, and without `bias` none has. final_norm: normalises the output as well, by batch norm without scale
    and shift (SimSiam, MoCo v3) or by layer norm. dtype: of the computation; parameters and statistics are float32.
    Raises ValueError for fewer than two sizes, for a setting that is none of its choices, and for a final norm of kind "none".
    """

    def __init__(
        self, sizes: tuple[Count, ...], norm: Literal["batch", "layer", "none"] = "batch", final_norm: bool = False,
        activation: str = "relu", bias: bool = True, *, dtype: Any = jnp.float32, remat: bool = False, rngs: nnx.Rngs,
    ):  # fmt: skip
        if len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(
                f"sizes are the widths of the input and of each layer, such as (512, 512, 128), not {sizes}"
            )
        chosen("norm", norm, ("batch", "layer", "none"))
        if final_norm and norm == "none":
            raise ValueError("final_norm needs a norm: choose norm='batch' or norm='layer'")
        self.activation = chosen("activation", activation, ACTIVATIONS)
        linears, norms = [], []
        for i, (inputs, outputs) in enumerate(pairwise(sizes)):
            last = i == len(sizes) - 2
            normed = norm != "none" and (final_norm or not last)
            linears.append(Linear(inputs, outputs, bias=bias and not normed, dtype=dtype, rngs=rngs))
            if normed and norm == "batch":
                norms.append(batch_norm(outputs, scale=not last, dtype=dtype, rngs=rngs))
            elif normed:
                norms.append(LayerNorm(outputs, dtype=dtype))
        self.linears, self.norms = nnx.List(linears), nnx.List(norms)
        self.vector_size = sizes[-1]
        self.dtype = dtype
        self.remat = remat

    def __call__(self, x: jax.Array, *, train: bool = False, rngs: nnx.Rngs | None = None) -> jax.Array:
        """`[..., sizes[0]] -> [..., sizes[-1]]`; `train` normalises by the batch and moves the running statistics."""
        return nnx.remat(Head._layers, static_argnums=2)(self, x, train) if self.remat else self._layers(x, train)

    def _layers(self, x: jax.Array, train: bool) -> jax.Array:
        for i, linear in enumerate(self.linears):
            x = linear(x)
            if i < len(self.norms):
                norm = self.norms[i]
                x = norm(x, use_running_average=not train) if isinstance(norm, nnx.BatchNorm) else norm(x)
            if i < len(self.linears) - 1:
                x = ACTIVATIONS[self.activation](x)
        return x
