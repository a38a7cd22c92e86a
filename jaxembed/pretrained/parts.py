"""Encoders, weights and inputs of a checkpoint or of a run, by what they take: what can be used, exported or trained further."""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jax.tree_util import keystr, tree_flatten_with_path

from jaxembed.data.cache import content_digest
from jaxembed.data.inputs import ImageInput, Input, TextInput, read_inputs
from jaxembed.data.tokens import Tokenizer, read_tokenizer
from jaxembed.data.tokens import tokenizer_for as trained_or_read
from jaxembed.encoders.functional import Encoder, Variables, encoder
from jaxembed.pretrained import names
from jaxembed.pretrained.families import FAMILIES, Net, Vocabulary
from jaxembed.pretrained.files import Checkpoint, find, is_checkpoint, on_hub, read_json
from jaxembed.tensors import entries_of, read_numbers

#: Poolings of sentence-transformers, by the name of the flag in its config.json.
POOLINGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_lasttoken": "last"}
_OF_TEXT, _OF_IMAGES = ("transformer", "bag"), ("vit", "resnet")


@dataclass(frozen=True)
class Part:
    """An encoder with its weights: parameters, and what it keeps beside them (running statistics)."""

    encoder: Encoder
    params: Variables
    kept: Variables


@dataclass(frozen=True)
class Parts:
    """What a checkpoint is made of.

    nets: by what they take, "text" and "image"; of two towers, "text_head" and "image_head" are their projections. inputs: what
    turns texts and pictures into the encoders' batches. mean, std: of the pixels. scale: of the cosines of two towers, None where
    there is none. output: of a language model's run, the parameters that stand between the encoder and the words; "order" has the
    words, int32 [v], as its adaptive softmax cuts them.
    """

    name: str
    nets: dict[str, Part]
    inputs: dict[str, Input] = field(default_factory=dict)
    mean: float | tuple[float, ...] = 0.5
    std: float | tuple[float, ...] = 0.5
    scale: float | None = None
    revision: str | None = None
    output: Variables = field(default_factory=dict)

    @property
    def pinned(self) -> str:
        """The name by which exactly this checkpoint is found again: of a model of the hub, with its commit."""
        return self.name if self.revision is None else f"{self.name}@{self.revision}"

    @cached_property
    def fingerprint(self) -> str:
        """32 hexadecimal digits that depend on the nets' numbers, whatever the name."""
        return _digest({kind: (part.params, part.kept) for kind, part in self.nets.items()})

    @cached_property
    def whole_fingerprint(self) -> str:
        """The same, of the nets and the output."""
        return content_digest(self.fingerprint, _digest(self.output)) if self.output else self.fingerprint

    def most(self, length: int) -> int:
        """How many tokens of a text are encoded where `length` are wanted."""
        return min(length, self.nets["text"].encoder.longest or length)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the pictures."""
        pictures: Any = self.inputs["image"]
        return pictures.height, pictures.width


def _digest(numbers: Any) -> str:
    leaves = tree_flatten_with_path(numbers)[0]
    return content_digest(*(piece for path, leaf in leaves for piece in (keystr(path), _bytes(leaf))))


def _bytes(leaf: Any) -> bytes:
    found = np.asarray(leaf)
    return f"{found.dtype}{found.shape}".encode() + found.tobytes()


def tokenizer_for(texts: Iterable[str], kind: str, vocab_size: int) -> Tokenizer:
    """As `jaxembed.data.tokens.tokenizer_for`, but `kind` may name a checkpoint or a run that has a tokenizer, too."""
    if on_hub(kind) or is_checkpoint(kind) or (Path(kind) / "model.json").is_file():
        found: Any = opened(kind).inputs.get("text")
        if found is None:
            raise ValueError(f"{kind} has no tokenizer: it takes pictures")
        return found.tokenizer
    return trained_or_read(texts, kind, vocab_size)


def open_parts(name: str | os.PathLike) -> Parts:
    """Opens a checkpoint, by its folder or its name on the hub (OWNER/MODEL, or OWNER/MODEL@REVISION), or a finished run.

    Raises ValueError for an architecture that encoders here cannot have, and for tensors that are missing, left over or of
    another shape, which it names; FileNotFoundError for missing files; ConnectionError without network.
    """
    folder = Path(name)
    if (folder / "model.json").is_file() and not is_checkpoint(folder):
        return _of_run(folder)
    return _of_checkpoint(find(name))


def _of_checkpoint(found: Checkpoint) -> Parts:
    modules = _modules(found.folder)
    if "StaticEmbedding" in modules:
        return _static(found, modules)
    inner = replace(found, folder=found.folder / modules.pop("Transformer", "")) if modules else found
    kind = inner.config.get("model_type")
    if kind not in FAMILIES:
        raise ValueError(
            f"{found.name} is of the architecture {kind!r}, and those that can be opened are {', '.join(FAMILIES)}"
        )
    takes_texts = kind not in ("vit", "resnet")
    tokenizer = _tokenizer(inner, found) if takes_texts else None
    try:
        rows = inner.config.get("vocab_size") or inner.config.get("text_config", {}).get("vocab_size", 49408)
        nets = FAMILIES[kind].nets(inner.config, _vocabulary(rows, tokenizer))
    except (ValueError, KeyError) as error:
        why = f"its config.json has no {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{found.name} cannot be opened: {why}") from error
    if "text" in nets and kind != "clip":
        nets["text"] = replace(nets["text"], encoder=nets["text"].encoder.with_(**_pooled(found, modules)))
    inputs: dict[str, Input] = {}
    if tokenizer:
        inputs["text"] = TextInput(tokenizer, _max_length(inner, nets["text"].encoder["max_length"]))
    mean, std = FAMILIES[kind].normalization
    if "image" in nets:
        inputs["image"], mean, std = _pictures(inner, nets["image"].encoder, mean, std)
    scale = float(np.exp(inner.tensor("logit_scale"))) if "logit_scale" in inner.tensors else None
    return Parts(found.name, read_nets(inner, nets), inputs, mean, std, scale, found.revision)


def read_nets(found: Checkpoint, nets: Mapping[str, Net]) -> dict[str, Part]:
    """Reads the weights of encoders. Raises ValueError for tensors that are missing, left over, or of another shape."""
    family = FAMILIES[found.config["model_type"]]
    wanted = {name: shape for net in nets.values() for name, shape in names.wanted(net.encoder, net.names).items()}
    there = {name: entry.shape for name, (_, entry) in found.tensors.items()}
    prefix = "" if set(wanted) & set(there) else family.prefix
    there = {name.removeprefix(prefix): shape for name, shape in there.items()}
    problems = [
        *(f"{name} is missing" for name in wanted if name not in there),
        *(f"{name} is of shape {list(there[name])}, expected {list(wanted[name])}"
          for name in wanted if name in there and there[name] != wanted[name]),
        *(f"{name} is left over" for name in there if name not in wanted and not re.fullmatch(family.unused, name)),
    ]  # fmt: skip
    if problems:
        more = f"; and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise ValueError(
            f"the tensors of {found.name} are not those of its config.json: {'; '.join(problems[:5])}{more}"
        )
    tensor = lambda name: found.tensor(prefix + name if prefix + name in found.tensors else name)
    return {name: Part(net.encoder, *names.read(net.encoder, net.names, tensor)) for name, net in nets.items()}


def _static(found: Checkpoint, modules: Mapping[str, str]) -> Parts:
    """A StaticEmbedding, which is a bag of words without weights."""
    inner = replace(found, folder=found.folder / modules["StaticEmbedding"])
    if not (inner.folder / "tokenizer.json").is_file():
        raise FileNotFoundError(f"{found.name} has no tokenizer.json, so that it cannot read texts: fetch it")
    if list(inner.tensors) != ["embedding.weight"]:
        raise ValueError(f"{found.name} has the tensors {', '.join(inner.tensors)}, expected embedding.weight alone")
    tokenizer, table = read_tokenizer(inner.folder, pad="", cls="", sep=""), inner.tensor("embedding.weight")
    most = (read_json(inner.folder / "tokenizer.json").get("truncation") or {}).get("max_length", 0)
    vocabulary = _vocabulary(len(table), tokenizer)
    net = encoder("bag", vocab_size=vocabulary.size, hidden_size=table.shape[1], normalize="Normalize" in modules)
    params = {
        "token_embedding": vocabulary.layout.into(table), "token_weight": np.zeros(vocabulary.size, np.float32),
    }  # fmt: skip
    return Parts(
        found.name, {"text": Part(net, params, {})}, {"text": TextInput(tokenizer, most)}, revision=found.revision
    )


def _modules(folder: Path) -> dict[str, str]:
    """The modules of sentence-transformers: the folder of each by its kind; {} where there is no modules.json.

    Raises ValueError for a module other than a Transformer, its pooling, a StaticEmbedding, and a normalisation.
    """
    path = folder / "modules.json"
    if not path.is_file():
        return {}
    found = {one["type"].rpartition(".")[2]: one["path"] for one in json.loads(path.read_text(encoding="utf-8"))}
    known = ("Transformer", "Pooling", "Normalize", "StaticEmbedding")
    if left := set(found) - set(known):
        raise ValueError(
            f"{folder} has the module {', '.join(sorted(left))}: those that are supported are {', '.join(known)}"
        )
    return found


def _pooled(found: Checkpoint, modules: Mapping[str, str]) -> dict[str, Any]:
    """The settings of an encoder by which tokens become a text's vector. Without modules it is the mean, as there."""
    if "Pooling" not in modules:
        return {}
    config = read_json(found.folder / modules["Pooling"] / "config.json")
    flags = [name for name, on in config.items() if name.startswith("pooling_mode_") and on is True]
    chosen = config.get("pooling_mode") or [POOLINGS.get(name, name) for name in flags]
    chosen = [chosen] if isinstance(chosen, str) else list(chosen)
    chosen = ["last" if one == "lasttoken" else one for one in chosen]
    if len(chosen) != 1 or chosen[0] not in POOLINGS.values():
        raise ValueError(
            f"{found.name} pools its tokens by {' and '.join(chosen) or 'nothing'}: one of "
            f"{', '.join(POOLINGS.values())} is supported"
        )
    return {"pooling": chosen[0], "normalize": "Normalize" in modules}


