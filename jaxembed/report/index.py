"""The page of all results: one row per table, with what made it, and whether the code under it has changed since.

python -m jaxembed.report.index results     # writes results/README.md anew
"""

import ast
import io
import json
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jaxembed.files import write_text
from jaxembed.report.tables import NOTHING
from jaxembed.study.environment import place, revision
from jaxembed.study.packed import packed

Sources = Mapping[str, str]  # {path within the repository: a module's text}

_PLACES = ("jaxembed", "experiments")  # the folders with the code that tables depend on
_HEAD = """\
# What was measured

<!-- This page is generated: python -m jaxembed.report.index results -->

Each folder holds a table and what it was made from: `runs.jsonl` has the settings, environment and figures of every run, and
`measurements.jsonl` those of every turn of a bench. `jaxembed report FOLDER` makes the table of a study again, and
`jaxembed reproduce FOLDER/runs/LABEL/seed-N` trains one of its runs again and compares. To cite a number, cite the command and
the commit of its row.

The time is that of all runs together, with reading, compiling and judging. The last column counts the Python modules that the
command imports and whose code is no longer that of the commit; comments and docstrings do not count.

| table | command | commit | device | date | time | pictures | code changed since |
|---|---|---|---|---|---:|---|---|
"""


def page(results: Path, changed: Callable[[str, str], str]) -> str:
    """Returns the page in Markdown, with a row for each folder in `results`; for `changed` see `row`."""
    return _HEAD + "".join(row(folder, changed) for folder in sorted(results.iterdir()) if folder.is_dir())


def row(folder: Path, changed: Callable[[str, str], str]) -> str:
    """Returns the line of a folder. `changed` returns how much code has changed, given a command and a commit."""
    environments = recorded(folder)
    command = lambda about: about["command"].replace("|", r"\|")
    days = sorted(about["started"][:10] for about in environments)
    made_by = dict.fromkeys((about["command"], about["commit"] or "") for about in environments)
    cells = [
        f"[{folder.name}]({folder.name}/table.md): {_title(folder)}",
        _lines(f"`{command(about)}`" for about in environments),
        _lines(revision(about, 9) for about in environments),
        _lines(place(about) for about in environments),
        _lines(day for day in (days[:1] + days[-1:])),
        _time(environments),
        ", ".join(f"[{path.stem}]({folder.name}/{path.name})" for path in sorted(folder.glob("*.png"))),
        _lines(changed(*both) for both in made_by),
    ]
    return f"| {' | '.join(cell or NOTHING for cell in cells)} |\n"


def recorded(folder: Path) -> list[dict[str, Any]]:
    """Returns the environments of the runs in a folder's study.json, or of the rows in its measurements.jsonl."""
    study, rows = folder / "study.json", folder / "measurements.jsonl"
    if study.exists():
        known = {name: files["environment.json"] for name, files in packed(folder).items()}
        for path in folder.rglob("environment.json"):
            known[path.parent.relative_to(folder).as_posix()] = json.loads(path.read_text(encoding="utf-8"))
        names = [run["folder"] for run in json.loads(study.read_text(encoding="utf-8"))["runs"]]
        return [known[name] for name in names if name in known]
    lines = rows.read_text(encoding="utf-8").splitlines() if rows.exists() else []
    measured = [json.loads(line) for line in lines]
    return [one.get("environment", one) for one in measured]  # older versions have one mapping in each row


def changes(results: Path) -> Callable[[str, str], str]:
    """Returns a function of a command and a commit: how many of the command's modules differ from that commit.

    It returns "?" if there is no git, or if the repository that holds `results` lacks the commit.
    """
    root = next((up for up in results.resolve().parents if (up / ".git").exists()), None)
    at_commit = cache(lambda commit: _committed(root, commit) if root else None)
    now = _present(root) if root else {}

    @cache
    def text(command: str, commit: str) -> str:
        before = at_commit(commit)
        if before is None:
            return "?"
        found = re.search(r"-m (experiments\.\w+)", command)
        modules = imported(found[1] if found else "jaxembed.cli", now)
        others = [path for path in modules if differ(before.get(path), now[path])]
        return f"{len(others)} of {len(modules)} modules" if others else "no"

    return text


def imported(module: str, sources: Sources) -> set[str]:
    """Returns the paths of a module and of all modules among `sources` that it imports, directly or indirectly."""
    found: set[str] = set()
    names = [module]
    while names:
        stem = names.pop().replace(".", "/")
        path = next((path for path in (f"{stem}.py", f"{stem}/__init__.py") if path in sources), None)
        if path is None or path in found:
            continue
        found.add(path)
        for node in ast.walk(ast.parse(sources[path])):
            if isinstance(node, ast.Import):
                names += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def differ(before: str | None, now: str) -> bool:
    """Returns whether two texts of a module do something different."""
    return before != now and (before is None or code(before) != code(now))


@cache
def code(source: str) -> str:
    """Returns the code of a module without comments, docstrings and line breaks."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            del node.body[0]
    return ast.dump(tree)


def _present(root: Path) -> Sources:
    paths = [path for name in _PLACES for path in (root / name).rglob("*.py")]
    return {path.relative_to(root).as_posix(): path.read_text(encoding="utf-8") for path in paths}


def _committed(root: Path, commit: str) -> Sources | None:
    """Returns the modules as they are in a commit; None if git or the commit is missing."""
    line = ["git", "archive", "--format=tar", f"{commit}^{{tree}}", *_PLACES]
    try:
        done = subprocess.run(line, cwd=root, capture_output=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if done.returncode:
        return None
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        files = {one.name: archive.extractfile(one) for one in archive if one.name.endswith(".py")}
        return {name: file.read().decode("utf-8") for name, file in files.items() if file}


def _title(folder: Path) -> str:
    table = folder / "table.md"
    return table.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ") if table.exists() else "no table yet"


def _time(environments: Iterable[Mapping[str, Any]]) -> str:
    """Returns the hours or minutes of all runs together; nothing if the time of one of them is unknown."""
    found = [(about.get("wall_seconds"), about.get("seeds_at_once", 1)) for about in environments]
    if not found or any(wall is None for wall, _ in found):
        return NOTHING
    # runs that trained at once all record the time of the whole group
    total = sum(wall / at_once for wall, at_once in found)
    return f"{total / 3600:.1f} h" if total >= 3600 else f"{max(total / 60, 0.1):.{0 if total >= 600 else 1}f} min"


def _lines(values: Iterable[str]) -> str:
    """Returns each distinct value once, a line for each within a cell."""
    return "<br>".join(dict.fromkeys(values))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    write_text(folder / "README.md", page(folder, changes(folder)))
