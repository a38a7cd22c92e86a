"""Every figure that needs an accelerator, the most important first, within the time that there is one.

    python -m experiments.accelerator --minutes 9              # a GPU or TPU; JAXEMBED_DATA with the data named below, if any
    python -m experiments.accelerator --parts words --minutes 3
    python -m experiments.accelerator --toy                    # a CPU, some minutes, shipped data: does everything run?

A part starts only if it should end in the time left, trains as long as its share of that allows, and writes every figure as
soon as there is one: a line of measurements.jsonl, and table.md. Each is a process of its own, so that one that fails, hangs
or takes all memory costs no other. Earlier lines stay; the table shows the last run of each part that gave figures. Data:
enwik8-text (else the shipped enwik8-small), cifar10-jpeg, fashion-mnist (else fashion-mnist-small). Needs neither `datasets`
nor `tyro`. Expect 8 seeds in at most 3 times the time of one (better 1.5), and the same bits under `--deterministic`.
"""

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from experiments import bench_encoders, bench_memory, contrastive_images, many_seeds, roofline
from experiments.settings import Row, measure
from jaxembed.data.cache import content_digest
from jaxembed.data.hub import local_names
from jaxembed.evaluation import evaluate
from jaxembed.files import write_text
from jaxembed.models import Word2Vec
from jaxembed.recipes import Recipe, recipe
from jaxembed.report.tables import NOTHING, Cell, Table, markdown
from jaxembed.study.environment import command, described
from jaxembed.study.values import as_json
from jaxembed.tasks.base import parted
from jaxembed.training.host import start
from jaxembed.training.loop import Result, fit

BENCHMARKS = ("wordsim353", "simlex999", "google")
SEED = 1
JUDGING = 30  # seconds that an image encoder's vectors, neighbours and probe take
TOY_SECONDS = 60


@dataclass(frozen=True)
class Plan:
    """How much there is to do: a toy's worth, or what ends by `ends` (of `time.time`)."""

    toy: bool
    ends: float

    def left(self) -> float:
        """Seconds that are left."""
        return self.ends - time.time()


def words(plan: Plan) -> Iterator[Row]:
    """Skip-gram by the public call, by its recipe, and with larger steps, which a device has more use for than two cores."""
    base = skipgram(plan)
    method: Any = base.method
    corpus, begun = base.task.found.train, time.perf_counter()
    model = Word2Vec(corpus, sg=1, vector_size=method.vector_size, epochs=base.training.epochs, seed=SEED)
    seconds = time.perf_counter() - begun
    yield {"what": "Word2Vec(sg=1)", "call_seconds": seconds} | of_words(base, cast(Result, model.result))
    for larger in (1, 4, 16):
        if plan.left() < 1.2 * seconds:
            print(f"larger steps are left out: {plan.left():.0f} s are left, and a run takes {seconds:.0f}", flush=True)
            return
        own = base.with_(step_tokens=larger * method.step_tokens)
        result = fit(own.method, corpus, own.training, seeds=(SEED,))
        yield {"what": f"recipe, {result.method.step_tokens:,} tokens a step"} | of_words(own, result)


def skipgram(plan: Plan, max_words: int = 0) -> Recipe:
    """The recipe at the width of the comparison, on the largest text that is here."""
    if plan.toy:
        return recipe("skipgram").with_(data="enwik8-small", vector_size=16, max_words=20_000, epochs=1)
    return recipe("skipgram").with_(data=here("enwik8-text", "enwik8-small"), vector_size=128, max_words=max_words)


def here(*names: str) -> str:
    """The first of some datasets that can be loaded without a network, or the last."""
    return next((name for name in names if name in local_names()), names[-1])


def of_words(own: Recipe, result: Result) -> Row:
    """Speed, and quality on whole sets, on the halves that settings are chosen by, and on those that they are not."""
    row = of_run(own, result) | {"words_per_second": result.examples_per_second}
    vectors = own.task.product(result.method, result.params[0], result.vectors[0])
    for half in ("all", "dev", "test"):
        rows = evaluate(vectors, split=half, names=BENCHMARKS)
        row |= {f"{one['benchmark']}-{half}": float(one["value"]) for one in rows if one["benchmark"] in BENCHMARKS}
    return row


def of_run(own: Recipe, result: Result) -> Row:
    """What a training was, and its times."""
    return {
        "data": own.task.data, "seed": SEED, "epochs": result.examples // own.task.found.examples, "seconds": result.seconds,
        "compile_seconds": result.compile_seconds,
        "settings": {"method": as_json(result.method), "training": as_json(own.training), "task": as_json(own.task)},
    }  # fmt: skip


