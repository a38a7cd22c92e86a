"""Huffman trees over a vocabulary: the paths that hierarchical softmax walks."""

import heapq
from typing import NamedTuple

import numpy as np


class Paths(NamedTuple):
    """For each word the inner nodes from the root to it, padded to the longest path.

    nodes: int32 `[V, depth]`, inner nodes 0..V-2; padding is 0.
    turns: int8 `[V, depth]`: 1 left, -1 right, 0 padding.
    """

    nodes: np.ndarray
    turns: np.ndarray


def huffman_paths(counts: np.ndarray) -> Paths:
    """The Huffman code of `counts [V]`: frequent words have short paths (Mikolov et al. 2013b, section 2.1).

    Raises ValueError for fewer than two words, which leave nothing to decide.
    """
    size = len(counts)
    if size < 2:
        raise ValueError("hierarchical softmax needs a vocabulary of at least two words: lower min_count or add text")
    heap = [(int(count), index) for index, count in enumerate(counts)]
    heapq.heapify(heap)
    parent = np.zeros(2 * size - 1, np.int64)
    turn = np.zeros(2 * size - 1, np.int8)
    for node in range(size, 2 * size - 1):
        (left_count, left), (right_count, right) = heapq.heappop(heap), heapq.heappop(heap)
        parent[left] = parent[right] = node
        turn[left], turn[right] = 1, -1
        heapq.heappush(heap, (left_count + right_count, node))
    root = 2 * size - 2
    # All words climb together, a level at a time; row k of a column holds what stands k steps above its word.
    at, nodes, turns = np.arange(size), [], []
    while (at != root).any():
        climbing = at != root
        turns.append(np.where(climbing, turn[at], 0))
        at = np.where(climbing, parent[at], root)
        nodes.append(np.where(climbing, at - size, 0))
    return Paths(np.stack(nodes, 1).astype(np.int32), np.stack(turns, 1).astype(np.int8))
