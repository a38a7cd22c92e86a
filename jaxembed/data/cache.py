"""Where derived data is kept between runs. Everything in it can be made again: it may be deleted at any time."""

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
#: A file that cannot be read is not a damaged one: it is left where it is.
_UNREADABLE = (errno.EACCES, errno.EPERM, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE)


def cache_folder() -> Path:
    """The folder that JAXEMBED_CACHE names, otherwise `jaxembed` in XDG_CACHE_HOME, otherwise in ~/.cache.

    A user who has no home, as a number without a name in a container, has it in the folder of temporary files.
    """
    if chosen := os.environ.get("JAXEMBED_CACHE"):
        return Path(chosen).expanduser()
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "jaxembed"
    except RuntimeError:  # neither HOME nor an entry for this user
        return Path(tempfile.gettempdir()) / f"jaxembed-{os.getuid()}"


def can_be_written(folder: Path) -> bool:
    """Whether a folder can be written, or made; nothing is."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def writable_folder(name: str) -> Path:
    """The folder `name` of the cache, made if it is missing.

    Where the cache cannot be written it is one of a temporary folder, which is removed when the process ends; a warning
    says so once. Raises OSError where the disk is full.
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
    """What stands in for a cache folder that cannot be written."""
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
    """Turns what a full disk raises into one OSError that says where there was no room for `what`, and why.

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
    """A folder for files on the way to `what`, removed afterwards. Raises OSError, as `disk_errors` does, on a full disk."""
    with disk_errors(Path(tempfile.gettempdir()), what, "TMPDIR"), tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def mapped_file(path: str | os.PathLike, dtype: Any, shape: tuple[int, ...]) -> np.memmap:
    """A new .npy file of zeros, mapped to be written. Raises OSError where the disk has no room for all of it."""
    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    with open(path, "r+b") as file:
        reserve(file)
    return array


def reserve(file: IO[bytes]) -> None:
    """Takes room on the disk for all of a file, as long as it is now. Raises OSError where there is none.

    A file that is made longer has no room of its own yet: to write into its map on a full disk ends the process (SIGBUS).
    """
    size = os.fstat(file.fileno()).st_size
    if sys.platform == "linux":
        try:
            return os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # what file systems say that cannot do it
                raise
    for start in range(0, size, _BLOCK):  # what is written takes room, even if it was there before
        file.seek(start)
        block = file.read(_BLOCK)
        file.seek(start)
        file.write(block)
    file.flush()
