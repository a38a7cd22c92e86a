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
    """What is learned: row-sparse tables `{name: [rows, columns]}`, and the dense rest (a pytree, or None)."""

    tables: dict[str, jax.Array]
    net: Any = None


@dataclass(frozen=True)
class Source:
    """Data on its way to the device: what stays there for the whole run, and pieces that come one after another.

    constants: arrays that every shard holds (counts, alias tables, trees).
    pieces: how many pieces make up a pass over the data.
    piece: `piece(i) -> {name: array}`, all of the same shapes and dtypes; read on the host while the device works.
    size: examples in a pass, in `unit`s, for throughput ("words" counts what the corpus holds before subsampling).
    labels: the keys of the rows that `vectors` returns.
    """

    constants: dict[str, Any]
    pieces: int
    piece: Callable[[int], dict[str, np.ndarray]]
    size: int
    unit: str
    labels: list[str]


class Method(Protocol):
    """A frozen dataclass of hyper-parameters with pure functions; the engine does the rest.

    Metrics of `loss` are sums over the batch; `"loss"` and `"weight"` are always among them, and what is reported is
    their quotient.
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

    def vectors(self, params: Params) -> jax.Array:
        """The product: one row a label, `[rows, vector_size]`."""
        ...
