"""A study's smallest task: the engine's toy method, judged by what can be worked out by hand."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from jaxembed.study.plan import Variant
from jaxembed.study.study import Study
from jaxembed.tasks.base import Read, Task
from jaxembed.training.settings import Training
from jaxembed.vectors import KeyedVectors
from tests.training.toy import Pull

COLUMNS = {"first": "judged/first", "norm": "judged/norm"}


@dataclass(frozen=True)
class Toy(Task):
    """Tokens to pull at."""

    data: str = "toy"

    unit: ClassVar[str] = "tokens"
    extra: ClassVar[bool] = False

    def read(self):
        tokens = np.random.default_rng(0).integers(0, 5, 96)
        return Read(tokens, len(tokens), f"{tokens.sum():032x}", {"tokens": len(tokens)})

    def probes(self):
        mean = lambda vectors: {"judged/mean": np.asarray(vectors).mean((1, 2))}
        return mean, lambda vectors: {}

    def product(self, method, params, vectors):
        return KeyedVectors(list("abcde"), vectors)

    def judge(self, vectors):
        (vectors,) = vectors.values()
        more = {"judged/extra": float(vectors[1, 1])} if self.extra else {}
        return {"judged/first": float(vectors[0, 0]), "judged/norm": float(np.square(vectors).sum()), **more}


def study(folder, *, rates=(0.02, 0.05), seeds=(1, 2), task=None, noise=1.0, **settings):
    """Two learning rates, and a variant of another shape that needs a program of its own."""
    training = lambda rate: Training(epochs=2, learning_rate=rate, reports=10)
    variants = [Variant(f"rate {rate}", Pull(noise=noise, pieces=2), training(rate), {"rate": rate}) for rate in rates]
    variants.append(Variant("wide", Pull(noise=noise, batch_size=8), training(0.02), {"rate": 0.02}))
    columns = settings.pop("columns", COLUMNS)
    return Study(
        name="toys", folder=folder, tasks={"toy": task or Toy()}, variants=variants, seeds=seeds, columns=columns,
        **settings,
    )  # fmt: skip
