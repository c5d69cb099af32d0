"""The rules by which one log is parted: each from interactions to a part number per row, 0 train, 1 valid, 2 test."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsys.data.hashing import hash_ids, hash_pairs
from recsys.data.times import Unit, moment, ticks_at
from recsys.data.types import Dataset, Interactions
from recsys.errors import InputError, one_of

__all__ = [
    "TEST",
    "TRAIN",
    "VALID",
    "Moment",
    "by_last",
    "by_new_item",
    "by_ratio",
    "by_time",
    "check_ratios",
    "cut_ties",
    "libcml",
    "tie_keys",
]

TRAIN, VALID, TEST = 0, 1, 2

Moment = str | int | float | None


def by_ratio(
    pairs: Interactions,
    ratios: Sequence[float] = (0.8, 0.1, 0.1),
    *,
    per: str = "user",
    order: str = "random",
    seed: int = 0,
    ties: np.ndarray | None = None,
) -> np.ndarray:
    """Shares of each user's rows, or of all rows.

    Of n rows, test and valid take the floor of their shares, and train the rest. Per user a share above 0 whose floor is 0
    takes one row, test before valid, as long as train keeps one: n = 1 is all train, 2 is one train and one test, 3 one of each.

    Args:
        pairs: the interactions.
        ratios: shares of train, valid, test.
        per: "user" or "all".
        order: "random", or "time": the earliest are train, the latest test.
        seed: of the random order.
        ties: what orders equal times, [n]; by default as in `tie_keys`.

    Returns:
        0 train, 1 valid, 2 test; int8 [n].

    Raises:
        InputError: order "time" without times.
    """
    check_ratios(ratios)
    one_of(per, ("user", "all"), "per")
    one_of(order, ("random", "time"), "order")
    group = pairs.user if per == "user" else np.zeros(len(pairs), dtype=np.int32)
    if order == "time":
        time = _times(pairs, "order = 'time'")
        place, counts = _places(group, _tie_order(pairs, seed, ties), time)
    else:
        # One random number per row, given out by user and item, so that the order of the rows cannot matter.
        canonical = _canonical(pairs)
        draw = np.empty(len(pairs), dtype=np.int64)
        draw[canonical] = np.random.default_rng(seed).integers(0, 2**32, len(pairs))
        place, counts = _places(group, canonical, draw)
    shares = [np.floor(counts * share + 1e-9).astype(np.int64) for share in ratios[1:]]
    if per == "user":
        for i in (1, 0):
            free = counts - shares[0] - shares[1] > 1
            shares[i] += (ratios[1 + i] > 0) & (shares[i] == 0) & free
    return _cut(place, counts, shares[0], shares[1])


def by_last(
    pairs: Interactions, k: int = 1, *, seed: int = 0, ties: np.ndarray | None = None
) -> np.ndarray:
    """Hold back the last k rows of each user as test, and the k before them as valid.

    Train keeps at least one row, and test is served before valid.

    Args:
        pairs: the interactions.
        k: rows of each user in test, and in valid.
        seed: of the hash that orders equal times where the source has no order.
        ties: what orders equal times, [n]; by default as in `tie_keys`.

    Returns:
        0 train, 1 valid, 2 test; int8 [n].

    Raises:
        InputError: the interactions have no times.
    """
    time = _times(pairs, "by = 'last'")
    place, counts = _places(pairs.user, _tie_order(pairs, seed, ties), time)
    test = np.minimum(k, np.maximum(counts - 1, 0))
    valid = np.minimum(k, np.maximum(counts - test - 1, 0))
    return _cut(place, counts, valid, test)


def by_time(pairs: Interactions, valid_from: Moment, test_from: Moment) -> np.ndarray:
    """Two points in time for all users: train < valid_from <= valid < test_from <= test.

    Args:
        pairs: the interactions.
        valid_from, test_from: an ISO date, unix seconds, or a share of the time span as a fraction; None for `valid_from`: no valid.

    Returns:
        0 train, 1 valid, 2 test; int8 [n].

    Raises:
        InputError: no times, points that cannot be read or stand the wrong way round, no row before the first point or after the last.
    """
    time = _times(pairs, "by = 'time'")
    points = [
        _point(value, time, pairs.time_unit, name)
        for value, name in ((valid_from, "valid_from"), (test_from, "test_from"))
    ]
    last = points[1]
    if last is None:
        raise InputError(
            "test_from is missing",
            place="[split]",
            remedy="give an ISO date, unix seconds, or a fraction of the time span",
        )
    first = last if points[0] is None else points[0]
    if first > last:
        raise InputError(
            f"valid_from {valid_from} is later than test_from {test_from}",
            place="[split]",
            remedy="exchange them",
        )
    if len(time) and last > time.max():
        remedy = "choose an earlier point, or a fraction of the time span such as 0.9"
        raise InputError(
            f"no row is at or after test_from {test_from}", place="[split]", remedy=remedy
        )
    return ((time >= first).astype(np.int8) + (time >= last)).astype(np.int8)


def by_new_item(
    pairs: Interactions, share: float = 0.2, *, warm_share: float = 0.0, seed: int = 0
) -> np.ndarray:
    """A random share of the items is new and leaves train with all its rows: half of them are valid, half test items.

    The protocol of MILK (Bai et al., SIGIR 2024) for new items. Only items that occur are drawn. Of each user's rows of the other items
    `warm_share` is held back too, half and half, as `by_ratio` takes it.

    Returns:
        0 train, 1 valid, 2 test; int8 [n].

    Raises:
        InputError: too few items for a new one in both parts.
    """
    items = np.unique(pairs.item)
    new = int(share * len(items) + 1e-9)
    if new < 2:
        raise InputError(
            f"{share:g} of {len(items)} items is {new}, too few for valid and test",
            place="[split] new_items",
            remedy="raise the share",
        )
    drawn = np.random.default_rng(seed).permutation(items)[:new]
    role = np.zeros(pairs.n_items, dtype=np.int8)
    role[drawn[: new // 2]], role[drawn[new // 2 :]] = VALID, TEST
    part = role[pairs.item]
    if warm_share:
        warm = np.flatnonzero(part == TRAIN)
        part[warm] = by_ratio(
            pairs.take(warm), (1 - warm_share, warm_share / 2, warm_share / 2), seed=seed
        )
    return part


def libcml(
    pairs: Interactions,
    seed: int = 1234,
    *,
    users: np.ndarray | None = None,
    items: np.ndarray | None = None,
) -> np.ndarray:
    """Split by the recipe behind the matrices of LibCML, DPCML and SFCML (released code).

    User by user in the order of their ids, the items in the order of theirs are shuffled. The first int(n * 3 / 5)
    are train, the next int(n * 1 / 5) valid, the rest test. One legacy generator serves all users in turn. So this
    rule alone depends on how ids are numbered: that is the recipe.

    Args:
        pairs: the interactions.
        seed: of the generator.
        users, items: position of each row's id among the sorted ids, [n_users] and [n_items]; by default the row.

    Returns:
        0 train, 1 valid, 2 test; int8 [n].
    """
    if not 0 <= seed < 2**32:
        raise InputError(
            f"seed = {seed}: the generator of 'libcml' takes 32 bits",
            place="[split] seed",
            remedy="give a number below 4294967296",
        )
    user = pairs.user if users is None else users[pairs.user]
    item = pairs.item if items is None else items[pairs.item]
    order = np.lexsort((item, user))
    ends = np.cumsum(np.bincount(user, minlength=pairs.n_users))
    generator = np.random.RandomState(seed)  # the released split is a draw of the legacy generator
    part = np.empty(len(pairs), dtype=np.int8)
    start = 0
    for end in ends:
        rows = order[start:end].copy()
        generator.shuffle(rows)
        train, valid = int(len(rows) * 3 / 5), int(len(rows) * 1 / 5)
        part[rows[:train]] = TRAIN
        part[rows[train : train + valid]] = VALID
        part[rows[train + valid :]] = TEST
        start = int(end)
    return part


def tie_keys(data: Dataset, seed: int = 0) -> np.ndarray:
    """Return what orders rows of equal times, [n]: the row of the source, or else a hash.

    The hash is of (seed, user id, item id), so that neither a row number nor the spelling of ids, as far as
    luck allows, favours anybody. It serves sources without an order: matrices and folders of many files.
    """
    pairs = data.pairs
    if pairs.position is not None:
        return pairs.position
    user, item = hash_ids(data.users.ids), hash_ids(data.items.ids)
    return hash_pairs(user[pairs.user], item[pairs.item], seed)


def cut_ties(pairs: Interactions, part: np.ndarray) -> tuple[int, int]:
    """Count the users whose parts meet among rows of equal time, and the users who are cut at all.

    Args:
        pairs: the interactions, with times.
        part: 0 train, 1 valid, 2 test; [n].
    """
    assert pairs.time is not None
    order = np.lexsort((part, pairs.time, pairs.user))
    user, time, part = pairs.user[order], pairs.time[order], part[order]
    cut = (user[1:] == user[:-1]) & (part[1:] != part[:-1])
    tied = cut & (time[1:] == time[:-1])
    return len(np.unique(user[1:][tied])), len(np.unique(user[1:][cut]))


def _tie_order(pairs: Interactions, seed: int, ties: np.ndarray | None) -> np.ndarray:
    """The rows in the order that equal times have [n]."""
    if ties is None:
        ties = pairs.position
    if ties is None:
        ties = hash_pairs(pairs.user, pairs.item, seed)
    return np.argsort(ties, kind="stable")


def _canonical(pairs: Interactions) -> np.ndarray:
    """The order by user, item and time [n]; what `dataset` makes stands in it already."""
    key = pairs.key
    if len(key) < 2 or (key[1:] > key[:-1]).all():
        return np.arange(len(key))
    columns = [
        values
        for name in ("label", "behaviour", "weight", "time")
        if (values := getattr(pairs, name)) is not None
    ]
    return np.lexsort((*columns, key))


def _places(
    group: np.ndarray, canonical: np.ndarray, value: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For each row its place 0, 1, ... in its group when that is sorted by `value` (integers), and the size of the group; int64 [n] both."""
    low = int(value.min()) if len(value) else 0
    bits = (int(value.max()) - low).bit_length() if len(value) else 0
    if (
        bits + int(group.max(initial=0)).bit_length() < 63
    ):  # one stable sort of one key, several times faster than two
        key = ((group.astype(np.int64) << bits) | (value - low))[canonical]
        order = canonical[np.argsort(key, kind="stable")]
    else:
        order = canonical[np.lexsort((value[canonical], group[canonical]))]
    sizes = np.bincount(group) if len(group) else np.zeros(1, dtype=np.int64)
    place = np.empty(len(group), dtype=np.int64)
    place[order] = np.arange(len(group)) - (np.cumsum(sizes) - sizes)[group[order]]
    return place, sizes[group]


