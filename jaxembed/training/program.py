"""A run's compiled functions, its state and its clock; one seed or many, on one device or a mesh."""

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.sampling.random import key_from, key_of
from jaxembed.training.host import use_large_pages
from jaxembed.training.mesh import Layout
from jaxembed.training.method import Method, Params, Shard, Source
from jaxembed.training.numbers import with_numbers
from jaxembed.training.replicas import copies_of, merge
from jaxembed.training.settings import Training
from jaxembed.training.step import State, init_state, train_steps

# Streams of random numbers that must not meet.
_ORDER, _PREPARE = 0x0DE2, 0x93EA

#: Steps of a pass below which a run trains without replicas. It is a matter of seconds then, and each replica would take so
#: few steps that quality suffers: on 200,000 words the held-out loss was 1 to 2 % higher however often they met.
ENOUGH = 512

#: How often replicas may meet a row of a table between two merges, on average, where they choose the steps between: with 14, 31
#: steps of DeepWalk on BlogCatalog. With 512 steps, F1 was four points lower.
VISITS = 14

# Compiled functions of the last programs, so that going on with a training, or the next seed, begins at once.
_COMPILED: dict[Any, Any] = {}
_MOST = 64


@dataclass
class Lane:
    """Runs that share a program: their keys, numbers, state and part of a shard, all with a run's axis if several."""

    keys: jax.Array
    numbers: dict[str, Any]
    state: Any = None
    own: Any = None
    copies: list[State] = field(default_factory=list)  # replicas, when there are several
    best: Params | None = None  # parameters of the best pass, where it is kept
    busy: float = 0.0  # seconds in compiled programs


class Snapshot:
    """What runs have learned, as it stands: called, their vectors `[runs, rows, vector_size]`, on the device."""

    def __init__(self, program: "Program"):
        self._program = program
        self.method = program.method

    def __call__(self) -> jax.Array:
        """The vectors."""
        return self._program.vectors()

    def params(self) -> list[Params]:
        """The parameters of each run, on the device."""
        return self._program.local_params()


