"""What is to be trained: runs, grids of them, and which of them can share one program."""

import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np

from jaxembed.study.run import as_json
from jaxembed.training.mesh import Layout
from jaxembed.training.method import Source
from jaxembed.training.numbers import numbers_of, with_numbers
from jaxembed.training.settings import Training
from jaxembed.training.step import init_state, train_step


class Task(Protocol):
    """Data to train on and the figures by which vectors are judged; `jaxembed.tasks.words.Words` is one."""

    unit: str

    @property
    def fingerprint(self) -> str:
        """Of the data: the same for the same content."""
        ...

    @property
    def examples(self) -> int:
        """Examples (in `unit`) of a pass, by which speed is told."""
        ...

    def about(self) -> dict[str, Any]:
        """The data, for environment.json."""
        ...

    def data(self, method: Any, held_out: bool = False) -> Any:
        """What the method's `source` takes, to train on or to measure the loss on (None: nothing is held out)."""
        ...

    def size(self, data: Any) -> int:
        """Examples of a pass over what `data` gave, by which steps are sized."""
        ...

    def settings(self, method: Any) -> dict[str, Any]:
        """What of this task decides the result of `method`, and how to make it again."""
        ...

    def probes(self) -> tuple[Any, Any]:
        """What is measured now and then, and after each pass: `vectors [runs, n, d] -> {tag: [runs]}`."""
        ...

    def product(self, vectors: np.ndarray) -> Any:
        """The vectors with their keys, as they are saved."""
        ...

    # A task of encoders has besides `embed(method, params) -> vectors`, what `product` takes in place of what is watched
    # in training, and may have `shown(product) -> {tag: picture uint8 [h, w, 3]}` and `projected(product) -> product`,
    # the part that the projector shows.

    def judge(self, vectors: Any) -> dict[str, float | None]:
        """The final figures of a product, by the tags of a summary; None for what cannot be measured."""
        ...


@dataclass(frozen=True)
class Variant:
    """A line of a study's table: a method and its training, and the factors that tell it from the others."""

    label: str
    method: Any
    training: Training
    factors: Mapping[str, Any] = field(default_factory=dict)
    data: str | None = None  # which task, where a study has several


@dataclass(frozen=True)
class Planned:
    """One run of a study."""

    folder: Path
    variant: Variant
    seed: int
    task: str

    def settings(self, task: Task, extra: Mapping[str, Any]) -> dict[str, Any]:
        """All that decides the result, as settings.json has it."""
        variant = self.variant
        return {
            **extra, "label": variant.label, **variant.factors, "data": self.task, "data_fingerprint": task.fingerprint,
            **task.settings(variant.method), "method": variant.method, "training": variant.training, "seed": self.seed,
        }  # fmt: skip


def grid(
    method: Any, training: Training | None = None, *, one_at_a_time: bool = False, **axes: Sequence[Any]
) -> list[Variant]:
    """Variants of a method over `axes`: fields of the method, its objective (`temperature`) or the training.

    `grid(SkipGram(), window=[2, 5], learning_rate=[0.1, 0.3])` is the full grid of four; with `one_at_a_time` each axis
    varies alone from the values that `method` and `training` have. Raises ValueError for a field that none of them has.
    """
    training = training or Training()
    base = {name: value_of(method, training, name) for name in axes}
    if one_at_a_time:
        points = [base] + [base | {name: value} for name, values in axes.items() for value in values]
    else:
        points = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    unique = list({json.dumps(as_json(point)): point for point in points}.values())
    made = []
    for point in unique:
        label = ", ".join(f"{name}={_short(value)}" for name, value in point.items()) or type(method).__name__.lower()
        made.append(
            Variant(label, *with_values(method, training, point), factors={k: _short(v) for k, v in point.items()})
        )
    return made


def value_of(method: Any, training: Training, name: str) -> Any:
    """The value of a field of the method, of its objective or of the training. Raises ValueError where there is none."""
    owner, field_name = _owner(method, training, name)
    return getattr(owner, field_name)


