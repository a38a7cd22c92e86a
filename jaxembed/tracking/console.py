"""A progress bar on terminals, and a short line now and then in log files."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

if TYPE_CHECKING:
    from rich.progress import Progress

_PATIENCE = 3.0  # seconds that pass without a progress bar

#: What is shown, found by the last part of a tag, and how.
_SHOWN = {
    "loss": "loss {:.4f}",
    "learning_rate": "lr {:.2g}",
    "words_per_second": "{} words/s",
}


class Console:
    """Shows how far a run is, its loss, learning rate, words/s and the time left; one instance may serve many runs.

    On a terminal it is a progress bar; elsewhere one line about every `seconds`, and one at the end.
    """

    def __init__(
        self, total: int, description: str = "train", *, file: TextIO | None = None, seconds: float = 10.0
    ) -> None:
        """Sets the number of steps of the run, and what to call it, such as "skipgram, seed 1 (3 of 15)"."""
        self.total = total
        self.description = description
        self._file = file
        self._seconds = seconds
        self._latest: dict[str, str] = {}
        self._bar: Progress | None = None
        self._begun = self._printed = 0.0
        self._step = 0

    def start(self, settings: Mapping[str, Any]) -> None:
        """Opens the bar, or nothing where the output is not a terminal."""
        import rich.console
        import rich.progress as progress

        console = rich.console.Console(file=self._file or sys.stderr)
        self._latest, self._step = {}, 0
        self._begun = self._printed = time.monotonic()
        if not console.is_terminal:
            return
        self._bar = progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=24),
            progress.TaskProgressColumn(),
            progress.TextColumn("{task.fields[values]}"),
            progress.TimeRemainingColumn(elapsed_when_finished=True),
            console=console,
        )
        self._bar.add_task(self.description, total=self.total, values="")
        self._bar.start()

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """Moves the bar to `step` of `total` and shows the values it knows."""
        for name, value in values.items():
            kind = name.rsplit("/", 1)[-1]
            if kind in _SHOWN and np.size(value) == 1:
                number = float(np.asarray(value).item())
                shown = _short(number) if kind == "words_per_second" else number
                self._latest[kind] = _SHOWN[kind].format(shown)
        self._step = int(step)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self._step, values=self._line())
        elif time.monotonic() - self._printed >= self._seconds:
            self._print()

    def artifact(self, name: str, value: Any) -> None:
        """Does nothing: vectors cannot be shown in a line."""

    def finish(self, summary: Mapping[str, Any] | None) -> None:
        """Closes the bar."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        else:
            self._print()

    def _line(self) -> str:
        return "  ".join(self._latest[kind] for kind in _SHOWN if kind in self._latest)

    def _print(self) -> None:
        self._printed = time.monotonic()
        elapsed = self._printed - self._begun
        left = f", {elapsed * (self.total / self._step - 1):.0f} s left" if 0 < self._step < self.total else ""
        share = self._step / self.total if self.total else 1.0
        line = f"{self.description}: {share:.0%}  {self._line()}  ({elapsed:.0f} s{left})"
        print(line, file=self._file or sys.stderr, flush=True)


def _short(number: float) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.2f} {unit}"
    return f"{number:.0f}"


@contextmanager
def progress_bar(total: int, show: bool | None = None) -> Iterator[Callable[[int], None]]:
    """A progress bar, once there is something to wait for; gives what moves it on."""
    from rich.console import Console as Terminal
    from rich.progress import Progress

    console, begun = Terminal(stderr=True), time.monotonic()
    bar = Progress(console=console, transient=True)
    task = bar.add_task("encoding", total=total)

    def advance(n: int) -> None:
        bar.advance(task, n)
        slow = console.is_terminal and time.monotonic() - begun > _PATIENCE
        if show or (show is None and slow):
            bar.start()

    try:
        yield advance
    finally:
        if bar.live.is_started:
            bar.stop()
