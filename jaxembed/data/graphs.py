"""Graphs: nodes by number and their links in compressed rows, from any dataset or text file, with what is known of the nodes.

The rules, which `Graph.origin` counts where they change something: a link counts in both directions unless the graph is
`directed`; links that occur several times, in either direction where both count, are one, whose weight is the sum of theirs;
without weights each counts once. Links from a node to itself are left out, and so are links of weight 0. A node that only the
table of nodes names has no links: it keeps its row, which no walk trains. Ids are names: numbers are kept as they are written,
however large.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxembed.data.cache import content_digest
from jaxembed.data.columns import Table, digest, open_split, read_ids, read_numbers, read_table
from jaxembed.data.delimited import text_of

if TYPE_CHECKING:
    import datasets

# What the columns of a node's table are usually called.
LABELS, FEATURES, PARTS = ("label", "labels"), ("features",), ("split", "part")
_FORMAT = 1  # part of every fingerprint: raise it when a graph comes to be read in another way


@dataclass(frozen=True, eq=False)
class Graph:
    """A graph of `n` nodes, whose links stand in rows: those of node i are places `offsets[i]` to `offsets[i + 1]`.

    nodes: the names. offsets: int32 [n + 1]. neighbours: int32 [links], ascending in each row. weights: float32 [links], or
    None where all links weigh the same. directed: whether a link stands in the row of its source alone; otherwise in both.
    labels: bool [n, classes], the groups of each node, or None; `label_names` names them. single: whether a node has one at
    most. features: float32 [n, f], or None. part: the name of each node's part ("train", ...), or None. unseen: bool [n], the
    nodes that are kept from training, of which neither links nor features are here (`inductive`), or None. fingerprint: 32
    hexadecimal digits that depend on all of these alone. origin: for the record of a run (JSON-ready).
    """

    nodes: tuple[str, ...]
    offsets: np.ndarray
    neighbours: np.ndarray
    weights: np.ndarray | None = None
    directed: bool = False
    labels: np.ndarray | None = None
    label_names: tuple[str, ...] = ()
    single: bool = False
    features: np.ndarray | None = None
    part: np.ndarray | None = None
    unseen: np.ndarray | None = None
    origin: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def build(
        cls, nodes: Sequence[str], source: np.ndarray, target: np.ndarray, weight: np.ndarray | None = None,
        directed: bool = False, **known: Any,
    ) -> "Graph":  # fmt: skip
        """Builds a graph from links between the nodes of these numbers, by the rules above; `known` are its other fields.

        Raises ValueError for a negative weight.
        """
        n = len(nodes)
        source, target = np.asarray(source, np.int64), np.asarray(target, np.int64)
        value = np.ones(len(source)) if weight is None else np.asarray(weight, np.float64)
        if (value < 0).any():
            raise ValueError(f"a link has the weight {value.min():g}: a walk needs weights of 0 or more")
        used = (source != target) & (value > 0)
        counted = {"loops": int((source == target).sum()), "weightless": int(((source != target) & (value <= 0)).sum())}
        source, target, value = source[used], target[used], value[used]
        if not directed:  # a link is known by its smaller end
            source, target = np.minimum(source, target), np.maximum(source, target)
        keys, place = np.unique(source * n + target, return_inverse=True)
        counted["repeated"] = len(source) - len(keys)
        value = np.bincount(place, value, len(keys))
        source, target = keys // max(n, 1), keys % max(n, 1)
        if not directed:
            source, target, value = np.r_[source, target], np.r_[target, source], np.r_[value, value]
        if len(source) >= 2**31:
            raise ValueError(f"the graph has {len(source):,} directed links, and 2,147,483,647 are possible")
        order = np.lexsort((target, source))
        offsets = np.concatenate([[0], np.cumsum(np.bincount(source, minlength=n))]).astype(np.int32)
        origin = known.pop("origin", {}) | {name: count for name, count in counted.items() if count}
        weights = None if weight is None else value[order].astype(np.float32)
        return cls(tuple(nodes), offsets, target[order].astype(np.int32), weights, directed, origin=origin, **known)

    def __len__(self) -> int:
        return len(self.nodes)

    @property
    def degrees(self) -> np.ndarray:
        """The number of links in each node's row: int32 [n]."""
        return np.diff(self.offsets)

    @property
    def links(self) -> np.ndarray:
        """The links by their ends, int32 [links, 2]; of an undirected graph each once, the smaller number first."""
        both = np.stack([np.repeat(np.arange(len(self), dtype=np.int32), self.degrees), self.neighbours], 1)
        return both if self.directed else both[both[:, 0] < both[:, 1]]

    @property
    def fingerprint(self) -> str:
        """See above."""
        every = (self.offsets, self.neighbours, self.weights, self.labels, self.features)
        arrays = [np.ascontiguousarray(one) for one in every if one is not None]
        parts = [one.tolist() for one in (self.part, self.unseen) if one is not None]
        about = {"format": _FORMAT, "directed": self.directed, "present": [one is not None for one in every]}
        return content_digest(digest(about, self.nodes, self.label_names, *parts), *arrays)

    def inductive(self, unseen: np.ndarray) -> "Graph":
        """Returns the graph as it is without some nodes, bool [n]: these keep their numbers, but neither links nor features."""
        links = self.links
        seen = self.without(np.flatnonzero(unseen[links].any(1)))
        features = None if self.features is None else np.where(unseen[:, None], np.float32(0), self.features)
        return replace(seen, features=features, unseen=unseen, origin=self.origin | {"unseen": int(unseen.sum())})

    def without(self, removed: np.ndarray) -> "Graph":
        """Returns the graph without some of its `links` (rows of these), with all nodes."""
        links = self.links
        kept = np.delete(np.arange(len(links)), removed)
        ends = links[kept]
        weight = None
        if self.weights is not None:
            source = np.repeat(np.arange(len(self)), self.degrees)
            once = np.ones(len(source), bool) if self.directed else source < self.neighbours
            weight = self.weights[once][kept]
        rebuilt = Graph.build(self.nodes, ends[:, 0], ends[:, 1], weight, self.directed)
        origin = self.origin | {"removed": len(links) - len(kept)}
        return replace(
            self, offsets=rebuilt.offsets, neighbours=rebuilt.neighbours, weights=rebuilt.weights, origin=origin
        )

    def summary(self) -> dict[str, Any]:
        """Returns what a run's environment.json records of its data."""
        sizes = {"nodes": len(self), "links": len(self.links), "isolated": int((self.degrees == 0).sum())}
        return {**self.origin, **sizes, "fingerprint": self.fingerprint}


