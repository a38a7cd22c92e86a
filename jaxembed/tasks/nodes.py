"""Nodes of a graph as a task: links to learn from, and groups, or links set apart, by which vectors are judged."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal

import numpy as np

from jaxembed.data.graphs import Graph, read_graph
from jaxembed.data.inputs import NodeInput
from jaxembed.data.parts import by_hash, named_part
from jaxembed.evaluation.nodes import (
    fitted_count,
    link_auc,
    node_classification,
    non_links,
    part_accuracy,
    probed_groups,
)
from jaxembed.methods.graphsage import NodeMethod, embed_nodes
from jaxembed.ranges import Count, Range
from jaxembed.tasks.base import DEV, Figures, Read, Task, Trained, measured, refusal
from jaxembed.training.method import Params
from jaxembed.vectors import KeyedVectors

_SHOWN = 10_000  # number of nodes in the projector
DEV_F1 = f"nodes/micro_f1{DEV}"
ACCURACY, DEV_ACCURACY = "nodes/accuracy", f"nodes/accuracy{DEV}"
_Part = Annotated[float, Range(least=0, below=1)]


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
    # Column of the nodes' features: lists of the numbers of what a node has, or lists of fractions; None takes "features".
    features: str | None = None
    # Column of the nodes' parts: train, validation, test, or another word for none of these; None takes "split" or "part".
    part: str | None = None
    # How groups are judged: by shares, at random divisions of the nodes and with several groups a node; or by parts, as the
    # accuracy on the test part. There, a method that predicts groups is taken at its word; the vectors of others are judged by a
    # linear probe, fitted to the training part, with the penalty that is best on the validation part.
    judged: Literal["shares", "parts"] = "shares"
    # Where parts are wanted and there is no column of them: the shares of each group's nodes that are trained on, and that
    # settings are chosen by; the others are the test part. Nodes are ordered by a hash of their ids.
    divided: tuple[_Part, _Part] = (0.3, 0.2)
    # Whether the nodes of the validation and test parts, with their links, are kept from training. For methods that compute
    # nodes.
    inductive: bool = False
    # Share of the links that is not trained on; vectors are then judged by how well they tell these from pairs without a link.
    removed: Annotated[float, Range(least=0, most=0.5)] = 0.0
    # Shares of the nodes whose groups are known; by these, those of the others are predicted.
    shares: tuple[Annotated[float, Range(above=0, below=1)], ...] = (0.1, 0.5, 0.9)
    splits: Count = 10  # Number of random divisions of the nodes for each share.

    unit: ClassVar[str] = "nodes"

    def __post_init__(self):
        super().__post_init__()
        if not self.divided[0] or sum(self.divided) >= 1:
            raise ValueError(
                f"divided must give the training part some nodes, and leave some for the test, not {self.divided}"
            )

    @property
    def _by_parts(self) -> bool:
        return self.judged == "parts" and not self.removed

    @property
    def select(self) -> str:
        """The accuracy on the validation part, where there are parts."""
        return DEV_ACCURACY if self._by_parts else ""

    @property
    def curves(self) -> tuple[str, ...]:
        """What reports draw."""
        return ("epoch/loss", DEV_ACCURACY if self._by_parts else "geometry/effective_rank")

    @property
    def columns(self) -> Mapping[str, str]:
        """The columns of a table: accuracy, or F1 for each share of known groups, or the AUC of links that are set apart."""
        if self.removed:
            return {"AUC of links": "links/auc"}
        if self._by_parts:
            return {"accuracy": ACCURACY, "dev accuracy": DEV_ACCURACY}
        kinds = {"micro": "micro-F1", "macro": "macro-F1"}
        found = {
            f"{title}, {share:.0%}": f"nodes/{kind}_f1@{share:.0%}"
            for kind, title in kinds.items()
            for share in self.shares
        }
        return found | {"dev micro-F1": DEV_F1}

    def read(self) -> Read:
        """Reads the graph, divides its nodes into parts, and sets links or nodes apart."""
        if self.inductive and (self.removed or self.judged != "parts"):
            raise ValueError(
                "inductive keeps parts of the nodes from training: it needs judged='parts', and no links removed"
            )
        whole = read_graph(
            self.data, split=self.split, source=self.source, target=self.target, weight=self.weight,
            directed=self.directed, nodes=self.nodes, node=self.node, label=self.label, features=self.features,
            part=self.part, **self.origin,
        )  # fmt: skip
        whole = self._parted(whole)
        train, apart = whole, np.zeros((0, 2), np.int32)
        if self.removed:
            links = whole.links
            drawn = np.random.default_rng(0).permutation(len(links))[: round(self.removed * len(links))]
            train, apart = whole.without(drawn), links[drawn]
        if self.inductive:
            if whole.part is None:
                raise ValueError(
                    "inductive keeps parts of the nodes from training, and there are none: name a column (--part)"
                )
            train = whole.inductive(np.isin(whole.part, ["validation", "test"]))
        return Read(
            train, len(train), train.fingerprint, train.summary(), rest=(whole, apart), judged_by=whole.fingerprint,
            drawn=True,
        )  # fmt: skip

    def _parted(self, graph: Graph) -> Graph:
        """The graph with parts under their usual names, drawn where there are none and some are wanted."""
        if graph.part is not None:
            part = np.array([named_part(name) for name in graph.part], object)
        elif self.judged == "parts" and graph.labels is not None:
            part = by_hash(graph.nodes, np.where(graph.labels.any(1), graph.labels.argmax(1), -1), *self.divided)
        else:
            return graph
        return replace(graph, part=part)

    @property
    def _graph(self) -> Graph:
        return self.found.rest[0]

    def unmeasurable(self) -> dict[str, str]:
        """Groups tell nothing where there are none, and links nothing where none was set apart."""
        if self.removed:
            return {} if len(self.found.rest[1]) else {"links/auc": "the share that is removed holds no link"}
        labels, part = self._graph.labels, self._graph.part
        if labels is None or not labels.any():
            return dict.fromkeys(self.columns.values(), "the nodes have no groups")
        if (names := labels.any(0)).sum() == 1 and labels.any(1).all():
            return dict.fromkeys(
                self.columns.values(), f"all nodes are of the group {int(names.argmax())}: there is no other"
            )
        if self._by_parts:
            if (labels.sum(1) > 1).any():
                return dict.fromkeys(self.columns.values(), "nodes have several groups: judge them by shares")
            parts = {ACCURACY: "test", DEV_ACCURACY: "validation"}
            there = lambda one: part is not None and ((part == one) & labels.any(1)).any()
            return {name: f"no node with a group is of the part {one}" for name, one in parts.items() if not there(one)}
        few = lambda share: refusal(lambda: fitted_count(labels, share))
        found = {f"nodes/{kind}_f1@{share:.0%}": few(share) for share in self.shares for kind in ("micro", "macro")}
        return {name: why for name, why in found.items() if why}

    def inputs_of(self, method: Any) -> Mapping[str, Any]:
        """Methods that compute nodes are kept, with the names of the groups, to embed others."""
        return {"nodes": NodeInput(self._graph.label_names)} if isinstance(method, NodeMethod) else {}

    def product(self, method: Any, params: Params, vectors: np.ndarray) -> KeyedVectors:
        """Returns the vectors of the nodes under their ids, with the number of links of each and, where told, the group.

        Nodes that were kept from training are embedded here.
        """
        graph, groups = self._graph if self.inductive else self.found.train, None
        if isinstance(method, NodeMethod):
            found, groups = embed_nodes(method, params, graph)
            vectors = found if self.inductive else vectors
        product = KeyedVectors(graph.nodes, vectors, graph.degrees)
        if groups is not None:
            product.expandos["group"] = groups.argmax(1).astype(np.int32)
        return product

    def examine(self, method: Any, params: Params) -> dict[str, float]:
        """Returns the accuracy on the validation part of methods that compute nodes."""
        if not (self._by_parts and isinstance(method, NodeMethod)) or self.unmeasurable():
            return {}
        vectors, groups = embed_nodes(method, params, self._graph if self.inductive else self.found.train)
        found = self._accuracies(vectors, None if groups is None else groups.argmax(1))
        return {DEV_ACCURACY: found[DEV_ACCURACY.partition("/")[2]]}

    def _accuracies(self, vectors: np.ndarray, groups: np.ndarray | None) -> dict[str, float]:
        labels, part = self._graph.labels, self._graph.part
        if labels is None or part is None:
            raise ValueError("the nodes have no groups, or no parts")
        groups = probed_groups(vectors, labels, part) if groups is None else groups
        return part_accuracy(groups, labels, part)

    def figures(self, trained: Trained) -> Figures:
        """Like `judge`; a method that predicts groups is judged by these."""
        if not self._by_parts:
            return self.judge(self.parts(trained.product))
        return self._judged(trained.product.vectors, trained.product.expandos.get("group"))

    def _judged(self, vectors: np.ndarray, groups: np.ndarray | None = None) -> Figures:
        names = [name.partition("/")[2] for name in (ACCURACY, DEV_ACCURACY)]
        return measured(names, lambda: self._accuracies(vectors, groups), "nodes/")

    def judge(self, vectors: dict[str, np.ndarray]) -> Figures:
        """Returns `nodes/micro_f1@<share>` and `nodes/macro_f1@<share>`, or `links/auc` where links are set apart.

        By parts, returns `nodes/accuracy` and `nodes/accuracy-dev`, of the test and the validation part, by a linear probe.

        `nodes/micro_f1-dev` is that of a half of the nodes, which are drawn with another seed, by the groups of the other half.
        Links are judged by the cosines of their ends.
        """
        found = vectors[""]
        if self.removed:
            return measured(["auc"], lambda: {"auc": self._auc(found)}, "links/")
        if self._by_parts:
            return self._judged(found)
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
