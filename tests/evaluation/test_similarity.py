"""Word similarity against scipy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from jaxembed.data.vocabulary import Vocabulary
from jaxembed.evaluation.similarity import _agreement, evaluate_similarity, pearson, similarity_task, spearman

WORDS = [f"w{i}" for i in range(60)]


def matrix(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((60, 8)).astype(np.float32)


def pairs(count: int = 100) -> list[tuple[str, str, float]]:
    random = np.random.default_rng(5)
    return [(f"w{a}", f"w{b}", float(score % 9)) for score, (a, b) in enumerate(random.integers(0, 60, (count, 2)))]


SOME = st.sampled_from([2, 3, 12])  # each new length is compiled
PAIR = st.tuples(st.integers(-3, 3), st.integers(0, 4))


@settings(deadline=None, max_examples=25)
@given(values=SOME.flatmap(lambda size: st.lists(PAIR, min_size=size, max_size=size)))
def test_rank_correlation_is_scipys_with_ties(values):
    x, y = jnp.array(values, jnp.float32).T
    if x.min() == x.max() or y.min() == y.max():
        assert np.isnan(spearman(x, y))
    else:
        assert float(spearman(x, y)) == pytest.approx(float(stats.spearmanr(x, y)[0]), abs=2e-6)
        assert float(pearson(x, y)) == pytest.approx(float(stats.pearsonr(x, y)[0]), abs=2e-6)


def test_similarity_is_scipys_of_float64_cosines():
    vectors, items = matrix().astype(np.float64), pairs()
    rows = np.array([[int(a[1:]), int(b[1:])] for a, b, _ in items])
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines, scores = (unit[rows[:, 0]] * unit[rows[:, 1]]).sum(1), [score for *_, score in items]
    found = evaluate_similarity((WORDS, matrix()), [*items, ("w1", "nowhere", 1.0)])
    assert found.spearman == pytest.approx(float(stats.spearmanr(cosines, scores)[0]), abs=1e-5)
    assert found.pearson == pytest.approx(float(stats.pearsonr(cosines, scores)[0]), abs=1e-5)
    assert (found.pairs, found.oov) == (len(items), 1)


def test_case_is_folded_onto_the_first_word_or_kept():
    keys, items = ["b", "A", "a", "c", "d"], [("a", "b", 1.0), ("A", "c", 2.0), ("B", "D", 3.0)]
    assert similarity_task(keys, items).rows.tolist() == [[1, 0], [1, 3], [0, 4]]
    exact = similarity_task(keys, items, case_insensitive=False)
    assert exact.rows.tolist() == [[2, 0], [1, 3]]
    assert exact.known.tolist() == [True, True, False]
    assert similarity_task(keys, items, restrict_vocab=4).known.tolist() == [True, True, False]


def test_words_may_come_as_a_list_a_mapping_or_a_vocabulary():
    index = {word: row for row, word in reversed(list(enumerate(WORDS)))}
    expected = similarity_task(WORDS, pairs()).rows
    for words in (index, Vocabulary(WORDS, np.arange(60)[::-1])):
        assert (similarity_task(words, pairs()).rows == expected).all()


@pytest.mark.parametrize("covered", [0, 1])
def test_too_few_pairs_give_nan(covered):
    found = evaluate_similarity((WORDS, matrix()), [("w1", "w2", 3.0)][:covered] + [("x", "y", 1.0)] * 2)
    assert np.isnan(found.spearman)
    assert np.isnan(found.pearson)
    assert (found.pairs, found.oov) == (covered, 2)


def test_equal_cosines_and_diverged_vectors_are_no_success():
    task = similarity_task(WORDS, pairs())
    assert np.isnan(task(np.ones((60, 8), np.float32)))
    assert np.isnan(task(np.full((60, 8), np.nan, np.float32)))


def test_a_task_runs_in_jit_and_over_seeds_without_compiling_again():
    task, matrices = similarity_task(WORDS, pairs()), jnp.stack([matrix(seed) for seed in range(3)])
    alone = [float(task(matrix(seed))) for seed in range(3)]
    np.testing.assert_allclose(jax.jit(jax.vmap(task))(matrices), alone, atol=1e-6)
    compiled = _agreement._cache_size()
    assert float(task(matrix(9))) != alone[0]
    assert _agreement._cache_size() == compiled


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_word_without_a_finite_vector_is_no_word(bad):
    spoilt, items = matrix(), pairs()
    spoilt[7, 2] = bad
    found = evaluate_similarity((WORDS, spoilt), items)
    kept = [pair for pair in items if "w7" not in pair[:2]]
    assert 0 < len(kept) < len(items)
    expected = evaluate_similarity((WORDS, matrix()), kept)
    assert (found.spearman, found.pearson) == pytest.approx((expected.spearman, expected.pearson), abs=1e-6)
    assert (found.pairs, found.oov) == (len(kept), len(items) - len(kept))
    nothing = evaluate_similarity((WORDS, np.full((60, 8), bad)), items)
    assert (nothing.pairs, nothing.oov) == (0, len(items))
    assert np.isnan(nothing.spearman)
