"""Knowledge graphs: facts of a head, a relation and a tail, by number, in the splits for link prediction.

What is done with what is odd: a fact that stands twice in a split counts once; a fact of validation or test that stands in train
stays, and is counted; loops (head and tail the same) are facts like all others. An entity or relation that only validation or
test know has a number, and so a vector, which no fact trains, though an entity may be drawn as a wrong answer; facts with such a
one are ranked like all others (as LibKGE does), and counted. Ids are names: numbers are kept as they are written, however large.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxembed.data.cache import content_digest
from jaxembed.data.columns import read_ids, read_table
from jaxembed.files import write_bytes

if TYPE_CHECKING:
    import datasets

HEAD, RELATION, TAIL = range(3)  # columns of facts
COLUMNS = ("head", "relation", "tail")
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False)
class Triples:
    """A knowledge graph.

    entities, relations: their names by number, in the order in which the splits name them, train first.
    train, validation, test: int32 [n, 3], the numbers of head, relation and tail; no fact twice.
    fingerprint: 32 hexadecimal digits that depend on these alone. origin: where they came from (JSON-ready).
    """

    entities: tuple[str, ...]
    relations: tuple[str, ...]
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    fingerprint: str
    origin: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def build(
        cls, facts: Sequence[Sequence[Sequence[str]]], share: float = 0.0, origin: dict[str, Any] | None = None
    ) -> "Triples":
        """Builds a graph from the columns (heads, relations, tails) of train, validation and test; () for a missing split.

        For each missing split a `share` of the facts of train is set apart, spread evenly; facts whose entities or
        relation would then be missing in train stay there. Raises ValueError if nothing is left to train on.
        """
        entities: dict[str, int] = {}
        relations: dict[str, int] = {}
        number = lambda names, ids: [ids.setdefault(name, len(ids)) for name in names]
        parts, twice = [], {}
        for split, columns in zip(SPLITS, facts, strict=True):
            heads, kinds, tails = columns or ((), (), ())
            # The head and the tail of each fact follow each other, so that numbers are in the order of reading.
            both = number([name for pair in zip(heads, tails, strict=True) for name in pair], entities)
            rows = np.array([both[::2], number(kinds, relations), both[1::2]], np.int32).T.reshape(-1, 3)
            found = _distinct(rows)
            twice[split] = len(rows) - len(found)
            parts.append(found)
        for place in (2, 1):
            if not facts[place] and share:
                parts[0], parts[place] = _set_apart(parts[0], share, len(entities), len(relations))
        if not len(parts[0]):
            raise ValueError("there are no facts to train on")
        names = [list(entities), list(relations)]
        key = content_digest(json.dumps(names), *[np.ascontiguousarray(part).tobytes() for part in parts])
        about = (origin or {}) | ({"twice": twice} if any(twice.values()) else {})
        train, validation, test = parts
        return cls(tuple(entities), tuple(relations), train, validation, test, key, about)

    def __len__(self) -> int:
        return len(self.train)

    def save(self, path: str | os.PathLike) -> None:
        """Writes names and facts to one safetensors file, whole or not at all."""
        from safetensors.numpy import save

        about = {name: json.dumps(getattr(self, name)) for name in ("entities", "relations", "origin", "fingerprint")}
        write_bytes(path, save({split: np.ascontiguousarray(self.split(split)) for split in SPLITS}, about))

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Triples":
        """Reads what `save` wrote."""
        from safetensors import safe_open

        with safe_open(path, "numpy") as file:
            about = {name: json.loads(text) for name, text in (file.metadata() or {}).items()}
            facts = {split: file.get_tensor(split) for split in SPLITS}
        names = {name: tuple(about.pop(name)) for name in ("entities", "relations")}
        return cls(**names, **facts, **about)

    def split(self, name: str) -> np.ndarray:
        """Returns the facts of "train", "validation" or "test", int32 [n, 3]."""
        return {"train": self.train, "validation": self.validation, "test": self.test}[name]

    @property
    def all(self) -> np.ndarray:
        """Returns the facts of all splits, int32 [n, 3]."""
        return np.concatenate([self.train, self.validation, self.test])

    def unseen(self, facts: np.ndarray) -> np.ndarray:
        """Returns which of some facts [n, 3] have an entity or a relation that train lacks: bool [n]."""
        seen = np.zeros(len(self.entities), bool)
        seen[self.train[:, [HEAD, TAIL]]] = True
        kinds = np.zeros(len(self.relations), bool)
        kinds[self.train[:, RELATION]] = True
        return ~(seen[facts[:, HEAD]] & kinds[facts[:, RELATION]] & seen[facts[:, TAIL]])

    def summary(self) -> dict[str, Any]:
        """Returns what a run's environment.json records of its data."""
        known = {row.tobytes() for row in self.train}
        counts = {}
        for split in SPLITS:
            facts = self.split(split)
            counts[split] = {"facts": len(facts), "loops": int((facts[:, HEAD] == facts[:, TAIL]).sum())}
            if split != "train":
                counts[split] |= {
                    "unseen": int(self.unseen(facts).sum()),
                    "in_train": sum(row.tobytes() in known for row in facts),
                }
        sizes = {"entities": len(self.entities), "relations": len(self.relations)}
        return {**self.origin, **sizes, **counts, "fingerprint": self.fingerprint}


