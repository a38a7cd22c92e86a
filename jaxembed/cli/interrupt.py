"""Ctrl-C at any moment: one line and the status 130, also while modules are imported and while XLA compiles.

Python hears of Ctrl-C only between two of its own instructions. An exception that is raised then is right where files are
open and progress bars are drawn, but it must not go through the compiler's calls back into Python, nor through half-imported
modules, and where the process is in C for long it would come late. There, and at the very end, where threads of XLA are
still at work, the process ends at once.
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from types import FrameType, TracebackType

STATUS = 130
_PATIENCE = 1.0  # seconds until a process that does not hear of Ctrl-C is ended
_NOT_THROUGH = ("importlib", "frozen_importlib", "jax", "jaxlib")  # packages through whose code no exception is sent
_PLAIN = "interrupted; what was finished before stands as it was"


def leave(name: str, message: str = "", end: bool = True) -> int:
    """Ends the process at once with one line; nothing is waited for. Without `end` only prints it: the status."""
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
    """Within it Ctrl-C raises KeyboardInterrupt, or ends the process as `leave` does where no exception may be raised.

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
        # The system writes the number of each signal here, whatever Python is doing.
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
    """Makes the rest of this process interruptible: KeyboardInterrupt that nothing catches ends it as `leave` does."""
    before = sys.excepthook

    def end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, KeyboardInterrupt):
            leave(name, str(error))
        before(kind, error, trace)

    sys.excepthook = end
    _held.enter_context(interruptible(name))


_held = ExitStack()  # what `guard` entered, which nothing leaves before the process ends
