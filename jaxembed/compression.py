"""Compressed files: read as what their content says, written as what their name says."""

import bz2
import gzip
import io
import lzma
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Literal, cast

from jaxembed.files import replacing

Kind = Literal["gzip", "bzip2", "xz", "zstd"]

#: Endings of names, and how such a file is packed.
SUFFIXES: dict[str, Kind] = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}


def compression(path: str | os.PathLike) -> Kind | None:
    """How a file is packed, found from its first bytes; None where it is not. A zip archive is a ValueError."""
    with open(path, "rb") as file:
        return _kind(path, file.read(10))


def _kind(path: str | os.PathLike, head: bytes) -> Kind | None:
    if head.startswith(b"PK\x03\x04"):
        raise ValueError(f"{path}: a zip archive, which may hold several files; unpack it and name one of them")
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    if head.startswith(b"BZh") and head[4:] in (
        b"1AY&SY",
        b"\x17rE8P\x90",
    ):  # with data, without: "BZh" may begin a word
        return "bzip2"
    if head.startswith(b"\xfd7zXZ\0"):
        return "xz"
    return "zstd" if head.startswith(b"\x28\xb5\x2f\xfd") else None


@contextmanager
def reading(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    """Opens `path` for reading bytes, unpacked if it is compressed; damaged content is a ValueError."""
    with open(path, "rb") as raw:
        kind = _kind(path, raw.read(10))
        raw.seek(0)
        if kind is None:
            yield raw
            return
        try:
            with _unpacked(kind, raw) as file:
                yield file
        except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:  # the disk's fault, not the content's
                raise
            raise ValueError(f"{path}: the {kind} file is cut short or damaged ({error}); fetch it again") from error


def _unpacked(kind: Kind, raw: IO[bytes]) -> IO[bytes]:
    if kind == "zstd":
        import pyarrow as pa

        stream: Any = pa.CompressedInputStream(raw, "zstd")
        return cast(IO[bytes], io.BufferedReader(stream, 1 << 20))
    opener: Any = {"gzip": gzip.open, "bzip2": bz2.open, "xz": lzma.open}[kind]
    return opener(raw)


@contextmanager
def writing(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    """Opens `path` for writing bytes, whole or not at all; packed if its name ends in one of `SUFFIXES`."""
    kind = SUFFIXES.get(Path(path).suffix)
    with replacing(path) as part, open(part, "wb") as raw:
        if kind is None:
            yield raw
            return
        with _packed(kind, raw) as file:
            yield file


def _packed(kind: Kind, raw: IO[bytes]) -> IO[bytes]:
    if kind == "zstd":
        import pyarrow as pa

        return cast(IO[bytes], pa.CompressedOutputStream(raw, "zstd"))
    if kind == "gzip":  # without the name and the time: equal content makes equal files
        return cast(IO[bytes], gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0))
    opener: Any = {"bzip2": bz2.open, "xz": lzma.open}[kind]
    return opener(raw, "wb")
