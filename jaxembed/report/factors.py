"""The figures of a study by factor: the effect of each value of a setting, with the others at the base or averaged over."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from jaxembed.report.record import Entry, Record
from jaxembed.report.significance import Estimate, estimate
from jaxembed.report.tables import NOTHING, Cell, Table, decimals, markdown, shown
from jaxembed.study.environment import command


def ablation(record: Record, start: Mapping[str, Any], varied: Sequence[str], alone: bool) -> str:
    """Returns a table for each factor: means with intervals at each value, and the difference from the base, paired by seed.

    `start` are the factors of the base. If all combinations were trained, the figure of a value is the mean over the
    other factors.
    """
    text = f"# {record.title}, factor by factor\n"
    for name in varied:
        groups = by_value(record.entries, name, start, varied, alone)
        reference = start[name] if start[name] in groups else next(iter(groups))
        table = Table(
            [name, *(part for header in record.columns for part in (header, "Δ"))],
            _lines(record.columns, groups, reference, reference == start[name]),
        )
        text += f"\n## {name}\n\n{markdown(table)}"
    over = f" over seeds {', '.join(map(str, sorted({entry.seed for entry in record.entries})))}"
    rest = ", ".join(f"{name}={start[name]}" for name in start)
    held = "with all else as in the base" if alone else "averaged over all combinations of the other factors"
    return text + (
        f"\nMean ± 95 % interval (Student's t){over}, {held} ({rest}). Δ: difference from the base's value (from the first "
        f"where the base has another), paired by seed. Each run: results.csv. Command: `{command()}`.\n"
    )


def by_value(
    entries: Sequence[Entry], name: str, start: Mapping[str, Any], varied: Sequence[str], alone: bool
) -> dict[Any, list[Entry]]:
    """Returns the runs at each value of a factor, in ascending order; with `alone`, only those that equal the base otherwise."""
    found: dict[Any, list[Entry]] = {}
    for entry in entries:
        if not alone or all(entry.factors[other] == start[other] for other in varied if other != name):
            found.setdefault(entry.factors[name], []).append(entry)
    numbers = all(isinstance(value, int | float) for value in found)
    return dict(sorted(found.items())) if numbers else found


def seed_means(entries: Sequence[Entry], key: str) -> dict[int, float]:
    """Returns `{seed: mean figure}` over the runs of each seed; a seed is left out if one of its runs lacks the figure."""
    figures: dict[int, list[float]] = {}
    for entry in entries:
        value = entry.figure(key)
        figures.setdefault(entry.seed, []).append(math.nan if value is None else value)
    means = {seed: sum(values) / len(values) for seed, values in figures.items()}
    return {seed: value for seed, value in means.items() if math.isfinite(value)}


def _lines(
    columns: Mapping[str, str], groups: Mapping[Any, Sequence[Entry]], reference: Any, is_base: bool
) -> list[list[Cell]]:
    lines = {value: [Cell(f"{value}{' (base)' if is_base and value == reference else ''}")] for value in groups}
    for key in columns.values():
        means = {value: seed_means(entries, key) for value, entries in groups.items()}
        estimates = {value: estimate(mine.values()) for value, mine in means.items()}
        digits = decimals(estimates.values())
        for value, mine in means.items():
            shared = sorted(mine.keys() & means[reference].keys())
            change = estimate(mine[seed] - means[reference][seed] for seed in shared)
            cell = NOTHING if value == reference else _signed(change, digits)
            lines[value] += [Cell(shown(estimates[value], digits)), Cell(cell)]
    return list(lines.values())


def _signed(change: Estimate, digits: int) -> str:
    text = shown(change, digits)
    return f"+{text}" if change.seeds and change.mean > 0 else text