def _tokenizer(inner: Checkpoint, found: Checkpoint) -> Tokenizer:
    """The tokenizer of a checkpoint; what stands at the ends of a text is what the file's own template puts there."""
    from tokenizers import normalizers

    folder = next((one.folder for one in (inner, found) if (one.folder / "tokenizer.json").is_file()), None)
    if folder is None:
        raise FileNotFoundError(
            f"{found.name} has no tokenizer.json, so that it cannot read texts: fetch it, or let transformers write it "
            "(AutoTokenizer.from_pretrained(...).save_pretrained(FOLDER))"
        )
    core = read_tokenizer(folder, pad="", cls="", sep="").core
    bare, full = (core.encode("a", add_special_tokens=special).ids for special in (False, True))
    at = next((i for i in range(len(full)) if full[i : i + len(bare)] == bare), 0)
    ends = full[:at], full[at + len(bare) :]
    if max(map(len, ends)) > 1:
        raise ValueError(f"the tokenizer of {found.name} puts several tokens at an end of a text, and one is supported")
    cls, sep = (core.id_to_token(end[0]) if end else "" for end in ends)
    config = _told(inner.folder)
    pad = config.get("pad_token") or ""
    pad = "" if pad in (cls, sep, config.get("unk_token")) or core.token_to_id(pad) is None else pad
    tokenizer = read_tokenizer(folder, pad=pad, cls=cls, sep=sep)
    path = inner.folder / "sentence_bert_config.json"
    if path.is_file() and read_json(path).get("do_lower_case"):
        own = [tokenizer.core.normalizer] if tokenizer.core.normalizer else []
        tokenizer.core.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])
    return tokenizer


