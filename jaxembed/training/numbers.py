"""Hyper-parameters that a compiled program takes as numbers: one compilation serves all their values, or many at once."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from jaxembed.ranges import declared

_OF_TRAINING = ("learning_rate", "final_rate")

Numbers = dict[str, Any]


SEEDS = 1 << 32  # a key is made of 32 bits of a seed


def seeds_of(seeds: Iterable[Any]) -> tuple[int, ...]:
    """Seeds as whole numbers, those of NumPy too. Raises ValueError for one that is none from 0 to 2^32 - 1.

    Others would train as these: -1 is 2^32 - 1 to JAX, and 2^32 is 0.
    """
    seeds = tuple(seeds)
    for seed in seeds:
        whole = isinstance(seed, int | np.integer) and not isinstance(seed, bool)
        if not whole or not 0 <= seed < SEEDS:
            raise ValueError(f"a seed is a whole number from 0 to {SEEDS - 1}, not {seed!r}")
    return tuple(int(seed) for seed in seeds)


def numbers_of(method: Any, training: Any) -> dict[str, float]:
    """The numbers that may differ between runs of one program, by name, as `method` and `training` have them.

    `learning_rate` and `final_rate`, and what the method names in its `traced` (`"negative"`,
    `"objective.temperature"`), so far as it has them: an objective without a temperature leaves it out.
    """
    found = {name: float(getattr(training, name)) for name in _OF_TRAINING}
    for path in method.traced:
        owner, _, name = path.rpartition(".")
        holder = getattr(method, owner) if owner else method
        if hasattr(holder, name):
            found[path] = float(getattr(holder, name))
    return found


def table_of(method: Any, training: Any, vary: Mapping[str, Any], members: int) -> dict[str, np.ndarray]:
    """The numbers of each of `members` runs: float32 `[members]` by name; `vary` gives those that differ.

    Raises ValueError for a name that this method does not take as a number, for another count of values, and for a value
    out of the range that its field declares.
    """
    own = numbers_of(method, training)
    for name, values in vary.items():
        if name not in own:
            raise ValueError(f"{name!r} cannot vary within one program: the numbers that can are {', '.join(own)}")
        if len(values) != members:
            raise ValueError(f"{name!r} has {len(values)} values for {members} runs: give one a run")
        for value in values:
            _check(training if name in _OF_TRAINING else method, name.split("."), value)
    return {name: np.broadcast_to(np.float32(vary.get(name, value)), members) for name, value in own.items()}


def _check(owner: Any, path: list[str], value: Any) -> None:
    """Checks a number as making its owner with it would, without making it."""
    if len(path) > 1:
        _check(getattr(owner, path[0]), path[1:], value)
    elif ranged := declared(type(owner)).get(path[0]):
        ranged.check(path[0], value)


def with_numbers(method: Any, numbers: Mapping[str, Any]) -> Any:
    """`method` with the numbers in their places. They may be tracers, so the checks of its making are not run again."""
    for path, value in numbers.items():
        if path not in _OF_TRAINING:
            method = _replaced(method, path.split("."), value)
    return method


def _replaced(owner: Any, path: list[str], value: Any) -> Any:
    new = copy.copy(owner)
    inner = value if len(path) == 1 else _replaced(getattr(owner, path[0]), path[1:], value)
    object.__setattr__(new, path[0], inner)
    return new
