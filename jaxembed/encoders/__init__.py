"""Encoders: Flax NNX modules that turn pictures and texts into vectors, and the heads that stand on them.

Their only variables are `nnx.Param` (float32) and `nnx.BatchStat`. A call takes `train` and, where dropout is on, `rngs`;
each has the width of its output as `vector_size`.
"""

from jaxembed.encoders.heads import Head
from jaxembed.encoders.resnet import ResNet
from jaxembed.encoders.transformer import Transformer
from jaxembed.encoders.vit import ViT

__all__ = ["Head", "ResNet", "Transformer", "ViT"]
