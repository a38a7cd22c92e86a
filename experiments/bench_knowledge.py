"""ComplEx beside PyKEEN's, on the CPU: seconds of a pass with the same settings, and the ranks of the same vectors.

    python -m experiments.bench_knowledge                 # ten minutes on 2 cores; needs pykeen: pip install .[bench]
    python -m experiments.bench_knowledge --parts ranks
    python -m experiments.bench_knowledge --preset smoke --results runs/bench_knowledge   # a minute; the shipped graph

Both sides train with the softmax over all entities, reciprocal relations, N3 and Adagrad, as many questions in a step, and take
turns, each in a process of its own; the first pass, in which ours compiles, is left out. For the ranks, vectors that were trained
here for a pass are given to PyKEEN's model, whose evaluator ranks the same facts (filtered, `realistic`). Writes table.md and
measurements.jsonl. Expect ours to take a third of PyKEEN's time, and the ranks of all facts to be equal.
"""

# The peers are not among the requirements.
# pyright: reportMissingImports=false

import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from experiments.settings import Row, measure, parse
from jaxembed.data.triples import Triples
from jaxembed.evaluation.ranking import Ranker, figures
from jaxembed.methods.knowledge import ComplEx
from jaxembed.recipes import RECIPES, Recipe
from jaxembed.study.environment import described
from jaxembed.study.plan import ready
from jaxembed.training.loop import fit

PEER = "PyKEEN"
FIGURES = {"mrr": "inverse_harmonic_mean_rank", "mr": "arithmetic_mean_rank", "hits@10": "hits_at_10"}


@dataclass(frozen=True)
class Settings:
    """What is measured."""

    preset: Literal["smoke", "full"] = "full"  # Where the other settings start from.
    results: Path = Path("results/bench_knowledge")  # Everything is written under this folder.
    parts: tuple[Literal["pass", "ranks"], ...] = ("pass", "ranks")  # Which rows.
    data: str = "fb15k-237"  # A graph.
    rank: int = 100  # Complex numbers of a vector.
    batch_size: int = 512  # Questions in a step.
    passes: int = 2  # Of a training; all but the first are timed.
    turns: int = 2  # Trainings of each side.


PRESETS = {
    "smoke": Settings(
        preset="smoke", results=Path("runs/bench_knowledge"), data="countries", rank=8, batch_size=32, turns=1
    ),
    "full": Settings(),
}


def recipe_of(settings: Settings, **more: Any) -> Recipe:
    """ComplEx as it is measured."""
    own = {
        "data": settings.data,
        "vector_size": 2 * settings.rank,
        "batch_size": settings.batch_size,
        "best_pass": False,
    }
    return RECIPES["complex"].with_(**(own | more))


def trained(one: Recipe) -> tuple[ComplEx, Any, Triples, list[float]]:
    """The method, its parameters, the graph, and the seconds of each pass."""
    method, data = ready(one.method, one.task)
    ends: list[float] = []

    def on_epoch(epoch, progress, view) -> None:
        ends.append(progress.seconds)

    found = fit(method, data, one.training, seeds=(1,), on_epoch=on_epoch)
    return found.method, found.params[0], data, np.diff([0.0, *ends]).tolist()


def ours(settings: Settings) -> list[float]:
    """Seconds of each pass of ours."""
    return trained(recipe_of(settings, objective="softmax", epochs=settings.passes))[3]


def theirs(settings: Settings) -> list[float]:
    """Seconds of each pass of PyKEEN's."""
    import torch
    from pykeen.models import ComplEx as Peer
    from pykeen.training import LCWATrainingLoop

    one = recipe_of(settings)
    method, data = ready(one.method, one.task)
    graph = _factory(data, data.train, inverse=True)
    model = Peer(
        triples_factory=graph, embedding_dim=settings.rank, loss="crossentropy", random_seed=1,
        regularizer="lp", regularizer_kwargs={"weight": method.regularization, "p": 3.0},
    )  # fmt: skip
    adagrad = torch.optim.Adagrad(model.get_grad_params(), lr=one.training.learning_rate)
    loop = LCWATrainingLoop(model=model, triples_factory=graph, optimizer=adagrad)
    seconds = []
    for done in range(settings.passes):
        start = time.perf_counter()
        # Its passes are counted from the first call on: asked for one again, it would train nothing.
        loop.train(graph, num_epochs=done + 1, batch_size=settings.batch_size, use_tqdm=False, use_tqdm_batch=False)
        seconds.append(time.perf_counter() - start)
    return seconds


def _factory(data: Triples, facts: np.ndarray, inverse: bool = False) -> Any:
    """Facts as PyKEEN has them."""
    import torch
    from pykeen.triples import CoreTriplesFactory

    return CoreTriplesFactory(torch.as_tensor(np.asarray(facts, np.int64)), num_entities=len(data.entities),
                              num_relations=len(data.relations), create_inverse_triples=inverse)  # fmt: skip


