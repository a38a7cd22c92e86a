"""Objectives: pure functions of scores. Any objective of a family serves every method of that family."""

import difflib

from jaxembed.objectives.pairwise import BPR, HierarchicalSoftmax, InfoNCE, Logistic, Margin, Softmax
from jaxembed.objectives.regression import glove_weight, weighted_squares

PAIRWISE = {
    "negative_sampling": Logistic,
    "infonce": InfoNCE,
    "softmax": Softmax,
    "hierarchical_softmax": HierarchicalSoftmax,
    "margin": Margin,
    "bpr": BPR,
}

__all__ = [
    "BPR", "PAIRWISE", "HierarchicalSoftmax", "InfoNCE", "Logistic", "Margin", "Softmax",
    "glove_weight", "pairwise", "weighted_squares",
]  # fmt: skip


def pairwise(name: str, **settings):
    """The pairwise objective registered as `name`, with its settings: `pairwise("infonce", temperature=0.1)`.

    Raises ValueError that lists the names when `name` is none of them.
    """
    if name not in PAIRWISE:
        near = difflib.get_close_matches(name, PAIRWISE, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise ValueError(f"unknown objective {name!r}: {hint}the objectives are {', '.join(PAIRWISE)}")
    return PAIRWISE[name](**settings)
