"""Interactions: tables of users and items, from any dataset or text file, and their division into parts.

The rules, each of which `Interactions.origin` counts: ids are whole numbers or texts of any size, and are kept as
texts; a pair that occurs twice counts once, at its first place; a test pair that is also a training pair is left out; a
user without training pairs, and an item that nobody has in training, keep their ids and are never trained.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxembed.compression import SUFFIXES, reading
from jaxembed.data.cache import content_digest
from jaxembed.data.columns import digest, open_split, rows_of

if TYPE_CHECKING:
    import datasets

#: Endings of text files, before that of a compression, and the delimiters of their fields.
DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".inter": "\t"}

_FORMAT = 1  # part of every fingerprint: increase it when a table is read or divided differently


@dataclass(frozen=True, eq=False)
class Interactions:
    """Distinct pairs of a user and an item, ordered by user and then by time (or as in the table, without times).

    users, items: the ids, shared by all parts of a table. user, item: int32 [n], rows of these. time: int64 [n], or
    None. features: the features of the items, rows of `feature_names` for each, int32 [items, most], padded with -1;
    None if there are none. fingerprint: 32 hexadecimal digits that depend only on these. origin: for the record of a
    run (JSON-ready).
    """

    users: tuple[str, ...]
    items: tuple[str, ...]
    user: np.ndarray
    item: np.ndarray
    time: np.ndarray | None = None
    origin: dict[str, Any] = field(default_factory=dict)
    features: np.ndarray | None = None
    feature_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.user)

    @property
    def fingerprint(self) -> str:
        """See the class."""
        arrays = [one for one in (self.user, self.item, self.time, self.features) if one is not None]
        named = digest({"format": _FORMAT}, self.users, self.items, self.feature_names)
        return content_digest(named, *map(np.ascontiguousarray, arrays))

    @property
    def offsets(self) -> np.ndarray:
        """The start of each user's pairs, and the end of the last: int64 [users + 1]."""
        return np.concatenate([[0], np.cumsum(np.bincount(self.user, minlength=len(self.users)))])

    @property
    def counts(self) -> np.ndarray:
        """The number of users of each item: int64 [items]."""
        return np.bincount(self.item, minlength=len(self.items))

    def take(self, rows: np.ndarray, part: str) -> "Interactions":
        """Returns some of the pairs, in their order, as a part of that name."""
        time = None if self.time is None else self.time[rows]
        origin = self.origin | {"part": part}
        return replace(self, user=self.user[rows], item=self.item[rows], time=time, origin=origin)

    def joined(self, other: "Interactions") -> "Interactions":
        """Returns the pairs of both parts, which have the same ids."""
        times = None
        if self.time is not None and other.time is not None:
            times = np.concatenate([self.time, other.time])
        pairs = [np.concatenate(two) for two in ((self.user, other.user), (self.item, other.item))]
        # Without times, the other pairs come later: what is set apart are a user's last items.
        order = np.lexsort([np.arange(len(pairs[0])), *([] if times is None else [times]), pairs[0]])
        return replace(self, user=pairs[0][order], item=pairs[1][order], time=None if times is None else times[order])

    def histories(self, length: int) -> np.ndarray:
        """Returns the last items of each user, the latest last, padded with -1 in front: int32 [users, length]."""
        offsets = self.offsets
        at = offsets[1:, None] - np.arange(length, 0, -1)
        there = at >= offsets[:-1, None]
        return np.where(there, self.item[np.where(there, at, 0)] if len(self) else -1, -1).astype(np.int32)

    def summary(self) -> dict[str, Any]:
        """Returns what a run's environment.json records of its data."""
        sizes = {"pairs": len(self), "users": len(self.users), "items": len(self.items)}
        return {**self.origin, **sizes, "fingerprint": self.fingerprint}


@dataclass(frozen=True, eq=False)
class Parts:
    """A table in parts with the same ids: pairs to train on, to choose settings on (None if there are none), and to test on."""

    train: Interactions
    dev: Interactions | None
    test: Interactions

    @property
    def known(self) -> Interactions:
        """All pairs before the test: training and dev pairs."""
        return self.train if self.dev is None else self.train.joined(self.dev)


