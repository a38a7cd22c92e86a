"""What an experiment is: recipes that are compared, presets that say on what and how long, and the command made from both."""

import itertools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from experiments.vary import read_axes
from jaxembed.fields import Setting, changed, settings
from jaxembed.recipes import Recipe, recipe
from jaxembed.report.report import report
from jaxembed.study.options import Asked, Options
from jaxembed.study.plan import Variant
from jaxembed.study.study import Study
from jaxembed.terminal import write_any_letter
from jaxembed.training.host import start
from jaxembed.training.loop import Interrupted
from jaxembed.training.processes import initialize, is_first

Changes = Mapping[str, Any]


@dataclass(frozen=True)
class Preset:
    """What is compared, how far it is changed, and where it goes.

    contenders: RECIPE or RECIPE/OBJECTIVE, the lines of the table. changes: settings by name, of every contender that has them;
    own: more of them for some contenders, by the name before the slash. own_seeds: likewise, for contenders whose runs are long
    (`--seeds` on the command line is for all). vary: NAME=VALUE,VALUE,... of contenders.
    tune: NAME=VALUE,VALUE,... that each contender is first tried with; own_tune: other values for some, by the name before the
    slash. select: the dev figure by which the best trial is picked.
    """

    contenders: tuple[str, ...]
    results: Path
    changes: Changes = field(default_factory=dict)
    own: Mapping[str, Changes] = field(default_factory=dict)
    seeds: tuple[int, ...] = (1, 2, 3)
    own_seeds: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    vary: tuple[str, ...] = ()
    grid: str = "full"
    tune: tuple[str, ...] = ()
    own_tune: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    select: str = ""


@dataclass(frozen=True)
class Command(Asked):
    """What every experiment can be asked for, besides its preset and the settings of its contenders."""

    results: Path | None = None  # Everything is written under this folder.
    dry_run: bool = False  # Print what would be trained, with parameters, bytes and FLOPs, and train nothing.
    seeds: tuple[int, ...] | None = None  # Each contender is trained with each of them.
    contenders: tuple[str, ...] | None = None  # RECIPE or RECIPE/OBJECTIVE: simclr/dcl.
    # NAME=VALUE,VALUE,... of any setting: each contender that has it is trained with each.
    vary: tuple[str, ...] | None = None
    # What is varied: all combinations (full), or each setting alone (one-at-a-time).
    grid: Literal["full", "one-at-a-time"] | None = None
    # NAME=VALUE,VALUE,... that each contender is tried with first; the best by --select is trained. --tune alone tunes nothing.
    tune: tuple[str, ...] | None = None
    # The figure by which trials are compared, of the data that are set apart to choose settings on.
    select: str | None = None


