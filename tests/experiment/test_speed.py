"""The speed of ranking: distinct users, at most a thousand, the median of three passes."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recsys.experiment import speed
from recsys.scorer import Factors


@pytest.mark.parametrize(
    ("users", "ranked"), [(np.array([3, 1, 3, 1, 2]), 3), (np.arange(1500), 1000)]
)
def test_the_median_pass_is_divided_by_the_users_that_were_ranked(monkeypatch, users, ranked):
    calls = []
    clock = iter([0.0, 2.0, 10.0, 11.0, 20.0, 29.0])  # passes of 2, 1 and 9 seconds
    monkeypatch.setattr(speed, "top_k", lambda *words, **more: calls.append((words, more)))
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(clock))
    scorer = Factors(torch.zeros(1500, 2), torch.zeros(5, 2))
    seen = sp.csr_matrix((1500, 5), dtype=np.float32)
    assert speed.seconds_per_user(scorer, users, seen=seen) == 2.0 / ranked
    assert len(calls) == 3
    for (_, rows, k), more in calls:
        assert rows.tolist() == sorted(set(users.tolist()))[:1000]
        assert k == 20
        assert more["seen"] is seen
