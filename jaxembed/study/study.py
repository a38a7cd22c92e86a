"""A study: variants x data x seeds, declared once. It trains what is missing, and ends with tables and plots.

    study = Study(
        name="temperatures",
        folder=Path("results/temperatures"),
        tasks={"enwik8-small": Words("enwik8-small")},
        variants=grid(SkipGram(objective="infonce"), Training(epochs=3), temperature=[0.5, 1.0, 2.0]),
        seeds=range(5),
        columns=COLUMNS,
    )
    study.run()
    print(report(study.folder))

A second run does nothing. A killed study continues from its last checkpoint, and with another seed, variant or column only what
is missing is trained or measured.
"""

import json
import unicodedata
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from jaxembed.files import locked, write_text
from jaxembed.study import tuning
from jaxembed.study.judged import trained
from jaxembed.study.options import Options
from jaxembed.study.packed import unpack
from jaxembed.study.plan import Cost, Planned, Variant, at_once, cost, digest, groups, ready
from jaxembed.study.recorder import judgement
from jaxembed.study.run import Run
from jaxembed.study.train import train_group
from jaxembed.study.values import as_json
from jaxembed.tasks.base import DEV, Task, parted
from jaxembed.training.loop import Diverged
from jaxembed.training.numbers import seeds_of
from jaxembed.training.processes import alone, is_first, tell, together


class Failed(ValueError):
    """Some runs of a study failed. The message names them; all others are finished."""


