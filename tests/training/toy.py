"""A method small enough to be worked out by hand, and with everything that the engine has to serve."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.training.method import Loss, Method, Params, Source

D = 16


def wave(key, shape):
    """Numbers in [-1, 1] that depend on the key, exact, and compiled much faster than jax.random's."""
    mixed = jax.random.key_data(key)[-1] % 997 * 7919 + jnp.arange(np.prod(shape), dtype=jnp.uint32) * 104729
    return (mixed % 2048).astype(jnp.float32).reshape(shape) / 1024 - 1


@dataclass(frozen=True)
class Pull(Method):
    """Two neighbouring rows are pulled to a target that a token names; half the squared distance is the loss.

    noise: of the target, drawn anew in each batch. shuffle: whether a pass is in an order of its own.
    net: whether a dense parameter scales one of the rows. pieces: in how many parts the data come.
    """

    size: int = 5
    batch_size: int = 4
    pieces: int = 1
    noise: float = 0.0
    shuffle: bool = True
    net: bool = False

    def source(self, tokens) -> Source:
        targets = np.linspace(-1, 1, self.size * D, dtype=np.float32).reshape(self.size, D)
        return Source.cut({"tokens": np.int32(tokens)}, self.pieces, {"targets": targets})

    def init(self, key, constants):
        return Params({"rows": wave(key, constants["targets"].shape)}, {"gain": jnp.ones(())} if self.net else None)

    def prepare(self, shard, key):
        count = shard.columns["tokens"].shape[0]
        return {"order": jnp.argsort(wave(key, (count,))) if self.shuffle else jnp.arange(count)}

    def steps(self, shard):
        return shard.columns["tokens"].shape[0] // self.batch_size

    def batch(self, shard, step, key):
        places = shard.own["order"][step * self.batch_size + jnp.arange(self.batch_size)]
        tokens = jnp.asarray(shard.columns["tokens"])[places]
        target = jnp.asarray(shard.constants["targets"])[tokens]
        return {"tokens": tokens, "target": target + self.noise * wave(key, target.shape)}

    def lookups(self, batch):
        return {"left": ("rows", batch["tokens"]), "right": ("rows", (batch["tokens"] + 1) % self.size)}

    def loss(self, rows, net, kept, batch, key):
        gain = 1.0 if net is None else net["gain"]
        total = 0.5 * jnp.sum((gain * rows["left"] + rows["right"] - batch["target"]) ** 2)
        return Loss(total, {"loss": total, "weight": jnp.float32(self.batch_size), "batches": jnp.float32(1)})

    def vectors(self, params, constants=None):
        return params.tables["rows"]


@dataclass(frozen=True)
class Visits(Pull):
    """Counts: at a rate of one, every visit to a token takes one from its row."""

    def init(self, key, constants):
        return Params({"rows": jnp.zeros(constants["targets"].shape)})

    def lookups(self, batch):
        return {"left": ("rows", batch["tokens"])}

    def loss(self, rows, net, kept, batch, key):
        return Loss(jnp.sum(rows["left"]), {"loss": jnp.float32(0), "weight": jnp.float32(self.batch_size)})
