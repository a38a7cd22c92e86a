"""The contract between a method and the engine."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import jax
import numpy as np

from jaxembed.ranges import Checked
from jaxembed.tables import Bags

if TYPE_CHECKING:
    from jaxembed.training.settings import Training

Batch = Any
Lookups = dict[str, tuple[str, jax.Array | Bags]]


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


class Shard(NamedTuple):
    """What batches are drawn from: a piece of the data on the device, and what a run made of it.

    constants: `Source.constants`, the same in every shard and for every run.
    columns: arrays with a row for each row of the piece, the same for every run.
    own: what `Method.prepare` made of them in this pass, for one run alone.
    """

    constants: Mapping[str, Any]
    columns: Mapping[str, Any]
    own: Mapping[str, Any] = {}

    def prepared(self, own: Mapping[str, Any]) -> "Shard":
        """With `own` entries; a column whose name one of them has is let go, so that its memory is free."""
        return Shard(self.constants, {name: x for name, x in self.columns.items() if name not in own}, own)


class Loss(NamedTuple):
    """What is minimised; metrics, sums over the batch with `loss` and `weight` among them; and what is kept, one step on.

    What is reported is the quotient of `loss` and `weight`.
    """

    value: jax.Array
    metrics: dict[str, jax.Array]
    kept: Any = None


@dataclass(frozen=True)
class Source:
    """Data on its way to the device: what stays there for the whole run, and pieces that come one after another.

    constants: arrays that every shard holds (counts, alias tables, trees); they may be nested.
    pieces: how many pieces make up a pass over the data.
    piece: `piece(i) -> {name: array [rows, ...]}`, all of the same shapes and dtypes; read on the host while the device
        works. Where several processes share the work, `piece(i, share, shares)` gives a part of those rows: as many as
        `share_of` says, what lies behind the end padded as the method pads.
    size: examples in a pass, for throughput (for words: what the corpus holds before subsampling).
    rows: how many rows a piece has.
    """

    constants: dict[str, Any]
    pieces: int
    piece: Callable[..., dict[str, np.ndarray]]
    size: int
    rows: int

    @classmethod
    def cut(
        cls, columns: Mapping[str, Any], pieces: int = 1, constants: Any = None, size: int = 0, refill: bool = False
    ) -> "Source":
        """Equal pieces of arrays with one row per example; the last is filled up with zeros, or from the start (`refill`).

        Reads only what it gives of memory-mapped arrays. size: examples in a pass, by default the rows.
        """
        n = len(next(iter(columns.values())))
        rows = -(-n // pieces)

        def piece(i: int, share: int = 0, shares: int = 1) -> dict[str, np.ndarray]:
            first, count = share_of(rows, share, shares)
            start, stop = i * rows + first, i * rows + first + count
            missing = max(0, stop - max(start, n))

            def part(column: Any) -> np.ndarray:
                if refill and missing:
                    return column[np.arange(start, stop) % n]
                there = np.ascontiguousarray(column[start:stop])
                return np.pad(there, [(0, missing)] + [(0, 0)] * (there.ndim - 1)) if missing else there

            return {name: part(column) for name, column in columns.items()}

        return cls(constants or {}, pieces, piece, size or n, rows)

    def repeated(self, times: int) -> "Source":
        """The same with passes that meet every piece `times` times."""
        if times == 1:
            return self
        piece = lambda i, *share: self.piece(i % self.pieces, *share)
        return dataclasses.replace(self, pieces=self.pieces * times, piece=piece, size=self.size * times)

    def shapes(self, sharding: Any = None) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes and dtypes of a piece, found from a single row of the first."""
        row = self.piece(0, 0, self.rows)
        struct = lambda x: jax.ShapeDtypeStruct((self.rows, *x.shape[1:]), x.dtype, sharding=sharding)
        return {name: struct(x) for name, x in row.items()}


def share_of(length: int, share: int, shares: int) -> tuple[int, int]:
    """Start and size of a share of `length` rows: equal sizes, so that the last may reach behind the end."""
    size = math.ceil(length / shares)
    return share * size, size


