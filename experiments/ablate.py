"""What does each setting do? One varied at a time from a recipe, or all combinations, over seeds.

    python -m experiments.ablate --method skipgram --vary negatives=1,5,15 window=2,5,10 dim=50,100,200,300
    python -m experiments.ablate --method skipgram --vary window=2,5 lr=0.1,0.3 --grid full     # every combination
    python -m experiments.ablate --vary objective=negative_sampling,infonce,margin --results runs/objectives
    python -m experiments.ablate --objective infonce --vary temperature=0.5,1,2 --results runs/temperature
    python -m experiments.ablate --method simclr --vary batch_size=64,128 depth=2,3 --results runs/simclr
    python -m experiments.ablate --preset smoke --results runs/ablate       # under a minute, 2 cores
    python -m experiments.ablate --dry-run                                  # what the first command would train

The preset `full` (the default) trains 8 settings with 3 seeds on 12.6 M words: a quarter of an hour on 2 cores. Expect more
dimensions to help analogies most. Besides the study's tables it writes ablation.md, a table for each factor.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.experiment import Changes, Command, Experiment, Preset, like, points
from experiments.vary import read_axes
from jaxembed.fields import changed, settings
from jaxembed.files import write_text
from jaxembed.recipes import Recipe
from jaxembed.report.factors import ablation
from jaxembed.report.record import read_study

ALIASES = {"negatives": "negative", "dim": "vector_size", "lr": "learning_rate"}
#: These stand in every line, so that another can be varied later beside what is there.
USUAL = ("vector_size", "window", "negative", "objective", "epochs", "learning_rate")

PRESETS = {
    "smoke": Preset(
        ("skipgram",), Path("runs/ablate"), {"max_words": 100_000, "vector_size": 32, "epochs": 1}, seeds=(1, 2),
        vary=("negatives=1,5", "window=2,5", "dim=16,32"), grid="one-at-a-time",
    ),
    "full": Preset(
        ("skipgram",), Path("results/ablate"), {"data": "enwik8-text", "epochs": 3}, {"glove": {"epochs": 8}},
        vary=("negatives=1,5,15", "window=2,5,10", "dim=50,100,200,300"), grid="one-at-a-time",
    ),
}  # fmt: skip


class Ablation(Experiment):
    """An experiment of one recipe, whose lines are what is changed of it."""

    def axes(self, base: Recipe, preset: Preset) -> dict[str, list[Any]]:
        """The values of each factor. Raises ValueError where there is nothing to vary."""
        words = [(ALIASES.get(name, name), *rest) for name, *rest in (word.partition("=") for word in preset.vary)]
        if not words:
            raise ValueError("there is nothing to vary: give --vary NAME=VALUE,VALUE,...")
        return read_axes(["".join(word) for word in words], lambda name: like({"": base}, name))

    def start(self, preset: Preset, changes: Changes) -> Recipe:
        """What is varied."""
        if len(preset.contenders) != 1:
            raise ValueError(f"one recipe is varied at a time, not {len(preset.contenders)}: give --method NAME")
        return self.contender(preset.contenders[0], preset, changes)

    def lines(self, preset: Preset, changes: Changes) -> dict[str, tuple[Recipe, dict[str, Any]]]:
        """`base`, and what differs from it; or all combinations."""
        base, found = self.start(preset, changes), {}
        axes = self.axes(base, preset)
        for point in points(base, axes, preset.grid):
            one = changed(base, point)
            found[", ".join(f"{name}={_plain(value)}" for name, value in point.items()) or "base"] = (
                one,
                factors(one, axes),
            )
        return found

    def parse(self, line: Sequence[str]) -> tuple[Command, Preset, Changes]:
        """As an experiment's; `--method` is its only contender."""
        return super().parse(["--contenders" if word == "--method" else word for word in line])

    def run(self, command: Command, preset: Preset, changes: Changes) -> None:
        """As an experiment's, and one table per factor."""
        super().run(command, preset, changes)
        if command.dry_run:
            return
        base = self.start(preset, changes)
        axes = self.axes(base, preset)
        text = ablation(read_study(preset.results), factors(base, axes), list(axes), preset.grid == "one-at-a-time")
        write_text(preset.results / "ablation.md", text)
        print(f"{text}\nFactor by factor: {preset.results}/ablation.md")


def factors(one: Recipe, varied: Sequence[str] | dict[str, Any]) -> dict[str, Any]:
    """What distinguishes a line from others: what is varied, and the usual suspects."""
    known = settings(one)
    return {name: _plain(known[name].shown) for name in dict.fromkeys((*USUAL, *varied)) if name in known}


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


EXPERIMENT = Ablation("ablate", "Ablation", __doc__, PRESETS)

if __name__ == "__main__":
    EXPERIMENT.main()
