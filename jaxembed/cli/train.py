"""`jaxembed train NAME`: one command for each recipe, with an option for each of its settings."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, make_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, get_type_hints

import tyro

from jaxembed.encoders.functional import Encoder
from jaxembed.fields import Setting, changed, helps, settings
from jaxembed.methods.dense import EncoderMethod
from jaxembed.recipes import RECIPES, Recipe, recipe
from jaxembed.study.options import Asked, Options

ABOUT = """Writes one folder per seed with the vectors, settings, environment, metrics and TensorBoard events, and for an encoder
everything that is needed to use it. A finished run with the same settings is kept."""


@dataclass(frozen=True)
class Where(Asked):
    """The number of runs of a recipe, and the folder that they are written to."""

    seeds: tuple[int, ...] = (1,)  # Seeds, which are all trained at once: 1 2 3.
    # Folder of the runs, with one folder per seed. By default runs/NAME, followed by the objective if one is given.
    output: Path | None = None


class Train:
    """The command of a recipe; `command` adds its options."""

    recipe_name: ClassVar[str]  # not called name, since a setting may be
    recipe: ClassVar[Recipe]


def brief(name: str) -> str:
    """Returns one line about the method of a recipe."""
    return (type(RECIPES[name].method).__doc__ or "").strip().partition("\n")[0]


def command(name: str, line: Sequence[str] = ()) -> type[Train]:
    """Returns the command of a recipe; `line` is the rest of the line, since `--encoder resnet` adds the options of a ResNet."""
    start = recipe(name)
    start = changed(start, typed_kinds(line, deciding(start)))
    kind = make_dataclass(name, [*options(settings(start)), *own_options(Where)], bases=(Train,), frozen=True)
    kind.recipe_name, kind.recipe = name, start
    doc = (type(start.method).__doc__ or "").strip()
    kind.__doc__ = f"{doc}\n\n{ABOUT}\n\n    jaxembed train {name} --seeds 1 2 3\n"
    return kind


def deciding(start: Recipe) -> list[str]:
    """Returns the settings on whose values it depends which others there are, and their defaults."""
    encoders = [one.name for one in settings(start).values() if isinstance(one.value, Encoder)]
    return [*encoders, *(["start"] if isinstance(start.method, EncoderMethod) else [])]


def options(known: Mapping[str, Setting], optional: bool = False) -> list[tuple[str, Any, Any]]:
    """Returns settings as fields for `make_dataclass`. If they are `optional`, None stands for those that were not typed."""
    found = []
    for one in known.values():
        value = one.value.kind if isinstance(one.value, Encoder) else one.shown
        kind = one.kind | None if optional else one.kind
        # An optional setting shows no default, since it differs between contenders.
        plain: dict[str, Any] = (
            {"help_behavior_hint": "", "metavar": one.kind.__name__.upper()}
            if optional and type(one.kind) is type
            else {}
        )
        flag = tyro.conf.arg(name=one.name, help=one.help, **plain)
        found.append((_field(one.name), Annotated[kind, flag], None if optional else value))
    return found


def own_options(kind: type) -> list[tuple[str, Any, Any]]:
    """Returns the fields of a dataclass with their help, for `make_dataclass`."""
    meaning, hints = helps(kind), get_type_hints(kind)
    option = lambda one: Annotated[hints[one.name], tyro.conf.arg(help=meaning.get(one.name, ""))]
    return [(one.name, option(one), one.default) for one in fields(kind)]


def asked_for(arguments: Any, known: Mapping[str, Setting], optional: bool = False) -> dict[str, Any]:
    """Returns the settings that were given other values by a command's `options`."""
    values = {name: getattr(arguments, _field(name)) for name in known}
    if optional:
        return {name: value for name, value in values.items() if value is not None}
    same = lambda one: one.value.kind if isinstance(one.value, Encoder) else one.shown
    return {name: value for name, value in values.items() if value != same(known[name])}


def switched_off(line: Sequence[str], known: Mapping[str, Setting]) -> list[str]:
    """Returns a command line with `--flip 0` in place of `--no-flip`, and so for every number that is a share."""
    shares = {f"--no-{name.replace('_', '-')}": one for name, one in known.items() if one.is_share}
    return [part for word in line for part in ((f"--{word[5:]}", "0") if word.replace("_", "-") in shares else (word,))]


def _field(name: str) -> str:
    return name.replace(".", "__")


def typed_kinds(line: Sequence[str], flags: Iterable[str]) -> dict[str, str]:
    """Returns the values of `--flag VALUE` or `--flag=VALUE` in an unparsed command line, since they determine its options."""
    words = [word for whole in line for word in (whole.split("=", 1) if whole.startswith("--") else [whole])]
    typed = {word[2:].replace("-", "_"): after for word, after in pairwise(words) if word.startswith("--")}
    return {flag: typed[flag] for flag in flags if flag in typed}


def train(arguments: Any) -> None:
    """Trains one run per seed, records them and prints their results."""
    from jaxembed.study.plan import Planned, Variant, short
    from jaxembed.study.train import train_group
    from jaxembed.tasks.words import Words
    from jaxembed.terminal import show_runs, show_summaries
    from jaxembed.training.processes import is_first

    values = asked_for(arguments, settings(arguments.recipe))
    one = changed(arguments.recipe, values)
    name = "-".join([arguments.recipe_name, *([short(one.method.objective)] if "objective" in values else [])])
    output = arguments.output or Path("runs") / name
    variant = Variant(name, one.method, one.training)
    plans = [Planned(output / f"seed-{seed}", variant, seed, one.task.data) for seed in arguments.seeds]
    print(_about(one))
    runs = train_group(plans, one.task, Options.of(arguments), description=name)
    if is_first():
        (show_runs if isinstance(one.task, Words) else show_summaries)(runs)
        print(f"TensorBoard: tensorboard --logdir {output}")


def _about(one: Recipe) -> str:
    """Returns one line about the data."""
    found = one.task.found
    kinds, documents, cut = (found.about.get(name) for name in ("vocabulary", "documents", "truncated"))
    text = f"{one.task.data}: {found.examples:,} {one.task.unit}"
    text += f" of {kinds:,} kinds in {documents:,} documents" if kinds and documents else ""
    return text + (f", {cut:,} texts cut to {one.task.max_length} tokens" if cut else "")  # pyright: ignore[reportAttributeAccessIssue]
