import math
import re

import pytest

from jaxembed.report import tables
from jaxembed.report.significance import Estimate
from jaxembed.report.tables import Cell, Mark, Table

TABLE = Table(
    ["label", "word_sim & more", "loss ↓"],
    [
        [Cell("skip_gram/a|b"), Cell("0.679 ± 0.012", Mark.BEST), Cell("2.31 ± 0.02", Mark.LEVEL)],
        [Cell(r"100% {#1} ~x^2 \ $"), Cell(tables.NOTHING), Cell("12")],
    ],
)


def markdown_cells(text):
    return [
        [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in text.splitlines()
    ]


def latex_cells(text):
    """What a reader of the PDF sees, in Markdown's marks; the few commands that `latex` writes, undone one by one."""
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    lines = [line.strip().removesuffix(r"\\") for line in body.splitlines() if line.endswith(r"\\")]
    return [[seen(cell.strip()) for cell in re.split(r"(?<!\\)&", line)] for line in lines]


def seen(cell):
    cell = re.sub(r"\\textbf\{(.*)\}$", r"**\1**", cell).replace(r"$^\dagger$", " †")
    for command, sign in {
        r"$\pm$": "±", r"$\downarrow$": "↓", "--": "–", r"\textbar{}": "|", r"\textasciitilde{}": "~",
        r"\textasciicircum{}": "^", r"\textbackslash{}": "BACKSLASH",
    }.items():  # fmt: skip
        cell = cell.replace(command, sign)
    return re.sub(r"\\([{}$&#_%])", r"\1", cell).replace("BACKSLASH", "\\")


def assert_well_formed(text):
    """Braces and environments balance, dollars pair, and every line of the tabular has as many cells as columns."""
    code = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    bare = re.sub(r"\\[\\{}$&#_%]", "", code)
    depth = 0
    for sign in bare:
        depth += (sign == "{") - (sign == "}")
        assert depth >= 0
    assert depth == 0
    assert bare.count("$") % 2 == 0
    assert not re.search(r"[#%_~]", re.sub(r"\\label\{.*?\}", "", bare))
    opened = []
    for kind, name in re.findall(r"\\(begin|end)\{(.*?)\}", code):
        opened.append(name) if kind == "begin" else (None if opened.pop() == name else pytest.fail(name))
    assert not opened
    columns = len(re.search(r"\\begin\{tabular\}\{(\w+)\}", code)[1])
    assert {len(line) for line in latex_cells(text)} == {columns}
    assert [code.count(rf"\{rule}") for rule in ("toprule", "midrule", "bottomrule")] == [1, 1, 1]


def test_markdown_says_best_and_level_and_is_aligned():
    text = tables.markdown(TABLE)
    assert markdown_cells(text)[2] == ["skip_gram/a|b", "**0.679 ± 0.012**", "2.31 ± 0.02 †"]
    assert len({len(line) for line in text.splitlines()}) == 1


def test_latex_holds_the_cells_of_markdown():
    text = tables.latex(TABLE, "95 % of a_b & c.", "tab:a b_{c}", ["a note\nin two lines", "ends in \\"])
    header, _, *lines = markdown_cells(tables.markdown(TABLE))
    assert latex_cells(text) == [header, *lines]
    assert_well_formed(text)
    assert r"\caption{95 \% of a\_b \& c.}" in text
    assert r"\label{tab:a-b_-c-}" in text
    assert [line for line in text.splitlines() if "note" in line] == ["% a note in two lines"]


@pytest.mark.parametrize(
    ("means", "digits"),
    [([0.685, 0.2], 3), ([2.3], 3), ([34.5, 0.1], 2), ([345.0], 1), ([-52000.0], 0), ([0.00123], 5), ([], 3)],
)
def test_figures_keep_their_leading_digits(means, digits):
    assert tables.decimals([Estimate(mean, 0.1, 3) for mean in [*means, math.nan]]) == digits


def test_figures_as_they_are_read():
    nothing = Estimate(math.nan, math.nan, 0)
    assert tables.shown(Estimate(0.6849, 0.0123, 3)) == "0.685 ± 0.012"
    assert tables.shown(Estimate(0.6849, math.nan, 1)) == "0.685"
    assert [tables.speed(Estimate(mean, 1.0, 3)) for mean in (1_122_244.5, 31_400, 12)] == ["1.12 M", "31.4 k", "12"]
    assert [tables.seconds(Estimate(mean, 1.0, 3)) for mean in (33.4, 3.34, 0.334)] == ["33", "3.3", "0.33"]
    assert {show(nothing) for show in (tables.shown, tables.speed, tables.seconds)} == {tables.NOTHING}
