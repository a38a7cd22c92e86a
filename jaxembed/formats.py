"""Files of vectors: word2vec text and binary, and GloVe text; `jaxembed.tensors` has our own format.

The word2vec and GloVe formats are those of the C programs of Mikolov et al. (2013) and Pennington et al. (2014), as
gensim reads and writes them. Readers look at the content to learn whether a file is compressed; they raise ValueError
with the line (text) or the entry and byte (binary) at fault, and for values that are not finite. Of a key that comes
twice they keep the first vector, with a warning. Writers leave either the old file or the whole new one.
"""

import codecs
import os
import re
import warnings
from collections.abc import Container, Sequence
from typing import IO, Literal

import numpy as np

from jaxembed.compression import compression, reading, writing

Format = Literal["safetensors", "word2vec-text", "word2vec-binary", "glove", "facebook"]
FACEBOOK = (793712314).to_bytes(4, "little")  # how models of Facebook's fastText begin (`jaxembed.facebook`)
HEADER = re.compile(rb"\s*(\d+)\s+([1-9]\d*)\s*\Z")
CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f]")
BOM = codecs.BOM_UTF8

_SAMPLE = 8192  # bytes at the beginning of a file that are looked at
_BLOCK = 1 << 22  # bytes that are read from a binary file at a time
_LONGEST_KEY = 1 << 16


def detect(path: str | os.PathLike) -> Format:
    """The format of a vector file, found by reading its first row; ValueError when it is none that we know."""
    packed = compression(path)
    with reading(path) as file:
        head = file.read(_SAMPLE)
        if head.startswith(FACEBOOK):
            return "facebook"
        if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 100_000_000:
            if packed:
                raise ValueError(f"{path}: safetensors inside {packed}; unpack the file first")
            return "safetensors"
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise ValueError(f"{path}: text in UTF-16; convert it to UTF-8 first")
        first, newline, rest = head.removeprefix(BOM).partition(b"\n")
        if newline and (header := HEADER.match(first)):
            dimension = int(header[2])
            if b"\n" not in rest.lstrip():
                rest += file.readline(min(64 * dimension, 1 << 24))
            return "word2vec-text" if _is_row(rest.lstrip(b"\r\n"), dimension) or _is_text(rest) else "word2vec-binary"
    if len(head) == _SAMPLE and not newline:  # the end of the sample may have cut a number
        first = first.rpartition(b" ")[0]
    if head and (_is_row(first) or _is_text(head)):
        return "glove"
    hint = "; it looks like a Python pickle: open it with what wrote it and save it as word2vec" * head.startswith(
        b"\x80"
    )
    raise ValueError(f"{path}: {'not a vector file that we know' if head else 'the file is empty'}{hint}")


def _is_row(text: bytes, dimension: int = 0) -> bool:
    """Whether the first line is a key and `dimension` numbers (0: any)."""
    with _strict_numbers():
        try:
            _parse(text.partition(b"\n")[0].rstrip(b"\r\n "), dimension, "")
        except ValueError:
            return False
    return True


