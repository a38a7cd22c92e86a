"""The encoders of `jaxembed.encoders` as one writes them in PyTorch, to measure against; names follow ours."""

# The peers are not among the requirements.
# pyright: reportMissingImports=false

import math
from typing import Any

import numpy as np

try:
    import torch
    import torch.nn.functional as F
    from torch import nn
except ImportError as error:
    raise SystemExit("this experiment compares with PyTorch: pip install torch") from error


class Attention(nn.Module):
    """Self-attention with one product for queries, keys and values, and PyTorch's fused kernel."""

    def __init__(self, size: int, heads: int):
        super().__init__()
        self.qkv, self.out, self.heads = nn.Linear(size, 3 * size), nn.Linear(size, size), heads

    def forward(self, x, mask=None):
        """`x [B, L, D]`, `mask [B, 1, 1, L]` or None."""
        batch, length, size = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.heads, size // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*qkv.unbind(0), attn_mask=mask)
        return self.out(mixed.transpose(1, 2).reshape(batch, length, size))


class Block(nn.Module):
    """A layer, normalised before its parts or after."""

    def __init__(self, size: int, heads: int, pre: bool, approximate: str, epsilon: float):
        super().__init__()
        self.attention, self.pre, self.approximate = Attention(size, heads), pre, approximate
        self.norm1, self.norm2 = nn.LayerNorm(size, epsilon), nn.LayerNorm(size, epsilon)
        self.up, self.down = nn.Linear(size, 4 * size), nn.Linear(4 * size, size)

    def forward(self, x, mask=None):
        """`[B, L, D] -> [B, L, D]`."""
        wide = lambda x: self.down(F.gelu(self.up(x), approximate=self.approximate))
        if self.pre:
            x = x + self.attention(self.norm1(x), mask)
            return x + wide(self.norm2(x))
        x = self.norm1(x + self.attention(x, mask))
        return self.norm2(x + wide(x))


class Transformer(nn.Module):
    """BERT's embedding and layers with the mean over tokens."""

    def __init__(self, vocab_size: int, hidden_size: int, depth: int, heads: int, max_length: int):
        super().__init__()
        self.token_embedding = nn.Embedding(vocab_size, hidden_size)
        self.segment_embedding = nn.Embedding(2, hidden_size)
        self.position_embedding = nn.Embedding(max_length, hidden_size)
        self.embedding_norm = nn.LayerNorm(hidden_size, 1e-12)
        self.blocks = nn.ModuleList(Block(hidden_size, heads, False, "none", 1e-12) for _ in range(depth))

    def forward(self, ids):
        """`ids [B, L]`, 0 for padding."""
        mask = ids != 0
        weights = mask / mask.sum(1, keepdim=True).clamp(min=1)
        return (self.sequence(ids) * weights[..., None]).sum(1)

    def sequence(self, ids):
        """A vector of each token, `[B, L, D]`."""
        mask = ids != 0
        x = (
            self.token_embedding(ids)
            + self.segment_embedding.weight[0]
            + self.position_embedding.weight[: ids.shape[1]]
        )
        x = self.embedding_norm(x)
        for block in self.blocks:
            x = block(x, mask[:, None, None])
        return x


class ViT(nn.Module):
    """Patches by one linear map, learned positions, the mean over patches."""

    def __init__(self, image_size: int, channels: int, patch: int, hidden_size: int, depth: int, heads: int):
        super().__init__()
        self.patch = patch
        self.embedding = nn.Linear(patch * patch * channels, hidden_size)
        self.position_embedding = nn.Embedding((image_size // patch) ** 2, hidden_size)
        self.blocks = nn.ModuleList(Block(hidden_size, heads, True, "tanh", 1e-6) for _ in range(depth))
        self.final_norm = nn.LayerNorm(hidden_size, 1e-6)

    def forward(self, images):
        """`images [B, H, W, C]`."""
        batch, height, width, channels = images.shape
        p = self.patch
        cut = images.view(batch, height // p, p, width // p, p, channels).permute(0, 1, 3, 2, 4, 5)
        x = self.embedding(cut.reshape(batch, -1, p * p * channels)) + self.position_embedding.weight
        for block in self.blocks:
            x = block(x)
        return self.final_norm(x).mean(1)


class Residual(nn.Module):
    """Two 3x3 convolutions and the way around."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        conv = lambda i, o, k, s: nn.Conv2d(i, o, k, s, k // 2, bias=False)
        self.convs = nn.ModuleList([conv(inputs, outputs, 3, stride), conv(outputs, outputs, 3, 1)])
        self.norms = nn.ModuleList(nn.BatchNorm2d(outputs) for _ in range(2))
        straight = stride == 1 and inputs == outputs
        self.shortcut = None if straight else conv(inputs, outputs, 1, stride)
        self.shortcut_norm = None if straight else nn.BatchNorm2d(outputs)

    def forward(self, x):
        """`[B, C, H, W]`."""
        y = self.norms[1](self.convs[1](F.relu(self.norms[0](self.convs[0](x)))))
        around = x if self.shortcut is None else self.shortcut_norm(self.shortcut(x))  # pyright: ignore[reportOptionalCall]
        return F.relu(around + y)


class ResNet(nn.Module):
    """ResNet-18 with the stem for small pictures."""

    def __init__(self, channels: int, width: int):
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(channels, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)
        widths = [width, *(width << stage for stage in range(4) for _ in range(2))]
        self.blocks = nn.ModuleList(
            Residual(widths[i], widths[i + 1], 2 if i in (2, 4, 6) else 1) for i in range(len(widths) - 1)
        )

    def forward(self, images):
        """`images [B, H, W, C]`, which is PyTorch's memory format channels_last."""
        x = F.relu(self.stem_norm(self.stem(images.permute(0, 3, 1, 2))))
        for block in self.blocks:
            x = block(x)
        return x.mean((2, 3))


def load(module: nn.Module, values: dict[str, Any]) -> None:
    """Copies an encoder's parameters, nested dictionaries of arrays by our names; raises ValueError where one has no place."""
    places = dict(module.named_parameters()) | dict(module.named_buffers())
    left = {name for name, _ in module.named_parameters()}
    endings = {"kernel": "weight", "scale": "weight", "mean": "running_mean", "var": "running_var"}

    def walk(values, path):
        for name, value in values.items():
            if isinstance(value, dict):
                walk(value, [*path, str(name)])
                continue
            value = np.asarray(value)
            target = ".".join([*path, str(endings.get(name, name))])
            target = target if target in places else f"{target}.weight"
            value = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value
            value = value.T if name == "kernel" and value.ndim == 2 else value
            if target not in places or places[target].shape != value.shape:
                raise ValueError(f"{target} of shape {value.shape} has no place in the PyTorch model")
            places[target].data.copy_(torch.from_numpy(value.copy()))
            left.discard(target)

    walk(values, [])
    if left:
        raise ValueError(f"not given: {', '.join(sorted(left))}")


def parameters(module: nn.Module) -> int:
    """How many numbers are learned."""
    return sum(math.prod(p.shape) for p in module.parameters())
