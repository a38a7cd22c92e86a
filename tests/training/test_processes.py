import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from jaxembed.study.run import Run

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).parent / "process_runs.py"
REPOSITORY = SCRIPT.parents[2]
CLOSE = {"rtol": 1e-5, "atol": 2e-6}  # sums in another order
LIMIT = 240  # seconds until something counts as hanging


started = []


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left_behind():
    yield
    for process in started:
        process.running.kill()
        process.running.wait()


class Process:
    """One process of a run, with a working directory of its own."""

    def __init__(self, folder, results, index, environment, *arguments):
        self.folder = folder / str(index)
        self.folder.mkdir(parents=True)
        self.log = folder / f"log{index}"
        command = [sys.executable, str(SCRIPT), str(results), *map(str, arguments)]
        started.append(self)
        with open(self.log, "wb") as log:
            self.running = subprocess.Popen(command, cwd=self.folder, env=environment, stdout=log, stderr=log)

    @property
    def text(self):
        return self.log.read_text(errors="replace")

    def wait_for(self, line):
        end = time.monotonic() + LIMIT
        while line not in self.text:
            assert self.running.poll() is None, self.text
            assert time.monotonic() < end, self.text
            time.sleep(0.05)

    def end(self, status=0):
        assert self.running.wait(LIMIT) == status, self.text
        return json.loads(self.text.splitlines()[-1]) if status == 0 else None


def environment(**more):
    kept = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS" and "JAXEMBED_P" not in name}
    return {**kept, "PYTHONPATH": str(REPOSITORY), "JAX_PLATFORMS": "cpu", **more}


def two(folder, results, mesh="2x1", every=1, pause=0):
    """Two processes with a device each, started."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    together = {"JAXEMBED_COORDINATOR": address, "JAXEMBED_PROCESSES": "2"}
    return [
        Process(folder, results, index, environment(**together, JAXEMBED_PROCESS=str(index)), 1, mesh, every, pause)
        for index in range(2)
    ]


def figures(results):
    """Vectors, losses and logged metrics of both seeds, without times."""
    runs = [Run.open(results / "runs" / "skipgram" / f"seed-{seed}") for seed in (0, 1)]
    timed = ("seconds", "second", "time", "wall_time")
    logged = [
        [{k: v for k, v in line.items() if not k.endswith(timed)} for line in run.metrics() if "step" in line]
        for run in runs
    ]
    return np.stack([run.vectors().vectors for run in runs]), [run.summary["final/loss"] for run in runs], logged


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """One process with two devices."""
    folder = tmp_path_factory.mktemp("alone")
    reports = Process(folder, folder / "results", 0, environment(), 2, "2x1", 60, 0).end()
    assert (reports["processes"], reports["devices"]) == (1, 2)
    return figures(folder / "results")


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two processes with a device each, undisturbed: their folder, and what they told."""
    folder = tmp_path_factory.mktemp("pair")
    processes = two(folder, folder / "results")
    return folder, [process.end() for process in processes], [process.text for process in processes]


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_two_processes_give_what_one_gives(alone, pair):
    vectors, losses, logged = figures(pair[0] / "results")
    np.testing.assert_allclose(vectors, alone[0], **CLOSE)
    np.testing.assert_allclose(losses, alone[1], rtol=1e-6)
    assert [line.keys() for lines in logged for line in lines] == [line.keys() for lines in alone[2] for line in lines]


def test_each_process_reads_its_share_and_the_first_alone_writes(pair):
    folder, reports, texts = pair
    for index in range(2):
        assert (reports[index]["processes"], reports[index]["devices"]) == (2, 2)
        # One row tells the shapes; of each piece that is trained or measured on, this process reads its half alone.
        read = [one for one in reports[index]["read"] if one[4] > 1]
        assert {piece for piece, *_ in read} == {0, 1, 2}
        assert all(share == index and shares == 2 and size == -(-rows // 2) for _, share, shares, rows, size in read)
        assert files(folder / str(index)) == []
        assert ("TensorBoard" in texts[index]) == (index == 0)  # who says what came of it
    assert sum("tfevents" in path for path in files(folder / "results")) == 2  # one a run


@pytest.mark.parametrize("victim", [1, 0])
def test_a_killed_worker_ends_the_others_and_all_go_on_from_there(tmp_path, pair, victim):
    results = tmp_path / "results"
    processes = two(tmp_path / "first", results, every=0, pause=0.5)
    processes[0].wait_for("saved 300")
    processes[victim].running.kill()
    processes[victim].running.wait()
    began = time.monotonic()
    other = processes[1 - victim]
    status = other.running.wait(LIMIT)
    assert status != 0
    assert time.monotonic() - began < 60  # far under the heartbeat's 100 s
    message = f"process {1 - victim} of 2 stops, because another process of the run is gone (its own log says why)"
    assert other.text.count(message) == 1, other.text
    assert "the same command goes on from the last checkpoint" in other.text
    assert "Traceback" not in other.text
    assert not (results / "runs" / "skipgram" / "seed-0" / "summary.json").exists()

    again = two(tmp_path / "again", results)
    for process in again:
        process.end()
        assert "restored 0\n" not in process.text
        assert "restored " in process.text
    whole, resumed = figures(pair[0] / "results"), figures(results)
    np.testing.assert_array_equal(resumed[0], whole[0])
    assert resumed[1:] == whole[1:]
    assert not list(results.rglob(".checkpoints/*"))


def test_a_signal_to_any_process_saves_and_stops_all(tmp_path):
    processes = two(tmp_path, tmp_path / "results", every=60)
    processes[1].wait_for("restored 0")
    processes[1].running.send_signal(signal.SIGTERM)  # as a cluster warns the one machine that it wants back
    for process in processes:
        process.end(130)
        assert "and saved" in process.text, process.text
        assert "Traceback" not in process.text
