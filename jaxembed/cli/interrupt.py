"""Ctrl-C at any moment: one line and the status 130, also while modules are imported and while XLA compiles.

Python handles Ctrl-C only between two of its own instructions. Raising an exception then is right while files are open
and progress bars are drawn. But an exception must not pass through the compiler's calls back into Python, nor through
half-imported modules, and while the process is in C for a long time it would come late. In these cases, and at the very
end, when threads of XLA are still running, the process ends at once.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType, TracebackType

STATUS = 130
_PATIENCE = 1.0  # seconds after which a process that does not react to Ctrl-C is ended
_NOT_THROUGH = ("importlib", "frozen_importlib", "jax", "jaxlib")  # packages through whose code no exception is raised
_PLAIN = "interrupted; what was finished before stands as it was"


def leave(name: str, message: str = "", end: bool = True) -> int:
    """Ends the process at once with one line, and waits for nothing. Without `end` it only prints, and returns the status."""
    if end and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    cursor = "\x1b[?25h\n" if sys.stderr.isatty() else ""  # a progress bar may have hidden it
    with suppress(Exception):
        sys.stdout.flush()
    os.write(2, f"{cursor}{name}: {message or _PLAIN}\n".encode(errors="replace"))
    if end:
        os._exit(STATUS)
    return STATUS


@contextmanager
def interruptible(name: str) -> Iterator[None]:
    """Makes Ctrl-C raise KeyboardInterrupt, or end the process as `leave` does where no exception may be raised.

    A part of the program that sets a handler of its own, as training with checkpoints does, is not disturbed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        heard.set()
        while frame is not None:
            package = frame.f_globals.get("__name__", "").partition(".")[0]
            if package.lstrip("_") in _NOT_THROUGH:
                leave(name)
            frame = frame.f_back
        raise KeyboardInterrupt

    def watch() -> None:
        # The system writes the number of each signal to this pipe, whatever Python is doing.
        while signals := os.read(reading, 1):
            if signals[0] == signal.SIGINT and signal.getsignal(signal.SIGINT) is handle:
                if not heard.wait(_PATIENCE):
                    leave(name)
                heard.clear()

    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.signal(signal.SIGINT, handle)
    before_fd = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    watcher = threading.Thread(target=watch, name="jaxembed-interrupt", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before_fd)
        signal.signal(signal.SIGINT, before)
        os.close(writing)
        watcher.join()
        os.close(reading)


def guard(name: str) -> None:
    """Makes the rest of this process interruptible: a KeyboardInterrupt that nothing catches ends it as `leave` does."""
    before = sys.excepthook

    def end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, KeyboardInterrupt):
            leave(name, str(error))
        before(kind, error, trace)

    sys.excepthook = end
    _held.enter_context(interruptible(name))


_held = ExitStack()  # what `guard` entered; nothing leaves it before the process ends