def seeds(plan: Plan) -> Iterator[Row]:
    """8 seeds as one vectorised program, against one seed, in turns."""
    own = skipgram(plan, max_words=2_000_000)
    corpus = own.task.found.train
    settings = many_seeds.Settings(
        vector_size=16 if plan.toy else 128, data=own.task.data, max_words=len(corpus.tokens)
    )
    groups = {str(count): many_seeds.Group(settings, corpus, range(count), "vmap") for count in (1, 8)}
    for group in groups.values():
        group.train()  # warms up
    turns = many_seeds.in_turns({count: group.train for count, group in groups.items()}, 3)
    one, eight = (statistics.median(turns[count]) for count in ("1", "8"))
    yield {
        "what": "Skip-gram, a pass", "data": own.task.data, "words": len(corpus.tokens), "one_seconds": one, "seed": "0 to 7",
        "eight_seconds": eight, "over_one": eight / one, "words_per_second": 8 * len(corpus.tokens) / eight,
        "settings": as_json(settings), "turns": turns,
    }  # fmt: skip


def scatter(plan: Plan) -> Iterator[Row]:
    """Rows added to a table: at ids as words have them, at the same in order, and at ids that are all different."""
    width, vocabulary = 128, 1 << (12 if plan.toy else 18)
    rng, times = np.random.default_rng(SEED), 8  # additions a dispatch
    chances = 1 / np.arange(1, vocabulary + 1)
    for count in (vocabulary // 16, vocabulary // 2):
        drawn = rng.choice(vocabulary, count, p=chances / chances.sum()).astype(np.int32)
        cases = {
            "repeated": (drawn, {}),
            "sorted": (np.sort(drawn), {"indices_are_sorted": True}),
            "unique": (rng.permutation(vocabulary)[:count].astype(np.int32), {"unique_indices": True}),
        }
        row: Row = {"what": f"{count:,} rows of {width} float32", "jaxlib": metadata.version("jaxlib"), "seed": SEED}
        for name, (ids, hints) in cases.items():

            def add(table: jax.Array, ids: jax.Array, rows: jax.Array, hints: Row = hints) -> jax.Array:
                return jax.lax.fori_loop(0, times, lambda _, table: table.at[ids].add(rows, **hints), table)

            others = (jnp.asarray(ids), jnp.ones((count, width)))
            taken = roofline.in_place(jax.jit(add, donate_argnums=0), jnp.zeros((vocabulary, width)), others, 3)
            row[f"{name}_us"] = 1e6 * taken / times
        settings = {"vocabulary": vocabulary, "distinct": len(np.unique(drawn)), "additions": times}
        yield row | {"over_unique": row["repeated_us"] / row["unique_us"], "settings": settings}


def pictures(name: str, plan: Plan) -> Iterator[Row]:
    """SimCLR for as many passes as there is time for, judged by the linear probe and the nearest neighbours."""
    own, most = simclr(name, plan), 1 if plan.toy else 200
    read = own.task.found
    result = trial = fit(own.method, read.train, replace(own.training, epochs=1), seeds=(SEED,))
    free = plan.left() - JUDGING - trial.compile_seconds / 2  # its program is known the second time, but for tracing
    if (epochs := min(most, int(free / trial.seconds))) > 1:
        own = own.with_(epochs=epochs)
        result = fit(own.method, read.train, own.training, seeds=(SEED,))
    product = own.task.product(result.method, result.params[0], result.vectors[0])
    method: Any = result.method
    row = {"what": f"SimCLR, {method.encoder.kind}", "images_per_second": result.examples_per_second}
    judged, _ = parted(own.task.judge(own.task.parts(product)))
    yield row | of_run(own, result) | {"compile_seconds": trial.compile_seconds} | judged


def simclr(name: str, plan: Plan) -> Recipe:
    """SimCLR as `contrastive_images` has it on a device; of a toy its smoke preset, for a ResNet takes a CPU long to compile."""
    preset = contrastive_images.PRESETS["smoke" if plan.toy else {"cifar": "cifar10", "fashion": "gpu"}[name]]
    toy = {"max_images": 128, "batch_size": 32} if plan.toy else {}
    own = contrastive_images.EXPERIMENT.contender("simclr/infonce", preset, toy)
    return own.with_(data=here(own.task.data, "fashion-mnist-small")) if name == "fashion" else own


def encoders(plan: Plan) -> Iterator[Row]:
    """Training steps of the encoders, ours and PyTorch's in turns, as far as PyTorch is here."""
    if find_spec("torch") is None:
        raise ModuleNotFoundError("PyTorch is not installed, and was not measured beside")
    settings = bench_encoders.PRESETS["smoke" if plan.toy else "gpu"]
    for name in ("vit", "transformer", "resnet"):
        title = bench_encoders.TITLES[name]
        try:
            turns = list(bench_encoders.measured(name, replace(settings, rounds=3)))
        except Exception as error:  # one encoder's failure keeps no other back
            yield {"what": title, "failed": in_a_line(error)}
            continue
        ours, theirs = (statistics.median(row[side] for row in turns) for side in ("ours", "torch"))
        yield {
            "what": f"{title}, batch {turns[0]['batch']}, {settings.dtype}", "ours_ms": 1e3 * ours, "torch_ms": 1e3 * theirs,
            "over_torch": theirs / ours, "seed": settings.seed, "settings": as_json(settings), "turns": turns,
            "torch": metadata.version("torch"),
        }  # fmt: skip


def large(plan: Plan) -> Iterator[Row]:
    """Scores of a large batch all at once or a tile at a time: memory by XLA's analysis, time, gradients; gradient caching."""
    settings = bench_memory.PRESETS["smoke"]
    if not plan.toy:
        settings = replace(bench_memory.Settings(), batches=(16_384, 32_768), time_batch=16_384, full_batch=65_536)
    about = {"seed": settings.seed, "settings": as_json(settings)}
    for row in bench_memory.memory(settings):
        sizes = {f"{form}_mib": row[form] / 2**20 for form in ("plain", "chunked")}
        yield {"what": f"{row['objective']}, batch {row['batch']:,}: memory", **sizes} | about
    turns: dict[str, list[Row]] = {}
    for row in bench_memory.timing(settings):
        turns.setdefault(f"{row['objective']}, batch {row['batch']:,}: time", []).append(row)
    for what, rows in turns.items():
        taken = {f"{form}_ms": 1e3 * statistics.median(row[form] for row in rows) for form in ("plain", "chunked")
                 if form in rows[0]}  # fmt: skip
        yield {"what": what, **taken, "gradients_apart": rows[0].get("gradients_apart"), "turns": rows} | about
    for row in bench_memory.caching(settings):
        sizes = {"plain_mib": row["plain"] / 2**20, "chunked_mib": row["cached"] / 2**20}
        taken = {"plain_ms": 1e3 * row["plain_seconds"], "chunked_ms": 1e3 * row["cached_seconds"]}
        what = f"gradient caching, ViT, batch {row['batch']:,} (time: {row['run_batch']:,})"
        yield {"what": what, **sizes, **taken, "gradients_apart": row["gradients_apart"]} | about


def determinism(plan: Plan) -> Iterator[Row]:
    """Are two runs under `--deterministic` the same bit for bit? The speed shows the cost; the digest is for other processes."""
    encoder = simclr("cifar", plan)
    encoder = encoder if plan.toy else encoder.with_(data="fashion-mnist-small", max_images=2048)
    for what, own in {"Skip-gram": skipgram(plan, max_words=500_000), "SimCLR": encoder}.items():
        own = own.with_(epochs=1)
        first, second = (fit(own.method, own.task.found.train, own.training, seeds=(SEED,)) for _ in range(2))
        digests = [content_digest(*map(np.asarray, jax.tree.leaves(one.params))) for one in (first, second)]
        row = {"what": what, "same_bits": digests[0] == digests[1], "digest": digests[0]}
        row |= {"per_second": second.examples_per_second}
        yield row | of_run(own, second)


class Part(NamedTuple):
    """A group of figures: its rows, the seconds that it takes on an H100 (its process's start and compilers included)."""

    title: str
    rows: Callable[[Plan], Iterator[Row]]
    seconds: float
    columns: Mapping[str, str]  # header: key of a row


TRAINED = {"data": "data", "passes": "epochs", "s": "seconds", "compiler, s": "compile_seconds"}
PROBED = {"linear": "probe/linear", "kNN": "probe/knn", "images/s": "images_per_second"}
QUALITY = {f"{name}{suffix}": f"{key}-{half}" for half, suffix in {"all": "", "test": ", test half"}.items()
           for name, key in zip(("WS-353", "SimLex", "Google"), BENCHMARKS, strict=True)}  # fmt: skip
PARTS = {
    "words": Part("Skip-gram, d = 128", words, 90, {"words/s": "words_per_second", **QUALITY, **TRAINED}),
    "seeds": Part("8 seeds under vmap over one seed (must: 3, aim: 1.5)", seeds, 40, {
        "8 over 1": "over_one", "one, s": "one_seconds", "eight, s": "eight_seconds", "words/s of all": "words_per_second",
        "words": "words", "data": "data",
    }),
    "scatter": Part("Scatter-add of repeated ids", scatter, 25, {
        "repeated, µs": "repeated_us", "sorted, µs": "sorted_us", "all different, µs": "unique_us",
        "repeated over different": "over_unique", "jaxlib": "jaxlib",
    }),
    "cifar": Part("SimCLR with a ResNet-18 on CIFAR-10 (JPEG)", partial(pictures, "cifar"), 140, {**PROBED, **TRAINED}),
    "fashion": Part("SimCLR on Fashion-MNIST", partial(pictures, "fashion"), 70, {**PROBED, **TRAINED}),
    "encoders": Part("Training steps against torch.compile", encoders, 80, {
        "ours, ms": "ours_ms", "PyTorch, ms": "torch_ms", "speed over PyTorch's": "over_torch",
    }),
    "large": Part("Large batches", large, 40, {
        "plain, MiB": "plain_mib", "in chunks, MiB": "chunked_mib", "plain, ms": "plain_ms", "in chunks, ms": "chunked_ms",
        "gradients apart": "gradients_apart",
    }),
    "determinism": Part("Two runs under --deterministic", determinism, 50, {
        "the same bits": "same_bits", "examples/s": "per_second", **TRAINED,
    }),
}  # fmt: skip


def in_a_line(error: BaseException) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def table(rows: Sequence[Row], notes: Mapping[str, str]) -> str:
    """The last figures of each part as Markdown; `notes` are of parts that gave none now."""
    lines, environments = ["# On an accelerator", ""], {}
    for name, part in PARTS.items():
        mine = [row for row in rows if row["part"] == name]
        good = [row for row in mine if "failed" not in row]
        good = [row for row in good if row["run"] == good[-1]["run"]]
        lines += [f"## {part.title}", ""]
        if good:
            columns = {head: key for head, key in part.columns.items() if any(row.get(key) is not None for row in good)}
            cells = [[Cell(str(row["what"])), *(Cell(shown(row.get(key))) for key in columns.values())] for row in good]
            lines.append(markdown(Table(["", *columns], cells)))
            environments |= dict.fromkeys(described(row) for row in good)
        else:
            lines += ["Not yet measured.", ""]
        last = [row for row in mine if row["run"] == mine[-1]["run"]]
        failed = [f"{row['what']}: {row['failed']}" for row in last if "failed" in row]
        lines += [f"{note}\n" for note in (*failed, notes.get(name)) if note]
    return "\n".join(
        [*lines, "Every figure with its settings and environment: measurements.jsonl.", "", *environments, ""]
    )


def shown(value: Any) -> str:
    """A cell."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value / 1e6:.2f} M" if value >= 1e6 else f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
    return NOTHING if value is None else str(value)


def one_part(name: str, plan: Plan, results: Path, about: Row, notes: Mapping[str, str]) -> None:
    """A part's process."""
    start(deterministic=name == "determinism")

    def rows() -> Iterator[Row]:
        try:
            yield from PARTS[name].rows(plan)
        except (Exception, SystemExit) as error:
            yield {"what": PARTS[name].title, "failed": in_a_line(error)}

    measure(results, {name: rows}, lambda found: table(found, notes), about, lambda row, name: True, show=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """The whole command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=9, help="all that may be used")
    parser.add_argument("--results", type=Path, help="by default results/accelerator, or runs/accelerator with --toy")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), help="in this order")
    parser.add_argument("--toy", action="store_true", help="tiny sizes and shipped data, for a CPU")
    options = parser.parse_args(arguments)
    results = options.results or Path("runs/accelerator" if options.toy else "results/accelerator")
    last = time.time() + 60 * options.minutes
    about = {"run": datetime.now(UTC).isoformat(timespec="seconds"), "command": command()}
    notes: dict[str, str] = {}
    for name in options.parts:
        need, left = TOY_SECONDS if options.toy else PARTS[name].seconds, last - time.time()
        if left < need:
            notes[name] = f"Not started: it takes about {need:.0f} s, and {max(left, 0):.0f} s were left."
        else:
            # This process must not touch the device, whose memory the part's takes; a fresh one has no state of JAX's.
            plan = Plan(options.toy, time.time() + need)
            process = multiprocessing.get_context("spawn").Process(
                target=one_part, args=(name, plan, results, about, notes)
            )
            begun = time.time()
            process.start()
            process.join(left if options.toy else min(left, 2 * need))
            if process.is_alive():
                process.kill()
                notes[name] = f"Stopped after {time.time() - begun:.0f} s, as it took too long."
            elif process.exitcode:
                notes[name] = f"Its process ended by itself, with {process.exitcode}."
        if name in notes:
            print(f"{name}: {notes[name]}", flush=True)
        known = results / "measurements.jsonl"
        rows = [json.loads(line) for line in known.read_text().splitlines()] if known.exists() else []
        write_text(results / "table.md", table(rows, notes))
    sys.stdout.write((results / "table.md").read_text())


if __name__ == "__main__":
    main()
