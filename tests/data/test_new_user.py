"""Whole users are held out: none of their events is in train, and a part of them is given."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from questions import (
    Event,
    asked,
    bought,
    by_user,
    events_of,
    loaded,
    opened,
    pairs_of,
    random_log,
    rows_of,
    triples,
)

from recsys.data.load import load
from recsys.data.splitting import SplitRule, each_split, split
from recsys.data.types import HeldOut
from recsys.errors import InputError


def n_given(n: int, given: float) -> int:
    """Return how many of n are given: all but the floor of the rest, but at least one is asked."""
    rest = int(n * (1 - given) + 1e-9)
    return n - (rest or 1)


def check_questions(held: HeldOut, data: Any, events: list[Event], rule: SplitRule) -> set[int]:
    """Compare the questions of a part with the events of its users; return these."""
    of_user = by_user([event for event in events if event.buys])
    questions = asked(data, held)
    for question in questions:
        own = [event.item for event in of_user[question.owner]]
        if rule.order == "time":
            number = n_given(len(own), rule.given)
            assert question.history == tuple(own[:number])
            assert set(question.answers) == set(own[number:])
        else:
            given, answers = set(question.history), set(question.answers)
            assert not given & answers
            assert len(given) == n_given(len(set(own)), rule.given)
            assert question.history == tuple(item for item in own if item in given)
            assert answers == set(own) - given
    users = {question.owner for question in questions}
    assert len(users) == len(questions)
    own_events = [event for event in events if event.user in users]
    assert pairs_of(data, held.pairs) == bought(own_events)
    assert held.queries.kinds == {"history"}
    assert held.queries.ids is not None
    assert held.queries.ids.to_list() == [data.users.ids[row] for row in held.unit.tolist()]
    return users


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("order", ["random", "time"])
@pytest.mark.parametrize("given", [0.8, 0.5])
def test_against_the_naive_loop(seed: int, order: str, given: float) -> None:
    frame = random_log(seed)
    data = loaded(frame).dataset
    rule = SplitRule(by="new-user", new_users=0.6, given=given, order=order, seed=seed)
    result = split(data, rule)
    events = events_of(frame, data)
    assert result.valid is not None
    valid = check_questions(result.valid, data, events, rule)
    test = check_questions(opened(result), data, events, rule)
    assert not valid & test
    eligible = {user for user, own in by_user(events).items() if len(bought(own)) > 1}
    assert len(valid | test) == int(0.6 * len(eligible) + 1e-9)
    assert valid | test <= eligible
    train = [event for event in events if event.user not in valid | test]
    assert rows_of(data, result.train.log) == triples(train)
    assert pairs_of(data, result.train.pairs) == bought(train)
    refitted = [event for event in events if event.user not in test]
    assert rows_of(data, result.refit().train.log) == triples(refitted)
    assert pairs_of(data, result.refit().train.pairs) == bought(refitted)
    assert "users" in result.rule
    assert f"given {given:g}" in result.rule


@pytest.mark.parametrize("folds", [2, 5])
def test_every_user_is_test_in_one_fold(folds: int) -> None:
    frame = random_log(3)
    data = loaded(frame).dataset
    events = events_of(frame, data)
    rule = SplitRule(by="new-user", folds=folds, valid_share=0.25)
    every: list[int] = []
    for result in each_split(data, rule):
        test = check_questions(opened(result), data, events, rule)
        assert result.valid is not None
        valid = check_questions(result.valid, data, events, rule)
        assert not valid & test
        assert not (valid | test) & {user for user, _ in pairs_of(data, result.train.pairs)}
        every += test
    eligible = [user for user, own in by_user(events).items() if len(bought(own)) > 1]
    assert sorted(every) == sorted(eligible)


def test_a_seed_decides_and_the_same_one_repeats() -> None:
    data = loaded(random_log(2)).dataset
    rules = [SplitRule(by="new-user", new_users=0.5, seed=seed) for seed in (0, 0, 1)]
    splits = [split(data, rule) for rule in rules]
    assert splits[0].fingerprint == splits[1].fingerprint != splits[2].fingerprint


def test_without_times_items_are_drawn_but_not_the_first_ones() -> None:
    frame = pl.DataFrame({"user": [u for u in range(9) for _ in range(4)], "item": [*range(4)] * 9})
    data = load(frame).dataset
    result = split(data, SplitRule(by="new-user", new_users=0.5))
    assert all(len(each.history) == 3 for each in asked(data, opened(result)))
    with pytest.raises(InputError, match="order = 'time' needs times"):
        split(data, SplitRule(by="new-user", new_users=0.5, order="time"))


def test_every_item_is_as_likely_to_be_given() -> None:
    frame = pl.DataFrame({"user": np.repeat(range(40), 10), "item": [*range(10)] * 40})
    data = load(frame).dataset
    share = np.zeros(10)
    n = 0
    for seed in range(60):
        rule = SplitRule(by="new-user", new_users=0.5, given=0.5, seed=seed)
        for each in asked(data, opened(split(data, rule))):
            share[list(each.history)] += 1
            n += 1
    assert np.abs(share / n - 0.5).max() < 5 * np.sqrt(0.25 / n)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"given": 1.0}, "given must be below 1, got 1"),
        ({"given": 0.0}, "given"),
        ({"folds": 3, "new_users": 0.5}, "new_users has no effect with folds"),
        ({"valid_share": 0.5}, "valid_share has no effect without folds"),
        ({"drop_cold": False}, "drop_cold has no effect with by = 'new-user'"),
        ({"clean_valid": True}, "clean_valid leaves out pairs"),
        ({"test_from": 0.5}, "test_from has no effect with by = 'new-user'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SplitRule(by="new-user", **settings)


def test_too_few_users_are_refused() -> None:
    lonely = load(pl.DataFrame({"user": [1, 2, 3], "item": [1, 1, 1], "time": [1, 2, 3]}))
    with pytest.raises(InputError, match=r"0\.2 of 0 users with two items or more is 0, too few"):
        split(lonely, SplitRule(by="new-user"))
    with pytest.raises(InputError, match="0 users with two items or more are too few for 4 folds"):
        split(lonely, SplitRule(by="new-user", folds=4))


def test_of_files_that_are_split_already_it_is_refused(tmp_path: Any) -> None:
    (tmp_path / "train.csv").write_text("user,item,time\n1,1,1\n1,2,2\n")
    (tmp_path / "test.csv").write_text("user,item,time\n1,3,3\n")
    whole = load(tmp_path)
    for by in ("next-item", "new-user"):
        with pytest.raises(
            InputError, match=f"by = '{by}' splits one log, but the source is split"
        ):
            split(whole, SplitRule(by=by))
    joined = split(whole, SplitRule(by="next-item", join_parts=True))
    assert len(asked(joined.train, opened(joined))) == 1
