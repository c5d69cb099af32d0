"""Points in time and windows, the same for all users: against a plain loop."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest
from questions import (
    START,
    Event,
    Question,
    asked,
    bought,
    by_user,
    events_of,
    loaded,
    opened,
    pairs_of,
    question,
    random_log,
    rows_of,
    triples,
)

from recsys.data.load import load
from recsys.data.splitting import SplitRule, each_rule, each_split, split
from recsys.errors import InputError


def naive(
    events: list[Event], begin: int, end: int, targets: str, warm: set[int]
) -> list[Question]:
    """Return the questions of the part between two points in time, of warm users."""
    questions = []
    for user, own in by_user(events).items():
        buys = [event for event in own if event.buys]
        held = [event for event in buys if begin <= event.time < end]
        before = [event for event in buys if event.time < begin]
        if held and user in warm:
            questions.append(question(user, before, held[:1] if targets == "next" else held))
    return sorted(questions)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("targets", ["next", "all-later"])
@pytest.mark.parametrize("drop_cold", [True, False])
def test_against_the_naive_loop(seed: int, targets: str, drop_cold: bool) -> None:
    frame = random_log(seed)
    data = loaded(frame).dataset
    first, last = START + 50, START + 70
    rule = SplitRule(
        by="global-time", valid_from=first, test_from=last, targets=targets, drop_cold=drop_cold
    )
    result = split(data, rule)
    events = events_of(frame, data)
    train = [event for event in events if event.time < first]
    users = {event.user for event in train if event.buys}
    if not drop_cold:
        users = {event.user for event in events}
    joining = [event for event in events if first <= event.time < last and event.user in users]
    assert rows_of(data, result.train.log) == triples(train)
    assert pairs_of(data, result.train.pairs) == bought(train)
    assert asked(data, result.valid) == naive(events, first, last, targets, users)
    assert asked(data, opened(result)) == naive(events, last, START + 999, targets, users)
    assert pairs_of(data, result.refit().train.pairs) == bought(train + joining)
    assert rows_of(data, result.refit().train.log) == triples(train + joining)
    now = opened(result).queries.now
    assert (now is None) == (targets == "next")
    assert now is None or set(now.tolist()) == {last}
    assert opened(result).queries.kinds == {"user", "history"}


def test_the_points_are_those_of_by_time() -> None:
    frame = random_log(5, views=False).unique(["user", "item"], keep="first", maintain_order=True)
    data = load(frame).dataset
    for points in (
        {"valid_from": 0.5, "test_from": 0.75},
        {"test_from": "2020-09-13T12:27:40"},
        {"valid_from": START + 9, "test_from": START + 70},
    ):
        by_time = split(data, SplitRule(by="time", **points))
        result = split(data, SplitRule(by="global-time", targets="all-later", **points))
        assert result.train.pairs.fingerprint == by_time.train.pairs.fingerprint
        assert opened(result).pairs.fingerprint == opened(by_time).pairs.fingerprint
        answers = [(q.owner, item) for q in asked(data, opened(result)) for item in q.answers]
        assert sorted(answers) == pairs_of(data, opened(by_time).pairs)
        assert (result.valid is None) == (by_time.valid is None)
        assert (result.valid is None) == ("valid_from" not in points)


def test_a_user_who_is_new_after_the_point_has_an_empty_history() -> None:
    frame = pl.DataFrame({"user": [1, 1, 2, 2], "item": [1, 2, 1, 2], "time": [0, 10, 11, 12]})
    rule: dict[str, Any] = {"by": "global-time", "test_from": 5}
    kept = split(load(frame), SplitRule(**rule, drop_cold=False))
    assert asked(kept.train, opened(kept)) == [Question(1, (1,), (2,)), Question(2, (), (1,))]
    dropped = split(load(frame), SplitRule(**rule))
    assert asked(dropped.train, opened(dropped)) == [Question(1, (1,), (2,))]
    assert "1 test questions of users without train rows dropped" in dropped.rule


@pytest.mark.parametrize("targets", ["next", "all-later"])
@pytest.mark.parametrize("windows", [2, 3, 7])
def test_windows_hold_out_every_later_event_once(targets: str, windows: int) -> None:
    frame = random_log(7, views=False, n=800)
    data = load(frame, keep_log=True).dataset
    start = START + 50
    rule = SplitRule(
        by="global-time", test_from=start, windows=windows, targets=targets, drop_cold=False
    )
    events = events_of(frame, data)
    end = max(event.time for event in events) + 1
    edges = [start + (end - start) * number // windows for number in range(windows + 1)]
    seen: list[tuple[int, int]] = []
    splits = list(each_split(data, rule))
    assert [one.window for one in each_rule(rule)] == list(range(1, windows + 1))
    assert len({one.fingerprint for one in splits}) == windows
    for number, result in enumerate(splits):
        begin, stop = edges[number], edges[number + 1]
        before = edges[number - 1] if number else begin - (stop - begin)
        users = set(frame["user"])
        assert asked(data, opened(result)) == naive(events, begin, stop, targets, users)
        assert asked(data, result.valid) == naive(events, before, begin, targets, users)
        assert rows_of(data, result.train.log) == triples([e for e in events if e.time < before])
        refitted = result.refit().train.log
        assert rows_of(data, refitted) == triples([e for e in events if e.time < begin])
        held = [event for event in events if begin <= event.time < stop]
        assert pairs_of(data, opened(result).pairs) == bought(held)
        seen += [(event.line, event.time) for event in held]
    assert sorted(seen) == sorted((e.line, e.time) for e in events if e.time >= start)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "by = 'global-time' needs test_from"),
        ({"test_from": 0.5, "window": 2}, "window has no effect without windows"),
        ({"test_from": 0.5, "windows": 2, "window": 3}, "window = 3, and there are 2 windows"),
        ({"test_from": 0.5, "windows": 1}, "windows"),
        (
            {"test_from": 0.5, "windows": 2, "valid_from": 0.2},
            "valid_from has no effect with windows",
        ),
        ({"test_from": 0.5, "k": 2}, "k has no effect with by = 'global-time'"),
        ({"test_from": 0.5, "clean_valid": True}, "clean_valid leaves out pairs"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SplitRule(by="global-time", **settings)


def test_data_that_do_not_fit_are_refused() -> None:
    timed = pl.DataFrame({"user": [1, 1, 2, 2], "item": [1, 2, 1, 2], "time": [0, 10, 11, 90]})
    cases: list[tuple[pl.DataFrame, dict[str, Any], str]] = [
        (timed.drop("time"), {"test_from": 0.5}, "by = 'global-time' needs times"),
        (timed, {"test_from": 500}, "no row is at or after test_from 500"),
        (timed, {"test_from": 5, "valid_from": 11}, "valid_from 11 is later than test_from 5"),
        (timed, {"test_from": -5}, "the rule leaves no train row"),
        (timed, {"test_from": 20, "windows": 4, "window": 2}, "window 2 of 4 holds no event"),
        (timed, {"test_from": 90, "windows": 4}, "4 windows do not fit"),
        (timed.with_columns(time=pl.lit(5)), {"test_from": 5}, "the rule leaves no train row"),
    ]
    for frame, points, message in cases:
        with pytest.raises(InputError, match=message):
            split(load(frame), SplitRule(by="global-time", **points))
