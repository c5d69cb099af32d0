"""The speed of ranking: distinct users, at most a thousand, the median of three passes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recsys.data.histories import Histories
from recsys.data.query import Queries
from recsys.data.types import HeldOut, Interactions
from recsys.experiment import speed
from recsys.scorer import Factors


def ranked(monkeypatch: pytest.MonkeyPatch, train: Interactions, valid: HeldOut | None) -> Queries:
    """Check that the median pass is divided by the queries, and return these."""
    calls: list[Any] = []
    clock = iter([0.0, 2.0, 10.0, 11.0, 20.0, 29.0])  # passes of 2, 1 and 9 seconds
    monkeypatch.setattr(speed, "top_k", lambda *words: calls.append(words))
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(clock))
    scorer = Factors(torch.zeros(1500, 2), torch.zeros(5, 2))
    seconds = speed.seconds_per_user(scorer, train, valid)
    assert len(calls) == 3
    assert {k for _, _, k in calls} == {20}
    queries = calls[0][1]
    assert seconds == 2.0 / len(queries)
    return queries


def pairs(users: np.ndarray) -> Interactions:
    return Interactions(users, np.arange(len(users)) % 5, 1500, 5)


@pytest.mark.parametrize("users", [np.array([3, 1, 3, 1, 2]), np.arange(1500)])
@pytest.mark.parametrize("has_valid", [False, True])
def test_distinct_users_are_ranked_without_their_training_items(monkeypatch, users, has_valid):
    train = pairs(users)
    valid = HeldOut.of_pairs(pairs(users[users != 2])) if has_valid else None
    queries = ranked(monkeypatch, train, valid)
    expected = sorted(set(users.tolist()) - ({2} if has_valid else set()))[:1000]
    assert queries.user.tolist() == expected
    assert (queries.exclude != train.csr[expected]).nnz == 0


def test_queries_with_histories_are_ranked_as_they_are(monkeypatch):
    histories = Histories.of_lists([[1, 2], [3], [4, 0, 4]])
    answers = sp.csr_matrix(np.eye(3, 5, dtype=np.float32))
    asked = Queries.of_histories(histories)
    valid = HeldOut(pairs(np.arange(3)), asked, np.arange(3), answers)
    queries = ranked(monkeypatch, pairs(np.arange(1500)), valid)
    assert [each.tolist() for each in queries.history] == [[1, 2], [3], [4, 0, 4]]
    assert queries.excludes_history
