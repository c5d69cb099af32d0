"""AUC by ranks against every pair and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from recsys.statistics.roc import auc, auc_of_rank_sums


@given(st.integers(0, 2**32 - 1), st.integers(1, 30), st.integers(1, 6))
def test_auc_equals_every_pair(seed, n, levels):
    generator = np.random.default_rng(seed)
    score = generator.integers(0, levels, n).astype(float)
    positive = generator.random(n) < 0.5
    pairs = [(a > b) + (a == b) / 2 for a in score[positive] for b in score[~positive]]
    if not pairs:
        assert np.isnan(auc(score, positive))
        return
    assert auc(score, positive) == pytest.approx(np.mean(pairs))
    assert auc(score, positive) == pytest.approx(roc_auc_score(positive, score))


def test_several_problems_at_once():
    # Ranks 1 and 4 of 4, ranks 2 and 3 of 3, no negative, no positive.
    got = auc_of_rank_sums(
        np.array([5.0, 5.0, 6.0, 0.0]), np.array([2, 2, 3, 0]), np.array([2, 1, 0, 4])
    )
    np.testing.assert_allclose(got, [0.5, 1.0, np.nan, np.nan])
