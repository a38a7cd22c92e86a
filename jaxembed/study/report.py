"""Finished runs to tables and pictures: tidy rows, mean and interval over seeds, quality against time."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxembed.files import replacing, write_text
from jaxembed.study.run import Run

Row = dict[str, Any]


class Estimate(NamedTuple):
    """A mean over seeds and the half-width of its 95 % interval (NaN from a single seed)."""

    mean: float
    half_width: float
    seeds: int


def estimate(values: Iterable[float]) -> Estimate:
    """Mean and Student's 95 % interval of independent `values`."""
    from scipy.stats import t

    array = np.asarray(list(values), np.float64)
    n = len(array)
    if n < 2:
        return Estimate(float(array.mean()) if n else math.nan, math.nan, n)
    half = t.ppf(0.975, n - 1) * array.std(ddof=1) / math.sqrt(n)
    return Estimate(float(array.mean()), float(half), n)


def tidy(name: str, run: Run) -> list[Row]:
    """One row a figure of the final summary: `{method, seed, benchmark, value}` and what belongs to the run."""
    environment = run.environment
    own = {
        "method": name,
        "seed": run.settings["seed"],
        "train_seconds": environment["train_seconds"],
        "seeds_at_once": environment["seeds_at_once"],
        "words_per_second": run.summary["final/words_per_second"],
        "data_fingerprint": run.settings["data_fingerprint"],
    }
    figures = {key: value for key, value in run.summary.items() if key.startswith(("similarity/", "analogies/"))}
    return [{**own, "benchmark": key.split("/", 1)[1], "value": value} for key, value in figures.items()]


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Writes tidy rows, whole or not at all."""
    with replacing(path) as part, open(part, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def by_method(rows: Sequence[Row], benchmarks: Sequence[str]) -> dict[str, dict[str, Estimate]]:
    """`{method: {benchmark: estimate over seeds}}`, with `words/s` and `seconds` among them; order is that of the rows.

    `words/s` counts the words of all seeds that trained at once; `seconds` is what one seed's share of that took.

    Raises ValueError when the rows are of more than one corpus, or when a method lacks a seed that another has.
    """
    if len({row["data_fingerprint"] for row in rows}) > 1:
        raise ValueError("these runs were trained on different data: tables compare runs on the same data only")
    methods = list(dict.fromkeys(row["method"] for row in rows))
    seeds = {method: sorted({row["seed"] for row in rows if row["method"] == method}) for method in methods}
    if len({tuple(found) for found in seeds.values()}) > 1:
        raise ValueError(f"some runs are missing: the seeds of each method are {seeds}")
    table = {}
    for method in methods:
        mine = [row for row in rows if row["method"] == method]
        cells = {name: estimate(row["value"] for row in mine if row["benchmark"] == name) for name in benchmarks}
        runs = {row["seed"]: row for row in mine}.values()
        cells["words/s"] = estimate(row["words_per_second"] for row in runs)
        cells["seconds"] = estimate(row["train_seconds"] / row["seeds_at_once"] for row in runs)
        table[method] = cells
    return table


def shown(value: Estimate, digits: int = 3) -> str:
    """`.685 ± .012`, or `1.2 M` for speeds."""
    if value.mean >= 1000:
        return f"{value.mean / 1e6:.2f} M"
    if digits == 0:
        return f"{value.mean:.0f}"
    text = f"{value.mean:.{digits}f}"
    return text if math.isnan(value.half_width) else f"{text} ± {value.half_width:.{digits}f}"


def markdown(table: Mapping[str, Mapping[str, Estimate]], benchmarks: Sequence[str]) -> str:
    """A Markdown table: a line a method; the best mean of each benchmark is bold."""
    best = {name: max(cells[name].mean for cells in table.values()) for name in benchmarks}
    lines = [["method", *benchmarks, "words/s", "s a seed"]]
    for method, cells in table.items():
        marked = [f"**{shown(cells[n])}**" if cells[n].mean == best[n] else shown(cells[n]) for n in benchmarks]
        tail = [shown(cells["words/s"]), shown(cells["seconds"], 0)]
        lines.append([method, *marked, *tail])
    width = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    rule = ["-" * width[0], *("-" * (size - 1) + ":" for size in width[1:])]
    place = lambda line: [
        line[0].ljust(width[0]),
        *(cell.rjust(size) for cell, size in zip(line[1:], width[1:], strict=True)),
    ]
    return "".join("| " + " | ".join(place(line)) + " |\n" for line in [lines[0], rule, *lines[1:]])


def write_table(path: Path, title: str, table: str, notes: Sequence[str]) -> None:
    """A Markdown page: title, table, notes."""
    write_text(path, f"# {title}\n\n{table}\n" + "\n".join(f"* {note}" for note in notes) + "\n")


def plot_quality(
    path: Path, table: Mapping[str, Mapping[str, Estimate]], benchmarks: Sequence[str], title: str
) -> None:
    """A panel a benchmark, a point a method: quality against the seconds that a seed took, with 95 % intervals."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    figure, axes = plt.subplots(1, len(benchmarks), figsize=(3.6 * len(benchmarks), 3.8), sharex=True, squeeze=False)
    colours = plt.get_cmap("tab10").colors  # pyright: ignore[reportAttributeAccessIssue]
    for axis, benchmark in zip(axes[0], benchmarks, strict=True):
        for place, (method, cells) in enumerate(table.items()):
            value, seconds = cells[benchmark], cells["seconds"].mean
            half = 0 if math.isnan(value.half_width) else value.half_width
            axis.errorbar(seconds, value.mean, half, fmt="o", ms=7, capsize=3, color=colours[place % 10], label=method)
        axis.set(title=benchmark, xscale="log", xlabel="seconds a seed")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(ScalarFormatter())
        axis.xaxis.set_minor_formatter(NullFormatter())
        axis.grid(alpha=0.3)
    axes[0][0].set_ylabel("Spearman correlation or accuracy")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=min(4, len(labels)), frameon=False)
    figure.suptitle(title)
    figure.tight_layout(rect=(0, 0.06 + 0.05 * math.ceil(len(labels) / 4), 1, 1))
    with replacing(path) as part:
        figure.savefig(part, format=path.suffix.lstrip("."), dpi=150)
    plt.close(figure)
