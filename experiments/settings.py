"""What every experiment's command line has in common: presets, results, checkpoints, devices."""

import argparse
import inspect
import json
import os
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import tyro

from jaxembed.files import write_text
from jaxembed.report.report import report
from jaxembed.study.environment import environment
from jaxembed.study.study import Study
from jaxembed.study.train import Options
from jaxembed.training.host import start
from jaxembed.training.loop import Interrupted
from jaxembed.training.processes import initialize, is_first


@dataclass(frozen=True)
class Common:
    """Settings of every experiment.

    results: everything is written under this folder.
    dry_run: print what would be trained, with parameters, bytes and FLOPs, and train nothing.
    overwrite: train finished runs anew.
    checkpoint_seconds: time between checkpoints, from which a killed run goes on.
    mesh: devices for data and for columns of tables, such as 4 2; by default one device.
    deterministic: ask a GPU for results that are the same bit for bit, which costs speed (a CPU's always are).
    profile: write a trace of some steps for TensorBoard's profiler.
    """

    results: Path = Path("results")
    dry_run: bool = False
    overwrite: bool = False
    checkpoint_seconds: float = 60
    mesh: tuple[int, int] | None = None
    deterministic: bool = False
    profile: bool = False


C = TypeVar("C")


def parse(presets: Mapping[str, C], arguments: Sequence[str] | None, about: str | None) -> C:
    """Settings from the command line: those of the preset (the last by default), and what is given besides."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    first.add_argument("--preset", choices=list(presets), default=list(presets)[-1])
    default = presets[first.parse_known_args(arguments)[0].preset]
    # Tyro reads no settings out of our docstrings, and leaves indented lines as they are.
    told = [inspect.cleandoc(kind.__doc__ or "").partition("\n")[2] for kind in type(default).__mro__[:-1]]
    about = f"{about or ''}\n{textwrap.indent(''.join(told), '    ')}\n"
    return tyro.cli(type(default), args=arguments, default=default, description=about)


def measure(
    settings: Any,
    part: Callable[[str], list[dict[str, Any]]],
    table: Callable[[list[dict[str, Any]]], str],
    about: dict[str, Any] | None = None,
    kept: Callable[[dict[str, Any]], bool] | None = None,
) -> None:
    """A bench: the rows of each of `settings.parts` with their environment, a line each in measurements.jsonl, and table.md.

    about: more to tell of each row. kept: which earlier rows stay; by default those of parts that are not measured now.
    """
    known = settings.results / "measurements.jsonl"
    rows = [json.loads(line) for line in known.read_text().splitlines()] if known.exists() else []
    rows = [row for row in rows if (kept(row) if kept else row["part"] not in settings.parts)]
    told = environment() | (about or {})
    facts = {key: told[key] for key in ("command", "commit", "dirty", "versions", "device", "machine", "started")}
    for name in settings.parts:
        rows += [row | facts | (about or {}) for row in part(name)]
        write_text(known, "".join(json.dumps(row) + "\n" for row in rows))
        write_text(settings.results / "table.md", table(rows))
    sys.stdout.write((settings.results / "table.md").read_text())


def run(settings: Any, study: Callable[[Any], Study], show: Callable[[Any], None] | None = None) -> None:
    """Trains what is missing of the study, writes its tables and plots, and prints them."""
    made = study(settings)
    if settings.dry_run:
        print(made.dry_run())
        return
    made.run(Options.of(settings))
    if not is_first():
        return
    print(f"\n{report(settings.results)}")
    if show:
        show(settings)
    print(f"\nTables and plots: {settings.results}/table.md, table.tex, results.csv, quality.png, curves.png")
    print(f"TensorBoard: {Path(sys.executable).parent / 'tensorboard'} --logdir {settings.results}/runs")


def main(
    presets: Mapping[str, Any], study: Callable[[Any], Study], show: Callable[[Any], None] | None, about: str | None
) -> None:
    """The whole command: parses, runs, and tells errors in one line."""
    name = Path(sys.argv[0]).stem
    settings = parse(presets, None, about)
    try:
        start(deterministic=settings.deterministic)
        initialize()
        run(settings, study, show)
    except Interrupted as stopped:
        sys.stderr.write(f"{name}: {stopped}\n")
        sys.exit(130)
    except (ValueError, OSError, FloatingPointError) as error:
        if os.environ.get("JAXEMBED_TRACEBACK"):
            raise
        sys.exit(f"{name}: {error}")
