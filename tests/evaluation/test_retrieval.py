"""Retrieval against a full sort in float64, scipy's hypergeometric distribution, and scikit-learn where installed."""

import numpy as np
import pytest
from scipy import stats

from jaxembed.evaluation.retrieval import cross_retrieval, nearest_items, random_recall, retrieval

Q, N, D = 23, 41, 4
KS = (1, 3, 10)


def vectors(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, D)).astype(np.float32)


QUERIES, ITEMS = vectors(Q, 1), vectors(N, 2)
IDS = np.arange(Q) % 7, np.arange(N) % 8  # ids recur, and one has no query


def cosines(queries, items):
    a, b = (x.astype(np.float64) / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, items))
    return a @ b.T


def by_sorting(scores, relevant, ks):
    """Every figure from its definition; of equal scores the irrelevant come first."""
    hits, first, precision = {k: [] for k in ks}, [], []
    for row, right in zip(scores, relevant, strict=True):
        ranks = 1 + np.flatnonzero(right[np.lexsort((right, -row))])
        for k in ks:
            hits[k].append(ranks[0] <= k)
        first.append(1 / ranks[0])
        precision.append(np.mean([(place + 1) / rank for place, rank in enumerate(ranks)]))
    return {f"recall@{k}": np.mean(hits[k]) for k in ks} | {"mrr": np.mean(first), "map": np.mean(precision)}


@pytest.mark.parametrize("batch", [7, 1024])
def test_figures_are_those_of_a_full_sort(batch):
    relevant = IDS[0][:, None] == IDS[1][None]
    expected = by_sorting(cosines(QUERIES, ITEMS), relevant, KS)
    for given in (IDS, relevant, tuple(np.array([f"n{i}" for i in ids]) for ids in IDS), (IDS[0] << 40, IDS[1] << 40)):
        assert retrieval(QUERIES, ITEMS, given, ks=KS, batch=batch) == pytest.approx(expected, abs=1e-6)


def test_average_precision_is_that_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    relevant, scores = IDS[0][:, None] == IDS[1][None], cosines(QUERIES, ITEMS)
    expected = np.mean([metrics.average_precision_score(*row) for row in zip(relevant, scores, strict=True)])
    assert retrieval(QUERIES, ITEMS, IDS)["map"] == pytest.approx(expected, abs=1e-6)


def test_of_equal_scores_the_irrelevant_come_first():
    items = np.repeat(vectors(5, 3), [8, 8, 8, 8, 9], axis=0)  # whole groups of equal scores
    relevant = IDS[0][:, None] == IDS[1][None]
    distinct = np.repeat(cosines(QUERIES, items[[0, 8, 16, 24, 32]]), [8, 8, 8, 8, 9], axis=1)
    expected = by_sorting(distinct, relevant, KS)
    assert retrieval(QUERIES, items, IDS, ks=KS, batch=7) == pytest.approx(expected, abs=1e-6)


def test_a_collapsed_encoder_finds_nothing_and_a_perfect_one_all():
    ids = np.arange(N)
    found = cross_retrieval(np.ones((N, D)), np.ones((N, D)), ids, ks=(1, 40, 41, 99))
    for way in ("a_to_b", "b_to_a"):
        figures = [found[f"{way}/{figure}"] for figure in ("recall@1", "recall@40", "recall@41", "recall@99")]
        assert figures == [0, 0, 1, 1]
        assert (found[f"{way}/mrr"], found[f"{way}/map"]) == pytest.approx((1 / N, 1 / N))
    assert set(cross_retrieval(ITEMS, 3 * ITEMS, ids).values()) == {1.0}


def test_both_ways_are_two_retrievals():
    a, b, ids = ITEMS, vectors(N, 4), np.arange(N) // 3
    found = cross_retrieval(a, b, ids, ks=KS)
    relevant = ids[:, None] == ids[None]
    for way, scores in (("a_to_b", cosines(a, b)), ("b_to_a", cosines(b, a))):
        expected = by_sorting(scores, relevant, KS)
        assert {figure: found[f"{way}/{figure}"] for figure in expected} == pytest.approx(expected, abs=1e-6)
    assert len(found) == 2 * (len(KS) + 2)


def test_a_picture_with_several_captions_is_asked_once_and_found_once():
    pictures = np.repeat(np.arange(12), 5)[np.random.default_rng(0).permutation(60)]
    perfect = vectors(12, 5)[pictures]
    found = cross_retrieval(perfect, perfect, np.arange(60), groups=pictures, names=("image", "text"))
    # The five captions of a picture lie at one place: all of them are right, so that they fill the first five.
    assert {found[f"{way}/recall@1"] for way in ("image_to_text", "text_to_image")} == {1.0}
    assert found["image_to_text/map"] == found["text_to_image/mrr"] == pytest.approx(1)


