"""Candidates of a user sampled without replacement: uniformly, or in proportion to a weight.

Each item has a key per user, exponential with rate w_i, and the m smallest keys are the sample
(Efraimidis & Spirakis 2006). So the first candidate is item i with probability w_i / sum w, the
next one is drawn likewise from the rest, and so on. Given the smallest key t outside the sample,
item i is in the sample with probability 1 - exp(-w_i t). So the sum of value / probability over
the sample is an unbiased estimate of the sum of the value over all items (Cohen & Kaplan 2007). If
all items are sampled, t is infinite and every probability is 1. Uniform sampling has weights of 1,
and the probability is m / N.

A few of many items are sampled without looking at the others. Items arrive in proportion to their
weight, with repeats, and the first m that are new and allowed are the sample. That is the same
distribution, since the key of an item is the time of its first arrival; n arrivals at rate sum w
take a gamma-distributed time. A stream that takes more time than all keys would is cut, and the
keys of the items that have not arrived are drawn: the rest of an exponential time is distributed
like a new one. Items that have arrived stay in the sample. A stream is not cut by chance: streams
with few different items are cut, and dropping those would sample popular items too rarely.

All random numbers are hashes of (seed, user row, item row or position in the stream). So a user
has the same candidates whichever other users are sampled, in any order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import scipy.special

from recsys.data.hashing import hash_pairs

__all__ = ["Sample", "draw_items"]

DEAR = 6  # one arrival costs about as much as this many keys
_CELLS = 1 << 20  # keys in memory at a time
# Streams of random numbers of one seed; a hash of pairs uses three numbers.
_ARRIVALS = 0
_KEYS = 4
_TIME = 8
_STREAMS = 16


@dataclass(frozen=True, eq=False)
class Sample:
    """Sampled candidates of some users.

    Args:
        items: item rows, int64 [B, w], without repeats in a row; -1 where a user has fewer than w.
        chance: probability of each to be in the sample, given the rest of it, float64 [B, w];
            1 where the item is -1.
    """

    items: np.ndarray
    chance: np.ndarray


def draw_items(
    users: np.ndarray,
    barred: sp.csr_matrix,
    m: int,
    *,
    weight: np.ndarray | None = None,
    seed: int = 0,
) -> Sample:
    """Sample m allowed items per user without replacement; all of them if there are not more.

    Args:
        users: user rows, int [B]; the random numbers are hashed from them.
        barred: items that cannot be sampled, CSR [B, n_items] with sorted column indices.
        m: items per user.
        weight: positive weights, float [n_items]; None samples uniformly.
        seed: of the sample.
    """
    pool = barred.shape[1] - np.diff(barred.indptr).astype(np.int64)
    width = int(min(m, pool.max(initial=0)))
    items = np.full((len(users), width), -1, dtype=np.int64)
    chance = np.ones((len(users), width))
    if weight is None:
        chance[:] = (np.minimum(m, pool) / np.maximum(pool, 1))[:, None]
    left = np.arange(len(users))
    arrived = sp.csr_matrix(barred.shape, dtype=bool)
    before = 0
    length = _length(m, weight)
    while DEAR * length <= barred.shape[1] and (pool[left] > m).any():
        rows = left[pool[left] > m]
        stream = _arrivals(users[rows], barred[rows], m, weight, length, seed)
        arrived = _at_rows(stream.arrived, rows, barred.shape)
        rows = rows[stream.complete]
        items[rows] = stream.items
        if weight is not None:
            limit = _time(users[rows], stream.count, seed) / weight.sum()
            chance[rows] = -np.expm1(-weight[stream.items] * limit[:, None])
        left = np.setdiff1d(left, rows)
        before = length
        length *= 2
    step = max(1, _CELLS // max(1, barred.shape[1]))
    for start in range(0, len(left), step):
        rows = left[start : start + step]
        items[rows], limit = _smallest(
            users[rows], barred[rows], arrived[rows], m, width, weight, seed
        )
        if weight is not None:
            limit = limit + _time(users[rows], before, seed) / weight.sum()
            chance[rows] = -np.expm1(-weight[items[rows]] * limit[:, None])
    chance[items < 0] = 1.0
    return Sample(items, chance)


@dataclass(frozen=True, eq=False)
class _Stream:
    """Items that arrive for some users.

    Args:
        complete: which users have more than m new and allowed items, bool [B].
        items: the first m of those users, int64 [B', m].
        count: arrivals of those users up to the next new item, int [B'].
        arrived: items that have arrived for the other users, CSR bool [B, n_items].
    """

    complete: np.ndarray
    items: np.ndarray
    count: np.ndarray
    arrived: sp.csr_matrix


def _arrivals(
    users: np.ndarray,
    barred: sp.csr_matrix,
    m: int,
    weight: np.ndarray | None,
    length: int,
    seed: int,
) -> _Stream:
    """Return the first m items that are new and allowed in streams of `length` with repeats."""
    n = barred.shape[1]
    number = _uniform(hash_pairs(users[:, None], np.arange(length)[None], _stream(seed, _ARRIVALS)))
    if weight is None:
        item = (number * n).astype(np.int64)
    else:
        total = np.cumsum(weight)
        item = np.searchsorted(total, number * total[-1], side="right")
    item = np.minimum(item, n - 1)
    order_code = np.sort(item * length + np.arange(length), axis=1)  # by item, then by arrival
    first, at = np.divmod(order_code, length)
    new = np.ones(item.shape, dtype=bool)
    np.put_along_axis(new, at[:, 1:], first[:, 1:] != first[:, :-1], axis=1)
    owner = np.repeat(np.arange(len(users)), np.diff(barred.indptr))
    taken = np.append(owner * n + barred.indices, np.iinfo(np.int64).max)
    pair = np.arange(len(users))[:, None] * n + item
    new &= taken[np.searchsorted(taken, pair)] != pair
    order = new.cumsum(1)
    complete = order[:, -1] > m
    kept = item[complete][(new & (order <= m))[complete]].reshape(-1, m)
    row, column = np.nonzero(new & ~complete[:, None])
    ones = np.ones(len(row), dtype=bool)
    arrived = sp.csr_matrix((ones, (row, item[row, column])), barred.shape)
    return _Stream(complete, kept, (order[complete] > m).argmax(1) + 1, arrived)


def _length(m: int, weight: np.ndarray | None) -> int:
    """Return the arrivals that bring about a quarter more than m new items, if none is barred."""
    length, enough = m + m // 4 + 16, m + m // 4 + 8
    if weight is not None and enough < len(weight):
        share = weight / weight.sum()
        while length < len(weight) and -np.expm1(-share * length).sum() < enough:
            length += length // 4
    return length


def _at_rows(part: sp.csr_matrix, rows: np.ndarray, shape: tuple[int, int]) -> sp.csr_matrix:
    """Return a matrix of the given shape that has the rows of `part` at `rows` (ascending)."""
    sizes = np.zeros(shape[0] + 1, dtype=np.int64)
    sizes[rows + 1] = np.diff(part.indptr)
    return sp.csr_matrix((part.data, part.indices, np.cumsum(sizes)), shape=shape)


def _smallest(
    users: np.ndarray,
    barred: sp.csr_matrix,
    arrived: sp.csr_matrix,
    m: int,
    width: int,
    weight: np.ndarray | None,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the items with the m smallest keys, and the smallest key of the other items.

    Items that have arrived come before all others, whose keys count from then on.

    Returns:
        Item rows, int64 [B, width], -1 pads a shorter sample; and the key, float64 [B].
    """
    n = barred.shape[1]
    key = _uniform(hash_pairs(users[:, None], np.arange(n)[None], _stream(seed, _KEYS)))
    if weight is not None:
        key = -np.log1p(-key) / weight
    for entries, value in ((barred, np.inf), (arrived, 0.0)):
        key[np.repeat(np.arange(len(users)), np.diff(entries.indptr)), entries.indices] = value
    order = np.argpartition(key, (max(width - 1, 0), min(m, n - 1)), axis=1)
    limit = np.full(len(users), np.inf)
    if m < n:
        limit = np.take_along_axis(key, order[:, m : m + 1], axis=1)[:, 0]
    items = order[:, :width]
    return np.where(np.take_along_axis(key, items, axis=1) < np.inf, items, -1), limit


def _time(users: np.ndarray, count: np.ndarray | int, seed: int) -> np.ndarray:
    """Return the time that `count` arrivals at rate 1 take for each user, float64 [B]."""
    number = _uniform(hash_pairs(users, np.zeros(len(users), dtype=np.int64), _stream(seed, _TIME)))
    time = scipy.special.gammaincinv(np.maximum(count, 1), number)
    return np.where(np.equal(count, 0), 0.0, time)


def _stream(seed: int, which: int) -> int:
    """Return the seed of one of the streams of random numbers."""
    return _STREAMS * seed + which


def _uniform(code: np.ndarray) -> np.ndarray:
    """Return hashes as numbers in [0, 1) with 53 bits."""
    return (code >> np.uint64(11)) * 2.0**-53
