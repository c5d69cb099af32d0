"""The log: every event, and what a split leaves of it, against plain loops."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp

from recsys.data.load import LoadedData, load
from recsys.data.splitting import Noise, SplitRule, split
from recsys.data.types import Dataset, Interactions, Split, join
from recsys.errors import InputError

SHOP = pl.DataFrame(
    {
        "user": ["ann", "bob", "ann", "ann", "bob", "eve", "ann"],
        "item": ["a", "a", "a", "b", "c", "z", "z"],
        "time": [10, 20, 30, 30, 40, 50, 60],
        "event": ["view", "buy", "buy", "buy", "buy", "view", "view"],
        "visit": [1, 2, 3, 3, 2, 4, 5],
    }
)
DISTINCT = pl.DataFrame({"user": [1, 1, 2, 2], "item": [1, 2, 1, 3], "time": [4, 3, 2, 1]})


def ids(data: Dataset, rows: Interactions) -> list[tuple[Any, Any]]:
    users, items = data.users.ids.gather(rows.user), data.items.ids.gather(rows.item)
    return list(zip(users.to_list(), items.to_list(), strict=True))


def test_without_the_key_the_log_is_the_pairs() -> None:
    data = load(SHOP).dataset
    assert data.events is None
    assert data.log is data.pairs
    assert split(data).train.log.key.tolist() == split(data).train.pairs.key.tolist()
    assert load(SHOP, keep_log=False).dataset.events is None


@pytest.mark.parametrize("by", [{"by": "last"}, {"seed": 1}, {"by": "time", "test_from": 0.7}])
def test_where_nothing_differs_the_log_is_the_same_object(by: dict[str, Any]) -> None:
    data = load(DISTINCT, keep_log=True).dataset
    assert data.events is data.pairs
    assert data.fingerprint == load(DISTINCT).dataset.fingerprint
    result = split(data, SplitRule(**by))
    assert result.train.log is result.train.pairs
    assert result.refit().train.log is result.refit().train.pairs
    assert result.fingerprint == split(load(DISTINCT), SplitRule(**by)).fingerprint


def test_every_event_is_kept_with_its_columns() -> None:
    settings: dict[str, Any] = {"behaviours": ("buy",), "session": "visit"}
    plain = load(SHOP, **settings).dataset
    data = load(SHOP, **settings, keep_log=True).dataset
    assert data.pairs.fingerprint == plain.pairs.fingerprint
    assert data.pairs_fingerprint == plain.pairs_fingerprint
    assert data.fingerprint != plain.fingerprint
    log = data.log.take(data.log.chronological)
    assert ids(data, log) == [
        ("ann", "a"),
        ("bob", "a"),
        ("ann", "a"),
        ("ann", "b"),
        ("bob", "c"),
    ]
    assert log.time is not None
    assert log.time.tolist() == [10, 20, 30, 30, 40]
    assert log.behaviour is not None
    assert [log.behaviours[code] for code in log.behaviour] == ["view", *["buy"] * 4]
    assert log.session is not None
    assert data.sessions is not None
    assert [data.sessions.ids[int(row)] for row in log.session] == [1, 2, 3, 3, 2]
    # A session of the pairs has the same row in the log, and those of the log alone follow.
    assert plain.sessions is not None
    assert data.sessions.ids.to_list()[: len(plain.sessions)] == plain.sessions.ids.to_list()
    assert "log: 5 events kept, 2 of users or items without a pair left out" in data.history
    assert "log 5 events" in repr(data)


def test_weights_of_events_are_not_merged_and_thresholds_leave_them() -> None:
    frame = pl.DataFrame(
        {"user": [1, 1, 1, 2], "item": [1, 1, 2, 1], "time": [1, 2, 3, 4], "rating": [1, 3, 5, 4]}
    )
    data = load(frame, duplicates="sum", min_weight=4, keep_log=True).dataset
    assert data.pairs.weight is not None
    assert data.pairs.weight.tolist() == [4, 5, 4]
    assert data.log.weight is not None
    assert data.log.weight[data.log.chronological].tolist() == [1, 3, 5, 4]
    windowed = load(frame, duplicates="sum", since=2, keep_log=True).dataset
    assert windowed.log.time is not None
    assert windowed.log.time.min() == 2


def test_rows_without_times_keep_the_order_of_the_file() -> None:
    frame = pl.DataFrame({"user": [1, 1, 1, 1], "item": ["b", "a", "b", "c"]})
    log = (data := load(frame, keep_log=True).dataset).log
    assert [item for _, item in ids(data, log.take(log.chronological))] == ["b", "a", "b", "c"]
    distinct = load(frame[:2], keep_log=True).dataset
    assert [item for _, item in ids(distinct, distinct.log.take(distinct.log.chronological))] == [
        "b",
        "a",
    ]
    matrix = load(sp.csr_matrix(np.array([[0, 1], [1, 1]])), keep_log=True).dataset
    assert matrix.log is matrix.pairs  # a matrix has no order to keep


def test_equal_times_keep_the_order_of_the_file() -> None:
    frame = pl.DataFrame({"user": [1] * 4, "item": ["b", "a", "b", "c"], "time": [5, 5, 5, 4]})
    log = (data := load(frame, keep_log=True).dataset).log
    assert [item for _, item in ids(data, log.take(log.chronological))] == ["c", "b", "a", "b"]


# ---- what a split leaves of the log


def shop(seed: int = 0, *, timed: bool = True) -> LoadedData:
    """A log with repeats, views and ties, in which most pairs occur more than once."""
    rng = np.random.default_rng(seed)
    n = 900
    frame = pl.DataFrame(
        {
            "user": rng.integers(0, 25, n),
            "item": rng.integers(0, 30, n),
            "time": 1_600_000_000 + rng.integers(0, 150, n),
            "event": rng.choice(["view", "buy"], n),
        }
    )
    if not timed:
        frame = frame.drop("time")
    return load(frame, behaviours=("buy",), keep_log=True)


RULES: dict[str, SplitRule] = {
    "ratio": SplitRule(),
    "ratio of all": SplitRule(per="all"),
    "ratio in time": SplitRule(order="time"),
    "ratio of all in time": SplitRule(order="time", per="all"),
    "last": SplitRule(by="last", k=2),
    "time": SplitRule(by="time", valid_from=0.6, test_from=0.8),
    "date": SplitRule(by="time", test_from=1_600_000_100),
    "new items": SplitRule(by="new-item"),
    "new and warm items": SplitRule(by="new-item", warm_share=0.3),
    "libcml": SplitRule(by="libcml"),
}


def held_out(result: Split, *, refit: bool) -> list[Interactions]:
    assert result.test is not None
    parts = [result.test.open("test of the log").pairs]
    if not refit and result.valid is not None:
        parts.append(result.valid.pairs)
    return parts


def breaches(log: Interactions, train: Interactions, held: list[Interactions], name: str) -> int:
    """Count the events that a method must not see, one by one."""
    keys = {int(key) for part in held for key in part.key}
    own = {int(key) for key in train.key}
    warm = {int(item) for item in train.item}
    first: dict[int, int] = {}
    for part in held:
        for user, time in zip(part.user, part.time, strict=True):
            first[int(user)] = min(int(time), first.get(int(user), int(time)))
    earliest = min(first.values())
    count = 0
    for user, item, time, key in zip(log.user, log.item, log.time, log.key, strict=True):
        bad = int(key) in keys
        if name in ("last", "ratio in time") and int(user) in first:
            limit = first[int(user)]
            bad |= time > limit or (time == limit and int(key) not in own)
        elif name == "ratio of all in time":
            bad |= time > earliest or (time == earliest and int(key) not in own)
        elif name in ("time", "date"):
            bad |= time >= earliest
        elif name.startswith("new"):
            bad |= int(item) not in warm
        count += bool(bad)
    return count


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("refit", [False, True])
def test_the_log_of_train_holds_no_event_of_what_is_held_out(name: str, refit: bool) -> None:
    loaded = shop()
    result = split(loaded, RULES[name])
    held = held_out(result, refit=refit)
    train = (result.refit() if refit else result).train
    # The whole log holds such events, so the check can fail.
    assert breaches(loaded.dataset.log, train.pairs, held, name) > 20
    assert breaches(train.log, train.pairs, held, name) == 0
    # Nothing else is lost: every pair of train still has an event, and so have views.
    assert np.isin(train.pairs.key, train.log.key).all()
    assert train.log.behaviour is not None
    views = train.log.behaviour == train.log.behaviours.index("view")
    assert len(train.log) > views.sum() > 20
    assert len(np.unique(train.log.key)) < len(train.log)


def planted(loaded: LoadedData, user: int, item: int, time: int) -> LoadedData:
    """Add one view to the log of a data set."""
    data = loaded.dataset
    log = data.log
    one = Interactions(
        np.array([user]),
        np.array([item]),
        log.n_users,
        log.n_items,
        time=np.array([time]),
        order=np.array([len(log)]),
        behaviour=np.array([log.behaviours.index("view")]),
        behaviours=log.behaviours,
        time_unit=log.time_unit,
    )
    more = join(log, one)
    return LoadedData(data.with_pairs(data.pairs, log=more))


PLANTS: list[tuple[str, Callable[[Interactions, Interactions], tuple[int, int, int]]]] = [
    # A train pair once more, at the time of the user's first held-out row or after the cut.
    ("last", lambda train, test: (*_repeat(train, test), 2_000_000_000)),
    ("ratio in time", lambda train, test: (*_repeat(train, test), 2_000_000_000)),
    ("ratio of all in time", lambda train, test: (*_repeat(train, test), 2_000_000_000)),
    ("time", lambda train, test: (*_repeat(train, test), 2_000_000_000)),
    ("date", lambda train, test: (*_repeat(train, test), 1_600_000_100)),
    # A view of the answer before it, in rules without an order.
    ("ratio", lambda train, test: (int(test.user[0]), int(test.item[0]), 1_600_000_000)),
    ("libcml", lambda train, test: (int(test.user[0]), int(test.item[0]), 1_600_000_000)),
    # A view of a new item by somebody who did not buy it.
    ("new items", lambda train, test: (_stranger(test), int(test.item[0]), 1_600_000_000)),
]


def _repeat(train: Interactions, test: Interactions) -> tuple[int, int]:
    row = int(np.flatnonzero(np.isin(train.user, test.user))[0])
    return int(train.user[row]), int(train.item[row])


def _stranger(test: Interactions) -> int:
    owners = set(test.user[test.item == test.item[0]].tolist())
    return next(user for user in range(test.n_users) if user not in owners)


@pytest.mark.parametrize(("name", "plant"), PLANTS, ids=[name for name, _ in PLANTS])
def test_a_planted_event_does_not_reach_train(
    name: str, plant: Callable[[Interactions, Interactions], tuple[int, int, int]]
) -> None:
    loaded = shop()
    before = split(loaded, RULES[name])
    assert before.test is not None
    user, item, time = plant(before.train.pairs, before.test.open("where to plant").pairs)
    more = planted(loaded, user, item, time)
    after = split(more, RULES[name])
    assert len(more.dataset.log) == len(loaded.dataset.log) + 1
    assert after.train.pairs.fingerprint == before.train.pairs.fingerprint
    assert after.train.log.fingerprint == before.train.log.fingerprint
    assert after.refit().train.log.fingerprint == before.refit().train.log.fingerprint
    # An event long before the cut, of a pair of train, is seen.
    own = _repeat(before.train.pairs, before.test.open("where to plant").pairs)
    early = split(planted(loaded, *own, 1_500_000_000), RULES[name])
    assert len(early.train.log) == len(before.train.log) + 1


def test_events_of_valid_join_at_the_refit() -> None:
    result = split(shop(), SplitRule(by="time", valid_from=0.5, test_from=0.8))
    log, refitted = result.train.log, result.refit().train.log
    assert result.valid_log is not None
    assert len(refitted) == len(log) + len(result.valid_log)
    assert refitted.time is not None
    assert log.time is not None
    assert refitted.time.max() > log.time.max()
    keys = np.stack([refitted.key, refitted.time])
    assert (keys[:, np.lexsort((refitted.order, *keys[::-1]))] == keys).all()  # still in order


def test_a_log_with_finer_times_than_the_pairs_is_cut_in_its_own_unit() -> None:
    frame = pl.DataFrame(
        {
            "user": [1, 1, 1, 1, 2],
            "item": [1, 2, 1, 1, 2],
            "time": [1_600_000_000_000 + ms for ms in (0, 9_000, 8_999, 9_001, 1_000)],
            "event": ["buy", "buy", "view", "view", "buy"],
        }
    )
    data = load(frame, behaviours=("buy",), keep_log=True).dataset
    assert (data.pairs.time_unit, data.log.time_unit) == ("s", "ms")
    for rule in (SplitRule(by="last"), SplitRule(by="time", test_from="2020-09-13 12:26:49")):
        log = split(data, rule).train.log
        assert log.time is not None
        assert sorted(log.time - 1_600_000_000_000) == [0, 1_000, 8_999], rule.by


def test_without_times_only_events_of_held_out_pairs_leave() -> None:
    loaded = shop(timed=False)
    result = split(loaded, SplitRule(seed=4))
    assert result.valid is not None
    keys = np.concatenate([part.key for part in held_out(result, refit=False)])
    log = loaded.dataset.log
    assert len(result.train.log) == int((~np.isin(log.key, keys)).sum()) < len(log)


def test_files_that_are_split_already(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(
        "user,item,time\n1,a,1\n1,a,2\n1,b,3\n2,c,3\n2,c,4\n1,c,5\n"
    )
    (tmp_path / "valid.csv").write_text("user,item,time\n1,c,6\n1,c,7\n1,a,8\n1,d,8\n")
    (tmp_path / "test.csv").write_text("user,item,time\n1,d,9\n2,c,9\n")
    loaded = load(tmp_path, keep_log=True)
    data = loaded.dataset
    result = split(loaded)
    assert sorted(ids(data, result.train.log)) == [(1, "b")]
    refitted = result.refit().train.log
    assert refitted.time is not None
    events = sorted(
        zip(ids(data, refitted), refitted.time.tolist(), strict=True), key=lambda e: e[1]
    )
    assert [(item, time) for (_, item), time in events] == [
        ("a", 1), ("a", 2), ("b", 3), ("c", 5), ("c", 6), ("c", 7), ("a", 8),
    ]  # fmt: skip
    without_valid = load(tmp_path, train="train.csv", test="test.csv", keep_log=True)
    made = split(without_valid, SplitRule(valid_share=0.4))
    assert made.valid is not None
    assert not np.isin(made.train.log.key, made.valid.pairs.key).any()
    assert made.valid_log is not None
    assert np.isin(made.valid_log.key, made.valid.pairs.key).all()


def test_noise_is_refused_beside_a_log_and_shared_with_it_where_it_is_the_pairs() -> None:
    noise = SplitRule(noise=Noise(kind="random", share=1.0))
    with pytest.raises(InputError, match="noise is added to pairs, and the log holds other events"):
        split(shop(), noise)
    rng = np.random.default_rng(0)
    pairs = np.unique(rng.integers(0, 20, (200, 2)), axis=0)
    frame = pl.DataFrame({"user": pairs[:, 0], "item": pairs[:, 1], "time": range(len(pairs))})
    train = split(load(frame, keep_log=True), noise).train
    assert train.log is train.pairs


def test_other_pairs_take_their_events_along() -> None:
    data = shop().dataset
    fewer = data.with_pairs(data.pairs.take(np.arange(10)))
    gone = set(data.pairs.key[10:].tolist())
    assert not gone & set(fewer.log.key.tolist())
    assert set(fewer.pairs.key.tolist()) <= set(fewer.log.key.tolist())
    with pytest.raises(ValueError, match="same users and items"):
        Dataset(load(DISTINCT).dataset.pairs, data.users, data.items, events=data.log)
