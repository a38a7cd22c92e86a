"""A run on disk: a folder with its settings, environment, metrics, vectors and TensorBoard files.

    settings.json  environment.json  metrics.jsonl  vectors.safetensors  events.out.tfevents.*  summary.json
    and of an encoder: encoder.safetensors  model.json  tokenizer.json  retrieval*.png

`summary.json` is written last, so a run is finished exactly if this file exists. If a finished run is trained again,
all its files stay until the new run has finished: the new run is written to `.next` in the folder and then takes its
place.
"""

import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from jaxembed.files import Lock, locked, write_bytes, write_text
from jaxembed.study.environment import environment, peak_memory
from jaxembed.study.packed import unpack
from jaxembed.study.recorded import differences
from jaxembed.study.values import as_json
from jaxembed.tracking import JsonLines, TensorBoard, Tracker, Trackers, read_metrics

if TYPE_CHECKING:
    from jaxembed.data.inputs import DocumentInput, GraphInput, Input
    from jaxembed.training.method import Params
    from jaxembed.vectors import KeyedVectors

_NEXT = ".next"
_LOCK = ".lock"
_SUMMARY = "summary.json"
_ANEW = "remove the folder {} and run again"
_OURS = (
    "settings.json",
    "environment.json",
    "metrics.jsonl",
    "vectors.safetensors",
    "encoder.safetensors",
    "model.json",
    "tokenizer.json",
    "words.json",
    "graph.safetensors",
    "interactions.safetensors",
    "embedded.*",
    "retrieval*.png",
    "events.out.tfevents.*",
    "projector*",
)


