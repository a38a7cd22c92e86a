"""A training step of BERT against the same in PyTorch: masks drawn anew, forward, cross-entropy, backward, Adam.

    python -m experiments.bench_language                     # 4 layers, 256 wide, 32 rows of 128 tokens; 2 cores, some minutes
    python -m experiments.bench_language --preset smoke

Both sides start from the same weights, with which the same masked rows must give the same loss (to 1e-4); then they take turns in
one process, without dropout. Ours is the step of the engine as `jaxembed train bert` runs it. Both compute scores of words at
masked places alone. Beside it stands the memory that the scores take: XLA's own count of temporary bytes of the loss and its
gradient, for 8,192 tokens and 30,000 words, with all scores at once and by chunks. Writes table.md and measurements.jsonl.
"""

# The peers are not among the requirements.
# pyright: reportMissingImports=false

import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import jax
import jax.numpy as jnp
import numpy as np

from experiments.settings import Row, measure, parse
from jaxembed.data.streams import Marks, TokenStream
from jaxembed.encoders.functional import encoder
from jaxembed.methods.language import MaskedLanguageModel
from jaxembed.objectives.vocabulary import cross_entropy
from jaxembed.study.environment import described, environment
from jaxembed.training.dense import Dense
from jaxembed.training.host import start
from jaxembed.training.mesh import Layout
from jaxembed.training.numbers import table_of
from jaxembed.training.program import Program
from jaxembed.training.settings import Training

Part = Literal["step", "memory"]


@dataclass(frozen=True)
class Settings:
    """What is measured: rows of `length` tokens, a model's width, layers and heads, steps in a turn, turns of each side."""

    preset: Literal["smoke", "cpu"] = "cpu"
    parts: tuple[Part, ...] = ("step", "memory")
    results: Path = Path("results/bench_language")
    threads: int = 2
    rows: int = 32
    length: int = 128
    vocab_size: int = 8000
    transformer: tuple[int, int, int] = (256, 4, 4)
    share: float = 0.15
    tokens: int = 8192
    words: int = 30_000
    rounds: int = 7
    steps: int = 5
    seed: int = 0


PRESETS = {
    "smoke": Settings(
        preset="smoke", results=Path("runs/bench_language"), rows=4, length=12, vocab_size=60, transformer=(16, 1, 2),
        tokens=512, words=3000, rounds=2, steps=2,
    ),
    "cpu": Settings(),
}  # fmt: skip
CLS, SEP, MASK = 2, 3, 4
MUST = 1.0  # times PyTorch's speed


def ours(settings: Settings) -> Program:
    """The engine with BERT on a stream of random tokens."""
    size, depth, heads = settings.transformer
    rng = np.random.default_rng(settings.seed)
    n = settings.rows * settings.length * (settings.steps * (settings.rounds + 1) + 2)
    tokens = rng.integers(5, settings.vocab_size, n).astype(np.uint16)
    marks = Marks(CLS, SEP, MASK, consecutive=True)
    stream = TokenStream(tokens, np.array([0, n]), np.array([n]), settings.vocab_size, marks, "random")
    net = encoder("transformer", vocab_size=1, hidden_size=size, depth=depth, heads=heads, dropout=0.0)
    method = MaskedLanguageModel(
        encoder=net, length=settings.length, batch_size=settings.rows, share=settings.share, watch=2
    ).suited_to(stream)
    training = Training(1, 1e-4, dense=Dense(optimizer="adam", schedule="constant"))
    source = method.source(stream)
    program = Program(method, training, source, (settings.seed,), table_of(method, training, {}, 1), None, Layout(None))
    program.prepare(program.read(0), 0)
    return program


def turns_of(program: Program, settings: Settings) -> Callable[[], float]:
    """A turn of ours: some steps as one dispatch; gives their mean loss."""
    place = [0]

    def turn() -> float:
        first, place[0] = place[0], place[0] + settings.steps
        metrics = program.advance(first, place[0])
        return float(metrics["loss"][0] / metrics["weight"][0])

    return turn


def torch_model(settings: Settings) -> Any:
    """The same model in PyTorch; its names are ours."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    from experiments import torch_encoders

    class Bert(nn.Module):
        """A Transformer, a layer with GELU and a norm, and the words' own vectors."""

        def __init__(self, vocab_size: int, size: int, depth: int, heads: int, length: int):
            super().__init__()
            self.encoder = torch_encoders.Transformer(vocab_size, size, depth, heads, length)
            self.lower, self.norm = nn.Linear(size, size), nn.LayerNorm(size, 1e-12)
            self.bias = nn.Parameter(torch.zeros(vocab_size))

        def forward(self, ids, places, target):
            """Mean cross-entropy of the tokens at `places [B, M]`."""
            read = self.encoder.sequence(ids)
            at = torch.take_along_dim(read, places[..., None], 1).flatten(0, 1)
            at = self.norm(F.gelu(self.lower(at)))
            return F.cross_entropy(F.linear(at, self.encoder.token_embedding.weight, self.bias), target.flatten())

    return Bert(settings.vocab_size, *settings.transformer, settings.length)


def torch_masks(ids: Any, count: int, vocab_size: int) -> tuple[Any, Any, Any]:
    """Hides `count` tokens of each row, as `jaxembed.methods.masking.hide` does: ids, places and targets."""
    import torch

    places = torch.rand(ids.shape).topk(count, 1).indices
    target = ids.gather(1, places)
    turn, words = torch.rand(places.shape), torch.randint(1, vocab_size, places.shape)
    shown = torch.where(turn < 0.8, MASK, torch.where(turn < 0.9, words, target))
    return ids.scatter(1, places, shown), places, target


