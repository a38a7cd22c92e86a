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

from jaxembed.data.cache import content_digest
from jaxembed.data.columns import digest, read_ids, read_numbers, read_table, read_times

if TYPE_CHECKING:
    import datasets

_FORMAT = 1  # part of every fingerprint: raise it when a table comes to be read or cut in another way


@dataclass(frozen=True, eq=False)
class Interactions:
    """Distinct pairs of a user and an item, ordered by user and then by time (or as in the table, without times).

    users, items: the ids, shared by all parts of a table. user, item: int32 [n], rows of these. time: numbers [n], or None.
    features: what is known of the items, rows of `feature_names` for each, int32 [items, most], -1 for no more; None for nothing.
    user_features: the same of the users, rows of `user_feature_names`.
    fingerprint: 32 hexadecimal digits that depend on all of these alone. origin: for the record of a run (JSON-ready).
    """

    users: tuple[str, ...]
    items: tuple[str, ...]
    user: np.ndarray
    item: np.ndarray
    time: np.ndarray | None = None
    origin: dict[str, Any] = field(default_factory=dict)
    features: np.ndarray | None = None
    feature_names: tuple[str, ...] = ()
    user_features: np.ndarray | None = None
    user_feature_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.user)

    @property
    def fingerprint(self) -> str:
        """See above."""
        every = (self.user, self.item, self.time, self.features, self.user_features)
        arrays = [one for one in every if one is not None]
        of_users = [self.user_feature_names] if self.user_features is not None else []
        named = digest({"format": _FORMAT}, self.users, self.items, self.feature_names, *of_users)
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

    def among(self, items: np.ndarray) -> "Interactions":
        """The pairs whose items (rows) are among some."""
        kept = np.isin(self.item, items)
        time = None if self.time is None else self.time[kept]
        return replace(self, user=self.user[kept], item=self.item[kept], time=time)

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
        return self._items(at, offsets[:-1])

    def pieces(self, length: int) -> np.ndarray:
        """Returns the items of each user in pieces, padded with -1 in front: int32 [pieces, length].

        Pieces are cut from the end. The last item of a piece is the first of the next one, so that each item of a user and
        the one after it stand together in exactly one piece. Users with a single item have none.
        """
        steps = np.maximum(np.diff(self.offsets) - 1, 0)
        count = -(-steps // (length - 1))
        user = np.repeat(np.arange(len(count)), count)
        back = np.cumsum(count)[user] - 1 - np.arange(len(user))  # how many pieces of the user follow
        at = (self.offsets[1:][user] - back * (length - 1))[:, None] - np.arange(length, 0, -1)
        return self._items(at, self.offsets[:-1][user])

    def _items(self, at: np.ndarray, first: np.ndarray) -> np.ndarray:
        """Returns the items at these places, -1 for places before the first one of a row, int32 as `at`."""
        there = at >= first[:, None]
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


def read_features(
    data: "str | os.PathLike | datasets.Dataset", key: str, columns: Sequence[str], keys: Sequence[str], **origin: Any
) -> tuple[np.ndarray, tuple[str, ...]]:
    """What a table with a row for each item, or user, says of `keys`, as `Interactions.features`, and the names `column=value`.

    key: the column of their ids. Others hold a text, a number or a list of such, each of them a value of its own; one that is
    missing, or an id without a row, has no feature. Raises ValueError as `read_table` and `read_ids` do, for an id that comes
    twice, and where nothing is known of any.
    """
    table = read_table(data, [key, *columns], **origin)
    ids = read_ids(table, key).tolist()
    row_of: dict[str, int] = {}
    for row, one in enumerate(ids):
        if row_of.setdefault(one, row) != row:
            raise ValueError(f"{table.where(row)} has the {key} {one} again: what is known of it stands in one row")
    values = {name: table.column(name).to_pylist() for name in columns}
    of: list[list[str]] = [[] for _ in keys]
    for own, one in zip(of, keys, strict=True):
        if (row := row_of.get(one)) is not None:
            for name in columns:
                value = values[name][row]
                listed = value if isinstance(value, list) else [value]
                own += [f"{name}={part}" for part in listed if part is not None]
    names = tuple(sorted({name for own in of for name in own}))
    if not names:
        raise ValueError(f"{table.title} knows nothing of what is trained on: its column {key!r} has other ids")
    number = {name: row for row, name in enumerate(names)}
    found = np.full((len(keys), max(map(len, of))), -1, np.int32)
    for row, own in enumerate(of):
        found[row, : len(own)] = [number[name] for name in own]
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
    hint = "; name those of users and items (--user, --item)"
    hint += ", or of times (--time). A table without times is trained on with --time None --hold share" if time else ""
    table = read_table(data, columns, split=split, hint=hint, **origin)
    ids = [read_ids(table, name) for name in (user, item)]
    times = read_times(table, time) if time else None
    kept = np.arange(len(table))
    if rating:
        kept = np.flatnonzero(read_numbers(table, rating) >= least)
        if not len(kept):
            raise ValueError(f"{table.title} has no {rating} of {least:g} or more: lower least_rating")
    return _Raw(ids[0][kept], ids[1][kept], None if times is None else times[kept], table.record)


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
        raise ValueError(
            "hold='last' takes what a user had last: name the column of times (time), or take a share of each user's items "
            "(hold='share')"
        )
    reading: dict[str, Any] = {"user": user, "item": item, "rating": rating, "time": time, "least": least_rating,
                           "config": config, "revision": revision}  # fmt: skip
    train = _read(data, split, **reading)
    published = _read(data, test_split, **reading) if test_split else None
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
    """The ids of all tables, numbers by their size and texts by their letters, and each table's rows of them."""
    import pyarrow as pa

    named, rows = [], []
    for which in ("user", "item"):
        columns = [getattr(table, which) for table in tables]
        coded = pa.array(np.concatenate(columns), pa.string()).dictionary_encode()
        spelt, inverse = coded.dictionary.to_pylist(), coded.indices.to_numpy()
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
