"""Ranges of numbers, and choices: declared in the annotation of a dataclass field, checked whenever one is made.

    @dataclass(frozen=True)
    class Contrast(Checked):
        temperature: Positive = 0.1
        queue: Count = 4096
        labels: Literal["ignore", "positive"] = "ignore"

`Contrast(temperature=0)` raises `ValueError: temperature must be above 0, not 0`.
"""

import math
import typing
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from numbers import Integral, Real
from typing import Annotated, Any, Literal, NamedTuple


@dataclass(frozen=True)
class Range:
    """The finite numbers from `least` (itself allowed) or `above` (itself not allowed) to `most` or `below`.

    why: what an error message adds, where the range alone does not explain itself.
    """

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    why: str = ""

    def __contains__(self, value: float) -> bool:
        """Whether `value` lies in the range; NaN and the infinities never do."""
        return (
            math.isfinite(value)
            and (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.most is None or value <= self.most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        """The range in words, as they follow "must be"."""
        if self.least is not None and self.most is not None:
            return f"from {_written(self.least)} to {_written(self.most)}"
        bounds = {"at least": self.least, "above": self.above, "at most": self.most, "below": self.below}
        return (
            " and ".join(f"{word} {_written(bound)}" for word, bound in bounds.items() if bound is not None) or "finite"
        )

    def check(self, name: str, value: Any, whole: bool = False) -> None:
        """Raises ValueError that names the field, the range and the value, unless `value` lies in the range.

        whole: whether the value must be an integer. Arrays pass: a compiled program puts them where numbers were checked.
        """
        if value is None or isinstance(value, str):
            raise ValueError(f"{name} must be a number {self}, not {value!r}")
        if not isinstance(value, Real):
            return
        if whole and not isinstance(value, Integral):
            raise ValueError(f"{name} must be a whole number {self}, not {value}")
        if float(value) not in self:
            also = "finite and " if math.isinf(value) and str(self) != "finite" else ""
            raise ValueError(f"{name} must be {also}{self}, not {value}{f': {self.why}' if self.why else ''}")


def _written(bound: float) -> str:
    return str(bound) if isinstance(bound, int) else f"{bound:g}"


Finite = Annotated[float, Range()]
Positive = Annotated[float, Range(above=0)]
NotNegative = Annotated[float, Range(least=0)]
Share = Annotated[float, Range(least=0, most=1)]
ShareBelowOne = Annotated[float, Range(least=0, below=1)]
Count = Annotated[int, Range(least=1)]
CountOrZero = Annotated[int, Range(least=0)]


class Checked:
    """A dataclass whose fields must lie in the ranges, or be among the choices, that its annotations declare.

    A subclass with a `__post_init__` of its own calls this one first.
    """

    def __post_init__(self) -> None:
        for name, one in declared(type(self)).items():
            one.check(name, getattr(self, name))
        for name, known in choices(type(self)).items():
            if (value := getattr(self, name)) not in known:
                *first, last = map(repr, known)
                raise ValueError(f"{name} must be {', '.join(first)} or {last}, not {value!r}")


class Declared(NamedTuple):
    """What an annotation says: the range, whether numbers must be whole, and whether None is allowed."""

    range: Range
    whole: bool
    optional: bool

    def check(self, name: str, value: Any) -> None:
        """Checks a value, or each number of a tuple; raises ValueError as `Range.check` does."""
        if value is None and self.optional:
            return
        for one in value if isinstance(value, tuple | list) else (value,):
            self.range.check(name, one, self.whole)


@cache
def declared(kind: type) -> dict[str, Declared]:
    """What is declared of each field of a dataclass that has a range; nothing of another class."""
    hints = typing.get_type_hints(kind, include_extras=True)
    names = [field.name for field in fields(kind) if field.init] if is_dataclass(kind) else []
    found = {name: declared_by(hints[name]) for name in names}
    return {name: one for name, one in found.items() if one is not None}


@cache
def choices(kind: type) -> dict[str, tuple[Any, ...]]:
    """The values that each field of a dataclass may have, where its annotation is a `Literal`."""
    hints = typing.get_type_hints(kind)
    names = [field.name for field in fields(kind) if typing.get_origin(hints[field.name]) is Literal]
    return {name: typing.get_args(hints[name]) for name in names}


def declared_by(hint: Any) -> Declared | None:
    """What an annotation declares: `Count | None` or `tuple[Share, Share]`, say; None where it has no range."""
    ranged = list(_ranged(hint))
    return Declared(ranged[0][1], ranged[0][0] is int, type(None) in typing.get_args(hint)) if ranged else None


def _ranged(hint: Any) -> Iterator[tuple[Any, Range]]:
    if typing.get_origin(hint) is Annotated:
        base, *notes = typing.get_args(hint)
        yield from ((base, note) for note in notes if isinstance(note, Range))
    else:
        for part in typing.get_args(hint):
            yield from _ranged(part)