def read_graph(
    data: "str | os.PathLike | datasets.Dataset",
    *,
    config: str | None = None,
    revision: str | None = None,
    split: str | None = "edges",
    source: str = "source",
    target: str = "target",
    weight: str | None = None,
    directed: bool = False,
    nodes: "str | os.PathLike | datasets.Dataset | None" = "nodes",
    node: str = "node",
    label: str | None = None,
    features: str | None = None,
    part: str | None = None,
    width: int | None = None,
) -> Graph:
    """Reads a graph: a table with a row for each link and, if there is one, a table with a row for each node.

    Both are datasets as `jaxembed.data.load` takes them, or CSV or TSV files (`jaxembed.data.delimited`). `nodes` may also be
    another split of the dataset of the links, which is not looked for if the data are a single table. `label` is a column of
    classes, of lists of these, or of numbers, where -1 and an empty list are none; by default it is "label" or "labels", if there
    is one. `features` is a column of lists of the numbers of what a node has (each 1), or of lists of fractions, by default
    "features"; with `width` there are so many, whether they occur or not. `part` is a column of names, by default "split" or
    "part". In a text file lists are numbers with spaces between them, and all columns but those of the links are to be named.

    Raises ValueError for a negative weight, a node that stands twice in its table, and what `read_table` and `read_ids` raise.
    """
    columns = [source, target, *([weight] if weight else [])]
    several = isinstance(data, str | os.PathLike) and not Path(data).is_file()
    table = read_table(
        data, columns, split=split if several else None, config=config, revision=revision,
        usual=("source", "target", *columns[2:]), hint="; name the columns of a link's ends",
    )  # fmt: skip
    ends = [read_ids(table, name).tolist() for name in (source, target)]
    value = _weights(table, weight) if weight else None
    numbers: dict[str, int] = {}
    known: dict[str, Any] = {}
    if nodes is not None and (several or not isinstance(nodes, str) or os.path.exists(nodes)):
        usual = _usual(data, nodes, config, revision) if None in (label, features, part) else ()
        given = ((label, LABELS), (features, FEATURES), (part, PARTS))
        label, features, part = (own or next((name for name in names if name in usual), None) for own, names in given)
        of_nodes = [node, *(name for name in (label, features, part) if name)]
        about = _nodes_of(data, nodes, config, revision, of_nodes)
        for row, name in enumerate(read_ids(about, node)):
            if name in numbers:
                raise ValueError(f"{about.where(row)} names the node {name} again: a node has one row")
            numbers[name] = row
        known = _known(about, label, features, part, width)
    rows = [[numbers.setdefault(name, len(numbers)) for name in pair] for pair in zip(*ends, strict=True)]
    both = np.array(rows, np.int64).reshape(-1, 2)
    origin = {**table.record, "columns": columns} | ({"directed": True} if directed else {})
    known = {name: _filled(value, len(numbers)) for name, value in known.items()}
    return Graph.build(tuple(numbers), both[:, 0], both[:, 1], value, directed, origin=origin, **known)


def _nodes_of(data: Any, nodes: Any, config: str | None, revision: str | None, columns: Sequence[str]) -> Table:
    """The table of nodes: a split of the dataset of the links, or a dataset or file of its own."""
    where: dict[str, Any] = {"usual": columns, "hint": "; name the columns of a node's row"}
    if isinstance(nodes, str) and not os.path.exists(nodes):
        return read_table(data, columns, split=nodes, config=config, revision=revision, **where)
    return read_table(nodes, columns, **where)


