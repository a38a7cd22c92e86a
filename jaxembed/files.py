"""Files that are either whole or not there: written beside their place, then renamed."""

import csv
import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on a clean exit it takes `path`'s place, otherwise it is removed.

    A reader sees the old file or the new one, never half of one, and a killed writer leaves the old one as it was.
    The parent folder is made when it is missing.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent)
    os.close(handle)
    part = Path(name)
    try:
        yield part
        with open(part, "rb") as written:
            os.fsync(written.fileno())
        umask = os.umask(0)
        os.umask(umask)
        part.chmod(0o666 & ~umask)  # temporary files are private; the finished one is as public as any other
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes `text` to `path` as UTF-8, whole or not at all."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def write_csv(path: str | os.PathLike, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Writes a table with a line of names to `path`, whole or not at all."""
    with replacing(path) as part, open(part, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Writes `content` to `path`, whole or not at all."""
    with replacing(path) as part:
        part.write_bytes(content)


class Lock:
    """A lock on a file, held until it is closed, forgotten, or the process ends, however it ends."""

    def __init__(self, handle: int) -> None:
        self._release = weakref.finalize(self, os.close, handle)

    def close(self) -> None:
        """Lets go; again does nothing."""
        self._release()

    def __enter__(self) -> "Lock":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def locked(path: str | os.PathLike, message: str) -> Lock:
    """Makes the file `path` if it is not there, and holds a lock on it.

    Raises BlockingIOError with `message` when another process holds it. Where the system has no such locks, none is held.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    lock = Lock(handle)
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:  # Windows
        pass
    except BlockingIOError:
        lock.close()
        raise BlockingIOError(message) from None
    except OSError:  # a file system without locks, as some clusters have
        pass
    return lock