def _told(folder: Path) -> dict[str, Any]:
    """What tokenizer_config.json and special_tokens_map.json tell, with the text of each token."""
    found: dict[str, Any] = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            found |= read_json(folder / name)
    return {
        name: value["content"] if isinstance(value, dict) and "content" in value else value
        for name, value in found.items()
    }


def _vocabulary(rows: int, tokenizer: Tokenizer | None) -> Vocabulary:
    """The rows of the token table. Raises ValueError where the tokenizer has ids that lie outside."""
    if tokenizer is None:
        return Vocabulary(rows, 0)
    without = len(tokenizer) - (tokenizer.core.id_to_token(tokenizer.pad) is None)
    if without > rows:
        raise ValueError(
            f"the tokenizer has the ids 0 to {without - 1}, and the checkpoint vectors of {rows} tokens only"
        )
    return Vocabulary(rows, tokenizer.pad)


def _max_length(found: Checkpoint, most: int) -> int:
    """How many tokens of a text are encoded: what the checkpoint says, as far as it has positions."""
    lengths = [_told(found.folder).get("model_max_length")]
    if (found.folder / "sentence_bert_config.json").is_file():
        lengths.insert(0, read_json(found.folder / "sentence_bert_config.json").get("max_seq_length"))
    return min([most, *[int(one) for one in lengths if one][:1]])


