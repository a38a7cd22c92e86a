"""Turns the runs of a study into tables, plots and a CSV file. Missing runs are not hidden, and different data are not mixed."""

import csv
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxembed.files import replacing, write_text
from jaxembed.report import plots, tables
from jaxembed.report.record import Entry, Record, by_data, listed, read_study, same_seeds, seeds_by_label
from jaxembed.report.significance import LEVEL, TESTED_FROM, Estimate, Standing, estimate, standings
from jaxembed.report.tables import Cell, Mark, Table, decimals, seconds, shown, speed
from jaxembed.study.environment import place, revision
from jaxembed.study.run import Run

Row = dict[str, Any]
Standings = Mapping[str, Mapping[str, Standing]]  # {column: {label: standing}}


def report(folder: str | os.PathLike, allow_missing: bool = False) -> str:
    """Writes table.md, table.tex, results.csv, quality.png and curves.png of the study in `folder`; returns the Markdown.

    Raises the errors of `read_study`. With `allow_missing`, each of the five files says which runs are missing.
    """
    study = read_study(folder, allow_missing)
    scores = compared(study)
    table, notes = summary_table(study, scores), _notes(study, scores)
    partial = _partial(study)
    page = f"# {study.title}\n\n" + "".join(f"> **{text}**\n\n" for text in partial) + tables.markdown(table) + "\n"
    page += "".join(f"* {note}\n" for note in notes)
    caption = " ".join([*partial, f"{study.title.rstrip('.')}.", *_statistics(study, scores)])
    write_text(study.folder / "table.md", page)
    write_text(study.folder / "table.tex", tables.latex(table, caption, f"tab:{study.name}", notes))
    write_csv(study.folder / "results.csv", rows(study))
    _draw(study, study.folder / "quality.png", study.folder / "curves.png")
    return page


