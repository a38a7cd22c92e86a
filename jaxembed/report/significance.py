"""Means with intervals over seeds, and paired tests of each contender against the best."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

#: Below this corrected p-value a contender counts as worse than the best.
LEVEL = 0.05

#: The number of pairs from which on a test can find a difference; with fewer its result is not shown.
TESTED_FROM = 5


class Estimate(NamedTuple):
    """A mean over seeds and the half-width of its 95 % interval (NaN from fewer than two seeds)."""

    mean: float
    half_width: float
    seeds: int


class Standing(NamedTuple):
    """The standing of a contender: the best, or the corrected p-value of its difference from the best over `pairs` seeds."""

    best: bool
    p: float
    pairs: int

    @property
    def level_with_best(self) -> bool:
        """Whether a test that could have found a difference found none; False for the best itself."""
        return self.tested and self.p >= LEVEL

    @property
    def tested(self) -> bool:
        """Whether it was compared with the best over enough pairs."""
        return not self.best and self.pairs >= TESTED_FROM and not math.isnan(self.p)


def estimate(values: Iterable[float]) -> Estimate:
    """Returns the mean and Student's 95 % interval of independent `values`."""
    from scipy.stats import sem, t

    array = np.asarray(list(values), np.float64)
    n = len(array)
    if n < 2:
        return Estimate(float(array.mean()) if n else math.nan, math.nan, n)
    return Estimate(float(array.mean()), float(t.ppf(0.975, n - 1) * sem(array)), n)


def paired_p(first: Sequence[float], second: Sequence[float]) -> float:
    """Returns the two-sided p-value of Student's paired t-test that `first` and `second` differ in mean; NaN below two pairs.

    For differences without variance it is the limit of the test: 1 if they are all zero, else 0.
    """
    from scipy.stats import ttest_rel

    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    differences = a - b
    if len(a) < 2:
        return math.nan
    # scipy returns NaN, or rounding errors in place of 0 / 0, if all differences are equal.
    rounding = 4 * np.finfo(np.float64).eps * max(np.abs(a).max(), np.abs(b).max())
    if np.ptp(differences) <= rounding:
        return float(abs(differences.mean()) <= rounding)
    return float(ttest_rel(a, b).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Returns Holm's corrected p-values, in the order given; NaN (a test that was not made) stays and does not count.

    Source: S. Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979).
    """
    order = sorted((p, place) for place, p in enumerate(p_values) if not math.isnan(p))
    corrected, largest = [math.nan] * len(p_values), 0.0
    for rank, (p, place) in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p))
        corrected[place] = largest
    return corrected


def standings(values: Mapping[str, Mapping[int, float]], lower_is_better: bool = False) -> dict[str, Standing]:
    """Compares each contender of `{contender: {seed: value}}` with the one that has the best mean, paired by seed.

    P-values are Holm-corrected over these comparisons. All contenders with exactly the best mean are best. Contenders
    without a value are left out, and so is a single contender, which can be compared with no other.
    """
    sign = -1 if lower_is_better else 1
    means = {name: sign * float(np.mean(list(mine.values()))) for name, mine in values.items() if mine}
    if len(means) < 2:
        return {}
    best = max(means, key=means.__getitem__)
    others = [name for name in means if name != best]
    shared = {name: sorted(values[best].keys() & values[name].keys()) for name in others}
    raw = []
    for name in others:
        ours, theirs = ([values[side][seed] for seed in shared[name]] for side in (best, name))
        # Over the seeds that both have, it may be ahead of the best: then it is not worse, however certain the difference.
        ahead = bool(ours) and sign * (np.mean(theirs) - np.mean(ours)) > 0
        raw.append(1.0 if ahead else paired_p(ours, theirs))
    found = {best: Standing(True, math.nan, len(values[best]))}
    for name, p in zip(others, holm(raw), strict=True):
        found[name] = Standing(means[name] == means[best], p, len(shared[name]))
    return found
