"""`Word2Vec` in a file, to be trained further: one of vectors, as `KeyedVectors.save` writes it, with more inside.

Beside `vectors`, `keys` and `counts` there are `outputs` float32 [n, d], the vectors on the other side of the score, and
`model`, the settings and the state as JSON. Nothing in it is executed when it is read.
"""

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxembed.files import replacing
from jaxembed.vectors import KeyedVectors

FORMAT = 1  # raised when older versions could not read what is written


class Saved(NamedTuple):
    """A model in a file: its words with their vectors, `outputs` [n, d] if it is trained, settings and state."""

    wv: KeyedVectors
    outputs: np.ndarray | None
    about: dict[str, Any]


def write_model(path: str | os.PathLike, saved: Saved) -> None:
    """Writes a model, whole or not at all."""
    from safetensors.numpy import save_file

    about = {"format": FORMAT, **saved.about}
    tensors = {
        "vectors": np.ascontiguousarray(saved.wv.vectors, np.float32),
        "keys": np.frombuffer("\n".join(saved.wv.index_to_key).encode(), np.uint8),
        "model": np.frombuffer(json.dumps(about, default=np.generic.item).encode(), np.uint8),
    }
    if saved.wv.counts is not None:
        tensors["counts"] = np.ascontiguousarray(saved.wv.counts, np.int64)
    if saved.outputs is not None:
        tensors["outputs"] = np.ascontiguousarray(saved.outputs, np.float32)
    with replacing(path) as part:
        save_file(tensors, part, metadata={"format": "jaxembed.word2vec"})


def read_model(path: str | os.PathLike) -> Saved:
    """Reads what `write_model` wrote. Raises FileNotFoundError, and ValueError for any other file."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no saved model {os.fspath(path)}")
    try:
        with safe_open(path, framework="numpy") as file:
            names = set(file.keys())
            about = json.loads(file.get_tensor("model").tobytes()) if "model" in names else None
            outputs = file.get_tensor("outputs") if "outputs" in names else None
    except SafetensorError as error:
        with open(path, "rb") as start:
            pickled = start.read(1) == b"\x80"
        hint = (
            "; it looks like a pickle of gensim: open it there, save its vectors by model.wv.save_word2vec_format(…), and "
            "open these by KeyedVectors.load_word2vec_format(…)" * pickled
        )
        raise ValueError(f"{path}: not a model that Word2Vec.save wrote ({error}){hint}") from error
    if about is None:
        raise ValueError(
            f"{path}: vectors without their model, which cannot be trained further: open them by KeyedVectors.load"
        )
    if about["format"] > FORMAT:
        raise ValueError(
            f"{path}: of the format {about['format']}, and this version reads up to {FORMAT}: use a newer one"
        )
    return Saved(KeyedVectors.load(path), outputs, about)
