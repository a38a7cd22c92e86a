"""What does a seed cost when many train at once? Against as many runs one after the other.

    python -m experiments.many_seeds                                          # about nine minutes on 2 cores
    python -m experiments.many_seeds --preset smoke --results runs/many_seeds # under a minute

Skip-gram, a pass over the first words of enwik8-small, the ways in turns in one process: `after` trains n runs one after the
other, `threads` one run per core (a CPU's default), `map` all in one program that takes one run after the other in each dispatch,
`vmap` all as one vectorised program (an accelerator's default). Times are those of steps; the compiler's and fresh tables
are apart. A seed of each group is trained alone too and must come out the same: bit for bit by threads, within
`--tolerance` in one program, where XLA may add in another order. Training amplifies such rounding; beside it stands what
the smallest change of the learning rate, one unit in its last place, does to the run alone. Then the same through
`fit(..., vary=...)` with runs that differ in learning rate and temperature. Writes table.md, many_seeds.png,
measurements.jsonl, and a TensorBoard run a way under runs/.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from experiments.settings import Row, about_of, log, measure, parse
from jaxembed.data.text import Corpus, read_corpus
from jaxembed.methods.skipgram import SkipGram
from jaxembed.objectives import pairwise
from jaxembed.report.plots import plot_scaling
from jaxembed.report.tables import Cell, Table, markdown
from jaxembed.study.environment import described
from jaxembed.training.host import start
from jaxembed.training.loop import Result, fit
from jaxembed.training.mesh import Layout
from jaxembed.training.numbers import table_of
from jaxembed.training.program import Program
from jaxembed.training.settings import Training


@dataclass(frozen=True)
class Settings:
    """What is measured.

    seeds: how many train at once. varied: how many runs differ in learning rate and temperature.
    repeats: turns of each way; groups of more than 8 take one. tolerance: of vectors from one program, a share of their norm.
    """

    preset: Literal["smoke", "full"] = "full"
    results: Path = Path("results/many_seeds")
    data: str = "enwik8-small"
    max_words: int = 1_000_000
    vector_size: int = 100
    epochs: int = 1
    seeds: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    varied: int = 8
    repeats: int = 3
    tolerance: float = 0.01


PRESETS = {
    "smoke": Settings(
        preset="smoke", results=Path("runs/many_seeds"), max_words=20_000, vector_size=16, seeds=(1, 2, 4), varied=2,
    ),
    "full": Settings(),
}  # fmt: skip

Turns = Mapping[str, Callable[[], float]]


class Group:
    """A compiled program that can be trained from its start as often as wanted."""

    def __init__(self, settings: Settings, corpus: Corpus, seeds: Sequence[int], way: str):
        method, training = plain(settings)
        method = method.suited_to(corpus)
        numbers = table_of(method, training, {}, len(seeds))
        begun = time.perf_counter()
        self.program = Program(method, training, method.source(corpus), tuple(seeds), numbers, way, Layout())
        self.ready_seconds = time.perf_counter() - begun
        self._start = self.program.saved()

    def train(self) -> float:
        """Seconds of a whole training."""
        program = self.program
        program.restore(jax.tree.map(jnp.copy, self._start))
        piece = program.read(0)
        begun = time.perf_counter()
        for number in range(program.training.epochs * program.source.pieces):
            piece = piece if program.source.pieces == 1 else program.read(number)
            program.prepare(piece, number)
            program.advance(0, program.steps)
        return time.perf_counter() - begun

    def vectors(self) -> np.ndarray:
        """As the last training left them, `[runs, words, vector_size]`."""
        return np.asarray(self.program.vectors())


def plain(settings: Settings) -> tuple[SkipGram, Training]:
    """The method and training whose seeds are trained."""
    return SkipGram(vector_size=settings.vector_size), Training(epochs=settings.epochs)


def ways() -> tuple[str, ...]:
    """How many seeds can train at once here."""
    return ("threads", "map", "vmap") if jax.default_backend() == "cpu" else ("vmap",)


def in_turns(turns: Turns, repeats: int) -> dict[str, list[float]]:
    """The seconds of each side, `repeats` times, every other time in the opposite order."""
    found: dict[str, list[float]] = {name: [] for name in turns}
    for turn in range(repeats):
        for name in list(turns)[:: 1 if turn % 2 == 0 else -1]:
            found[name].append(turns[name]())
    return found


def difference(alone: np.ndarray, group: np.ndarray) -> float:
    """The norm of two matrices' difference over that of the first; 0 only where they are the same bit for bit."""
    if alone.tobytes() == group.tobytes():
        return 0.0
    share = np.linalg.norm(np.float64(alone) - group) / np.linalg.norm(np.float64(alone))
    return float(share) if share != 0 else 1e-30