def read_table(
    data: "str | os.PathLike | datasets.Dataset", columns: Sequence[str], *, split: str | None = None,
    config: str | None = None, revision: str | None = None,
) -> tuple[Any, str, dict[str, Any]]:  # fmt: skip
    """The named columns of a dataset, as `jaxembed.data.load` finds it, or of a CSV or TSV file: Arrow table, title, record.

    A text file (UTF-8, plain or compressed) names its columns in its first line; without such a line they are called 0, 1, 2.
    Raises ValueError for a column that is not there, no rows, and a line with more or fewer fields (named by its number).
    """
    import pyarrow as pa

    if isinstance(data, str | os.PathLike) and (delimiter := _delimiter(data)) and os.path.isfile(data):
        title = os.fspath(data)
        return _read_text(title, columns, delimiter), title, {"file": os.path.basename(title)}
    opened = open_split(data, split, config, revision)
    rows = rows_of(opened, columns)
    found = {name: rows[:][name] for name in dict.fromkeys(columns)}
    return pa.table(found), opened.title, opened.record


def _delimiter(path: str | os.PathLike) -> str | None:
    name = os.fspath(path).lower()
    for ending in SUFFIXES:
        name = name.removesuffix(ending)
    return DELIMITERS.get(os.path.splitext(name)[1])


def _read_text(path: str, columns: Sequence[str], delimiter: str) -> Any:
    import pyarrow as pa
    from pyarrow import csv

    wrong: list[str] = []

    def malformed(row: Any) -> str:
        wrong.append(f"{path}: line {row.number} has {row.actual_columns} fields, and not {row.expected_columns}")
        return "error"

    headless = all(name.isdigit() for name in columns)
    with reading(path) as file:
        first = file.readline().decode("utf-8", "replace").rstrip("\r\n").removeprefix("\ufeff")
    there = [str(i) for i in range(first.count(delimiter) + 1)] if headless else first.split(delimiter)
    if absent := [name for name in columns if name not in there]:
        hint = "; where the first line names no columns, they are 0, 1 and so on"
        raise ValueError(f"{path} has no column {absent[0]!r}: its columns are {', '.join(there)}{hint}")
    with reading(path) as file:
        try:
            return csv.read_csv(
                file,
                # Lines are counted only where one thread reads.
                csv.ReadOptions(use_threads=False, column_names=there, skip_rows=0 if headless else 1),
                csv.ParseOptions(
                    delimiter=delimiter, quote_char=False if delimiter == "\t" else '"', invalid_row_handler=malformed
                ),
                csv.ConvertOptions(
                    column_types=dict.fromkeys(there, pa.string()), include_columns=list(dict.fromkeys(columns)),
                    strings_can_be_null=True, null_values=[""],
                ),
            )  # fmt: skip
        except pa.ArrowInvalid as error:
            reason = wrong[0] if wrong else f"{path} cannot be read: {error}"
            raise ValueError(f"{reason}. Mend the file, or name another") from error


def read_ids(table: Any, column: str, title: str) -> np.ndarray:
    """Returns a column of ids as texts, an object array. Raises ValueError, naming the row, for a missing or negative id."""
    import pyarrow as pa

    values = table.column(column).combine_chunks()
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks)
    if values.null_count:
        row = int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0])
        raise ValueError(f"row {row} of {title} has no {column}: leave out rows without one")
    if pa.types.is_floating(values.type):
        try:
            values = values.cast(pa.int64())
        except pa.ArrowInvalid as error:
            raise ValueError(
                f"the column {column!r} of {title} holds fractions: ids are whole numbers or texts"
            ) from error
    if pa.types.is_integer(values.type) and len(wrong := np.flatnonzero(values.to_numpy() < 0)):
        row = int(wrong[0])
        raise ValueError(
            f"row {row} of {title} has the {column} {values[row].as_py()}: a negative id often stands for a missing one; "
            "leave out such rows"
        )
    try:
        found = values.cast(pa.string())
        distinct = found.dictionary_encode().dictionary.to_pylist()
        if broken := next((text for text in distinct if "\n" in text or "\r" in text), None):
            row = found.to_pylist().index(broken)
            raise ValueError(f"row {row} of {title} has a {column} of several lines, which no file of vectors can keep")
        return found.to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"the column {column!r} of {title} holds {values.type}: ids are numbers or texts") from error


def read_numbers(table: Any, column: str, title: str) -> np.ndarray:
    """Returns a column of numbers or times, float64. Raises ValueError, naming the row, for anything else."""
    import pyarrow as pa

    values = table.column(column).combine_chunks()
    try:
        if pa.types.is_temporal(values.type):
            values = values.cast(pa.timestamp("us")).cast(pa.int64())
        found = values.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(f"the column {column!r} of {title} holds no numbers: {error}") from error
    if len(wrong := np.flatnonzero(~np.isfinite(found))):
        raise ValueError(f"row {wrong[0]} of {title} has no number in the column {column!r}")
    return found


