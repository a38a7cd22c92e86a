"""Where derived data is kept between runs. Everything in it can be made again: it may be deleted at any time."""

import hashlib
import os
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


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


def cached(entry: Path, read: Callable[[Path], T], build: Callable[[Path], object], what: str) -> T:
    """What `read(entry)` finds in the folder `entry`; `build(folder)` makes it first where it is missing or damaged.

    It is built beside its place and renamed, so that a folder of that name is always whole; when several processes build
    the same, the first to finish wins. `what` names it in messages ("corpus").

    `read` raises OSError, EOFError, ValueError, KeyError or TypeError for what is damaged. Raises OSError where the cache
    cannot be written.
    """
    if entry.exists():
        try:
            return read(entry)
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            warnings.warn(f"the cached {what} {entry} is damaged ({error}): building it again", stacklevel=3)
            shutil.rmtree(entry)
    part = entry.parent / f".{entry.name}.{uuid.uuid4().hex}.part"
    try:
        part.mkdir(parents=True)
    except OSError as error:
        raise OSError(
            f"cannot write to the cache folder {entry.parent} ({error.strerror}): name another with JAXEMBED_CACHE, "
            f"or pass cache=False to hold the {what} in memory"
        ) from error
    try:
        build(part)
        part.rename(entry)
    except OSError:
        if not entry.exists():  # otherwise another process has finished the same meanwhile
            raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return read(entry)
