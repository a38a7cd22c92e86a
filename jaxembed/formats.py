"""Files of vectors: word2vec text and binary, GloVe text, and safetensors with the keys inside.

The word2vec and GloVe formats are those of the C programs of Mikolov et al. (2013) and Pennington et al. (2014), as
gensim reads and writes them. Readers raise ValueError with the line (text) or the entry and byte (binary) at fault;
writers leave either the old file or the whole new one. Names ending in .gz are written compressed; readers look at the
content.
"""

import codecs
import gzip
import json
import mmap as memory_map
import os
import re
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal, cast

import numpy as np

from jaxembed.files import replacing

Format = Literal["safetensors", "word2vec-text", "word2vec-binary", "glove"]
HEADER = re.compile(rb"\s*(\d+)\s+([1-9]\d*)\s*\Z")
CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")


@contextmanager
def reading(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    """Opens `path` for reading bytes, decompressed if it is gzip; a damaged gzip stream is a ValueError."""
    with open(path, "rb") as raw:
        compressed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        if not compressed:
            yield raw
            return
        try:
            with gzip.open(raw) as unpacked:
                yield cast(IO[bytes], unpacked)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ValueError(f"{path}: the gzip file is cut short or damaged ({error}); fetch it again") from error


@contextmanager
def _writing(path: str | os.PathLike) -> Iterator[IO[bytes]]:
    with replacing(path) as part, open(part, "wb") as raw:
        if Path(path).suffix == ".gz":
            with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed:
                yield cast(IO[bytes], packed)
        else:
            yield raw


def detect(path: str | os.PathLike) -> Format:
    """The format of a vector file, found from its first bytes; ValueError when it is none that we know."""
    with reading(path) as file:
        head = file.read(8192)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000:
        return "safetensors"
    first, newline, rest = head.partition(b"\n")
    if newline and HEADER.match(first):
        return "word2vec-text" if _is_text(rest) else "word2vec-binary"
    if head and _is_text(head):
        return "glove"
    hint = "; it looks like a Python pickle: open it with what wrote it and save it as word2vec" * head.startswith(
        b"\x80"
    )
    raise ValueError(f"{path}: {'not a vector file that we know' if head else 'the file is empty'}{hint}")


def _is_text(sample: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)  # incremental: the sample may end within a character
    except UnicodeDecodeError:
        return False
    return not CONTROL.search(sample)


def read_text(
    path: str | os.PathLike, *, header: bool = True, limit: int | None = None, unicode_errors: str = "strict"
) -> tuple[list[str], np.ndarray]:
    """Reads word2vec text, or GloVe text with `header=False`: keys and a float32 matrix [n, d].

    `limit` stops after so many vectors; `unicode_errors` is given to bytes.decode. A key may hold spaces (those of
    glove.840B do) as long as what follows its first space is not a number.
    """
    keys: list[str] = []
    matrix = np.empty((0, 0), np.float32)
    announced, number = None, 0
    with reading(path) as file, warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # NumPy before 2.3 only warns of text that is no number
        if header:
            announced, dimension = _header(path, file.readline())
            matrix = np.empty((0, dimension), np.float32)
        for number, line in enumerate(file, 2 if header else 1):
            if len(keys) == limit:
                break
            if not (line := line.rstrip(b"\r\n ")):
                continue
            where = f"{path}, line {number}"
            if len(keys) == announced:
                raise ValueError(f"{where}: more vectors than the {announced} that line 1 announces")
            key, values = _parse(line, matrix.shape[1], where)
            if len(keys) == len(matrix):
                if not keys:
                    matrix = np.empty((0, len(values)), np.float32)
                # Grown in place: the allocator moves pages instead of copying, and no second matrix is needed.
                matrix.resize((max(1024, 2 * len(matrix)), len(values)), refcheck=False)
            matrix[len(keys)] = values
            keys.append(_decode(key, unicode_errors, where))
    if announced is not None and len(keys) < announced and len(keys) != limit:
        raise ValueError(
            f"{path}: line 1 announces {announced} vectors but the file ends after line {max(number, 1)} with "
            f"{len(keys)}: it is cut short; fetch or write it again"
        )
    if announced is None and not keys:
        raise ValueError(f"{path}: the file holds no vectors")
    matrix.resize((len(keys), matrix.shape[1]), refcheck=False)
    return keys, matrix


def _header(path: str | os.PathLike, line: bytes) -> tuple[int, int]:
    found = HEADER.match(line)
    if not found:
        raise ValueError(
            f"{path}, line 1: expected the number of vectors and their dimension, found {line[:60]!r}; "
            "a GloVe file has no such line: read it with no_header=True, or with load_vectors, which finds out"
        )
    return int(found[1]), int(found[2])


def _parse(line: bytes, dimension: int, where: str) -> tuple[bytes, np.ndarray]:
    """One line as its key and its values; `dimension` 0 takes as many values as there are."""
    key, _, rest = line.partition(b" ")
    values = _numbers(rest)
    if values is None and dimension:
        key, *last = line.rsplit(b" ", dimension)
        if not any(_numbers(part) is not None for part in key.split(b" ")[1:]):
            values = _numbers(b" ".join(last))
    if values is None:
        raise ValueError(f"{where}: expected a key and numbers between single spaces, found {line[:60]!r}")
    if len(values) != (dimension or len(values)):
        raise ValueError(f"{where}: {len(values)} values after the key {key[:40]!r}, expected {dimension}")
    return key, values


def _numbers(text: bytes) -> np.ndarray | None:
    try:
        values = np.fromstring(text, np.float32, sep=" ")  # type: ignore[call-overload]
    except (ValueError, DeprecationWarning):
        return None
    return values if len(values) else None


def _decode(key: bytes, errors: str, where: str) -> str:
    try:
        return key.decode("utf-8", errors)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{where}: the key {key[:40]!r} is not UTF-8; unicode_errors='replace' reads it all the same"
        ) from error