def read_features(
    data: "str | os.PathLike | datasets.Dataset", item: str, columns: Sequence[str], items: Sequence[str], **origin: Any
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns the features of `items` in a table with one row per item, and their names `column=value`.

    The features have the form of `Interactions.features`. A column holds a text, a number or a list of these; a missing
    value, or an item without a row, has no feature.

    Raises ValueError as `read_table` and `read_ids` do, for an item that occurs twice, and if no item has a feature.
    """
    table, title, _ = read_table(data, [item, *columns], **origin)
    ids = read_ids(table, item, title).tolist()
    if len(twice := {*ids}) < len(ids):
        again = next(one for i, one in enumerate(ids) if one in ids[:i])
        raise ValueError(
            f"the {item} {again} comes twice in {title}: its features stand in one row ({len(twice)} are there)"
        )
    values = {name: table.column(name).to_pylist() for name in columns}
    place = {key: row for row, key in enumerate(items)}
    of: list[list[str]] = [[] for _ in items]
    for row, key in enumerate(ids):
        if (at := place.get(key)) is not None:
            for name in columns:
                own = values[name][row]
                of[at] += [f"{name}={one}" for one in (own if isinstance(own, list) else [own]) if one is not None]
    names = tuple(sorted({name for one in of for name in one}))
    if not names:
        raise ValueError(f"{title} has features of none of the items: its column {item!r} has other ids")
    number = {name: row for row, name in enumerate(names)}
    found = np.full((len(items), max(map(len, of))), -1, np.int32)
    for row, one in enumerate(of):
        found[row, : len(one)] = [number[name] for name in one]
    return found, names


@dataclass(frozen=True, eq=False)
class _Raw:
    """Pairs as read, with ids as texts."""

    user: np.ndarray
    item: np.ndarray
    time: np.ndarray | None
    record: Mapping[str, Any]


def _read(
    data: Any,
    split: str | None,
    user: str,
    item: str,
    rating: str | None,
    time: str | None,
    least: float,
    **origin: Any,
) -> _Raw:
    columns = [user, item, *([rating] if rating else []), *([time] if time else [])]
    table, title, record = read_table(data, columns, split=split, **origin)
    if not table.num_rows:
        raise ValueError(f"{title} has no rows")
    ids = [read_ids(table, name, title) for name in (user, item)]
    times = read_numbers(table, time, title).astype(np.int64) if time else None
    kept = np.arange(table.num_rows)
    if rating:
        kept = np.flatnonzero(read_numbers(table, rating, title) >= least)
        if not len(kept):
            raise ValueError(f"{title} has no {rating} of {least:g} or more: lower least_rating")
    return _Raw(ids[0][kept], ids[1][kept], None if times is None else times[kept], record)


def read_interactions(
    data: "str | os.PathLike | datasets.Dataset", *, split: str | None = None, test_split: str | None = "test",
    config: str | None = None, revision: str | None = None, user: str = "user", item: str = "item",
    rating: str | None = None, time: str | None = None, least_rating: float = 0.0, hold: str = "share",
    validation: float = 0.1, test: float = 0.2,
) -> Parts:  # fmt: skip
    """Reads a table of interactions by its columns, and divides it into parts.

    rating: column of numbers; a pair counts if its rating is `least_rating` or more. time: column of numbers or times.
    test_split: the published test set; None takes a test set from the same table. hold: how pairs are set apart.
    `"share"` takes `validation` (and `test`) of each user's pairs by a hash of the ids, the same in every run. `"last"`
    takes, by time, a user's last pair for the test and the one before for validation (leave-one-out), if the user has
    three pairs or more.

    Raises ValueError as `read_table` and `read_ids` do, for `"last"` without a time, and if a part is empty.
    """
    if hold not in ("share", "last"):
        raise ValueError(f"hold must be 'share' or 'last', not {hold!r}")
    if hold == "last" and time is None:
        raise ValueError("hold='last' takes what a user had last: name the column of times (time)")
    how: dict[str, Any] = {"user": user, "item": item, "rating": rating, "time": time, "least": least_rating,
                           "config": config, "revision": revision}  # fmt: skip
    train = _read(data, split, **how)
    published = _read(data, test_split, **how) if test_split else None
    users, items, parts = _numbered([train] + ([published] if published else []))
    record = {**train.record, "hold": hold, "validation": validation, "columns": [user, item, rating, time]}
    whole = _sorted(users, items, *parts[0], record)
    if published:
        tested = _sorted(users, items, *parts[1], {})
        pair = lambda part: part.user.astype(np.int64) * len(items) + part.item
        both = np.isin(pair(tested), pair(whole))
        tested = tested.take(np.flatnonzero(~both), "test")
        whole.origin["test_pairs_in_training"] = int(both.sum())
        rest, dev = _held(whole, hold, validation)
    else:
        places, last = _held(whole, hold, test)
        tested = whole.take(last, "test")
        whole = whole.take(places, "before")
        rest, dev = _held(whole, hold, validation)
    if not len(tested):
        raise ValueError(
            f"the test part of {data} is empty: {'every test pair is a training pair too' if published else _FEW}"
        )
    if not len(rest):
        raise ValueError(f"nothing of {data} is left to train on: lower validation")
    found = Parts(whole.take(rest, "train"), whole.take(dev, "dev") if len(dev) else None, tested)
    of_test = np.unique(tested.user)
    found.train.origin.update(
        test_pairs=len(tested),
        dev_pairs=len(dev),
        test_users_without_training=int(np.sum(~np.isin(of_test, found.train.user))),
        items_without_training=int(np.sum(found.train.counts == 0)),
    )
    return found


_FEW = "no user has enough pairs to set one apart"


_Columns = tuple[np.ndarray, np.ndarray, np.ndarray | None]


def _numbered(tables: Sequence[_Raw]) -> tuple[tuple[str, ...], tuple[str, ...], list[_Columns]]:
    """Returns the ids of all tables, numbers by size and texts alphabetically, and the rows of each table among them."""
    named, rows = [], []
    for which in ("user", "item"):
        columns = [getattr(table, which) for table in tables]
        distinct, inverse = np.unique(np.concatenate(columns).astype(str), return_inverse=True)
        spelt = distinct.tolist()
        values: list[Any] = [int(one) for one in spelt] if all(map(_is_number, spelt)) else spelt
        order = sorted(range(len(spelt)), key=values.__getitem__)
        place = np.empty(len(order), np.int32)
        place[order] = np.arange(len(order), dtype=np.int32)
        named.append(tuple(spelt[i] for i in order))
        rows.append(np.split(place[inverse], np.cumsum([len(column) for column in columns])[:-1]))
    return named[0], named[1], [(u, i, t.time) for u, i, t in zip(*rows, tables, strict=True)]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and (text == "0" or text[0] != "0")


def _sorted(
    users: tuple[str, ...], items: tuple[str, ...], user: np.ndarray, item: np.ndarray, time: np.ndarray | None,
    record: Mapping[str, Any],
) -> Interactions:  # fmt: skip
    """Sorts pairs by user and time, and keeps the first occurrence of each."""
    order = np.lexsort([np.arange(len(user)), *([] if time is None else [time]), user])
    pair = user[order].astype(np.int64) * len(items) + item[order]
    first = np.zeros(len(order), bool)
    first[np.unique(pair, return_index=True)[1]] = True
    kept = order[first]
    origin = {**record, "repeated_pairs": len(order) - len(kept)}
    return Interactions(users, items, user[kept], item[kept], None if time is None else time[kept], origin)


def _held(part: Interactions, hold: str, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the places of the pairs that stay, and of those set apart; at least one pair of each user stays."""
    offsets = part.offsets
    sizes = np.diff(offsets)
    if share == 0:
        return np.arange(len(part)), np.zeros(0, int)
    if hold == "last":
        rank = offsets[1:][part.user] - 1 - np.arange(len(part))  # 0 for the last pair of a user
        apart = (rank == 0) & (sizes[part.user] >= 2)
    else:
        count = np.minimum(np.floor(sizes * share + 0.5), sizes - 1)
        order = np.lexsort([_hash(part), part.user])
        rank = np.empty(len(part), np.int64)
        rank[order] = np.arange(len(part)) - offsets[:-1][part.user[order]]
        apart = rank < count[part.user]
    return np.flatnonzero(~apart), np.flatnonzero(apart)


def _hash(part: Interactions) -> np.ndarray:
    """Returns well-mixed 64 bits of each pair (splitmix64: Steele et al. 2014), the same on every machine."""
    x = part.user.astype(np.uint64) * np.uint64(len(part.items)) + part.item.astype(np.uint64)
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))
