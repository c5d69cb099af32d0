"""A pair of train knows the events of train alone: its time, weight, session and behaviour."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from recsys.data.load import load
from recsys.data.splitting import SplitRule, split
from recsys.data.types import Interactions

# One pair is bought four times; the last two events are after the cut.
LOG = pl.DataFrame(
    {
        "user": [1, 1, 1, 1, 1, 2, 1],
        "item": [7, 7, 8, 7, 7, 7, 7],
        "time": [10, 20, 25, 30, 40, 5, 15],
        "stars": [3.0, 4.0, 1.0, 5.0, 2.5, 1.0, 9.0],
        "visit": ["a", "b", "b", "c", "d", "e", "a"],
        "event": ["buy", "buy", "buy", "buy", "buy", "buy", "view"],
    }
)


def row(pairs: Interactions, user: int = 0, item: int = 0) -> dict[str, Any]:
    """Return the columns of one pair; rows are in the order in which ids occur."""
    (place,) = [
        place
        for place, (own, other) in enumerate(zip(pairs.user, pairs.item, strict=True))
        if (own, other) == (user, item)
    ]
    return {
        name: None if values is None else values[place]
        for name in ("time", "weight", "session")
        for values in [getattr(pairs, name)]
    }


@pytest.mark.parametrize(
    ("source", "time", "weight", "visit"),
    [
        ({"weight": "stars"}, 10, 3.0, "a"),
        ({"weight": "stars", "duplicates": "last"}, 20, 4.0, "b"),
        ({"weight": "stars", "duplicates": "sum"}, 10, 7.0, "a"),
        ({"weight": "none", "duplicates": "sum"}, 10, 2.0, "a"),
    ],
)
def test_a_pair_that_is_cut_keeps_what_came_before(
    source: dict[str, Any], time: int, weight: float, visit: str
) -> None:
    data = load(LOG, behaviours=("buy",), session="visit", keep_log=True, **source).dataset
    result = split(data, SplitRule(by="global-time", test_from=28, targets="all-later"))
    user, item = data.users.rows([1])[0], data.items.rows([7])[0]
    pair = row(result.train.pairs, user, item)
    assert (pair["time"], pair["weight"]) == (time, weight)
    assert data.sessions is not None
    assert data.sessions.ids[int(pair["session"])] == visit
    # And the pair of the test knows those of the test.
    assert result.test is not None
    held = row(result.test.open("a test").pairs, user, item)
    assert held["time"] >= 30
    if source.get("duplicates") == "sum":  # of the two events after the cut
        assert held["weight"] == (7.5 if source["weight"] == "stars" else 2.0)
    # A pair without an event after the cut is what it was.
    other = data.items.rows([8])[0]
    assert row(result.train.pairs, user, other) == row(data.pairs, user, other)


def test_times_that_are_finer_in_the_log_stay_exact() -> None:
    frame = pl.DataFrame(
        {
            "user": [1, 1, 1, 1],
            "item": [1, 2, 1, 1],
            "time": [1_600_000_000_000 + ms for ms in (0, 1_000, 1_500, 9_000)],
        }
    )
    data = load(frame, duplicates="last", keep_log=True).dataset
    assert (data.pairs.time_unit, data.log.time_unit) == ("s", "ms")
    result = split(data, SplitRule(by="next-item"))
    assert result.train.pairs.time is not None
    assert sorted(result.train.pairs.time - 1_600_000_000_000) == [0, 1_000]
    assert result.train.pairs.time_unit == "ms"


def test_a_view_is_neither_history_nor_answer_but_train_keeps_it() -> None:
    data = load(LOG, behaviours=("buy",), keep_log=True).dataset
    result = split(data, SplitRule(by="next-item"))
    assert result.test is not None
    held = result.test.open("a test")
    assert held.queries.history is not None
    assert [len(each) for each in held.queries.history] == [4]
    train = result.train.log
    assert train.behaviour is not None
    assert [train.behaviours[code] for code in train.behaviour].count("view") == 1


def test_what_was_shown_and_not_clicked_is_neither_history_nor_answer() -> None:
    frame = pl.DataFrame(
        {
            "user": [1, 1, 1, 1, 1, 1],
            "item": [5, 6, 5, 7, 6, 5],
            "time": range(6),
            "click": [1, 1, 0, 1, 0, 0],
        }
    )
    data = load(frame, clicked="click", keep_log=True).dataset
    result = split(data, SplitRule(by="next-item"))
    assert result.test is not None
    held = result.test.open("a test")
    assert held.queries.history is not None
    items = data.items.ids
    assert [items.gather(each).to_list() for each in held.queries.history] == [[5, 6]]
    assert items.gather(held.answers.indices).to_list() == [7]
    assert result.train.log.time is not None
    assert sorted(result.train.log.time) == [0], "what was shown before valid, at 1, is one click"
    refitted = result.refit().train.log
    assert refitted.time is not None
    assert sorted(refitted.time) == [0, 1, 2]