def with_values(method: Any, training: Training, values: Mapping[str, Any]) -> tuple[Any, Training]:
    """`method` and `training` with fields replaced, checked as when they were made."""
    for name, value in sorted(values.items(), key=lambda item: item[0] != "objective"):  # its own fields come after it
        owner, field_name = _owner(method, training, name)
        if owner is training:
            training = replace(training, **{field_name: value})
        elif owner is method:
            method = replace(method, **{field_name: value})
        else:
            method = replace(method, objective=replace(owner, **{field_name: value}))
    return method, training


def _owner(method: Any, training: Training, name: str) -> tuple[Any, str]:
    name = name.removeprefix("objective.")
    holders = [holder for holder in (method, getattr(method, "objective", None), training) if is_dataclass(holder)]
    for holder in holders:
        if any(one.name == name for one in fields(holder)):
            return holder, name
    known = ", ".join(dict.fromkeys(one.name for holder in holders for one in fields(holder)))
    raise ValueError(f"{type(method).__name__} has nothing called {name!r} to vary: choose among {known}")


def _short(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) else getattr(value, "name", type(value).__name__)


def groups(runs: Iterable[Planned]) -> list[list[Planned]]:
    """Runs that can share a program: they differ in nothing but seed and numbers (`training.numbers`); order is kept."""
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
    """A short name for settings, 16 hexadecimal digits."""
    return hashlib.blake2b(json.dumps(as_json(what), sort_keys=True).encode(), digest_size=8).hexdigest()


def ready(method: Any, task: Task) -> tuple[Any, Any]:
    """`method` as it suits the task's data and their size, and these data."""
    data = task.data(method)
    method = getattr(method, "suited_to", lambda data: method)(data)
    return (method.sized_for(task.size(data)) if hasattr(method, "sized_for") else method), data


@dataclass(frozen=True)
class Cost:
    """What a run takes: numbers that are learned, bytes on the device (state and a piece of data), and arithmetic."""

    parameters: int
    state_bytes: int
    shard_bytes: int
    flops: float  # XLA's estimate for all steps; 0 where it gives none
    steps: int


def cost(method: Any, training: Training, source: Source, flops: bool = True) -> Cost:
    """The cost of one run, from shapes alone: nothing is trained and no table is made."""
    shaped = lambda tree: jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), np.asarray(x).dtype), tree)
    piece, constants = source.shapes(), shaped(source.constants)
    key = jax.eval_shape(lambda: jax.random.key(0))
    numbers = {name: jax.ShapeDtypeStruct((), np.float32) for name in (*numbers_of(method, training), "total_steps")}
    own = jax.eval_shape(method.prepare, {**constants, **piece}, key)
    shard = {**constants, **piece, **own}
    state = jax.eval_shape(
        lambda c, k, n: init_state(method, training.optimizers(method, n), c, k), constants, key, numbers
    )
    steps = method.steps(shard) * source.pieces * training.epochs
    size = lambda tree: sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree) if hasattr(x.dtype, "itemsize"))
    learned = sum(
        table.shape[0] * getattr(method, "row_size", table.shape[1]) for table in state.params.tables.values()
    )
    learned += sum(leaf.size for leaf in jax.tree.leaves(state.params.net))
    total = 0.0
    if flops:
        one = lambda s, sh, p, n: train_step(method, training.optimizers(method, n), s, sh, p, Layout())
        told = jax.jit(one).lower(state, shard, jax.ShapeDtypeStruct((), np.int32), numbers).cost_analysis()
        total = float((told or {}).get("flops", 0.0)) * steps
    return Cost(learned, size((state.params, state.rows, state.net)), size(shard), total, steps)


def at_once(cost: Cost, training: Training, most: int | None = None) -> int:
    """How many such runs fit the device's memory, of which half is left to everything else; at least 1."""
    # State, a copy a replica, a copy while a checkpoint is written, and the prepared data of each run.
    copies = 2 + (training.replicas if training.replicas > 1 else 0)
    fit = max(1, int(memory() // 2 // max(1, copies * cost.state_bytes + cost.shard_bytes)))
    return min(fit, most) if most else fit


def memory() -> int:
    """Bytes that the device has, or that the host has to spare where the device is the host."""
    stats = jax.local_devices()[0].memory_stats() or {}
    if stats.get("bytes_limit"):
        return int(stats["bytes_limit"])
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return 4 << 30
