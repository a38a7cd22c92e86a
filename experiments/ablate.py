"""What does each setting do? One varied at a time from a base, or all combinations, over seeds.

    python -m experiments.ablate --method skipgram --vary negatives=1,5,15 window=2,5,10 dim=50,100,200,300
    python -m experiments.ablate --method skipgram --vary window=2,5 lr=0.1,0.3 --grid full     # every combination
    python -m experiments.ablate --vary objective=negative_sampling,infonce,margin --results runs/objectives
    python -m experiments.ablate --objective infonce --vary temperature=0.5,1,2 --results runs/temperature
    python -m experiments.ablate --preset smoke --results runs/ablate       # under a minute, 2 cores
    python -m experiments.ablate --dry-run                                  # what the first command would train

The preset `full` (the default) trains 8 settings with 3 seeds on 12.6 M words: half an hour on 2 cores. Besides the
study's tables and plots it writes ablation.md, a table for each factor. Finished runs are kept: values and seeds can be
added later, and what is missing is trained.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from experiments.compare_objectives import RATES
from experiments.settings import Common, main
from experiments.vary import read_axes
from jaxembed.files import write_text
from jaxembed.methods.cbow import CBOW
from jaxembed.methods.glove import GloVe
from jaxembed.methods.skipgram import SkipGram
from jaxembed.methods.words import WordMethod
from jaxembed.objectives import PAIRWISE, pairwise
from jaxembed.report.record import Entry, Record, read_study
from jaxembed.report.significance import Estimate, estimate
from jaxembed.report.tables import NOTHING, Cell, Table, decimals, markdown, shown
from jaxembed.study.environment import command
from jaxembed.study.plan import Variant, grid, value_of
from jaxembed.study.study import Study
from jaxembed.tasks.words import COLUMNS, CURVES, Words
from jaxembed.training.settings import Training

ALIASES = {"negatives": "negative", "dim": "vector_size", "lr": "learning_rate"}
EPOCHS = {"skipgram": 3, "cbow": 3, "glove": 8}


@dataclass(frozen=True)
class Settings(Common):
    """What is varied, and the base from which it is.

    preset: where the other settings start from.
    method: what is trained. vary: FACTOR=VALUE,VALUE,... of fields of the method, its objective or `Training`, or one of
    negatives, dim, lr. grid: each factor alone (one-at-a-time), or all combinations (full).
    data: a dataset or a text file. max_words: only so many words of it, 0 for all.
    vector_size, window, negative, objective, epochs, learning_rate: the base; None what is right for the method.
    count_window: of the counts that GloVe is trained on.
    """

    preset: Literal["smoke", "full"] = "full"
    results: Path = Path("results/ablate")
    method: Literal["skipgram", "cbow", "glove"] = "skipgram"
    vary: tuple[str, ...] = ("negatives=1,5,15", "window=2,5,10", "dim=50,100,200,300")
    grid: Literal["one-at-a-time", "full"] = "one-at-a-time"
    data: str = "enwik8-text"
    max_words: int = 0
    vector_size: int = 100
    window: int = 5
    negative: float = 5.0
    objective: str = "negative_sampling"
    epochs: int | None = None
    learning_rate: float | None = None
    count_window: int = 10
    seeds: tuple[int, ...] = (1, 2, 3)


PRESETS = {
    "smoke": Settings(
        preset="smoke", results=Path("runs/ablate"), vary=("negatives=1,5", "window=2,5", "dim=16,32"),
        data="enwik8-small", max_words=100_000, vector_size=32, epochs=1, seeds=(1, 2), checkpoint_seconds=10,
    ),
    "full": Settings(),
}  # fmt: skip


def base(settings: Settings) -> tuple[Any, Training]:
    """The method and training that everything is varied from."""
    training = Training(settings.epochs or EPOCHS[settings.method], settings.learning_rate or RATES[settings.method])
    if settings.method == "glove":
        return GloVe(vector_size=settings.vector_size), training
    kind = {"skipgram": SkipGram, "cbow": CBOW}[settings.method]
    return kind(
        vector_size=settings.vector_size,
        window=settings.window,
        negative=float(settings.negative),
        objective=pairwise(settings.objective),
    ), training


def axes(settings: Settings) -> dict[str, list[Any]]:
    """The values of each factor, by the name of its field.

    Raises ValueError for what is not NAME=VALUE,VALUE, for a factor that the method does not have or that comes twice, and
    for a value of the wrong type.
    """
    method, training = base(settings)
    words = [
        f"{ALIASES.get(name, name)}{sign}{values}" for name, sign, values in (w.partition("=") for w in settings.vary)
    ]
    found = read_axes(words, lambda name: value_of(method, training, name))
    if not found:
        raise ValueError("there is nothing to vary: give --vary NAME=VALUE,VALUE,...")
    return found


def variants(settings: Settings) -> list[Variant]:
    """The lines of the table: `base` and what differs from it in one factor, or all combinations."""
    values, (method, training) = axes(settings), base(settings)
    alone = settings.grid == "one-at-a-time"
    chosen = _chosen_by_itself(method, values)
    # Wide tiles take any window while the grid is laid; then each method chooses its own again.
    wide = {"tile": math.gcd(method.block, *values.get("block", ())), "halo": 0} if chosen else {}
    loose = replace(method, **{name: value for name, value in wide.items() if name in chosen})
    made = []
    for variant in grid(loose, training, one_at_a_time=alone, **values):
        method = replace(variant.method, **chosen)
        told = factors(method, variant.training, values)
        own = factors(*base(settings), values)
        parts = [f"{name}={told[name]}" for name in values if not alone or told[name] != own[name]]
        made.append(Variant(", ".join(parts) or "base", method, variant.training, told))
    return made


def _chosen_by_itself(method: Any, values: Mapping[str, Any]) -> dict[str, int]:
    """The fields that the method sizes by the others, with the value that leaves it the choice."""
    automatic = {"tile": 0, "halo": -1} if isinstance(method, WordMethod) else {}
    return {name: value for name, value in automatic.items() if name not in values}


def factors(method: Any, training: Training, varied: Sequence[str] | Mapping[str, Any]) -> dict[str, Any]:
    """What tells a variant from others: what is varied, and the usual suspects, so that another can be varied later."""
    usual = ("vector_size", "window", "negative", "objective") if isinstance(method, WordMethod) else ("vector_size",)
    return {
        name: _told(value_of(method, training, name))
        for name in dict.fromkeys((*usual, "epochs", "learning_rate", *varied))
    }


def _told(value: Any) -> Any:
    names = {kind: name for name, kind in PAIRWISE.items()}
    if type(value) in names:
        return names[type(value)]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def words(settings: Settings) -> Words:
    """The corpus."""
    return Words.read(settings.data, max_words=settings.max_words, window=settings.count_window)


def study(settings: Settings) -> Study:
    """The study that the settings ask for."""
    how = "One factor at a time" if settings.grid == "one-at-a-time" else "All combinations"
    start = ", ".join(f"{name}={value}" for name, value in factors(*base(settings), axes(settings)).items())
    return Study(
        name="ablate",
        title=f"Ablation of {settings.method}",
        folder=settings.results,
        tasks={settings.data: lambda: words(settings)},
        variants=variants(settings),
        seeds=settings.seeds,
        columns=COLUMNS,
        curves=CURVES,
        settings={"experiment": "ablate"},
        notes=[
            f"{how} of {', '.join(axes(settings))}; base: {start}"
            + (f"; the first {settings.max_words:,} words." if settings.max_words else "."),
            "Learning rate and epochs are those of the base unless they are varied: a value may be better with its own.",
        ],
    )


# ablation.md: a table a factor.


def ablation(record: Record, start: Mapping[str, Any], varied: Sequence[str], alone: bool) -> str:
    """A table for each factor: means with intervals at each value, and the difference from the base, paired by seed.

    `start` are the base's factors. With all combinations, a value's figure is the mean over those of the other factors.
    """
    text = f"# {record.title}, factor by factor\n"
    for name in varied:
        groups = by_value(record.entries, name, start, varied, alone)
        reference = start[name] if start[name] in groups else next(iter(groups))
        table = Table(
            [name, *(part for header in record.columns for part in (header, "Δ"))],
            _lines(record.columns, groups, reference, reference == start[name]),
        )
        text += f"\n## {name}\n\n{markdown(table)}"
    over = f" over seeds {', '.join(map(str, sorted({entry.seed for entry in record.entries})))}"
    rest = ", ".join(f"{name}={start[name]}" for name in start)
    held = "all else as in the base" if alone else "averaged over all combinations of the other factors"
    return text + (
        f"\nMean ± 95 % interval (Student's t){over}, {held} ({rest}). Δ: difference from the base's value (from the first "
        f"where the base has another), paired by seed. Each run: results.csv. Command: `{command()}`.\n"
    )


def by_value(
    entries: Sequence[Entry], name: str, start: Mapping[str, Any], varied: Sequence[str], alone: bool
) -> dict[Any, list[Entry]]:
    """The runs at each value of a factor, in rising order; with `alone`, those that are the base in all other factors."""
    found: dict[Any, list[Entry]] = {}
    for entry in entries:
        if not alone or all(entry.factors[other] == start[other] for other in varied if other != name):
            found.setdefault(entry.factors[name], []).append(entry)
    numbers = all(isinstance(value, int | float) for value in found)
    return dict(sorted(found.items())) if numbers else found


def seed_means(entries: Sequence[Entry], key: str) -> dict[int, float]:
    """`{seed: mean figure}` over the runs of each seed; a seed of which a run lacks the figure is left out."""
    figures: dict[int, list[float]] = {}
    for entry in entries:
        value = entry.figure(key)
        figures.setdefault(entry.seed, []).append(math.nan if value is None else value)
    means = {seed: sum(values) / len(values) for seed, values in figures.items()}
    return {seed: value for seed, value in means.items() if math.isfinite(value)}


def _lines(
    columns: Mapping[str, str], groups: Mapping[Any, Sequence[Entry]], reference: Any, is_base: bool
) -> list[list[Cell]]:
    lines = {value: [Cell(f"{value}{' (base)' if is_base and value == reference else ''}")] for value in groups}
    for key in columns.values():
        means = {value: seed_means(entries, key) for value, entries in groups.items()}
        estimates = {value: estimate(mine.values()) for value, mine in means.items()}
        digits = decimals(estimates.values())
        for value, mine in means.items():
            shared = sorted(mine.keys() & means[reference].keys())
            change = estimate(mine[seed] - means[reference][seed] for seed in shared)
            cell = NOTHING if value == reference else _signed(change, digits)
            lines[value] += [Cell(shown(estimates[value], digits)), Cell(cell)]
    return list(lines.values())


def _signed(change: Estimate, digits: int) -> str:
    text = shown(change, digits)
    return f"+{text}" if change.seeds and change.mean > 0 else text


def show(settings: Settings) -> None:
    """Writes ablation.md and prints it."""
    values = axes(settings)
    text = ablation(
        read_study(settings.results),
        factors(*base(settings), values),
        list(values),
        settings.grid == "one-at-a-time",
    )
    write_text(settings.results / "ablation.md", text)
    print(text)
    print(f"Factor by factor: {settings.results}/ablation.md")


if __name__ == "__main__":
    main(PRESETS, study, show, __doc__)
