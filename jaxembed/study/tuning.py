"""Equal tuning: each variant of a study gets the same number of trials, and is trained with the best by a dev figure.

An objective that is worse at another objective's learning rate is not shown to be worse. Trials have a seed of their
own, so that no seed of the table was used to choose a setting.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from jaxembed.fields import changed, settings
from jaxembed.naming import unknown
from jaxembed.study.plan import Both, Variant, short
from jaxembed.study.run import Run
from jaxembed.tasks.base import DEV, Task

SEED = 0  # the seed of all trials


def points(variant: Variant, axes: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Returns the settings that a variant is tried with: all combinations of `axes`, none for methods without training.

    A variant's own axes (`Variant.tune`) take precedence over those of the study. Raises ValueError for an unknown
    setting.
    """
    if not variant.method.trained:
        return []
    own = axes if variant.tune is None else variant.tune
    known = settings(Both(variant.method, variant.training))
    if missing := [name for name in own if name not in known or known[name].value is None]:
        raise unknown(f"setting of {variant.label} to tune", missing[0], known)
    return [dict(zip(own, values, strict=True)) for values in itertools.product(*own.values())] if own else []


def check(
    variants: Sequence[Variant], axes: Mapping[str, Sequence[Any]], tasks: Mapping[str, Task], select: str
) -> None:
    """Raises ValueError if variants have different budgets or no task of their own, or if `select` is no dev figure."""
    counts = {variant.label: len(points(variant, axes)) for variant in variants if variant.method.trained}
    if len(set(counts.values())) > 1:
        budgets = ", ".join(f"{label} {count}" for label, count in counts.items())
        raise ValueError(f"each variant is tuned with the same number of trials, but these are given: {budgets}")
    if len(tasks) > 1 and any(variant.data is None for variant in variants):
        raise ValueError("where a study has several tasks, a variant that is tuned names its own: Variant(data=...)")
    for task in tasks.values():
        own = task.columns.values()
        known = [name for name in (*own, *(f"{name}{DEV}" for name in own)) if task.half(name) == "dev"]
        if select not in known:
            raise ValueError(
                f"select names the figure by which settings are picked, one of what {task.data} sets apart for that "
                f"({', '.join(known)}), not {select!r}"
            )


def trials(variants: Sequence[Variant], axes: Mapping[str, Sequence[Any]]) -> list[Variant]:
    """Returns one variant per trial."""
    found = []
    for variant in variants:
        for point in points(variant, axes):
            label = ", ".join([variant.label, *(f"{name}={short(value)}" for name, value in point.items())])
            found.append(
                replace(applied(variant, point), label=label, factors={**variant.factors, **point}, seeds=None)
            )
    return found


def applied(variant: Variant, point: Mapping[str, Any]) -> Variant:
    """Returns a variant with other settings."""
    both = changed(Both(variant.method, variant.training), dict(point))
    return replace(variant, method=both.method, training=both.training, tune=None)


@dataclass(frozen=True)
class Pick:
    """The settings that a variant is trained with, and the number of trials that they were picked from."""

    variant: str
    point: Mapping[str, Any]
    trials: int


def pick(variant: Variant, axes: Mapping[str, Sequence[Any]], figures: Sequence[float | None], lower: bool) -> Pick:
    """Returns the best of a variant's trials by their `figures`, or its own settings if no trial has a figure."""
    known = {place: value for place, value in enumerate(figures) if value is not None}
    best = (min if lower else max)(known, key=lambda place: known[place], default=None)
    return Pick(variant.label, {} if best is None else points(variant, axes)[best], len(figures))


def figure(folder: Path, select: str) -> float | None:
    """Returns the figure of a trial; None if it diverged, or if the figure could not be measured."""
    try:
        value = Run.open(folder).summary.get(select)
    except FileNotFoundError:
        return None
    return value if value is not None and math.isfinite(value) else None


def note(picks: Sequence[Pick], axes: Mapping[str, Sequence[Any]], select: str) -> str:
    """Returns the line under the table that says what was picked."""
    tried = [one for one in picks if one.trials]
    lines = [
        f"{one.variant} {', '.join(f'{name} {short(value)}' for name, value in one.point.items())}"
        if one.point
        else f"{one.variant} as declared, since no trial could be measured"
        for one in tried
    ]
    budget = tried[0].trials if tried else 0
    return (
        f"Equal tuning: each contender that is trained had {budget} trials over {' and '.join(axes)}, with seed {SEED}; "
        f"the best by `{select}` was picked: {'; '.join(lines)}. Trials: tuning/."
    )
