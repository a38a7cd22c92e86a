"""Which entities stand for the wrong answers to a question about a fact, and how much each question counts.

A new way is a function of facts that returns a `Corruption`, and a line in `CORRUPTIONS`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Corruption(NamedTuple):
    """Candidates are drawn in proportion to `entities [E]`; a question counts `weights [2, R]`: for tails, for heads."""

    entities: np.ndarray
    weights: np.ndarray


def uniform(facts: np.ndarray, entities: int, relations: int) -> Corruption:
    """All entities alike, and both sides alike (Bordes et al. 2013). `facts` int [n, 3] as in all of these."""
    return Corruption(np.ones(entities), np.ones((2, relations)))


def bernoulli(facts: np.ndarray, entities: int, relations: int) -> Corruption:
    """A side where many answers are right counts less, as fewer of its candidates are wrong (Wang et al. 2014, section 3.2).

    There a coin decides which side of a fact is corrupted; here both are, and weigh twice its chances.
    """
    each = lambda column: np.bincount(np.unique(facts[:, [1, column]], axis=0)[:, 0], minlength=relations)
    counts = np.bincount(facts[:, 1], minlength=relations)
    per_head, per_tail = (counts / np.maximum(each(column), 1) for column in (0, 2))  # tails per head, heads per tail
    head = per_head / np.maximum(per_head + per_tail, 1e-9)
    return Corruption(np.ones(entities), 2 * np.stack([1 - head, head]))


def frequency(facts: np.ndarray, entities: int, relations: int) -> Corruption:
    """Entities in proportion to (how often facts name them)^0.75, as word2vec draws words; both sides alike."""
    counts = np.bincount(facts[:, [0, 2]].ravel(), minlength=entities)
    return Corruption(counts**0.75, np.ones((2, relations)))


CORRUPTIONS: dict[str, Callable[[np.ndarray, int, int], Corruption]] = {
    "uniform": uniform,
    "bernoulli": bernoulli,
    "frequency": frequency,
}
