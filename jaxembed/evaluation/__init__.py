"""Vectors to figures: word similarity, analogies, nearest neighbours; kNN, probes, retrieval, STS and geometry."""

from jaxembed.evaluation.analogy import Analogies, AnalogyTask, Question, Tally, analogy_task, evaluate_analogies
from jaxembed.evaluation.benchmarks import (
    PAIRS,
    QUESTIONS,
    Pair,
    benchmark_tasks,
    evaluate,
    load_pairs,
    load_questions,
    select,
)
from jaxembed.evaluation.geometry import alignment, collapsed, dimension_std, effective_rank, geometry, uniformity
from jaxembed.evaluation.knn import knn_accuracy, knn_predict
from jaxembed.evaluation.neighbours import nearest, neighbours
from jaxembed.evaluation.probe import SIMCLR_L2, LinearProbe, cross_probe, fit_probe, linear_probe
from jaxembed.evaluation.retrieval import cross_retrieval, nearest_items, random_recall, retrieval
from jaxembed.evaluation.similarity import Similarity, SimilarityTask, evaluate_similarity, similarity_task
from jaxembed.evaluation.sts import sts_spearman

__all__ = [
    "PAIRS",
    "QUESTIONS",
    "SIMCLR_L2",
    "Analogies",
    "AnalogyTask",
    "LinearProbe",
    "Pair",
    "Question",
    "Similarity",
    "SimilarityTask",
    "Tally",
    "alignment",
    "analogy_task",
    "benchmark_tasks",
    "collapsed",
    "cross_probe",
    "cross_retrieval",
    "dimension_std",
    "effective_rank",
    "evaluate",
    "evaluate_analogies",
    "evaluate_similarity",
    "fit_probe",
    "geometry",
    "knn_accuracy",
    "knn_predict",
    "linear_probe",
    "load_pairs",
    "load_questions",
    "nearest",
    "nearest_items",
    "neighbours",
    "random_recall",
    "retrieval",
    "select",
    "similarity_task",
    "sts_spearman",
    "uniformity",
]
