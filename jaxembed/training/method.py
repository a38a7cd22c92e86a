"""The contract between a method and the engine."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np

Batch = Any
Shard = Mapping[str, Any]
Lookups = dict[str, tuple[str, jax.Array]]


@jax.tree_util.register_static
@dataclass(frozen=True)
class Static:
    """A number in a shard that shapes depend on: part of what is compiled, not an array."""

    value: int


class Params(NamedTuple):
    """What is learned: row-sparse tables `{name: [rows, columns]}`, and the dense rest (a pytree, or None).

    kept: what a run carries along and no gradient changes: running statistics, an average of the net, a queue.
    """

    tables: dict[str, jax.Array]
    net: Any = None
    kept: Any = None


@dataclass(frozen=True)
class Source:
    """Data on its way to the device: what stays there for the whole run, and pieces that come one after another.

    constants: arrays that every shard holds (counts, alias tables, trees).
    pieces: how many pieces make up a pass over the data.
    piece: `piece(i) -> {name: array [rows, ...]}`, all of the same shapes and dtypes; read on the host while the device
        works. Where several processes share the work, `piece(i, share, shares)` gives a part of those rows: as many as
        `training.mesh.share_of` says, what lies behind the end padded as the method pads.
    size: examples in a pass, for throughput (for words: what the corpus holds before subsampling).
    rows: how many rows a piece has.
    """

    constants: dict[str, Any]
    pieces: int
    piece: Callable[..., dict[str, np.ndarray]]
    size: int
    rows: int

    def shapes(self, sharding: Any = None) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes and dtypes of a piece, told by a single row of the first."""
        row = self.piece(0, 0, self.rows)
        struct = lambda x: jax.ShapeDtypeStruct((self.rows, *x.shape[1:]), x.dtype, sharding=sharding)
        return {name: struct(x) for name, x in row.items()}


class Method(Protocol):
    """A frozen dataclass of hyper-parameters with pure functions; the engine does the rest.

    Metrics of `loss` are sums over the batch; `"loss"` and `"weight"` are always among them, and what is reported is
    their quotient. A method may name in `traced` the hyper-parameters that its functions use as plain numbers, so that one
    program serves all their values; tell in `row_size` the true width of padded rows; fit its steps to few data in
    `sized_for(examples)`, and itself to what data it meets (the size of images, of a vocabulary) in `suited_to(data)`.

    A method whose parameters have `kept` finds it as `batch["kept"]` in `loss` and gives the next as `metrics["kept"]`;
    `keep(kept, net)`, where it has one, is called with the net after its update (averages of it are taken there).
    """

    def source(self, data: Any, /) -> Source:
        """Arrays for the device from `data`, with everything precomputed that a shard should carry."""
        ...

    def init(self, key: jax.Array, shard: Shard) -> Params:
        """Fresh parameters; `shard` holds the constants, which give the sizes."""
        ...

    def prepare(self, shard: Shard, key: jax.Array) -> Shard:
        """Once a pass over a piece, inside jit (subsampling, shuffling): entries that join or replace the shard's."""
        ...

    def steps(self, shard: Shard) -> int:
        """How many batches a prepared shard holds: a function of its shapes alone."""
        ...

    def batch(self, shard: Shard, step: jax.Array, key: jax.Array) -> Batch:
        """The batch at place `step` of a prepared shard, drawn inside jit."""
        ...

    def lookups(self, batch: Batch) -> Lookups:
        """The rows that this batch touches: `{name: (table, ids [...])}`."""
        ...

    def loss(self, rows: dict[str, jax.Array], net: Any, batch: Batch, key: jax.Array) -> tuple[jax.Array, dict]:
        """What is minimised, and metrics; `rows[name]` is `[..., columns]` for each of `lookups`."""
        ...

    def vectors(self, params: Params, shard: Shard) -> jax.Array:
        """The product, one row a label, or of an encoder what it makes of the examples that are watched: `[rows, d]`.

        `shard` holds the constants.
        """
        ...
