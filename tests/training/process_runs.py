"""A study that several processes train together, or one alone: a script, for its processes have to be killed.

    python process_runs.py RESULTS DEVICES MESH EVERY PAUSE

RESULTS: folder of the study. DEVICES: of this process. MESH: such as 2x1. EVERY: seconds between checkpoints.
PAUSE: seconds that each checkpoint takes longer, so that there is a middle to kill. Prints JSON of what this process read.
"""

import json
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import jax

from experiments.experiment import Experiment, Preset
from jaxembed.methods.skipgram import SkipGram
from jaxembed.study import train
from jaxembed.study.plan import Variant
from jaxembed.study.study import Study
from jaxembed.tasks.words import Words
from jaxembed.training.checkpoints import Checkpoints
from jaxembed.training.settings import Training

READ = []


@dataclass(frozen=True)
class Watched(SkipGram):
    """Skip-gram that notes how much this process reads: piece, share, shares, rows of the piece and rows read."""

    def source(self, corpus):
        source = super().source(corpus)

        def piece(i, share=0, shares=1):
            read = source.piece(i, share, shares)
            READ.append([i, share, shares, source.rows, len(read["tokens"])])
            return read

        return replace(source, piece=piece)


class Slow(Checkpoints):
    """Says when a checkpoint is written, and takes its time."""

    pause = 0.0

    def restore(self, template, layout):
        found = super().restore(template, layout)
        print("restored", found[1]["done"] if found else 0, flush=True)
        return found

    def save(self, step, state, position):
        super().save(step, state, position)
        self.wait()
        print("saved", step, flush=True)
        time.sleep(Slow.pause)


def study(folder):
    """Skip-gram with two seeds, in three pieces."""
    method = Watched(vector_size=32, window=3, block=32, shared_negatives=16, shard_tokens=1 << 12)
    return Study(
        name="processes",
        folder=folder,
        tasks={"small": Words("enwik8-small", max_words=12_000, held_out=0.1, min_count=20)},
        variants=[Variant("skipgram", method, Training(epochs=2, reports=3))],
        seeds=(0, 1),
        columns={"loss": "final/loss"},
    )


class Processes(Experiment):
    """The study as a command."""

    def study(self, preset, changes=None):
        return study(preset.results)


if __name__ == "__main__":
    results, devices, mesh, every, pause = sys.argv[1:]
    train.Checkpoints, Slow.pause = Slow, float(pause)
    line = ["--results", results, "--mesh", *mesh.split("x"), "--checkpoint-seconds", every]
    jax.config.update("jax_num_cpu_devices", int(devices))
    Processes("processes", "Processes", None, {"only": Preset(("skipgram",), Path(results))}).main(line)
    print("\n" + json.dumps({"read": READ, "processes": jax.process_count(), "devices": jax.device_count()}))
