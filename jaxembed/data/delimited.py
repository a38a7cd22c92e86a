"""Tables in text files: CSV, and TSV with or without a line of names, plain or compressed."""

import codecs
import csv
import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from jaxembed.compression import SUFFIXES, reading

#: The endings of the names of tables, and the delimiters of their fields.
DELIMITERS = {".csv": ",", ".tsv": "\t", ".txt": "\t"}


class Fields(NamedTuple):
    """The named columns of a table, and the number of the line of each row."""

    columns: list[list[str]]
    lines: list[int]


def is_delimited(path: str | os.PathLike) -> bool:
    """Returns whether this is the name of an existing CSV or TSV file."""
    return _ending(Path(path)) in DELIMITERS and Path(path).is_file()


def read_delimited(path: str | os.PathLike, names: Sequence[str], usual: Sequence[str]) -> Fields:
    """Returns the columns called `names`, in that order; blank lines are left out.

    The first line names the columns if it contains all of `names`. The fields of a file without such a line are in the
    order of `usual`, and `names` must be these. Fields of a CSV may be quoted; fields of a TSV (or .txt) are separated
    by tabs only.

    Raises ValueError, naming the line, for a missing column, a line with another number of fields than the first, an
    empty field and text that is not UTF-8; also for a file without rows.
    """
    path = Path(path)
    with reading(path) as file:
        rows = _rows(path, file)
        top, first = next(rows, (0, []))
        headed = set(names) <= set(first)
        if not headed and (list(names) != list(usual) or len(first) != len(usual)):
            tab = "" if len(first) > 1 else f", parted by {DELIMITERS[_ending(path)]!r}"
            raise ValueError(
                f"{path} has no column {next(name for name in names if name not in first)!r}: its first line, "
                f"{' | '.join(first):.60}, should name {', '.join(names)}{tab}"
            )
        places = [first.index(name) for name in names] if headed else list(range(len(names)))
        columns, lines = [[] for _ in names], []
        for number, fields in rows if headed else chain([(top, first)], rows):
            if len(fields) != len(first):
                raise ValueError(f"{path}: line {number} has {len(fields)} fields, and the first line {len(first)}")
            for column, place, name in zip(columns, places, names, strict=True):
                if not (field := fields[place].strip()):
                    raise ValueError(f"{path}: line {number} has no {name}")
                column.append(field)
            lines.append(number)
    if not lines:
        raise ValueError(f"{path} has no rows")
    return Fields(columns, lines)


def _rows(path: Path, file: Iterable[bytes]) -> Iterator[tuple[int, list[str]]]:
    delimiter = DELIMITERS[_ending(path)]
    if delimiter == "\t":
        for number, line in _text(path, file):
            if line.strip():
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
        if fields:
            yield reader.line_num, fields


def _text(path: Path, file: Iterable[bytes]) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(file, 1):
        try:
            yield number, (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"{path}: line {number} is not UTF-8 ({error.reason}): convert it first") from error


def _ending(path: Path) -> str:
    return (path.with_suffix("") if path.suffix in SUFFIXES else path).suffix
