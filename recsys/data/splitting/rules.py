"""The rules that split one log. Each returns the part of every row: 0 train, 1 valid, 2 test."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsys.data.hashing import hash_pairs
from recsys.data.times import Unit, moment, rescale, ticks_at
from recsys.data.types import Interactions
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
    "canonical_order",
    "check_ratios",
    "libcml",
    "ranks_within",
    "time_point",
    "time_points",
]

TRAIN = 0
VALID = 1
TEST = 2

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
    """Split into shares of each user's rows, or of all rows.

    Of n rows, test and valid take the floor of their shares, and train the rest. Per user, a share
    above 0 whose floor is 0 takes one row, test before valid, as long as train keeps one: a single
    row goes to train, two go to train and test, three give one row to each part.

    Args:
        pairs: the interactions, n rows.
        ratios: shares of train, valid, test.
        per: "user" or "all".
        order: "random"; or "time": the earliest rows are train, the latest test.
        seed: of the random order.
        ties: order of rows with equal times, [n]; by default as `tie_keys`.

    Returns:
        0 train, 1 valid, 2 test; int8 [n].

    Raises:
        InputError: order "time" without times, or ratios that are not shares.
    """
    check_ratios(ratios)
    one_of(per, ("user", "all"), "per")
    one_of(order, ("random", "time"), "order")
    group = pairs.user if per == "user" else np.zeros(len(pairs), dtype=np.int32)
    if order == "time":
        time = _times(pairs, "order = 'time'")
        rank, counts = ranks_within(group, _tie_order(pairs, seed, ties), time)
    else:
        # One random number per row, assigned in order of user and item: the order of the rows
        # cannot matter.
        canonical = canonical_order(pairs)
        draw = np.empty(len(pairs), dtype=np.int64)
        draw[canonical] = np.random.default_rng(seed).integers(0, 2**32, len(pairs))
        rank, counts = ranks_within(group, canonical, draw)
    shares = [np.floor(counts * share + 1e-9).astype(np.int64) for share in ratios[1:]]
    if per == "user":
        for i in (1, 0):
            free = counts - shares[0] - shares[1] > 1
            shares[i] += (ratios[1 + i] > 0) & (shares[i] == 0) & free
    return _cut(rank, counts, shares[0], shares[1])


def by_last(
    pairs: Interactions, k: int = 1, *, seed: int = 0, ties: np.ndarray | None = None
) -> np.ndarray:
    """Hold out the last k rows of each user as test, and the k before them as valid.

    Train keeps at least one row, and test is served before valid.

    Args:
        pairs: the interactions, n rows.
        k: rows of each user in test, and in valid.
        seed: of the hash that orders equal times if the source has no order.
        ties: order of rows with equal times, [n]; by default as `tie_keys`.

    Returns:
        0 train, 1 valid, 2 test; int8 [n].

    Raises:
        InputError: the interactions have no times.
    """
    time = _times(pairs, "by = 'last'")
    rank, counts = ranks_within(pairs.user, _tie_order(pairs, seed, ties), time)
    test = np.minimum(k, np.maximum(counts - 1, 0))
    valid = np.minimum(k, np.maximum(counts - test - 1, 0))
    return _cut(rank, counts, valid, test)


def by_time(pairs: Interactions, valid_from: Moment, test_from: Moment) -> np.ndarray:
    """Split at two points in time: train < valid_from <= valid < test_from <= test.

    Args:
        pairs: the interactions, n rows.
        valid_from, test_from: an ISO date, unix seconds, or a fraction of the time span;
            `valid_from` None: no valid part.

    Returns:
        0 train, 1 valid, 2 test; int8 [n].

    Raises:
        InputError: no times; points that cannot be read or are in the wrong order; no row at or
            after `test_from`.
    """
    first, last = time_points(pairs, valid_from, test_from)
    assert pairs.time is not None
    return ((pairs.time >= first).astype(np.int8) + (pairs.time >= last)).astype(np.int8)


def time_points(
    pairs: Interactions, valid_from: Moment, test_from: Moment, by: str = "time"
) -> tuple[int, int]:
    """Return where valid and test begin, in the unit of the pairs; equal without `valid_from`.

    Args:
        pairs: the interactions that are split.
        valid_from, test_from: as in `by_time`.
        by: the rule, for an error.

    Raises:
        InputError: as `by_time`.
    """
    time = _times(pairs, f"by = '{by}'")
    first = _point(valid_from, time, pairs.time_unit, "valid_from")
    last = _point(test_from, time, pairs.time_unit, "test_from")
    if last is None:
        raise InputError(
            "test_from is missing",
            place="[split]",
            remedy="give an ISO date, unix seconds, or a fraction of the time span",
        )
    if first is None:
        first = last
    if first > last:
        raise InputError(
            f"valid_from {valid_from} is later than test_from {test_from}",
            place="[split]",
            remedy="exchange them",
        )
    if len(time) and last > time.max():
        raise InputError(
            f"no row is at or after test_from {test_from}",
            place="[split]",
            remedy="choose an earlier point, or a fraction of the time span such as 0.9",
        )
    return first, last


def by_new_item(
    pairs: Interactions, share: float = 0.2, *, warm_share: float = 0.0, seed: int = 0
) -> np.ndarray:
    """Hold out a random share of the items with all their rows: half for valid, half for test.

    The protocol for new items of MILK (Bai et al., SIGIR 2024). Only items that occur are drawn.

    Args:
        pairs: the interactions, n rows.
        share: of the items that are new.
        warm_share: share of each user's rows of the other items that is held out too, half for
            valid, half for test, as `by_ratio` does it.
        seed: of the draw.

    Returns:
        0 train, 1 valid, 2 test; int8 [n].

    Raises:
        InputError: too few items for a new one in both parts.
    """
    items = np.unique(pairs.item)
    n_new = int(share * len(items) + 1e-9)
    if n_new < 2:
        raise InputError(
            f"{share:g} of {len(items)} items is {n_new}, too few for valid and test",
            place="[split] new_items",
            remedy="raise the share",
        )
    drawn = np.random.default_rng(seed).permutation(items)[:n_new]
    part_of_item = np.zeros(pairs.n_items, dtype=np.int8)
    part_of_item[drawn[: n_new // 2]] = VALID
    part_of_item[drawn[n_new // 2 :]] = TEST
    part = part_of_item[pairs.item]
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
    """Split as the released code of LibCML, DPCML and SFCML does.

    Users are taken in the order of their ids; the items of each, in the order of theirs, are
    shuffled. The first int(n * 3 / 5) are train, the next int(n * 1 / 5) valid, the rest test. One
    legacy generator serves all users in turn. So this rule alone depends on how ids are numbered.

    Args:
        pairs: the interactions, n rows.
        seed: of the generator, below 2**32.
        users, items: rank of each row's id among the sorted ids, [n_users] and [n_items]; by
            default the row number.

    Returns:
        0 train, 1 valid, 2 test; int8 [n].

    Raises:
        InputError: the seed does not fit 32 bits.
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
    generator = np.random.RandomState(seed)  # the released splits were drawn by this generator
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