def passes(settings: Settings) -> Iterator[Row]:
    """Turns of ours and of PyKEEN's, each in a process of its own."""
    names = ("data", "rank", "batch_size", "passes")
    arguments = ", ".join(f"{name}={getattr(settings, name)!r}" for name in names)
    for turn in range(settings.turns):
        for who, call in (("ours", "ours"), (PEER, "theirs")):
            code = f"from experiments.bench_knowledge import *; print({call}(Settings({arguments})))"
            done = subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True)
            seconds = json.loads(done.stdout.splitlines()[-1])
            yield {"who": who, "turn": turn + 1, "seconds": statistics.median(seconds[1:]), "passes": seconds}


def ranks(settings: Settings) -> Iterator[Row]:
    """The test facts ranked by both on the same vectors."""
    import torch
    from pykeen.evaluation import RankBasedEvaluator
    from pykeen.models import ComplEx as Peer

    class Evaluator(RankBasedEvaluator):
        def finalize(self):
            self.kept = {
                str(side): np.concatenate(found) for (side, kind), found in self.ranks.items() if kind == "realistic"
            }
            return super().finalize()

    method, params, data, _ = trained(recipe_of(settings, reciprocal=False, epochs=1))
    start = time.perf_counter()
    found = Ranker(data, data.split("test")).ranks(method, params)
    yield {"who": "ours", "seconds": time.perf_counter() - start} | figures(found)
    model = Peer(triples_factory=_factory(data, data.train), embedding_dim=settings.rank)
    for name, part in (("entity", model.entity_representations[0]), ("relation", model.relation_representations[0])):
        table = np.asarray(params.tables[name])[:, np.flatnonzero(method.stored(method.vector_size))]
        numbers = np.stack(np.split(table, 2, axis=1), axis=-1)  # real parts beside imaginary ones
        weight = part._embeddings.weight
        weight.data = torch.as_tensor(numbers.reshape(weight.shape))
    evaluator = Evaluator(filtered=True)
    facts = {
        split: torch.as_tensor(np.asarray(data.split(split), np.int64)) for split in ("train", "validation", "test")
    }
    start = time.perf_counter()
    result = evaluator.evaluate(model=model, mapped_triples=facts["test"], batch_size=256, use_tqdm=False,
                                additional_filter_triples=[facts["train"], facts["validation"]])  # fmt: skip
    seconds = time.perf_counter() - start
    differ = {f"differ/{side}": float(np.abs(evaluator.kept[side] - own).max())
              for side, own in (("head", found.head), ("tail", found.tail))}  # fmt: skip
    theirs = {name: float(result.get_metric(f"both.realistic.{metric}")) for name, metric in FIGURES.items()}
    yield {"who": PEER, "seconds": seconds, "facts": len(facts["test"])} | theirs | differ


def table(settings: Settings, rows: list[Row]) -> str:
    """The figures as Markdown."""
    lines = ["# ComplEx beside PyKEEN's, on the CPU", ""]
    times = {
        who: [row["seconds"] for row in rows if row["part"] == "pass" and row["who"] == who] for who in ("ours", PEER)
    }
    if all(times.values()):
        turns = ", ".join(f"{b / a:.1f}" for a, b in zip(*times.values(), strict=False))
        mine, other = (statistics.median(found) for found in times.values())
        lines += [f"A pass with the softmax over all entities, rank {settings.rank}, {settings.batch_size} questions a step, "
                  f"{settings.data}: ours {mine:.1f} s, {PEER} {other:.1f} s: **{other / mine:.1f}** (by turns {turns}).",
                  ""]  # fmt: skip
    ranked = {row["who"]: row for row in rows if row["part"] == "ranks"}
    if len(ranked) == 2:
        lines += [f"| ranks of the same vectors | {' | '.join(FIGURES)} | seconds |", "|---" * (len(FIGURES) + 2) + "|"]
        for who, row in ranked.items():
            lines.append(f"| {who} | {' | '.join(f'{row[name]:.4f}' for name in FIGURES)} | {row['seconds']:.1f} |")
        worst = max(ranked[PEER]["differ/head"], ranked[PEER]["differ/tail"])
        lines += [
            "",
            f"Largest difference of a rank, of {ranked[PEER]['facts']:,} facts, heads and tails: {worst:g}.",
            "",
        ]
    about = dict.fromkeys(described(row) for row in rows)
    return "\n".join([*lines, f"Every row: measurements.jsonl. {' '.join(about)}", ""])


def main(settings: Settings) -> None:
    """Measures the parts; ends with a line where PyKEEN is not installed."""
    if importlib.util.find_spec("pykeen") is None:
        sys.exit("bench_knowledge: pykeen is not installed: pip install .[bench]")
    parts = {"pass": partial(passes, settings), "ranks": partial(ranks, settings)}
    measure(settings.results, {name: parts[name] for name in settings.parts}, partial(table, settings))


if __name__ == "__main__":
    main(parse(PRESETS, None, __doc__))
