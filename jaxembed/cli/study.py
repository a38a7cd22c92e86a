"""`jaxembed report
reproduce`: makes tables from finished runs, and trains a finished run again.
"""

import sys
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional


@dataclass(frozen=True)
class Report:
    """Writes tables and plots of a study: table.md, table.tex, results.csv, quality.png, curves.png.

    Every mean has its 95 % interval. The best mean is bold, and with 5 seeds or more a dagger marks those that are not
    significantly worse (paired by seed, Holm-corrected). Runs on different data are not mixed, and missing runs are not
    ignored.

        jaxembed report results/compare_objectives
    """

    folder: Positional[Path]  # Folder of a study; it holds study.json.
    partial: bool = False  # Report even if runs are missing. All outputs then name them.
    pack: bool = False  # Move the text files of all runs into one file, runs.jsonl, from which the runs still open.


@dataclass(frozen=True)
class Reproduce:
    """Trains a recorded run again and compares the results.

    With the same versions, device and commit, they must be the same bit for bit; if only the commit differs, this is
    tried first. Otherwise a figure may differ by 3 standard deviations over the finished seeds beside the run, or by 2
    % if there are no other seeds.

        jaxembed reproduce results/compare_objectives/runs/glove/seed-1
    """

    run: Positional[Path]  # Folder of a run; it holds settings.json.
    output: Path | None = None  # Keep the new run in this folder. By default it is removed.


def report(arguments: Report) -> None:
    """Writes and prints a study's tables."""
    from jaxembed.report.report import report as write

    print(write(arguments.folder, allow_missing=arguments.partial))
    print(f"written to {arguments.folder}: table.md, table.tex, results.csv, quality.png, curves.png")
    if arguments.pack:
        from jaxembed.study.packed import pack

        print(f"{pack(arguments.folder)} runs are now in {arguments.folder / 'runs.jsonl'}")


def reproduce(arguments: Reproduce) -> int:
    """Prints how a run and its repetition compare; returns 1 if they differ by more than is allowed."""
    from jaxembed.study.reproduce import reproduce as again
    from jaxembed.terminal import show_table

    found = again(arguments.run, arguments.output)
    for line in found.environment or ["The environment is the same."]:
        print(line)
    if found.tried:
        came_out = "is the same bit for bit" if found.exact else "is not the same bit for bit"
        print(f"Only the commit differs, so a comparison bit for bit was tried first: the run {came_out}.")
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
