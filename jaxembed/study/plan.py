"""Runs that are to be trained, grids of them, and which of them can share one program."""

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxembed.data.cache import content_digest
from jaxembed.fields import changed, settings
from jaxembed.naming import unknown
from jaxembed.objectives import family_of
from jaxembed.sampling.random import PRNG, key_of
from jaxembed.study.values import as_json
from jaxembed.tasks.base import Task
from jaxembed.training.mesh import Layout
from jaxembed.training.method import Shard, Source
from jaxembed.training.numbers import numbers_of, seeds_of, with_numbers
from jaxembed.training.settings import Training
from jaxembed.training.step import init_state, train_step


@dataclass(frozen=True)
class Variant:
    """A line of a study's table: a method, its training, and the factors that distinguish it from the other lines."""

    label: str
    method: Any
    training: Training
    factors: Mapping[str, Any] = field(default_factory=dict)
    data: str | None = None  # the task of this variant, if a study has several
    # Values with which it is tuned, if those of the study (`Study.tune`) do not suit it.
    tune: Mapping[str, Sequence[Any]] | None = None
    # Its seeds, if those of the study (`Study.seeds`) are too many for it.
    seeds: Sequence[int] | None = None


@dataclass(frozen=True)
class Planned:
    """One run of a study."""

    folder: Path
    variant: Variant
    seed: int
    task: str

    def __post_init__(self):
        seeds_of([self.seed])

    def settings(self, task: Task, extra: Mapping[str, Any]) -> dict[str, Any]:
        """Returns everything that determines the result, as settings.json holds it."""
        variant = self.variant
        return {
            **extra, "label": variant.label, **variant.factors, **task.settings(), "data": self.task,
            "method": variant.method, "start_fingerprint": variant.method.start_fingerprint, "training": variant.training,
            "seed": self.seed, "prng": PRNG,
        }  # fmt: skip


def grid(
    method: Any, training: Training | None = None, *, one_at_a_time: bool = False, **axes: Sequence[Any]
) -> list[Variant]:
    """Returns variants of a method over `axes`: any settings of the method or its training (`jaxembed.fields.settings`).

    `grid(SkipGram(), window=[2, 5], learning_rate=[0.1, 0.3])` is the full grid of four. With `one_at_a_time`, each
    axis varies alone from the values that `method` and `training` have. Raises ValueError for an unknown setting.
    """
    start = Both(method, training or Training())
    known = settings(start)
    if missing := [name for name in axes if name not in known]:
        raise unknown("setting", missing[0], known)
    if one_at_a_time:
        base = {name: known[name].value for name in axes}
        points = [base] + [base | {name: value} for name, values in axes.items() for value in values]
    else:
        points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    unique = list({json.dumps(as_json(point)): point for point in points}.values())
    variants = []
    for point in unique:
        factors = {name: short(value) for name, value in point.items()}
        label = ", ".join(f"{name}={value}" for name, value in factors.items()) or type(method).__name__.lower()
        both = changed(start, point)
        variants.append(Variant(label, both.method, both.training, factors))
    return variants


@dataclass(frozen=True)
class Both:
    """A method and its training, whose settings are looked up and changed together."""

    method: Any
    training: Training


def short(value: Any) -> Any:
    """Returns a value as labels show it: an objective by its name."""
    family = family_of(value)
    if family is not None:
        return next(name for name, kind in family.items() if kind is type(value))
    return value if isinstance(value, bool | int | float | str) else getattr(value, "name", type(value).__name__)


def groups(runs: Iterable[Planned]) -> list[list[Planned]]:
    """Groups runs that can share a program: they differ only in seed and in numbers (`training.numbers`). Order is kept."""
    found: dict[str, list[Planned]] = {}
    for run in runs:
        found.setdefault(_program_key(run), []).append(run)
    return list(found.values())


def _program_key(run: Planned) -> str:
    variant = run.variant
    numbers = numbers_of(variant.method, variant.training)
    blank = dict.fromkeys(numbers, 0.0)
    training = {k: v for k, v in as_json(variant.training).items() if k not in numbers}
    return json.dumps([type(variant.method).__name__, as_json(with_numbers(variant.method, blank)), training, run.task])


def digest(*what: Any) -> str:
    """Returns a short name for settings, 16 hexadecimal digits."""
    return content_digest(json.dumps(as_json(what), sort_keys=True), size=8)


def ready(method: Any, task: Task) -> tuple[Any, Any]:
    """Returns `method` adapted to the task's data, and the data in the form that it takes."""
    data = method.read(task.found.train)
    return method.suited_to(data), data


@dataclass(frozen=True)
class Cost:
    """The cost of a run: learned numbers, bytes on the device (state and a piece of data), and arithmetic."""

    parameters: int
    state_bytes: int
    shard_bytes: int
    flops: float  # XLA's estimate for all steps; 0 if it gives none
    steps: int


def abstract_step(method: Any, training: Training, source: Source) -> tuple[Any, tuple[Any, Shard, Any, Any]]:
    """Returns a step of one run, and the shapes of its arguments: state, prepared shard, place, numbers. No table is made."""
    shaped = lambda tree: jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), np.asarray(x).dtype), tree)
    constants, key = shaped(source.constants), jax.eval_shape(lambda: key_of(0))
    numbers = {name: jax.ShapeDtypeStruct((), np.float32) for name in (*numbers_of(method, training), "total_steps")}
    shard = Shard(constants, source.shapes())
    shard = shard.prepared(jax.eval_shape(method.prepare, shard, key))
    start = lambda c, k, n: init_state(method, training.optimizers(method, n), c, k)
    state = jax.eval_shape(start, constants, key, numbers)
    one = lambda s, sh, p, n: train_step(method, training.optimizers(method, n), s, sh, p, Layout())
    return one, (state, shard, jax.ShapeDtypeStruct((), np.int32), numbers)


def cost(method: Any, training: Training, source: Source, flops: bool = True) -> Cost:
    """Returns the cost of one run, computed from shapes without training."""
    one, shapes = abstract_step(method, training, source)
    state, shard, *_ = shapes
    steps = method.steps(shard) * source.pieces * training.epochs * (training.sweeps or 1)
    size = lambda tree: sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree) if hasattr(x.dtype, "itemsize"))
    width = lambda name, table: method.row_sizes.get(name, method.row_size or table.shape[1])
    learned = sum(table.shape[0] * width(name, table) for name, table in state.params.tables.items())
    learned += sum(leaf.size for leaf in jax.tree.leaves(state.params.net))
    total = 0.0
    if flops:
        analysis = jax.jit(one).lower(*shapes).cost_analysis()
        total = float((analysis or {}).get("flops", 0.0)) * steps
    return Cost(learned, size((state.params, state.rows, state.net)), size(shard), total, steps)


def at_once(cost: Cost, training: Training, most: int | None = None) -> int:
    """Returns how many such runs fit into half of the device's memory, at least 1."""
    # The state, one copy per replica, a copy while a checkpoint is written, and the prepared data of each run.
    copies = 2 + (training.replicas if training.replicas > 1 else 0)
    fit = max(1, int(memory() // 2 // max(1, copies * cost.state_bytes + cost.shard_bytes)))
    return min(fit, most) if most else fit


def memory() -> int:
    """Returns the bytes of the device's memory, or the available memory of the host if the device is the host."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if stats.get("bytes_limit"):
        return int(stats["bytes_limit"])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return 4 << 30