class Run:
    """The folder of a run. Make one with `Run.create`, and open one with `Run.open`."""

    def __init__(self, folder: Path, files: Path) -> None:
        self.folder = folder
        self._files = files  # the folder that this run writes to: the folder itself, or its .next
        self._tracker: Trackers | None = None
        self._lock: Lock | None = None
        self.made_now = False  # whether this object made the run, and did not find it finished
        self.kept = False  # whether the files of an unfinished run were kept, so that a checkpoint can continue it

    @classmethod
    def create(
        cls, folder: str | os.PathLike, settings: Any, *, overwrite: bool = False, keep_unfinished: bool = False
    ) -> Self:
        """Makes the folder and writes `settings` (a dataclass or mapping) and the environment into it.

        If the folder holds a finished run with the same settings, that run is returned unchanged: `.finished` is True
        and the caller may skip it. If the folder holds a run with other settings, finished or not, ValueError is
        raised. With `overwrite` the run is made anew in both cases. The files of an unfinished (killed) run are removed
        or, with `keep_unfinished`, left to `rewind`. Until the run ends, another process that tries to make it gets a
        BlockingIOError.
        """
        folder = Path(folder)
        text = json.dumps(as_json(settings), indent=2, allow_nan=False) + "\n"
        if not overwrite:
            cls.check(folder, settings)
        _settle(folder)
        run = cls(folder, folder)
        if run.finished:
            if not overwrite:
                return run
            run = cls(folder, folder / _NEXT)
        run._files.mkdir(parents=True, exist_ok=True)
        run._lock = locked(
            folder / _LOCK, f"{folder} is being trained by another process: wait for it, or choose another"
        )
        run.kept = keep_unfinished and not overwrite and (run._files / "settings.json").exists()
        if not run.kept:
            _clear(run._files)
        write_text(run._files / "settings.json", text)
        began = run.environment.get("started") if (run._files / "environment.json").exists() else None
        run.note(**environment(), **({"first_started": began} if began else {}))
        return run

    @classmethod
    def check(cls, folder: str | os.PathLike, settings: Any) -> None:
        """Raises ValueError if `folder` holds a run with other settings, finished or not, or a broken settings.json."""
        folder = Path(folder)
        _settle(folder)
        run = cls(folder, folder)
        if not (folder / "settings.json").exists():
            if run.finished:
                raise ValueError(f"{folder} holds a finished run without settings.json: {_ANEW.format(folder)}")
            return
        if changed := differences(run.settings, json.loads(json.dumps(as_json(settings)))):
            kind = "a finished" if run.finished else "an unfinished"
            raise ValueError(
                f"{folder} holds {kind} run with other settings ({'; '.join(changed)}): choose another folder, or "
                "overwrite it (--overwrite)"
            )

    @classmethod
    def is_finished(cls, folder: str | os.PathLike) -> bool:
        """Whether a folder holds a finished run."""
        folder = Path(folder)
        _settle(folder)
        return cls(folder, folder).finished

    def position(self) -> dict[str, int]:
        """Returns the positions of the files that grow, in bytes, to which `rewind` goes back."""
        return {path.name: path.stat().st_size for path in self._growing()}

    def rewind(self, position: Mapping[str, int]) -> None:
        """Cuts the files that grow to their size at `position`, so that a run can continue from there; {} removes them.

        Raises ValueError if one of them is missing or shorter than at `position`: then the run cannot continue.
        """
        growing = self._growing()
        for name in set(position) - {path.name for path in growing}:
            raise ValueError(
                f"{self._files / name} existed at the checkpoint and is missing: {_ANEW.format(self.folder)}"
            )
        for path in growing:
            size = path.stat().st_size
            if size < position.get(path.name, 0):
                raise ValueError(f"{path} is shorter than it was at the checkpoint: {_ANEW.format(self.folder)}")
            if path.name in position:
                os.truncate(path, position[path.name])
            else:
                path.unlink()

    def _growing(self) -> list[Path]:
        return sorted(
            path for pattern in ("metrics.jsonl", "events.out.tfevents.*") for path in self._files.glob(pattern)
        )

    @classmethod
    def open(cls, folder: str | os.PathLike) -> Self:
        """Opens a run to read it. Raises FileNotFoundError if the folder holds none."""
        folder = Path(folder)
        _settle(folder)
        if not (folder / "settings.json").exists():
            raise FileNotFoundError(f"{folder} holds no run: it has no settings.json")
        return cls(folder, folder)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Closes the trackers. A run that was not finished stays unfinished."""
        if self._tracker is not None:
            self._tracker.finish(None)
            self._tracker = None
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @property
    def finished(self) -> bool:
        """Whether the run has ended and all its files exist."""
        return (self._files / _SUMMARY).exists()

    @property
    def settings(self) -> dict[str, Any]:
        """The settings, as JSON values."""
        return _read(self._files / "settings.json")

    @property
    def environment(self) -> dict[str, Any]:
        """The result of `environment()`, and the facts noted since."""
        return _read(self._files / "environment.json")

    @property
    def summary(self) -> dict[str, Any]:
        """The final figures; empty until the run is finished."""
        return _read(self._files / _SUMMARY) if self.finished else {}

    def metrics(self) -> list[dict[str, Any]]:
        """Returns the lines of metrics.jsonl in order, so far as there are any."""
        path = self._files / "metrics.jsonl"
        return read_metrics(path) if path.exists() else []

    def vectors(self) -> "KeyedVectors":
        """Returns the vectors with their keys. Raises FileNotFoundError if the run has saved none."""
        from jaxembed.vectors import KeyedVectors

        path = self._files / "vectors.safetensors"
        if not path.exists():
            raise FileNotFoundError(f"{self.folder} has no vectors.safetensors: the run has saved no vectors")
        return KeyedVectors.load(path)

    def tracker(self, *others: Tracker) -> Trackers:
        """Starts and returns the run's trackers (metrics.jsonl, TensorBoard, `others`); the run finishes them."""
        self._tracker = Trackers(JsonLines(self._files / "metrics.jsonl"), TensorBoard(self._files), *others)
        self._tracker.start(self.settings)
        return self._tracker

    def note(self, **facts: Any) -> None:
        """Adds facts to environment.json, such as the data's fingerprint."""
        path = self._files / "environment.json"
        known = _read(path) if path.exists() else {}
        write_text(path, json.dumps(known | as_json(facts), indent=2, allow_nan=False) + "\n")

    def save(self, vectors: "KeyedVectors") -> None:
        """Writes vectors.safetensors, whole or not at all."""
        vectors.save(self._files / "vectors.safetensors")

    def save_model(
        self, method: Any, params: "Params", inputs: Mapping[str, "Input | GraphInput | DocumentInput"]
    ) -> None:
        """Writes everything that is needed to encode, which `jaxembed.load` reads.

        encoder.safetensors holds the learned and kept arrays by their path, model.json the method and the inputs that
        turn raw inputs into examples, and tokenizer.json the tokenizer if there is one.
        """
        from safetensors.numpy import save

        leaves = {"/".join(path): np.asarray(leaf) for path, leaf in flat(params._asdict())}
        write_bytes(self._files / "encoder.safetensors", save(leaves))
        kept = {kind: one.save(self._files) for kind, one in inputs.items()}
        text = json.dumps({"method": as_json(method, "method"), "inputs": kept}, indent=2, allow_nan=False)
        write_text(self._files / "model.json", text + "\n")

    @property
    def trained_method(self) -> dict[str, Any]:
        """The method as it was adapted to its data, as JSON values; {} if that was not recorded."""
        path = self._files / "model.json"
        return _read(path)["method"] if path.exists() else self.environment.get("trained_method", {})

    def has_inputs(self, *kinds: str) -> bool:
        """Whether the run takes one of these kinds of raw inputs."""
        path = self._files / "model.json"
        return path.exists() and bool(set(kinds) & set(_read(path)["inputs"]))

    def inputs(self) -> dict[str, "Input"]:
        """Returns what turns texts ("text") and pictures ("image") into examples of the method.

        Runs that were recorded before model.json existed record the size of their pictures, but have no tokenizer: then
        FileNotFoundError is raised, or a warning given if pictures can be encoded.
        """
        from jaxembed.data.inputs import read_inputs, without_tokenizer

        path, data = self._files / "model.json", self.environment.get("data", {})
        if path.exists():
            return read_inputs(self._files, _read(path)["inputs"])
        known: dict[str, dict[str, Any]] = {}
        if "shape" in data:
            known["image"] = dict(zip(("height", "width", "channels"), data["shape"], strict=True))
        if "tokenizer" in data:
            if not known:
                raise FileNotFoundError(without_tokenizer(self.folder))
            warnings.warn(without_tokenizer(self.folder), stacklevel=2)
        return read_inputs(self._files, known)

    def encoder(self) -> "Params":
        """Returns the weights that `save_model` wrote. Raises FileNotFoundError if there are none."""
        from safetensors.numpy import load_file

        from jaxembed.training.method import Params

        path = self._files / "encoder.safetensors"
        if not path.exists():
            raise FileNotFoundError(f"{self.folder} has no encoder.safetensors: the run has saved no encoder")
        tree: dict[str, Any] = {"tables": {}, "net": {}, "kept": {}}
        for name, leaf in load_file(path).items():
            *folders, last = name.split("/")
            place = tree
            for folder in folders:
                place = place.setdefault(folder, {})
            place[last] = leaf
        return Params(**tree)

    def save_pictures(self, pictures: Mapping[str, np.ndarray]) -> None:
        """Writes pictures, uint8 `[h, w, 3]`, as PNG files named by the last part of their tags."""
        from PIL import Image

        for tag, picture in pictures.items():
            Image.fromarray(picture).save(self._files / f"{tag.split('/')[-1]}.png")

    def amend(self, figures: Mapping[str, Any]) -> None:
        """Adds figures to the summary of a finished run that were measured later from its vectors."""
        write_text(
            self._files / _SUMMARY, json.dumps(self.summary | as_json(figures), indent=2, allow_nan=False) + "\n"
        )

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Marks the run as finished, with its final figures (None: not measured); it replaces an earlier run in the folder."""
        if self._tracker is not None:
            self._tracker.finish({name: value for name, value in summary.items() if value is not None})
            self._tracker = None
        self.note(finished=datetime.now(UTC).isoformat(timespec="seconds"), peak_memory=peak_memory())
        write_text(self._files / _SUMMARY, json.dumps(as_json(summary), indent=2, allow_nan=False) + "\n")
        _settle(self.folder)
        self._files = self.folder
        self.made_now = True
        self._release()


def flat(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Returns the leaves of nested dictionaries with their paths."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from flat(value, (*path, name))
        elif value is not None:
            yield (*path, name), value


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        problem = f"is not valid JSON ({error})"
    else:
        if isinstance(found, dict):
            return found
        problem = f"holds {found!r:.40} instead of a JSON object"
    raise ValueError(f"{path} {problem}: {_ANEW.format(path.parent)}")


def _clear(folder: Path) -> None:
    """Removes a run's own files and no others, the mark of a finished run last."""
    for pattern in (*_OURS, _SUMMARY):
        for path in folder.glob(pattern):
            path.unlink()


def _settle(folder: Path) -> None:
    """Unpacks a run, and moves a finished run from `.next` into its place. It may be killed at any point and called again."""
    unpack(folder)
    staged = folder / _NEXT
    if not (staged / _SUMMARY).exists():
        return
    if (folder / _SUMMARY).exists():
        _clear(folder)
    # From here on the folder has no summary.json, so a second attempt leaves alone the files that the first one moved.
    for path in sorted(staged.iterdir(), key=lambda path: path.name == _SUMMARY):
        os.replace(path, folder / path.name)
    shutil.rmtree(staged)
