"""Filtered ranks of facts: how many entities, not known to be right, would a model rather have in the place of the right one?

A fact asks for its tail and for its head. All other answers that train, validation or test know are left out of a question's
ranking; entities of equal score share the mean of their ranks ("realistic" in PyKEEN, "rounded mean" in LibKGE but for the
rounding). A score that is not a number is the worst there is. Facts with entities or relations that train lacks are ranked like
all others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxembed.data.triples import HEAD, RELATION, TAIL, Triples, queries

HITS = (1, 3, 10)
_ANSWERS = 2  # of a question that are ranked together
_BYTES = 64 << 20  # of the scores that are looked at together
_MOST = 512  # questions that are


class Answers(Protocol):
    """A method that scores all entities; it has a hash."""

    def answer(self, params: Any, given: jax.Array, relations: jax.Array, back: bool) -> jax.Array:
        """Scores `[q, E]` of all entities as tails of (given, relation), or `back` as heads; ids `[q]`."""
        ...


class Ranks(NamedTuple):
    """Ranks of facts by the side that was asked for, float32 [n], in their order; the best is 1."""

    head: np.ndarray
    tail: np.ndarray


@dataclass(frozen=True, eq=False)
class _Side:
    """The questions for one side of some facts, in chunks of as many.

    given, relation: int32 [chunks, C]. answers: int32 [chunks, C, T]. place: of each answer among the facts, or -1 for padding.
    starts: where the known answers of a chunk's questions begin in `known`, [chunks + 1]; known: entity and row, int32 [k, 2].
    """

    given: np.ndarray
    relation: np.ndarray
    answers: np.ndarray
    place: np.ndarray
    starts: np.ndarray
    known: np.ndarray


class Ranker:
    """Ranks facts int [n, 3] of a graph; what that needs of the graph is made once.

    Memory is bounded, whatever the number of facts: scores are looked at 64 MB at a time.
    """

    def __init__(self, graph: Triples, facts: np.ndarray):
        self.facts = facts
        chunk = int(np.clip(_BYTES // (4 * len(graph.entities)), 1, _MOST))
        self._sides = [_side(graph.all, facts, back, chunk) for back in (True, False)] if len(facts) else []

    def ranks(self, method: Answers, params: Any) -> Ranks:
        """The ranks that a method with these parameters gives."""
        if not self._sides:
            return Ranks(np.zeros(0, np.float32), np.zeros(0, np.float32))
        return Ranks(
            *(self._ranked(side, method, params, back) for side, back in zip(self._sides, (True, False), strict=True))
        )

    def _ranked(self, side: _Side, method: Answers, params: Any, back: bool) -> np.ndarray:
        most = int(np.diff(side.starts).max())
        found, chunks = [], len(side.given)
        for i in range(chunks):
            known = np.full((most, 2), len(side.given[i]), np.int32)  # a row behind the last is none
            part = side.known[side.starts[i] : side.starts[i + 1]]
            known[: len(part)] = part
            found.append(_ranks(method, back, params, side.given[i], side.relation[i], side.answers[i], known))
        ranks, places = np.stack(jax.device_get(found)), side.place
        ordered = np.zeros(len(self.facts), np.float32)
        ordered[places[places >= 0]] = ranks[places >= 0]
        return ordered


def figures(ranks: Ranks) -> dict[str, float]:
    """`mrr` (mean reciprocal rank), `mr` (mean rank), `hits@1`, `hits@3`, `hits@10`; of a side alone, `mrr/head` and so on."""
    both = np.concatenate(ranks)
    found = {}
    for part, of in {"": both, "/head": ranks.head, "/tail": ranks.tail}.items():
        of = np.asarray(of, np.float64)
        found |= {f"mrr{part}": float(np.mean(1 / of)), f"mr{part}": float(np.mean(of))}
        found |= {f"hits@{k}{part}": float(np.mean(of <= k)) for k in HITS}
    return found


def _side(known: np.ndarray, facts: np.ndarray, back: bool, chunk: int) -> _Side:
    """The questions for one side, shuffled, so that all chunks have about as many known answers."""
    key, answer = (TAIL, HEAD) if back else (HEAD, TAIL)
    given, answers, count = queries(facts, back, _ANSWERS)
    place = np.full(answers.shape, -1)
    # Where the answers come from: `queries` has them in this order.
    place[np.arange(_ANSWERS) < count[:, None]] = np.lexsort((facts[:, answer], facts[:, RELATION], facts[:, key]))
    order = np.random.default_rng(0).permutation(len(given))
    given, answers, place = given[order], answers[order], place[order]
    # Known answers by question, one after the other.
    size = np.int64(max(known[:, RELATION].max(), facts[:, RELATION].max()) + 1)
    question = lambda entity, relation: np.int64(entity) * size + relation
    known = known[np.lexsort((known[:, answer], known[:, RELATION], known[:, key]))]
    known = known[np.append(True, (known[1:] != known[:-1]).any(1))]  # a fact may stand in several splits
    of_known = question(known[:, key], known[:, RELATION])
    ours = question(given[:, 0], given[:, 1])
    begin, end = np.searchsorted(of_known, ours), np.searchsorted(of_known, ours, side="right")
    lengths = end - begin
    ends = np.cumsum(lengths)
    at = np.repeat(begin - (ends - lengths), lengths) + np.arange(ends[-1])
    rows = np.repeat(np.arange(len(ours)), lengths)
    chunk = min(chunk, len(ours))
    chunks = -(-len(ours) // chunk)
    starts = np.searchsorted(rows, np.arange(chunks + 1) * chunk)
    pad = chunks * chunk - len(ours)
    cut = lambda x, fill: np.pad(x, [(0, pad), *[(0, 0)] * (x.ndim - 1)], constant_values=fill).reshape(
        chunks, chunk, *x.shape[1:]
    )
    return _Side(
        cut(given[:, 0], 0), cut(given[:, 1], 0), cut(answers, 0), cut(place, -1), starts,
        np.stack([known[at, answer], rows % chunk], 1).astype(np.int32),
    )  # fmt: skip


@partial(jax.jit, static_argnums=(0, 1))
def _ranks(method: Answers, back: bool, params: Any, given, relation, answers, known) -> jax.Array:
    """Ranks [C, T] of the answers to C questions."""
    scores = method.answer(params, given, relation, back)
    scores = jnp.where(jnp.isnan(scores), -jnp.inf, scores)
    right = jnp.take_along_axis(scores, answers, -1)  # [C, T]
    entity, row = known[:, 0], known[:, 1]
    # Counted among all, less what is counted among the known: the right answer is one of these, equal to itself. Half of those
    # that are better, and half of those that are at least as good, make the mean of the ranks of equals. A product with ones adds
    # faster than a sum does.
    counted = lambda others, right: (others > right).astype(jnp.float32) + (others >= right).astype(jnp.float32)
    ones = jnp.ones(scores.shape[1], jnp.float32)
    everybody = jnp.stack([counted(scores, right[:, i : i + 1]) @ ones for i in range(right.shape[1])], 1)
    of_known = scores.at[row, entity].get(mode="fill", fill_value=0)[:, None]
    left_out = counted(of_known, right.at[row].get(mode="fill", fill_value=0))
    return 1 + 0.5 * (everybody - jnp.zeros_like(everybody).at[row].add(left_out, mode="drop"))


def summary(ranker: Ranker, method: Answers, params: Any) -> Mapping[str, float]:
    """`figures` of what a ranker ranks. Raises ValueError where there are no facts."""
    if not len(ranker.facts):
        raise ValueError("there are no facts to be ranked")
    return figures(ranker.ranks(method, params))
