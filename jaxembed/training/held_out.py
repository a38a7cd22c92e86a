"""The loss on data that are not trained on, for programs of one run or many."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.sampling.random import key_of
from jaxembed.training.method import Shard, Source, Static
from jaxembed.training.numbers import with_numbers
from jaxembed.training.program import Lane, Program, joined, on_host
from jaxembed.training.step import evaluate_steps

_HELD_OUT = 0x8E1D  # a stream of random numbers that meets none of the program's


class HeldOut:
    """The loss on data that is not trained on: the same batches, drawn with the same key, whatever the state."""

    def __init__(self, program: Program, source: Source):
        self.program, self.source = program, source
        method, self.key = program.method, key_of(_HELD_OUT)
        # What was made of the data that are trained on (a graph, frequencies) serves here too; sizes are these data's own.
        own = source.constants.items()
        self.constants = {name: x if isinstance(x, Static) else program.constants[name] for name, x in own}

        def total(params, shard, numbers, key, last):
            own = with_numbers(method, numbers)
            shard = shard.prepared(own.prepare(shard, key))
            return evaluate_steps(own, params, shard, key, jnp.int32(0), last)

        self._total = jax.jit(program.over_seeds(total, (0, None, 0, None, None)))
        self._steps = lambda shard: method.steps(shard.prepared(jax.eval_shape(method.prepare, shard, self.key)))

    def loss(self) -> np.ndarray:
        """Mean loss over all pieces, float64 `[runs]`."""
        layout, sums = self.program.layout, {}
        for i in range(self.source.pieces):
            piece = layout.spread(layout.read(self.source, i), self.source.rows)
            shard = Shard(self.constants, piece)
            last = np.int32(self._steps(shard))

            def total(lane: Lane, shard: Any = shard, last: Any = last) -> dict[str, np.ndarray]:
                metrics = self._total(lane.state.params, shard, lane.numbers, self.key, last)
                return on_host(layout, metrics)

            for name, value in joined(self.program.on_lanes(total)).items():
                sums[name] = sums.get(name, 0.0) + value
        return sums["loss"] / np.maximum(sums["weight"], 1e-300)
