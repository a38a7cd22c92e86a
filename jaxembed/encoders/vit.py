"""A Vision Transformer for pictures of any size that its patches divide."""

from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxembed.encoders.attention import (
    ACTIVATIONS,
    EMBEDDING,
    Block,
    LayerNorm,
    Linear,
    Rotary,
    chosen,
    dropout,
    dropout_key,
)
from jaxembed.encoders.positions import axial_rotary, resized_grid, sincos_2d
from jaxembed.ranges import Count, Positive, ShareBelowOne


def patchified(images: jax.Array, patch: int, channels: int) -> jax.Array:
    """`[B, H, W, C] -> [B, H / patch, W / patch, patch * patch * C]`: a patch's pixels row by row, channels last.

    Raises ValueError where `patch` does not divide height and width, or the channels differ.
    """
    checked(images, channels)
    batch, height, width, _ = images.shape
    if height % patch or width % patch:
        raise ValueError(f"pictures of {height} x {width} cannot be cut into patches of {patch}: resize or crop them")
    rows, columns = height // patch, width // patch
    cut = images.reshape(batch, rows, patch, columns, patch, channels).transpose(0, 1, 3, 2, 4, 5)
    return cut.reshape(batch, rows, columns, patch * patch * channels)


def checked(images: jax.Array, channels: int) -> None:
    """Raises ValueError where `images` are not floats of shape `[B, H, W, channels]`."""
    if images.ndim != 4 or images.shape[-1] != channels:
        raise ValueError(f"pictures must be [batch, height, width, {channels}], not of shape {images.shape}")
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"pictures must be floating point, not {images.dtype}: divide them by 255 and normalise them")


