"""Logs of clicks by hand and at random, as datasets and as queries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsys.data.histories import Histories
from recsys.data.types import Dataset, Interactions, Vocab


def clicks(
    lists: Sequence[Sequence[int]],
    n_items: int,
    times: Sequence[Sequence[int]] | None = None,
    users: Sequence[int] | None = None,
) -> Dataset:
    """Return a data set of sessions of item rows, oldest first.

    Args:
        lists: the items of each session.
        n_items: number of items.
        times: the time of each item, in seconds.
        users: the user of each session; None: each session has a user and no number.
    """
    length = [len(each) for each in lists]
    session = np.repeat(np.arange(len(lists)), length)
    user = session if users is None else np.asarray(users)[session]
    n_users = len(lists) if users is None else max(users) + 1
    pairs = Interactions(
        user,
        np.array([item for each in lists for item in each], dtype=np.int64),
        n_users,
        n_items,
        time=None if times is None else np.array([t for each in times for t in each]),
        order=np.arange(sum(length)),
        session=None if users is None else session,
    )
    return Dataset(pairs, Vocab.range(n_users, "user"), Vocab.range(n_items, "item"))


def random_lists(
    seed: int, n: int = 40, n_items: int = 12, longest: int = 9
) -> tuple[list[list[int]], list[list[int]]]:
    """Return sessions with repeats and of several lengths, and their times, some of them equal."""
    rng = np.random.default_rng(seed)
    lists, times = [], []
    for _ in range(n):
        length = int(rng.integers(1, longest + 1))
        lists.append(rng.integers(0, n_items - 1, length).tolist())  # the last item never occurs
        begin = int(rng.integers(0, 20)) * 86_400
        times.append((begin + np.sort(rng.integers(0, 3, length)) * 3_600).tolist())
    return lists, times


def timed(lists: Sequence[Sequence[int]], times: Sequence[Sequence[int]]) -> Histories:
    """Return histories with times in seconds."""
    plain = Histories.of_lists(lists)
    return Histories(plain.item, plain.begin, plain.end, np.concatenate([*map(np.array, times)]))
