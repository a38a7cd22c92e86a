"""`jaxembed neighbors | analogy | evaluate`: how a file is read, and where its figures can be shown."""

import csv
import io
import os
import subprocess
import sys

import numpy as np
import pytest

from jaxembed import KeyedVectors
from jaxembed.cli import main


@pytest.fixture
def words(tmp_path):
    """Words in latin-1, of which the first two are near to each other, and so are the last two."""
    path = tmp_path / "words.txt"
    path.write_bytes("4 2\nnaïve 1 0\nsimple 1 .1\nvoilà 0 1\nthere .1 1\n".encode("latin-1"))
    return path


def shown(capsys, *argv) -> list[str]:
    assert main([str(word) for word in argv]) == 0
    return capsys.readouterr().out.split()


def test_other_encodings(words, capsys):
    assert main(["neighbors", str(words), "simple"]) == 1
    assert "--encoding" in capsys.readouterr().err
    assert "naïve" in shown(capsys, "neighbors", words, "simple", "--encoding", "latin-1")
    assert "nave" in shown(capsys, "neighbors", words, "simple", "--unicode-errors", "ignore")
    assert shown(capsys, "analogy", words, "simple", "--encoding", "latin-1", "--topn", "1")[-2] == "naïve"
    assert main(["neighbors", str(words), "simple", "--unicode-errors", "loose"]) == 1
    assert "unknown error handler" in capsys.readouterr().err


def test_limit(words, capsys):
    known = ["--encoding", "latin-1"]
    assert "there" in shown(capsys, "neighbors", words, "simple", *known)
    assert "there" not in shown(capsys, "neighbors", words, "simple", *known, "--limit", "3")
    assert "3 words, 2 dimensions" in " ".join(shown(capsys, "evaluate", words, *known, "--limit", "3"))
    assert main(["neighbors", str(words), "simple", "--limit", "0"]) == 1
    assert "limit must be at least 1" in capsys.readouterr().err


def test_a_vector_that_is_not_finite_is_named(tmp_path, capsys):
    (tmp_path / "v").write_text("2 2\na 1 2\nb nan 1\n")
    assert main(["neighbors", str(tmp_path / "v"), "a"]) == 1
    assert "the vector of 'b', number 2, holds nan" in capsys.readouterr().err


def test_a_terminal_without_letters_gets_others(tmp_path, monkeypatch):
    KeyedVectors(["naïve", "東京", "simple"], np.eye(3) + 0.1).save(tmp_path / "v")
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    table = tmp_path / "figures.csv"
    assert main(["neighbors", str(tmp_path / "v"), "simple"]) == 0
    assert main(["evaluate", str(tmp_path / "v"), "--csv", str(table)]) == 0  # figures that are not there are –
    terminal.flush()
    out = terminal.buffer.getvalue().decode("ascii")
    assert "na\\xefve" in out
    assert "\\u6771\\u4eac" in out
    assert "written to" in out
    assert all(row["value"] == "nan" for row in csv.DictReader(table.read_text().splitlines()))


def test_figures_are_kept_when_they_cannot_be_shown(tmp_path, monkeypatch):
    KeyedVectors(["a", "b"], np.eye(2)).save(tmp_path / "v")

    def fail(*_) -> None:
        raise OSError("no terminal")

    monkeypatch.setattr("jaxembed.terminal.show_figures", fail)
    assert main(["evaluate", str(tmp_path / "v"), "--csv", str(tmp_path / "figures.csv")]) == 1
    assert (tmp_path / "figures.csv").read_text().startswith("vectors,")


@pytest.mark.slow
def test_a_user_without_a_home_and_a_name(tmp_path):
    """As in a container that runs under a number of its own."""
    KeyedVectors(["king", "queen"], np.eye(2) + 0.1).save(tmp_path / "v")
    code = (
        "import pwd, sys\n"
        "def unknown(uid): raise KeyError(f'getpwuid(): uid not found: {uid}')\n"
        "pwd.getpwuid = unknown\n"
        "from jaxembed.cli import main\n"
        "assert main(['--help']) == 0\n"
        "sys.exit(main(['neighbors', sys.argv[1], 'king']))\n"
    )
    gone = {"HOME", "XDG_CACHE_HOME", "JAXEMBED_CACHE", "LOGNAME", "USER", "LNAME", "USERNAME", "PYTHONUSERBASE"}
    kept = {name: value for name, value in os.environ.items() if name not in gone}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "v")],
        env=kept | {"TMPDIR": str(tmp_path)}, capture_output=True, text=True, timeout=120, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "queen" in done.stdout
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "~").exists()
