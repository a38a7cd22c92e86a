"""Trains methods for a moment, and prints a digest of all bits that came out: a script, run in several surroundings.

python determinism_runs.py words|encoder [CORES]
"""

import hashlib
import json
import os
import sys

if len(sys.argv) > 2:  # before anything counts them
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: int(sys.argv[2])])

import numpy as np

from jaxembed.data import read_corpus
from jaxembed.data.cooccurrence import count_cooccurrences
from jaxembed.data.images import read_images
from jaxembed.encoders.functional import encoder
from jaxembed.methods.cbow import CBOW
from jaxembed.methods.glove import GloVe
from jaxembed.methods.images import MoCo
from jaxembed.methods.skipgram import SkipGram
from jaxembed.training.dense import Dense
from jaxembed.training.host import start
from jaxembed.training.loop import fit
from jaxembed.training.settings import Training


def digest(*arrays):
    """Of all bits."""
    return hashlib.blake2b(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()[:32]


def of_words():
    """Digests of each word method."""
    corpus = read_corpus("enwik8-small", min_count=20, cache=False)
    few, counts = corpus.head(20_000), count_cooccurrences(corpus.head(100_000), 5, cache=False)
    short, wide = Training(epochs=1), {"vector_size": 64, "step_tokens": 256}
    digests = {
        "corpus": digest(corpus.tokens, corpus.offsets),
        "counts": digest(counts.rows, counts.columns, counts.counts),
    }
    for name, method, data, settings in (
        ("skipgram", SkipGram(**wide), few, {"seeds": (0, 1)}),
        ("skipgram, vmap", SkipGram(**wide), few, {"seeds": (0, 1), "seeds_by": "vmap"}),
        ("skipgram, full softmax", SkipGram(objective="softmax", **wide), few.head(5000), {}),
        ("cbow", CBOW(**wide), few, {}),
        ("glove", GloVe(vector_size=63), counts, {}),
    ):
        result = fit(method, data, short, held_out=few.head(2000) if data is not counts else None, **settings)
        digests[name] = digest(result.vectors, result.losses)
    return digests


def of_encoder():
    """The digest of MoCo, which has the most parts: views, batches without replacement, dropout, an average, and a queue."""
    images = read_images("fashion-mnist-small", split="test", cache=False).head(192)
    net = encoder("vit", hidden_size=32, depth=2, heads=2, patch=7, dropout=0.1)
    moco = MoCo(encoder=net, projection=(32, 16), batch_size=64, queue=128, watch=64)
    dense = Dense(optimizer="adamw", weight_decay=0.05, warmup=0.1, clip=1.0)
    result = fit(moco, images, Training(epochs=2, learning_rate=1e-3, dense=dense), seeds=(0, 1))
    return {"moco": digest(result.vectors, result.losses)}


if __name__ == "__main__":
    start()
    print(json.dumps({"words": of_words, "encoder": of_encoder}[sys.argv[1]]()))