class Method(Checked):
    """A frozen dataclass of hyper-parameters with pure functions; the engine does the rest.

    Ranges of numbers stand in the annotations of its fields (`jaxembed.ranges`) and are checked when it is made.

    A method defines `source`, `init`, `steps`, `batch`, `loss` and `vectors`, and overrides the others where it needs to.

    traced: hyper-parameters that the functions use as plain numbers, so that one program serves all their values
        (`"negative"`, `"objective.temperature"`).
    trained: False for what is only judged, such as pixels or an encoder as it starts.
    training: settings of `Training` that suit the method, where the usual ones do not (`Training.of`).
    merges: how often, at least, replicas are merged in a pass, however many steps `Training` lets pass between two merges.
    """

    traced: ClassVar[tuple[str, ...]] = ()
    trained: ClassVar[bool] = True
    training: ClassVar[Mapping[str, Any]] = {}
    merges: ClassVar[int] = 32

    def with_(self, **values: Any) -> Self:
        """The same with other hyper-parameters; what a method chooses by the others it chooses anew."""
        return dataclasses.replace(self, **values)  # pyright: ignore[reportArgumentType]

    @property
    def start_fingerprint(self) -> str | None:
        """What identifies trained weights that the method starts from; None where it starts from random numbers."""
        return None

    # Before training, on the host.

    def read(self, data: Any) -> Any:
        """What the other functions take as `data`, made once of what people give; what it gave already, it leaves alone."""
        return data

    def suited_to(self, data: Any) -> Self:
        """The method as these data want it: the size of images, of a vocabulary, of steps where the data are few."""
        return self

    def training_for(self, data: Any, training: "Training") -> "Training":
        """The training as these data want it; a method may choose what is left open there (sweeps and damping of 0)."""
        return training

    def source(self, data: Any) -> Source:
        """Arrays for the device, with everything precomputed that a shard should carry."""
        raise NotImplementedError

    # On the device, inside jit.

    def init(self, key: jax.Array, constants: Mapping[str, Any]) -> Params:
        """Fresh parameters; the constants of the source give the sizes."""
        raise NotImplementedError

    def prepare(self, shard: Shard, key: jax.Array) -> dict[str, Any]:
        """Once a pass over a piece (subsampling, an order): entries of `own`. One named as a column takes its place."""
        return {}

    def steps(self, shard: Shard) -> int:
        """How many batches a prepared shard holds: a function of its shapes alone."""
        raise NotImplementedError

    def batch(self, shard: Shard, step: jax.Array, key: jax.Array) -> Batch:
        """The batch at place `step` of a prepared shard."""
        raise NotImplementedError

    def lookups(self, batch: Batch) -> Lookups:
        """The rows that this batch touches: `{name: (table, ids [...])}`, or `Bags` of ids, whose rows are added up."""
        return {}

    def loss(self, rows: dict[str, jax.Array], net: Any, kept: Any, batch: Batch, key: jax.Array) -> Loss:
        """The loss of a batch; `rows[name]` is `[..., columns]` for each of `lookups`, the rest is as in `Params`."""
        raise NotImplementedError

    def loss_in(
        self, shard: Shard, rows: dict[str, jax.Array], net: Any, kept: Any, batch: Batch, key: jax.Array
    ) -> Loss:
        """As `loss`, which it calls, for losses that need the shard: a graph, which no mesh may cut as a batch is cut."""
        return self.loss(rows, net, kept, batch, key)

    def keep(self, kept: Any, net: Any) -> Any:
        """What is kept, once `net` has had its update: averages of it are taken here."""
        return kept

    def vectors(self, params: Params, constants: Mapping[str, Any]) -> jax.Array:
        """The product, one row a label, or of an encoder what it makes of the examples that are watched: `[rows, d]`."""
        raise NotImplementedError

    def usable(self, params: Params) -> Params:
        """What a finished run keeps of what was learned, beside the product, to be used later; by default everything."""
        return params

    @property
    def row_size(self) -> int | None:
        """Columns of a table's rows that are not padding; None for all."""
        return None

    @property
    def table_rates(self) -> Mapping[str, float]:
        """Factors on the learning rate of tables, 1 where there is none; a table with 0 stays as it is."""
        return {}

    @property
    def row_sizes(self) -> Mapping[str, int]:
        """The same by table, where they are not as wide as each other."""
        return {}