def _cut(place: np.ndarray, counts: np.ndarray, valid: np.ndarray, test: np.ndarray) -> np.ndarray:
    return ((place >= counts - test - valid).astype(np.int8) + (place >= counts - test)).astype(
        np.int8
    )


def _times(pairs: Interactions, what: str) -> np.ndarray:
    if pairs.time is None:
        raise InputError(
            f"{what} needs times, which the data lacks",
            place="[split]",
            remedy='name the column in [data]: time = "..."; or choose another rule',
        )
    return pairs.time


def _point(value: Moment, time: np.ndarray, unit: Unit, name: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, float):
        if not 0 < value < 1:
            raise InputError(
                f"{name} = {value:g} is no fraction",
                place="[split]",
                remedy="give a number between 0 and 1, an ISO date, or whole unix seconds",
            )
        if not len(time):
            return 0
        low, high = int(time.min()), int(time.max())
        return low + int(np.ceil(value * (high - low)))
    return ticks_at(moment(value, f"[split] {name}"), unit)


def check_ratios(ratios: Sequence[float]) -> None:
    """Refuse what are no shares of train, valid and test."""
    if len(ratios) != 3 or min(ratios) < 0 or not abs(sum(ratios) - 1) < 1e-6 or ratios[0] <= 0:
        cause = f"ratios = {list(ratios)} are no shares of train, valid and test that add up to 1"
        raise InputError(cause, remedy="correct them, as in ratios = [0.8, 0.1, 0.1]")
