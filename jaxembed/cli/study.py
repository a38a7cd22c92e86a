"""`jaxembed report | reproduce`: from finished runs to tables, and back from a run to its making."""

import sys
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional


@dataclass(frozen=True)
class Report:
    """Tables and plots of a study: table.md, table.tex, results.csv, quality.png, curves.png.

    Every mean has its 95 % interval; the best is bold, and with 5 seeds or more a dagger marks what is not significantly
    worse (paired by seed, Holm-corrected). Runs on different data are not mixed, and a missing run is not passed over.

        jaxembed report results/compare_objectives
    """

    folder: Positional[Path]  # A study's folder: it holds study.json.
    partial: bool = False  # Report even if runs are missing; every output then names them.
    pack: bool = False  # Move the text files of all runs into one file, runs.jsonl, from which the runs open as before.


@dataclass(frozen=True)
class Reproduce:
    """Trains a recorded run again and compares: bit for bit on the same versions, device and commit, else within limits.

    Where only the commit differs, bit for bit is tried first. Elsewhere a figure may differ by 3 standard deviations over the
    finished seeds beside the run, or by 2 % where there are none.

    jaxembed reproduce results/compare_objectives/runs/glove/seed-1
    """

    run: Positional[Path]  # A run's folder: it holds settings.json.
    output: Path | None = None  # Keep the new run in this folder; by default it is removed.


def report(arguments: Report) -> None:
    """Writes and prints a study's tables."""
    from jaxembed.report.report import report as write

    print(write(arguments.folder, allow_missing=arguments.partial))
    print(f"written to {arguments.folder}: table.md, table.tex, results.csv, quality.png, curves.png")
    if arguments.pack:
        from jaxembed.study.packed import pack

        print(f"{pack(arguments.folder)} runs stand in {arguments.folder / 'runs.jsonl'}")


def reproduce(arguments: Reproduce) -> int:
    """Prints how a run and its repetition compare; 1 where they differ by more than they may."""
    from jaxembed.study.reproduce import reproduce as again
    from jaxembed.terminal import show_table

    found = again(arguments.run, arguments.output)
    for line in found.environment or ["The environment is the same."]:
        print(line)
    if found.tried:
        came_out = "is the same bit for bit" if found.exact else "is not the same bit for bit"
        print(f"Only the commit differs, so that bit for bit was tried first: the run {came_out}.")
    if not found.exact:
        print(
            "A figure may differ by 3 standard deviations over the seeds beside the run, by 2 % where there are none."
        )
    cells = lambda f: [f.name, f"{f.recorded:.6g}", f"{f.now:.6g}", f.allowed_text, "same" if f.same else "DIFFERS"]
    show_table(None, ["figure", "recorded", "now", "allowed", ""], [cells(figure) for figure in found.figures])
    if found.vectors is not None:
        print(f"The vectors are {'the same bit for bit' if found.vectors else 'not the same bit for bit'}.")
    print("Reproduced." if found.reproduced else "NOT reproduced.")
    sys.stdout.flush()
    return 0 if found.reproduced else 1
