"""The settings that people can change, found in dataclasses: their names, types, values and help, and how to change them.

A setting is declared once, as a field of a dataclass with a comment beside it. The command line, the experiments and grids all
use this file to list the settings of a recipe and to change them by name.
"""

import ast
import inspect
import io
import sys
import tokenize
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import cache
from typing import Any, Self, TypeVar

import numpy as np

from jaxembed.encoders.functional import ENCODERS, OF_DATA, Encoder, parameters
from jaxembed.naming import spelled, unknown
from jaxembed.objectives import family_of
from jaxembed.ranges import Range, declared
from jaxembed.training.method import Method

T = TypeVar("T")

#: The way to the setting from which a recipe's encoders and data follow.
_START = ("method", "start")


@dataclass(frozen=True)
class Setting:
    """A setting: how it is called, where it stands, its type and value, and what it means."""

    name: str
    path: tuple[str, ...]
    kind: Any
    value: Any
    help: str
    range: Range | None = None  # of a number that has one

    @property
    def is_share(self) -> bool:
        """Whether this is a probability or a share that may be 0."""
        return self.kind is float and self.range is not None and (self.range.least, self.range.most) == (0, 1)

    @property
    def shown(self) -> Any:
        """The value as people see it: an objective is shown by its name, whatever else stands there as it is."""
        family = family_of(self.value)
        return self.value if family is None else next(name for name, kind in family.items() if kind is type(self.value))


class Chooses:
    """A dataclass of which some settings concern nobody, and some follow from others."""

    def following(self, before: Self) -> Self:
        """The same once its kinds of things have changed: what follows from them is as they want it."""
        return self

    @property
    def hidden(self) -> frozenset[tuple[str, ...]]:
        """The ways to the settings that are not shown, and that cannot be changed by name."""
        return frozenset()


def settings(owner: Any) -> dict[str, Setting]:
    """All settings of a dataclass and of the dataclasses, encoders and objectives in it, by the names that people type.

    A setting goes by its own name where it is the only one of that name, or the one that lies least deep, or the first of a
    recipe's parts that has it; others are called by their way: `augmentation.size`, `text_encoder.depth`, `task.start`.
    """
    hidden = owner.hidden if isinstance(owner, Chooses) else frozenset()
    found = [one for one in _walk(owner, ()) if one.path[:2] not in hidden]
    depths: dict[str, list[int]] = {}
    for one in found:
        depths.setdefault(one.path[-1], []).append(len(one.path))
    named = {}
    for one in found:
        others = sorted(depths[one.path[-1]])
        first = len(one.path) == 2 and one.path[-1] not in named
        alone = len(one.path) == others[0] and (first or others.count(others[0]) == 1)
        name = one.path[-1] if alone else ".".join(one.path[-2:])
        named[name] = replace(one, name=name)
    return named


def changed(owner: T, values: Mapping[str, Any], *, skip_absent: bool = False) -> T:
    """The same with other values: `changed(recipe, {"objective": "dcl", "temperature": 0.1, "encoder.patch": 4})`.

    Another objective by its name keeps the temperature, if it has one; another kind of encoder starts from its own defaults.
    Raises ValueError for a name that there is not (and names near ones) or, with `skip_absent`, leaves it alone.
    """
    values, known = {spelled(name): value for name, value in values.items()}, settings(owner)
    # What kind of thing stands somewhere decides which settings it has: a start, objectives and encoders come first.
    start = {name: value for name, value in values.items() if name in known and known[name].path == _START}
    first = {name: value for name, value in values.items() if name in known and _is_kind(known[name])}
    for some in (start, first, {name: value for name, value in values.items() if name not in start | first}):
        known, tree, before = settings(owner), _Tree(), owner
        for name, value in some.items():
            found = known.get(name) or _by_way(name, known)
            if found:
                tree.put(found.path, value)
            elif not skip_absent:
                raise unknown("setting", name, known)
        owner = _applied(owner, tree)
        if isinstance(owner, Chooses) and isinstance(before, Chooses):
            owner = owner.following(before)
    return owner


class _Tree(dict):
    """Changes of an owner's fields; a `_Tree` inside is that of a field's own fields."""

    def put(self, path: tuple[str, ...], value: Any) -> None:
        *way, last = path
        place = self
        for step in way:
            place = place.setdefault(step, _Tree())
        place[last] = value


def _by_way(name: str, known: Mapping[str, Setting]) -> Setting | None:
    """A setting that is named with more of its path than needed: `objective.temperature`."""
    way = tuple(name.split("."))
    return next((one for one in known.values() if one.path[-len(way) :] == way), None)


def _is_kind(one: Setting) -> bool:
    return isinstance(one.value, Encoder) or family_of(one.value) is not None or one.kind is bool