def test_groups_are_a_retrieval_among_distinct_things():
    rng = np.random.default_rng(6)
    pictures, ids = rng.integers(0, 9, N), rng.integers(0, 25, N)
    distinct, first = np.unique(pictures, return_index=True)
    a, b = vectors(len(distinct), 7)[np.searchsorted(distinct, pictures)], vectors(N, 8)
    # A text is right for a picture where the picture has it, or another of the same id.
    relevant = np.array([[ids[j] in ids[pictures == one] for j in range(N)] for one in distinct])
    found = cross_retrieval(a, b, ids, groups=[f"p{one}" for one in pictures], ks=KS)
    ways = (("a_to_b", cosines(a[first], b), relevant), ("b_to_a", cosines(b, a[first]), relevant.T))
    for way, scores, right in ways:
        expected = by_sorting(scores, right, KS)
        assert {figure: found[f"{way}/{figure}"] for figure in expected} == pytest.approx(expected, abs=1e-6)
    chance = [stats.hypergeom(N, row.sum(), 3).sf(0) for row in relevant]
    assert random_recall(ids, ids, (3,), groups=pictures)["recall@3"] == pytest.approx(np.mean(chance), abs=1e-12)
    with pytest.raises(ValueError, match="expected a group for each of the 41 ids, found 40"):
        cross_retrieval(a, b, ids, groups=pictures[1:])


def test_groups_of_one_are_as_none():
    a, b, ids = ITEMS, vectors(N, 4), np.arange(N) // 3
    assert cross_retrieval(a, b, ids, groups=np.arange(N)) == cross_retrieval(a, b, ids)
    assert random_recall(ids, ids, groups=np.arange(N)) == random_recall(ids, ids)


def test_random_recall_is_hypergeometric():
    queries, items = np.array([0, 1, 2, 9]), np.repeat([0, 1, 2, 3], [1, 4, 20, 5])
    expected = lambda k: np.mean([stats.hypergeom(30, relevant, k).sf(0) for relevant in (1, 4, 20, 0)])
    found = random_recall(queries, items, (1, 7, 11, 30, 50))
    assert found == pytest.approx({f"recall@{k}": expected(min(k, 30)) for k in (1, 7, 11, 30, 50)}, abs=1e-12)


def test_random_vectors_recall_what_chance_does():
    found = [retrieval(vectors(Q, seed), vectors(N, 99 - seed), IDS, ks=KS) for seed in range(40)]
    for figure, expected in random_recall(*IDS, KS).items():
        values = [figures[figure] for figures in found]
        assert np.mean(values) == pytest.approx(expected, abs=4 * np.std(values) / np.sqrt(len(values)))


def test_nearest_items_are_those_of_a_full_sort():
    expected = np.argsort(-cosines(QUERIES, ITEMS), axis=1)
    np.testing.assert_array_equal(nearest_items(QUERIES, ITEMS, 6), expected[:, :6])
    with pytest.raises(ValueError, match="k = 42 items were wanted of 41"):
        nearest_items(QUERIES, ITEMS, 42)


def test_bad_input_is_told():
    relevant = IDS[0][:, None] == IDS[1][None]
    lonely = np.where(np.arange(Q) == 5, 99, IDS[0])
    for arguments, settings, message in (
        ((QUERIES * np.nan, ITEMS, IDS), {}, "queries: 23 of 23 rows hold NaN"),
        ((QUERIES[:, :2], ITEMS, IDS), {}, "queries have 2 dimensions where 4"),
        ((QUERIES, ITEMS, IDS[::-1]), {}, "41 and 23 ids for 23 queries and 41 items"),
        ((QUERIES, ITEMS, (IDS[0] / 2, IDS[1])), {}, "ids must be integers or names"),
        ((QUERIES, ITEMS, relevant.T), {}, r"a bool matrix \(23, 41\)"),
        ((QUERIES, ITEMS, relevant.astype(int)), {}, r"a bool matrix \(23, 41\).*int64"),
        ((QUERIES, ITEMS, (lonely, IDS[1])), {}, r"1 queries have no relevant item \(first: row 5\)"),
        ((QUERIES, ITEMS, relevant & (np.arange(Q) < 20)[:, None]), {}, "3 queries have no relevant item"),
        ((QUERIES, ITEMS, IDS), {"ks": (0, 1)}, "ks must be"),
        ((QUERIES, ITEMS, IDS), {"ks": ()}, "ks must be"),
        ((QUERIES, ITEMS, IDS), {"batch": 0}, "batch must be"),
    ):
        with pytest.raises(ValueError, match=message):
            retrieval(*arguments, **settings)
