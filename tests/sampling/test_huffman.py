import heapq

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxembed.sampling.huffman import huffman_paths


def optimal_length(counts):
    """Total length of an optimal code: every merge adds one turn to all that lies under it."""
    heap, total = [int(c) for c in counts], 0
    heapq.heapify(heap)
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        total += merged
        heapq.heappush(heap, merged)
    return total


COUNTS = st.lists(st.integers(1, 10_000), min_size=2, max_size=60)


@settings(max_examples=100, deadline=None)
@given(COUNTS)
def test_the_code_is_optimal_and_a_tree(counts):
    paths = huffman_paths(np.array(counts))
    present = paths.turns != 0
    assert (present.sum(1) * np.array(counts)).sum() == optimal_length(counts)
    assert present.any(0).all()  # padded to the longest path and no farther
    assert set(np.unique(paths.turns)) <= {-1, 0, 1}

    # Every inner node has two branches, each word ends a branch of its own, and the probabilities of the words, worked
    # out from random scores of the nodes, add up to one.
    assert set(np.unique(paths.nodes[present])) == set(range(len(counts) - 1))
    scores = np.random.default_rng(0).normal(0, 3, len(counts) - 1)
    turn_probability = 1 / (1 + np.exp(-paths.turns * scores[paths.nodes]))
    probability = np.where(present, turn_probability, 1.0).prod(1)
    assert probability.sum() == pytest.approx(1, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(COUNTS)
def test_no_code_begins_another(counts):
    paths = huffman_paths(np.array(counts))
    steps = [
        {(int(node), int(turn)) for node, turn in zip(nodes, turns, strict=True) if turn}
        for nodes, turns in zip(*paths, strict=True)
    ]
    for i, one in enumerate(steps):
        for other in steps[:i]:
            # They share the nodes down to the one where they part, and there turn to different sides.
            parted = {node for node, _ in one - other} & {node for node, _ in other - one}
            assert len(parted) == 1
            assert not one <= other
            assert not other <= one


def test_frequent_words_have_short_paths():
    lengths = (huffman_paths(np.array([1000, 500, 250, 120, 60, 30, 1, 1])).turns != 0).sum(1)
    assert list(lengths) == [1, 2, 3, 4, 5, 6, 7, 7]


def test_one_word_leaves_nothing_to_decide():
    with pytest.raises(ValueError, match="at least two words"):
        huffman_paths(np.array([5]))
