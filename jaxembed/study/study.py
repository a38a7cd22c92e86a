"""A study: variants x data x seeds, declared once; trained as far as it is not; ending as tables and plots.

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

Run twice, it does nothing the second time. A killed study goes on from its last checkpoint; another seed, variant or column
costs what is missing.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from jaxembed.files import locked, write_text
from jaxembed.study.options import Options
from jaxembed.study.plan import Cost, Planned, Variant, at_once, cost, groups, ready
from jaxembed.study.run import Run
from jaxembed.study.train import train_group
from jaxembed.study.values import as_json
from jaxembed.tasks.base import Task
from jaxembed.training.loop import Diverged
from jaxembed.training.processes import is_first, tell, together


@dataclass
class Study:
    """What is compared, on what, how often, and what the table shows.

    folder: everything is written under it. tasks: by name; their data are read when they are first needed.
    variants: the lines of the table; one that names no `data` runs on every task.
    columns: `{header: key of a run's summary}`; lower_is_better: those headers of which less is more; unranked: those
    of which no value is better. curves: metrics to draw. notes: lines under the table. settings: what else settings.json of
    each run should tell.
    at_once: how many runs share a program at most; None as many as fit the memory.
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

    def __post_init__(self):
        self.folder, self.seeds = Path(self.folder), tuple(self.seeds)
        if not self.variants or not self.seeds:
            raise ValueError(f"the study {self.name} has nothing to train: give it variants and seeds")
        labels = [variant.label for variant in self.variants]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"two variants of the study {self.name} are called {twice[0]!r}: a label is for one alone")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"a seed stands twice in {self.seeds}")
        unknown = {variant.data for variant in self.variants if variant.data is not None} - set(self.tasks)
        if unknown:
            raise ValueError(
                f"variants name the data {', '.join(sorted(unknown))}, but the tasks are {', '.join(self.tasks)}"
            )

    @cached_property
    def runs(self) -> list[Planned]:
        """Every run, in the order of the table."""
        return [
            Planned(self._folder_of(variant, name, seed), variant, seed, name)
            for variant in self.variants
            for name in ([variant.data] if variant.data is not None else self.tasks)
            for seed in self.seeds
        ]

    def _folder_of(self, variant: Variant, task: str, seed: int) -> Path:
        several = variant.data is None and len(self.tasks) > 1
        label = _as_folder(f"{task}/{variant.label}" if several else variant.label)
        return self.folder / "runs" / label / f"seed-{seed}"

    @together()
    def run(self, options: Options | None = None) -> None:
        """Trains what is not there yet, group by group; a run that diverges does not stop the others.

        Raises Diverged at the end when runs did, naming them, and Interrupted after Ctrl-C.
        """
        options = options or Options()
        if is_first():
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = locked(self.folder / ".lock", f"{self.folder}: another process is at this study; wait for it")
        else:
            lock = None
        try:
            if is_first():
                self.declare()
            failed = [str(error) for group in self.groups() if (error := self._train(group, options))]
        finally:
            if lock:
                lock.close()
        if failed:
            raise Diverged("; ".join(failed))

    def declare(self) -> None:
        """Writes study.json: what `report` makes its tables from."""
        label = lambda run: (
            f"{run.task}: {run.variant.label}" if len({r.task for r in self.runs}) > 1 else run.variant.label
        )
        told = {
            "name": self.name, "title": self.title or self.name, "columns": dict(self.columns),
            "lower_is_better": list(self.lower_is_better), "unranked": list(self.unranked), "curves": list(self.curves),
            "notes": list(self.notes),
            "runs": [
                {"folder": run.folder.relative_to(self.folder).as_posix(), "label": label(run), "seed": run.seed,
                 "factors": {"data": run.task, **as_json(run.variant.factors)}}
                for run in self.runs
            ],
        }  # fmt: skip
        write_text(self.folder / "study.json", json.dumps(told, indent=1) + "\n")

    def groups(self) -> list[list[Planned]]:
        """The runs in groups that train as one program each, no larger than the memory allows."""
        found = []
        for group in groups(self.runs):
            variant, task = group[0].variant, self.tasks[group[0].task]
            if len(group) > 1:
                sized, data = ready(variant.method, task)
                taken = cost(sized, variant.training, sized.source(data), flops=False)
                size = tell(at_once(taken, variant.training, self.at_once))  # machines may have unlike memory
            else:
                size = 1
            found += [group[start : start + size] for start in range(0, len(group), size)]
        return found

    def _train(self, group: list[Planned], options: Options) -> str | None:
        task = self.tasks[group[0].task]
        labels = list(dict.fromkeys(run.variant.label for run in group))
        description = labels[0] if len(labels) == 1 else f"{labels[0]} and {len(labels) - 1} more"
        try:
            runs = train_group(group, task, options, settings=self.settings, description=description)
        except Diverged as error:
            return f"{description}: {error}"
        if is_first():
            for run in runs:
                self._complete(run, task)
        tell(None)
        return None

    def _complete(self, run: Run, task: Task) -> None:
        """Measures again what a finished run's summary lacks of the columns: a column that was added later."""
        missing = set(self.columns.values()) - set(run.summary)
        if missing and (run.folder / "vectors.safetensors").exists():
            run.amend(task.judge(task.parts(run.vectors())))

    def costs(self) -> list[tuple[Planned, Cost, bool]]:
        """Each run with what it takes and whether it is finished; nothing is trained."""
        known: dict[tuple[int, str], Cost] = {}
        rows = []
        for run in self.runs:
            key = (id(run.variant), run.task)
            if key not in known:
                sized, data = ready(run.variant.method, self.tasks[run.task])
                known[key] = cost(sized, run.variant.training, sized.source(data))
            finished = (run.folder / "summary.json").exists()
            rows.append((run, known[key], finished))
        return rows

    def dry_run(self) -> str:
        """A table of the runs: parameters, bytes, steps and estimated FLOPs of each, and what is finished already."""
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


def _as_folder(label: str) -> str:
    kept = "".join(char if char.isalnum() or char in "-_.=" else "-" for char in label.replace(", ", ","))
    return kept.strip("-.") or "run"