def read_binary(
    path: str | os.PathLike, *, limit: int | None = None, unicode_errors: str = "strict"
) -> tuple[list[str], np.ndarray]:
    """Reads word2vec binary, with or without the C program's newline after each vector: keys and float32 [n, d]."""
    with reading(path) as file:
        announced, dimension = _header(path, file.readline(200))
        at = file.tell()
        if isinstance(file, gzip.GzipFile):
            data = b"\0" * at + file.read()
        else:
            data = memory_map.mmap(file.fileno(), 0, access=memory_map.ACCESS_READ)
        count = announced if limit is None else min(announced, limit)
        # Never more than the file can hold, whatever its first line says.
        matrix = np.empty((min(count, (len(data) - at) // (4 * dimension + 1)), dimension), np.float32)
        keys: list[str] = []
        for entry in range(count):
            space = data.find(b" ", at)
            end = space + 1 + 4 * dimension
            if space < 0 or end > len(data):
                raise ValueError(
                    f"{path}: cut short in vector {entry + 1} of {announced} (byte {at} of {len(data)}); fetch or "
                    "write it again, or, if it is text, read it with binary=False"
                )
            where = f"{path}, vector {entry + 1} (byte {at})"
            keys.append(_decode(data[at:space].lstrip(b"\n"), unicode_errors, where))
            matrix[entry] = np.frombuffer(data[space + 1 : end], "<f4")
            at = end
    return keys, matrix


def _encoded(keys: Sequence[str]) -> list[bytes]:
    bad = next((key for key in keys if not key or " " in key or "\n" in key), None)
    if bad is not None:
        raise ValueError(
            f"the word2vec and GloVe formats cannot hold the key {bad!r} (empty, or with a space or a line break); "
            "rename it, or save the vectors as safetensors, which can hold any key without a line break"
        )
    return [key.encode() for key in keys]


def write_text(path: str | os.PathLike, keys: Sequence[str], vectors: np.ndarray, *, header: bool = True) -> None:
    """Writes word2vec text, or GloVe text with `header=False`, with the fewest digits that give each float32 back."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = _encoded(keys)
    count, dimension = vectors.shape
    rows = max(1, 1_000_000 // dimension)
    with _writing(path) as out:
        if header:
            out.write(b"%d %d\n" % (count, dimension))
        for start in range(0, count, rows):
            block = np.ascontiguousarray(vectors[start : start + rows], np.float32)
            digits = pc.cast(pa.array(block.ravel()), pa.string())
            offsets = pa.array(np.arange(0, block.size + 1, dimension, dtype=np.int32))
            values = pc.call_function("binary_join", [pa.ListArray.from_arrays(offsets, digits), pa.scalar(" ")])
            lines = zip(names[start : start + rows], values.cast(pa.binary()).to_pylist(), strict=True)
            out.writelines(b"%b %b\n" % line for line in lines)


def write_binary(path: str | os.PathLike, keys: Sequence[str], vectors: np.ndarray) -> None:
    """Writes word2vec binary: a line `n d`, then each key, a space and its d little-endian float32."""
    names = _encoded(keys)
    with _writing(path) as out:
        out.write(b"%d %d\n" % vectors.shape)
        for name, row in zip(names, vectors, strict=True):
            out.write(name + b" " + row.astype("<f4").tobytes())


def write_counts(path: str | os.PathLike, keys: Sequence[str], counts: np.ndarray) -> None:
    """Writes the C program's vocabulary file: a line `key count` for each key."""
    with _writing(path) as out:
        out.writelines(b"%b %d\n" % (name, count) for name, count in zip(_encoded(keys), counts, strict=True))


def read_counts(path: str | os.PathLike) -> dict[str, int]:
    """Reads the C program's vocabulary file into {key: count}."""
    counts = {}
    with reading(path) as file:
        for number, line in enumerate(file, 1):
            key, _, count = line.strip(b"\r\n").rpartition(b" ")
            if not key or not count.isdigit():
                raise ValueError(f"{path}, line {number}: expected a key and its count, found {line[:60]!r}")
            counts[_decode(key, "strict", f"{path}, line {number}")] = int(count)
    return counts


def write_safetensors(
    path: str | os.PathLike, keys: Sequence[str], vectors: np.ndarray, counts: np.ndarray | None = None
) -> None:
    """Writes one safetensors file: `vectors` float32 [n, d], `keys` (UTF-8 between newlines) and `counts` if known."""
    from safetensors.numpy import save_file

    bad = next((key for key in keys if "\n" in key), None)
    if bad is not None:
        raise ValueError(f"the key {bad!r} holds a line break, which separates the keys of the file; rename it")
    tensors = {
        "vectors": np.ascontiguousarray(vectors, np.float32),
        "keys": np.frombuffer("\n".join(keys).encode(), np.uint8),
    }
    if counts is not None:
        tensors["counts"] = np.ascontiguousarray(counts, np.int64)
    with replacing(path) as part:
        save_file(tensors, part, metadata={"format": "jaxembed.vectors 1"})  # several keys would come in random order


def read_safetensors(path: str | os.PathLike, *, mmap: bool = False) -> tuple[list[str], np.ndarray, np.ndarray | None]:
    """Reads what `write_safetensors` wrote: keys, vectors [n, d], counts [n] or None.

    With `mmap` the vectors stay on disk and are read, page by page, when they are touched.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            names = set(file.keys())
            if not {"vectors", "keys"} <= names:
                raise ValueError(
                    f"{path}: expected the tensors 'vectors' and 'keys', found {sorted(names)}: these are not vectors "
                    "saved by jaxembed"
                )
            blob = file.get_tensor("keys").tobytes()
            vectors = _mapped(path) if mmap else file.get_tensor("vectors")
            counts = file.get_tensor("counts") if "counts" in names else None
    except SafetensorError as error:
        raise ValueError(f"{path}: not a whole safetensors file ({error}); fetch or write it again") from error
    keys = blob.decode().split("\n") if len(vectors) else []
    if len(keys) != len(vectors):
        raise ValueError(f"{path}: {len(keys)} keys but {len(vectors)} vectors; write it again")
    return keys, vectors, counts


def _mapped(path: str | os.PathLike) -> np.ndarray:
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(size))["vectors"]
    start = 8 + size + entry["data_offsets"][0]
    return np.memmap(path, "<f4", mode="r", offset=start, shape=tuple(entry["shape"]))