def rows(study: Record) -> list[Row]:
    """Returns one row for each run and column, also of missing runs; `value` is None if a run lacks the figure.

    Raises ValueError for a factor that has the name of one of the rows' own columns.
    """
    factors = list(dict.fromkeys(name for entry in study.entries for name in entry.factors))
    found = []
    for entry in study.entries:
        own = {
            "train_seconds": entry.environment.get("train_seconds"),
            "seeds_at_once": entry.environment.get("seeds_at_once"),
            **{key.rpartition("/")[2]: entry.figure(key) for key in study.speeds},
            "data_fingerprint": entry.settings.get("data_fingerprint"),
            "commit": entry.environment.get("commit"),
            "folder": entry.folder,
            "state": entry.state,
        }
        figures = {header: entry.figure(key) for header, key in study.columns.items()} or {None: None}
        for header, value in figures.items():
            facts = {"seed": entry.seed, "benchmark": header, "value": value, **own}
            clash = {"label", *facts} & set(factors)
            if clash:
                raise ValueError(
                    f"a factor of {study.name} may not be called {listed(sorted(clash))}: results.csv has its own"
                )
            found.append({"label": entry.label, **{name: entry.factors.get(name) for name in factors}, **facts})
    return found


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Writes tidy rows, whole or not at all."""
    with replacing(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def compared(study: Record) -> dict[str, dict[str, Standing]]:
    """Returns `{column: {label: standing}}`, without unranked columns; labels are compared only if they have the same data."""
    found: dict[str, dict[str, Standing]] = {header: {} for header in study.columns}
    for header, key in study.columns.items():
        if header in study.unranked:
            continue
        for group in by_data(study.entries).values():
            labels = dict.fromkeys(entry.label for entry in group)
            values = {label: _finite(study.labels[label], key) for label in labels}
            found[header] |= standings(values, header in study.lower_is_better)
    return found


def summary_table(study: Record, scores: Standings) -> Table:
    """Returns one line for each label: mean and interval of each column, speeds, and seconds per run."""
    lines = {label: [Cell(label)] for label in study.labels}
    for header, key in study.columns.items():
        found = {label: _estimate(mine, key) for label, mine in study.labels.items()}
        digits = decimals(found.values())
        for label, value in found.items():
            lines[label].append(Cell(shown(value, digits), _mark(scores[header].get(label))))
    for label, mine in study.labels.items():
        lines[label] += [Cell(speed(_estimate(mine, key))) for key in study.speeds]
        lines[label].append(Cell(seconds(_seconds(mine))))
    headers = [f"{header} ↓" if header in study.lower_is_better else header for header in study.columns]
    return Table(["label", *headers, *study.speeds.values(), "s a run"], list(lines.values()))


def _mark(standing: Standing | None) -> Mark:
    if standing is None:
        return Mark.NONE
    return Mark.BEST if standing.best else Mark.LEVEL if standing.level_with_best else Mark.NONE


def _finite(entries: Iterable[Entry], key: str) -> dict[int, float]:
    """Returns `{seed: figure}` of the runs that have the figure."""
    figures = {entry.seed: entry.figure(key) for entry in entries}
    return {seed: value for seed, value in figures.items() if value is not None and math.isfinite(value)}


def _estimate(entries: Iterable[Entry], key: str) -> Estimate:
    return estimate(_finite(entries, key).values())


def _seconds(entries: Iterable[Entry]) -> Estimate:
    return estimate(entry.seconds for entry in entries if entry.seconds is not None)


# Notes: everything that a reader must know to trust the table.


def _partial(study: Record, named: bool = True) -> list[str]:
    """Returns what is missing, for every output (a plot has no room for names); nothing if the study is complete."""
    found = []
    if study.missing:
        names = f": {listed(study.missing)}" if named else ""
        found.append(f"PARTIAL: {len(study.missing)} of {len(study.entries)} runs are missing{names}.")
    if not same_seeds(study):
        found.append(f"UNEVEN: the labels do not have the same seeds{f' ({seeds_by_label(study)})' if named else ''}.")
    return found


def _statistics(study: Record, scores: Standings) -> list[str]:
    """Returns how figures and marks were computed, for the notes and the caption."""
    seeds = sorted({entry.seed for entry in study.entries})
    if len(seeds) < 2:
        sentences = [f"One seed ({seeds[0]}): no interval and no test of significance."]
    else:
        own = "; ".join(f"{label}: {listed(some)}" for label, some in study.own_seeds.items())
        sentences = [f"Mean ± 95 % interval (Student's t) over seeds {listed(seeds)}{f' ({own})' if own else ''}."]
    if any(scores.values()):
        several = " of those on the same data" if len(by_data(study.entries)) > 1 else ""
        sentences.append(f"Bold: the best mean{several}.")
    pairs = {s.pairs for column in scores.values() for s in column.values() if s.tested}
    if pairs:
        n = str(min(pairs)) if len(pairs) == 1 else f"{min(pairs)} to {max(pairs)}"
        sentences.append(
            f"†: not significantly worse than the best (two-sided t-test paired by seed, n = {n}; p ≥ {LEVEL} after "
            f"Holm's correction within the column)."
        )
    elif len(seeds) > 1 and any(scores.values()):
        sentences.append(f"No test of significance: with fewer than {TESTED_FROM} seeds it would find next to nothing.")
    if study.lower_is_better:
        sentences.append("↓: lower is better.")
    return sentences


def _notes(study: Record, scores: Standings) -> list[str]:
    """Returns every line under the table."""
    units = f"{listed(study.speeds.values())}: of all runs that trained at once, together. " if study.speeds else ""
    data = [
        f"{name or 'one set'}, fingerprint {mine[0].settings.get('data_fingerprint')}"
        for name, mine in by_data(study.finished).items()
    ]
    return [
        " ".join(_statistics(study, scores)),
        *study.notes,
        *_gaps(study),
        f"{units}s a run: training time divided by the number of runs that trained at once.",
        *([f"Data: {'; '.join(data)}."] if data else []),
        *_environments(study),
        "The folder of each run, which results.csv names, holds its settings.json and environment.json.",
    ]


def _gaps(study: Record) -> list[str]:
    """Returns the figures that finished runs of a label lack, with the reasons, so that it is clear what a mean is over."""
    found = []
    for header, key in study.columns.items():
        for label, mine in study.labels.items():
            runs, have = sum(entry.state == "finished" for entry in mine), len(_finite(mine, key))
            reasons = dict.fromkeys(why for entry in mine if (why := entry.unmeasured.get(key)))
            if 0 < have < runs:
                why = listed(reasons) or "the others have no finite figure"
                found.append(f"**{header} of {label} is over {have} of {runs} runs**: {why}.")
            elif runs and not have and reasons:
                found.append(f"**{header} of {label} could not be measured**: {'; '.join(reasons)}.")
    return found


def _environments(study: Record) -> list[str]:
    """Returns devices, commits, versions and commands; also that times are not comparable if the runs differ in them."""
    facts = {
        "Device": place,
        "Commit": revision,
        "Versions": lambda about: listed(f"{name} {version}" for name, version in about.get("versions", {}).items()),
        "Trained at once": lambda about: str(about.get("seeds_at_once", "unknown")),
        "Command": lambda about: f"`{about.get('command')}`",
    }
    tallies = {name: Counter(fact(entry.environment) for entry in study.finished) for name, fact in facts.items()}
    mixed = [name.lower() for name, tally in tallies.items() if len(tally) > 1 and name != "Command"]
    warning = f"**Times are not comparable**: the runs differ in {' and '.join(mixed)}." if mixed else ""
    if {"commit", "versions"} & set(mixed):
        warning += " Figures are, as far as these changed nothing in training or measuring."
    lines = [_tally(name, tally) for name, tally in tallies.items() if tally]
    return [warning, *lines] if warning else lines


def _tally(name: str, tally: Counter[str]) -> str:
    if len(tally) == 1:
        return f"{name}: {next(iter(tally))}."
    return f"{name}: " + "; ".join(f"{value} ({times} runs)" for value, times in tally.most_common()) + "."


# Pictures.


def _draw(study: Record, quality: Path, curves: Path) -> None:
    """Draws the plots that study.json names. A picture of an earlier report is removed if there is nothing to draw."""
    title = "\n".join([study.title, *_partial(study, named=False)])
    panels = {
        f"{header} (lower is better)" if header in study.lower_is_better else header: {
            label: (_seconds(mine).mean, _estimate(mine, key)) for label, mine in study.labels.items()
        }
        for header, key in study.columns.items()
    }
    if panels:
        plots.plot_quality(quality, panels, title)
    else:
        quality.unlink(missing_ok=True)
    if not study.curves:
        curves.unlink(missing_ok=True)
        return
    lines = {
        label: [
            _Lines(entry, Run.open(study.folder / entry.folder).metrics())
            for entry in mine
            if entry.state == "finished"
        ]
        for label, mine in study.labels.items()
    }
    timed = all(run.seconds for runs in lines.values() for run in runs if run.metrics)
    drawn = {key: {label: _curve(runs, key, timed) for label, runs in lines.items()} for key in study.curves}
    plots.plot_curves(curves, drawn, "training time of a run (s)" if timed else "step", title)


class _Lines:
    """The metrics of a run by step, and its share of the seconds at some of the steps."""

    def __init__(self, entry: Entry, metrics: Sequence[Mapping[str, Any]]):
        self.metrics, at_once = metrics, entry.environment.get("seeds_at_once", 1)
        self.seconds = {line["step"]: line["train/seconds"] / at_once for line in metrics if "train/seconds" in line}

    def values(self, key: str) -> dict[int, float]:
        """Returns `{step: value}` of a metric."""
        return {line["step"]: line[key] for line in self.metrics if isinstance(line.get(key), int | float)}

    def at(self, steps: Sequence[int]) -> np.ndarray:
        """Returns the seconds at `steps`, interpolated between those that were recorded."""
        known = sorted(({0: 0.0} | self.seconds).items())
        return np.interp(steps, *np.array(known).T)


def _curve(runs: Sequence[_Lines], key: str, timed: bool) -> plots.Curve:
    """Returns the mean and interval over the seeds at every step that all of them recorded."""
    values = [run.values(key) for run in runs]
    steps = sorted(set.intersection(*map(set, values))) if values else []
    estimates = [estimate(mine[step] for mine in values) for step in steps]
    x = np.mean([run.at(steps) for run in runs], axis=0) if timed and steps else np.array(steps, np.float64)
    return plots.Curve(x, np.array([e.mean for e in estimates]), np.array([e.half_width for e in estimates]))