class Program:
    """Compiled functions, the state and the clock. A lane of one run is not vmapped: its program is the plain one.

    seconds, compile_seconds: in steps, and in the compiler. steps: of each replica in a pass over a piece.
    merge_steps: of each replica between two merges.
    """

    def __init__(
        self,
        method: Method,
        training: Training,
        source: Source,
        seeds: tuple[int, ...],
        numbers: dict[str, np.ndarray],
        seeds_by: str | None,
        layout: Layout,
    ):
        if not seeds:
            raise ValueError("give at least one seed")
        on_cores = jax.default_backend() == "cpu" and layout.mesh is None
        seeds_by = seeds_by or ("threads" if on_cores else "vmap")
        if seeds_by not in ("vmap", "map", "threads"):
            raise ValueError(f"seeds_by must be 'vmap', 'map' or 'threads', not {seeds_by!r}")
        self.method, self.training, self.seeds, self.layout = method, training, seeds, layout
        self.source = source.repeated(training.sweeps or 1)
        self.seeds_by, self.stacked = seeds_by, seeds_by != "threads" and len(seeds) > 1
        # Replicas are for cores that would else be idle. An accelerator is filled by one run, and trains it step by step.
        self.replicas = training.replicas if on_cores else 1
        if self.replicas > 1 and self.stacked:
            raise ValueError("replicas train a core each: they need seeds_by='threads'")
        if layout.mesh is not None and seeds_by != "vmap" and len(seeds) > 1:
            raise ValueError("on a mesh, several seeds train as one program: leave seeds_by open, or 'vmap'")
        self.seconds = self.compile_seconds = 0.0
        self.done = 0
        self.merge_steps = 1
        self._make_lanes(numbers)
        self._compile_prepare()
        self._begin_states()
        self._compile_steps()

    def _make_lanes(self, numbers: dict[str, np.ndarray]) -> None:
        """What each lane trains: its keys and its numbers. With threads each run has a lane; otherwise there is one lane.

        How many steps there are is known only when the data are prepared.
        """
        numbers = numbers | {"total_steps": np.zeros_like(numbers["learning_rate"])}
        keys, put = [key_of(seed) for seed in self.seeds], self.layout.put
        if self.stacked:
            self.lanes = [Lane(self._put_keys(jnp.stack(keys)), put(numbers))]
        else:
            of = lambda i: {name: values[i] for name, values in numbers.items()}
            self.lanes = [Lane(self._put_keys(key), put(of(i))) for i, key in enumerate(keys)]
        # No more threads than cores: more replicas than these wait for their turn, and the result is the same.
        self.pool = ThreadPoolExecutor(min(len(self.lanes) * self.replicas, os.cpu_count() or 1), "jaxembed-lane")
        self.constants = put(self.source.constants)

    def _compile_prepare(self) -> None:
        """Compiles what is done once a pass; the shapes that come out show how many steps a pass has."""
        method, lane, number = self.method, self.lanes[0], np.int32(0)

        def prepare(raw: Shard, key: jax.Array, numbers: dict[str, jax.Array], number: jax.Array) -> dict[str, Any]:
            key = jax.random.fold_in(jax.random.fold_in(key, _PREPARE), number)
            return with_numbers(method, numbers).prepare(raw, key)

        prepare = self.over_seeds(prepare, (None, 0, 0, None))
        raw = Shard(self.constants, self.source.shapes(self.layout.everywhere))
        self._prepare = self._compiled("prepare", jax.jit(prepare), raw, lane.keys, lane.numbers, number)
        self._own = jax.eval_shape(prepare, raw, lane.keys, lane.numbers, number)
        self.shared = raw.prepared(self._own)._replace(own={})
        of_one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[self.stacked :], x.dtype), self._own)
        self.batches = method.steps(self.shared.prepared(of_one))
        if self.batches * self.source.pieces < ENOUGH:
            self.replicas = 1
        self.steps = -(-self.batches // self.replicas)
        self.total_steps = self.steps * self.source.pieces * self.training.epochs
        for lane in self.lanes:
            lane.numbers = self._with_total(lane.numbers)

    def _begin_states(self) -> None:
        """Fresh parameters and optimisers of each run, on large pages: rows of tables are met in no order."""
        method, training = self.method, self.training

        def begin(constants, key, numbers):
            return init_state(with_numbers(method, numbers), training.optimizers(method, numbers), constants, key)

        begin, lane = self.over_seeds(begin, (None, 0, 0)), self.lanes[0]
        shapes = jax.eval_shape(begin, self.constants, lane.keys, lane.numbers)
        if training.replicas > 1 and jax.tree.leaves(shapes.params.kept):
            raise ValueError(
                "replicas merge what is learned, and this method keeps more beside it: leave replicas at 1"
            )
        # Copies that go on alone for much of a pass learn the same things twice, and their sum overshoots.
        most = max(1, -(-self.steps * self.source.pieces // method.merges))
        if self.replicas > 1:
            self.merge_steps = min(training.merge_steps or self._steps_of_visits(shapes.params.tables), most)
        self.shardings = self.layout.state(shapes)
        begin = jax.jit(begin, out_shardings=self.shardings)
        begin = self._compiled("begin", begin, self.constants, lane.keys, lane.numbers)
        for lane in self.lanes:
            lane.state = begin(self.constants, lane.keys, lane.numbers)
            use_large_pages(jax.block_until_ready((lane.state.params, lane.state.rows)))
        self._copy()
        if training.best_pass:
            self.keep(np.full(len(self.seeds), True))

    def _steps_of_visits(self, tables: Mapping[str, Any]) -> int:
        """How many steps it takes until all replicas have met a row `VISITS` times, of the table whose rows are met most."""
        rows: Counter[str] = Counter()

        def look(shard: Shard, key: jax.Array) -> None:
            for table, ids in self.method.lookups(self.method.batch(shard, jnp.int32(0), key)).values():
                rows[table] += ids.size

        jax.eval_shape(look, self.shared.prepared(self._own), self.lanes[0].keys)
        visits = max((number / tables[name].shape[0] for name, number in rows.items()), default=VISITS)
        return max(1, int(VISITS / visits / self.replicas))

    def _compile_steps(self) -> None:
        """Compiles the steps, what gives the vectors, and the merge of replicas."""
        method, training, layout, state = self.method, self.training, self.layout, self.lanes[0].state

        def advance(state, shared, own, numbers, first, last):
            trained, optimizers = with_numbers(method, numbers), training.optimizers(method, numbers)
            shard = shared.prepared(own)
            return train_steps(trained, optimizers, state, shard, first, last, training.loss_every, layout)

        # The state is donated, so that tables are changed where they are. Numbers are arguments: one program serves all of
        # their values. What runs share of a shard is no part of what each has of its own, or vmap would copy it.
        step = jax.jit(
            self.over_seeds(advance, (0, None, 0, 0, None, None)),
            donate_argnums=0,
            out_shardings=(self.shardings, None) if self.shardings is not None else None,
        )
        arguments = (state, self.shared, self._own, self.lanes[0].numbers, np.int32(0), np.int32(0))
        self._advance = self._compiled("advance", step, *arguments)
        alone = self.over_seeds(method.vectors, (0, None))
        vectors = alone if self.stacked else lambda params, constants: alone(params, constants)[None]
        vectors = jax.jit(vectors, out_shardings=layout.everywhere)
        self._vectors = self._compiled("vectors", vectors, state.params, self.constants)
        if self.replicas > 1:
            self._merge = self._compiled("merge", merge, state, self.lanes[0].copies)
        self._rate = jax.jit(training.rate)

    def _compiled(self, name: str, function: Any, *arguments: Any) -> Any:
        """`function`, compiled for such arguments by the clock, or as it was for the last program of this kind."""
        leaves, structure = jax.tree.flatten(arguments)
        shapes = tuple((x.shape, x.dtype, getattr(x, "sharding", None)) for x in leaves)
        key = name, self._kind(), structure, shapes
        try:
            if key in _COMPILED:
                return _COMPILED[key]
        except TypeError:  # a method with a field that has no hash
            key = None
        start = time.perf_counter()
        compiled = function.lower(*arguments).compile()
        self.compile_seconds += time.perf_counter() - start
        if key:
            while len(_COMPILED) >= _MOST:
                del _COMPILED[next(iter(_COMPILED))]
            _COMPILED[key] = compiled
        return compiled

    def _kind(self) -> Any:
        """All that compiled functions depend on beside the shapes of their arguments, which hold the numbers."""
        method = with_numbers(self.method, dict.fromkeys(self.lanes[0].numbers.keys() - {"total_steps"}, 0.0))
        own = self.training
        training = own.optimizer, own.initial_accumulator, own.eps, own.damping, own.loss_every, own.dense
        return type(method), method, training, self.layout, self.stacked, self.seeds_by

    def _with_total(self, numbers: dict[str, Any]) -> dict[str, Any]:
        total = np.full(np.shape(numbers["learning_rate"]), self.total_steps, np.float32)
        return {**numbers, "total_steps": self.layout.put(total)}

    def _put_keys(self, keys: jax.Array) -> jax.Array:
        if self.layout.mesh is None:
            return keys
        return key_from(self.layout.put(np.asarray(jax.random.key_data(keys))))

    def over_seeds(self, function: Callable, axes: tuple) -> Callable:
        """`function` for all runs of a lane; `axes` says which arguments differ between them."""
        if not self.stacked:
            return function
        runs = len(self.seeds)  # said, since of what is only judged there may be nothing to count them by
        if self.seeds_by == "vmap":
            return jax.vmap(function, axes, axis_size=runs)

        def one_after_the_other(*arguments):
            own = [argument for argument, axis in zip(arguments, axes, strict=True) if axis == 0]

            def one(parts):
                left = iter(parts[0])
                return function(*[a if axis is None else next(left) for a, axis in zip(arguments, axes, strict=True)])

            return jax.lax.map(one, (own, jnp.arange(runs)))

        return one_after_the_other

    def on_lanes(self, function: Callable[[Lane], Any]) -> list[Any]:
        """`function` of each lane, a core each; a lane's own work is in XLA, which lets the others run."""
        return [function(self.lanes[0])] if len(self.lanes) == 1 else list(self.pool.map(function, self.lanes))

    def start_from(self, params: Sequence[Params]) -> None:
        """Goes on from `params`, one entry for each run, of which it keeps a copy."""
        for lane, start in zip(self.lanes, [stacked(params)] if self.stacked else params, strict=True):
            replaced = jax.tree.map(lambda new, old: old.at[...].set(new), start, lane.state.params)
            use_large_pages(jax.block_until_ready(replaced))
            lane.state = lane.state._replace(params=replaced)
        self._copy()

    def _copy(self) -> None:
        for lane in self.lanes if self.replicas > 1 else ():
            lane.copies = copies_of(lane.state, self.replicas)
            use_large_pages(jax.block_until_ready([(copy.params, copy.rows) for copy in lane.copies]))

    def saved(self) -> list[dict[str, Any]]:
        """All that a checkpoint must hold of the state, an entry a lane: arrays of their own, which no step will reuse."""
        # Replicas are as the merged state between dispatches, but for the number of steps that each has done.
        steps = lambda lane: jnp.stack([copy.step for copy in lane.copies or [lane.state]])
        state = lambda lane: jax.tree.map(jnp.copy, _with_plain_key(lane.state)._asdict())
        best = lambda lane: {"best": jax.tree.map(jnp.copy, lane.best)} if lane.best is not None else {}
        return [{"state": state(lane), "steps": steps(lane), **best(lane)} for lane in self.lanes]

    def restore(self, saved: list[dict[str, Any]]) -> None:
        """Goes on from what `saved` gave."""
        for lane, found in zip(self.lanes, saved, strict=True):
            state = State(**found["state"])
            state = state._replace(key=key_from(state.key), params=Params(*state.params))
            use_large_pages(jax.block_until_ready((state.params, state.rows)))
            lane.state = state
            if "best" in found:
                lane.best = Params(*found["best"])
        self._copy()
        for lane, found in zip(self.lanes, saved, strict=True):
            lane.copies = [copy._replace(step=step) for copy, step in zip(lane.copies, found["steps"], strict=False)]

    def params(self) -> list[Params]:
        """The parameters of each run."""
        if not self.stacked:
            return [lane.state.params for lane in self.lanes]
        return [jax.tree.map(lambda leaf, i=i: leaf[i], self.lanes[0].state.params) for i in range(len(self.seeds))]

    def local_params(self) -> list[Params]:
        """The same, for computations in which other processes take no part."""
        if not self.layout.several_processes:
            return self.params()
        whole = jax.jit(lambda params: params, out_shardings=self.layout.everywhere)
        return [jax.tree.map(self.layout.local, whole(params)) for params in self.params()]

    def keep(self, better: np.ndarray) -> None:
        """Remembers the parameters of those runs, bool `[runs]`, as they stand, for `go_back`."""
        place = 0
        for lane in self.lanes:
            runs = len(self.seeds) if self.stacked else 1
            own, place = better[place : place + runs], place + runs
            if lane.best is None or own.all():
                lane.best = jax.tree.map(jnp.copy, lane.state.params)
            elif own.any():  # stacked: of some of the runs
                choose = lambda new, old, own=own: jnp.where(own.reshape(-1, *[1] * (new.ndim - 1)), new, old)
                lane.best = jax.tree.map(choose, lane.state.params, lane.best)

    def go_back(self) -> None:
        """Puts what `keep` remembered in the place of the parameters as they stand."""
        for lane in self.lanes:
            if lane.best is not None:
                lane.state, lane.best = lane.state._replace(params=lane.best), None

    def read(self, number: int) -> dict[str, Any]:
        """Piece `number`, counted over all passes, for `prepare`; each pass meets the pieces in an order of its own."""
        epoch, turn = divmod(number, self.source.pieces)
        order = np.random.default_rng([_ORDER, epoch]).permutation(self.source.pieces)
        return self.layout.read(self.source, int(order[turn]))

    def prepare(self, piece: dict[str, Any], number: int) -> None:
        """Makes piece `number` the current shard: what the runs share of it, and what each has of its own."""
        start = time.perf_counter()
        # Columns that are not let go are there for every dispatch: arrays of the host would be sent with each.
        columns = jax.device_put(self.layout.spread(piece, self.source.rows), self.layout.everywhere)
        raw = Shard(self.constants, columns)

        def one(lane: Lane) -> None:
            lane.own = None  # the last shard makes room
            began = time.perf_counter()
            lane.own = jax.block_until_ready(self._prepare(raw, lane.keys, lane.numbers, np.int32(number)))
            lane.busy += time.perf_counter() - began

        self.on_lanes(one)
        self.shared = raw.prepared(self.lanes[0].own)._replace(own={})
        self.seconds += time.perf_counter() - start

    def advance(self, first: int, last: int) -> dict[str, np.ndarray]:
        """Trains on the batches at `first` to `last - 1` of the shard (of each replica's part): the metrics' sums.

        Float64 `[runs]`; {} where no loss was counted.
        """
        start = time.perf_counter()
        parts = [(lane, i) for lane in self.lanes for i in range(self.replicas)]
        ends = [(min(first + i * self.steps, self.batches), min(last + i * self.steps, self.batches)) for _, i in parts]

        def run(part: tuple[Lane, int], ends: tuple[int, int]) -> dict[str, np.ndarray]:
            (lane, i), began = part, time.perf_counter()
            state = lane.copies[i] if lane.copies else lane.state
            places = (np.int32(end) for end in ends)
            state, totals = jax.block_until_ready(self._advance(state, self.shared, lane.own, lane.numbers, *places))
            if lane.copies:
                lane.copies[i] = state
            else:
                lane.state = state
            lane.busy += (time.perf_counter() - began) / self.replicas
            return on_host(self.layout, totals)

        # Work is in XLA, which lets other threads run. A single part stays on this thread.
        found = list(map(run, parts, ends)) if len(parts) == 1 else list(self.pool.map(run, parts, ends))
        if self.replicas > 1:
            for lane in self.lanes:
                lane.state, lane.copies = jax.block_until_ready(self._merge(lane.state, lane.copies))
        self.seconds += time.perf_counter() - start
        self.done += last - first
        every = self.training.loss_every
        if not every or not any(-(-begin // every) * every < end for begin, end in ends):
            return {}
        groups = [found[i : i + self.replicas] for i in range(0, len(found), self.replicas)]
        return joined([{name: np.sum([part[name] for part in group], 0) for name in group[0]} for group in groups])

    def vectors(self) -> jax.Array:
        """The vectors as they stand, `[runs, rows, vector_size]`."""
        parts = [self.layout.local(self._vectors(lane.state.params, self.constants)) for lane in self.lanes]
        return parts[0] if len(parts) == 1 else jnp.concatenate(parts)

    def step_cost(self) -> dict[str, float]:
        """What XLA's compiler counts for a step of all runs: `flops` and `bytes accessed`, 0 where it counts none."""
        # Steps are the body of a loop whose length it does not know: it counts the body once, on one device of the mesh.
        analysis, devices = self._advance.cost_analysis() or {}, self.layout.mesh.size if self.layout.mesh else 1
        times = len(self.lanes) * self.replicas * devices
        return {name: float(analysis.get(name, 0.0)) * times for name in ("flops", "bytes accessed")}

    def rate(self) -> np.ndarray:
        """The learning rate of each run's next step, `[runs]`."""
        parts = [np.atleast_1d(self.layout.fetch(self._rate(lane.numbers, np.int32(self.done)))) for lane in self.lanes]
        return np.concatenate(parts)


def joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """The metrics of all lanes, along the runs' axis."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def stacked(trees: Sequence[Any]) -> Any:
    """Trees of one structure as one, with a new first axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def on_host(layout: Layout, totals: dict[str, Any]) -> dict[str, np.ndarray]:
    """Sums with what rounding lost, as float64 `[runs]`."""
    values = layout.fetch(totals)
    return {name: np.atleast_1d(np.float64(total.sum) + np.float64(total.lost)) for name, total in values.items()}


def _with_plain_key(state: State) -> State:
    return state._replace(key=jax.random.key_data(state.key))
