"""A model in a file, to be trained further: one of vectors, as `KeyedVectors.save` writes it, with more inside.

Beside `vectors`, `keys` and `counts` there are the tables that training needs, float32 with a row for each key, and `model`,
the settings and the state as JSON. The tables of `Word2Vec` are `outputs` [n, d], the vectors on the other side of the score;
those of `GloVe` are `word` and `context` [n, d + 1], whose last column holds the biases. Nothing is executed when it is read.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxembed.files import replacing
from jaxembed.tensors import as_tensors
from jaxembed.vectors import KeyedVectors
from jaxembed.vectors.subwords import TENSORS

FORMAT = 1  # raised when older versions could not read what is written
_OTHERS = {"vectors", "keys", "counts", "attributes", "model", *TENSORS}  # tensors that are no tables


class Saved(NamedTuple):
    """A model in a file: its words with their vectors, its tables by name if it is trained, settings and state."""

    wv: KeyedVectors
    tables: Mapping[str, np.ndarray]
    about: dict[str, Any]


def write_model(path: str | os.PathLike, kind: str, saved: Saved) -> None:
    """Writes a model of the class `kind`, whole or not at all."""
    from safetensors.numpy import save_file

    about = {"format": FORMAT, "class": kind, **saved.about}
    tensors = {
        **as_tensors(saved.wv.index_to_key, saved.wv.vectors, saved.wv.expandos),
        **saved.wv.other_tensors(),
        **{name: np.ascontiguousarray(table, np.float32) for name, table in saved.tables.items()},
        "model": np.frombuffer(json.dumps(about, default=np.generic.item).encode(), np.uint8),
    }
    with replacing(path) as part:
        save_file(tensors, part, metadata={"format": f"jaxembed.{kind.lower()}"})


def read_model(path: str | os.PathLike, kind: str) -> Saved:
    """Reads what `write_model` wrote of the class `kind`. Raises FileNotFoundError, and ValueError for any other file."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no saved model {os.fspath(path)}")
    try:
        with safe_open(path, framework="numpy") as file:
            names = set(file.keys())
            about = json.loads(file.get_tensor("model").tobytes()) if "model" in names else None
            tables = {name: file.get_tensor(name) for name in sorted(names - _OTHERS)}
    except SafetensorError as error:
        with open(path, "rb") as start:
            pickled = start.read(1) == b"\x80"
        hint = (
            "; it looks like a pickle of gensim: open it there, save its vectors by model.wv.save_word2vec_format(…), and "
            "open these by KeyedVectors.load_word2vec_format(…)" * pickled
        )
        raise ValueError(f"{path}: not a model that {kind}.save wrote ({error}){hint}") from error
    if about is None:
        raise ValueError(
            f"{path}: vectors without their model, which cannot be trained further: open them by KeyedVectors.load"
        )
    if about["format"] > FORMAT:
        raise ValueError(
            f"{path}: of the format {about['format']}, and this version reads up to {FORMAT}: use a newer one"
        )
    found = about.get("class", "Word2Vec")  # which the first models in files did not say
    if found != kind:
        raise ValueError(f"{path}: a model of the class {found}: open it by {found}.load")
    return Saved(KeyedVectors.load(path), tables, about)
