"""The runs of a study in one file: `runs.jsonl` has one line per run, with the contents of the run's text files.

A study of hundreds of runs is then one file to keep and compare, instead of four files per run. When one of the runs is
opened, `unpack` puts the files back where they were, byte for byte. This also happens if its folder was removed: to
train such a run anew, overwrite it.
"""

import json
import os
from pathlib import Path
from typing import Any

from jaxembed.files import write_text

NAME = "runs.jsonl"
_JSON, _LINES = ("environment.json", "summary.json", "settings.json"), "metrics.jsonl"


def pack(study: str | os.PathLike) -> int:
    """Moves the text files of all finished runs in a study's folder into its runs.jsonl; returns the number of lines.

    A study within it, such as that of its trials, that has a runs.jsonl of its own keeps its runs there.
    """
    study = Path(study)
    within = [path.parent for path in study.rglob(NAME) if path.parent != study]
    count = sum(map(pack, within))
    found = sorted(path.parent for path in study.rglob("summary.json"))
    folders = [folder for folder in found if not any(folder.is_relative_to(one) for one in within)]
    lines = packed(study) | {folder.relative_to(study).as_posix(): _read(folder) for folder in folders}
    write_text(study / NAME, "".join(json.dumps({"run": run, **lines[run]}) + "\n" for run in sorted(lines)))
    for folder in folders:
        for name in (*_JSON, _LINES):
            (folder / name).unlink(missing_ok=True)
        if not any(folder.iterdir()):
            folder.rmdir()
    return count + len(lines)


def unpack(folder: Path) -> None:
    """Writes the text files of a packed run, and of all that were packed with it; folders that hold a run are left alone.

    settings.json is written last. A folder without it holds no run, so that the next call completes one that was
    killed.
    """
    study = next(
        (place for place in list(folder.parents)[:4] if (place / NAME).exists()), None
    )  # runs/LABEL/seed-N under it
    if study is None or (folder / "settings.json").exists():
        return
    runs = packed(study)
    if folder.relative_to(study).as_posix() not in runs:
        return
    for run, found in runs.items():
        if (study / run / "settings.json").exists():
            continue
        if found[_LINES] is not None:
            write_text(study / run / _LINES, "".join(json.dumps(line) + "\n" for line in found[_LINES]))
        for name in _JSON:
            write_text(study / run / name, json.dumps(found[name], indent=2) + "\n")


def _read(folder: Path) -> dict[str, Any]:
    metrics = folder / _LINES
    found: dict[str, Any] = {name: json.loads((folder / name).read_text(encoding="utf-8")) for name in _JSON}
    lines = metrics.read_text(encoding="utf-8").splitlines() if metrics.exists() else None
    return {**found, _LINES: None if lines is None else [json.loads(line) for line in lines]}


def packed(study: Path) -> dict[str, dict[str, Any]]:
    """Returns `{folder of a run: {file name: content}}` of the runs in a study's runs.jsonl; {} if there is no such file."""
    if not (study / NAME).exists():
        return {}
    lines = [json.loads(line) for line in (study / NAME).read_text(encoding="utf-8").splitlines()]
    return {line.pop("run"): line for line in lines}