@dataclass(frozen=True)
class Experiment:
    """An experiment as its script declares it.

    kinds: contenders that are no recipes as they stand, by label or by the name before the slash. presets: the last is the
    default. notes: lines under the table, made from the contenders. hint: what to look at next, printed under the table. show:
    prints more than that, given the results' folder.
    """

    name: str
    title: str
    about: str | None
    presets: Mapping[str, Preset]
    kinds: Mapping[str, Recipe] = field(default_factory=dict)
    notes: Callable[[Mapping[str, Recipe]], Sequence[str]] = lambda recipes: ()
    hint: str = ""
    show: Callable[[Path], None] | None = None

    def base(self, label: str) -> Recipe:
        """The recipe that a label stands for, before any preset. Raises ValueError for one that is not known."""
        kind, _, objective = label.partition("/")
        if label in self.kinds:
            return self.kinds[label]
        plain = self.kinds[kind] if kind in self.kinds else recipe(kind)
        return plain.with_(objective=objective) if objective else plain

    def contender(self, label: str, preset: Preset, changes: Changes | None = None) -> Recipe:
        """The recipe of a label under a preset and `changes` of the command line."""
        found = self.base(label)
        for some in (preset.changes, preset.own.get(label.partition("/")[0], {}), changes or {}):
            if not found.method.trained:  # how the others are trained is no business of what is not
                known = settings(found)
                some = {
                    name: value
                    for name, value in some.items()
                    if name not in known or known[name].path[0] != "training"
                }
            found = changed(found, some, skip_absent=True)
        return found

    def lines(self, preset: Preset, changes: Changes) -> dict[str, tuple[Recipe, dict[str, Any]]]:
        """The lines of the table: each recipe by its label, with the factors that tell it from the others."""
        recipes = {label: self.contender(label, preset, changes) for label in preset.contenders}
        axes = read_axes(preset.vary, partial(like, recipes))
        found = {}
        for label, base in recipes.items():
            kind, _, objective = label.partition("/")
            for point in points(base, axes, preset.grid):
                name = ", ".join([label, *(f"{name}={value}" for name, value in point.items())])
                found[name] = changed(base, point), {"method": kind, "objective": objective or "none", **point}
        return found

    def study(self, preset: Preset, changes: Changes | None = None) -> Study:
        """The study of a preset, with `changes` of the command line."""
        found = self.lines(preset, changes or {})
        tasks = _tasks(one for one, _ in found.values())
        several = len(tasks) > 1
        recipes = {label: one for label, (one, _) in found.items()}
        tune = read_axes(preset.tune, partial(like, recipes), "--tune")
        axes = {kind: read_axes(words, partial(like, recipes), "--tune") for kind, words in preset.own_tune.items()}
        variants = [
            Variant(label, one.method, one.training, factors, tasks[one.task] if several else None,
                    axes.get(factors["method"]) if preset.tune else None, preset.own_seeds.get(factors.get("method", label)))
            for label, (one, factors) in found.items()
        ]  # fmt: skip
        first, varied = next(iter(tasks)), " and ".join(preset.vary)
        combined = "all combinations" if preset.grid == "full" else "each alone"
        notes = [*self.notes(recipes)]
        if varied:
            notes.append(f"Varied, {combined}: {varied}; the other settings stay, whatever would suit a value.")
        if "learning_rate" not in tune and "learning_rate=" not in varied:
            notes += _rates(recipes)
        return Study(
            name=self.name, title=f"{self.title}: {', '.join(dict.fromkeys(one.data for one in tasks))}", folder=preset.results,
            tasks={name: task for task, name in tasks.items()}, variants=variants, seeds=preset.seeds,
            columns=first.columns, curves=first.curves, unranked=first.unranked, lower_is_better=first.lower_is_better,
            settings={"experiment": self.name}, notes=notes,
            tune=tune, select=preset.select,
        )  # fmt: skip

    def parse(self, line: Sequence[str]) -> tuple[Command, Preset, Changes]:
        """What a command line asks for: the command, its preset with what is given besides, and changes of settings."""
        import tyro  # not before there is a line to parse: on a borrowed device presets are of use without it

        from jaxembed.cli.train import asked_for, deciding, options, own_options, switched_off, typed_kinds

        name = typed_kinds(line, ["preset"]).get("preset", list(self.presets)[-1])
        preset = self.presets.get(name, list(self.presets.values())[-1])
        kinds = {label: self.contender(label, preset) for label in preset.contenders}
        given = typed_kinds(line, {name for own in kinds.values() for name in deciding(own)})
        known: dict[str, Setting] = {}
        for own in kinds.values():
            known = {**settings(changed(own, given, skip_absent=True)), **known}
        choice = ("preset", Literal[tuple(self.presets)], name)  # pyright: ignore[reportInvalidTypeForm]
        kind: Any = make_dataclass(
            "Experiment", [choice, *own_options(Command), *options(known, optional=True)], frozen=True
        )
        words = switched_off(line, known)
        command = tyro.cli(kind, args=words, description=self.about, config=(tyro.conf.FlagCreatePairsOff,))
        own = {
            name: getattr(command, name)
            for name in ("results", "seeds", "contenders", "vary", "grid", "tune", "select")
            if getattr(command, name) is not None
        }
        own |= {f"own_{name}": {} for name in ("tune", "seeds") if name in own}
        return command, replace(preset, **own), asked_for(command, known, optional=True)

    def run(self, command: Command, preset: Preset, changes: Changes) -> None:
        """Trains what is missing of the study, writes its tables and plots, and prints them."""
        study = self.study(preset, changes)
        if command.dry_run:
            print(study.dry_run())
            return
        study.run(Options.of(command))
        if not is_first():
            return
        if study.tune:
            report(study.trials.folder, allow_missing=True)
        print(f"\n{report(study.folder)}")
        if self.show:
            self.show(study.folder)
        if self.hint:
            print(f"\n{self.hint}")
        print(f"\nTables and plots: {study.folder}/table.md, table.tex, results.csv, quality.png, curves.png")
        print(f"TensorBoard: {Path(sys.executable).parent / 'tensorboard'} --logdir {study.folder}/runs")

    def main(self, line: Sequence[str] | None = None) -> None:
        """The whole command: parses, runs, and prints errors in one line."""
        write_any_letter()
        try:
            command, preset, changes = self.parse(sys.argv[1:] if line is None else line)
            start(deterministic=command.deterministic)
            initialize()
            self.run(command, preset, changes)
        except Interrupted as stopped:
            sys.stderr.write(f"{self.name}: {stopped}\n")
            sys.exit(130)
        except (ValueError, OSError, FloatingPointError) as error:
            if os.environ.get("JAXEMBED_TRACEBACK"):
                raise
            sys.exit(f"{self.name}: {error}")