def nudged(training: Training) -> Training:
    """The same with a learning rate that is one unit in the last place higher."""
    return replace(training, learning_rate=float(np.nextafter(np.float32(training.learning_rate), np.float32(np.inf))))


def row_of(
    settings: Settings, what: str, count: int, seconds: Mapping[str, list[float]], **more: Any
) -> dict[str, Any]:
    """A row of measurements, after a check that a run alone and the same run in the group agree."""
    for way, apart in more["difference"].items():
        bound = 0.0 if way == "threads" else settings.tolerance
        if not apart <= bound:
            raise ValueError(
                f"{what} of {count} runs by {way}: a run in the group differs from the same run alone by {apart:.2g} of its "
                f"norm, which should be at most {bound:g}"
            )
    medians = {name: statistics.median(each) for name, each in seconds.items()}
    over = {name: medians[name] / medians["after"] for name in medians if name != "after"}
    return {"what": what, "count": count, "seconds": seconds, "median": medians, "over_after": over, **more}


def seeds_at_once(settings: Settings, corpus: Corpus, one: Group, count: int) -> dict[str, Any]:
    """n seeds in each way, and n runs one after the other."""
    groups = {way: Group(settings, corpus, range(count), way) for way in ways()}
    after = lambda: sum(one.train() for _ in range(count))
    one.train()
    for group in groups.values():
        group.train()  # warms up
    turns = {"after": after, **{way: group.train for way, group in groups.items()}}
    seconds = in_turns(turns, settings.repeats if count <= 8 else 1)
    last = count - 1  # by the engine's usual way, as a program of its own
    method, training = plain(settings)
    alone, moved = (fit(method, corpus, own, seeds=(last,)).vectors[0] for own in (training, nudged(training)))
    return row_of(
        settings, "seeds", count, seconds,
        difference={way: difference(alone, group.vectors()[last]) for way, group in groups.items()},
        one_ulp=difference(alone, moved),
        compile_seconds={way: g.program.compile_seconds for way, g in {"after": one, **groups}.items()},
        ready_seconds={way: g.ready_seconds for way, g in {"after": one, **groups}.items()},
    )  # fmt: skip


def varied_at_once(settings: Settings, corpus: Corpus) -> dict[str, Any]:
    """Runs of one seed that differ in learning rate and temperature, through `fit(..., vary=...)`."""
    count = settings.varied
    rates, temperatures = np.linspace(0.1, 0.4, count).tolist(), np.geomspace(0.5, 2, count).tolist()
    method = SkipGram(vector_size=settings.vector_size, objective=pairwise("infonce"))
    training = Training(epochs=settings.epochs)
    found: dict[str, Any] = {}
    compiling: dict[str, float] = {}

    def alone(change: Callable[[Training], Training]) -> list[Result]:
        return [
            fit(
                replace(method, objective=pairwise("infonce", temperature=temperature)),
                corpus,
                change(replace(training, learning_rate=rate)),
            )
            for rate, temperature in zip(rates, temperatures, strict=True)
        ]

    def after() -> float:
        results = alone(lambda own: own)
        found["after"] = np.concatenate([result.vectors for result in results])
        compiling["after"] = sum(result.compile_seconds for result in results)
        return sum(result.seconds for result in results)

    def group(way: str) -> float:
        vary = {"learning_rate": rates, "objective.temperature": temperatures}
        result = fit(method, corpus, training, seeds=(0,) * count, vary=vary, seeds_by=way)
        found[way], compiling[way] = result.vectors, result.compile_seconds
        return result.seconds

    turns = {"after": after, **{way: partial(group, way) for way in ways()}}
    seconds = in_turns(turns, settings.repeats)
    found["moved"] = np.concatenate([result.vectors for result in alone(nudged)])
    apart = {
        way: max(difference(*pair) for pair in zip(found["after"], found[way], strict=True))
        for way in (*ways(), "moved")
    }
    one_ulp = apart.pop("moved")
    return row_of(
        settings, "learning rate and temperature", count, seconds, difference=apart, one_ulp=one_ulp,
        compile_seconds=compiling,
        vary={"learning_rate": rates, "objective.temperature": temperatures},
    )  # fmt: skip


def run(settings: Settings) -> list[dict[str, Any]]:
    """Measures everything and writes it as it comes."""
    corpus = read_corpus(settings.data).head(settings.max_words)
    about = {"words": len(corpus.tokens), "data_fingerprint": corpus.fingerprint}
    about |= {"vector_size": settings.vector_size, "epochs": settings.epochs, "data": settings.data}
    one = Group(settings, corpus, (0,), "threads")

    def steps() -> Iterator[Row]:
        for count in settings.seeds:
            yield seeds_at_once(settings, corpus, one, count)
        yield varied_at_once(settings, corpus)

    rows = measure(settings.results, {"seeds": steps}, page, about, lambda row, name: False)
    draw(settings.results, rows)
    show(settings.results, rows)
    return rows


# What is shown.

