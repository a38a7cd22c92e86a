import math
from itertools import permutations

import numpy as np
import pytest
from scipy import stats

from jaxembed.report.significance import estimate, holm, paired_p, standings


def test_the_interval_is_students():
    values = [0.31, 0.28, 0.35, 0.30]
    found = estimate(values)
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    assert found.mean == pytest.approx(np.mean(values))
    assert (found.mean - found.half_width, found.mean + found.half_width) == pytest.approx((low, high))
    assert math.isnan(estimate([0.3]).half_width)
    assert estimate([]).seeds == 0


@pytest.mark.parametrize("n", [2, 3, 10])
def test_the_test_is_the_paired_one_of_scipy(n):
    rng = np.random.default_rng(n)
    seeds = rng.normal(size=n)  # what a seed does to both, which pairing takes out
    first, second = seeds + 0.1 * rng.normal(size=n), seeds + 0.1 * rng.normal(size=n) + 0.1
    assert paired_p(first, second) == pytest.approx(stats.ttest_rel(first, second).pvalue)
    assert paired_p(second, first) == paired_p(first, second)
    if n == 10:
        assert paired_p(first, second) < 0.05 < stats.ttest_ind(first, second).pvalue


def test_differences_without_variance():
    assert paired_p([0.1, 0.7, 0.3], [0.1, 0.7, 0.3]) == 1
    assert paired_p([1.0, 2.0, 3.0], [2.0, 3.0, 4.0]) == 0
    assert paired_p([0.1, 0.2, 0.3], [0.4, 0.5, 0.6]) == 0  # equal but for rounding: 0.6 - 0.3 != 0.5 - 0.2
    assert paired_p([0.0, 0.0], [0.0, 0.0]) == 1
    assert math.isnan(paired_p([0.1], [0.2]))
    assert math.isnan(paired_p([], []))


def test_holm_by_hand():
    # Sorted .005 .01 .03 .04 times 4 3 2 1: .02 .03 .06 .04, and none less than the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.04]) == [0.04]
    assert holm([]) == []
    one, none, two = holm([0.01, math.nan, 0.02])
    assert (one, two) == pytest.approx((0.02, 0.02))
    assert math.isnan(none)


def test_holm_lies_between_raw_and_bonferroni_in_any_order():
    p = [0.2, 0.001, 0.03, 0.02]
    corrected = dict(zip(p, holm(p), strict=True))
    assert all(raw <= after <= min(1, raw * len(p)) for raw, after in corrected.items())
    for order in permutations(p):
        assert holm(order) == [corrected[raw] for raw in order]


VALUES = {
    "best": {1: 0.70, 2: 0.75, 3: 0.66, 4: 0.71, 5: 0.70},
    "worse": {1: 0.65, 2: 0.69, 3: 0.61, 4: 0.66, 5: 0.64},
    "near": {1: 0.72, 2: 0.70, 3: 0.65, 4: 0.70, 5: 0.71},
    "far": {1: 0.20, 2: 0.22, 3: 0.26, 4: 0.21, 5: 0.22},
}


def test_each_is_compared_with_the_best_by_holm():
    found = standings(VALUES)
    others = ["worse", "near", "far"]
    raw = [stats.ttest_rel(list(VALUES["best"].values()), list(VALUES[name].values())).pvalue for name in others]
    assert [found[name].p for name in others] == pytest.approx(holm(raw))
    assert [name for name in VALUES if found[name].best] == ["best"]
    assert [name for name in VALUES if found[name].level_with_best] == ["near"]
    assert {found[name].pairs for name in VALUES} == {5}


def test_lower_is_better_mirrors():
    mirrored = {name: {seed: -value for seed, value in mine.items()} for name, mine in VALUES.items()}
    found, expected = standings(mirrored, lower_is_better=True), standings(VALUES)
    assert {name: (s.best, s.level_with_best) for name, s in found.items()} == {
        name: (s.best, s.level_with_best) for name, s in expected.items()
    }
    assert standings(VALUES, lower_is_better=True)["far"].best


def test_pairs_are_those_of_the_same_seed():
    shuffled = {**VALUES, "worse": dict(reversed(VALUES["worse"].items()))}
    assert standings(shuffled) == standings(VALUES)
    part = standings({**VALUES, "far": {9: 0.1, 1: 0.2, 2: 0.22}})["far"]
    assert part.pairs == 2
    assert not part.level_with_best
    few = {name: {seed: mine[seed] for seed in (1, 2, 3, 4)} for name, mine in VALUES.items()}
    assert not any(standing.level_with_best for standing in standings(few).values())  # whatever p is


def test_where_there_is_nothing_to_test():
    single = standings({"a": {1: 0.5}, "b": {1: 0.4}, "c": {}})
    assert (single["a"].best, single["b"].best, single["b"].level_with_best) == (True, False, False)
    assert math.isnan(single["b"].p)
    assert "c" not in single
    assert standings({"alone": {1: 0.5, 2: 0.6}}) == {}
    tied = standings({"a": {1: 0.5}, "b": {1: 0.5}})
    assert tied["a"].best
    assert tied["b"].best


def test_who_is_ahead_on_the_shared_seeds_is_not_worse():
    values = {"lucky": {1: 0.5, 2: 0.5, 3: 0.5, 4: 0.99}, "steady": {1: 0.6, 2: 0.601, 3: 0.602}}
    found = standings(values)
    assert found["lucky"].best
    assert stats.ttest_rel([0.5] * 3, list(values["steady"].values())).pvalue < 0.001
    assert found["steady"].p == 1
