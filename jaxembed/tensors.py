"""Vectors in a safetensors file, with their keys inside: our own format, exact, quick to open, for keys of any kind."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxembed.files import replacing
from jaxembed.formats import check_finite, check_keys

#: How safetensors calls the numbers that become float32 here. NumPy has no bfloat16: it is the upper half of a float32.
_NUMBERS = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1",
}  # fmt: skip


def write_safetensors(
    path: str | os.PathLike,
    keys: Sequence[str],
    vectors: np.ndarray,
    attributes: Mapping[str, np.ndarray] | None = None,
    **others: np.ndarray,
) -> None:
    """Writes one safetensors file of what `as_tensors` gives, and of other tensors under their names."""
    from safetensors.numpy import save_file

    tensors = as_tensors(keys, vectors, attributes or {}) | others
    with replacing(path) as part:
        save_file(tensors, part, metadata={"format": "jaxembed.vectors 1"})  # several keys would come in random order


def as_tensors(keys: Sequence[str], vectors: np.ndarray, attributes: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """`vectors` float32 [n, d], `keys` (UTF-8 between newlines), `counts` if there are any, and other attributes as JSON.

    Raises ValueError for a key that cannot be written, and for an attribute that JSON cannot hold.
    """
    check_keys(keys)
    tensors = {
        "vectors": np.ascontiguousarray(vectors, np.float32),
        "keys": np.frombuffer("\n".join(keys).encode(), np.uint8),
    }
    if "count" in attributes:
        tensors["counts"] = np.ascontiguousarray(attributes["count"], np.int64)
    others = {name: _as_json(name, values) for name, values in attributes.items() if name != "count"}
    if others:
        tensors["attributes"] = np.frombuffer(json.dumps(others).encode(), np.uint8)
    return tensors


def _as_json(name: str, values: np.ndarray) -> dict[str, Any]:
    found = {"type": "object" if values.dtype.kind == "O" else values.dtype.str, "values": values.tolist()}
    try:
        return json.loads(json.dumps(found, default=np.generic.item))
    except TypeError as error:
        raise ValueError(
            f"the attribute {name!r} cannot be saved ({error}): only numbers, strings, lists and mappings can, so take the "
            f"attribute out first (del expandos[{name!r}])"
        ) from None


def read_safetensors(path: str | os.PathLike, *, mmap: bool = False) -> tuple[list[str], np.ndarray, np.ndarray | None]:
    """Reads what `write_safetensors` wrote: keys, vectors float32 [n, d], counts [n] or None.

    With `mmap` vectors in float32 stay on disk, are read, page by page, when they are touched, and are not checked for
    values that are not finite. Other types of numbers are converted, in memory.
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
            counts = file.get_tensor("counts") if "counts" in names else None
    except SafetensorError as error:
        raise ValueError(f"{path}: not a whole safetensors file ({error}); fetch or write it again") from error
    if counts is not None and counts.dtype.kind not in "iu":
        raise ValueError(f"{path}: the tensor 'counts' holds {counts.dtype}, expected integers")
    vectors = _numbers_of(path, mmap)
    try:
        keys = blob.decode().split("\n") if len(vectors) else []
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: the tensor 'keys' is not UTF-8 ({error.reason}); write it again") from error
    if len(keys) != len(vectors):
        raise ValueError(f"{path}: {len(keys)} keys but {len(vectors)} vectors; write it again")
    if not isinstance(vectors, np.memmap):
        check_finite(path, keys, vectors)
    return keys, vectors, counts


def read_attributes(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """The attributes that `write_safetensors` wrote beside the counts, by name [n]."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        if "attributes" not in file.keys():  # noqa: SIM118 (it is no mapping)
            return {}
        found = json.loads(file.get_tensor("attributes").tobytes())
    attributes = {name: np.empty(len(one["values"]), one["type"]) for name, one in found.items()}
    for name, values in attributes.items():
        for row, value in enumerate(found[name]["values"]):  # one by one: NumPy would look into lists
            values[row] = value
    return attributes


def _numbers_of(path: str | os.PathLike, mmap: bool) -> np.ndarray:
    """The tensor `vectors` in float32: the file itself with `mmap`, if it holds float32, and otherwise a copy."""
    entry = entries_of(path)["vectors"]
    if entry.kind not in _NUMBERS or len(entry.shape) != 2:
        raise ValueError(
            f"{path}: expected vectors [n, d] of {', '.join(_NUMBERS)}, found {entry.kind} of the shape {entry.shape}"
        )
    return read_numbers(path, entry, mmap=mmap)


class Entry(NamedTuple):
    """A tensor of a safetensors file: the kind of its numbers (as the file calls it), its shape, and the byte it begins at."""

    kind: str
    shape: tuple[int, ...]
    start: int


def entries_of(path: str | os.PathLike) -> dict[str, Entry]:
    """The tensors of a safetensors file by name, none of which is read. Raises ValueError for a file that is not whole."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):  # which checks the header, and that the file is as long as this says
            pass
    except SafetensorError as error:
        raise ValueError(f"{path}: not a whole safetensors file ({error}); fetch or write it again") from error
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    return {
        name: Entry(one["dtype"], tuple(one["shape"]), 8 + size + one["data_offsets"][0])
        for name, one in header.items()
        if name != "__metadata__"
    }


def read_numbers(path: str | os.PathLike, entry: Entry, *, mmap: bool = False) -> np.ndarray:
    """A tensor in float32: the file itself with `mmap`, if it holds float32, and otherwise a copy.

    Raises ValueError for numbers of a kind that NumPy has not.
    """
    if entry.kind not in _NUMBERS:
        raise ValueError(f"{path}: numbers of the kind {entry.kind} cannot be read: save them as {', '.join(_NUMBERS)}")
    if 0 in entry.shape:
        return np.zeros(entry.shape, np.float32)
    found = np.memmap(path, _NUMBERS[entry.kind], mode="r", offset=entry.start, shape=entry.shape).reshape(entry.shape)
    if entry.kind == "F32" and mmap:
        return found
    if entry.kind == "BF16":
        return (np.asarray(found).astype("<u4") << 16).view("<f4")
    with np.errstate(over="ignore"):  # too large for float32: it becomes infinite, which is reported with its key
        return np.array(found, np.float32)
