"""Knowledge graphs as a task: facts to train on, and others whose tails and heads are to be found."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar

import numpy as np

from jaxembed.data.inputs import GraphInput
from jaxembed.data.triples import read_triples
from jaxembed.evaluation.ranking import Ranker, summary
from jaxembed.ranges import Count, Range
from jaxembed.tasks.base import DEV, Figures, Read, Task, Trained, checked
from jaxembed.vectors import KeyedVectors

MRR = f"ranking/mrr{DEV}"


@dataclass(frozen=True)
class Triples(Task):
    """A table of facts: a dataset, a CSV or TSV file, or a folder with one such file per split."""

    train_split: str = "train"  # Split to train on.
    # Split on which settings are chosen; None sets a share of the training facts apart.
    validation_split: str | None = "validation"
    # Split on which the vectors are judged; None sets a share of the training facts apart.
    test_split: str | None = "test"
    # Share of the training facts that is set apart for each split that is None, or that a single table does not have.
    share: Annotated[float, Range(above=0, most=0.4)] = 0.05
    head: str = "head"  # Column of the heads.
    relation: str = "relation"  # Column of the relations.
    tail: str = "tail"  # Column of the tails.
    watch: Count = 5000  # Number of validation facts that are ranked after each pass.

    unit: ClassVar[str] = "facts"
    columns: ClassVar[Mapping[str, str]] = {
        "MRR": "ranking/mrr", "Hits@1": "ranking/hits@1", "Hits@3": "ranking/hits@3", "Hits@10": "ranking/hits@10",
        "MR": "ranking/mr", "MRR of heads": "ranking/mrr/head", "MRR of tails": "ranking/mrr/tail", "dev MRR": MRR,
    }  # fmt: skip
    curves: ClassVar[tuple[str, ...]] = ("epoch/loss", "watched/mrr", "watched/hits@10")
    lower_is_better: ClassVar[tuple[str, ...]] = ("MR",)
    select: ClassVar[str] = "watched/mrr"

    def read(self) -> Read:
        """Reads the three splits of the graph."""
        graph = read_triples(
            self.data, splits=(self.train_split, self.validation_split, self.test_split), share=self.share,
            columns=(self.head, self.relation, self.tail), **self.origin,
        )  # fmt: skip
        return Read(
            graph, len(graph.train), graph.fingerprint, graph.summary(), inputs={"graph": GraphInput(graph)},
            judged_by=graph.fingerprint,
        )  # fmt: skip

    def probes(self) -> tuple[Any, Any]:
        """Measures nothing, since vectors alone say little."""
        return lambda vectors: {}, lambda vectors: {}

    @cached_property
    def _watched(self) -> Ranker:
        facts = self.found.train.validation
        count = min(self.watch, len(facts))
        return Ranker(self.found.train, facts[np.arange(count) * len(facts) // max(count, 1)])

    def examine(self, method: Any, params: Any) -> dict[str, float]:
        """Returns `watched/...`, the filtered ranks of some validation facts."""
        if not len(self._watched.facts):
            return {}
        return {f"watched/{name}": value for name, value in summary(self._watched, method, params).items()}

    def product(self, method: Any, params: Any, vectors: np.ndarray) -> KeyedVectors:
        """Returns the vectors of the entities under their names, with the number of facts of each."""
        graph = self.found.train
        counts = np.bincount(graph.train[:, [0, 2]].ravel(), minlength=len(graph.entities))
        return KeyedVectors(graph.entities, vectors, counts)

    def unmeasurable(self) -> dict[str, str]:
        """The figures of a split without facts cannot be measured."""
        graph = self.found.train
        dev = {MRR: "there are no validation facts"} if not len(graph.validation) else {}
        test = {} if len(graph.test) else dict.fromkeys(
            (key for key in self.columns.values() if not key.endswith(DEV)), "there are no test facts"
        )  # fmt: skip
        return dev | test

    def figures(self, trained: Trained) -> Figures:
        """Returns `ranking/...` of the test facts and, with -dev, of the validation facts; also the share with unseen names."""
        method, params = trained.learned()
        graph, found = self.found.train, {}
        for facts, end in ((graph.test, ""), (graph.validation, DEV)):
            if len(facts):
                ranks = summary(Ranker(graph, facts), method, params)
                figures = {**ranks, "unseen": float(graph.unseen(facts).mean())}
                found |= {f"ranking/{name}{end}": value for name, value in figures.items()}
        return checked(found)

    def projected(self, product: KeyedVectors) -> KeyedVectors:
        """Returns the entities with the most facts."""
        most = 10_000
        order = np.argsort(-product.expandos["count"], kind="stable")[:most]
        return KeyedVectors([product.index_to_key[i] for i in order], product.vectors[order])
