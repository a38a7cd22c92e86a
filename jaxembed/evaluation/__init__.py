"""Vectors to figures: word similarity, analogies, nearest neighbours."""

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
from jaxembed.evaluation.neighbours import nearest, neighbours
from jaxembed.evaluation.similarity import Similarity, SimilarityTask, evaluate_similarity, similarity_task

__all__ = [
    "PAIRS",
    "QUESTIONS",
    "Analogies",
    "AnalogyTask",
    "Pair",
    "Question",
    "Similarity",
    "SimilarityTask",
    "Tally",
    "analogy_task",
    "benchmark_tasks",
    "evaluate",
    "evaluate_analogies",
    "evaluate_similarity",
    "load_pairs",
    "load_questions",
    "nearest",
    "neighbours",
    "select",
    "similarity_task",
]
