"""Appending to a file that a reader may follow while it grows."""

import errno
import os
from typing import BinaryIO


def append(file: BinaryIO, data: bytes) -> None:
    """Hands `data` to the system at once; `file` is unbuffered. Raises OSError when not all of it was taken."""
    if file.write(data) != len(data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), getattr(file, "name", None))
