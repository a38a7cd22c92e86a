"""Training steps of the encoders against the same models in PyTorch: forward, mean square, backward, Adam.

    python -m experiments.bench_encoders                     # the small ViT and the Transformer on 2 cores, some minutes
    python -m experiments.bench_encoders --parts vit
    python -m experiments.bench_encoders --preset gpu        # bfloat16, against torch.compile, with ResNet-18
    python -m experiments.bench_encoders --preset smoke

Both sides start from the same weights, which must give the same vectors (to 1e-4 in float32) and, after some steps, the same
loss; then they take turns in one process. Writes table.md and measurements.jsonl.
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
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from experiments.settings import Row, measure, parse
from jaxembed.encoders import ResNet, Transformer, ViT
from jaxembed.study.environment import described, environment
from jaxembed.training.host import start

Part = Literal["vit", "transformer", "resnet"]


@dataclass(frozen=True)
class Settings:
    """What is measured, on what.

    device: "cpu" measures with `threads` threads on both sides. dtype: of the computation; parameters are float32.
    compiled: PyTorch's side goes through torch.compile. pictures, texts: batch sizes. steps: in a turn. rounds: turns of
    each side. The ViT has 28 x 28 x 1 pixels and patches of 7, the ResNet 32 x 32 x 3 pixels.
    """

    preset: Literal["smoke", "gpu", "cpu"] = "cpu"
    parts: tuple[Part, ...] = ("vit", "transformer")
    results: Path = Path("results/bench_encoders")
    device: Literal["cpu", "gpu"] = "cpu"
    dtype: Literal["float32", "bfloat16"] = "float32"
    compiled: bool = False
    threads: int = 2
    pictures: int = 256
    texts: int = 64
    length: int = 32
    vocab_size: int = 8000
    vit: tuple[int, int, int] = (192, 6, 3)
    transformer: tuple[int, int, int] = (256, 4, 4)
    width: int = 64
    rounds: int = 7
    steps: int = 10
    seed: int = 0


PRESETS = {
    "smoke": Settings(
        preset="smoke", parts=("vit", "transformer", "resnet"), results=Path("runs/bench_encoders"), pictures=4, texts=3,
        length=6, vocab_size=50, vit=(16, 1, 2), transformer=(16, 1, 2), width=4, rounds=2, steps=2,
    ),
    "gpu": Settings(
        preset="gpu", parts=("vit", "transformer", "resnet"), device="gpu", dtype="bfloat16", compiled=True,
        pictures=1024, texts=512, steps=50,
    ),
    "cpu": Settings(),
}  # fmt: skip
TITLES = {"vit": "ViT", "transformer": "Transformer", "resnet": "ResNet-18"}
MUST = {"cpu": 0.95, "gpu": 1.0}


def models(part: Part, settings: Settings) -> tuple[Callable[[Any], Any], Callable[[], Any], Any]:
    """What makes our encoder for a dtype, what makes PyTorch's, and a batch of inputs."""
    from experiments import torch_encoders

    rng = np.random.default_rng(settings.seed)
    if part == "transformer":
        size, depth, heads = settings.transformer
        shape = (settings.vocab_size, size, depth, heads)
        ids = rng.integers(1, settings.vocab_size, (settings.texts, settings.length)).astype(np.int32)
        lengths = rng.integers(settings.length // 2, settings.length + 1, settings.texts)
        ids[np.arange(settings.length) >= lengths[:, None]] = 0
        ours = partial(Transformer, *shape, max_length=settings.length, dropout=0.0)
        theirs, inputs = partial(torch_encoders.Transformer, *shape, settings.length), ids
    elif part == "vit":
        inputs = rng.normal(size=(settings.pictures, 28, 28, 1)).astype(np.float32)
        ours, theirs = (partial(kind, 28, 1, 7, *settings.vit) for kind in (ViT, torch_encoders.ViT))
    else:
        inputs = rng.normal(size=(settings.pictures, 32, 32, 3)).astype(np.float32)
        ours = partial(ResNet, 18, "cifar", width=settings.width)
        theirs = partial(torch_encoders.ResNet, 3, settings.width)
    return lambda dtype: nnx.eval_shape(lambda: ours(dtype=dtype, rngs=nnx.Rngs(0))), theirs, inputs


def weights(state: Any, seed: int) -> Any:
    """Values for an encoder's variables: matrices drawn for the width of their input, the others as they begin."""
    rng = np.random.default_rng(seed)

    def values(path, x):
        if x.ndim > 1:
            return jnp.asarray(rng.normal(0, 1 / np.sqrt(np.prod(x.shape[:-1])), x.shape), x.dtype)
        return jnp.full(x.shape, float(any(name in jax.tree_util.keystr(path) for name in ("scale", "var"))), x.dtype)

    return jax.tree_util.tree_map_with_path(values, state)


def ours_side(encoder: Any, inputs: Any, targets: Any, steps: int) -> Callable[[], float]:
    """A turn of our encoder's training, one program of `steps` steps as the engine makes them; gives the last one's loss."""
    graph, params, kept = nnx.split(encoder, nnx.Param, nnx.BatchStat)
    optimizer = optax.adam(1e-3)
    inputs, targets = jnp.asarray(inputs), jnp.asarray(targets)

    def step(carry, _):
        params, kept, moments = carry

        def loss(params):
            inside = nnx.merge(graph, params, kept, copy=True)
            out = inside(inputs, train=True).astype(jnp.float32)
            return jnp.mean((out - targets) ** 2), nnx.state(inside, nnx.BatchStat)

        (value, kept), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        updates, moments = optimizer.update(gradient, moments, params)
        return (optax.apply_updates(params, updates), kept, moments), value

    many = jax.jit(lambda carry: jax.lax.scan(step, carry, None, length=steps), donate_argnums=0)
    held = [jax.tree.map(jnp.array, (params, kept, optimizer.init(params)))]

    def turn() -> float:
        held[0], values = many(held[0])
        return float(values[-1])

    return turn


def torch_side(module: Any, inputs: Any, targets: Any, settings: Settings) -> Callable[[], float]:
    """The same for PyTorch's."""
    import torch

    device = "cuda" if settings.device == "gpu" else "cpu"
    module = module.to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(module.parameters(), 1e-3, fused=True)
    forward = torch.compile(module) if settings.compiled else module
    inputs, targets = torch.from_numpy(inputs).to(device), torch.from_numpy(targets).to(device)

    def turn() -> float:
        value = torch.zeros(())
        for _ in range(settings.steps):
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device, torch.bfloat16, enabled=settings.dtype == "bfloat16"):
                out = forward(inputs)
            value = ((out.float() - targets) ** 2).mean()
            value.backward()
            optimizer.step()
        return value.item()

    return turn


