"""Trains a family on one device and on meshes of eight, and writes what came out: a script, for it needs its own devices.

python mesh_runs.py FOLDER NAME
"""

import json
import re
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxembed.data import read_corpus
from jaxembed.data.cooccurrence import count_cooccurrences
from jaxembed.data.images import Images
from jaxembed.data.interactions import Interactions
from jaxembed.encoders.functional import encoder
from jaxembed.methods.cbow import CBOW
from jaxembed.methods.fasttext import FastText
from jaxembed.methods.glove import GloVe
from jaxembed.methods.images import SimCLR
from jaxembed.methods.lightgcn import LightGCN
from jaxembed.methods.recommend import MF
from jaxembed.methods.skipgram import SkipGram
from jaxembed.sampling.augmentation import Augmentation
from jaxembed.training import dense, loop
from jaxembed.training.checkpoints import Checkpoints
from jaxembed.training.host import start
from jaxembed.training.loop import fit
from jaxembed.training.mesh import Layout, make_mesh
from jaxembed.training.method import Loss, Method, Params, Source
from jaxembed.training.program import Program
from jaxembed.training.settings import Training

# Devices for data and for columns: those of tables are cut by column alone, or both ways; those of encoders by row, or both ways.
MESHES = {"tables": ((1, 8), (4, 2)), "nets": ((8, 1), (4, 2))}
TABLES = ("skipgram", "skipgram-sgd", "fasttext", "cbow", "glove")
RECOMMENDERS = ("mf", "lightgcn")
D, CLASSES, BATCH, ROWS = 32, 24, 32, 24 * 32


class Tower(nnx.Module):
    """Two layers."""

    def __init__(self, rngs):
        self.first, self.second = nnx.Linear(D, 64, rngs=rngs), nnx.Linear(64, D, rngs=rngs)

    def __call__(self, x):
        return self.second(nnx.gelu(self.first(x)))


@dataclass(frozen=True)
class Dense(Method):
    """Two noisy views of a vector find each other in the whole batch (InfoNCE); one view starts from a table's row."""

    def source(self, data):
        return Source.cut(
            {"ids": data}, constants={"centres": np.random.default_rng(1).normal(size=(CLASSES, D)).astype(np.float32)}
        )

    def init(self, key, constants):
        graph, state = nnx.split(Tower(nnx.Rngs(0)))
        del graph
        return Params({"rows": jax.random.normal(key, (CLASSES, D))}, nnx.to_pure_dict(state))

    def prepare(self, shard, key):
        return {"order": jax.random.permutation(key, ROWS)}

    def steps(self, shard):
        return ROWS // BATCH

    def batch(self, shard, step, key):
        ids = shard.columns["ids"][shard.own["order"][step * BATCH + jnp.arange(BATCH)]]
        noise = 0.3 * jax.random.normal(key, (BATCH, D))
        return {"ids": ids, "view": shard.constants["centres"][ids] + noise}

    def lookups(self, batch):
        return {"rows": ("rows", batch["ids"])}

    def loss(self, rows, net, kept, batch, key):
        tower = nnx.eval_shape(lambda: Tower(nnx.Rngs(0)))
        graph, state = nnx.split(tower)
        nnx.replace_by_pure_dict(state, net)
        tower = nnx.merge(graph, state)
        unit = lambda x: x / jnp.sqrt(jnp.sum(x * x, -1, keepdims=True) + 1e-6)
        scores = unit(tower(batch["view"])) @ unit(tower(rows["rows"])).T / 0.1  # [B, B]: every other row is a negative
        total = -jnp.sum(jnp.diag(jax.nn.log_softmax(scores, -1)))
        return Loss(total, {"loss": total, "weight": jnp.float32(BATCH)})

    def vectors(self, params, constants):
        return params.tables["rows"]


class AsGiven:
    """With steps of their size, however few the data are: some wide enough to be cut."""

    def suited_to(self, data):
        return self


@dataclass(frozen=True)
class WideSkipGram(AsGiven, SkipGram):
    """Skip-gram in wide steps."""


@dataclass(frozen=True)
class WideFastText(AsGiven, FastText):
    """fastText in wide steps."""


@dataclass(frozen=True)
class WideCBOW(AsGiven, CBOW):
    """CBOW in wide steps."""


def cases():
    """Name: method, data, held-out data, training."""
    corpus = read_corpus("enwik8-small").head(12_000)
    held, counts = corpus.head(3000), count_cooccurrences(corpus, 3, cache=False)
    words = {"vector_size": 32, "window": 3, "block": 32, "shared_negatives": 16, "step_tokens": 512}
    words["shard_tokens"] = 1 << 13  # two pieces
    training = Training(epochs=2, reports=4)
    sgd = replace(training, optimizer="sgd", learning_rate=0.02, loss_every=0)
    tiny = encoder("vit", hidden_size=16, depth=1, heads=2, patch=4)
    views = SimCLR(encoder=tiny, projection=(16, 8), batch_size=16, watch=8, augmentation=Augmentation(grayscale=0.0))
    pictures = np.random.default_rng(0).integers(0, 256, (64, 8, 8, 1), dtype=np.uint8)
    plain = Training(epochs=1, learning_rate=0.05, reports=4, dense=dense.Dense(optimizer="sgd"))
    glove, classes = GloVe(vector_size=31, shard_entries=1 << 15), np.arange(ROWS) % CLASSES
    had = np.random.default_rng(0).random((120, 80)) < 0.1
    user, item = map(np.int32, np.nonzero(had))
    pairs = Interactions(*(tuple(map(str, range(n))) for n in had.shape), user, item)
    small = {"vector_size": 32, "shared_negatives": 64, "batch_size": 64}
    return {
        "mf": (MF(**small), pairs, None, training),
        "lightgcn": (LightGCN(**small), pairs, None, plain),
        "skipgram": (WideSkipGram(**words), corpus, held, training),
        "skipgram-sgd": (WideSkipGram(**words), corpus, None, sgd),
        "fasttext": (WideFastText(**words), corpus, held, training),
        "cbow": (WideCBOW(**words), corpus, None, training),
        "glove": (glove, counts, None, replace(training, epochs=1)),
        "simclr": (views, Images(pictures, None, (), "0" * 32), None, plain),
        "dense": (Dense(), classes, classes, replace(training, learning_rate=0.05)),
    }


