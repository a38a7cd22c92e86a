"""Semantic textual similarity against scipy."""

import numpy as np
import pytest
from scipy import stats

from jaxembed.evaluation.sts import sts_spearman

N, D = 103, 6


def pairs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    a = random.standard_normal((N, D)).astype(np.float32)
    b = (a + random.uniform(0, 3, (N, 1)) * random.standard_normal((N, D))).astype(np.float32)
    return a, b, random.integers(0, 26, N) / 5  # scores tie, as those of STS do


def test_correlation_is_scipys_of_float64_cosines():
    a, b, scores = pairs()
    x, y = a.astype(np.float64), b.astype(np.float64)
    cosines = (x * y).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
    for gold in (scores, cosines, -cosines, scores * 1e-9 + 7):  # the last would tie in float32
        assert sts_spearman(a, b, gold) == pytest.approx(stats.spearmanr(cosines, gold)[0], abs=1e-5)


def test_a_collapsed_encoder_has_no_correlation():
    assert np.isnan(sts_spearman(np.ones((N, 4)), np.ones((N, 4)), pairs()[2]))


def test_bad_input_is_told():
    a, b, scores = pairs()
    for arguments, message in (
        ((a, b * np.inf, scores), "b: 103 of 103 rows hold NaN or infinity"),
        ((a, b[:, :2], scores), "b have 2 dimensions where 6"),
        ((a, b[:-1], scores), "expected two or more pairs"),
        ((a, b, scores[:-1]), "expected two or more pairs"),
        ((a[:1], b[:1], scores[:1]), "expected two or more pairs"),
        ((a, b, np.where(scores > 4, np.nan, scores)), "scores: .* of 103 are NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            sts_spearman(*arguments)
