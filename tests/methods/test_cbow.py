import numpy as np
import pytest

from jaxembed.methods.cbow import CBOW
from jaxembed.objectives import PAIRWISE, pairwise

from .word_reference import cbow_share, cbow_step, check_step, corpus_of, pull_matrix

SMALL = {"vector_size": 6, "window": 3, "block": 8, "tile": 4, "step_tokens": 32, "shared_negatives": 5, "sample": 0.0}


@pytest.mark.parametrize("name", PAIRWISE)
def test_a_step_equals_loops_in_float64(name):
    check_step(CBOW(objective=pairwise(name), negative=3, **SMALL), name, cbow_step)


def test_a_step_with_sums_for_means():
    check_step(CBOW(negative=3, cbow_mean=False, **SMALL), "negative_sampling", cbow_step)


@pytest.mark.parametrize(("window", "lengths", "shard_tokens"), [(3, [23], 1 << 20), (2, [5, 1, 0, 9, 2, 8], 13)])
def test_every_neighbour_gets_its_share_of_the_gradient(window, lengths, shard_tokens):
    n = sum(lengths)
    places = np.split(np.arange(n), np.cumsum(lengths)[:-1])
    method = CBOW(
        vector_size=n,
        window=window,
        block=8,
        tile=4,
        halo=window,
        step_tokens=16,
        sample=0,
        negative=1e-9,
        shard_tokens=shard_tokens,
    )
    piece = -(-n // -(-n // shard_tokens))
    expected = np.zeros((n, n))
    for document in places:
        for i in document:
            for j in document:
                if 0 < abs(i - j) <= window and i // piece == j // piece:
                    expected[i, j] = cbow_share(window, abs(i - j))
    total = expected.sum(1, keepdims=True)
    expected = np.divide(expected, total, out=np.zeros_like(expected), where=total > 0)
    pull, weight = pull_matrix(method, corpus_of(places, n), "out")
    np.testing.assert_allclose(pull, expected, atol=1e-5)  # so each row of the gradient of a mean sums to one
    assert weight == (total > 0).sum()
