"""The cache of derived data between runs. Everything in it can be made again, so it may be deleted at any time."""

import atexit
import errno
import hashlib
import os
import shutil
import sys
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np

T = TypeVar("T")

_BLOCK = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
#: These errors do not mean that a file is damaged, so it is left in place.
_UNREADABLE = (errno.EACCES, errno.EPERM, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


def cache_folder() -> Path:
    """Returns the folder that JAXEMBED_CACHE names, otherwise `jaxembed` in XDG_CACHE_HOME, otherwise in ~/.cache.

    For a user without a home, such as a number without a name in a container, it is in the folder of temporary files.
    """
    if chosen := os.environ.get("JAXEMBED_CACHE"):
        return Path(chosen).expanduser()
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "jaxembed"
    except RuntimeError:  # neither HOME nor an entry for this user
        return Path(tempfile.gettempdir()) / f"jaxembed-{os.getuid()}"


def can_be_written(folder: Path) -> bool:
    """Returns whether a folder can be written, or made; nothing is written."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def writable_folder(name: str) -> Path:
    """Returns the folder `name` of the cache, and makes it if it is missing.

    If the cache cannot be written, this is a temporary folder, which is removed when the process ends; a warning says
    so once. Raises OSError if the disk is full.
    """
    folder = cache_folder()
    try:
        (folder / name).mkdir(parents=True, exist_ok=True)
        if os.access(folder / name, os.W_OK | os.X_OK):
            return folder / name
        cause = "Permission denied"
    except OSError as error:
        if error.errno in _FULL:
            raise
        cause = error.strerror or str(error)
    spare = _spare(folder, cause) / name
    spare.mkdir(parents=True, exist_ok=True)
    return spare


@cache
def _spare(folder: Path, cause: str) -> Path:
    """Returns a temporary folder in place of a cache folder that cannot be written, with a warning."""
    warnings.warn(
        f"the cache folder {folder} cannot be written ({cause}): what is kept there goes to a temporary folder, and is made "
        "again by the next process; JAXEMBED_CACHE names another folder",
        stacklevel=4,
    )
    spare = tempfile.mkdtemp(prefix="jaxembed-")
    atexit.register(shutil.rmtree, spare, ignore_errors=True)
    return Path(spare)


def hasher(size: int = 16) -> "hashlib.blake2b":
    """The hash behind every fingerprint and every name in the cache: BLAKE2b of `size` bytes."""
    return hashlib.blake2b(digest_size=size)


def content_digest(*parts: Any, size: int = 16) -> str:
    """The hash of strings, bytes and contiguous arrays, one after the other: `2 * size` hexadecimal digits."""
    content = hasher(size)
    for part in parts:
        content.update(part.encode() if isinstance(part, str) else part)
    return content.hexdigest()


def file_digest(path: str | os.PathLike) -> str:
    """The hash of a file's bytes, 32 hexadecimal digits (about 1 GB/s; the file is streamed)."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, hasher).hexdigest()


def cached(place: str, read: Callable[[Path], T], build: Callable[[Path], object], what: str) -> T:
    """What `read(entry)` finds in `entry`, the folder `place` of the cache; `build(folder)` makes it where it is missing or
    damaged.

    It is built beside its place and renamed, so that a folder of that name is always whole; when several processes build
    the same, the first to finish wins. `what` names it in messages ("corpus"). A cache that cannot be written is still
    read, and what it lacks is built as `writable_folder` says.

    `read` raises OSError, EOFError, ValueError, KeyError or TypeError for what is damaged; what may not be read is not
    damaged, and stays. Raises OSError where the disk is full, when what was begun is cleared away.
    """
    entry = cache_folder() / place
    if entry.exists():
        try:
            return read(entry)
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            if isinstance(error, OSError) and error.errno in _UNREADABLE:
                raise
            warnings.warn(f"the cached {what} {entry} is damaged ({error}): building it again", stacklevel=3)
            shutil.rmtree(entry, ignore_errors=True)
    with disk_errors(entry.parent, what, "JAXEMBED_CACHE"):
        entry = writable_folder(os.path.dirname(place)) / entry.name
        if not entry.exists():
            _build(entry, build)
    return read(entry)


def _build(entry: Path, build: Callable[[Path], object]) -> None:
    part = entry.parent / f".{entry.name}.{uuid.uuid4().hex}.part"
    try:
        part.mkdir()
        build(part)
        part.rename(entry)
    except OSError:
        if not entry.exists():  # otherwise another process has finished the same meanwhile
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def disk_errors(folder: Path, what: str, variable: str) -> Iterator[None]:
    """Turns the errors of a full disk into one OSError that names the folder without room for `what`, and the cause.

    `variable` is the environment variable that names another folder.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise OSError(
            f"there is no room for the {what} in {folder} ({error.strerror}): make room there, or name a folder on another "
            f"disk with {variable}"
        ) from error


@contextmanager
def temporary_folder(what: str) -> Iterator[Path]:
    """A temporary folder for files needed to make `what`. Raises OSError, as `disk_errors` does, on a full disk."""
    with disk_errors(Path(tempfile.gettempdir()), what, "TMPDIR"), tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def mapped_file(path: str | os.PathLike, dtype: Any, shape: tuple[int, ...]) -> np.memmap:
    """Makes a new .npy file of zeros, mapped for writing. Raises OSError if the disk has no room for all of it."""
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    with open(path, "r+b") as file:
        reserve(file)
    return array


def reserve(file: IO[bytes]) -> None:
    """Allocates disk space for the whole current length of a file. Raises OSError if there is not enough.

    A file that was only extended has no space of its own yet: writing into its map on a full disk ends the process
    (SIGBUS).
    """
    size = os.fstat(file.fileno()).st_size
    if sys.platform == "linux":
        try:
            return os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # the errors of file systems that cannot do it
                raise
    for start in range(0, size, _BLOCK):  # writing takes space, and keeps what was there before
        file.seek(start)
        block = file.read(_BLOCK)
        file.seek(start)
        file.write(block)
    file.flush()
