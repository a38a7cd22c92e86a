"""Where derived data is kept between runs. Everything in it can be made again: it may be deleted at any time."""

import hashlib
import os
from pathlib import Path


def cache_folder() -> Path:
    """The folder that JAXEMBED_CACHE names, otherwise `jaxembed` in XDG_CACHE_HOME, otherwise in ~/.cache."""
    if chosen := os.environ.get("JAXEMBED_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "jaxembed"


def file_digest(path: str | os.PathLike) -> str:
    """BLAKE2b of a file's bytes, 32 hexadecimal digits (about 1 GB/s; the file is streamed)."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