def contestants(part: Part, settings: Settings) -> tuple[Callable[[], float], Callable[[], float], dict[str, Any]]:
    """Both sides, ready to train, after showing that they are the same model; and what was shown."""
    import torch

    from experiments.torch_encoders import load, parameters

    make, make_theirs, inputs = models(part, settings)
    graph, state = nnx.split(make(jnp.float32))
    encoder = nnx.merge(graph, weights(state, settings.seed))
    state = nnx.state(encoder)
    shape = (len(inputs), encoder.vector_size)
    targets = np.random.default_rng(settings.seed + 1).normal(size=shape).astype(np.float32)
    module = make_theirs()
    load(module, nnx.to_pure_dict(state))
    with torch.no_grad(), jax.default_matmul_precision("highest"):
        theirs = module(torch.from_numpy(inputs)).numpy()
        ours = np.asarray(nnx.jit(lambda m, x: m(x, train=True))(nnx.clone(encoder), inputs))
    difference = float(np.abs(ours - theirs).max())
    if not difference < 1e-4:
        raise RuntimeError(f"the two {TITLES[part]} differ by {difference:.2g} at the same weights")
    load(module, nnx.to_pure_dict(state))  # running statistics have moved
    encoder = nnx.merge(nnx.split(make(settings.dtype))[0], state)
    count = parameters(module)
    turns = ours_side(encoder, inputs, targets, settings.steps), torch_side(module, inputs, targets, settings)
    losses = turns[0](), turns[1]()  # compiles, and shows that the gradients are the same
    allowed = 1e-3 if settings.dtype == "float32" else 0.05
    if not abs(losses[0] - losses[1]) < allowed * losses[1]:
        raise RuntimeError(f"the two {TITLES[part]} train differently: losses {losses[0]} and {losses[1]}")
    return *turns, {"difference": difference, "losses": losses, "parameters": count}


def measured(part: Part, settings: Settings) -> Iterator[Row]:
    """Turns of both sides, in seconds a step."""
    ours, theirs, shown = contestants(part, settings)
    for turn in range(settings.rounds):
        row: Row = {"device_kind": settings.device, "dtype": settings.dtype, "turn": turn}
        row |= {"batch": settings.texts if part == "transformer" else settings.pictures, "compiled": settings.compiled}
        for name, train in (("ours", ours), ("torch", theirs))[:: 1 if turn % 2 == 0 else -1]:
            begun = time.perf_counter()
            train()
            row[name] = (time.perf_counter() - begun) / settings.steps
        yield row | shown


def table(rows: list[Row]) -> str:
    """The figures as Markdown; what was never measured says so."""
    lines = [
        "# Training steps of the encoders against PyTorch", "",
        "| | device | batch | ours, ms | PyTorch, ms | speed over PyTorch's | must |", "|---|---|---:|---:|---:|---:|---:|",
    ]  # fmt: skip
    for device, part in [(d, p) for d in ("cpu", "gpu") for p in TITLES if (d, p) != ("cpu", "resnet")]:
        found = [row for row in rows if (row["part"], row["device_kind"]) == (part, device)]
        name = f"{TITLES[part]} | {'CPU, float32' if device == 'cpu' else 'GPU, bfloat16, torch.compile'}"
        if not found:
            lines.append(f"| {name} | | not yet measured | | | {MUST[device]} x |")
            continue
        ours, theirs = (statistics.median(row[side] for row in found) for side in ("ours", "torch"))
        lines.append(
            f"| {name} | {found[0]['batch']} | {ours * 1e3:.1f} | {theirs * 1e3:.1f} | {theirs / ours:.2f} x | "
            f"{MUST[device]} x |"
        )
    environments = dict.fromkeys(described(row) for row in rows)
    turns = (
        f"Medians over turns that alternate in one process; every turn: measurements.jsonl. {' '.join(environments)}"
    )
    return "\n".join([*lines, "", turns, ""])


def main(settings: Settings) -> None:
    """Measures the parts and writes the table; parts that are not measured now keep what stands there."""
    if settings.device == "cpu":
        jax.config.update("jax_platforms", "cpu")
        if hasattr(os, "sched_setaffinity"):  # XLA has as many threads as it sees cores
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: settings.threads])
    import torch

    start()
    torch.set_num_threads(settings.threads)
    about = {"versions": environment()["versions"] | {"torch": torch.__version__}, "threads": settings.threads}
    elsewhere = lambda row, name: row["device_kind"] != settings.device or row["part"] != name
    measure(
        settings.results, {name: partial(measured, name, settings) for name in settings.parts}, table, about, elsewhere
    )


if __name__ == "__main__":
    main(parse(PRESETS, None, __doc__))
