import numpy as np
import pytest

from experiments import bench_passes
from jaxembed import KeyedVectors


def test_partners_are_nearest_in_the_reference_and_ranks_are_told_in_the_vectors(monkeypatch):
    monkeypatch.setattr(bench_passes, "FREQUENT", 0)
    words = ["a", "b", "c", "d"]
    reference = KeyedVectors(["d", "c", "b", "a", "e"], np.float32([[0, 1], [1, 3], [3, 1], [1, 0], [1, 0.01]]))
    pairs = bench_passes.partners(reference, words)
    assert pairs == {"a": "b", "b": "a", "c": "d", "d": "c"}  # e is no word of the slice
    assert bench_passes.mean_rank(reference, pairs) == pytest.approx((2 * 2 * 1 * 1) ** 0.25)


def test_a_slice_ends_at_the_first_text_that_fills_it():
    found = bench_passes.sentences("enwik8-small", 1500)
    assert sum(map(len, found)) >= 1500 > sum(map(len, found[:-1])) - 1000
    assert max(map(len, found)) <= 1000