def check_ratios(ratios: Sequence[float]) -> None:
    """Refuse ratios that are not shares of train, valid and test.

    Raises:
        InputError: not three numbers of at least 0 that add up to 1, with a train part.
    """
    if len(ratios) != 3 or min(ratios) < 0 or not abs(sum(ratios) - 1) < 1e-6 or ratios[0] <= 0:
        raise InputError(
            f"ratios = {list(ratios)} must be shares of train, valid and test that add up to 1",
            remedy="correct them, as in ratios = [0.8, 0.1, 0.1]",
        )


def _tie_order(pairs: Interactions, seed: int, ties: np.ndarray | None) -> np.ndarray:
    """Return the rows in the order that decides between equal times [n]."""
    if ties is None:
        ties = pairs.order
    if ties is None:
        ties = hash_pairs(pairs.user, pairs.item, seed)
    return np.argsort(ties, kind="stable")


def canonical_order(pairs: Interactions) -> np.ndarray:
    """Return the rows in order of user, item and time [n]; those of `dataset` are in it already."""
    key = pairs.key
    if len(key) < 2 or (key[1:] > key[:-1]).all():
        return np.arange(len(key))
    columns = [
        values
        for name in ("clean", "behaviour", "weight", "time")
        if (values := getattr(pairs, name)) is not None
    ]
    return np.lexsort((*columns, key))


def ranks_within(
    group: np.ndarray, canonical: np.ndarray, value: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rank of each row within its group, and the size of the group; int64 [n] both.

    Args:
        group: of each row, integers >= 0 [n].
        canonical: the rows in the order that decides between equal values [n].
        value: integers that are ranked in ascending order [n].
    """
    low = int(value.min()) if len(value) else 0
    bits = (int(value.max()) - low).bit_length() if len(value) else 0
    if bits + int(group.max(initial=0)).bit_length() < 63:
        # One stable sort of one key is several times faster than a sort of two.
        key = ((group.astype(np.int64) << bits) | (value - low))[canonical]
        order = canonical[np.argsort(key, kind="stable")]
    else:
        order = canonical[np.lexsort((value[canonical], group[canonical]))]
    sizes = np.bincount(group) if len(group) else np.zeros(1, dtype=np.int64)
    rank = np.empty(len(group), dtype=np.int64)
    rank[order] = np.arange(len(group)) - (np.cumsum(sizes) - sizes)[group[order]]
    return rank, sizes[group]


def _cut(rank: np.ndarray, counts: np.ndarray, valid: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Return the parts of rows: of each group, the last are test, those before them valid."""
    held = (rank >= counts - test - valid).astype(np.int8)
    return (held + (rank >= counts - test)).astype(np.int8)


def _times(pairs: Interactions, setting: str) -> np.ndarray:
    """Return the times of the interactions.

    Raises:
        InputError: the data lacks them; it names the setting that needs them.
    """
    if pairs.time is None:
        raise InputError(
            f"{setting} needs times, which the data lacks",
            place="[split]",
            remedy='name the column in [data]: time = "..."; or choose another rule',
        )
    return pairs.time


def time_point(value: Moment, pairs: Interactions, unit: Unit) -> int:
    """Return a point in time of `by_time` in ticks of a unit.

    Args:
        value: an ISO date, unix seconds, or a fraction of the time span of the pairs.
        pairs: the interactions that are split.
        unit: as fine as that of the pairs, or finer.

    Raises:
        InputError: the point cannot be read, or is missing.
    """
    time = _times(pairs, "by = 'time'")
    own = pairs.time_unit if isinstance(value, float) else unit
    point = _point(value, time, own, "test_from")
    assert point is not None
    return int(rescale(np.array([point]), own, unit)[0])


def _point(value: Moment, time: np.ndarray, unit: Unit, name: str) -> int | None:
    """Return a point in time in ticks of the data's unit.

    Raises:
        InputError: a fraction that is not between 0 and 1, or an unreadable date.
    """
    if value is None:
        return None
    if isinstance(value, float):
        if not 0 < value < 1:
            raise InputError(
                f"{name} = {value:g} is not a fraction between 0 and 1",
                place="[split]",
                remedy="give a number between 0 and 1, an ISO date, or whole unix seconds",
            )
        if not len(time):
            return 0
        low, high = int(time.min()), int(time.max())
        return low + int(np.ceil(value * (high - low)))
    return ticks_at(moment(value, f"[split] {name}"), unit)
