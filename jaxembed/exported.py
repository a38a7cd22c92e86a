"""Runs for others: a folder that `sentence_transformers.SentenceTransformer` opens."""

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxembed.data.inputs import TextInput
from jaxembed.data.tokens import Tokenizer, padding_first
from jaxembed.encoders.positions import sinusoidal
from jaxembed.files import write_bytes, write_text
from jaxembed.pretrained import Part, names, open_parts
from jaxembed.pretrained.families import bert_config, bert_names
from jaxembed.pretrained.files import is_checkpoint, on_hub
from jaxembed.vectors import KeyedVectors, SubwordVectors, load_vectors

_KIND = "sentence_transformers.models."


def export(source: str | os.PathLike, folder: str | os.PathLike) -> Path:
    """Writes a run, a checkpoint or a file of word vectors as a folder of sentence-transformers, and returns the folder.

    A Transformer becomes BERT, with its pooling. A bag of words becomes a `StaticEmbedding`; where its words have weights, these
    are multiplied into the vectors, and the folder scales a text's vector to length 1, as `encode(..., normalize=True)` does.
    Word vectors become a `StaticEmbedding`, too: a text's vector is the mean over its words, split at white space, in which an
    unknown word is a vector of zeros; those of fastText's n-grams stay behind, with a warning.

    Raises ValueError for an encoder that cannot be written so, which names every setting that is in the way, for a folder that
    is not empty, and for a run that takes no texts. Warns where unknown words share vectors by their letters: in the folder they
    are all one token.
    """
    folder, path = Path(folder), Path(source)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is not an empty folder: name another")
    if not (on_hub(source) or (path / "model.json").is_file() or (path.is_dir() and is_checkpoint(path))):
        vectors = load_vectors(path)
        if isinstance(vectors, SubwordVectors):
            warnings.warn(
                f"in {folder} only the words that were trained have vectors: its n-grams stay behind", stacklevel=2
            )
        _write_words(vectors, folder)
        return folder
    parts = open_parts(source)
    text: Any = parts.inputs.get("text")
    if "text" not in parts.nets or text is None:
        raise ValueError(f"{source} takes no texts, and sentence-transformers' folders of this kind are for texts")
    if "text_head" in parts.nets:
        raise ValueError(f"{source} is one of two towers with a projection: encoders of texts alone can be written")
    net = parts.nets["text"]
    files = _bag(net, text) if net.encoder.kind == "bag" else _bert(net, text)
    if text.tokenizer.buckets:
        warnings.warn(
            f"words outside the vocabulary share {text.tokenizer.buckets} vectors by their letters here; in {folder} they are "
            "one token, so that texts with such words get other vectors",
            stacklevel=2,
        )
    _write(folder, *files)
    return folder


def _bert(net: Part, text: TextInput) -> tuple[Mapping[str, np.ndarray], Mapping[str, Any], Any]:
    """The tensors and the files of a Transformer, and its tokenizer."""
    spec, tokenizer = net.encoder, text.tokenizer
    rows = max(len(tokenizer) - tokenizer.buckets, _needed(tokenizer))
    config = bert_config(spec.with_(token_dim=None), rows)
    arrays = names.flat(net.params)
    table = _own_ids(arrays.pop("token_embedding"), tokenizer)[:rows]
    if spec["token_dim"]:  # the linear map of token vectors is part of a larger table
        table = table @ arrays.pop("lift/kernel") + arrays.pop("lift/bias")
    arrays["token_embedding"] = table
    width, length = spec["hidden_size"], spec["max_length"]
    fixed = sinusoidal(length, width) if spec["positions"] == "sinusoidal" else np.zeros((length, width), np.float32)
    arrays.setdefault("position_embedding", fixed)
    arrays.setdefault("segment_embedding", np.zeros((1, width), np.float32))
    tensors = names.written(arrays, bert_names(spec, names.SAME, names.SAME))
    longest = min(text.max_length or length, length)
    ends = {
        "pad_token": tokenizer.pad,
        "cls_token": tokenizer.cls,
        "sep_token": tokenizer.sep,
        "unk_token": tokenizer.unk,
    }
    special = {name: tokenizer.core.id_to_token(i) for name, i in ends.items() if i is not None}
    if not special.get("pad_token"):
        raise ValueError("the tokenizer has no token of padding, which BERT needs")
    modules = ["Transformer", "Pooling", *["Normalize"] * spec["normalize"]]
    flags = {"mean": "mean_tokens", "cls": "cls_token", "last": "lasttoken"}
    pooling = {f"pooling_mode_{flag}": name == spec["pooling"] for name, flag in flags.items()}
    files = {
        "config.json": config | {"pad_token_id": tokenizer.pad},
        "sentence_bert_config.json": {"max_seq_length": longest, "do_lower_case": False},
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": longest, "padding_side": "right", **special,
        },
        "special_tokens_map.json": special,
        "1_Pooling/config.json": {"word_embedding_dimension": width, **pooling},
        "modules.json": modules,
    }  # fmt: skip
    return tensors, files, _templated(tokenizer)


