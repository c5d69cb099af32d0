"""Whole sessions are held out, position by position: against a plain loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from questions import (
    START,
    Event,
    Question,
    asked,
    bought,
    events_of,
    loaded,
    opened,
    pairs_of,
    question,
    random_log,
    rows_of,
    triples,
)

from recsys.config import build
from recsys.data.load import load
from recsys.data.splitting import SplitRule, split
from recsys.data.types import Dataset
from recsys.errors import InputError


def visits(seed: int, *, n: int = 600) -> pl.DataFrame:
    """Return a log in which the visits of users overlap, tie, repeat items and differ in length."""
    rng = np.random.default_rng(seed)
    visit = (120 * rng.random(n) ** 1.7).astype(int)
    return pl.DataFrame(
        {
            "user": visit % 17,
            "item": (20 * rng.random(n) ** 1.5).astype(int),
            "time": START + visit * 3 + rng.integers(0, 12, n),
            "event": rng.choice(["view", "buy"], n, p=[0.2, 0.8]),
            "visit": visit,
        }
    )


def grouped(events: list[Event], key: Callable[[Event], int]) -> dict[int, list[Event]]:
    groups: dict[int, list[Event]] = {}
    for event in events:
        groups.setdefault(key(event), []).append(event)
    return groups


def naive(
    events: list[Event],
    key: Callable[[Event], int],
    part_of: Callable[[list[list[Event]]], list[int]],
    positions: str,
) -> tuple[list[Event], list[Event], list[Question], list[Question], int]:
    """Return the events of train and valid, the questions of valid and test, and those not asked.

    Args:
        events: in order.
        key: the session of an event.
        part_of: the part of each session, of a list of sessions in the order of their last event.
        positions: as in [split].
    """
    sessions = sorted(grouped(events, key).values(), key=lambda own: own[-1])
    parts = part_of(sessions)
    questions: dict[int, list[Question]] = {1: [], 2: []}
    n_early = 0
    for own, part in zip(sessions, parts, strict=True):
        if not part:
            continue
        known = [
            event
            for each, other in zip(sessions, parts, strict=True)
            for event in each
            if other < part
        ]
        buys = [event for event in own if event.buys]
        places = list(range(1, len(buys)))
        late = [place for place in places if buys[place] > max(known)]
        n_early += len(places) - len(late)
        if positions == "last":
            late = [place for place in late if place == len(buys) - 1]
        for place in late:
            questions[part].append(question(key(own[0]), buys[:place], [buys[place]]))
    train, valid = (
        [
            event
            for own, part in zip(sessions, parts, strict=True)
            if part == number
            for event in own
        ]
        for number in (0, 1)
    )
    return train, valid, sorted(questions[1]), sorted(questions[2]), n_early


def by_share(valid: float, test: float) -> Callable[[list[list[Event]]], list[int]]:
    def parts(sessions: list[list[Event]]) -> list[int]:
        n_valid, n_test = int(valid * len(sessions) + 1e-9), int(test * len(sessions) + 1e-9)
        return [0] * (len(sessions) - n_valid - n_test) + [1] * n_valid + [2] * n_test

    return parts


def by_point(first: int, last: int) -> Callable[[list[list[Event]]], list[int]]:
    return lambda sessions: [(own[-1].time >= first) + (own[-1].time >= last) for own in sessions]


RULES: list[tuple[dict[str, Any], Callable[[list[list[Event]]], list[int]]]] = [
    ({}, by_share(0.1, 0.1)),
    ({"ratios": (0.5, 0.2, 0.3)}, by_share(0.2, 0.3)),
    ({"valid_from": START + 150, "test_from": START + 250}, by_point(START + 150, START + 250)),
    ({"test_from": START + 200}, by_point(START + 200, START + 200)),
]


@pytest.mark.parametrize("rule", range(len(RULES)))
@pytest.mark.parametrize("positions", ["all", "last"])
@pytest.mark.parametrize("has_visits", [True, False])
@pytest.mark.parametrize("seed", range(2))
def test_against_the_naive_loop(seed: int, rule: int, positions: str, has_visits: bool) -> None:
    frame = visits(seed)
    if not has_visits:  # each user is a session: short ones, of other users
        frame = frame.with_columns(user=pl.col("visit")).drop("visit")
    data = loaded(frame, **({"session": "visit"} if has_visits else {})).dataset
    settings, part_of = RULES[rule]
    result = split(data, SplitRule(by="session", positions=positions, **settings))
    events = events_of(frame, data)
    key = (lambda event: event.session) if has_visits else (lambda event: event.user)
    train, joining, valid, test, n_early = naive(events, key, part_of, positions)
    ids = (data.sessions if has_visits else data.users).ids
    assert asked(data, result.valid, lambda row: ids[row]) == valid
    assert asked(data, opened(result), lambda row: ids[row]) == test
    assert rows_of(data, result.train.log) == triples(train)
    assert pairs_of(data, result.train.pairs) == bought(train)
    refitted = result.refit().train
    if valid:
        assert rows_of(data, refitted.log) == triples(train + joining)
        assert pairs_of(data, refitted.pairs) == bought(train + joining)
    assert ("positions before the end of an earlier part not asked" in result.rule) == (n_early > 0)
    held = opened(result)
    assert (held.unit_name, held.repeats, held.queries.excludes_history) == ("session", True, False)
    assert held.queries.ids is not None
    assert held.queries.ids.to_list() == [ids[row] for row in held.unit.tolist()]
    if has_visits:
        assert data.sessions is not None
        owner = {event.session: event.user for event in events}
        users = [data.users.ids[int(row)] for row in held.queries.user]
        assert users == [owner[session] for session in held.queries.ids]
    else:
        assert held.queries.kinds == {"history"}
        assert "each user is a session" in result.rule


def clicks(*rows: tuple[int, int, int]) -> Dataset:
    """Return clicks of (session, item, time); each session is a user."""
    frame = pl.DataFrame(list(rows), schema=["user", "item", "time"], orient="row")
    return load(frame, keep_log=True).dataset


def test_a_session_that_spans_the_cut_is_in_the_later_part() -> None:
    data = clicks((1, 5, 0), (1, 6, 1), (2, 5, 2), (2, 7, 3), (2, 5, 10), (2, 8, 11), (3, 6, 4))
    result = split(data, SplitRule(by="session", test_from=10))
    assert rows_of(data, result.train.log) == [(1, 5, 0), (1, 6, 1), (3, 6, 4)]
    # Train ends at 4, after the click at 3: that click is history only.
    assert asked(data, opened(result)) == [Question(2, (5, 7), (5,)), Question(2, (5, 7, 5), (8,))]
    assert "1 test positions before the end of an earlier part not asked" in result.rule


def test_an_item_can_be_the_answer_to_itself() -> None:
    data = clicks((1, 5, 0), (1, 6, 1), (2, 5, 2), (2, 5, 3), (2, 5, 4))
    result = split(data, SplitRule(by="session", test_from=2))
    assert asked(data, opened(result)) == [Question(2, (5,), (5,)), Question(2, (5, 5), (5,))]


def test_sessions_of_one_item_ask_nothing() -> None:
    data = clicks((1, 5, 0), (1, 6, 1), (2, 5, 2), (3, 6, 3))
    result = split(data, SplitRule(by="session", test_from=2))
    assert result.test is None
    assert rows_of(data, result.train.log) == [(1, 5, 0), (1, 6, 1)]


def test_constant_times_keep_the_order_of_the_file() -> None:
    data = clicks(*((session, item, 7) for session in (4, 2, 9) for item in (1, 2, 1)))
    result = split(data, SplitRule(by="session", ratios=(0.3, 0.3, 0.4)))
    assert asked(data, opened(result)) == [Question(9, (1,), (2,)), Question(9, (1, 2), (1,))]
    assert result.valid is None
    with pytest.raises(InputError, match="the rule leaves no train row"):
        split(data, SplitRule(by="session", test_from=7))


def test_a_session_of_a_hundred_thousand_clicks_costs_no_copies() -> None:
    n = 100_000
    frame = pl.DataFrame(
        {"user": [0, 0] + [1] * n, "item": [1, 2, *(np.arange(n) % 50)], "time": range(n + 2)}
    )
    held = opened(split(load(frame, keep_log=True), SplitRule(by="session", test_from=2)))
    history = held.queries.history
    assert history is not None
    assert len(history) == n - 1
    assert (history.length == np.arange(1, n)).all()
    assert len(history.item) == n - 1
    assert len(held.fingerprint) == 64


def test_two_users_in_one_session_are_refused() -> None:
    data = load(visits(0), session="visit", keep_log=True).dataset
    with pytest.raises(InputError, match="belongs to two users"):
        load(visits(0).with_columns(user=pl.int_range(600) % 5), session="visit")
    log = data.log
    user = log.user.copy()
    user[0] = (user[0] + 1) % data.n_users
    torn = replace(data, events=replace(log, user=user))
    with pytest.raises(InputError, match="has two users"):
        split(torn, SplitRule(by="session"))


def files(folder: Path, **parts: list[tuple[int, int, int]]) -> Path:
    for name, rows in parts.items():
        lines = "".join(f"{user},{item},{time}\n" for user, item, time in rows)
        (folder / f"{name}.csv").write_text("user,item,time\n" + lines)
    return folder


TRAIN = [(1, 5, 0), (1, 6, 1), (2, 6, 2), (2, 5, 3), (3, 5, 4), (3, 5, 5)]
TEST = [(9, 5, 8), (9, 5, 9), (9, 7, 10), (8, 6, 3), (8, 5, 4), (7, 5, 11)]


def test_files_that_are_split_by_session_are_asked_at_every_position(tmp_path: Path) -> None:
    valid = [(4, 5, 6), (4, 6, 7), (4, 5, 7)]
    whole = load(files(tmp_path, train=TRAIN, valid=valid, test=TEST), keep_log=True)
    data = whole.dataset
    result = split(whole, SplitRule(by="session"))
    assert asked(data, result.valid) == [Question(4, (5,), (6,)), Question(4, (5, 6), (5,))]
    assert asked(data, opened(result)) == [
        Question(8, (6,), (5,)),
        Question(9, (5,), (5,)),
        Question(9, (5, 5), (7,)),
    ]
    assert "1 test positions before the end of an earlier part asked" in result.rule
    assert "1 of 3 test answers are items without train rows, kept as misses" in result.rule
    assert rows_of(data, result.train.log) == sorted(TRAIN)
    assert rows_of(data, result.refit().train.log) == sorted(TRAIN + valid)
    last = split(whole, SplitRule(by="session", positions="last", drop_new_items=True))
    assert asked(data, opened(last)) == [Question(8, (6,), (5,))]
    with pytest.raises(InputError, match="valid_share is for data without a valid part"):
        split(whole, SplitRule(by="session", valid_share=0.1))
    with pytest.raises(InputError, match="ratios has no effect with by = 'session' on data that"):
        split(whole, SplitRule(by="session", ratios=(0.5, 0.2, 0.3)))


def test_the_latest_train_sessions_of_files_become_valid(tmp_path: Path) -> None:
    whole = load(files(tmp_path, train=TRAIN, test=TEST), keep_log=True)
    data = whole.dataset
    result = split(whole, SplitRule(by="session", valid_share=0.34))
    assert asked(data, result.valid) == [Question(3, (5,), (5,))]
    assert rows_of(data, result.train.log) == sorted(TRAIN[:4])
    assert rows_of(data, result.refit().train.log) == sorted(TRAIN)
    assert len(opened(result).queries) == 3


def test_files_without_a_log_are_asked_by_their_pairs(tmp_path: Path) -> None:
    whole = load(files(tmp_path, train=TRAIN, test=TEST))
    result = split(whole, SplitRule(by="session"))
    assert asked(whole.dataset, opened(result)) == [
        Question(8, (6,), (5,)),
        Question(9, (5,), (7,)),
    ]


def test_a_session_in_two_files_is_refused(tmp_path: Path) -> None:
    whole = load(files(tmp_path, train=TRAIN, test=[*TEST, (3, 5, 9)]), keep_log=True)
    with pytest.raises(InputError, match="session 3 is in train and test"):
        split(whole, SplitRule(by="session"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ratios": (0.8, 0.1, 0.1), "positions": "some"}, "positions"),
        ({"test_from": 0.5, "ratios": (0.5, 0.2, 0.3)}, "ratios has no effect with test_from"),
        ({"valid_from": 0.5}, "valid_from has no effect without test_from"),
        ({"drop_cold": False}, "drop_cold has no effect with by = 'session'"),
        ({"k": 2}, "k has no effect with by = 'session'"),
        ({"noise": {"kind": "random"}}, "noise adds pairs"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        build(SplitRule, {"by": "session", **settings})


def test_data_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    log = visits(1)
    with pytest.raises(InputError, match="by = 'session' needs times"):
        split(load(log.drop("time"), keep_log=True), SplitRule(by="session"))
    with pytest.raises(InputError, match="valid_share has no effect with by = 'session' on one"):
        split(load(log), SplitRule(by="session", valid_share=0.2))
    files(tmp_path, train=TRAIN)
    (tmp_path / "test.csv").write_text("user,item\n8,5\n8,6\n")
    with pytest.raises(InputError, match="train and test do not both have a time column"):
        split(load(tmp_path), SplitRule(by="session"))


@pytest.mark.parametrize("has_visits", [True, False])
def test_rows_that_are_not_sorted_give_the_same_questions(has_visits: bool) -> None:
    frame = visits(3).with_columns(time=START + pl.int_range(600))
    if not has_visits:
        frame = frame.with_columns(user=pl.col("visit"))
    source: dict[str, Any] = {"session": "visit"} if has_visits else {}
    mixed = frame.sample(fraction=1.0, shuffle=True, seed=1)
    first, second = (
        split(load(each, keep_log=True, **source), SplitRule(by="session"))
        for each in (frame, mixed)
    )
    assert first.fingerprint == second.fingerprint


def test_random_log_is_not_one_of_sessions_by_accident() -> None:
    """The users of the log of other tests are long sessions that span the cut."""
    frame = random_log(0)
    data = loaded(frame).dataset
    result = split(data, SplitRule(by="session", ratios=(0.6, 0.2, 0.2)))
    events = events_of(frame, data)
    expected = naive(events, lambda event: event.user, by_share(0.2, 0.2), "all")
    assert asked(data, opened(result)) == expected[3]