class ViT(nnx.Module):
    """Pictures to vectors: patches, positions, pre-norm layers and a last norm (Dosovitskiy et al. 2021).

    Pictures of another size than `image_size` work at any time: learned positions are resized, the others follow from the
    grid. Raises ValueError for a setting that is none of its choices, or patches that do not divide the picture.
    """

    def __init__(
        self,
        image_size: Count
        | tuple[Count, Count] = 28,  # Height and width of the pictures in training; one number stands for a square.
        channels: Count = 1,  # Channels of the pictures.
        patch: Count = 7,  # Side of a patch.
        hidden_size: Count = 192,  # Width of the layers, and of the vectors if there are no features.
        depth: Count = 6,  # Number of layers.
        heads: Count = 3,  # Attention heads of each layer.
        mlp_size: Count | None = None,  # Width of the network inside a layer; by default 4 x hidden_size.
        # One learned vector per place, fixed waves (MAE), axial rotations, or none.
        positions: Literal["learned", "sincos2d", "rotary", "none"] = "learned",
        pooling: Literal["mean", "cls"] = "mean",  # How patches become one vector: their mean, or a class token.
        dropout: ShareBelowOne = 0.0,  # Share of activations that are left out in training.
        activation: str = "gelu_tanh",  # Activation inside a layer.
        # Width of a last layer before pooling, which widens as EfficientNet's last convolution does; none leaves it out.
        features: Count | None = None,
        patch_bias: bool = True,  # Whether the map of patches to tokens has a bias; CLIP's has none.
        embedding_norm: bool = False,  # Normalise what enters the first layer, as CLIP does.
        epsilon: Positive = 1e-6,  # What layer norms add to the variance.
        *,
        dtype: Any = jnp.float32,  # Type of the computation; parameters are float32.
        remat: bool = False,  # Compute layers again in the backward pass, which takes less memory.
        rngs: nnx.Rngs,
    ):
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        if depth < 1 or patch < 1 or height % patch or width % patch:
            raise ValueError(
                f"an image_size of {height} x {width} cannot be cut into patches of {patch} (depth {depth}): choose a "
                "patch that divides both, and a depth of at least 1"
            )
        self.positions = chosen("positions", positions, ("learned", "sincos2d", "rotary", "none"))
        self.pooling = chosen("pooling", pooling, ("mean", "cls"))
        self.grid = (height // patch, width // patch)
        self.embedding = Linear(patch * patch * channels, hidden_size, bias=patch_bias, dtype=dtype, rngs=rngs)
        table = lambda rows: nnx.Param(EMBEDDING(rngs.params(), (rows, hidden_size), jnp.float32))
        own = pooling == "cls"
        self.class_token = table(1) if own else None
        self.position_embedding = table(own + self.grid[0] * self.grid[1]) if positions == "learned" else None
        self.embedding_norm = LayerNorm(hidden_size, epsilon=epsilon, dtype=dtype) if embedding_norm else None
        self.blocks = nnx.List([
            Block(
                hidden_size, heads, mlp_size or 4 * hidden_size, activation=activation, dropout=dropout, epsilon=epsilon,
                dtype=dtype, rngs=rngs,
            )
            for _ in range(depth)
        ])  # fmt: skip
        self.final_norm = LayerNorm(hidden_size, epsilon=epsilon, dtype=dtype)
        self.widening = Linear(hidden_size, features, dtype=dtype, rngs=rngs) if features else None
        self.activation = activation
        self.hidden_size, self.vector_size = hidden_size, features or hidden_size
        self.patch, self.channels, self.heads = patch, channels, heads
        self.dropout = dropout
        self.dtype = dtype
        self.remat = remat
        if positions != "learned":
            self._places(*self.grid)  # raises for widths that the positions cannot have

    def __call__(self, images: jax.Array, *, train: bool = False, rngs: nnx.Rngs | None = None) -> jax.Array:
        """One vector per picture, `[B, vector_size]`, of `images [B, H, W, channels]`.

        rngs: whose stream "dropout" is used where `train` is true. Raises ValueError for pictures that are not floats of
        that shape, or that the patches do not divide.
        """
        x = self._tokens(images, train, rngs)
        return x[:, 0] if self.class_token is not None else jnp.mean(x, axis=1)

    def patches(self, images: jax.Array, *, train: bool = False, rngs: nnx.Rngs | None = None) -> jax.Array:
        """One vector per patch, `[B, N, vector_size]`, row by row; the arguments are those of a call."""
        return self._tokens(images, train, rngs)[:, int(self.class_token is not None) :]

    def _tokens(self, images: jax.Array, train: bool, rngs: nnx.Rngs | None) -> jax.Array:
        cut = patchified(images, self.patch, self.channels)
        batch, rows, columns, _ = cut.shape
        x = self.embedding(cut).reshape(batch, rows * columns, -1)
        if self.class_token is not None:
            token = jnp.broadcast_to(self.class_token[...][None].astype(x.dtype), (batch, 1, x.shape[-1]))
            x = jnp.concatenate([token, x], axis=1)
        places, rotary = self._places(rows, columns)
        if places is not None:
            x = x + places[None].astype(x.dtype)
        key = dropout_key(self.dropout, train, rngs)
        keys = [None] * (len(self.blocks) + 1) if key is None else jax.random.split(key, len(self.blocks) + 1)
        x = dropout(x if self.embedding_norm is None else self.embedding_norm(x), self.dropout, keys[0])
        for block, key in zip(self.blocks, keys[1:], strict=True):
            x = (
                nnx.remat(Block.__call__, graph_updates=False)(block, x, None, rotary, key)
                if self.remat
                else block(x, None, rotary, key)
            )
        x = self.final_norm(x)
        return x if self.widening is None else ACTIVATIONS[self.activation](self.widening(x))

    def _places(self, rows: int, columns: int) -> tuple[jax.Array | np.ndarray | None, Rotary | None]:
        """What is added to the tokens, and what turns queries and keys; a class token stands in front, at no place."""
        own = int(self.class_token is not None)
        if self.position_embedding is not None:
            table = self.position_embedding[...]
            grid = resized_grid(table[own:].reshape(*self.grid, -1), (rows, columns))
            return jnp.concatenate([table[:own], grid.reshape(rows * columns, -1)]), None
        if self.positions == "sincos2d":
            return np.pad(sincos_2d(rows, columns, self.hidden_size), ((own, 0), (0, 0))), None
        if self.positions == "rotary":
            cosine, sine = axial_rotary(rows, columns, self.hidden_size // self.heads)
            pad = lambda x, value: np.pad(x, ((own, 0), (0, 0)), constant_values=value)
            return None, (pad(cosine, 1), pad(sine, 0))
        return None, None