@dataclass
class Study:
    """What is compared, on which data, how often, and what the table shows.

    folder: the folder for everything that is written. tasks: by name; their data are read when they are first needed.
    variants: the lines of the table; a variant that names no `data` runs on every task.
    columns: `{header: key of a run's summary}`. lower_is_better: headers of columns in which a lower value is better.
    unranked: headers of columns in which no value is better than another.
    curves: metrics to draw. notes: lines under the table. settings: further entries for settings.json of each run.
    at_once: the largest number of runs that share a program; None allows as many as fit into memory.
    tune: `{setting: values}`. Each variant that is trained is first tried with all combinations, with a seed of their
    own, and is then trained with the best by `select`, a dev figure of the summary (`study.tuning`).
    """

    name: str
    folder: Path
    tasks: Mapping[str, Task]
    variants: Sequence[Variant]
    seeds: Iterable[int]
    columns: Mapping[str, str]
    title: str = ""
    lower_is_better: Sequence[str] = ()
    unranked: Sequence[str] = ()
    curves: Sequence[str] = ("epoch/loss",)
    notes: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    at_once: int | None = None
    tune: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    select: str = ""

    def __post_init__(self):
        self.folder, self.seeds = Path(self.folder), seeds_of(self.seeds)
        if not self.variants or not self.seeds:
            raise ValueError(f"the study {self.name} has nothing to train: give it variants and seeds")
        labels = [variant.label for variant in self.variants]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"two variants of the study {self.name} are called {twice[0]!r}: a label is for one alone")
        for seeds in (self.seeds, *(seeds_of(one.seeds) for one in self.variants if one.seeds is not None)):
            if len(set(seeds)) < len(seeds):
                raise ValueError(f"a seed stands twice in {seeds}")
            if other := set(seeds) - set(self.seeds):
                raise ValueError(
                    f"a variant has the seeds {sorted(other)}, which the study {self.name} lacks: {self.seeds}"
                )
        unknown = {variant.data for variant in self.variants if variant.data is not None} - set(self.tasks)
        if unknown:
            raise ValueError(
                f"variants name the data {', '.join(sorted(unknown))}, but the tasks are {', '.join(self.tasks)}"
            )
        lines = [self._label(run) for run in {(run.variant.label, run.task): run for run in self.runs}.values()]
        if again := sorted({line for line in lines if lines.count(line) > 1}):
            raise ValueError(
                f"two lines of the table of {self.name} would be called {again[0]!r}: change a label or a task"
            )

        if self.tune:
            tuning.check(self.variants, self.tune, self.tasks, self.select)

    @cached_property
    def runs(self) -> list[Planned]:
        """Every run, in the order of the table."""
        lines = [
            (variant, name)
            for variant in self.variants
            for name in ([variant.data] if variant.data is not None else self.tasks)
        ]
        several = len(self.tasks) > 1
        folders = folder_names([(task, v.label) if several and v.data is None else (v.label,) for v, task in lines])
        return [
            Planned(self.folder / "runs" / place / f"seed-{seed}", variant, seed, task)
            for (variant, task), place in zip(lines, folders, strict=True)
            for seed in (self.seeds if variant.seeds is None else variant.seeds)
        ]

    def _label(self, run: Planned) -> str:
        """Returns what the table calls a run's line."""
        several = len({self._data(each) for each in self.runs}) > 1
        return f"{self._data(run)}: {run.variant.label}" if several else run.variant.label

    def _data(self, run: Planned) -> str:
        """Returns what the table calls the data of a run: of variants with a task of their own it is the dataset."""
        return run.task if run.variant.data is None else self.tasks[run.task].data

    def run(self, options: Options | None = None) -> None:
        """Trains the missing runs, group by group. A run that fails does not stop the others. Trials come first.

        Raises ValueError before anything is trained if a folder holds a run with other settings. At the end raises
        Diverged if runs diverged and Failed if runs failed otherwise, with their names; Interrupted after Ctrl-C.
        """
        options, failed = options or Options(), None
        if self.tune:
            try:
                self.trials.run(options)
            except Diverged as error:
                warnings.warn(f"some trials of {self.name} diverged and are not picked: {error}", stacklevel=2)
            except Failed as error:  # everything that can be trained is trained first, as in every study
                failed = error
        (self.picked() if self.tune else self)._run(options)
        if failed:
            raise failed

    @together()
    def _run(self, options: Options) -> None:
        if is_first() and not options.overwrite:
            for run in self.runs:
                unpack(run.folder)
                if run.folder.exists():
                    Run.check(run.folder, run.settings(self.tasks[run.task], self.settings))
        if is_first():
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = locked(self.folder / ".lock", f"{self.folder}: another process is training this study; wait for it")
        else:
            lock = None
        try:
            if is_first():
                self.declare()
            failed = [failure for group in self.groups() for failure in self._train(group, options)]
        finally:
            if lock:
                lock.close()
        if failed:
            kind = Diverged if all(isinstance(error, Diverged) for _, error in failed) else Failed
            raise kind("; ".join(f"{name}: {error}" for name, error in failed)) from failed[0][1]

    @property
    def trials(self) -> "Study":
        """The trials of `tune`, which are a study of their own in the folder "tuning"."""
        title = f"Trials of {self.title or self.name}"
        variants = tuning.trials(self.variants, self.tune)
        header = next((header for header, key in self.columns.items() if key == self.select), self.select)
        return replace(
            self, folder=self.folder / "tuning", variants=variants, seeds=[tuning.SEED], title=title, tune={}, select="",
            columns={header: self.select}, notes=[f"Settings are picked by {self.select}."],
            lower_is_better=[header] if self._lower else [], unranked=[],
        )  # fmt: skip

    @property
    def _lower(self) -> bool:
        """Whether less is better of the figure that trials are picked by, which is a column or its figure on the dev part."""
        return self.select.removesuffix(DEV) in {
            self.columns.get(header, "").removesuffix(DEV) for header in self.lower_is_better
        }

    def picked(self) -> "Study":
        """Returns the study with the best of its trials on disk; trials that diverged are not considered."""
        folders = {run.variant.label: run.folder for run in self.trials.runs}
        picks = []
        for variant in self.variants:
            labels = [one.label for one in tuning.trials([variant], self.tune)]
            found = [tuning.figure(folders[label], self.select) for label in labels] if is_first() else []
            picks.append(tuning.pick(variant, self.tune, tell(found), self._lower))
        variants = [tuning.applied(*pair) for pair in zip(self.variants, (one.point for one in picks), strict=True)]
        notes = [*self.notes, tuning.note(picks, self.tune, self.select)]
        return replace(self, variants=variants, tune={}, select="", notes=notes)

    def declare(self) -> None:
        """Writes study.json, from which `report` makes its tables."""
        declared = {
            "name": self.name, "title": self.title or self.name, "columns": dict(self.columns),
            "lower_is_better": list(self.lower_is_better), "unranked": list(self.unranked), "curves": list(self.curves),
            "notes": list(self.notes),
            "own_seeds": {self._label(run): list(run.variant.seeds) for run in self.runs if run.variant.seeds is not None},
            "runs": [
                {"folder": run.folder.relative_to(self.folder).as_posix(), "label": self._label(run), "seed": run.seed,
                 "factors": {"data": self._data(run), **as_json(run.variant.factors)}}
                for run in self.runs
            ],
        }  # fmt: skip
        write_text(self.folder / "study.json", json.dumps(declared, indent=1) + "\n")

    def groups(self) -> list[list[Planned]]:
        """Returns the runs in groups that train as one program each, no larger than the memory allows."""
        found = []
        for group in groups(self.runs):
            variant, task = group[0].variant, self.tasks[group[0].task]
            if len(group) > 1:
                sized, data = ready(variant.method, task)
                taken = cost(sized, sized.training_for(data, variant.training), sized.source(data), flops=False)
                # the machines may have different amounts of memory
                size = tell(at_once(taken, variant.training, self.at_once))
            else:
                size = 1
            found += [group[start : start + size] for start in range(0, len(group), size)]
        return found

    def _train(self, group: list[Planned], options: Options) -> list[tuple[str, Exception]]:
        """Trains a group and returns its failures by name. If some of its runs diverge, the others are trained without them."""
        task = self.tasks[group[0].task]
        labels = list(dict.fromkeys(run.variant.label for run in group))
        description = labels[0] if len(labels) == 1 else f"{labels[0]} and {len(labels) - 1} more"
        try:
            runs = train_group(group, task, options, settings=self.settings, description=description)
            if is_first():
                for run in runs:
                    self._complete(run, task)
            tell(None)
        except Diverged as error:
            own = dict.fromkeys(group[place].variant.label for place in error.places) or labels
            rest = [run for place, run in enumerate(group) if place not in error.places]
            more = self._train(rest, options) if rest and error.places else []
            return [(", ".join(own), error), *more]
        except Exception as error:  # whatever it is, it does not concern the other groups
            if not alone():  # the other processes wait for this one in the middle of the group
                raise
            return [(description, error)]
        return []

    def _complete(self, run: Run, task: Task) -> None:
        """Measures figures that a finished run's summary lacks, for columns that were added later."""
        missing = set(self.columns.values()) - set(run.summary)
        if missing and (run.folder / "vectors.safetensors").exists():
            figures, reasons = parted(judgement(task, trained(run)))
            run.amend(figures)
            run.note(unmeasured=reasons)

    def costs(self) -> list[tuple[Planned, Cost, bool]]:
        """Returns each run with its cost and whether it is finished; nothing is trained."""
        known: dict[tuple[int, str], Cost] = {}
        rows = []
        for run in self.runs:
            key = (id(run.variant), run.task)
            if key not in known:
                sized, data = ready(run.variant.method, self.tasks[run.task])
                known[key] = cost(sized, sized.training_for(data, run.variant.training), sized.source(data))
            rows.append((run, known[key], Run.is_finished(run.folder)))
        return rows

    def dry_run(self) -> str:
        """Returns a table of the runs: parameters, bytes, steps and estimated FLOPs of each, and whether it is finished."""
        if self.tune:
            return f"Trials:\n{self.trials.dry_run()}\n\nThen, with what they pick:\n{self.picked().dry_run()}"
        lines = [["run", "seed", "data", "parameters", "state", "steps", "FLOPs", ""]]
        rows = self.costs()
        for run, each, finished in rows:
            size = f"{(each.state_bytes + each.shard_bytes) / 1e6:,.0f} MB"
            flops = f"{each.flops:.2e}" if each.flops else "?"
            lines.append([run.variant.label, str(run.seed), run.task, f"{each.parameters:,}", size, f"{each.steps:,}", flops,
                          "finished" if finished else ""])  # fmt: skip
        width = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        text = "\n".join(
            "  ".join(cell.ljust(size) for cell, size in zip(line, width, strict=True)).rstrip() for line in lines
        )
        left = [each for _, each, finished in rows if not finished]
        total = sum(each.flops for each in left)
        return f"{text}\n\n{len(left)} of {len(rows)} runs to train in {len(self.groups())} groups, about {total:.2e} FLOPs."


_LONGEST = 180  # bytes of a folder's name without a digest; file systems allow 255, some fewer


def folder_names(labels: Sequence[tuple[str, ...]]) -> list[str]:
    """Returns a folder's name for each label, a tuple of its parts; the names differ even where case is ignored.

    A name is the label with "-" in place of every character other than letters, digits, and `_.=`. Labels that would
    share a name, and long ones, get a digest at the end.
    """
    plain = [_as_folder("/".join(parts)) for parts in labels]
    alike = [unicodedata.normalize("NFC", name).casefold() for name in plain]
    names = []
    for parts, name, key in zip(labels, plain, alike, strict=True):
        size = len(name.encode())
        if alike.count(key) > 1 or size > _LONGEST:
            cut = name.encode()[: _LONGEST - 17].decode(errors="ignore")
            name = f"{cut}-{digest(*parts)}"
        names.append(name)
    return names


def _as_folder(label: str) -> str:
    kept = "".join(char if char.isalnum() or char in "-_.=" else "-" for char in label.replace(", ", ","))
    return kept.strip("-.") or "run"
