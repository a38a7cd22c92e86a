"""Residual networks for accelerators; on a CPU use the patchified stem, with which they are several times faster."""

from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from flax import nnx

from jaxembed.encoders.attention import Linear, chosen
from jaxembed.encoders.vit import checked, patchified
from jaxembed.ranges import Count

STAGES = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
_HE = nnx.initializers.variance_scaling(2.0, "fan_out", "normal")


def batch_norm(size: int, *, scale: bool = True, zero: bool = False, dtype: Any, rngs: nnx.Rngs) -> nnx.BatchNorm:
    """Batch normalisation: running statistics move by a tenth in each step, and the variance is divided by n."""
    scale_init = nnx.initializers.zeros_init() if zero else nnx.initializers.ones_init()
    return nnx.BatchNorm(
        size, momentum=0.9, epsilon=1e-5, use_scale=scale, use_bias=scale, scale_init=scale_init, dtype=dtype, rngs=rngs
    )


def _conv(inputs: int, outputs: int, size: int, stride: int = 1, *, dtype: Any, rngs: nnx.Rngs) -> nnx.Conv:
    return nnx.Conv(
        inputs, outputs, (size, size), strides=stride, padding=size // 2, use_bias=False, kernel_init=_HE, dtype=dtype,
        rngs=rngs,
    )  # fmt: skip


class Residual(nnx.Module):
    """A residual block: two 3x3 convolutions, or 1x1, 3x3 (with the stride: v1.5) and 1x1 ("bottleneck"), plus its input."""

    def __init__(
        self, inputs: int, width: int, stride: int, bottleneck: bool, zero_init: bool, *, dtype: Any, rngs: nnx.Rngs
    ):
        self.vector_size = outputs = width * (4 if bottleneck else 1)
        conv = partial(_conv, dtype=dtype, rngs=rngs)
        norm = partial(batch_norm, dtype=dtype, rngs=rngs)
        if bottleneck:
            convs = [conv(inputs, width, 1), conv(width, width, 3, stride), conv(width, outputs, 1)]
        else:
            convs = [conv(inputs, width, 3, stride), conv(width, outputs, 3)]
        self.convs = nnx.List(convs)
        self.norms = nnx.List([
            norm(c.out_features, zero=zero_init and i == len(convs) - 1) for i, c in enumerate(convs)
        ])  # fmt: skip
        straight = stride == 1 and inputs == outputs
        self.shortcut = None if straight else conv(inputs, outputs, 1, stride)
        self.shortcut_norm = None if straight else norm(outputs)

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """`[B, H, W, inputs] -> [B, H / stride, W / stride, outputs]`."""
        y = x
        for i, (conv, norm) in enumerate(zip(self.convs, self.norms, strict=True)):
            y = norm(conv(y if i == 0 else jax.nn.relu(y)), use_running_average=not train)
        if self.shortcut is not None and self.shortcut_norm is not None:
            x = self.shortcut_norm(self.shortcut(x), use_running_average=not train)
        return jax.nn.relu(x + y)


class ResNet(nnx.Module):
    """Pictures to vectors: a stem, four stages of residual blocks, the mean over places (He et al. 2016; torchvision's v1.5).

    Raises ValueError for a setting that is none of its choices.
    """

    def __init__(
        self,
        depth: Literal[18, 34, 50, 101, 152] = 18,  # Number of layers.
        # A 3x3 convolution (SimCLR, for small pictures), 7x7 with stride 2 and 3x3 max pooling, or patches by one matrix product.
        stem: Literal["cifar", "imagenet", "patch"] = "cifar",
        channels: Count = 3,  # Channels of the pictures.
        width: Count = 64,  # Width of the first stage; vectors have 8 times that many numbers, or 32 times from depth 50 on.
        patch: Count = 4,  # Side of a patch, for that stem.
        zero_init_residual: bool = False,  # Let blocks start as the identity (Goyal et al. 2017).
        *,
        dtype: Any = jnp.float32,  # Type of the computation; parameters and statistics are float32.
        remat: bool = False,  # Compute blocks again in the backward pass, which takes less memory.
        rngs: nnx.Rngs,
    ):
        if depth not in STAGES:
            raise ValueError(f"depth is one of {', '.join(map(str, STAGES))}, not {depth}")
        self.stem_kind = chosen("stem", stem, ("cifar", "imagenet", "patch"))
        if stem == "patch":
            self.stem = Linear(patch * patch * channels, width, bias=False, dtype=dtype, rngs=rngs)
        else:
            size, stride = (7, 2) if stem == "imagenet" else (3, 1)
            self.stem = _conv(channels, width, size, stride, dtype=dtype, rngs=rngs)
        self.stem_norm = batch_norm(width, dtype=dtype, rngs=rngs)
        blocks, inputs = [], width
        for stage, count in enumerate(STAGES[depth]):
            for i in range(count):
                stride = 2 if stage > 0 and i == 0 else 1
                block = Residual(
                    inputs, width << stage, stride, depth >= 50, zero_init_residual, dtype=dtype, rngs=rngs
                )
                blocks.append(block)
                inputs = block.vector_size
        self.blocks = nnx.List(blocks)
        self.vector_size = inputs
        self.patch, self.channels = patch, channels
        self.dtype = dtype
        self.remat = remat

    def __call__(self, images: jax.Array, *, train: bool = False, rngs: nnx.Rngs | None = None) -> jax.Array:
        """One vector per picture, `[B, vector_size]`, of `images [B, H, W, channels]`.

        `train` normalises by the batch and moves the running statistics, which the module then holds; `rngs` is not used.
        Raises ValueError for pictures that are not floats of that shape, or that the patches do not divide.
        """
        checked(images, self.channels)
        x = self.stem(patchified(images, self.patch, self.channels) if self.stem_kind == "patch" else images)
        x = jax.nn.relu(self.stem_norm(x, use_running_average=not train))
        if self.stem_kind == "imagenet":
            x = nnx.max_pool(x, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))  # pyright: ignore[reportArgumentType]
        for block in self.blocks:
            x = nnx.remat(Residual.__call__, static_argnums=2)(block, x, train) if self.remat else block(x, train)
        return jnp.mean(x, axis=(1, 2))
