"""What a large batch costs in memory and time: all scores at once, or a tile at a time; and gradient caching.

    python -m experiments.bench_memory                        # a few minutes on 2 cores, 4 GB
    python -m experiments.bench_memory --parts memory caching # compiles only, but for the gradients that are compared
    python -m experiments.bench_memory --preset smoke --results runs/memory

memory: temporary memory, as XLA's own analysis of the compiled program gives it, of the gradient of InfoNCE and of SigLIP in both
directions, by batch size; nothing is run. `textbook` is the usual code by itself (one matrix of scores, softmax of rows and
of columns), `plain` is `two_towers`, `chunked` the same with `chunk`. time: seconds of each form at a size that all can
run, in turns, with the largest difference of the gradients, and of the chunked form at the full size.
caching: the same analysis for a step of a ViT on two views of a batch, with and without `cached`; gradients of both at a
batch that both can run.
Writes table.md and measurements.jsonl.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from experiments.settings import Row, measure, parse
from jaxembed.encoders.functional import encoder
from jaxembed.objectives import cached, pairwise, two_towers
from jaxembed.scores import normalized
from jaxembed.study.environment import described
from jaxembed.training.host import start

Part = Literal["memory", "time", "caching"]
OBJECTIVES = ("InfoNCE", "SigLIP")
TEMPERATURE, SCALE, BIAS = 0.05, 10.0, -10.0


@dataclass(frozen=True)
class Settings:
    """What is measured.

    parts: which of the measurements. batches: of the analysis; the time at full size is of `full_batch`, 0 for none.
    dimension: of the vectors. chunk: anchors and candidates at a time. time_batch, rounds: turns of each form at this size.
    caching_batch, caching_chunk: pictures of the analysis, and at a time; caching_run: of the gradients that are compared.
    depth, width: of the ViT, on pictures of 28 x 28 in 16 patches.
    """

    preset: Literal["smoke", "full"] = "full"
    parts: tuple[Part, ...] = ("memory", "time", "caching")
    results: Path = Path("results/bench_memory")
    batches: tuple[int, ...] = (4096, 8192, 16_384, 32_768)
    full_batch: int = 16_384
    dimension: int = 256
    chunk: int = 1024
    time_batch: int = 4096
    rounds: int = 5
    caching_batch: int = 8192
    caching_chunk: int = 256
    caching_run: int = 512
    depth: int = 6
    width: int = 192
    seed: int = 0


PRESETS = {
    "smoke": Settings(
        preset="smoke", results=Path("runs/bench_memory"), batches=(256,), full_batch=0, dimension=32, chunk=64,
        time_batch=256, rounds=1, caching_batch=64, caching_chunk=8, caching_run=64, depth=1, width=48,
    ),
    "full": Settings(),
}  # fmt: skip


def textbook(objective: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """The loss as papers print it: CLIP's figure 3, SigLIP's algorithm 1."""
    cosines = normalized(a) @ normalized(b).T
    if objective == "InfoNCE":
        s = cosines / TEMPERATURE
        lost = [jnp.mean(jax.nn.logsumexp(s, axis) - jnp.diagonal(s)) for axis in (0, 1)]
        return sum(lost, jnp.zeros(())) / 2
    labels = 2 * jnp.eye(a.shape[0]) - 1
    return -jnp.sum(jax.nn.log_sigmoid(labels * (SCALE * cosines + BIAS))) / a.shape[0]


def contrastive(objective: str, chunk: int, a: jax.Array, b: jax.Array) -> jax.Array:
    """The same by `two_towers`; a chunk of 0 is all at once."""
    if objective == "InfoNCE":
        return jnp.mean(two_towers(pairwise("infonce", temperature=TEMPERATURE), a, b, chunk=chunk))
    return jnp.mean(two_towers(pairwise("negative_sampling"), a, b, scale=SCALE, bias=BIAS, chunk=chunk))


FORMS = ("textbook", "plain", "chunked")


@cache
def compiled(form: str, objective: str, batch: int, dimension: int, chunk: int) -> Any:
    """The program of the gradient `(a, b) -> (to a, to b)`."""
    losses = {
        "textbook": lambda a, b: textbook(objective, a, b),
        "plain": lambda a, b: contrastive(objective, 0, a, b),
        "chunked": lambda a, b: contrastive(objective, chunk, a, b),
    }
    vectors = jax.ShapeDtypeStruct((batch, dimension), jnp.float32)
    return jax.jit(jax.grad(losses[form], (0, 1))).lower(vectors, vectors).compile()


def temporary(program: Any) -> int:
    """Bytes that a compiled program needs besides its arguments and results."""
    return program.memory_analysis().temp_size_in_bytes


def case_of(settings: Settings, objective: str, batch: int) -> dict[str, Any]:
    """What a measurement is of."""
    return {"objective": objective, "batch": batch, "dimension": settings.dimension, "chunk": settings.chunk}


def memory(settings: Settings) -> Iterator[Row]:
    """The analysis of each form at each size."""
    for batch in settings.batches:
        for objective in OBJECTIVES:
            case = case_of(settings, objective, batch)
            yield case | {form: temporary(compiled(form, **case)) for form in FORMS}


def seconds(step: Callable[..., Any], *arguments: Any) -> float:
    """Wall time of one call."""
    begun = time.perf_counter()
    jax.block_until_ready(step(*arguments))
    return time.perf_counter() - begun


def apart(ours: Any, theirs: Any) -> float:
    """Largest difference between two pytrees, over the largest entry of the array that it is in."""
    pairs = [(np.asarray(x), np.asarray(y)) for x, y in zip(*map(jax.tree.leaves, (ours, theirs)), strict=True)]
    return max(float(np.abs(x - y).max() / max(np.abs(y).max(), 1e-30)) for x, y in pairs)


def timing(settings: Settings) -> Iterator[Row]:
    """Turns of each form at one size, and the chunked form at the full size."""
    draw = np.random.default_rng(settings.seed)
    vectors = lambda batch: [jnp.float32(x) for x in draw.normal(size=(2, batch, settings.dimension))]
    for objective in OBJECTIVES:
        case, given = case_of(settings, objective, settings.time_batch), vectors(settings.time_batch)
        steps = {form: compiled(form, **case) for form in FORMS}
        gradients = {form: step(*given) for form, step in steps.items()}
        about = case | {"gradients_apart": apart(gradients["chunked"], gradients["plain"])}
        about["from_textbook"] = apart(gradients["plain"], gradients["textbook"])
        for turn in range(settings.rounds):
            order = FORMS if turn % 2 == 0 else FORMS[::-1]
            yield about | {"turn": turn} | {form: seconds(steps[form], *given) for form in order}
        if settings.full_batch:
            case, given = case_of(settings, objective, settings.full_batch), vectors(settings.full_batch)
            step = compiled("chunked", **case)
            seconds(step, *given)
            yield case | {"turn": 0, "chunked": seconds(step, *given)}


def caching(settings: Settings) -> Iterator[Row]:
    """A ViT's step on two views, all activations at once or those of a chunk: memory, time, and how far gradients differ."""
    vit = encoder("vit", depth=settings.depth, hidden_size=settings.width)
    params, kept = vit.init(jax.random.key(settings.seed))
    encode = lambda params: lambda rows: vit.apply(params, kept, rows, train=True)[0]
    scores = lambda a, b: contrastive("InfoNCE", settings.chunk, a, b)
    losses = {
        "plain": lambda params, a, b: scores(encode(params)(a), encode(params)(b)),
        "cached": lambda params, a, b: scores(*(cached(encode(params), x, settings.caching_chunk) for x in (a, b))),
    }

    @cache
    def step(form, batch):
        pictures = jax.ShapeDtypeStruct((batch, 28, 28, 1), jnp.float32)
        return jax.jit(jax.grad(losses[form])).lower(params, pictures, pictures).compile()

    row: Row = {"batch": settings.caching_batch, "chunk": settings.caching_chunk}
    row |= {"depth": settings.depth, "width": settings.width, "run_batch": settings.caching_run}
    row |= {form: temporary(step(form, settings.caching_batch)) for form in losses}
    noise = np.random.default_rng(settings.seed).normal(size=(2, settings.caching_run, 28, 28, 1))
    views = jnp.float32(noise)
    gradients = {form: step(form, settings.caching_run)(params, *views) for form in losses}
    row["gradients_apart"] = apart(gradients["cached"], gradients["plain"])
    for form in losses:
        run = step(form, settings.caching_run)
        row[f"{form}_seconds"] = statistics.median(seconds(run, params, *views) for _ in range(settings.rounds))
    yield row


