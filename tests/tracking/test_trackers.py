"""JSON lines, console, and several trackers as one."""

import io
import json
import math
import os
import warnings

import jax.numpy as jnp
import numpy as np
import pytest

from jaxembed.tracking import Console, JsonLines, Trackers, histogram, read_metrics


class Recorder:
    def __init__(self):
        self.calls = []

    def start(self, settings):
        self.calls.append(("start", settings))

    def log(self, values, step):
        self.calls.append(("log", dict(values), step))

    def artifact(self, name, value):
        self.calls.append(("artifact", name, value))

    def finish(self, summary):
        self.calls.append(("finish", summary))


def test_json_lines_are_valid_json_and_read_back(tmp_path):
    path = tmp_path / "run" / "metrics.jsonl"
    tracker = JsonLines(path)
    tracker.start({})
    tracker.log({"train/loss": jnp.float32(0.5), "count": np.int64(3), "note": "été"}, step=10)
    tracker.log({"a": math.nan, "b": jnp.inf, "c": np.float32(-np.inf), "picture": np.zeros((2, 2))}, step=20)
    assert len(path.read_bytes().splitlines()) == 2  # readable before the end
    tracker.log({"table": histogram(jnp.arange(5.0))}, step=30)
    tracker.finish({"similarity/wordsim353": 0.7})

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    for line in path.read_text(encoding="utf-8").splitlines():
        json.loads(line, parse_constant=refuse)
    first, second, third, last = read_metrics(path)
    assert {name: first[name] for name in first if name != "time"} == {
        "step": 10,
        "train/loss": 0.5,
        "count": 3,
        "note": "été",
    }
    assert math.isnan(second["a"])
    assert (second["b"], second["c"]) == (math.inf, -math.inf)
    assert "picture" not in second
    assert third["table"] == {"number": 5, "minimum": 0, "maximum": 4, "mean": 2, "std": pytest.approx(2**0.5)}
    assert (last["step"], last["similarity/wordsim353"]) == (30, 0.7)


def test_a_torn_last_line_is_left_out_and_cut_off_by_the_next_run(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1, "loss": 2.0}\n{"step": 2, "lo')
    with pytest.warns(UserWarning, match="last line is torn"):
        assert [line["step"] for line in read_metrics(path)] == [1]
    tracker = JsonLines(path)
    tracker.start({})
    tracker.log({"loss": 1.5}, step=2)
    tracker.finish({})
    assert [(line["step"], line["loss"]) for line in read_metrics(path)] == [(1, 2.0), (2, 1.5)]


def test_a_bad_line_elsewhere_is_named(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": \n{"step": 3}\n')
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2"):
        read_metrics(path)
    path.write_text("[1]\n")
    with pytest.raises(ValueError, match="line 1"):
        read_metrics(path)
    with pytest.raises(FileNotFoundError):
        read_metrics(tmp_path / "none.jsonl")


def test_trackers_pass_everything_to_everyone():
    one, two = Recorder(), Recorder()
    both = Trackers(one, two)
    both.start({"dim": 3})
    both.log({"loss": 1.0}, 5)
    both.artifact("words", "vectors")
    both.finish(None)
    assert one.calls == two.calls
    assert one.calls == [
        ("start", {"dim": 3}),
        ("log", {"loss": 1.0}, 5),
        ("artifact", "words", "vectors"),
        ("finish", None),
    ]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full: needs a full disk")
def test_a_full_disk_is_told_once_and_the_others_go_on(tmp_path):
    lines, other = JsonLines(tmp_path / "metrics.jsonl"), Recorder()
    both = Trackers(lines, other)
    both.start({})
    assert lines._file is not None
    lines._file.close()
    lines._file = open("/dev/full", "ab", buffering=0)  # noqa: SIM115
    with pytest.warns(UserWarning, match=r"JsonLines stopped: .*No space left on device"):
        both.log({"loss": 1.0}, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        both.log({"loss": 0.5}, 2)
        both.finish({})
    assert [call[0] for call in other.calls] == ["start", "log", "log", "finish"]
    lines._file.close()


def test_a_mistake_of_the_caller_is_not_swallowed(tmp_path):
    lines = JsonLines(tmp_path / "metrics.jsonl")
    with pytest.raises(RuntimeError, match="before start"):
        Trackers(lines).log({"loss": 1.0}, 1)


def test_console_tells_short_lines_where_there_is_no_terminal():
    out = io.StringIO()
    console = Console(100, "skipgram, seed 1", file=out, seconds=0)
    console.start({})
    console.log({"train/loss": 0.25, "train/words_per_second": 1_234_567.0, "table": np.zeros(3)}, 50)
    console.log({"train/learning_rate": 0.0125}, 100)
    console.finish({})
    first, second, last = out.getvalue().splitlines()
    assert "skipgram, seed 1: 50%" in first
    assert "loss 0.2500" in first
    assert "1.23 M words/s" in first
    assert "s left" in first
    assert "lr 0.013" in second
    assert "s left" not in last
    quiet = io.StringIO()
    console = Console(100, file=quiet, seconds=3600)
    console.start({})
    for step in range(100):
        console.log({"loss": 1.0}, step)
    assert quiet.getvalue() == ""


def test_console_draws_a_bar_on_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    out = Terminal()
    console = Console(100, "glove", file=out)
    console.start({})
    console.log({"train/loss": 0.5}, 40)
    console.finish({})
    text = out.getvalue()
    assert "glove" in text
    assert "40%" in text
    assert "loss 0.5000" in text
