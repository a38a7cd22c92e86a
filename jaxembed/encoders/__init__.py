"""Encoders: Flax NNX modules that turn pictures, texts and nodes of graphs into vectors, and the heads that stand on them.

Their only variables are `nnx.Param` (float32) and `nnx.BatchStat`. A call takes `train` and, where dropout is on, `rngs`;
each has the width of its output as `vector_size`. `encoder(kind, **settings)` makes one that is a value: pure functions of its
variables, which can be hashed, saved and compared.
"""

from jaxembed.encoders.bag import Bag
from jaxembed.encoders.functional import ENCODERS, Encoder, encoder
from jaxembed.encoders.heads import Head
from jaxembed.encoders.resnet import ResNet
from jaxembed.encoders.sage import SAGE
from jaxembed.encoders.transformer import Transformer
from jaxembed.encoders.vit import ViT
from jaxembed.encoders.words import Words

__all__ = ["ENCODERS", "SAGE", "Bag", "Encoder", "Head", "ResNet", "Transformer", "ViT", "Words", "encoder"]
