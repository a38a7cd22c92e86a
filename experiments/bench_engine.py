"""What the machinery around the compiled step costs, and whether a killed study ends as if it had never stopped.

    python -m experiments.bench_engine                          # all parts, about half an hour on 2 cores, most of it kills
    python -m experiments.bench_engine --parts overhead checkpoints
    python -m experiments.bench_engine --preset smoke --results runs/engine

overhead: the share of wall time (compiler left out) that is not spent in compiled programs, of `fit` and of a recorded run
with all its probes, logs, checkpoints and the evaluation at the end. checkpoints: a run that saves every few seconds against
one that never does, in turns; what one costs, spread over a minute. kills: `compare_objectives --preset smoke`, killed
(SIGKILL) at random moments and started again until it ends; vectors and results.csv, times left out, must be the same bit
for bit as undisturbed.
Writes table.md and measurements.jsonl.
"""

import csv
import json
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from experiments.settings import Row, measure, parse
from jaxembed.data.cache import file_digest
from jaxembed.methods.skipgram import SkipGram
from jaxembed.report.significance import estimate
from jaxembed.study.environment import described
from jaxembed.study.plan import Planned, Variant
from jaxembed.study.train import Options, train_group
from jaxembed.tasks.words import Words
from jaxembed.training.checkpoints import Checkpoints
from jaxembed.training.host import start
from jaxembed.training.loop import fit
from jaxembed.training.settings import Training

Part = Literal["overhead", "checkpoints", "kills"]


@dataclass(frozen=True)
class Settings:
    """What is measured, on what.

    parts: which of the measurements. words: of the corpus, 0 for all. rounds: turns of each side.
    seconds: between the checkpoints that are measured. kills: how many studies are killed, each at one random moment.
    """

    preset: Literal["smoke", "full"] = "full"
    parts: tuple[Part, ...] = ("overhead", "checkpoints", "kills")
    results: Path = Path("results/bench_engine")
    data: str = "enwik8-text"
    words: int = 0
    epochs: int = 2
    rounds: int = 3
    seconds: float = 5.0
    kills: int = 20
    seed: int = 0


PRESETS = {
    "smoke": Settings(
        preset="smoke", parts=("overhead", "checkpoints"), data="enwik8-small", words=200_000, epochs=1, rounds=1,
        seconds=0.2, kills=1, results=Path("runs/bench_engine"),
    ),
    "full": Settings(),
}  # fmt: skip


def overhead(settings: Settings, task: Words) -> Iterator[Row]:
    """Turns of `fit` and of a recorded run, one seed each: their wall time, and that in compiled programs."""
    method, training = SkipGram(), Training(epochs=settings.epochs)
    for turn in range(settings.rounds):
        begun = time.perf_counter()
        result = fit(method, task.found.train, training, seeds=(1,))
        fitted = time.perf_counter() - begun - result.compile_seconds
        with tempfile.TemporaryDirectory() as folder:
            begun = time.perf_counter()
            plan = Planned(Path(folder) / "seed-1", Variant("skipgram", method, training), 1, settings.data)
            about = train_group([plan], task, Options(console=False))[0].environment
            recorded = time.perf_counter() - begun - about["compile_seconds"]
        yield {"turn": turn, "seed": 1, "fit": fitted, "fit_busy": result.busy_seconds, "recorded": recorded,
               "recorded_busy": about["busy_seconds"]}  # fmt: skip


def checkpoints(settings: Settings, task: Words) -> Iterator[Row]:
    """Turns with and without checkpoints; both cores train, so that writing has to share them."""
    method, training, seeds = SkipGram(), Training(epochs=settings.epochs), (1, 2)
    for turn in range(settings.rounds):
        row: Row = {"turn": turn, "every": settings.seconds}
        for name in ("without", "with") if turn % 2 == 0 else ("with", "without"):
            with tempfile.TemporaryDirectory() as folder:
                saved = Checkpoints(folder, seconds=settings.seconds) if name == "with" else None
                begun = time.perf_counter()
                result = fit(method, task.found.train, training, seeds=seeds, checkpoints=saved)
                row[name] = time.perf_counter() - begun - result.compile_seconds
                if saved:
                    saved.close()
                    row["saved"] = saved.count
                    row["bytes"] = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
        yield row


