import numpy as np
import pytest
from sklearn.metrics import log_loss, roc_auc_score

from jaxembed.evaluation import top_k
from jaxembed.evaluation.top_k import Lists, best_unseen, by_vectors, click_figures, ranking


def lists(rows):
    return Lists(np.concatenate([[0], np.cumsum([len(row) for row in rows])]), np.concatenate(rows).astype(np.int32))


def slow(scores, wanted, seen, candidates, k):
    """Recall, nDCG and reciprocal rank of one user, by sorting."""
    able = [i for i in range(len(scores)) if candidates[i] and i not in seen]
    order = sorted(able, key=lambda i: (-scores[i], i))
    hits = [i in wanted for i in order[:k]]
    gain = sum(hit / np.log2(place + 2) for place, hit in enumerate(hits))
    best = sum(1 / np.log2(place + 2) for place in range(min(k, len(wanted))))
    ranks = []
    for item in set(wanted) & set(able):
        higher, equal = (sum(op(scores[i], scores[item]) for i in able) for op in (np.greater, np.equal))
        ranks.append(1 + higher + (equal - 1) / 2)
    return sum(hits) / len(wanted), gain / best, 1 / min(ranks) if ranks else 0.0, set(order[:k])


@pytest.mark.parametrize(("k", "ties"), [(1, False), (7, False), (7, True), (40, False)])
def test_it_equals_a_slow_form(k, ties):
    rng = np.random.default_rng(k)
    users, items = 23, 40
    of_users, of_items = rng.normal(size=(users, 5)), rng.normal(size=(items, 5))
    if ties:
        of_users, of_items = np.round(of_users), np.round(of_items)
    drawn = [rng.permutation(items) for _ in range(users)]
    wanted = [row[: rng.integers(1, 9)] for row in drawn]
    seen = [row[9 : 9 + rng.integers(0, 12)] for row in drawn]
    candidates = rng.random(items) < 0.8
    chosen = rng.permutation(users)[:17]
    found = ranking(by_vectors(of_users, of_items), chosen, lists(wanted), lists(seen), candidates, k, chunk=5)
    scores = (of_users.astype(np.float32) @ of_items.T.astype(np.float32)).round(4)
    expected = [slow(scores[u], wanted[u], seen[u], candidates, k) for u in chosen]
    for place, values in enumerate(found[:3]):
        np.testing.assert_allclose(values, [row[place] for row in expected], atol=1e-5)
    assert found.coverage == pytest.approx(len(set().union(*(row[3] for row in expected))) / candidates.sum())
    few = np.arange(17) < 3
    assert found.means(k, few)[f"recall@{k}"] == pytest.approx(np.mean([row[0] for row in expected[:3]]))


def test_what_cannot_be_ranked_is_told():
    score, one, none = by_vectors(np.ones((2, 1)), np.ones((3, 1))), lists([[0], [1]]), lists([[0], []])
    able = np.ones(3, bool)
    with pytest.raises(ValueError, match="no users"):
        ranking(score, np.zeros(0, int), one, none, able)
    with pytest.raises(ValueError, match="k must be from 1 to the 3 items, not 4"):
        ranking(score, np.arange(2), one, none, able, k=4)
    with pytest.raises(ValueError, match="user 1 wants nothing"):
        ranking(score, np.arange(2), none, one, able, k=1)


def test_recommendations_leave_out_what_is_seen():
    scores = np.array([3.0, 9.0, -np.inf, 4.0, 4.0])
    assert best_unseen(scores, np.array([1]), 2) == [(3, 4.0), (4, 4.0)]
    assert [row for row, _ in best_unseen(scores, np.array([], int), 9)] == [1, 3, 4, 0]
    assert [row for row, _ in best_unseen(np.ones(50), np.array([0]), 3)] == [1, 2, 3]  # of equals the first


def test_memory_is_bounded_where_there_are_many_items(monkeypatch):
    asked, items = [], 50
    score = lambda rows: asked.append(len(rows)) or np.tile(np.arange(items, dtype=np.float32), (len(rows), 1))
    rows = lists([[i] for i in range(20)])
    found = [ranking(score, np.arange(20), rows, lists([[]] * 20), np.ones(items, bool), 3)]
    monkeypatch.setattr(top_k, "_BYTES", 4 * items * 7)
    found.append(ranking(score, np.arange(20), rows, lists([[]] * 20), np.ones(items, bool), 3))
    assert asked == [20, 7, 7, 7]
    np.testing.assert_array_equal(*(one.reciprocal_rank for one in found))


@pytest.mark.parametrize("digits", [8, 1])
def test_clicks_are_judged_as_scikit_learn_does(digits):
    rng = np.random.default_rng(0)
    labels = rng.random(500) < 0.3
    logits = np.round(rng.normal(size=500) + labels, digits)  # with one digit, many are equal
    found = click_figures(logits, labels.astype(int))
    assert found["auc"] == pytest.approx(roc_auc_score(labels, logits), abs=1e-12)
    assert found["log_loss"] == pytest.approx(log_loss(labels, 1 / (1 + np.exp(-logits))), abs=1e-9)


def test_clicks_that_say_nothing_are_told():
    with pytest.raises(ValueError, match="all labels are equal"):
        click_figures(np.zeros(3), np.ones(3))
    with pytest.raises(ValueError, match="not finite"):
        click_figures(np.array([0, np.nan]), np.array([0, 1]))
    with pytest.raises(ValueError, match="labels of 0 and 1"):
        click_figures(np.zeros(2), np.array([0, 2]))
