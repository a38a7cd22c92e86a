"""Columns of a dataset that the user names: opened, checked, and read as plain Python and NumPy values."""

# pyarrow makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxembed.data import hub
from jaxembed.data.cache import content_digest
from jaxembed.data.delimited import read_delimited, text_of

if TYPE_CHECKING:
    import datasets

#: Integer labels without names are classes up to this number; larger ones are identifiers.
MOST_CLASSES = 1_000_000


@dataclass(frozen=True)
class Opened:
    """A split that has been found but not yet read.

    title: its name in messages. record: the entries for the record of a run. fingerprint: that of its content, None if
    it is known only after reading. load: returns the rows.
    """

    title: str
    record: dict[str, Any]
    fingerprint: str | None
    load: Callable[[], "datasets.Dataset"]


def open_split(
    data: "str | os.PathLike | datasets.Dataset",
    split: str | None = None,
    config: str | None = None,
    revision: str | None = None,
) -> Opened:
    """Finds a dataset by name or path as `jaxembed.data.load` does, or takes a `datasets.Dataset`.

    Raises as `jaxembed.data.resolve` does, and ValueError for what is neither.
    """
    if isinstance(data, str | os.PathLike):
        found = hub.resolve(data, split, config=config, revision=revision)
        title = "/".join(part for part in (found.name, config, found.split) if part)
        return Opened(title, found.record(), found.fingerprint, found.load)
    if not hub.is_split(data):
        raise ValueError(f"expected the name of a dataset or one split of one, not a {type(data).__name__}")
    name = data.info.dataset_name
    return Opened(name or "the dataset", {"dataset": name}, None, lambda: data)


def rows_of(
    opened: Opened, columns: Sequence[str], most: int = 0, hints: Mapping[str, str] | None = None
) -> "datasets.Dataset":
    """Returns the named columns of the first `most` rows (0: all), in Arrow's form; `hints` are advice for missing columns.

    Raises ValueError for a missing column, naming those that exist, and for a split without rows.
    """
    dataset = opened.load()
    if absent := [column for column in columns if column not in dataset.column_names]:
        there, hint = ", ".join(dataset.column_names), (hints or {}).get(absent[0], "")
        raise ValueError(f"{opened.title} has no column {absent[0]!r}: its columns are {there}{hint}")
    if not len(dataset):
        raise ValueError(f"{opened.title} has no rows")
    if 0 < most < len(dataset):
        dataset = dataset.select(range(most))
    return dataset.select_columns(list(dict.fromkeys(columns))).with_format("arrow")


