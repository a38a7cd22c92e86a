"""How fast are training steps, and what holds them back: against devices, batch, dimension, table size and seeds.

    python -m experiments.scaling                                          # about seven minutes on 2 cores
    python -m experiments.scaling --axes devices --virtual-devices 8       # a CPU cut in 8; adds to the same table
    python -m experiments.scaling --families skipgram --axes batch seeds
    python -m experiments.scaling --families deepwalk doc2vec --results runs/scaling-more   # others: fasttext, mf
    python -m experiments.scaling --preset smoke --results runs/scaling    # under a minute

Steps only, no quality: data are made up (ids by Zipf's law, the same each time), so that the table may have any size. After a
warm-up, the median of some repeats of many steps; the compiler's time is apart. Writes scaling.csv (a row a point), table.md,
scaling-AXIS.png, measurements.jsonl, and a TensorBoard run a line under runs/. Axes that are not measured now keep what stands
there.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np

from experiments import roofline
from experiments.roofline import Roofs
from experiments.scaling_tables import page, write
from experiments.settings import Row, log, measure, parse
from jaxembed.data.cooccurrence import Cooccurrences
from jaxembed.data.documents import Documents
from jaxembed.data.graphs import Graph
from jaxembed.data.interactions import Interactions
from jaxembed.data.text import Corpus
from jaxembed.data.triples import Triples
from jaxembed.data.vocabulary import Vocabulary
from jaxembed.methods.documents import DBOW
from jaxembed.methods.fasttext import FastText
from jaxembed.methods.glove import GloVe
from jaxembed.methods.knowledge import ComplEx
from jaxembed.methods.recommend import MF
from jaxembed.methods.skipgram import SkipGram
from jaxembed.methods.walks import DeepWalk
from jaxembed.naming import unknown
from jaxembed.tables import Bags, padded
from jaxembed.training.host import start
from jaxembed.training.mesh import Layout, make_mesh
from jaxembed.training.numbers import table_of
from jaxembed.training.program import Program
from jaxembed.training.settings import Training

Axis = Literal["devices", "batch", "dimension", "rows", "seeds"]


@dataclass(frozen=True)
class Settings:
    """What is measured. An axis takes its values while all else is as in the base: the first four settings' first values.

    families: of methods. axes: what is varied.
    batch: examples in a step (tokens, or entries of the matrix), as multiples of what each family takes by itself.
    dimension: of the vectors. rows: of each table. seeds: trained at once, by vmap and on a CPU by threads too.
    devices: as many of these as there are; tables cut by column, or batches by row.
    virtual_devices: cuts a CPU into so many. examples: of the made-up data. seconds: of each repeat, about.
    """

    preset: Literal["smoke", "full"] = "full"
    results: Path = Path("results/scaling")
    families: tuple[str, ...] = ("skipgram", "glove", "complex")
    axes: tuple[Axis, ...] = get_args(Axis)
    batch: tuple[float, ...] = (1, 0.25, 4, 16)
    dimension: tuple[int, ...] = (128, 64, 256, 512)
    rows: tuple[int, ...] = (30_000, 3_000, 300_000)
    seeds: tuple[int, ...] = (1, 2, 4, 8)
    devices: tuple[int, ...] = (1, 2, 4, 8)
    virtual_devices: int = 0
    examples: int = 2_000_000
    repeats: int = 5
    seconds: float = 0.5


PRESETS = {
    "smoke": Settings(
        preset="smoke", results=Path("runs/scaling"), batch=(1, 4), dimension=(32, 64), rows=(1_000, 10_000), seeds=(1, 2),
        devices=(1, 2), examples=100_000, repeats=3, seconds=0.02,
    ),
    "full": Settings(),
}  # fmt: skip


# Families: a method of some size, and data for it.


@dataclass(frozen=True)
class Family:
    """`method(dimension, batch)`, `data(rows, examples)`, the batch that it takes by itself, and the unit of examples."""

    method: Callable[[int, int], Any]
    data: Callable[[int, int], Any]
    batch: int
    unit: str


def zipf(rows: int, size: int, seed: int) -> np.ndarray:
    """Ids in `range(rows)`, id i in proportion to 1 / (i + 1): int32 `[size]`."""
    total = np.cumsum(1 / np.arange(1, rows + 1))
    drawn = np.random.default_rng([seed, rows, size]).random(size) * total[-1]
    return np.minimum(np.searchsorted(total, drawn), rows - 1).astype(np.int32)


def _vocabulary(ids: np.ndarray, rows: int) -> Vocabulary:
    return Vocabulary([str(i) for i in range(rows)], np.maximum(np.bincount(ids, minlength=rows), 1))


@cache
def corpus(rows: int, tokens: int) -> Corpus:
    """A made-up corpus: documents of 1,000 words."""
    ids = zipf(rows, tokens, 0)
    offsets = np.minimum(np.arange(0, tokens + 1000, 1000), tokens)
    return Corpus(_vocabulary(ids, rows), ids, offsets, tokens, f"zipf-{rows}-{tokens}")


@cache
def counts(rows: int, entries: int) -> Cooccurrences:
    """Made-up counts, half as many as the full matrix has entries: they stand for two each."""
    pairs = zipf(rows, entries // 2 * 2, 1).reshape(2, -1)
    values = np.random.default_rng([1, rows]).pareto(1.0, pairs.shape[1]).astype(np.float32) + np.float32(0.1)
    return Cooccurrences(
        pairs.max(0), pairs.min(0), values, _vocabulary(pairs.reshape(-1), rows), 10, f"zipf-{rows}-{entries}"
    )


@cache
def graph(rows: int, facts: int) -> Triples:
    """A made-up graph: facts of 100 relations. There are no more than eight an entity, for real graphs are sparse."""
    count = min(facts, 8 * rows)
    ends = zipf(rows, 2 * count, 2).reshape(2, -1)
    triples = np.stack([ends[0], zipf(100, count, 3), ends[1]], 1)
    names = tuple(map(str, range(rows))), tuple(map(str, range(100)))
    return Triples(*names, triples, triples[:0], triples[:0], f"zipf-{rows}-{count}")


def links(rows: int, number: int) -> Graph:
    """A made-up graph of nodes with links: no more than eight a node, for real graphs are sparse."""
    ends = zipf(rows, 2 * min(number, 8 * rows), 4).reshape(2, -1)
    return Graph.build(tuple(map(str, range(rows))), ends[0], ends[1])


def pairs(rows: int, number: int) -> Interactions:
    """Made-up pairs of users and items, as many of each as there are rows."""
    ids = tuple(map(str, range(rows)))
    order = np.argsort(user := zipf(rows, number, 2), kind="stable")
    return Interactions(ids, ids, user[order], zipf(rows, number, 3)[order])


FAMILIES = {
    "skipgram": Family(
        lambda d, batch: SkipGram(vector_size=d, step_tokens=batch), corpus, 1024, "tokens that subsampling kept"
    ),
    "fasttext": Family(
        lambda d, batch: FastText(vector_size=d, step_tokens=batch, bucket=100_000),
        corpus,
        1024,
        "tokens that subsampling kept",
    ),
    "doc2vec": Family(
        lambda d, batch: DBOW(vector_size=d, step_tokens=batch),
        lambda rows, tokens: Documents.of(corpus(rows, tokens)),
        512,
        "tokens that subsampling kept",
    ),
    "deepwalk": Family(
        lambda d, batch: DeepWalk(vector_size=d, step_tokens=max(batch // 40, 1) * 40, walks=4),
        links,
        1280,
        "nodes of walks",
    ),
    "mf": Family(lambda d, batch: MF(vector_size=d, batch_size=batch), pairs, 4096, "pairs of a user and an item"),
    "glove": Family(
        lambda d, batch: GloVe(vector_size=d - 1, step_entries=batch), counts, 2048, "entries of the full matrix"
    ),
    "complex": Family(
        lambda d, batch: ComplEx(vector_size=d, batch_size=batch, answers=1),
        graph,
        512,
        "questions, of a head or a tail each",
    ),
}

#: What a TensorBoard run of a line shows; its step is the value on the axis.
LOGGED = ("examples_per_second", "efficiency", "roofline_share", "intensity", "flops_per_second", "compile_seconds")

# Points, and what is measured of them.


@dataclass(frozen=True)
class Point:
    """One program: `way` says how several devices (columns, batches) or seeds (vmap, threads) share the work."""

    family: str
    batch: int
    dimension: int
    rows: int
    seeds: int = 1
    devices: int = 1
    way: str = ""


def points(settings: Settings, family: str, axis: Axis) -> dict[str, list[Point]]:
    """The points of an axis, by rising value, `{way: points}`; an axis without ways has one called ''."""
    own = FAMILIES[family].batch
    base = Point(family, round(own * settings.batch[0]), settings.dimension[0], settings.rows[0])
    if axis == "batch":
        return {"": [replace(base, batch=round(own * times)) for times in sorted(settings.batch)]}
    values = sorted(getattr(settings, axis))
    if axis in ("dimension", "rows"):
        return {"": [replace(base, **{axis: value}) for value in values]}
    if axis == "devices":
        values = [value for value in values if value <= jax.device_count()]
        ways = ("columns", "batches") if values[-1:] > [1] else ("",)
    else:
        ways = ("vmap", "threads") if jax.default_backend() == "cpu" else ("vmap",)
    return {way: [replace(base, **{axis: value, "way": way if value > 1 else ""}) for value in values] for way in ways}


def program_of(point: Point, examples: int) -> Program:
    """The compiled program of a point, its data prepared."""
    family = FAMILIES[point.family]
    method = family.method(point.dimension, point.batch)
    # Far more epochs than are trained: the learning rate stays what it is at the start.
    training = Training(epochs=1000, loss_every=0)
    seeds = tuple(range(point.seeds))
    layout = Layout()
    if point.devices > 1:
        layout = Layout(make_mesh(1, point.devices) if point.way == "columns" else make_mesh(point.devices, 1))
    by = point.way if point.seeds > 1 else None
    numbers = table_of(method, training, {}, point.seeds)
    program = Program(method, training, method.source(family.data(point.rows, examples)), seeds, numbers, by, layout)
    program.prepare(program.read(0), 0)
    return program


def bytes_moved(program: Program) -> int:
    """Bytes of table rows that a step of all runs must move: each row that is met is read, read again and written.

    A row that is met twice counts twice, as caches are none of this count's business; batches and scores are left out.
    """
    own = program.lanes[0].own
    shard = program.shared.prepared(jax.tree.map(lambda leaf: leaf[0], own) if program.stacked else own)
    met = {}

    def look(key):
        met.update(program.method.lookups(program.method.batch(shard, jnp.int32(0), key)))

    jax.eval_shape(look, jax.random.key(0))
    tables = program.lanes[0].state.params.tables
    rows = lambda ids: (ids.ids if isinstance(ids, Bags) else ids).size
    return sum(3 * rows(ids) * tables[of].shape[-1] * 4 for of, ids in met.values()) * len(program.seeds)


def timed(program: Program, repeats: int, seconds: float) -> list[float]:
    """Seconds a step of each repeat: passes over the data, as many as fill `seconds` by the speed of a warm-up."""

    def spent(steps: int) -> float:
        begun, left = time.perf_counter(), steps
        while left > 0:
            program.advance(0, min(left, program.steps))
            left -= program.steps
        return time.perf_counter() - begun

    few = min(program.steps, 16)
    spent(few)
    steps = max(few, round(few * seconds / spent(few)))
    return [spent(steps) / steps for _ in range(repeats)]


def measured(point: Point, settings: Settings, roofs: Roofs) -> dict[str, Any]:
    """A point's figures; those that end in `_step` are of a step of all seeds."""
    program = program_of(point, settings.examples)
    repeats = timed(program, settings.repeats, settings.seconds)
    seconds, cost, moved = statistics.median(repeats), program.step_cost(), bytes_moved(program)
    flops = cost["flops"]
    # Devices that a CPU was cut into share its roof.
    roof = 1 if jax.default_backend() == "cpu" else point.devices
    return {
        **asdict(point),
        "unit": FAMILIES[point.family].unit,
        "seconds_step": seconds,
        "seconds_step_repeats": repeats,
        "compile_seconds": program.compile_seconds,
        "examples_per_second": point.seeds * point.batch / seconds,
        "flops_step": flops,
        "xla_bytes_step": cost["bytes accessed"],
        "row_bytes_step": moved,
        "intensity": flops / moved,
        "flops_per_second": flops / seconds,
        "row_bytes_per_second": moved / seconds,
        "roofline_share": flops / seconds / (roof * roofs.attainable(flops / moved)),
        "xla_bandwidth_share": cost["bytes accessed"] / seconds / (roof * roofs.bandwidth),
        # A third of the bytes are gathered, two thirds are those of the scatter; roofs are of rows of 512 bytes.
        "random_rows_share": moved / 3 / 512 * (1 / roofs.gathered + 1 / roofs.scattered) / seconds / roof,
        "state_bytes": sum(leaf.nbytes for lane in program.lanes for leaf in jax.tree.leaves(lane.state.params)),
    }


