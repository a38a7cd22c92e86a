"""Use of a finished run of a graph: which entities complete a fact, and what are the vectors of nodes that are new?"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxembed.data.graphs import Graph, feature_rows
from jaxembed.data.triples import HEAD, RELATION, SPLITS, TAIL, Triples
from jaxembed.methods.graphsage import NodeMethod, embed_nodes
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

    def _best(self, given: str, relation: str, k: int, back: bool) -> list[Answer]:
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}")
        scores = self._scores(given, relation, back)
        known = self._known(given, relation, back)
        best = np.argsort(-scores, kind="stable")[:k]
        return [Answer(self.graph.entities[i], float(scores[i]), known.get(int(i))) for i in best]

    def _scores(self, given: str, relation: str, back: bool) -> np.ndarray:
        entity, number = self._entities[given], self._relations[relation]
        trained = self.graph.split("train")
        for name, known in ((given, trained[:, [HEAD, TAIL]] == entity), (relation, trained[:, RELATION] == number)):
            if not known.any():
                warnings.warn(
                    f"no fact to train on has {name!r}: its vector is random, and so are these scores", stacklevel=4
                )
        ids = np.array([entity]), np.array([number])
        return np.asarray(_answered(self.method, back, self.params, *map(np.int32, ids)))[0]

    def _known(self, given: str, relation: str, back: bool) -> dict[int, str]:
        """The splits of the facts that answer a question, by the answer; of several the first."""
        key, answer = (TAIL, HEAD) if back else (HEAD, TAIL)
        found: dict[int, str] = {}
        for split in reversed(SPLITS):
            facts = self.graph.split(split)
            same = (facts[:, key] == self._entities[given]) & (facts[:, RELATION] == self._relations[relation])
            found |= dict.fromkeys(facts[same, answer].tolist(), split)
        return found


@partial(jax.jit, static_argnums=(0, 1))
def _answered(method: Any, back: bool, params: Params, given: jax.Array, relation: jax.Array) -> jax.Array:
    return method.answer(params, given, relation, back)


class NodeModel:
    """A trained encoder of nodes: `encode` gives the vectors of the nodes of any graph, and `predict` their groups.

    vectors: those of the nodes of the run's own data, by id. groups: the names of the groups that `predict` knows; none if the
    method was trained without.
    """

    def __init__(self, method: NodeMethod, params: Params, groups: Sequence[str], vectors: KeyedVectors):
        self.method, self.params, self.vectors = method, jax.device_put(params), vectors
        self.groups: tuple[str, ...] = tuple(groups) if "head" in method.nets() else ()

    def __repr__(self) -> str:
        about = f"{self.width} features" if self.width else f"their {self.method.inputs}"
        return f"NodeModel<{type(self.method).__name__}, nodes by {about}, vector_size={self.vectors.vector_size}>"

    @property
    def width(self) -> int | None:
        """The number of features by which nodes are known; None where they are known by their ids or degrees."""
        return self.method.encoder["input_size"] if self.method.inputs == "features" else None

    def encode(
        self, links: Graph | Iterable[tuple[Any, Any]], features: Mapping[Any, Any] | None = None,
        weights: Sequence[float] | None = None, directed: bool = False,
    ) -> KeyedVectors:  # fmt: skip
        """Vectors of all nodes of a graph under their own ids, those of `features` first; nothing is trained.

        links: pairs of ids, or a `Graph`, which has all the rest. features: of each id a list of the numbers of what it has, or
        of `width` fractions, as in training; a node without them, which only links name, has zeros. weights: one for each link.

        Raises ValueError for features of another width, for none where they are needed, and for features where nodes are known by
        their ids or degrees.
        """
        return self._encoded(links, features, weights, directed)[0]

    def predict(
        self, links: Graph | Iterable[tuple[Any, Any]], features: Mapping[Any, Any] | None = None,
        weights: Sequence[float] | None = None, directed: bool = False,
    ) -> dict[str, tuple[str, float]]:  # fmt: skip
        """The most likely group of each node and its probability, by id; arguments and errors as `encode`.

        Raises ValueError for a method that was trained without groups.
        """
        vectors, groups = self._encoded(links, features, weights, directed)
        return dict(zip(vectors.index_to_key, self.named(groups), strict=True))

    def named(self, probabilities: np.ndarray | None) -> list[tuple[str, float]]:
        """The most likely group of each row `[n, groups]`, and its probability. Raises ValueError where there are none."""
        if probabilities is None:
            raise ValueError("this run was trained without groups: train graphsage, which predicts them")
        best = probabilities.argmax(1)
        return [(self.groups[group], float(row[group])) for group, row in zip(best, probabilities, strict=True)]

    def _encoded(self, links: Any, *known: Any) -> tuple[KeyedVectors, np.ndarray | None]:
        graph = links if isinstance(links, Graph) else self._graph(links, *known)
        vectors, groups = embed_nodes(self.method, self.params, graph, self.vectors.index_to_key)
        return KeyedVectors(graph.nodes, vectors, graph.degrees), groups

    def _graph(self, links: Any, features: Mapping[Any, Any] | None, weights: Any, directed: bool) -> Graph:
        if features is not None and self.width is None:
            raise ValueError(f"this model knows nodes by their {self.method.inputs}: leave features out")
        numbers = {str(name): row for row, name in enumerate(features or ())}
        ends = [[numbers.setdefault(str(one), len(numbers)) for one in pair] for pair in links]
        source, target = np.array(ends, np.int64).reshape(-1, 2).T
        rows = None
        if features is not None:
            given = feature_rows(list(features.values()), self.width)
            rows = np.concatenate([given, np.zeros((len(numbers) - len(given), given.shape[1]), np.float32)])
        value = None if weights is None else np.asarray(weights, np.float64)
        return Graph.build(tuple(numbers), source, target, value, directed, features=rows)
