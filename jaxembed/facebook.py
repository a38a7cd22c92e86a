"""Files of Facebook's fastText program (.bin): words, the vectors of their parts, and what a model was trained with."""

import os
import struct
from collections.abc import Mapping, Sequence
from typing import IO, Any, NamedTuple

import numpy as np

from jaxembed.compression import reading
from jaxembed.files import replacing
from jaxembed.formats import FACEBOOK
from jaxembed.subwords import Subwords, subwords

_VERSION = 12
# Their settings in the order of the file, all int32 but the last, a double (fastText's Args::save).
_SETTINGS = {
    "dim": 100, "ws": 5, "epoch": 5, "minCount": 5, "neg": 5, "wordNgrams": 1, "loss": 2, "model": 2, "bucket": 0, "minn": 0,
    "maxn": 0, "lrUpdateRate": 100, "t": 1e-3,
}  # fmt: skip
_HEADER, _SIZES = struct.Struct("<12id"), struct.Struct("<iiiqq")
_AT_ONCE = 1 << 16  # rows that are written at a time


class Read(NamedTuple):
    """What a file holds: words with their counts and vectors, the parts of words, and the settings by their names."""

    words: list[str]
    counts: np.ndarray
    vectors: np.ndarray
    parts: Subwords
    settings: dict[str, Any]


def write_facebook(
    path: str | os.PathLike,
    words: Sequence[str],
    counts: np.ndarray,
    parts: Subwords,
    outputs: np.ndarray | None = None,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Writes a model that Facebook's program and gensim's `load_facebook_vectors` open, whole or not at all.

    outputs: vectors of words as neighbours [n, d]; without them (zeros) the model cannot be trained further. The file holds a
    vector for each of `parts.bucket` n-grams: 800 MB for the usual 2 million. Raises ValueError where words were not trained.
    """
    n, d = len(words), parts.table.shape[1]
    if parts.words != n:
        raise ValueError(f"{n} words, of which {parts.words} were trained: only those have parts that can be written")
    own = {"dim": d, "bucket": parts.bucket, "minn": parts.min_n, "maxn": parts.max_n}
    with replacing(path) as part, open(part, "wb") as file:
        file.write(
            FACEBOOK + struct.pack("<i", _VERSION) + _HEADER.pack(*{**_SETTINGS, **(settings or {}), **own}.values())
        )
        file.write(_SIZES.pack(n, n, 0, int(np.sum(counts)), -1))
        for word, count in zip(words, counts, strict=True):
            file.write(word.encode() + b"\0" + struct.pack("<qb", int(count), 0))
        file.write(b"\0" + struct.pack("<qq", n + parts.bucket, d))
        file.write(np.ascontiguousarray(parts.table[:n], "<f4").tobytes())
        for start in range(0, parts.bucket, _AT_ONCE):
            rows = np.zeros((min(_AT_ONCE, parts.bucket - start), d), "<f4")
            first, last = np.searchsorted(parts.grams, [start, start + len(rows)])
            rows[parts.grams[first:last] - start] = parts.table[parts.rows[first:last]]
            file.write(rows.tobytes())
        file.write(b"\0" + struct.pack("<qq", n, d))
        file.write(np.ascontiguousarray(np.zeros((n, d)) if outputs is None else outputs, "<f4").tobytes())


def read_facebook(path: str | os.PathLike) -> Read:
    """Reads what Facebook's program wrote, or gensim or `write_facebook`; also compressed.

    Raises ValueError for another file, one that is cut short, and models that were quantised or trained to classify.
    """
    with reading(path) as file:
        if file.read(4) != FACEBOOK or _take(file, path, struct.Struct("<i"))[0] < _VERSION:
            raise ValueError(f"{path}: not a model of fastText of version {_VERSION} or later")
        settings = dict(zip(_SETTINGS, _take(file, path, _HEADER), strict=True))
        size, n, labels, _, pruned = _take(file, path, _SIZES)
        if labels or pruned > 0:
            raise ValueError(f"{path}: a model that classifies, or that was quantised: give one of word vectors")
        words, counts = _read_words(file, path, size)
        if _take(file, path, struct.Struct("<b"))[0]:
            raise ValueError(f"{path}: a quantised model: give the one that it was made from (.bin, not .ftz)")
        rows, d = _take(file, path, struct.Struct("<qq"))
        if rows != n + settings["bucket"] or d != settings["dim"]:
            raise ValueError(f"{path}: {rows} vectors of {d} columns, where its settings say otherwise: write it again")
        table = np.frombuffer(_whole(file, path, 4 * rows * d), "<f4").astype(np.float32).reshape(rows, d)
    grams = np.arange(settings["bucket"], dtype=np.int64)
    parts = Subwords(
        settings["minn"], settings["maxn"], settings["bucket"], n, table, grams, (n + grams).astype(np.int32)
    )
    return Read(words, counts, _composed(words, parts), parts, settings)


def _composed(words: Sequence[str], parts: Subwords) -> np.ndarray:
    """The mean of each word's own vector and those of its n-grams [n, d]."""
    found = parts.table[: len(words)].copy()
    for start in range(0, len(words), _AT_ONCE):
        some = words[start : start + _AT_ONCE]
        offsets, ids = subwords(some, parts.min_n, parts.max_n, parts.bucket)
        for i in range(len(some)):
            found[start + i] += parts.table[len(words) + ids[offsets[i] : offsets[i + 1]]].sum(0)
        found[start : start + len(some)] /= (1 + np.diff(offsets))[:, None]
    return found


def _read_words(file: IO[bytes], path: Any, size: int) -> tuple[list[str], np.ndarray]:
    words, counts, entry = [], np.zeros(size, np.int64), struct.Struct("<qb")
    for row in range(size):
        name = bytearray()
        while (byte := _whole(file, path, 1)) != b"\0":
            name += byte
        words.append(name.decode(errors="backslashreplace"))
        counts[row] = _take(file, path, entry)[0]
    return words, counts


def _take(file: IO[bytes], path: Any, kind: struct.Struct) -> tuple[Any, ...]:
    return kind.unpack(_whole(file, path, kind.size))


def _whole(file: IO[bytes], path: Any, size: int) -> bytes:
    found = file.read(size)
    if len(found) < size:
        raise ValueError(f"{path}: the file is cut short; fetch or write it again")
    return found