def efficiency(axis: str, first: Mapping[str, Any], row: Mapping[str, Any]) -> float:
    """Throughput over the first point's; accelerators by their number too, and dimensions by their width."""
    share = row["examples_per_second"] / first["examples_per_second"]
    if axis == "devices" and jax.default_backend() != "cpu":
        return share * first["devices"] / row["devices"]
    return share * padded(row["dimension"]) / padded(first["dimension"]) if axis == "dimension" else share


def run(settings: Settings) -> list[Row]:
    """Measures the axes and writes everything; returns all rows, those of earlier calls too."""
    if other := sorted(set(settings.families) - set(FAMILIES)):
        raise unknown("family", other[0], FAMILIES)
    roofs = roofline.measure(1 << 22, 1024, 3) if settings.preset == "smoke" else roofline.measure()
    about = {"preset": settings.preset, "virtual_devices": settings.virtual_devices, "roofs": roofs._asdict()}
    known: dict[Point, Row] = {}  # the base is a point of every axis, measured once

    def line_of(family: str, axis: Axis) -> Iterator[Row]:
        for way, line in points(settings, family, axis).items():
            line_rows = []
            for point in line:
                known[point] = known.get(point) or measured(point, settings, roofs)
                share = efficiency(axis, known[line[0]], known[point])
                line_rows.append(
                    known[point] | {"axis": axis, "x": getattr(point, axis), "efficiency": share, "way": way}
                )
                yield line_rows[-1]
            folder = settings.results / "runs" / "-".join(part for part in (family, axis, way) if part)
            shown = {row["x"]: {f"scaling/{name}": row[name] for name in LOGGED} for row in line_rows}
            log(folder, {"family": family, "axis": axis, "way": way}, shown)

    parts = {
        f"{family}-{axis}": partial(line_of, family, axis) for family in settings.families for axis in settings.axes
    }
    stays = lambda row, name: row["preset"] == settings.preset and f"{row['family']}-{row['axis']}" != name
    rows = measure(settings.results, parts, page, about | {"examples": settings.examples}, stays)
    write(settings.results, rows)
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    """The whole command."""
    settings = parse(PRESETS, arguments, __doc__)
    start()
    if settings.virtual_devices:
        jax.config.update("jax_num_cpu_devices", settings.virtual_devices)
    try:
        run(settings)
    except ValueError as error:
        sys.exit(f"scaling: {error}")
    print(f"TensorBoard: {Path(sys.executable).parent / 'tensorboard'} --logdir {settings.results}/runs")


if __name__ == "__main__":
    main()
