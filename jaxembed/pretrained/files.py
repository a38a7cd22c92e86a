"""Checkpoints on disk and on the Hugging Face hub: config.json and safetensors, never pickle."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from jaxembed.data.hub import is_name, is_network_failure, network
from jaxembed.tensors import Entry, entries_of, read_numbers

#: Commits of the hub, so that a name means the same later; that of another model is chosen by NAME@REVISION, or is the newest.
REVISIONS = {
    "sentence-transformers/all-MiniLM-L6-v2": "c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
    "google-bert/bert-base-uncased": "86b5e0934494bd15c9632b12f734a8a67f723594",
    "openai-community/gpt2": "607a30d783dfa663caf39e06633721c8d4cfcd7e",
    "openai/clip-vit-base-patch32": "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268",
    "google/vit-base-patch16-224-in21k": "b4569560a39a0f1af58e3ddaf17facf20ab919b0",
}
WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
#: sentence-transformers keep a module in a folder of its own: 0_Transformer, 0_StaticEmbedding, 1_Pooling.
_WANTED = ("*.json", WEIGHTS, "model-*-of-*.safetensors", "[0-9]_*/*.safetensors")
_UNWANTED = ("onnx/*", "openvino/*")
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.h5", "*.msgpack")


@dataclass(frozen=True)
class Checkpoint:
    """A folder with a config.json and weights. name: what it was asked for by; revision: the hub's commit, None for a folder."""

    folder: Path
    name: str
    revision: str | None = None

    @cached_property
    def config(self) -> dict[str, Any]:
        """The content of config.json."""
        return read_json(self.folder / "config.json")

    @cached_property
    def tensors(self) -> dict[str, tuple[Path, Entry]]:
        """Where each tensor lies. Raises FileNotFoundError where there are no safetensors, ValueError for a broken file."""
        found = {}
        for path in self._files():
            found |= {_renamed(name): (path, entry) for name, entry in entries_of(path).items()}
        return found

    def tensor(self, name: str) -> np.ndarray:
        """A tensor in float32."""
        return read_numbers(*self.tensors[name])

    def _files(self) -> list[Path]:
        if (self.folder / WEIGHTS).is_file():
            return [self.folder / WEIGHTS]
        if (self.folder / _INDEX).is_file():
            names = sorted(set(read_json(self.folder / _INDEX).get("weight_map", {}).values()))
            if missing := [name for name in names if not (self.folder / name).is_file()]:
                raise FileNotFoundError(
                    f"{self.folder} has no {', '.join(missing)}, which its {_INDEX} names: fetch it again"
                )
            return [self.folder / name for name in names]
        _refuse_pickles(self.name, [path.name for path in self.folder.iterdir()])
        raise FileNotFoundError(f"{self.folder} has no {WEIGHTS}, the weights of its config.json: fetch it again")


def _refuse_pickles(name: str, files: Iterable[str]) -> None:
    """Raises ValueError if there are weights in a format that runs code among the files of a checkpoint without safetensors."""
    pickled = sorted(file for file in files if any(fnmatch(file, pattern) for pattern in _PICKLED))
    if pickled:
        raise ValueError(
            f"{name} has its weights in {', '.join(pickled)} only, which may run any code when it is opened, and is "
            f'not read here. Convert it where transformers and PyTorch are installed: python -c "from transformers import '
            f"AutoModel; AutoModel.from_pretrained('{name}').save_pretrained('FOLDER')\", and copy its tokenizer.json"
        )


def is_checkpoint(path: str | os.PathLike) -> bool:
    """Whether a folder holds a checkpoint of others: a config.json, or a modules.json of sentence-transformers."""
    return any((Path(path) / name).is_file() for name in ("config.json", "modules.json"))


def on_hub(name: str | os.PathLike) -> bool:
    """Whether this can name a model of the hub: OWNER/MODEL or OWNER/MODEL@REVISION, and nothing here is called so.

    A name that begins with a folder of this machine is a slip in a path.
    """
    name = os.fspath(name).partition("@")[0]
    return "/" in name and is_name(name) and not Path(name).exists() and not Path(name.partition("/")[0]).is_dir()


def find(name: str | os.PathLike) -> Checkpoint:
    """Finds a checkpoint: a folder, or a model of the hub, which is fetched (or was, at the same commit).

    Raises FileNotFoundError where there is none, ValueError for a revision that there is not, and ConnectionError without
    network.
    """
    folder = Path(name)
    if folder.is_dir():
        if not is_checkpoint(folder):
            raise FileNotFoundError(f"{folder} holds no checkpoint: it has no config.json")
        return Checkpoint(folder, os.fspath(name))
    if not on_hub(name):
        raise FileNotFoundError(f"there is no folder {folder}, and a model of the hub is called OWNER/MODEL")
    model, _, revision = os.fspath(name).partition("@")
    return _fetched(model, revision or REVISIONS.get(model))


_ADVICE = f"name a folder with its config.json, {WEIGHTS} and tokenizer.json"


def _fetched(model: str, revision: str | None) -> Checkpoint:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.utils import disable_progress_bars

    options: dict[str, Any] = {"allow_patterns": list(_WANTED), "ignore_patterns": list(_UNWANTED)}
    try:
        with network(f"the model {model!r}", lambda: _ADVICE):
            disable_progress_bars()  # they would break into ours
            try:  # asked once: a download without a network would try for half a minute, with a warning each time
                found = HfApi().model_info(model, revision=revision, timeout=10)
                files = [one.rfilename for one in found.siblings or ()]
                if not any(file.endswith(".safetensors") for file in files):
                    _refuse_pickles(model, [file for file in files if "/" not in file])
                folder = snapshot_download(model, revision=found.sha, **options)
            except Exception as error:
                if not is_network_failure(error):
                    raise
                try:
                    folder = snapshot_download(model, revision=revision, local_files_only=True, **options)
                except LocalEntryNotFoundError:
                    raise error from None
    except GatedRepoError as error:
        raise FileNotFoundError(
            f"the model {model!r} asks to accept its terms on the hub, then `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise ValueError(
            f"the model {model!r} has no revision {revision!r} on the hub: name a commit or a tag"
        ) from error
    except RepositoryNotFoundError as error:
        raise FileNotFoundError(f"there is no folder and no model {model!r} on the hub") from error
    return Checkpoint(Path(folder), model, Path(folder).name)  # the hub's cache names snapshots by their commits


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file. Raises FileNotFoundError where there is none, and ValueError where it is no JSON object."""
    if not path.is_file():
        raise FileNotFoundError(f"{path.parent} has no {path.name}: fetch the checkpoint again")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}): fetch it again") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds {found!r:.40} instead of a JSON object: fetch it again")
    return found


def _renamed(name: str) -> str:
    """Layer norms of the first checkpoints of BERT have their scale and shift as gamma and beta."""
    for old, new in ((".gamma", ".weight"), (".beta", ".bias")):
        name = name[: -len(old)] + new if name.endswith(old) else name
    return name
