import numpy as np

from jaxembed.sampling.corruption import CORRUPTIONS, bernoulli, frequency

# Relation 0: one head has three tails, one has one; relation 1: three heads share a tail.
FACTS = np.array([(0, 0, 1), (0, 0, 2), (0, 0, 3), (4, 0, 1), (1, 1, 5), (2, 1, 5), (3, 1, 5)])


def test_bernoulli_weighs_sides_by_how_many_answers_they_have():
    tails, heads = bernoulli(FACTS, 6, 2).weights
    tails_a_head, heads_a_tail = 4 / 2, 4 / 3  # of relation 0
    chance = tails_a_head / (tails_a_head + heads_a_tail)  # of corrupting the head (Wang et al. 2014)
    np.testing.assert_allclose([tails[0], heads[0]], [2 * (1 - chance), 2 * chance])
    np.testing.assert_allclose([tails[1], heads[1]], [2 * 3 / 4, 2 * 1 / 4])


def test_frequency_follows_the_facts():
    np.testing.assert_allclose(frequency(FACTS, 6, 2).entities ** (4 / 3), [3, 3, 2, 2, 1, 3])


def test_each_keeps_the_weight_of_a_fact():
    for corrupted in (make(FACTS, 6, 3) for make in CORRUPTIONS.values()):  # relation 2 has no facts
        assert corrupted.entities.shape == (6,)
        np.testing.assert_allclose(corrupted.weights[:, :2].sum(0), 2)
        assert np.isfinite(corrupted.weights).all()
