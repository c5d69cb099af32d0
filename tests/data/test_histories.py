"""Histories against a loop over the pairs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recsys.data.types import Interactions
from recsys.nn.histories import Histories
from recsys.sampling import UserStream


def random_pairs(n: int = 60) -> Interactions:
    rng = np.random.default_rng(0)
    return Interactions(rng.integers(0, 9, n), rng.integers(0, 12, n), 10, 13)


@pytest.mark.parametrize("limit", [None, 1, 3, 99])
def test_histories_are_the_last_items_of_a_user(limit):
    pairs = random_pairs()
    users = torch.tensor([4, 9, 0, 4])  # 9 has met nothing
    item, owner, first = Histories(pairs, limit).of(users)
    place = 0
    for b, user in enumerate(users.tolist()):
        expected: list[int] = []
        for u, i in zip(pairs.user.tolist(), pairs.item.tolist(), strict=True):
            if u == user:
                expected = [j for j in expected if j != i] + [
                    i
                ]  # what comes again counts where it comes last
        expected = expected if limit is None else expected[-limit:]
        assert first[b] == place
        assert item[place : place + len(expected)].tolist() == expected
        assert owner[place : place + len(expected)].tolist() == [b] * len(expected)
        place += len(expected)
    assert place == len(item) == len(owner)


def test_histories_are_those_of_the_stream_of_users():
    pairs = random_pairs()
    item, owner, _ = Histories(pairs).of(torch.arange(10))
    batch = UserStream(pairs, batch_size=3, seed=0).batch(torch.arange(10))
    assert torch.equal(owner, batch.owner)
    assert sorted(zip(owner.tolist(), item.tolist(), strict=True)) == list(
        zip(batch.owner.tolist(), batch.item.tolist(), strict=True)
    )


def test_no_history_at_all():
    item, owner, first = Histories(random_pairs()).of(torch.tensor([9]))
    assert len(item) == len(owner) == 0
    assert first.tolist() == [0]
    item, _, first = Histories(
        Interactions(np.array([], dtype=int), np.array([], dtype=int), 3, 2)
    ).of(torch.arange(3))
    assert len(item) == 0
    assert first.tolist() == [0, 0, 0]
