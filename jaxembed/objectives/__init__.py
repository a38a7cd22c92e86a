"""Objectives: pure functions of scores. Any objective of a family serves every method of that family."""

from collections.abc import Mapping
from typing import Any

from jaxembed.naming import unknown
from jaxembed.objectives.chunks import by_chunks
from jaxembed.objectives.decorrelation import BarlowTwinsLoss, VICRegLoss
from jaxembed.objectives.in_batch import Same, contrast, in_batch, two_towers, two_views
from jaxembed.objectives.large_batch import cached, ring_contrast
from jaxembed.objectives.pairwise import (
    BPR,
    AlignmentUniformity,
    CosineContrastive,
    DecoupledContrastive,
    HierarchicalSoftmax,
    InfoNCE,
    Logistic,
    Margin,
    Softmax,
    Spectral,
    Triplet,
)
from jaxembed.objectives.prediction import Regression
from jaxembed.objectives.regression import glove_weight, weighted_squares

PAIRWISE = {
    "negative_sampling": Logistic,
    "infonce": InfoNCE,
    "softmax": Softmax,
    "hierarchical_softmax": HierarchicalSoftmax,
    "margin": Margin,
    "bpr": BPR,
    "dcl": DecoupledContrastive,
    "triplet": Triplet,
    "spectral": Spectral,
    "align_uniform": AlignmentUniformity,
    "cosine_contrastive": CosineContrastive,
}
DECORRELATION = {"vicreg": VICRegLoss, "barlow_twins": BarlowTwinsLoss}
PREDICTION = {"regression": Regression}
FAMILIES = {"pairwise": PAIRWISE, "decorrelation": DECORRELATION, "prediction": PREDICTION}

__all__ = [
    "BPR", "DECORRELATION", "FAMILIES", "PAIRWISE", "PREDICTION", "AlignmentUniformity", "BarlowTwinsLoss", "CosineContrastive",
    "DecoupledContrastive", "HierarchicalSoftmax", "InfoNCE", "Logistic", "Margin", "Regression", "Same", "Softmax",
    "Spectral", "Triplet", "VICRegLoss", "by_chunks", "cached", "contrast", "decorrelation", "family_of",
    "glove_weight", "in_batch", "pairwise", "prediction", "ring_contrast", "two_towers", "two_views", "weighted_squares",
]  # fmt: skip


def pairwise(name: str, **settings):
    """The pairwise objective registered as `name`, with its settings: `pairwise("infonce", temperature=0.1)`.

    Raises ValueError that lists the names when `name` is none of them.
    """
    return _named(PAIRWISE, name)(**settings)


def decorrelation(name: str, **settings):
    """The objective of two views' dimensions registered as `name`: `decorrelation("vicreg", covariance=1.0)`.

    Raises ValueError that lists the names when `name` is none of them.
    """
    return _named(DECORRELATION, name)(**settings)


def prediction(name: str, **settings):
    """The objective of predictions of vectors registered as `name`: `prediction("regression")`.

    Raises ValueError that lists the names when `name` is none of them.
    """
    return _named(PREDICTION, name)(**settings)


def _named(family: Mapping[str, Any], name: str):
    if name not in family:
        raise unknown("objective", name, family)
    return family[name]


def family_of(objective: Any) -> Mapping[str, Any] | None:
    """The family that an objective is of, by name, so that it can be exchanged for another; None for what is no objective."""
    return next((family for family in FAMILIES.values() if type(objective) in family.values()), None)
