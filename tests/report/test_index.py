import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from jaxembed.report.index import changes, code, page, recorded

ROOT = Path(__file__).parents[2]
ABOUT = {
    "command": "python -m experiments.a --preset x|y",
    "commit": "0123456789abcdef",
    "dirty": False,
    "started": "2026-11-24T10:00:00+00:00",
    "device": {"count": 2, "kind": "NVIDIA H200"},
    "machine": {"cpu": "AMD EPYC", "cores": 16},
}
A = "import experiments.b\nfrom jaxembed import part\n\nprint(part)\n"


@pytest.fixture
def results(tmp_path):
    """A packed run, one that is not packed, one that the study does not name; and a bench in two sittings."""
    study, bench = tmp_path / "results/study", tmp_path / "results/bench"
    (study / "runs/b/seed-1").mkdir(parents=True)
    bench.mkdir()
    packed = {
        "run": "runs/a/seed-1", "environment.json": ABOUT | {"wall_seconds": 3600.0, "seeds_at_once": 2},
        "settings.json": {}, "summary.json": {}, "metrics.jsonl": None,
    }  # fmt: skip
    other = packed | {"run": "runs/gone/seed-1", "environment.json": ABOUT | {"commit": "of a run that is gone"}}
    (study / "runs.jsonl").write_text("".join(json.dumps(one) + "\n" for one in (packed, other)))
    loose = ABOUT | {"commit": "fedcba9876543210", "dirty": True, "wall_seconds": 3600.0, "seeds_at_once": 1}
    (study / "runs/b/seed-1/environment.json").write_text(json.dumps(loose))
    runs = [{"folder": f"runs/{label}/seed-1", "label": label, "seed": 1} for label in "ab"]
    (study / "study.json").write_text(json.dumps({"name": "study", "columns": {}, "runs": runs}))
    (study / "table.md").write_text("# What is best?\n\n| a | b |\n")
    (study / "quality.png").write_bytes(b"a picture")
    rows = [ABOUT, {"seconds": 3.0, "environment": ABOUT | {"started": "2026-11-26T10:00:00+00:00"}}]
    (bench / "measurements.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "results"


def test_the_page_has_a_row_for_each_folder_with_what_made_its_table(results):
    bench, study = page(results, changes(results)).splitlines()[-2:]
    assert study == (
        r"| [study](study/table.md): What is best? | `python -m experiments.a --preset x\|y` "
        "| 012345678<br>fedcba987 with uncommitted changes | 2 x NVIDIA H200, AMD EPYC, 16 cores | 2026-11-24 | 1.5 h "
        "| [quality](study/quality.png) | ? |"
    )
    assert bench == (
        r"| [bench](bench/table.md): no table yet | `python -m experiments.a --preset x\|y` | 012345678 "
        "| 2 x NVIDIA H200, AMD EPYC, 16 cores | 2026-11-24<br>2026-11-26 | – | – | ? |"
    )


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_code_has_changed_where_a_module_that_the_command_imports_does_something_else(tmp_path):
    files = {
        "experiments/a.py": A, "experiments/b.py": "B = 1  # one\n", "experiments/c.py": "C = 1\n",
        "jaxembed/__init__.py": "", "jaxembed/part.py": '"""A part."""\n\n\ndef f():\n    """One."""\n    return 1\n',
    }  # fmt: skip

    def write(path, text):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)

    def git(*line):
        identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        return subprocess.run(
            ["git", *identity, *line], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    def changed(commit, command="python -u -m experiments.a"):
        return changes(tmp_path / "results")(command, commit)

    (tmp_path / "results").mkdir()
    assert changed("") == "?"
    for path, text in files.items():
        write(path, text)
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "one")
    commit = git("rev-parse", "HEAD")
    assert changed(commit) == "no"
    write("experiments/b.py", "# the first letter but one\nB = 1\n")
    write("experiments/c.py", "C = 2\n")  # which the command does not import
    write("jaxembed/part.py", files["jaxembed/part.py"].replace("One.", "Returns one."))
    assert changed(commit) == "no"
    write("jaxembed/part.py", files["jaxembed/part.py"].replace("return 1", "return 2"))
    assert changed(commit) == "1 of 4 modules"
    write("experiments/d.py", "D = 1\n")
    write("experiments/a.py", A + "import experiments.d\n")
    assert changed(commit) == "3 of 5 modules"
    assert changed("0" * 40) == "?"


def test_code_is_compared_without_comments_docstrings_and_line_breaks():
    one = '"""Page."""\n\n\nclass A:\n    """A."""\n\n    def f(self, x):\n        """F."""\n        return [x,\n 1]  # why\n'
    assert code(one) == code("class A:\n    def f(self, x):\n        return [x, 1]\n")
    assert code(one) != code("class A:\n    def f(self, y):\n        return [y, 1]\n")


def test_the_page_of_the_project_lists_every_folder_and_is_up_to_date():
    results = ROOT / "results"
    stands = (results / "README.md").read_text()
    without_last = lambda text: re.sub(r" \| [^|]* \|$", " |", text, flags=re.MULTILINE)  # it changes with the code
    assert without_last(stands) == without_last(page(results, lambda command, commit: "?")), (
        "write it anew: python -m jaxembed.report.index results"
    )
    for folder in (path for path in results.iterdir() if path.is_dir()):
        assert f"| [{folder.name}]({folder.name}/table.md): " in stands
        assert recorded(folder) or folder.name == "accelerator", f"{folder} does not say what made it"
