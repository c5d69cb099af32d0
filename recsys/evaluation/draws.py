"""Candidates of a user drawn without repeats: uniformly, or one after the other in proportion to a weight.

Item i has a key of its own for each user, exponential with rate w_i, and the m smallest keys are the sample (Efraimidis &
Spirakis 2006): the first is item i with chance w_i / sum w, the next is drawn likewise from what is left, and so on. Given the
smallest key t that is not in the sample, item i is in it with chance 1 - exp(-w_i t), so that a sum over all items is estimated
without bias by the sum over the sample of value / chance (Cohen & Kaplan 2007). Where all items are drawn, t is infinite and
every chance is 1. Uniform draws have all weights 1, and there the chance is m / N.

Few of many are drawn without a look at the others: items arrive in proportion to their weight, with repeats, and the first m that
are new and allowed are the sample. That is the same draw, since the key of an item is the time at which it first arrives; n
arrivals at rate sum w take a time of the gamma distribution. A stream that takes more time than all keys would is cut,
and the keys of the items that have not come are drawn: what is left of an exponential time is as long as a new one. What has come
stays, since streams are not cut by chance: those of few different items would be, and popular items would be drawn too rarely.

All numbers are hashes of (seed, user row, item row or place in the stream): a user has the same candidates whoever else is asked
for, in whatever order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
import scipy.special

from recsys.data.hashing import hash_pairs

__all__ = ["Sample", "draw_items"]

DEAR = 6  # one arrival costs about as much as this many keys
_CELLS = 1 << 20  # keys held at a time
_ARRIVALS, _KEYS, _TIME = 0, 4, 8  # streams of one seed; a hash of pairs uses three numbers
_STREAMS = 16


@dataclass(frozen=True, eq=False)
class Sample:
    """Candidates of some users.

    Args:
        items: item rows, int64 [B, w], none twice in a row; -1 where a user has fewer than w.
        chance: of each to be in the sample, given what else is, float64 [B, w]; 1 where item is -1.
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
    """Return m items of each user that are not barred, without repeats, or all of them where there are no more than m.

    Args:
        users: user rows [B], from which the numbers are hashed.
        barred: CSR [B, n_items], what cannot be drawn, column indices sorted.
        m: how many.
        weight: positive [n_items]; None draws uniformly.
        seed: of the draw.
    """
    pool = barred.shape[1] - np.diff(barred.indptr).astype(np.int64)
    width = int(min(m, pool.max(initial=0)))
    items = np.full((len(users), width), -1, dtype=np.int64)
    chance = np.ones((len(users), width))
    if weight is None:
        chance[:] = (np.minimum(m, pool) / np.maximum(pool, 1))[:, None]
    left, arrived, before = np.arange(len(users)), sp.csr_matrix(barred.shape, dtype=bool), 0
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
        left, before, length = np.setdiff1d(left, rows), length, 2 * length
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
    """The items that arrive for some users.

    Args:
        complete: who has more than m, bool [B].
        items: the first m of those [B', m].
        count: arrivals until the next one [B'].
        arrived: what has come for the others, CSR bool [B, n_items].
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
    """Return the first m items of a stream with repeats that are new and not barred."""
    n = barred.shape[1]
    number = _uniform(hash_pairs(users[:, None], np.arange(length)[None], _stream(seed, _ARRIVALS)))
    if weight is None:
        item = (number * n).astype(np.int64)
    else:
        total = np.cumsum(weight)
        item = np.searchsorted(total, number * total[-1], side="right")
    item = np.minimum(item, n - 1)
    place = np.sort(item * length + np.arange(length), axis=1)  # by item, then by arrival
    first, at = np.divmod(place, length)
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
    come = sp.csr_matrix((np.ones(len(row), dtype=bool), (row, item[row, column])), barred.shape)
    return _Stream(complete, kept, (order[complete] > m).argmax(1) + 1, come)


def _length(m: int, weight: np.ndarray | None) -> int:
    """Return how many arrivals bring about a quarter more than m new items, where no item is barred."""
    length, enough = m + m // 4 + 16, m + m // 4 + 8
    if weight is not None and enough < len(weight):
        share = weight / weight.sum()
        while length < len(weight) and -np.expm1(-share * length).sum() < enough:
            length += length // 4
    return length


def _at_rows(part: sp.csr_matrix, rows: np.ndarray, shape: tuple[int, int]) -> sp.csr_matrix:
    """Return a matrix of a shape whose given rows, ascending, are those of `part`."""
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
    """Return the items [B, width] with the m smallest keys, -1 where there are no more, and the smallest key that is left [B].

    What has arrived comes before all others, whose keys count from then on.
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
    """Return a time of `count` arrivals at rate 1 for each user, float64 [B]."""
    number = _uniform(hash_pairs(users, np.zeros(len(users), dtype=np.int64), _stream(seed, _TIME)))
    return np.where(
        np.equal(count, 0), 0.0, scipy.special.gammaincinv(np.maximum(count, 1), number)
    )


def _stream(seed: int, which: int) -> int:
    return _STREAMS * seed + which


def _uniform(code: np.ndarray) -> np.ndarray:
    """Return hashes as numbers in [0, 1) with 53 bits."""
    return (code >> np.uint64(11)) * 2.0**-53