def step(settings: Settings) -> Iterator[Row]:
    """Turns of both sides, in seconds a step, after showing that they are the same model."""
    import torch

    from experiments.torch_encoders import load

    program, module = ours(settings), torch_model(settings)
    params, method = program.params()[0], cast(MaskedLanguageModel, program.method)
    net = jax.device_get(params.net)
    bias = net["output"]["bias"].copy()
    bias[0] = -1e9  # padding is never predicted
    load(module, {"encoder": net["encoder"], **net["output"], "bias": bias})
    rng = np.random.default_rng(settings.seed)
    rows = rng.integers(5, settings.vocab_size, (settings.rows, settings.length)).astype(np.int32)
    keys = jax.random.split(jax.random.key(0), len(rows))
    hidden = jax.jit(method.hide_each)(keys, rows)
    with jax.default_matmul_precision("highest"):
        judged = jax.jit(method.judged)(params, rows, keys)
    mine = float(jnp.sum(judged.loss * judged.weight) / jnp.sum(judged.weight))
    given = [torch.from_numpy(np.array(x)).long() for x in (hidden.ids, hidden.places, hidden.target)]
    with torch.no_grad():
        theirs = module(*given).item()
    if not abs(mine - theirs) < 1e-4 * theirs:
        raise RuntimeError(f"the two models differ at the same weights: their losses are {mine} and {theirs}")
    optimizer = torch.optim.Adam(module.parameters(), 1e-4, fused=True)
    stream = torch.from_numpy(rows).long()

    def torch_turn() -> float:
        value = torch.zeros(())
        for _ in range(settings.steps):
            optimizer.zero_grad(set_to_none=True)
            value = module(*torch_masks(stream, given[1].shape[1], settings.vocab_size))
            value.backward()
            optimizer.step()
        return value.item()

    turn = turns_of(program, settings)
    for warm_up in (turn, torch_turn):
        warm_up()
    for number in range(settings.rounds):
        row: Row = {"turn": number, "rows": settings.rows, "length": settings.length, "losses": [mine, theirs]}
        for name, train in (("ours", turn), ("torch", torch_turn))[:: 1 if number % 2 == 0 else -1]:
            begun = time.perf_counter()
            train()
            row[name] = (time.perf_counter() - begun) / settings.steps
        yield row


def memory(settings: Settings) -> Iterator[Row]:
    """Temporary bytes of the loss and its gradient, by XLA's own count."""
    n, v, d = settings.tokens, settings.words, settings.transformer[0]
    shapes = [jax.ShapeDtypeStruct(shape, np.float32) for shape in ((n, d), (v, d), (v,), (n,))]
    target = jax.ShapeDtypeStruct((n,), np.int32)

    def plain(hidden, table, bias, weight, target):
        scores = hidden @ table.T + bias[None]
        own = jnp.take_along_axis(scores, target[:, None], 1)[:, 0]
        return jnp.sum(weight * (jax.nn.logsumexp(scores, axis=1) - own))

    chunks = lambda hidden, table, bias, weight, target: cross_entropy(hidden, table, bias, target, weight)
    row: Row = {"tokens": n, "words": v}
    for name, of in (("chunks", chunks), ("plain", plain)):
        compiled = jax.jit(jax.value_and_grad(of, (0, 1, 2))).lower(*shapes, target).compile()
        row[name] = compiled.memory_analysis().temp_size_in_bytes  # pyright: ignore[reportOptionalMemberAccess]
    yield row


def table(rows: list[Row]) -> str:
    """The figures as Markdown; what was never measured says so."""
    lines = [
        "# BERT's training step against PyTorch",
        "",
        "| | ours | the other | | must |",
        "|---|---:|---:|---:|---:|",
    ]
    steps, sizes = ([row for row in rows if row["part"] == part] for part in ("step", "memory"))
    if steps:
        mine, theirs = (statistics.median(row[side] for row in steps) for side in ("ours", "torch"))
        what = f"a step of {steps[0]['rows']} x {steps[0]['length']} tokens, ms, beside PyTorch"
        lines.append(f"| {what} | {mine * 1e3:.1f} | {theirs * 1e3:.1f} | {theirs / mine:.2f} x its speed | {MUST} x |")
    else:
        lines.append(f"| a step, beside PyTorch | not yet measured | | | {MUST} x |")
    for row in sizes:
        what = f"cross-entropy of {row['tokens']:,} tokens x {row['words']:,} words, MB, beside all scores at once"
        share = row["plain"] / row["chunks"]
        lines.append(f"| {what} | {row['chunks'] / 1e6:.0f} | {row['plain'] / 1e6:.0f} | 1/{share:.1f} | 1/6 |")
    environments = dict.fromkeys(described(row) for row in rows)
    turns = (
        f"Medians over turns that alternate in one process; every turn: measurements.jsonl. {' '.join(environments)}"
    )
    return "\n".join([*lines, "", turns, ""])


def main(settings: Settings) -> None:
    """Measures the parts and writes the table; parts that are not measured now keep what stands there."""
    jax.config.update("jax_platforms", "cpu")
    if hasattr(os, "sched_setaffinity"):  # XLA has as many threads as it sees cores
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: settings.threads])
    start()
    about: Row = {"versions": environment()["versions"], "threads": settings.threads}
    if "step" in settings.parts:
        import torch

        torch.set_num_threads(settings.threads)
        about["versions"] |= {"torch": torch.__version__}
    kinds = {"step": step, "memory": memory}
    measure(settings.results, {name: partial(kinds[name], settings) for name in settings.parts}, table, about)


if __name__ == "__main__":
    main(parse(PRESETS, None, __doc__))
