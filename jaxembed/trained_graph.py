"""Use of a finished run of a knowledge graph: which entities complete a fact?"""

from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxembed.data.triples import HEAD, RELATION, SPLITS, TAIL, Triples
from jaxembed.naming import Places
from jaxembed.training.method import Params
from jaxembed.vectors import KeyedVectors


class Answer(NamedTuple):
    """An entity, its score, and the split that knows the fact with it; None where none does."""

    name: str
    score: float
    known: str | None


class KnowledgeModel:
    """A trained knowledge graph: it scores facts, and finds the entities that complete them.

    entities: their vectors, by name. graph: the names and the facts that are known. method, params: what was learned.
    """

    def __init__(self, method: Any, params: Params, graph: Triples, entities: KeyedVectors):
        self.method, self.graph, self.entities = method, graph, entities
        self.params = jax.device_put(params)
        self._entities, self._relations = Places(graph.entities), Places(graph.relations)

    def __repr__(self) -> str:
        sizes = f"{len(self.graph.entities):,} entities, {len(self.graph.relations):,} relations"
        return f"KnowledgeModel<{type(self.method).__name__}, {sizes}, vector_size={self.entities.vector_size}>"

    def predict_tail(self, head: str, relation: str, k: int = 10) -> list[Answer]:
        """The `k` best answers to (head, relation, ?), the best first; facts that are known are among them, and marked.

        Raises KeyError, with near matches, for a name that the graph does not have, and ValueError for a `k` below 1.
        """
        return self._best(head, relation, k, back=False)

    def predict_head(self, relation: str, tail: str, k: int = 10) -> list[Answer]:
        """The `k` best answers to (?, relation, tail), as `predict_tail`."""
        return self._best(tail, relation, k, back=True)

    def score(self, head: str, relation: str, tail: str) -> float:
        """How well a fact suits the model, more is better; scores of one question are compared with each other."""
        return float(self._scores(head, relation, back=False)[self._entities[tail]])

    def _best(self, asked: str, relation: str, k: int, back: bool) -> list[Answer]:
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        scores = self._scores(asked, relation, back)
        known = self._known(asked, relation, back)
        best = np.argsort(-scores, kind="stable")[:k]
        return [Answer(self.graph.entities[i], float(scores[i]), known.get(int(i))) for i in best]

    def _scores(self, asked: str, relation: str, back: bool) -> np.ndarray:
        ids = (np.array([self._entities[asked]]), np.array([self._relations[relation]]))
        return np.asarray(_answered(self.method, back, self.params, *map(np.int32, ids)))[0]

    def _known(self, asked: str, relation: str, back: bool) -> dict[int, str]:
        """The splits of the facts that answer a question, by the answer; of several the first."""
        key, answer = (TAIL, HEAD) if back else (HEAD, TAIL)
        found: dict[int, str] = {}
        for split in reversed(SPLITS):
            facts = self.graph.split(split)
            same = (facts[:, key] == self._entities[asked]) & (facts[:, RELATION] == self._relations[relation])
            found |= dict.fromkeys(facts[same, answer].tolist(), split)
        return found


@partial(jax.jit, static_argnums=(0, 1))
def _answered(method: Any, back: bool, params: Params, asked: jax.Array, relation: jax.Array) -> jax.Array:
    return method.answer(params, asked, relation, back)