def _pictures(
    found: Checkpoint, net: Encoder, mean: tuple[float, ...], std: tuple[float, ...]
) -> tuple[ImageInput, tuple[float, ...], tuple[float, ...]]:
    """How pictures become pixels, and the mean and standard deviation of these."""
    path = found.folder / "preprocessor_config.json"
    config = read_json(path) if path.is_file() else {}
    side = net["image_size"] if net.kind == "vit" else 224
    size = config.get("size", {"height": side, "width": side})
    size = {"shortest_edge": size} if isinstance(size, int) and config.get("do_center_crop") else size
    size = {"height": size, "width": size} if isinstance(size, int) else size
    shortest = size.get("shortest_edge")
    crop = config.get("crop_size", {"height": shortest, "width": shortest})
    if shortest and config.get("crop_pct"):  # a ResNet's pictures: small ones are cut out of larger ones
        size = crop = {"height": shortest, "width": shortest}
        shortest = int(shortest / config["crop_pct"]) if shortest < 384 else None
    crop = {"height": crop, "width": crop} if isinstance(crop, int) else crop
    final = crop if shortest else size
    pictures = ImageInput(
        final["height"],
        final["width"],
        net["channels"],
        shortest or 0,
        _RESAMPLING.get(config.get("resample", 2), "bilinear"),
    )
    return pictures, tuple(config.get("image_mean", mean)), tuple(config.get("image_std", std))


_RESAMPLING = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}


def _of_run(folder: Path) -> Parts:
    """The encoders of a finished run."""
    if not (folder / "summary.json").is_file():
        raise ValueError(f"{folder} is not finished: the command that began it goes on with it")
    if not (folder / "encoder.safetensors").is_file():
        raise FileNotFoundError(f"{folder} has no encoder.safetensors, its weights: train it again")
    record = read_json(folder / "model.json")
    inputs = read_inputs(folder, {kind: one for kind, one in record["inputs"].items() if kind in ("text", "image")})
    path = folder / "encoder.safetensors"
    weights = {name: read_numbers(path, entry) for name, entry in entries_of(path).items()}
    nets = {}
    for place, net, spec in _encoders(record["method"]):
        nets[place] = Part(spec, _below(weights, f"net/{net}/"), _below(weights, f"kept/{net}/"))
    if "text" in nets and isinstance(text := inputs.get("text"), TextInput):
        inputs["text"] = text.within(nets["text"].encoder.longest)
    if not nets:
        raise ValueError(f"{folder} has no encoder of texts or pictures: it is a {record['method'].get('class')}")
    for side in ("text", "image"):
        if head := _below(weights, f"net/{side}_head/"):
            sizes = (nets[side].encoder.vector_size, record["method"]["vector_size"])
            bias = record["method"].get("projection_bias", True)
            nets[f"{side}_head"] = Part(Encoder("head", (("sizes", sizes), ("norm", "none"), ("bias", bias))), head, {})
    views = record["method"].get("augmentation", {})
    mean, std = (tuple(x) if isinstance(x := views.get(name, 0.5), list) else x for name in ("mean", "std"))
    scale = float(np.exp(weights["net/log_scale"])) if "net/log_scale" in weights else None
    output = _below(weights, "net/output/")
    output |= {"order": weights["kept/order"].astype(np.int32)} if output and "kept/order" in weights else {}
    return Parts(str(folder), nets, inputs, mean, std, scale, output=output)


def _encoders(method: Mapping[str, Any]) -> Iterator[tuple[str, str, Encoder]]:
    """What the encoders of a recorded method take, what its nets are called, and the encoders themselves."""
    for name, value in method.items():
        if isinstance(value, dict) and value.get("class") == "Encoder":
            spec = Encoder(value["kind"], tuple((key, setting) for key, setting in value["settings"]))
            kind = "text" if spec.kind in _OF_TEXT else "image" if spec.kind in _OF_IMAGES else ""
            if kind:
                yield kind, name.removesuffix("_encoder"), spec


def _below(weights: Mapping[str, np.ndarray], above: str) -> Variables:
    tree: Variables = {}
    for name, x in weights.items():
        if name.startswith(above):
            *way, last = name.removeprefix(above).split("/")
            place = tree
            for part in way:
                place = place.setdefault(part, {})
            place[last] = x
    return tree


#: The last checkpoints that were opened: a command asks for encoder, tokenizer and weights of one, one after the other.
opened = lru_cache(maxsize=2)(open_parts)
