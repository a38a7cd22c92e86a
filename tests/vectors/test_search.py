"""Searches that gensim has under the same names, and vectors that are not finite."""

import numpy as np
import pytest
from gensim.models import KeyedVectors as Gensim
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance

from jaxembed.vectors import KeyedVectors


@pytest.fixture(scope="module")
def pair() -> tuple[KeyedVectors, Gensim]:
    vectors = np.random.default_rng(0).standard_normal((60, 8)).astype(np.float32)
    keys = [f"w{i}" for i in range(60)]
    theirs = Gensim(8)
    theirs.add_vectors(keys, vectors)
    return KeyedVectors(keys, vectors), theirs


def test_distances(pair):
    ours, theirs = pair
    for call in (
        lambda kv: kv.distances("w1"),
        lambda kv: kv.distances("w1", ["w3", "w2"]),
        lambda kv: kv.distances(np.arange(8.0), ("w5",)),
        lambda kv: kv.cosine_similarities(np.arange(8.0), np.eye(8)),
    ):
        np.testing.assert_allclose(call(ours), call(theirs), atol=2e-6)


def test_what_is_nearer(pair):
    ours, theirs = pair
    for one, other in (("w1", "w2"), ("w7", "w30"), ("w4", "w4")):
        assert ours.closer_than(one, other) == theirs.closer_than(one, other)
        assert ours.rank(one, other) == theirs.rank(one, other)
    keys = ["w9", "w33", "w2", "w41"]
    assert ours.most_similar_to_given("w5", keys) == theirs.most_similar_to_given("w5", keys)
    for topn in (3, 10):
        found = ours.relative_cosine_similarity("w5", "w6", topn)
        assert found == pytest.approx(theirs.relative_cosine_similarity("w5", "w6", topn), abs=1e-5)
    with pytest.raises(ValueError, match="at least one key"):
        ours.most_similar_to_given("w5", [])
    with pytest.raises(ValueError, match="topn must be at least 1"):
        ours.relative_cosine_similarity("w5", "w6", 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_vectors_that_are_not_finite_are_never_found(pair, bad):
    good, _ = pair
    with_bad = KeyedVectors(good.index_to_key, good.vectors.copy())
    with_bad.add_vectors(["bad", "worse"], np.array([[bad] + [0] * 7, [bad] * 8]))
    for call in (
        lambda kv: kv.most_similar("w1", topn=100),
        lambda kv: kv.most_similar(["w1", "w2"], ["w3"], topn=5),
        lambda kv: kv.most_similar_cosmul(["w1", "w2"], ["w3"], topn=100),
        lambda kv: kv.similar_by_vector(np.ones(8)),
        lambda kv: kv.closer_than("w1", "w2"),
        lambda kv: kv.rank("w1", "w2"),
    ):
        assert call(with_bad) == call(good)
    words = ["w1", "w2", "w3", "w4"]
    assert with_bad.doesnt_match(["bad", *words]) == good.doesnt_match(words)
    assert with_bad.most_similar_to_given("w1", ["bad", "w2", "w3"]) == good.most_similar_to_given("w1", ["w2", "w3"])
    assert with_bad.n_similarity(["bad", "w1"], ["w2"]) == good.n_similarity(["w1"], ["w2"])
    for call in (with_bad.most_similar, with_bad.most_similar_cosmul, lambda key: with_bad.most_similar(["w1", key])):
        with pytest.raises(ValueError, match="not finite"):
            call("worse")


def test_the_distance_of_documents_on_a_line_is_that_of_their_distributions():
    """Where words lie on a line, the cheapest transport has a formula of its own: the area between the distributions."""
    rng = np.random.default_rng(0)
    places = rng.standard_normal(12)
    direction = np.array([0.6, 0.0, 0.8])
    kv = KeyedVectors([f"w{i}" for i in range(12)], places[:, None] * direction)
    for _ in range(20):
        one, other = ([f"w{i}" for i in rng.integers(12, size=size)] for size in rng.integers(1, 15, size=2))
        expected = wasserstein_distance(*([places[int(word[1:])] for word in words] for words in (one, other)))
        assert kv.wmdistance(one, other, norm=False) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("norm", [True, False])
def test_the_distance_of_documents_of_as_many_words_is_that_of_the_best_assignment(pair, norm):
    kv, _ = pair
    rng = np.random.default_rng(1)
    for size in (1, 2, 7, 25):
        one, other = (rng.choice(60, size, replace=False) for _ in range(2))
        vectors = kv.get_normed_vectors() if norm else kv.vectors
        costs = cdist(vectors[one], vectors[other])
        expected = costs[linear_sum_assignment(costs)].mean()
        documents = [[f"w{i}" for i in rows] for rows in (one, other)]
        assert kv.wmdistance(*documents, norm=norm) == pytest.approx(expected, abs=1e-6)


def test_the_distance_of_documents_leaves_out_what_has_no_vector(pair):
    kv = KeyedVectors(pair[0].index_to_key, pair[0].vectors.copy())
    kv["bad"] = np.full(8, np.nan)
    one, other = ["w1", "w2", "w2"], ["w3", "w2"]
    found = kv.wmdistance(one, other)
    assert found > 0
    assert kv.wmdistance([*one, "unknown"], ["bad", *other]) == found
    assert kv.wmdistance(other, one) == pytest.approx(found, abs=1e-9)
    assert kv.wmdistance(one, [*reversed(one)]) == pytest.approx(0, abs=1e-9)
    assert kv.wmdistance(one, one * 2) == pytest.approx(0, abs=1e-9)
    assert kv.wmdistance(one, ["bad", "unknown"]) == kv.wmdistance([], one) == float("inf")
