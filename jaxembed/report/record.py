"""A study read back from its folder. It is refused if a table of it would mislead."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from jaxembed.study.recorded import JUDGED
from jaxembed.study.run import Run

_PARTIAL = "report what is there with --partial"


@dataclass(frozen=True)
class Entry:
    """A run of a study: its entry in study.json and, once it is finished, the contents of its own files."""

    label: str
    seed: int
    factors: Mapping[str, Any]
    folder: str
    state: Literal["finished", "unfinished", "missing"]
    settings: Mapping[str, Any]
    environment: Mapping[str, Any]
    summary: Mapping[str, Any]

    def figure(self, key: str) -> float | None:
        """A final figure; None if the run has none of this name, NaN if it is not a number."""
        value = self.summary.get(key)
        return None if value is None else float(value)

    @property
    def unmeasured(self) -> Mapping[str, str]:
        """The figures that could not be measured, with the reasons."""
        return self.environment.get("unmeasured", {})

    @property
    def seconds(self) -> float | None:
        """Training time over the number of runs that trained at once."""
        total = self.environment.get("train_seconds")
        return None if total is None else total / self.environment.get("seeds_at_once", 1)

    @property
    def data(self) -> str:
        """The data that the run was trained on: the factor `data`, empty if the study has only one."""
        return str(self.factors.get("data", ""))

    def __str__(self) -> str:
        return f"{self.label} seed {self.seed}"


@dataclass(frozen=True)
class Record:
    """A study as its folder records it. `columns` is `{header: key of a run's summary}`; the next two fields name headers."""

    folder: Path
    name: str
    title: str
    columns: Mapping[str, str]
    lower_is_better: frozenset[str]
    unranked: frozenset[str]
    curves: Sequence[str]
    notes: Sequence[str]
    entries: Sequence[Entry]
    own_seeds: Mapping[str, Sequence[int]] = field(default_factory=dict)  # of labels that are declared to have others

    @cached_property
    def finished(self) -> list[Entry]:
        """The runs that have figures."""
        return [entry for entry in self.entries if entry.state == "finished"]

    @cached_property
    def missing(self) -> list[Entry]:
        """The runs that have none."""
        return [entry for entry in self.entries if entry.state != "finished"]

    @cached_property
    def labels(self) -> dict[str, list[Entry]]:
        """The runs of each label, in the order of the study."""
        found: dict[str, list[Entry]] = {}
        for entry in self.entries:
            found.setdefault(entry.label, []).append(entry)
        return found

    @cached_property
    def speeds(self) -> dict[str, str]:
        """`{key: header}` of the speeds that runs record: `final/words_per_second` is words/s, and so for other units."""
        keys = dict.fromkeys(key for entry in self.finished for key in entry.summary if key.endswith("_per_second"))
        return {key: key.rpartition("/")[2].removesuffix("_per_second") + "/s" for key in keys}


def read_study(folder: str | os.PathLike, allow_missing: bool = False) -> Record:
    """Reads a study's study.json and the runs that it names.

    Raises FileNotFoundError if there is no study.json or, unless `allow_missing`, if a run is missing or unfinished.
    Raises ValueError if study.json is broken, labels have different seeds (unless `allow_missing`), a run does not have
    its seed, or runs on the same data were trained on, or judged by, different revisions of it.
    """
    folder = Path(folder)
    path = folder / "study.json"
    if not path.exists():
        runs = sum(1 for _ in folder.rglob("settings.json"))
        what = f"holds {runs} runs but no study" if runs else "holds no study" if folder.is_dir() else "does not exist"
        raise FileNotFoundError(
            f"{folder} {what}: an experiment writes study.json into the folder that is its --results; give that one"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        columns = dict(content["columns"])
        named = {name: set(content.get(name, ())) for name in ("lower_is_better", "unranked")}
        headers = {
            name: frozenset(header for header, key in columns.items() if names & {header, key})
            for name, names in named.items()
        }
        study = Record(
            folder=folder,
            name=content["name"],
            title=content.get("title") or content["name"],
            columns=columns,
            lower_is_better=headers["lower_is_better"],
            unranked=headers["unranked"],
            curves=content.get("curves", ()),
            notes=content.get("notes", ()),
            entries=[_entry(folder, each) for each in content["runs"]],
            own_seeds=content.get("own_seeds", {}),
        )
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        problem = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{path} is no study's record ({problem}): start the study's command again") from None
    for name, names in named.items():
        unknown = names - set(columns) - set(columns.values())
        if unknown:
            raise ValueError(f"{path}: {name} names {listed(sorted(unknown))}, but the columns are {listed(columns)}")
    _check(study, allow_missing)
    return study


def _entry(folder: Path, declared: Mapping[str, Any]) -> Entry:
    label, seed, place = declared["label"], declared["seed"], declared["folder"]
    try:
        run = Run.open(folder / place)
    except FileNotFoundError:
        return Entry(label, seed, declared.get("factors", {}), place, "missing", {}, {}, {})
    if not run.finished:
        return Entry(label, seed, declared.get("factors", {}), place, "unfinished", {}, {}, {})
    return Entry(
        label, seed, declared.get("factors", {}), place, "finished", run.settings, run.environment, run.summary
    )


def _check(study: Record, allow_missing: bool) -> None:
    """Raises an error if a table would be wrong."""
    commands = Counter(entry.environment.get("command") for entry in study.finished).most_common(1)
    again = "start the study's command again" + (f" ({commands[0][0]})" if commands else "")
    if not study.entries:
        raise ValueError(f"the study {study.name} names no runs: {again}")
    if study.missing and not allow_missing:
        raise FileNotFoundError(
            f"{len(study.missing)} of the {len(study.entries)} runs of {study.name} are missing: "
            f"{listed(f'{entry} ({entry.state})' for entry in study.missing)}. To train them, {again}; or {_PARTIAL}"
        )
    often = Counter(map(str, study.entries))
    twice = [name for name, times in often.items() if times > 1]
    if twice:
        raise ValueError(f"{study.name} has several runs called {listed(twice)}: give them different labels")
    if not same_seeds(study) and not allow_missing:
        raise ValueError(
            f"the labels of {study.name} do not have the same seeds ({seeds_by_label(study)}): run all with "
            f"the same, or {_PARTIAL}"
        )
    for entry in study.finished:
        if entry.settings.get("seed") != entry.seed:
            raise ValueError(
                f"{study.folder / entry.folder} should be a run of seed {entry.seed} and is of "
                f"{entry.settings.get('seed')}: remove it and {again}"
            )
    for label, mine in study.labels.items():
        if len({entry.data for entry in mine}) > 1:
            raise ValueError(f"the runs of {label} are on different data: give each data set labels of its own")
    for data, mine in by_data(study.finished).items():
        for name, done, some in [
            *(("data_fingerprint", "trained on", those) for those in _by_task(mine)), (JUDGED, "judged by", mine),
        ]:  # fmt: skip
            revisions: dict[str, list[Entry]] = {}
            for entry in some:
                revisions.setdefault(str(entry.settings.get(name)), []).append(entry)
            if name == JUDGED:  # older versions did not record them
                revisions.pop("None", None)
            if len(revisions) > 1:
                raise ValueError(
                    f"the runs on {data or 'the data'} were {done} different revisions of it: "
                    f"{'; '.join(f'{key} ({listed(runs)})' for key, runs in revisions.items())}. Remove the runs of the "
                    f"revision that you do not want, and {again}"
                )


def same_seeds(study: Record) -> bool:
    """Returns whether all labels have the same seeds, so that they can be paired, but for those declared to have their own."""
    seeds = {label: sorted(entry.seed for entry in mine) for label, mine in study.labels.items()}
    return len({tuple(own) for label, own in seeds.items() if own != sorted(study.own_seeds.get(label, ()))}) <= 1


def seeds_by_label(study: Record) -> str:
    """Returns the seeds of each label."""
    return "; ".join(f"{label}: {listed(entry.seed for entry in mine)}" for label, mine in study.labels.items())


def by_data(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Returns the runs on each dataset."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.data, []).append(entry)
    return groups


def _by_task(entries: Iterable[Entry]) -> list[list[Entry]]:
    """Returns the runs that read their data alike; others may train on other parts of one dataset."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(json.dumps(entry.settings.get("task"), sort_keys=True), []).append(entry)
    return list(groups.values())


def listed(values: Iterable[Any]) -> str:
    """`a, b, c`."""
    return ", ".join(map(str, values))