def set_apart(share: float, what: str) -> str:
    """The line under a table that says what settings are chosen on; `share` of the training data is set apart for that."""
    if not share:
        return f"No {what} are set apart: all training data are trained on."
    return f"{share:.0%} of the training data are set apart and not trained on; only figures on these {what} choose settings."


def points(base: Recipe, axes: Mapping[str, Sequence[Any]], grid: str) -> list[dict[str, Any]]:
    """The combinations of values that concern a recipe; what is not trained, or has none of the settings, stands once."""
    known = settings(base)
    own = {name: values for name, values in axes.items() if base.method.trained and _concerns(known.get(name))}
    if grid == "full":
        return [dict(zip(own, values, strict=True)) for values in itertools.product(*own.values())]
    changes = [{name: value} for name, values in own.items() for value in values if value != known[name].shown]
    return [{}, *changes]


def _concerns(one: Setting | None) -> bool:
    # A temperature is a setting of the whole family of objectives, and None where this one has none.
    return one is not None and not (one.value is None and "objective" in one.path[:-1])


def like(recipes: Mapping[str, Recipe], name: str) -> Any:
    """A value of the type that a setting has in the first contender that has it."""
    for one in recipes.values():
        known = settings(one)
        if _concerns(known.get(name)):
            return known[name].shown
    changed(next(iter(recipes.values())), {name: None})  # says which there are
    raise ValueError(f"none of the contenders has a setting {name}: leave it out of --vary")


def _rates(recipes: Mapping[str, Recipe]) -> list[str]:
    """A line about learning rates, which tables that were tuned have already."""
    rates = {label: f"{one.training.learning_rate:g}" for label, one in recipes.items() if one.method.trained}
    if len(set(rates.values())) < 2:
        return [f"Learning rate: {rate}." for rate in set(rates.values())]
    return [f"Learning rates: {'; '.join(f'{label} {rate}' for label, rate in rates.items())}."]


def _tasks(recipes: Any) -> dict[Any, str]:
    """The tasks of recipes with a name each: that of the data, with a number where one dataset is read in several ways."""
    names: dict[Any, str] = {}
    for one in recipes:
        if one.task not in names:
            again = sum(task.data == one.task.data for task in names)
            names[one.task] = one.task.data + (f"-{again + 1}" if again else "")
    return names