def fingerprint(folder: Path) -> dict[str, str]:
    """Every vector file by its digest, and results.csv without its times."""
    found = {
        path.relative_to(folder).as_posix(): file_digest(path) for path in sorted(folder.rglob("vectors.safetensors"))
    }
    with open(folder / "results.csv", newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            key = f"{row['folder']} {row['benchmark']}"
            found[key] = json.dumps(
                {k: v for k, v in row.items() if k != "train_seconds" and not k.endswith("_per_second")}
            )
    return found


def kills(settings: Settings) -> Iterator[Row]:
    """Studies that are killed at a random moment each, and started again until they end."""
    draw = random.Random(settings.seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "study"
        line = [sys.executable, "-m", "experiments.compare_objectives", "--preset", "smoke", "--results", str(folder)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}

        def ended() -> float:
            begun = time.perf_counter()
            done = subprocess.run(line, check=False, **quiet)
            if done.returncode:
                raise RuntimeError(f"the study failed when it was started again: {done.stderr}")
            return time.perf_counter() - begun

        ended()  # fills the caches
        shutil.rmtree(folder)
        whole = ended()
        reference = fingerprint(folder)
        for trial in range(settings.kills):
            shutil.rmtree(folder)
            moment = draw.uniform(0, whole)
            process = subprocess.Popen(line, **quiet)
            try:
                process.wait(timeout=moment)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
            finished = len(list(folder.glob("runs/*/*/summary.json")))
            saved = len(list(folder.glob("runs/*/.checkpoints/*/[0-9]*")))
            again = ended()
            same = fingerprint(folder) == reference
            resumed = [
                json.loads(path.read_text()).get("resumed", 0) for path in folder.glob("runs/*/*/environment.json")
            ]
            yield {"trial": trial, "moment": moment, "killed": process.returncode == -signal.SIGKILL,
                   "runs_finished": finished, "checkpoints_there": saved, "runs_resumed": sum(map(bool, resumed)),
                   "seconds_to_end": again, "same": same}  # fmt: skip
        yield {"trial": "undisturbed", "seconds_to_end": whole, "files_and_figures": len(reference)}


def over_noise(values: Sequence[float], shape: str) -> str:
    """The mean of what was measured, as `shape` has it, or that it is below the noise, with its 95 % interval."""
    found = estimate(values)
    if abs(found.mean) <= found.half_width:
        return f"below the noise (± {shape.format(found.half_width)})"
    return shape.format(found.mean)


def table(rows: list[Row]) -> str:
    """The figures as Markdown."""
    lines = ["# The engine: overhead, checkpoints, kills", "", "| | | must |", "|---|---:|---:|"]
    of = lambda part: [row for row in rows if row["part"] == part]
    middle = lambda values: statistics.median(list(values))
    if found := of("overhead"):
        for name, what, must in (
            ("fit", "`fit` alone", "5 %"),
            ("recorded", "a recorded run: probes, logs, evaluation", ""),
        ):
            share = middle(1 - row[f"{name}_busy"] / row[name] for row in found)
            lines.append(f"| time outside the compiled programs, {what} | {share:.1%} | {must} |")
    if found := of("checkpoints"):
        each = [(row["with"] - row["without"]) / max(row["saved"], 1) for row in found]
        size = middle(row["bytes"] for row in found) / 1e6
        lines.append(f"| cost of a checkpoint (two kept, {size:.0f} MB together) | {over_noise(each, '{:.2f} s')} | |")
        lines.append(f"| slowdown by one a minute | {over_noise([one / 60 for one in each], '{:.2%}')} | 2 % |")
    if found := [row for row in of("kills") if "same" in row]:
        same = sum(row["same"] for row in found)
        lines.append(f"| killed studies that ended bit for bit as undisturbed | {same} of {len(found)} | all |")
        resumed = sum(row["runs_resumed"] > 0 for row in found)
        lines.append(f"| of these, with a run that went on from a checkpoint | {resumed} | |")
    environments = dict.fromkeys(described(row) for row in rows)
    lines += ["", f"Medians; every turn, with its environment: measurements.jsonl. {' '.join(environments)}", ""]
    return "\n".join(lines)


def main(settings: Settings) -> None:
    """Measures the parts and writes the table; parts that are not measured now keep what stands there."""
    start()
    task = Words(settings.data, max_words=settings.words)
    parts = {
        "kills": partial(kills, settings),
        "overhead": partial(overhead, settings, task),
        "checkpoints": partial(checkpoints, settings, task),
    }
    measure(settings.results, {name: parts[name] for name in settings.parts}, table)


if __name__ == "__main__":
    main(parse(PRESETS, None, __doc__))
