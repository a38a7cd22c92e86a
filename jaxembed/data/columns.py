"""Columns of a dataset that the user names: opened, checked, and read as plain Python and NumPy values."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxembed.data import hub
from jaxembed.data.cache import content_digest

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
    dataset: "datasets.Dataset", column: str, title: str, names: Sequence[str] | None = None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Class numbers int32 [n] and the names of the classes.

    A ClassLabel has its names. Texts are numbered by their sorted distinct values. Whole numbers stay what they are, named
    "0", "1" and so on to the largest. With `names` (those of the training split, say) labels are numbered by them instead.

    Raises ValueError, naming the row, for a missing label and for one outside the range of the names.
    """
    import pyarrow as pa

    hint = "pass label=None to read without labels"
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
