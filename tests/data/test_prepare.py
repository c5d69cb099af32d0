"""Preparation against naive loops, each step with its line in the history."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings

from recsys.data.load import load
from recsys.data.numbering import dataset, interactions
from recsys.data.prepare import (
    behaviours,
    duplicates,
    k_core,
    min_user,
    positives,
    prepare,
    steps_of,
    window,
)
from recsys.data.reading import RawParts, Source
from recsys.data.times import moment
from recsys.data.types import Vocab
from recsys.errors import InputError

PAIRS = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=60)


def log(pairs: list[tuple[int, int]], **columns: list[float]) -> pl.DataFrame:
    frame = pl.DataFrame(
        {"user": [user for user, _ in pairs], "item": [item for _, item in pairs], **columns},
        schema_overrides={"user": pl.Int64, "item": pl.Int64},
    )
    return frame.with_columns(pl.col("weight").cast(pl.Float32)) if "weight" in columns else frame


def naive_core(pairs: list[tuple[int, int]], users: int, items: int) -> list[tuple[int, int]]:
    while True:
        by_user, by_item = Counter(user for user, _ in pairs), Counter(item for _, item in pairs)
        kept = [
            (user, item)
            for user, item in pairs
            if by_user[user] >= users and by_item[item] >= items
        ]
        if kept == pairs:
            return kept
        pairs = kept


@settings(deadline=None)
@given(pairs=PAIRS, users=st.integers(0, 4), items=st.integers(0, 4))
def test_core_is_that_of_the_naive_loop(
    pairs: list[tuple[int, int]], users: int, items: int
) -> None:
    kept, note = k_core(log(pairs), users, items)
    assert kept.rows() == naive_core(pairs, users, items)
    assert note is not None
    assert note.endswith(f": {len(pairs)} -> {kept.height} rows")


def test_core_needs_several_rounds() -> None:
    chain = [(user, item) for user in range(5) for item in (user, user + 1)]
    assert k_core(log(chain), 2, 2)[0].height == 0
    square = [(user, item) for user in (10, 11) for item in (10, 11)]
    assert k_core(log(chain + square), 2, 2)[0].rows() == square


@settings(deadline=None)
@given(
    pairs=PAIRS,
    how=st.sampled_from(["first", "last", "sum"]),
    timed=st.booleans(),
    weighted=st.booleans(),
    data=st.data(),
)
def test_duplicates_are_those_of_the_naive_loop(
    pairs: list[tuple[int, int]], how: str, timed: bool, weighted: bool, data: st.DataObject
) -> None:
    n = len(pairs)
    columns: dict[str, list[float]] = {}
    if timed:
        columns["time"] = data.draw(st.lists(st.integers(0, 5), min_size=n, max_size=n))
    if weighted:
        columns["weight"] = data.draw(st.lists(st.integers(1, 9), min_size=n, max_size=n))
    frame = log(pairs, **columns)
    names = [*frame.columns, *(["weight"] if how == "sum" and not weighted else [])]
    expected = {}
    for pair in set(pairs):
        same = [row for row in frame.iter_rows(named=True) if (row["user"], row["item"]) == pair]
        if timed:
            same.sort(key=lambda row: row["time"])
        one = same[-1 if how == "last" else 0]
        if how == "sum":
            one = one | {"weight": float(sum(row.get("weight", 1) for row in same))}
        expected[pair] = one
    kept, note = duplicates(frame, how)
    assert kept.columns == names
    assert {(row["user"], row["item"]): row for row in kept.iter_rows(named=True)} == expected
    assert kept.height == len(expected)
    assert (note is None) == (len(expected) == n)


@settings(deadline=None)
@given(pairs=PAIRS, least=st.integers(0, 5))
def test_min_user_leaves_items_alone(pairs: list[tuple[int, int]], least: int) -> None:
    counts = Counter(user for user, _ in pairs)
    assert min_user(log(pairs), least)[0].rows() == [
        pair for pair in pairs if counts[pair[0]] >= least
    ]


def test_thresholds_windows_and_behaviours() -> None:
    frame = pl.DataFrame(
        {
            "user": [1, 2, 3],
            "item": [1, 1, 1],
            "weight": [3.0, 4.0, 5.0],
            "time": [0, 86_400, 2 * 86_400],
            "behaviour": ["view", "buy", "view"],
        }
    )
    assert positives(frame, 4)[0].equals(frame[1:])
    assert positives(frame, 4)[1] == "min_weight 4: 3 -> 2 rows"
    kept, note = window(frame, "1970-01-02", "1970-01-03")
    assert kept["user"].to_list() == [2], "the beginning is inside, the end is not"
    assert note == "since 1970-01-02 until 1970-01-03: 3 -> 1 rows"
    assert window(frame, 1, None)[0]["user"].to_list() == [2, 3]
    assert behaviours(frame, ["buy"])[0]["user"].to_list() == [2]
    with pytest.raises(InputError, match="did you mean 'view'"):
        behaviours(frame, ["vew"])
    with pytest.raises(InputError, match="needs a weight column"):
        positives(frame.drop("weight"), 4)
    assert moment("1970-01-01T00:01:00") == 60 * 10**9


def test_a_moment_is_read_as_a_column_of_times_is() -> None:
    for written, expected in (
        (1323419160, 1323419160000000000),
        (1323419160987, 1323419160987000000),
        (1323419160987654, 1323419160987654000),
        (1323419160987654321, 1323419160987654321),
        ("1323419160987", 1323419160987000000),
        ("2011-12-09 08:26:00", 1323419160000000000),
    ):
        assert moment(written) == expected
    assert moment(-60) == -60 * 10**9
    log = pl.DataFrame({"user": [1, 1], "item": [1, 2], "time": [1323419160000, 1323419161000]})
    assert load(log, until=1323419161000).dataset.items.ids.to_list() == [1]
    for wrong in (20111209, "20111209", 10**30):
        with pytest.raises(InputError, match="is not a point in time"):
            moment(wrong)


def test_history_holds_every_step_in_order() -> None:
    frame = pl.DataFrame(
        {"user": [1, 1, 1, 2, 3], "item": [1, 1, 2, 1, 2], "rating": [5.0, 5.0, 5.0, 5.0, 1.0]}
    )
    loaded = load(frame, min_weight=4, user_core=2, item_core=1)
    assert loaded.dataset.history == (
        "data frame: 5 rows",
        "min_weight 4: 5 -> 4 rows",
        "duplicates first: 4 -> 3 rows",
        "user_core 2 item_core 1: 3 -> 2 rows",
    )
    assert (loaded.dataset.n_users, loaded.dataset.n_items) == (1, 2)


def test_removed_users_leave_the_vocabulary_and_dead_items_stay(tmp_path: Path) -> None:
    path = tmp_path / "users.dat"
    path.write_text("2 4 9\n1 3\n3 1 2 9\n")
    data = load(path, min_user=2).dataset
    assert data.users.ids.to_list() == [0, 2]
    assert data.n_items == 10
    cored = load(path, user_core=1, item_core=2).dataset
    assert cored.items.ids.to_list() == [9]


def test_cores_of_presplit_files_are_refused() -> None:
    part = pl.DataFrame({"user": [1], "item": [1]})
    for setting in ({"user_core": 2}, {"item_core": 2}, {"min_user": 2}):
        with pytest.raises(InputError, match="cannot be taken of presplit files"):
            prepare(RawParts(train=part, test=part), Source(**setting))


def test_presplit_parts_share_vocabularies() -> None:
    train = pl.DataFrame({"user": ["b", "a"], "item": [5, 3]})
    test = pl.DataFrame({"user": ["c"], "item": [9]})
    data, held = dataset(RawParts(train=train, test=test))
    assert data.users.ids.to_list() == ["b", "a", "c"], "in the order of the log"
    assert data.items.ids.to_list() == [5, 3, 9]
    assert held is not None
    assert held[0] is None
    assert held[1] is not None
    assert (held[1].user.tolist(), held[1].item.tolist()) == ([2], [2])
    assert data.pairs.item.tolist() == [0, 1], "sorted by user"


def test_presplit_parts_share_the_codes_of_behaviours() -> None:
    train = pl.DataFrame({"user": [1], "item": [1], "behaviour": ["view"]})
    valid = pl.DataFrame({"user": [1], "item": [2], "behaviour": ["buy"]})
    data, held = dataset(RawParts(train=train, valid=valid))
    assert held is not None
    assert held[0] is not None
    assert held[0].behaviours == data.pairs.behaviours == ("buy", "view")
    assert (data.pairs.behaviour, held[0].behaviour) == (np.array([1]), np.array([0]))


def test_unknown_ids_are_named() -> None:
    with pytest.raises(InputError, match="unknown user 'z'"):
        interactions(
            pl.DataFrame({"user": ["z"], "item": [0]}),
            Vocab(pl.Series(["a"]), "user"),
            Vocab.range(1, "item"),
        )


def test_repeated_pairs_keep_the_order_of_time() -> None:
    frame = pl.DataFrame({"user": [1, 1, 0], "item": [0, 0, 0], "time": [9, 3, 5]})
    data, _ = dataset(frame)
    assert data.pairs.time is not None
    assert data.users.ids.to_list() == [1, 0], "the user of the earliest time first"
    assert data.pairs.time.tolist() == [3, 9, 5]
    assert np.array_equal(data.pairs.user, [0, 0, 1])


@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        ({}, ["positives", "duplicates"]),
        ({"duplicates": "sum"}, ["duplicates", "positives"]),
        ({"duplicates": "last", "since": 1}, ["window", "duplicates", "positives"]),
        ({"clean_weight": 3}, ["duplicates", "labels"]),
        ({"clean_weight": 3, "min_weight": 2}, ["positives", "duplicates", "labels"]),
        (
            {"behaviours": ("buy",), "until": 9, "min_user": 2, "item_core": 3},
            ["behaviours", "positives", "window", "duplicates", "min_user", "k_core"],
        ),
    ],
)
def test_the_steps_follow_the_settings(chosen: dict[str, Any], names: list[str]) -> None:
    steps = steps_of(Source(**chosen))
    assert [step.func.__name__ for step in steps] == names  # type: ignore[attr-defined]
