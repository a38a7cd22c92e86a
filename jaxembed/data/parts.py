"""Which examples are trained on, and which are set apart to choose settings on."""

import hashlib
import math
import sys
from collections.abc import Sequence

import numpy as np

_ALSO = {"val": "validation", "valid": "validation", "dev": "validation"}


def set_apart(n: int, share: float, most: int = sys.maxsize) -> tuple[np.ndarray, np.ndarray]:
    """Returns the indices of the examples to train on, and of those to choose settings on.

    The latter are a `share` of `n`, and at most `most`. They are spread evenly, so that data sorted by class lose some
    examples of each class, and they are the same in every run.
    """
    count = min(int(n * share), most)
    dev = np.arange(count) * n // max(count, 1)
    return np.delete(np.arange(n), dev), dev


def with_dev(wanted: int, share: float, most: int = sys.maxsize) -> int:
    """Returns how many examples to read so that `wanted` are left after a `share` is set apart; 0 stands for all."""
    return wanted and wanted + min(math.ceil(wanted * share / (1 - share)), most)


def named_part(name: str) -> str:
    """Returns the name of a part as it is usually written; "val", "valid" and "dev" are "validation"."""
    return _ALSO.get(name, name)


def by_hash(ids: Sequence[str], groups: np.ndarray, train: float, validation: float) -> np.ndarray:
    """Returns the part of each id, an object array [n]: of each group the shares `train` and `validation`, and "test" for others.

    groups: int [n]; what has a number below 0 is of no part, "". The training part has at least one of each group. Ids are
    taken in the order of their hashes, so that the choice is the same in every run, whatever order they stand in.
    """
    place = {name: i for i, name in enumerate(sorted(ids, key=lambda one: hashlib.blake2b(one.encode()).digest()))}
    order = np.argsort([place[name] for name in ids])
    parts = np.full(len(ids), "", object)
    for group in np.unique(groups[groups >= 0]):
        own = order[groups[order] == group]
        first = max(1, round(train * len(own)))
        second = first + round(validation * len(own))
        parts[own[:first]], parts[own[first:second]], parts[own[second:]] = "train", "validation", "test"
    return parts