def mebibytes(size: float) -> str:
    """Bytes in MiB, for people."""
    return f"{size / 2**20:,.0f}" if size >= 10 * 2**20 else f"{size / 2**20:.2f}"


def table(rows: list[Row]) -> str:
    """The figures as Markdown."""
    lines = ["# Large batches: memory and time", ""]
    of = lambda part: [row for row in rows if row["part"] == part]
    if found := of("memory"):
        lines += [
            f"Temporary memory of the gradient of both directions, MiB, by XLA's analysis of the compiled program; vectors of "
            f"{found[0]['dimension']} numbers, chunks of {found[0]['chunk']:,}. To reach at 16,384: 1/8 "
            "of the plain form, better 1/14. SigLIP adds up to the same in both directions, so one is computed.",
            "",
            "| objective | batch | textbook | plain | chunked | plain / chunked | textbook / chunked |",
            "|---|---:|---:|---:|---:|---:|---:|",
        ]
        for row in found:
            sizes = " | ".join(mebibytes(row[name]) for name in FORMS)
            ratios = " | ".join(f"{row[name] / row['chunked']:.1f}" for name in ("plain", "textbook"))
            lines.append(f"| {row['objective']} | {row['batch']:,} | {sizes} | {ratios} |")
        lines.append("")
    if found := of("time"):
        lines += [
            "Seconds of that gradient (medians), and the largest difference of chunked and plain gradients over the largest "
            "entry.",
            "",
            "| objective | batch | textbook | plain | chunked | gradients apart |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        for objective, batch in dict.fromkeys((row["objective"], row["batch"]) for row in found):
            turns = [row for row in found if (row["objective"], row["batch"]) == (objective, batch)]
            middle = [
                f"{statistics.median(row[name] for row in turns):.2f}" if name in turns[0] else "–" for name in FORMS
            ]
            apart = f"{turns[0]['gradients_apart']:.0e}" if "gradients_apart" in turns[0] else "–"
            lines.append(f"| {objective} | {batch:,} | {' | '.join(middle)} | {apart} |")
        lines.append("")
    for row in of("caching"):
        lines += [
            f"Gradient caching: a step of a ViT (depth {row['depth']}, width {row['width']}, 16 patches) on two views, InfoNCE; "
            f"{row['chunk']:,} pictures at a time.",
            "",
            "| | plain | cached | |",
            "|---|---:|---:|---:|",
            f"| temporary memory at a batch of {row['batch']:,}, MiB | {mebibytes(row['plain'])} | {mebibytes(row['cached'])} "
            f"| {row['plain'] / row['cached']:.1f} × less |",
            f"| seconds at a batch of {row['run_batch']:,} | {row['plain_seconds']:.2f} | {row['cached_seconds']:.2f} "
            f"| gradients apart {row['gradients_apart']:.0e} |",
            "",
        ]
    environments = dict.fromkeys(described(row) for row in rows)
    lines += [f"Every turn, with its environment: measurements.jsonl. {' '.join(environments)}", ""]
    return "\n".join(lines)


def main(settings: Settings) -> None:
    """Measures the parts and writes the table; parts that are not measured now keep what stands there."""
    start()
    parts = {"memory": memory, "time": timing, "caching": caching}
    measure(settings.results, {name: partial(parts[name], settings) for name in settings.parts}, table)


if __name__ == "__main__":
    main(parse(PRESETS, None, __doc__))
