"""Seconds a seed when 1 to 32 runs of Skip-gram train at once, against as many runs one after the other.

    python -m experiments.many_seeds                                        # about ten minutes on 2 cores
    python -m experiments.many_seeds --preset smoke --results runs/many_seeds

`threads`: a program a core, the default on a CPU. `vmap`: one vectorised program, the default on an accelerator. Each turn
measures one run alone, then both ways; a run alone and the same run in a group must agree: bit for bit by threads, within
1e-3 of the largest number by vmap. Runs that differ in learning rate and temperature are measured as well. To reach: 8 at
once on two cores in no more than 1.05 times the time of 8 one after the other.
"""

import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from experiments.settings import Common, parse
from jaxembed.data import read_corpus
from jaxembed.files import write_text
from jaxembed.methods.skipgram import SkipGram
from jaxembed.objectives import pairwise
from jaxembed.study.environment import environment
from jaxembed.study.plots import plot_scaling
from jaxembed.tracking import TensorBoard
from jaxembed.training.host import start
from jaxembed.training.loop import Result, Training, fit


@dataclass(frozen=True)
class Settings(Common):
    """What is measured.

    preset: where the other settings start from. words: of the shipped corpus. counts: how many runs at once.
    rounds: turns, of which the median is shown. varied: how many runs differ in learning rate and temperature.
    """

    preset: Literal["smoke", "full"] = "full"
    results: Path = Path("results/many_seeds")
    data: str = "enwik8-small"
    words: int = 1_000_000
    vector_size: int = 100
    counts: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    rounds: int = 3
    varied: int = 8


PRESETS = {
    "smoke": Settings(
        preset="smoke",
        words=30_000,
        vector_size=16,
        counts=(1, 2, 4),
        rounds=1,
        varied=2,
        results=Path("runs/many_seeds"),
    ),
    "full": Settings(),
}

#: How far a run under vmap may be from the same run alone, as a share of its largest number: sums are added in another order.
TOLERANCE = 1e-3


def trained(corpus: Any, settings: Settings, number: int, how: str, varied: bool = False) -> Result:
    """`number` runs at once; they differ in their seeds, or in learning rate and temperature too."""
    objective = pairwise("infonce") if varied else pairwise("negative_sampling")
    method = SkipGram(vector_size=settings.vector_size, objective=objective)
    rates, temperatures = np.linspace(0.2, 0.4, number).tolist(), np.linspace(0.8, 1.2, number).tolist()
    vary = {"learning_rate": rates, "objective.temperature": temperatures} if varied else None
    return fit(method, corpus, Training(epochs=1), seeds=range(1, number + 1), seeds_by=how, vary=vary)


def measure(settings: Settings) -> list[dict[str, Any]]:
    """A row for each turn, way and number of runs."""
    corpus = read_corpus(settings.data).head(settings.words)
    points = [(number, False) for number in settings.counts] + [(settings.varied, True)]
    rows, begun = [], time.monotonic()
    for turn in range(settings.rounds):
        alone = {varied: trained(corpus, settings, 1, "threads", varied) for varied in (False, True)}
        for number, varied in points:
            for how in ("threads", "vmap"):
                group = trained(corpus, settings, number, how, varied)
                one = alone[varied]
                gap = float(np.abs(group.vectors[0] - one.vectors[0]).max() / np.abs(one.vectors[0]).max())
                # The first of several varied runs has numbers of its own: only seeds can be compared with the run alone.
                same = None if varied else gap == 0 if how == "threads" else gap <= TOLERANCE
                rows.append(
                    {"turn": turn, "how": how, "runs": number, "varied": varied, "seconds": group.seconds,
                     "compile_seconds": group.compile_seconds, "seconds_alone": one.seconds,
                     "over_one_after_the_other": group.seconds / (number * one.seconds),
                     "gap": None if varied else gap, "same": same}
                )  # fmt: skip
                print(f"{time.monotonic() - begun:5.0f} s  turn {turn + 1} of {settings.rounds}: {number:2} by {how}"
                      f"{', varied' if varied else ''}: {group.seconds / number:.2f} s each, "
                      f"{rows[-1]['over_one_after_the_other']:.2f} of one after the other", flush=True)  # fmt: skip
    return rows


def table(settings: Settings, rows: list[dict[str, Any]], about: dict[str, Any]) -> str:
    """Medians as Markdown."""
    lines = [
        "# Many seeds at once", "",
        "| runs | differ in | by | s a run | over one after the other | s in the compiler | largest gap to the run alone |",
        "|---:|---|---|---:|---:|---:|---:|",
    ]  # fmt: skip
    for key in dict.fromkeys((row["runs"], row["varied"], row["how"]) for row in rows):
        mine = [row for row in rows if (row["runs"], row["varied"], row["how"]) == key]
        middle = lambda name, mine=mine: statistics.median(row[name] for row in mine)
        gaps = [row["gap"] for row in mine if row["gap"] is not None]
        gap = "" if not gaps else "none, bit for bit" if max(gaps) == 0 else f"{max(gaps):.1e}"
        differ = "seed, learning rate, temperature" if key[1] else "seed"
        lines.append(f"| {key[0]} | {differ} | {key[2]} | {middle('seconds') / key[0]:.2f} | "
                     f"{middle('over_one_after_the_other'):.2f} | {middle('compile_seconds'):.1f} | {gap} |")  # fmt: skip
    device, machine = about["device"], about["machine"]
    lines += [
        "", f"Medians of {settings.rounds} turns; one after the other: the number of runs times the one alone, in the same "
        f"turn. The gap is a share of the largest number of the vectors; by vmap it must stay under {TOLERANCE:g}. Skip-gram, "
        f"{settings.words:,} words of {settings.data}, d={settings.vector_size}, one epoch, seeds 1 to the number of runs. "
        f"Command: `{about['command']}`; {device['count']} x {device['kind']}, {machine['cpu']}, {machine['cores']} cores; "
        f"commit {str(about['commit'])[:9]}{' with changes' if about['dirty'] else ''}; "
        + ", ".join(f"{name} {version}" for name, version in about["versions"].items())
        + ". Every turn: measurements.jsonl.",
    ]  # fmt: skip
    if device["platform"] == "cpu":
        lines += ["", "8 seeds under vmap over one on a GPU (must be ≤ 3 x): not yet measured, no GPU was at hand."]
    return "\n".join(lines) + "\n"


def main(settings: Settings) -> None:
    """Measures, writes the table, the plot and the TensorBoard events, and fails where a run is not what it is alone."""
    start()
    rows, about = measure(settings), environment()
    write_text(settings.results / "measurements.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    text = table(settings, rows, about)
    write_text(settings.results / "table.md", text)
    series, board = {}, TensorBoard(settings.results)
    board.start({"experiment": "many_seeds", "words": settings.words, "vector_size": settings.vector_size})
    for how in ("threads", "vmap"):
        for number in settings.counts:
            mine = [
                row["seconds"] / number
                for row in rows
                if (row["how"], row["runs"], row["varied"]) == (how, number, False)
            ]
            series.setdefault(how, []).append((number, statistics.median(mine)))
            board.log({f"seconds_a_seed/{how}": series[how][-1][1]}, number)
    board.finish({})
    plot_scaling(
        settings.results / "seconds.png", series, "runs at once", "seconds a run", ideal=False, title="Many seeds"
    )
    print(text)
    odd = [row for row in rows if row["same"] is False]
    if odd:
        raise SystemExit(f"many_seeds: {len(odd)} groups gave other vectors than the run alone: {odd[0]}")


if __name__ == "__main__":
    main(parse(PRESETS, None, __doc__))
