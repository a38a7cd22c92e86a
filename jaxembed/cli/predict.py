"""`jaxembed predict`: a trained knowledge graph completes a fact."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional


@dataclass(frozen=True)
class Predict:
    """Completes a fact with the entities of a knowledge graph, by a run that was trained on it.

    Name two of head, relation and tail, and put ? for the head or the tail. Known facts are marked with the split that
    holds them.

        jaxembed predict runs/complex/seed-1 Beijing capital_of ?
        jaxembed predict runs/complex/seed-1 ? borders China -k 20
    """

    run: Positional[Path]  # A run's folder.
    head: Positional[str]  # The head, or ?.
    relation: Positional[str]  # The relation.
    tail: Positional[str]  # The tail, or ?.
    k: Annotated[int, tyro.conf.arg(aliases=["-k"])] = 10  # Number of answers.


def predict(arguments: Predict) -> None:
    """Prints the answers."""
    from jaxembed.terminal import show_table
    from jaxembed.trained import load
    from jaxembed.trained_graph import KnowledgeModel

    head, relation, tail = arguments.head, arguments.relation, arguments.tail
    if (head == "?") == (tail == "?") or relation == "?":
        raise ValueError(f"{head} {relation} {tail}: put ? for the head or for the tail, and name the other two")
    model = load(arguments.run)
    if not isinstance(model, KnowledgeModel):
        raise ValueError(f"{arguments.run} was not trained on a knowledge graph: it has no facts to complete")
    ask, named = (model.predict_tail, (head, relation)) if tail == "?" else (model.predict_head, (relation, tail))
    answers = ask(*named, arguments.k)
    lines = [[one.name, f"{one.score:.3f}", one.known or ""] for one in answers]
    show_table(f"{head} {relation} {tail}", ["entity", "score", "known from"], lines)