def _usual(data: Any, nodes: Any, config: str | None, revision: str | None) -> Sequence[str]:
    """The columns of the table of nodes among which some may be known by their usual names, if it is a dataset."""
    inside = isinstance(nodes, str) and not os.path.exists(nodes)
    if text_of(data if inside else nodes, nodes if inside else None):
        return ()
    opened = open_split(data, nodes, config, revision) if inside else open_split(nodes)
    return opened.load().column_names


def _weights(table: Table, column: str) -> np.ndarray:
    found = read_numbers(table, column)
    if len(wrong := np.flatnonzero(found < 0)):
        row = int(wrong[0])
        raise ValueError(f"{table.where(row)} has the weight {found[row]:g}: a walk needs weights of 0 or more")
    return found


def _known(
    table: Table, label: str | None, features: str | None, part: str | None, width: int | None
) -> dict[str, Any]:
    known: dict[str, Any] = {}
    if label:
        known |= _labels(table, label)
    if features:
        known["features"] = _features(table, features, width)
    if part:
        known["part"] = np.array([name or "" for name in table.column(part).to_pylist()], object)
    return known


def _lists(table: Table, column: str) -> tuple[list[list[Any]], bool]:
    """A column as lists, and whether it holds single values. A missing value, and the class -1, are empty lists."""
    names, values = table.classes.get(column), table.column(column).to_pylist()
    several = any(isinstance(value, list) for value in values)
    rows = [value or [] for value in values] if several else [[] if value is None else [value] for value in values]
    none = lambda value: isinstance(value, int) and value < 0
    spelt = lambda value: names[value] if names and isinstance(value, int) else value
    return [[spelt(value) for value in row if not none(value)] for row in rows], not several


def _labels(table: Table, column: str) -> dict[str, Any]:
    rows, single = _lists(table, column)
    found = {value for row in rows for value in row}
    names = table.classes.get(column) or sorted(found, key=lambda value: (isinstance(value, str), value))
    place = {name: i for i, name in enumerate(names)}
    labels = np.zeros((len(rows), len(names)), bool)
    for i, row in enumerate(rows):
        labels[i, [place[value] for value in row]] = True
    return {"labels": labels, "label_names": tuple(map(str, names)), "single": single}


def _features(table: Table, column: str, width: int | None) -> np.ndarray:
    rows = [_numbers(value) for value in table.column(column).to_pylist()]
    return feature_rows(rows, width, f"the column {column!r} of {table.title}")


def feature_rows(lists: Sequence[Any], width: int | None = None, named: str = "features") -> np.ndarray:
    """Lists of whole numbers of what a node has, as rows of 0 and 1, or lists of fractions as they are: float32 [n, width].

    Without a `width`, whole numbers go up to the largest there is. Raises ValueError, with what the lists are `named`, for
    lists of fractions of several lengths, or of another than `width`, for what is no number or not finite, and for a number of
    `width` or more.
    """
    rows = [one.tolist() if isinstance(one, np.ndarray) else list(one) for one in lists]
    flat = [value for row in rows for value in row]
    if any(isinstance(value, float) for value in flat):
        widths = sorted({len(row) for row in rows})
        if len(widths) > 1:
            raise ValueError(f"{named}: there are lists of several lengths, {widths[:5]}")
        if width not in (None, *widths):
            raise ValueError(f"{named}: a node has {widths[0]} features, and {width} are needed")
        if not np.isfinite(found := np.array(rows, np.float32)).all():
            raise ValueError(f"{named}: a feature is not finite")
        return found
    if not all(isinstance(value, int) and value >= 0 for value in flat):
        raise ValueError(f"{named}: there are neither lists of numbers from 0 nor of fractions")
    most = max(flat, default=-1) + 1
    if width is not None and most > width:
        raise ValueError(f"{named}: a node has the feature {most - 1}, and there are {width}: 0 to {width - 1}")
    found = np.zeros((len(rows), most if width is None else width), np.float32)
    for i, row in enumerate(rows):
        found[i, row] = 1
    return found


def _numbers(value: Any) -> Any:
    """A list as it is; of a text, the numbers between its spaces, whole ones as such."""
    if not isinstance(value, str):
        return value or []
    try:
        return [int(word) for word in value.split()]
    except ValueError:
        pass
    try:
        return [float(word) for word in value.split()]
    except ValueError:
        return [value]  # which is no number


def _filled(value: Any, n: int) -> Any:
    """Rows for the nodes that only links name, which have no label, no feature and no part."""
    if not isinstance(value, np.ndarray):
        return value
    more = n - len(value)
    fill = "" if value.dtype == object else 0
    return np.concatenate([value, np.full((more, *value.shape[1:]), fill, value.dtype)]) if more else value