def _bag(net: Part, text: TextInput) -> tuple[Mapping[str, np.ndarray], Mapping[str, Any], Any]:
    """The tensors and the files of a bag of words, and its tokenizer."""
    tokenizer = text.tokenizer
    rows = max(len(tokenizer) - tokenizer.buckets, _needed(tokenizer))
    weight = np.exp(_own_ids(net.params["token_weight"][:, None], tokenizer)[:rows].astype(np.float64))
    table = _own_ids(net.params["token_embedding"], tokenizer)[:rows]
    ends = [i for i in (tokenizer.cls, tokenizer.sep) if i is not None]
    words = np.delete(weight, [tokenizer.pad, *ends])
    if ends and weight[ends].max() > 1e-6 * words.max():
        raise ValueError(
            "this bag of words counts the tokens at the ends of a text, which a StaticEmbedding leaves out: train it from token "
            "vectors with smoothed weights (the task's start, smoothing 1e-3), which give these no weight"
        )
    even = bool(np.ptp(words) <= 1e-6 * words.max())
    unit = net.encoder["normalize"] or not even
    table = table if even else (table * (weight / words.max())).astype(np.float32)
    core = _copy(tokenizer.core)
    if text.max_length:
        core.enable_truncation(text.max_length - len(ends))
    return {"embedding.weight": table}, {"modules.json": ["StaticEmbedding", *["Normalize"] * unit]}, core


def _write_words(vectors: KeyedVectors, folder: Path) -> None:
    from tokenizers import Tokenizer as Core
    from tokenizers import models, pre_tokenizers

    keys = list(vectors.index_to_key)
    unknown, taken = "[UNK]", set(keys)
    while unknown in taken:
        unknown = f"[{unknown}]"
    core = Core(models.WordLevel({key: i for i, key in enumerate([unknown, *keys])}, unk_token=unknown))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    table = np.concatenate([np.zeros((1, vectors.vector_size), np.float32), vectors.vectors])
    _write(folder, {"embedding.weight": table}, {"modules.json": ["StaticEmbedding"]}, core)


def _write(folder: Path, tensors: Mapping[str, np.ndarray], files: Mapping[str, Any], core: Any) -> None:
    """Writes the folder, modules.json last."""
    from safetensors.numpy import save

    folder.mkdir(parents=True, exist_ok=True)
    contiguous = {name: np.ascontiguousarray(x, np.float32) for name, x in tensors.items()}
    write_bytes(folder / "model.safetensors", save(contiguous, metadata={"format": "pt"}))
    core.save(str(folder / "tokenizer.json"))
    about = {"__version__": {"sentence_transformers": "3.0.0"}, "similarity_fn_name": "cosine"}
    for name, content in {"config_sentence_transformers.json": about, **files}.items():
        if name == "modules.json":
            paths = ["", *(f"{i}_{kind}" for i, kind in enumerate(content) if i)]
            content = [
                {"idx": i, "name": str(i), "path": path, "type": _KIND + kind}
                for i, (kind, path) in enumerate(zip(content, paths, strict=True))
            ]
            for path in paths:
                (folder / path).mkdir(exist_ok=True)
        write_text(folder / name, json.dumps(content, indent=2) + "\n")


def _own_ids(table: np.ndarray, tokenizer: Tokenizer) -> np.ndarray:
    """Rows in the order of the tokenizer's ids: here 0 and the id of padding have changed places."""
    return table[padding_first(len(table), tokenizer.pad)]


def _needed(tokenizer: Tokenizer) -> int:
    return max(tokenizer.core.get_vocab(with_added_tokens=True).values()) + 1


def _copy(core: Any) -> Any:
    from tokenizers import Tokenizer as Core

    return Core.from_str(core.to_str())


def _templated(tokenizer: Tokenizer) -> Any:
    """The tokenizer with what is put at the ends of a text here."""
    from tokenizers.processors import TemplateProcessing

    core = _copy(tokenizer.core)
    ends = [core.id_to_token(i) if i is not None else "" for i in (tokenizer.cls, tokenizer.sep)]
    single = " ".join(part for part in (ends[0], "$A", ends[1]) if part)
    core.post_processor = TemplateProcessing(
        single=single, special_tokens=[(end, core.token_to_id(end)) for end in dict.fromkeys(ends) if end]
    )
    return core