class Spy(Program):
    """Keeps the latest program, to look into."""

    latest = None

    def __init__(self, *arguments):
        super().__init__(*arguments)
        Spy.latest = self


def collectives(program):
    """Kind, shape and count of numbers of each collective in the compiled steps."""
    pattern = r"= (\S+|\(.*?\)) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("
    return [
        [kind, [[int(size) for size in shape.split(",") if size] for shape in re.findall(r"\w+\[([\d,]*)\]", shapes)]]
        for shapes, kind in re.findall(pattern, program._advance.as_text())
    ]


def lying(arrays):
    """The whole shape of each array, and the shapes of its parts on the devices."""
    of = lambda x: [list(x.shape), sorted({shard.data.shape for shard in x.addressable_shards})]
    return [of(x) for x in jax.tree.leaves(arrays) if x.ndim]


def run(folder, name, label, case, layout=None, **settings):
    """One run, its figures written down: what was seen of it."""
    method, data, held, training = case
    result = fit(method, data, training, layout=layout, held_out=held, **settings)
    held_out = result.held_out if result.held_out is not None else np.zeros(0)
    np.savez(folder / f"{name} {label}.npz", vectors=result.vectors, losses=result.losses, held_out=held_out)
    state = Spy.latest.lanes[0].state
    return {"tables": lying(state.params.tables), "rows": lying(state.rows), "net": lying((state.params.net, state.net)),
            "collectives": collectives(Spy.latest)}  # fmt: skip


class Stopped(Exception):
    """Stands for a kill."""


class Watched(Checkpoints):
    """Keeps the state that was last saved or restored."""

    def save(self, step, state, position):
        self.state, self.step = jax.device_get(state), step
        super().save(step, state, position)

    def restore(self, template, layout):
        found = super().restore(template, layout)
        self.state, self.step = (jax.device_get(found[0]), found[1]["done"]) if found else (None, 0)
        self.lies = lying(found[0][0]["state"]["params"]) if found else []
        return found


def moved(folder, case, old, layouts):
    """A run that is killed on the mesh `old` goes on in `layouts`: vectors written down; whether it began as it was left."""
    method, data, _, training = case

    def stop(progress, vectors):
        if progress.step > progress.total_steps // 2:
            raise Stopped

    saving = Watched(folder / "moving", seconds=0)
    try:
        fit(method, data, training, layout=old, report=stop, checkpoints=saving)
    except Stopped:
        saving.close()
    facts = {}
    for label, layout in layouts.items():
        shutil.copytree(folder / "moving", folder / label)
        going = Watched(folder / label, seconds=1e9)
        result = fit(method, data, training, layout=layout, checkpoints=going)
        going.close()
        np.savez(
            folder / f"skipgram moved-{label}.npz", vectors=result.vectors, losses=result.losses, held_out=np.zeros(0)
        )
        same = jax.tree.map(lambda a, b: bool(np.array_equal(a, b)), saving.state, going.state)
        facts[label] = {"same": all(jax.tree.leaves(same)), "steps": [saving.step, going.step], "lies": going.lies}
    return facts


def main(folder, name):
    """The runs of one family: their figures as `.npz`, and what was seen of shardings and collectives as NAME.json."""
    loop.Program = Spy
    built, facts = cases(), {}
    if name == "seeds":
        run(folder, "skipgram", "4x2", built["skipgram"], Layout(make_mesh(4, 2)))
        run(folder, "seeds", "one", built["skipgram"], seeds=(0, 1, 2), seeds_by="vmap")
        facts["4x2"] = run(folder, "seeds", "4x2", built["skipgram"], Layout(make_mesh(4, 2)), seeds=(0, 1, 2))
    elif name == "moved":
        run(folder, "skipgram", "one", built["skipgram"])
        layouts = {"1x2": Layout(make_mesh(1, 2)), "alone": None}
        facts = moved(folder, built["skipgram"], Layout(make_mesh(1, 8)), layouts)
    else:
        run(folder, name, "one", built[name])
        for mesh in MESHES["tables" if name in (*TABLES, *RECOMMENDERS) else "nets"]:
            label = f"{mesh[0]}x{mesh[1]}"
            facts[label] = run(folder, name, label, built[name], Layout(make_mesh(*mesh)))
            if name == "dense":
                layout = Layout(make_mesh(*mesh), shard_net=True)
                facts[f"sharded-{label}"] = run(folder, name, f"sharded-{label}", built[name], layout)
    (folder / f"{name}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    start()
    jax.config.update("jax_num_cpu_devices", 8)
    jax.config.update("jax_numpy_rank_promotion", "raise")
    main(Path(sys.argv[1]), sys.argv[2])
