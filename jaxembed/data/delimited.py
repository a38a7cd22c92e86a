"""Tables in text files: CSV, and TSV with or without a line of names, plain or compressed."""

# pyarrow makes its functions when it is imported.
# pyright: reportAttributeAccessIssue=false

import codecs
import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from jaxembed.compression import SUFFIXES, reading

#: What a table's name ends in, before the ending of a compression, and what parts its fields.
DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t", ".txt": "\t", ".inter": "\t"}

#: What files of splits are called besides.
_ALSO = {"validation": ("valid", "val", "dev")}
_AT_ONCE = 1 << 16  # lines that are Python texts at a time; Arrow holds them in a tenth of the memory


def text_of(data: str | os.PathLike, split: str | None) -> Path | None:
    """The text file that holds a split: a file is the split train, and a folder has a file for each. None for what is neither.

    Raises ValueError for another split of a file, and FileNotFoundError for one that a folder does not have.
    """
    place = Path(data)
    if _is_text(place):
        if split in (None, "train"):
            return place
        raise ValueError(f"{place} is a single table, the split train: it has no split {split!r}")
    there = {}
    if os.path.isdir(data):
        there = {path.name.partition(".")[0]: path for path in sorted(place.iterdir()) if _is_text(path)}
    if not there or any(place.rglob("*.parquet")):
        return None
    if split is None and len(there) == 1:
        return next(iter(there.values()))
    split = split or "train"
    if found := [there[name] for name in (split, *_ALSO.get(split, ())) if name in there]:
        return found[0]
    raise FileNotFoundError(
        f"{place} has no file of the split {split!r}, such as {split}.tsv; its files are of {', '.join(there)}"
    )


def _is_text(path: Path) -> bool:
    return _ending(path) in DELIMITERS and path.is_file()


def read_delimited(
    path: str | os.PathLike, names: Sequence[str], usual: Sequence[str] = (), hint: str = ""
) -> tuple[Any, np.ndarray]:
    """The columns called `names`, an Arrow table of texts, and the line that each row stands in, int64 [n].

    The first line names the columns. A file without such a line is read by the places of its columns, "0", "1" and so on, or
    by the names `usual` if it has as many columns, in that order. A CSV's fields may be quoted; those of all others are parted by
    tabs alone. Texts are kept as they are written, but for spaces around them; an empty one is null; blank lines are left out.

    Raises ValueError for a column that is not there, a line with another number of fields than the first, and text that is not
    UTF-8, each with its line, and for a file without rows.
    """
    import pyarrow as pa
    from pyarrow import compute

    path, names = Path(path), list(dict.fromkeys(names))
    with reading(path) as file:
        rows = _rows(path, file)
        top, first = next(rows, (0, []))
        if not first:
            raise ValueError(f"{path} has no rows")
        places, bare = _places(path, first, names, usual, hint)
        rows = chain([(top, first)], rows) if bare else rows
        columns, lines = [[] for _ in names], []
        while part := list(islice(rows, _AT_ONCE)):
            for number, fields in part:
                if len(fields) != len(first):
                    raise ValueError(f"{path}: line {number} has {len(fields)} fields, and the first line {len(first)}")
            for column, place in zip(columns, places, strict=True):
                texts = compute.utf8_trim_whitespace(pa.array([fields[place] for _, fields in part], pa.string()))
                column.append(compute.if_else(compute.equal(texts, ""), None, texts))
            lines.append(np.array([number for number, _ in part]))
    if not lines:
        raise ValueError(f"{path} has no rows")
    return pa.table(dict(zip(names, map(pa.chunked_array, columns), strict=True))), np.concatenate(lines)


def _places(
    path: Path, first: Sequence[str], names: Sequence[str], usual: Sequence[str], hint: str
) -> tuple[list[int], bool]:
    """Where the wanted columns stand, and whether the first line is a row like the others."""
    there = [field.strip() for field in first]
    if all(name.isdecimal() for name in names):
        there, bare = [str(place) for place in range(len(first))], True
    elif bare := not set(names) <= set(there) and set(names) <= set(usual) and len(first) == len(usual):
        there = list(usual)
    if absent := [name for name in names if name not in there]:
        parted = "" if len(first) > 1 else f" (its fields are parted by {DELIMITERS[_ending(path)]!r})"
        raise ValueError(
            f"{path} has no column {absent[0]!r}: its first line is {' | '.join(first):.60}{parted}; name columns that stand "
            f"there, or 0, 1 and so on where that line names none{hint}"
        )
    return [there.index(name) for name in names], bare


def _rows(path: Path, file: Iterable[bytes]) -> Iterator[tuple[int, list[str]]]:
    """The fields of each line, with its number, without blank lines."""
    delimiter = DELIMITERS[_ending(path)]
    if delimiter == "\t":
        for number, line in _text(path, file):
            if line.strip(" \r\n"):
                yield number, line.rstrip("\r\n").split("\t")
        return
    reader = csv.reader((line for _, line in _text(path, file)), delimiter=delimiter, strict=True)
    while True:
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise ValueError(f"{path}: line {reader.line_num} is not CSV ({error})") from error
        if fields is None:
            return
        if len(fields) > 1 or "".join(fields).strip():
            yield reader.line_num, fields


def _text(path: Path, file: Iterable[bytes]) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(file, 1):
        try:
            yield number, (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: line {number} is not UTF-8 ({error.reason}): convert it first") from error


def _ending(path: Path) -> str:
    return (path.with_suffix("") if path.suffix.lower() in SUFFIXES else path).suffix.lower()
