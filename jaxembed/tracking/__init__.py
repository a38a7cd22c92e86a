"""What a run logs while it trains: to TensorBoard, to a file of JSON lines, to the console, or to all of them.

Names of values are the field's, grouped by "/": `train/loss`, `train/learning_rate`, `train/words_per_second`,
`similarity/wordsim353`, `tables/input` (a histogram).
"""

import warnings
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from jaxembed.tracking.console import Console
from jaxembed.tracking.histogram import Histogram, histogram
from jaxembed.tracking.json_lines import JsonLines, json_number, read_metrics
from jaxembed.tracking.tensorboard import TensorBoard

__all__ = [
    "Console",
    "Histogram",
    "JsonLines",
    "TensorBoard",
    "Tracker",
    "Trackers",
    "Value",
    "histogram",
    "json_number",
    "read_metrics",
]

#: A scalar (also a 0-d array of NumPy or JAX), a `Histogram`, a text, or an image [h, w] or [h, w, channels].
Value = float | np.ndarray | Histogram | str | Any


class Tracker(Protocol):
    """Where a run's values go: `start` comes first and once, `finish` last. It may leave out what it cannot show."""

    def start(self, settings: Mapping[str, Any]) -> None:
        """Opens the tracker with the run's settings (JSON values, nested mappings allowed)."""
        ...

    def log(self, values: Mapping[str, Value], step: int) -> None:
        """Records the values of one step."""
        ...

    def artifact(self, name: str, value: Any) -> None:
        """Records something larger; a `KeyedVectors` goes to TensorBoard's projector."""
        ...

    def finish(self, summary: Mapping[str, float] | None) -> None:
        """Records the final figures and closes the tracker; None says that the run failed."""
        ...


class Trackers:
    """Several trackers as one; one that fails to write (OSError: a full disk) is warned of once, then left out."""

    def __init__(self, *trackers: Tracker) -> None:
        self._trackers = list(trackers)

    def start(self, settings: Mapping[str, Any]) -> None:
        """Opens every tracker."""
        self._each("start", settings)

    def log(self, values: Mapping[str, Value], step: int) -> None:
        """Passes the values to every tracker."""
        self._each("log", values, step)

    def artifact(self, name: str, value: Any) -> None:
        """Passes the artifact to every tracker."""
        self._each("artifact", name, value)

    def finish(self, summary: Mapping[str, float] | None) -> None:
        """Closes every tracker."""
        self._each("finish", summary)

    def _each(self, method: str, *arguments: Any) -> None:
        for tracker in list(self._trackers):
            try:
                getattr(tracker, method)(*arguments)
            except OSError as error:
                self._trackers.remove(tracker)
                warnings.warn(f"{type(tracker).__name__} stopped: {error}. The run goes on without it.", stacklevel=3)