NAMES = {"after": "one after the other", "threads": "threads", "map": "map", "vmap": "vmap"}


def page(rows: Sequence[Row]) -> str:
    """The figures as Markdown."""
    text = "# Many seeds at once\n"
    for what in dict.fromkeys(row["what"] for row in rows):
        mine = [row for row in rows if row["what"] == what]
        together = [way for way in mine[0]["median"] if way != "after"]
        head = ["at once", *(f"{NAMES[way]}: s a run" for way in mine[0]["median"]),
                *(f"{way} over one after the other" for way in together),
                *(f"difference by {way}" for way in together), "by one ulp of the rate",
                *(f"{NAMES[way]}: compile s" for way in mine[0]["median"]), "repeats"]  # fmt: skip
        lines = [
            [
                str(row["count"]),
                *(f"{value / row['count']:.3g}" for value in row["median"].values()),
                *(f"{row['over_after'][way]:.2f}" for way in together),
                *(f"{row['difference'][way]:.1e}" if row["difference"][way] else "0, bitwise" for way in together),
                f"{row['one_ulp']:.1e}",
                *(f"{value:.1f}" for value in row["compile_seconds"].values()),
                str(len(row["seconds"]["after"])),
            ]
            for row in mine
        ]
        title = "Runs that differ in seed" if what == "seeds" else f"Runs that differ in {what}"
        text += f"\n## {title}\n\n{markdown(Table(head, [[Cell(cell) for cell in line] for line in lines]))}"
    about = about_of(rows[0])
    notes = [
        *_figures(rows, about["device"]["platform"] == "cpu"),
        f"Skip-gram, {rows[0]['vector_size']} dimensions, passes: {rows[0]['epochs']}, the first {rows[0]['words']:,} words of "
        f"{rows[0]['data']} ({rows[0]['data_fingerprint']}); seeds 0, 1, ... (of varied runs 0).",
        "Seconds of steps, by the median of the repeats, the ways in turns in one process; fresh tables and the compiler (short "
        "where a program was kept from an earlier call) are apart. All: measurements.jsonl.",
        "Difference: of a run's vectors alone and in the group, norm over norm; the last seed, or the largest of the varied "
        "runs. Beside it: of the run alone and itself with a learning rate one unit in the last place higher.",
        described(about),
    ]
    return text + "\n" + "".join(f"* {note}\n" for note in notes)


def _figures(rows: Sequence[Row], cpu: bool) -> list[str]:
    """The two that the project set itself, as far as they were measured."""
    seeds = {row["count"]: row for row in rows if row["what"] == "seeds"}
    over = seeds[8]["over_after"] if cpu and 8 in seeds else {}
    both = 1 in seeds and 8 in seeds and not cpu
    over_one = seeds[8]["median"]["vmap"] / seeds[1]["median"]["vmap"] if both else None
    ratio = lambda value: "not yet measured" if value is None else f"**{value:.2f}**"
    return [
        f"8 seeds at once on a CPU over 8 runs one after the other (must: 1.05, aim: below 1): by threads, the default, "
        f"{ratio(over.get('threads'))}; as one program by map {ratio(over.get('map'))}, by vmap {ratio(over.get('vmap'))}.",
        f"8 seeds under vmap over one seed, on one accelerator: {ratio(over_one)} (must: 3, aim: 1.5).",
    ]


def draw(folder: Path, rows: Sequence[Row]) -> None:
    """Seconds a seed against seeds."""
    mine = [row for row in rows if row["what"] == "seeds"]
    series = {
        NAMES[way]: [(row["count"], row["median"][way] / row["count"]) for row in mine] for way in mine[0]["median"]
    }
    title = f"Skip-gram, {rows[0]['words']:,} words: the time of a seed"
    plot_scaling(folder / "many_seeds.png", series, "seeds at once", "seconds a seed", False, title)


def show(folder: Path, rows: Sequence[Row]) -> None:
    """A TensorBoard run a way; the step is the number of seeds."""
    mine = [row for row in rows if row["what"] == "seeds"]
    for way in mine[0]["median"]:
        figures = lambda row, way=way: {
            "seeds/seconds_a_seed": row["median"][way] / row["count"],
            "seeds/compile_seconds": row["compile_seconds"][way],
        }
        settings = {"way": way, "vector_size": rows[0]["vector_size"], "words": rows[0]["words"]}
        log(folder / "runs" / way, settings, {row["count"]: figures(row) for row in mine})


def main(arguments: Sequence[str] | None = None) -> None:
    """The whole command."""
    settings = parse(PRESETS, arguments, __doc__)
    start()
    try:
        run(settings)
    except ValueError as error:
        sys.exit(f"many_seeds: {error}")
    print(f"TensorBoard: {Path(sys.executable).parent / 'tensorboard'} --logdir {settings.results}/runs")


if __name__ == "__main__":
    main()