def read_triples(
    data: "str | os.PathLike | datasets.Dataset",
    *,
    splits: Sequence[str | None] = SPLITS,
    config: str | None = None,
    revision: str | None = None,
    columns: Sequence[str] = COLUMNS,
    share: float = 0.05,
) -> Triples:
    """Reads a knowledge graph: a dataset as `jaxembed.data.load` takes it, a CSV or TSV file, or a folder of such files.

    `splits` names those to train on, to choose settings on and to judge by. What is a single table, or None among them, has no
    such split: a `share` of the facts to train on is set apart for each. `columns` names those of heads, relations and tails;
    a file in text may lack the line of names (`jaxembed.data.delimited`).

    Raises as `jaxembed.data.load`, `read_table` and `read_ids` do.
    """
    facts, records = [], []
    several = _has_splits(data)
    for split in splits:
        if split is None or (facts and not several):
            facts.append(())
            continue
        table = read_table(
            data, columns, split=split if several else None, config=config, revision=revision, usual=COLUMNS,
            hint="; name the columns of a fact",
        )  # fmt: skip
        facts.append([read_ids(table, column).tolist() for column in columns])
        records.append(table.record)
    origin = {**records[0], "splits": list(splits), "columns": list(columns)}
    return Triples.build(facts, share, origin | ({"set_apart": share} if () in facts and share else {}))


def queries(facts: np.ndarray, back: bool, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns facts [n, 3] as questions: head and relation, asking for tails, or (`back`) relation and tail, asking for heads.

    Returns the entity and the relation of each question, int32 [q, 2], up to `most` answers to it, int32 [q, most], and
    their number, int32 [q]. A question with more answers occurs several times. Unused places of the answers repeat the
    first.
    """
    given, answer = (TAIL, HEAD) if back else (HEAD, TAIL)
    order = np.lexsort((facts[:, answer], facts[:, RELATION], facts[:, given]))
    rows = facts[order]
    new = np.ones(len(rows), bool)
    new[1:] = (rows[1:, [given, RELATION]] != rows[:-1, [given, RELATION]]).any(1)
    starts = np.flatnonzero(new)
    place = np.arange(len(rows)) - starts[np.cumsum(new) - 1]  # of an answer among those to its question
    first = np.flatnonzero(place % most == 0)
    row = np.cumsum(place % most == 0) - 1
    count = np.bincount(row, minlength=len(first)).astype(np.int32)
    answers = np.repeat(rows[first, answer][:, None], most, 1)
    answers[row, place % most] = rows[:, answer]
    return np.ascontiguousarray(rows[first][:, [given, RELATION]]), answers, count


def _has_splits(data: Any) -> bool:
    """Returns whether data may have several splits; a file and a table do not."""
    return isinstance(data, str | os.PathLike) and not Path(data).is_file()


def _distinct(facts: np.ndarray) -> np.ndarray:
    _, first = np.unique(facts, axis=0, return_index=True)
    return facts[np.sort(first)]


def _set_apart(facts: np.ndarray, share: float, entities: int, relations: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the facts to train on, and those set apart, of which none is the last with an entity or a relation."""
    of_entity = np.bincount(facts[:, [HEAD, TAIL]].ravel(), minlength=entities)
    of_relation = np.bincount(facts[:, RELATION], minlength=relations)
    wanted, apart = int(len(facts) * share), []
    # Every k-th fact comes first, then those after them, so that the choice is spread evenly and the same in every run.
    every = max(round(1 / share), 1)
    for place in np.concatenate([np.arange(start, len(facts), every) for start in range(every)]):
        head, relation, tail = facts[place]
        if len(apart) == wanted:
            break
        if min(of_entity[head], of_entity[tail]) > 1 + (head == tail) and of_relation[relation] > 1:
            np.subtract.at(of_entity, [head, tail], 1)
            of_relation[relation] -= 1
            apart.append(place)
    return np.delete(facts, apart, 0), facts[np.sort(np.array(apart, int))]
