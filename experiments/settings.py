"""What the benches have in common: settings from a preset and the command line, and rows that are written at once."""

import argparse
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from jaxembed.files import write_text
from jaxembed.study.environment import environment
from jaxembed.terminal import write_any_letter
from jaxembed.tracking import TensorBoard

C = TypeVar("C")
Row = dict[str, Any]


def parse(presets: Mapping[str, C], arguments: Sequence[str] | None, about: str | None) -> C:
    """Settings from the command line: those of the preset (the last by default), and what is given besides."""
    import tyro

    write_any_letter()
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--preset", choices=list(presets), default=list(presets)[-1])
    default = presets[first.parse_known_args(arguments)[0].preset]
    return tyro.cli(type(default), args=arguments, default=default, description=about)


def measure(
    folder: Path,
    parts: Mapping[str, Callable[[], Iterable[Row]]],
    table: Callable[[list[Row]], str],
    about: Row | None = None,
    stays: Callable[[Row, str], bool] = lambda row, name: row["part"] != name,
    show: bool = True,
) -> list[Row]:
    """A bench: every row of the parts, with its environment, as a line of measurements.jsonl as soon as it is made; table.md.

    about: more to record in each row. stays: whether an earlier row is kept when the part of a name begins.
    show: print the table in the end. Returns all rows.
    """
    known = folder / "measurements.jsonl"
    rows: list[Row] = [json.loads(line) for line in known.read_text().splitlines()] if known.exists() else []
    found = environment() | (about or {})
    facts = {key: found[key] for key in ("command", "commit", "dirty", "versions", "device", "machine", "started")}
    for name, part in parts.items():
        rows = [row for row in rows if stays(row, name)]
        begun = time.perf_counter()
        for row in part():
            rows.append({"part": name} | row | facts | {"wall_seconds": time.perf_counter() - begun} | (about or {}))
            begun = time.perf_counter()
            write_text(known, "".join(json.dumps(row) + "\n" for row in rows))
            print(", ".join(f"{key} {_short(value)}" for key, value in row.items() if _short(value)), flush=True)
        write_text(folder / "table.md", table(rows))
    if show:
        print(f"\n{(folder / 'table.md').read_text()}")
    return rows


def _short(value: Any) -> str:
    """A figure or a name as it is printed; a list or a mapping is not."""
    return f"{value:.4g}" if isinstance(value, float) else "" if isinstance(value, list | dict) else str(value)


def about_of(row: Row) -> Row:
    """The environment of a row; rows of older versions have it in a mapping of its own."""
    return row.get("environment", row)


def log(folder: Path, settings: Row, values: Mapping[int, Row]) -> None:
    """A TensorBoard run in `folder`, in place of an earlier one; `values` are by step."""
    for earlier in folder.glob("events.out.tfevents.*"):
        earlier.unlink()
    tracker = TensorBoard(folder)
    tracker.start(settings)
    for step, row in values.items():
        tracker.log(row, step)
    tracker.finish({})
