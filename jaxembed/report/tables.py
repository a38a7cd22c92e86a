"""Tables with the same cells as Markdown and as LaTeX."""

import enum
import math
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from jaxembed.report.significance import Estimate

#: The text of a cell without a figure.
NOTHING = "–"


class Mark(enum.Enum):
    """The standing of a cell among those of its column."""

    NONE = ""
    BEST = "best"
    LEVEL = "not significantly worse than the best"


class Cell(NamedTuple):
    """The text of a cell and its mark."""

    text: str
    mark: Mark = Mark.NONE


class Table(NamedTuple):
    """A line of column names and lines of cells."""

    header: Sequence[str]
    lines: Sequence[Sequence[Cell]]


def decimals(estimates: Iterable[Estimate]) -> int:
    """Returns the number of decimals of a column: three for figures like .685 and 2.31, fewer for large, more for tiny ones."""
    largest = max((abs(e.mean) for e in estimates if math.isfinite(e.mean)), default=0.0)
    if largest >= 10:
        return max(0, 3 - math.floor(math.log10(largest)))
    return 3 if largest >= 0.01 or largest == 0 else 2 - math.floor(math.log10(largest))


def shown(value: Estimate, digits: int = 3) -> str:
    """Formats an estimate as `0.685 ± 0.012`, or as `0.685` without an interval."""
    if not value.seeds:
        return NOTHING
    text = f"{value.mean:.{digits}f}"
    return text if math.isnan(value.half_width) else f"{text} ± {value.half_width:.{digits}f}"


def speed(value: Estimate) -> str:
    """Formats a speed as `1.12 M`, `31.4 k` or `12`."""
    if not value.seeds:
        return NOTHING
    for unit, size, digits in (("M", 1e6, 2), ("k", 1e3, 1)):
        if value.mean >= size:
            return f"{value.mean / size:.{digits}f} {unit}"
    return f"{value.mean:.0f}"


def seconds(value: Estimate) -> str:
    """Formats seconds as `33`, below ten as `3.3`, below one as `0.33`."""
    if not value.seeds:
        return NOTHING
    return f"{value.mean:.{0 if value.mean >= 10 else 1 if value.mean >= 1 else 2}f}"


def markdown(table: Table) -> str:
    """Returns the table in GitHub's Markdown, padded so that it can be read as text too."""
    shapes = {Mark.NONE: "{}", Mark.BEST: "**{}**", Mark.LEVEL: "{} †"}
    plain = lambda text: text.replace("|", r"\|")
    lines = [
        [plain(name) for name in table.header],
        *([shapes[cell.mark].format(plain(cell.text)) for cell in line] for line in table.lines),
    ]
    width = [max(3, *(len(line[column]) for line in lines)) for column in range(len(table.header))]
    rule = ["-" * width[0], *("-" * (size - 1) + ":" for size in width[1:])]
    place = lambda line: [line[0].ljust(width[0]), *(c.rjust(w) for c, w in zip(line[1:], width[1:], strict=True))]
    return "".join("| " + " | ".join(place(line)) + " |\n" for line in (lines[0], rule, *lines[1:]))


def latex(table: Table, caption: str, label: str, comments: Sequence[str] = ()) -> str:
    """Returns the table as a `table*` for a paper that loads booktabs; `comments` stand above it and are not printed.

    `caption` is plain text and is escaped here. In `label`, all but letters, digits and `:._-` become `-`.
    """
    shapes = {Mark.NONE: "{}", Mark.BEST: r"\textbf{{{}}}", Mark.LEVEL: r"{}$^\dagger$"}
    row = lambda cells: " & ".join(cells) + r" \\"
    return "\n".join(
        [
            *("% " + " ".join(comment.split()) for comment in ("needs \\usepackage{booktabs}", *comments)),
            r"\begin{table*}",
            r"  \centering",
            rf"  \caption{{{escaped(caption)}}}",
            rf"  \label{{{re.sub(r'[^A-Za-z0-9:._-]', '-', label)}}}",
            rf"  \begin{{tabular}}{{l{'r' * (len(table.header) - 1)}}}",
            r"    \toprule",
            "    " + row(escaped(name) for name in table.header),
            r"    \midrule",
            *("    " + row(shapes[c.mark].format(escaped(c.text)) for c in line) for line in table.lines),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table*}",
            "",
        ]
    )


_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{sign: f"\\{sign}" for sign in "{}$&#_%"},
    "<": "$<$",
    ">": "$>$",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "≥": r"$\geq$",
    "≤": r"$\leq$",
    "†": r"$^\dagger$",
    "↓": r"$\downarrow$",
    "–": "--",
    "…": r"\dots{}",
}


def escaped(text: str) -> str:
    """Escapes plain text for LaTeX."""
    return "".join(_LATEX.get(sign, sign) for sign in text)
