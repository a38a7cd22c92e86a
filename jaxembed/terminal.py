"""What the command line shows: tables in the terminal."""

import codecs
import io
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import rich.box
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from jaxembed.study.run import Run

_LONGEST = 200  # letters of a key that are shown

#: Words whose neighbours are shown, where a corpus knows them.
_FAMILIAR = ("king", "water", "music", "computer", "france", "three")


#: What stands for signs of our own where a terminal does not know them; other letters are shown as their numbers.
_PLAIN = {"±": "+-", "–": "-", "—": "-", "×": "x", "→": "->", "…": "..."}


def write_any_letter() -> None:
    """Lets standard output take every letter, whatever its encoding: those that it lacks are written otherwise."""
    codecs.register_error("jaxembed.plain", _plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # and not what a notebook or a test has put there
            stream.reconfigure(errors="jaxembed.plain")


def _plainly(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(_PLAIN.get(one) or one.encode("ascii", "backslashreplace").decode() for one in letters), error.end


def show_table(title: str | None, columns: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Prints a table: the first column and those of words to the left, figures to the right."""
    table = Table(title=title and Text(title), title_justify="left", box=rich.box.SIMPLE_HEAD)
    for place, column in enumerate(columns):
        words = place == 0 or column.startswith(("metric", "neighbours"))
        table.add_column(column, justify="left" if words else "right", overflow="fold")
    for line in lines:
        table.add_row(*map(Text, line))
    Console().print(table)


def show_near(title: str, kind: str, near: Iterable[tuple[Any, float]]) -> None:
    """Prints words and their cosines; `kind` says what the words are."""
    short = lambda text: text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"  # a key may be a whole document
    show_table(short(title), [kind, "cosine"], [[short(key), f"{cosine:.3f}"] for key, cosine in near])


def show_figures(rows: Sequence[Mapping[str, Any]]) -> None:
    """Prints the rows of `jaxembed.evaluation.evaluate`: the benchmarks, then the categories where there are some."""

    def value(row: Mapping[str, Any]) -> str:
        return "–" if np.isnan(row["value"]) else f"{row['value']:.3f}"

    whole, parts = ([row for row in rows if bool(row["category"]) is part] for part in (False, True))
    counts = lambda row, *keys: [f"{row[key]:,}" for key in keys]
    show_table(
        None,
        ["benchmark", "metric", "value", "items", "oov", "among words"],
        [
            [
                row["benchmark"],
                row["metric"].partition(" ")[0],
                value(row),
                *counts(row, "items", "oov", "restrict_vocab"),
            ]
            for row in whole
        ],
    )
    if parts:
        lines = [[row["category"], *counts(row, "items", "oov"), value(row)] for row in parts]
        show_table(None, ["category", "items", "oov", "accuracy"], lines)


def show_summaries(runs: Sequence["Run"]) -> None:
    """Prints the figures of finished runs, one for each seed, and where they are."""
    summaries = [run.summary for run in runs]
    figures = _figures(summaries)
    lines = [[name, _over_seeds(values)] for name, values in figures.items() if not name.startswith("final/")]
    show_table(None, ["figure", f"mean ± s.d. of {len(runs)} seeds" if len(runs) > 1 else "value"], lines)
    _show_gaps(runs)
    for run, summary in zip(runs, summaries, strict=True):
        kept = "" if run.made_now else "; finished before and kept (--overwrite trains it anew)"
        print(f"{run.folder}: loss {summary['final/loss']:.4f}, {summary['final/seconds']:.0f} s{kept}")


def show_runs(runs: Sequence["Run"]) -> None:
    """Prints the results of finished runs, one for each seed; those that were not trained now are marked."""
    from jaxembed.evaluation import neighbours

    summaries = [run.summary for run in runs]
    groups = ("similarity/", "analogies/")
    lines = []
    for name, values in _figures(summaries).items():
        if name.startswith(groups):
            benchmark = name.partition("/")[2]
            lines.append([benchmark, _over_seeds(values), f"{summaries[0][f'coverage/{benchmark}']:.0%}"])
    over = f"mean ± s.d. of {len(runs)} seeds" if len(runs) > 1 else "value"
    if lines:
        show_table(None, ["benchmark", over, "covered"], lines)
    else:
        print("No benchmark has enough words of this vocabulary to be measured.")

    vectors = runs[0].vectors()
    near = neighbours(vectors, [w for w in _FAMILIAR if w in vectors] or vectors.index_to_key[:5], topn=6)
    lines = [[word, ", ".join(name for name, _ in found)] for word, found in near.items()]
    show_table(None, ["word", f"neighbours, seed {runs[0].settings['seed']}"], lines)
    for run, summary in zip(runs, summaries, strict=True):
        figures = f"loss {summary['final/loss']:.4f}, {summary['final/words_per_second']:,.0f} words/s"
        kept = "" if run.made_now else "; finished before and kept (--overwrite trains it anew)"
        print(f"{run.folder / 'vectors.safetensors'}: {figures}{kept}")


def _figures(summaries: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """`{name: values}` of the figures that runs have; a run without one is left out of its values."""
    found: dict[str, list[float]] = {}
    for summary in summaries:
        for name, value in summary.items():
            if value is not None:
                found.setdefault(name, []).append(float(value))
    return {name: np.array(values) for name, values in found.items()}


def _over_seeds(values: np.ndarray) -> str:
    return f"{values.mean():.3f}" + (f" ± {values.std(ddof=1):.3f}" if len(values) > 1 else "")


def _show_gaps(runs: Sequence["Run"]) -> None:
    """Says what could not be measured, and why: figures of one reason in one line."""
    gaps: dict[str, dict[str, None]] = {}
    for run in runs:
        for name, why in run.environment.get("unmeasured", {}).items():
            gaps.setdefault(why, {})[name] = None
    for why, names in gaps.items():
        print(f"not measured: {', '.join(names)}: {why}")
