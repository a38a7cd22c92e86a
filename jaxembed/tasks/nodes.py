"""Nodes of a graph as a task: links to learn from, and groups, or links set apart, by which vectors are judged."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar

import numpy as np

from jaxembed.data.graphs import Graph, read_graph
from jaxembed.evaluation.nodes import fitted_count, link_auc, node_classification, non_links
from jaxembed.ranges import Count, Range
from jaxembed.tasks.base import DEV, Figures, Read, Task, measured, refusal
from jaxembed.vectors import KeyedVectors

_SHOWN = 10_000  # number of nodes in the projector
DEV_F1 = f"nodes/micro_f1{DEV}"


@dataclass(frozen=True)
class Nodes(Task):
    """A table of links between nodes and, if there is one, a table of the nodes."""

    split: str = "edges"  # Split with one row per link; a file is a single table.
    source: str = "source"  # Column of a link's first node.
    target: str = "target"  # Column of a link's second node.
    weight: str | None = None  # Column of weights, if links have different ones.
    directed: bool = False  # Whether a link leads from its first node to its second one only.
    nodes: str | None = "nodes"  # Split with one row per node, or the path of a table of them; None if there is none.
    node: str = "node"  # Column of the nodes' ids.
    label: str | None = None  # Column of the nodes' groups, one or a list of them; None takes "label" or "labels".
    # Share of the links that is not trained on; vectors are then judged by how well they tell these from pairs without a link.
    removed: Annotated[float, Range(least=0, most=0.5)] = 0.0
    # Shares of the nodes whose groups are known; by these, those of the others are predicted.
    shares: tuple[Annotated[float, Range(above=0, below=1)], ...] = (0.1, 0.5, 0.9)
    splits: Count = 10  # Number of random divisions of the nodes for each share.

    unit: ClassVar[str] = "nodes"
    curves: ClassVar[tuple[str, ...]] = ("epoch/loss", "geometry/effective_rank")

    @property
    def columns(self) -> Mapping[str, str]:
        """The columns of a table: F1 for each share of known groups, or the AUC of links that are set apart."""
        if self.removed:
            return {"AUC of links": "links/auc"}
        kinds = {"micro": "micro-F1", "macro": "macro-F1"}
        found = {
            f"{title}, {share:.0%}": f"nodes/{kind}_f1@{share:.0%}"
            for kind, title in kinds.items()
            for share in self.shares
        }
        return found | {"dev micro-F1": DEV_F1}

    def read(self) -> Read:
        """Reads the graph, and sets links apart."""
        whole = read_graph(
            self.data, split=self.split, source=self.source, target=self.target, weight=self.weight,
            directed=self.directed, nodes=self.nodes, node=self.node, label=self.label, **self.origin,
        )  # fmt: skip
        train, apart = whole, np.zeros((0, 2), np.int32)
        if self.removed:
            links = whole.links
            drawn = np.random.default_rng(0).permutation(len(links))[: round(self.removed * len(links))]
            train, apart = whole.without(drawn), links[drawn]
        return Read(
            train, len(train), train.fingerprint, train.summary(), rest=(whole, apart), judged_by=whole.fingerprint,
            drawn=True,
        )  # fmt: skip

    @property
    def _graph(self) -> Graph:
        return self.found.rest[0]

    def unmeasurable(self) -> dict[str, str]:
        """Groups tell nothing where there are none, and links nothing where none was set apart."""
        if self.removed:
            return {} if len(self.found.rest[1]) else {"links/auc": "the share that is removed holds no link"}
        labels = self._graph.labels
        if labels is None or not labels.any():
            return dict.fromkeys(self.columns.values(), "the nodes have no groups")
        few = lambda share: refusal(lambda: fitted_count(labels, share))
        found = {f"nodes/{kind}_f1@{share:.0%}": few(share) for share in self.shares for kind in ("micro", "macro")}
        return {name: why for name, why in found.items() if why}

    def product(self, method: Any, params: Any, vectors: np.ndarray) -> KeyedVectors:
        """Returns the vectors of the nodes under their ids, with the number of links of each."""
        return KeyedVectors(self._graph.nodes, vectors, self.found.train.degrees)

    def judge(self, vectors: dict[str, np.ndarray]) -> Figures:
        """Returns `nodes/micro_f1@<share>` and `nodes/macro_f1@<share>`, or `links/auc` where links are set apart.

        `nodes/micro_f1-dev` is that of a half of the nodes, which are drawn with another seed, by the groups of the other half.
        Links are judged by the cosines of their ends.
        """
        found = vectors[""]
        if self.removed:
            return measured(["auc"], lambda: {"auc": self._auc(found)}, "links/")
        figures: Figures = {}
        for share in self.shares:
            names = [f"{kind}_f1@{share:.0%}" for kind in ("micro", "macro")]
            f1 = lambda share=share: self._f1(found, share, self.splits, 0)
            figures |= measured(names, lambda f1=f1, names=names: dict(zip(names, f1(), strict=True)), "nodes/")
        dev = lambda: {DEV_F1.partition("/")[2]: self._f1(found, 0.5, 3, 1)[0]}
        return figures | measured([DEV_F1.partition("/")[2]], dev, "nodes/")

    def _f1(self, vectors: np.ndarray, share: float, splits: int, seed: int) -> tuple[float, float]:
        labels = self._graph.labels
        if labels is None:
            raise ValueError("the nodes have no groups")
        return node_classification(vectors, labels, (share,), splits=splits, seed=seed)[share]

    def _auc(self, vectors: np.ndarray) -> float:
        _, apart = self.found.rest
        return link_auc(vectors, apart, self._unlinked)

    @cached_property
    def _unlinked(self) -> np.ndarray:
        whole, apart = self.found.rest
        return non_links(whole.offsets, whole.neighbours, len(apart))

    def projected(self, product: KeyedVectors) -> KeyedVectors:
        """Returns the nodes with the most links."""
        order = np.argsort(-product.expandos["count"], kind="stable")[:_SHOWN]
        return KeyedVectors([product.index_to_key[i] for i in order], product.vectors[order])