def read_labels(
    dataset: "datasets.Dataset",
    column: str,
    title: str,
    names: Sequence[str] | None = None,
    hint: str = "pass label=None to read without labels",
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class numbers int32 [n] and the names of the classes.

    A ClassLabel has its names. Texts are numbered by their sorted distinct values. Whole numbers stay what they are, named
    "0", "1" and so on to the largest. With `names` (those of the training split, say) labels are numbered by them instead.

    Raises ValueError, naming the row, for a missing label and for one outside the range of the names, with `hint`.
    """
    import pyarrow as pa

    values = _arrow(dataset, column).combine_chunks()
    if values.null_count:
        row = int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0])
        raise ValueError(f"row {row} of {title} has no label in the column {column!r}; {hint}")
    own = getattr(dataset.features[column], "names", None)
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        distinct = values.dictionary_encode()
        spelt, labels = distinct.dictionary.to_pylist(), distinct.indices.to_numpy()
        order = sorted(spelt) if names is None else list(names)
    elif pa.types.is_integer(values.type) or pa.types.is_boolean(values.type):
        labels = values.to_numpy(zero_copy_only=False).astype(np.int64)
        largest = min(int(labels.max(initial=0)), MOST_CLASSES)
        spelt = own if own is not None else names if names is not None else [str(i) for i in range(largest + 1)]
        order = list(spelt if names is None else names)
    else:
        raise ValueError(f"the column {column!r} of {title} holds {values.type}, not classes; name another, or {hint}")
    if len(wrong := np.flatnonzero((labels < 0) | (labels >= len(spelt)))):
        row = int(wrong[0])
        raise ValueError(f"row {row} of {title} has the label {labels[row]}, outside 0..{len(spelt) - 1}; {hint}")
    places = {name: i for i, name in enumerate(order)}
    moved = np.array([places.get(name, -1) for name in spelt], np.int32)[labels]
    if len(wrong := np.flatnonzero(moved < 0)):
        row = int(wrong[0])
        raise ValueError(f"row {row} of {title} has the label {spelt[labels[row]]!r}, not among the names; {hint}")
    return moved, tuple(order)


@dataclass(frozen=True, eq=False)
class Table:
    """Some columns of a dataset or of a text file.

    columns: as Arrow has them, all alike long. title: how messages call it. record: what a run writes down of it.
    lines: the line that each row stands in, int64 [n]; None where there are no lines. classes: the names of the numbers in a
    column, or None.
    """

    columns: Any
    title: str
    record: dict[str, Any]
    lines: np.ndarray | None = None
    classes: Mapping[str, Sequence[str] | None] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.columns.num_rows

    def where(self, row: int) -> str:
        """How messages call a row."""
        return f"row {row} of {self.title}" if self.lines is None else f"line {self.lines[row]} of {self.title}"

    def column(self, name: str) -> Any:
        """A column in one piece."""
        return self.columns.column(name).combine_chunks()


def read_table(
    data: "str | os.PathLike | datasets.Dataset", columns: Sequence[str], *, split: str | None = None,
    config: str | None = None, revision: str | None = None, usual: Sequence[str] = (), hint: str = "",
) -> Table:  # fmt: skip
    """The named columns of a dataset, as `jaxembed.data.load` finds it, or of text (`jaxembed.data.delimited`).

    Text is a CSV or TSV file, or a folder of such files, one for each split. usual: names that its columns have where its first
    line names none. hint: what to do where a column is not there. Raises ValueError for that, for no rows, and as
    `read_delimited` and `text_of` do.
    """
    if isinstance(data, str | os.PathLike) and (file := text_of(data, split)):
        found, lines = read_delimited(file, columns, usual, hint)
        return Table(found, os.fspath(file), {"file": file.name}, lines)
    opened = open_split(data, split, config, revision)
    rows = rows_of(opened, columns, hints=dict.fromkeys(columns, hint))
    classes = {name: getattr(rows.features[name], "names", None) for name in columns}
    return Table(rows[:], opened.title, opened.record, classes=classes)


def _class_names(numbers: Any, names: Sequence[str]) -> Any:
    """Numbers of classes as their names; one outside of these, as -1 is, stands for none."""
    import pyarrow as pa
    from pyarrow import compute

    known = compute.and_(compute.greater_equal(numbers, 0), compute.less(numbers, len(names)))
    return compute.take(pa.array(names, pa.string()), compute.if_else(known, numbers, None))


def read_ids(table: Table, column: str) -> np.ndarray:
    """A column of ids as texts, an object array: texts as they are, whole numbers as they are usually written, classes by name.

    Raises ValueError for a column that holds neither and, naming the row or line, for a missing or blank id, a negative one, and
    one of several lines. Texts are negative where all of the column are whole numbers, as they are in a file in text.
    """
    import pyarrow as pa
    from pyarrow import compute

    values = table.column(column)
    if names := table.classes.get(column):
        values = _class_names(values, names)
    if pa.types.is_floating(values.type):  # as pandas has whole numbers of which some are missing
        values = compute.if_else(compute.is_nan(values), None, values)
        try:
            values = values.cast(pa.int64())
        except pa.ArrowInvalid as error:
            raise ValueError(
                f"the column {column!r} of {table.title} holds fractions: ids are whole numbers or texts"
            ) from error
    try:
        texts = values.cast(pa.string())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ValueError(
            f"the column {column!r} of {table.title} holds {values.type}: ids are whole numbers or texts; name another"
        ) from error
    coded = compute.fill_null(texts, "").dictionary_encode()
    distinct, numbers = coded.dictionary.to_pylist(), re.compile(r"-?\d+", re.ASCII).fullmatch

    def refuse(wrong: Callable[[str], Any], why: str) -> None:
        if any(bad := [bool(wrong(text)) for text in distinct]):
            row = int(np.flatnonzero(np.array(bad)[coded.indices.to_numpy()])[0])
            raise ValueError(f"{table.where(row)} has {why.format(column=column, value=texts[row])}")

    refuse(lambda text: not text.strip(), "no {column}: leave out what has none")
    refuse(
        lambda text: "\n" in text or "\r" in text,
        "several lines in the column {column!r}, which no file of vectors can keep",
    )
    if all(map(numbers, distinct)):
        why = "the {column} {value}: a negative id often stands for a missing one; leave out what has it"
        refuse(lambda text: text.startswith("-"), why)
    return texts.to_numpy(zero_copy_only=False)


def read_numbers(table: Table, column: str) -> np.ndarray:
    """A column of numbers, float64. Raises ValueError, naming the row or line, for what is none."""
    import pyarrow as pa

    values = table.column(column)
    try:
        found = values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # which does not say where
        found = np.array([_number(one) for one in values.to_pylist()])
    if len(wrong := np.flatnonzero(~np.isfinite(found))):
        raise ValueError(f"{table.where(int(wrong[0]))} has no number in the column {column!r}")
    return found


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return np.nan


def read_times(table: Table, column: str) -> np.ndarray:
    """A column of times, or of numbers that grow with time: int64, or float64 where some are fractions.

    Times come in microseconds since 1970; texts as ISO 8601 has them. Raises ValueError as `read_numbers` does.
    """
    import pyarrow as pa

    values = table.column(column)
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        values = _parsed(values)
    if pa.types.is_temporal(values.type):
        values = values.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
    if pa.types.is_integer(values.type) and not values.null_count:
        return values.cast(pa.int64()).to_numpy()  # float64 would round nanoseconds
    found = read_numbers(replace(table, columns=pa.table({column: values})), column)
    return found if (found % 1).any() else found.astype(np.int64)


def _parsed(texts: Any) -> Any:
    """Texts as whole numbers or times, if all of them are; else as they are."""
    import pyarrow as pa

    for kind in (pa.int64(), pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            return texts.cast(kind)
        except pa.ArrowInvalid:
            continue
    return texts


def digest(settings: Any, *texts: Sequence[str]) -> str:
    """Returns a hash of settings (JSON-ready) and of lists of texts: 32 hexadecimal digits."""
    pieces = lambda part: (json.dumps(part[start : start + (1 << 14)]) for start in range(0, len(part), 1 << 14))
    listed = (piece for part in texts for piece in chain([f"[{len(part)}]"], pieces(part)))
    return content_digest(json.dumps(settings), *listed)


def read_values(dataset: "datasets.Dataset", column: str) -> list[Any]:
    """Returns a column as Python values; missing values are None."""
    return _arrow(dataset, column).to_pylist()


def _arrow(dataset: "datasets.Dataset", column: str) -> Any:
    """Returns a column as Arrow has it, without reading the others."""
    return dataset.select_columns([column])[:][column]  # pyright: ignore[reportArgumentType, reportCallIssue]
