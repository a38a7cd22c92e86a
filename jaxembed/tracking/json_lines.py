"""Metrics as JSON lines: the record that every table and plot is made from."""

import json
import math
import os
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from jaxembed.tracking.appending import append
from jaxembed.tracking.histogram import Histogram

#: JSON has no such numbers: they are written as these strings (which `float` reads) and read back as numbers.
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def json_number(value: Any) -> bool | int | float | str:
    """Returns a number of Python, NumPy or JAX (of any shape with one value) as JSON has it; NaN as "NaN" and so on."""
    number = np.asarray(value).item()
    if isinstance(number, float) and not math.isfinite(number):
        return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"
    return number


class JsonLines:
    """Appends one JSON object per call to `path`: {"step": 100, "time": seconds since 1970, "train/loss": 0.31, ...}.

    Numbers that are not finite are written as the strings "NaN", "Infinity" and "-Infinity"; a histogram as its
    number, minimum, maximum, mean and std; images are left out. Each line is handed to the system at once. The last
    line of a run that was killed may be torn: it is cut off before the first new one is written.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = Path(path)
        self._file: BinaryIO | None = None
        self._step = 0

    def start(self, settings: Mapping[str, Any]) -> None:
        """Opens the file, keeping its whole lines; the settings are not written here."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "ab+") as file:
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
        self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115 (closed by finish)

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """Writes the values of one step as one line; raises OSError when the disk does not take it."""
        if self._file is None:
            raise RuntimeError("JsonLines.log was called before start")
        line: dict[str, Any] = {"step": int(step), "time": round(time.time(), 3)}
        for name, value in values.items():
            if isinstance(value, Histogram):
                line[name] = {key: json_number(number) for key, number in value.summary().items()}
            elif isinstance(value, str):
                line[name] = value
            elif np.size(value) == 1:
                line[name] = json_number(value)
        append(self._file, (json.dumps(line, allow_nan=False) + "\n").encode())
        self._step = int(step)

    def artifact(self, name: str, value: Any) -> None:
        """Does nothing: vectors are saved by the run folder."""

    def finish(self, summary: Mapping[str, Any] | None) -> None:
        """Writes the summary as a last line at the last step, and closes the file."""
        if summary:
            self.log(summary, self._step)
        if self._file is not None:
            self._file.close()
            self._file = None


def read_metrics(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Returns the lines that `JsonLines` wrote, in order; a torn last line (a killed run) is left out.

    Raises FileNotFoundError, or ValueError naming the line when another than the last is not a JSON object.
    """
    lines = Path(path).read_bytes().split(b"\n")
    whole, torn = lines[:-1], lines[-1]
    if torn:
        warnings.warn(f"{path}: the last line is torn (its run was killed?) and is left out", stacklevel=2)
    metrics = []
    for number, text in enumerate(whole, 1):
        try:
            line = json.loads(text)
            metrics.append({name: _number(value) for name, value in line.items()})
        except (ValueError, AttributeError) as error:
            raise ValueError(f"{path}, line {number}: not a JSON object ({error}): {text[:60]!r}") from None
    return metrics


def _number(value: Any) -> Any:
    return _NOT_FINITE.get(value, value) if isinstance(value, str) else value