def _walk(owner: Any, path: tuple[str, ...]) -> Iterator[Setting]:
    hints, meanings = _hints(type(owner)), helps(type(owner))
    for field in fields(owner):
        if not field.init:
            continue
        value, here, text = getattr(owner, field.name), (*path, field.name), meanings.get(field.name, "")
        if isinstance(value, Encoder):
            yield Setting("", here, str, value, f"{text} One of {', '.join(ENCODERS)}.".strip())
            meaning, kinds = helps(ENCODERS[value.kind]), _hints(ENCODERS[value.kind].__init__)
            for name in parameters(value.kind):
                if name not in OF_DATA:
                    now = np.dtype(value[name]).name if name == "dtype" else value[name]
                    yield Setting("", (*here, name), _type(kinds.get(name, Any), now), now, meaning.get(name, ""))
        elif (family := family_of(value)) is not None:
            yield Setting("", here, str, value, f"{text} One of {', '.join(family)}.".strip())
            yield from _of_family(value, family, here)
        elif is_dataclass(value):
            if type(None) in typing.get_args(hints.get(field.name)):
                yield Setting("", here, bool, True, text)  # False leaves it out
            yield from _walk(value, here)
        elif any(is_dataclass(one) for one in typing.get_args(hints.get(field.name))):
            continue  # left out here: only code can put it there
        else:
            ranged = declared(type(owner)).get(field.name)
            kind = _type(hints.get(field.name, type(value)), value)
            yield Setting("", here, kind, value, text, ranged and ranged.range)


def _of_family(value: Any, family: Mapping[str, type], path: tuple[str, ...]) -> Iterator[Setting]:
    """Every setting that some objective of a family has; None where this one has not."""
    seen: dict[str, list[str]] = {}
    for name, kind in family.items():
        for field in fields(kind):
            seen.setdefault(field.name, []).append(name)
    for name, having in seen.items():
        kind = family[having[0]]
        text = f"{helps(kind).get(name, '')} Of {', '.join(having)}.".strip()
        now = getattr(value, name, None)
        yield Setting("", (*path, name), _hints(kind).get(name, float) | None, now, text)


def _applied(owner: Any, tree: Mapping[str, Any]) -> Any:
    changes = {
        name: _applied(getattr(owner, name), value)
        if isinstance(value, _Tree) and not isinstance(owner, Encoder)
        else value
        for name, value in tree.items()
    }
    if not changes:
        return owner
    if isinstance(owner, Encoder):
        return owner.with_(**changes)
    family = family_of(owner)
    if family is not None:
        name = next(name for name, kind in family.items() if kind is type(owner))
        for field in changes:
            if field not in {one.name for one in fields(owner)}:
                raise ValueError(f"the objective {name} has no {field}: leave {field} out, or choose another objective")
    for name, value in changes.items():
        old = getattr(owner, name)
        if isinstance(value, bool) and is_dataclass(old):
            changes[name] = old if value else None
        elif isinstance(value, str) and isinstance(old, Encoder):
            changes[name] = old if old.kind == value else Encoder(spelled(value))
        elif isinstance(value, str) and (family := family_of(old)) is not None:
            changes[name] = named_as(old, spelled(value), family)
    return owner.with_(**changes) if isinstance(owner, Method) else replace(owner, **changes)


def named_as(old: Any, name: str, family: Mapping[str, type]) -> Any:
    """The objective of that name in a family, with the temperature of the old one if both have any."""
    if name not in family:
        raise unknown("objective", name, family)
    kept = {
        one.name: getattr(old, one.name)
        for one in fields(family[name])
        if one.name == "temperature" and hasattr(old, one.name)
    }
    return family[name](**kept)


def _hints(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _type(hint: Any, value: Any) -> Any:
    """A type that a command line can read: what an annotation leaves open is as the value is."""
    if isinstance(hint, str) or hint is Any:
        return type(value) if isinstance(value, bool | int | float | str) else str
    return hint


@cache
def helps(kind: type) -> dict[str, str]:
    """What each field of a class (or parameter of its `__init__`) means: the comment behind it, or the lines above it."""
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__[:-1]):
        if one.__module__.partition(".")[0] not in ("builtins", "typing", "flax"):
            found |= _helps_of(one)
    return found


@cache
def _parsed(module: str) -> tuple[dict[str, ast.ClassDef], dict[int, str], set[int]]:
    """A module's classes by their `__qualname__`, its comments by their lines, and the lines that are comments alone."""
    source = inspect.getsource(sys.modules[module])
    comments = {
        token.start[0]: token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT and not token.string.startswith("# fmt:")
    }
    lines = source.splitlines()
    classes: dict[str, ast.ClassDef] = {}

    def visit(node: ast.AST, path: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef):
                classes[path + child.name] = child
                visit(child, f"{path}{child.name}.")
            elif isinstance(child, ast.FunctionDef):
                visit(child, f"{path}{child.name}.<locals>.")
            else:
                visit(child, path)

    visit(ast.parse(source), "")
    return classes, comments, {number for number in comments if lines[number - 1].lstrip().startswith("#")}


def _helps_of(kind: type) -> dict[str, str]:
    try:
        classes, comments, alone = _parsed(kind.__module__)
        body = classes[kind.__qualname__].body
    except (OSError, TypeError, KeyError):  # made by hand in a session
        return {}
    places = {
        node.target.id: node for node in body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    for node in body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            places |= {arg.arg: arg for arg in (*node.args.args, *node.args.kwonlyargs)}
    found = {}
    for name, node in places.items():
        above, number = [], node.lineno - 1
        while number in alone:
            above.insert(0, comments[number])
            number -= 1
        # A formatter puts a long line's comment between brackets, behind the value: on any line of the field it is its help.
        behind = " ".join(comments[line] for line in range(node.lineno, (node.end_lineno or 0) + 1) if line in comments)
        if text := " ".join([*above, behind]).strip():
            found[name] = text
    return found
