"""Rows of categorical fields with a label, clicked or not. The values of all fields share one numbering, with offsets.

A value that occurs only in the test part counts as the unknown value of its field, which is never trained.
"""

# pyarrow makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from jaxembed.data.cache import content_digest
from jaxembed.data.columns import digest, read_ids, read_numbers, read_table
from jaxembed.naming import Places, as_key

if TYPE_CHECKING:
    import os

    import datasets

_FORMAT = 1  # part of every fingerprint


@dataclass(frozen=True, eq=False)
class Fields:
    """Rows of categorical fields.

    fields: their names. values: the texts of the values of each field. Value j of field f is row `offsets[f] + 1 + j`.
    ids: int32 [n, fields], these rows; `offsets[f]` is the unknown value. label: float32 [n], 1 or 0.
    """

    fields: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    ids: np.ndarray
    label: np.ndarray
    origin: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def offsets(self) -> np.ndarray:
        """The start of each field's rows, and the end of the last: int64 [fields + 1]."""
        return np.concatenate([[0], np.cumsum([1 + len(one) for one in self.values])])

    @property
    def rows(self) -> int:
        """The number of rows of the table of all fields."""
        return int(self.offsets[-1])

    @property
    def keys(self) -> list[str]:
        """The name of each row: `field/value`, and `field/` for the unknown value."""
        return [f"{name}/{value}" for name, of in zip(self.fields, self.values, strict=True) for value in ("", *of)]

    @property
    def fingerprint(self) -> str:
        """32 hexadecimal digits that depend on the content alone."""
        named = digest({"format": _FORMAT}, self.fields, *self.values)
        return content_digest(named, np.ascontiguousarray(self.ids), np.ascontiguousarray(self.label))

    def take(self, rows: np.ndarray, part: str) -> "Fields":
        """Returns some of the rows, as a part of that name."""
        return replace(self, ids=self.ids[rows], label=self.label[rows], origin=self.origin | {"part": part})

    def among(self, train: "Fields") -> "Fields":
        """Returns the same rows with values that do not occur in `train` as unknown ones."""
        met = np.zeros(self.rows, bool)
        met[train.ids] = True
        return replace(self, ids=np.where(met[self.ids], self.ids, self.offsets[:-1]).astype(np.int32))

    def summary(self) -> dict[str, Any]:
        """Returns what a run's environment.json records of its data."""
        sizes = {"rows": len(self), "values": self.rows, "positive": float(self.label.mean()) if len(self) else None}
        return {**self.origin, **sizes, "fields": list(self.fields), "fingerprint": self.fingerprint}


def read_fields(
    data: "str | os.PathLike | datasets.Dataset", fields: Sequence[str], label: str, *, split: str | None = None,
    config: str | None = None, revision: str | None = None, like: Fields | None = None,
) -> Fields:  # fmt: skip
    """Reads the columns `fields` and the labels, 0 or 1. `like`: rows whose numbering of values is used.

    Raises ValueError as `read_table` and `read_ids` do, for a label other than 0 and 1, and if one column is named
    twice.
    """
    import pyarrow as pa
    from pyarrow import compute

    if not fields or len({*fields, label}) < len(fields) + 1:
        raise ValueError("name one field or more, each once, and another column as the label")
    hint = (
        "; name the columns of your fields (--fields) and of clicks (--label). A table without clicks, where every row is a user "
        "with an item, is for mf, lightgcn and two_tower"
    )
    table = read_table(data, [*fields, label], split=split, config=config, revision=revision, hint=hint)
    labels = read_numbers(table, label)
    if len(wrong := np.flatnonzero((labels != 0) & (labels != 1))):
        raise ValueError(f"{table.where(int(wrong[0]))} has the {label} {labels[wrong[0]]:g}: labels are 0 and 1")
    columns = [pa.array(read_ids(table, name), pa.string()) for name in fields]
    values = like.values if like else tuple(tuple(sorted(compute.unique(one).to_pylist())) for one in columns)
    found = Fields(tuple(fields), values, np.zeros((0, len(fields)), np.int32), np.zeros(0, np.float32), table.record)
    place = lambda column, known: compute.fill_null(
        compute.index_in(column, value_set=pa.array(known, pa.string())), -1
    )
    # One that is not there stands before the first, in the place of the unknown.
    ids = [place(*one).to_numpy() + 1 for one in zip(columns, values, strict=True)]
    return replace(found, ids=(np.stack(ids, 1) + found.offsets[:-1]).astype(np.int32), label=labels.astype(np.float32))


def held_out(data: Fields, share: float, name: str = "dev") -> tuple[Fields, Fields | None]:
    """Splits rows into two parts: a `share` of them is held out by a hash of their positions; None if there are none.

    `name` is that of the second part. Raises ValueError if no row is left in the first.
    """
    x = np.arange(len(data), dtype=np.uint64)
    with np.errstate(over="ignore"):
        x = (x + np.uint64(0x9E3779B97F4A7C15)) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(29))) * np.uint64(0x94D049BB133111EB)
    apart = (x >> np.uint64(32)).astype(np.float64) / 2**32 < share
    if not apart.any():
        return data.take(np.arange(len(data)), "train"), None
    if apart.all():
        raise ValueError("nothing is left to train on: lower validation")
    return data.take(np.flatnonzero(~apart), "train"), data.take(np.flatnonzero(apart), name)


@dataclass(frozen=True, eq=False)
class FieldsInput:
    """Turns rows `{field: value}` into ids, int32 `[n, fields]`; a value that is not in the training data is unknown."""

    fields: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]

    kind: ClassVar[str] = "fields"
    column: ClassVar[str] = "ids"
    rank: ClassVar[int] = 2

    def blank(self, n: int, length: int = 1) -> np.ndarray:
        """Returns rows of unknown values."""
        return np.tile(np.cumsum([0, *(1 + len(one) for one in self.values)])[:-1].astype(np.int32), (n, 1))

    def examples(self, rows: Sequence[Mapping[str, Any]] | np.ndarray, first: int = 0) -> dict[str, np.ndarray]:
        """Returns the ids of rows. Raises ValueError for a row that lacks a field."""
        ids = self.blank(len(rows))
        for i, row in enumerate(rows):
            if absent := [name for name in self.fields if name not in row]:
                raise ValueError(f"row {first + i} has no {absent[0]!r}: its fields are {', '.join(self.fields)}")
            for f, (name, places) in enumerate(zip(self.fields, self._places, strict=True)):
                ids[i, f] += 1 + places.get(as_key(row[name]), -1)
        return {self.column: ids}

    @cached_property
    def _places(self) -> list[Places]:
        return list(map(Places, self.values))

    def save(self, folder: Path) -> dict[str, Any]:
        """Returns what `open` needs, as JSON values."""
        return {"fields": list(self.fields), "values": [list(one) for one in self.values]}

    @classmethod
    def open(cls, folder: Path, fields: Sequence[str], values: Sequence[Sequence[str]]) -> "FieldsInput":
        """Opens the result of `save`."""
        return cls(tuple(fields), tuple(map(tuple, values)))