def _is_text(sample: bytes) -> bool:
    """Whether a sample looks like text, well-formed or not, so that its faults can be reported by line."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)  # incremental: the sample may end within a character
    except UnicodeDecodeError:
        return False
    return not CONTROL.search(sample)


def read_text(
    path: str | os.PathLike,
    *,
    header: bool = True,
    limit: int | None = None,
    encoding: str = "utf-8",
    unicode_errors: str = "strict",
    only: Container[str] | None = None,
) -> tuple[list[str], np.ndarray]:
    """Reads word2vec text, or GloVe text with `header=False`: keys and a float32 matrix [n, d].

    `limit` stops after so many vectors; `encoding` and `unicode_errors` are given to bytes.decode; `only` names the keys
    to keep. A key may hold spaces (those of glove.840B do) as long as what follows its first space is not a number.
    """
    check_options(limit, encoding, unicode_errors)
    rows, announced, read, number = _Rows(0), None, 0, 0
    with reading(path) as file, _strict_numbers():
        if header:
            announced, dimension = _header(path, file.readline())
            rows = _Rows(dimension)
        for number, line in enumerate(file, 2 if header else 1):
            if read == limit:
                break
            line = line.removeprefix(BOM) if number == 1 else line
            if not (line := line.rstrip(b"\r\n ")):
                continue
            where = f"{path}, line {number}"
            if read == announced:
                raise ValueError(f"{where}: more vectors than the {announced} that line 1 announces")
            name, values = _parse(line, rows.dimension, where)
            read += 1
            rows.dimension = len(values)
            key = _decode(name, encoding, unicode_errors, where)
            if only is None or key in only:
                rows.add(key, values)
    if announced is not None and read < announced and read != limit:
        raise ValueError(
            f"{path}: line 1 announces {announced} vectors but the file ends after line {max(number, 1)} with "
            f"{read}: it is cut short; fetch or write it again"
        )
    if announced is None and not read:
        raise ValueError(f"{path}: the file holds no vectors")
    return rows.done(path)


class _Rows:
    """Keys and vectors as they come from a file."""

    def __init__(self, dimension: int) -> None:
        self.keys: list[str] = []
        self.dimension = dimension
        self._matrix = np.empty((0, dimension), np.float32)

    def add(self, key: str, values: np.ndarray) -> None:
        count = len(self.keys)
        if count == len(self._matrix):
            if not count:
                self._matrix = np.empty((0, self.dimension), np.float32)
            # Grown in place: the allocator moves pages instead of copying, and no second matrix is needed.
            self._matrix.resize((max(1024, 2 * count), self.dimension), refcheck=False)
        self._matrix[count] = values
        self.keys.append(key)

    def done(self, path: str | os.PathLike) -> tuple[list[str], np.ndarray]:
        """The keys and the matrix, checked; of a key that comes twice the first row is kept, as gensim does."""
        matrix, keys = self._matrix, self.keys
        matrix.resize((len(keys), self.dimension), refcheck=False)
        check_finite(path, keys, matrix)
        first: dict[str, int] = {}
        for row, key in enumerate(keys):
            first.setdefault(key, row)
        if len(first) == len(keys):
            return keys, matrix
        key, row = next((key, row) for row, key in enumerate(keys) if first[key] != row)
        warnings.warn(
            f"{path}: {len(keys) - len(first)} of {len(keys)} vectors have a key that came before (the first is {key!r}, "
            f"number {row + 1}); they are left out",
            stacklevel=3,
        )
        return list(first), matrix[list(first.values())]


def check_finite(path: str | os.PathLike, keys: Sequence[str], matrix: np.ndarray) -> None:
    """Raises ValueError that names the first row of `matrix` [n, d] with a value that is not finite in float32."""
    block = max(1, (1 << 20) // max(matrix.shape[1], 1))
    for start in range(0, len(matrix), block):
        bad = np.flatnonzero(~np.isfinite(matrix[start : start + block]).all(axis=1))
        if len(bad):
            row = start + int(bad[0])
            value = matrix[row][~np.isfinite(matrix[row])][0]
            raise ValueError(
                f"{path}: the vector of {keys[row]!r}, number {row + 1}, holds {value}, which is no finite float32; "
                "take it out of the file, or write the file again"
            )


def _strict_numbers() -> warnings.catch_warnings:
    """Text that is no number is an error, of which NumPy before 2.3 only warns."""
    return warnings.catch_warnings(action="error", category=DeprecationWarning)


def check_options(limit: int | None, encoding: str, unicode_errors: str) -> None:
    """Raises ValueError for a limit below 1, and for names that bytes.decode does not know."""
    if limit is not None and limit < 1:
        raise ValueError(f"limit must be at least 1, not {limit}; None reads all vectors")
    try:
        codecs.lookup(encoding)
        codecs.lookup_error(unicode_errors)
    except LookupError as error:
        raise ValueError(f"{error}: choose an encoding and unicode_errors that bytes.decode knows") from error


def _header(path: str | os.PathLike, line: bytes) -> tuple[int, int]:
    found = HEADER.match(line.removeprefix(BOM))
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


def _decode(key: bytes, encoding: str, errors: str, where: str) -> str:
    try:
        return key.decode(encoding, errors)
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{where}: the key {key[:40]!r} is not {encoding.upper()}; name its encoding (encoding='latin-1', say), or "
            "read it all the same with unicode_errors='replace'; on the command line these are --encoding and "
            "--unicode-errors"
        ) from error


def read_binary(
    path: str | os.PathLike,
    *,
    limit: int | None = None,
    encoding: str = "utf-8",
    unicode_errors: str = "strict",
    only: Container[str] | None = None,
) -> tuple[list[str], np.ndarray]:
    """Reads word2vec binary, with or without the C program's newline after each vector: keys and float32 [n, d].

    The options are those of `read_text`.
    """
    check_options(limit, encoding, unicode_errors)
    with reading(path) as file:
        line = file.readline(200)
        announced, dimension = _header(path, line)
        rows = _Rows(dimension)
        # `block` holds the bytes of the file from `begin` on, of which the next entry begins at `at`.
        block, begin, at = b"", len(line), 0
        for entry in range(announced if limit is None else min(announced, limit)):
            where = f"{path}, vector {entry + 1} (byte {begin + at})"
            while (space := block.find(b" ", at)) < 0 or space + 1 + 4 * dimension > len(block):
                if space < 0 and len(block) - at > _LONGEST_KEY:
                    raise ValueError(f"{where}: no key here; if the file is text, read it with binary=False")
                block, begin, at = block[at:], begin + at, 0
                if not (more := file.read(max(_BLOCK, 4 * dimension))):
                    raise ValueError(
                        f"{path}: cut short in vector {entry + 1} of {announced} (byte {begin} of {begin + len(block)}); "
                        "fetch or write it again, or, if it is text, read it with binary=False"
                    )
                block += more
            key = _decode(block[at:space].lstrip(b"\n"), encoding, unicode_errors, where)
            at = space + 1 + 4 * dimension
            if only is None or key in only:
                rows.add(key, np.frombuffer(block[space + 1 : at], "<f4"))
        if limit is None or announced < limit:
            _check_end(path, announced, begin + at, block[at:], file)
    return rows.done(path)


def _check_end(path: str | os.PathLike, announced: int, byte: int, rest: bytes, file: IO[bytes]) -> None:
    if (rest + file.read(64)).strip(b"\r\n"):
        raise ValueError(
            f"{path}: more bytes (from byte {byte} on) than the {announced} vectors that line 1 announces take: the "
            f"header or the file is damaged; write it again, or read the vectors announced with limit={announced}"
        )


def check_keys(keys: Sequence[str]) -> None:
    """Raises ValueError for the first key that no format can hold: with a line break, or half of a surrogate pair."""
    for key in keys:
        if "\n" in key:
            raise ValueError(f"the key {key!r} holds a line break, which separates the keys of a file; rename it")
        if any("\ud800" <= letter <= "\udfff" for letter in key):
            raise ValueError(f"the key {key!r} holds half of a surrogate pair, which is no text; rename it")


def _encoded(keys: Sequence[str]) -> list[bytes]:
    bad = next((key for key in keys if not key or " " in key or "\n" in key), None)
    if bad is not None:
        raise ValueError(
            f"the word2vec and GloVe formats cannot hold the key {bad!r} (empty, or with a space or a line break); "
            "rename it, or save the vectors as safetensors, which can hold any key without a line break"
        )
    check_keys(keys)
    return [key.encode() for key in keys]


def write_text(path: str | os.PathLike, keys: Sequence[str], vectors: np.ndarray, *, header: bool = True) -> None:
    """Writes word2vec text, or GloVe text with `header=False`, with the fewest digits that give each float32 back."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = _encoded(keys)
    count, dimension = vectors.shape
    rows = max(1, 1_000_000 // dimension)
    with writing(path) as out:
        out.write(b"%d %d\n" % (count, dimension) if header else _mark(names))
        for start in range(0, count, rows):
            block = np.ascontiguousarray(vectors[start : start + rows], np.float32)
            digits = pc.cast(pa.array(block.ravel()), pa.string())
            offsets = pa.array(np.arange(0, block.size + 1, dimension, dtype=np.int32))
            values = pc.call_function("binary_join", [pa.ListArray.from_arrays(offsets, digits), pa.scalar(" ")])
            lines = zip(names[start : start + rows], values.cast(pa.binary()).to_pylist(), strict=True)
            out.writelines(b"%b %b\n" % line for line in lines)


def _mark(names: Sequence[bytes]) -> bytes:
    """A byte-order mark before a first key that begins with one, which a reader would take away."""
    return BOM if names and names[0].startswith(BOM) else b""


def write_binary(path: str | os.PathLike, keys: Sequence[str], vectors: np.ndarray) -> None:
    """Writes word2vec binary: a line `n d`, then each key, a space and its d little-endian float32."""
    names = _encoded(keys)
    with writing(path) as out:
        out.write(b"%d %d\n" % vectors.shape)
        for name, row in zip(names, vectors, strict=True):
            out.write(name + b" " + row.astype("<f4").tobytes())


def write_counts(path: str | os.PathLike, keys: Sequence[str], counts: np.ndarray) -> None:
    """Writes the C program's vocabulary file: a line `key count` for each key."""
    names = _encoded(keys)
    with writing(path) as out:
        out.write(_mark(names))
        out.writelines(b"%b %d\n" % (name, count) for name, count in zip(names, counts, strict=True))


def read_counts(path: str | os.PathLike, *, encoding: str = "utf-8", unicode_errors: str = "strict") -> dict[str, int]:
    """Reads the C program's vocabulary file into {key: count}; of a key that comes twice the first count is kept."""
    check_options(None, encoding, unicode_errors)
    counts: dict[str, int] = {}
    with reading(path) as file:
        for number, line in enumerate(file, 1):
            line = line.removeprefix(BOM) if number == 1 else line
            key, _, count = line.strip(b"\r\n").rpartition(b" ")
            if not key or not count.isdigit():
                raise ValueError(f"{path}, line {number}: expected a key and its count, found {line[:60]!r}")
            counts.setdefault(_decode(key, encoding, unicode_errors, f"{path}, line {number}"), int(count))
    return counts
