"""No query knows its future: neither its history, nor what it excludes, nor train.

The check of a split is a plain loop over its queries. It is shown to find rules that are wrong on
purpose: a history that holds its answer, a train part that holds valid, an exclusion of answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from questions import START, asked, opened

from recsys.data.load import LoadedData, load
from recsys.data.splitting import (
    SplitRule,
    asking,
    by_session,
    global_time,
    new_user,
    next_item,
    split,
    splits,
)
from recsys.data.splitting.paths import Paths
from recsys.data.splitting.questions import Questions
from recsys.data.types import HeldOut, Interactions, Split

POINTS: dict[str, Any] = {"valid_from": START + 2400, "test_from": START + 3200}
RULES: dict[str, SplitRule] = {
    "next item": SplitRule(by="next-item"),
    "next three": SplitRule(by="next-item", k=3),
    "next three at once": SplitRule(by="next-item", k=3, ask="once"),
    "next in time": SplitRule(by="global-time", **POINTS),
    "all later": SplitRule(by="global-time", targets="all-later", **POINTS),
    "window": SplitRule(by="global-time", test_from=START + 1600, windows=3, window=2),
    "all of a window": SplitRule(
        by="global-time", test_from=START + 1600, windows=3, window=2, targets="all-later"
    ),
    "sessions by share": SplitRule(by="session", ratios=(0.6, 0.2, 0.2)),
    "sessions in time": SplitRule(by="session", **POINTS),
    "last of a session": SplitRule(by="session", positions="last", **POINTS),
    "new users": SplitRule(by="new-user", new_users=0.5, order="time"),
    "new users at random": SplitRule(by="new-user", new_users=0.5),
}
# Rules without an order: an answer may be older than what is given.
UNORDERED = ("new users at random",)


def log() -> pl.DataFrame:
    """Return a log in which no pair repeats and no two times are equal; visits overlap."""
    rng = np.random.default_rng(4)
    user = rng.integers(0, 20, 600)
    frame = pl.DataFrame({"user": user, "item": rng.integers(0, 80, 600)}).unique(
        maintain_order=True
    )
    time = START + 10 * np.arange(frame.height)
    visit = frame["user"].to_numpy() + 20 * ((time - START) // 700)
    return frame.with_columns(time=time, visit=visit)


def whole(frame: pl.DataFrame) -> LoadedData:
    return load(frame, session="visit", keep_log=True)


def leaks(split: Split, loaded: LoadedData, name: str) -> list[str]:
    """Return what queries know of the time of their answers or later, one line each.

    The answers of test are looked up in the train part of a refit, those of valid in train.
    """
    data = loaded.dataset
    assert data.log.time is not None
    when = {(u, i): t for u, i, t in zip(data.log.user, data.log.item, data.log.time, strict=True)}
    owners = data.log.session if name.startswith(("sessions", "last of")) else data.log.user
    user_of = dict(zip(owners.tolist(), data.log.user.tolist(), strict=True))
    lines = []
    for part, held, train in (
        ("valid", split.valid, split.train.log),
        ("test", opened(split), split.refit().train.log),
    ):
        assert held is not None
        excluded = held.queries.exclusion(data.n_items)
        history = held.queries.history
        assert history is not None
        for row, (unit, answers) in enumerate(zip(held.unit.tolist(), held.answers, strict=True)):
            user = user_of[unit]
            first = min(when[user, item] for item in answers.indices.tolist())
            before = history.take(np.array([row]))
            times = before.time[before.cells()]
            known = set(before.item[before.cells()].tolist())
            if name not in UNORDERED and (times >= first).any():
                lines.append(f"{part} {unit}: the history reaches the answer")
            if known & set(answers.indices.tolist()):
                lines.append(f"{part} {unit}: the history holds the answer")
            if set(excluded[[row]].indices.tolist()) - known:
                lines.append(f"{part} {unit}: what is excluded is not in the history")
            if held.queries.now is not None and held.queries.now[row] > first:
                lines.append(f"{part} {unit}: it is asked after the answer")
            if learned(train, user, first, name):
                lines.append(f"{part} {unit}: train reaches the answer")
    return lines


def learned(train: Interactions, user: int, first: int, name: str) -> bool:
    """Return whether train holds what is at or after an answer, as the rule limits it."""
    assert train.time is not None
    if name.startswith("new users"):
        return bool((train.user == user).any())
    late = train.time >= first
    return bool(
        (
            late & (train.user == user) if name.startswith("next ") and "time" not in name else late
        ).any()
    )


@pytest.mark.parametrize("name", RULES)
def test_no_query_knows_its_future(name: str) -> None:
    loaded = whole(log())
    result = split(loaded, RULES[name])
    assert len(opened(result).queries) >= 5
    assert leaks(result, loaded, name) == []


# ---- rules that are wrong on purpose


def with_answer(make: Callable[..., Questions]) -> Callable[..., Questions]:
    """Return a rule whose histories end after the first answer, not before it."""

    def wrong(paths: Paths, first: np.ndarray, last: np.ndarray) -> Questions:
        questions = make(paths, first, last)
        return replace(questions, end=questions.end + 1)

    return wrong


def with_valid(make: Callable[..., Split]) -> Callable[..., Split]:
    """Return a rule that leaves the events of valid in train."""

    def wrong(data: Any, questions: Any, *rest: Any) -> Split:
        part = np.where(questions.part == 1, 0, questions.part)
        return make(data, replace(questions, part=part), *rest)

    return wrong


def excluding(make: Callable[..., HeldOut]) -> Callable[..., HeldOut]:
    """Return a rule that excludes the answers."""

    def wrong(*arguments: Any) -> HeldOut:
        held = make(*arguments)
        return replace(held, queries=replace(held.queries, exclude=held.answers))

    return wrong


@pytest.mark.parametrize("name", RULES)
def test_a_history_with_its_answer_would_be_noticed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (next_item, global_time, by_session, new_user):
        for function in ("each_place", "one_for_all"):
            if hasattr(module, function):
                monkeypatch.setattr(module, function, with_answer(getattr(module, function)))
    loaded = whole(log())
    lines = leaks(split(loaded, RULES[name]), loaded, name)
    assert any("the history holds the answer" in line for line in lines)


@pytest.mark.parametrize("name", RULES)
def test_a_train_part_with_valid_would_be_noticed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(splits, "assemble", with_valid(asking.assemble))
    loaded = whole(log())
    lines = leaks(split(loaded, RULES[name]), loaded, name)
    assert any("valid" in line and "train reaches the answer" in line for line in lines)


@pytest.mark.parametrize("name", RULES)
def test_an_exclusion_of_answers_would_be_noticed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "held_out", excluding(asking.held_out))
    loaded = whole(log())
    lines = leaks(split(loaded, RULES[name]), loaded, name)
    assert any("what is excluded is not in the history" in line for line in lines)


# ---- a planted event


def plant(frame: pl.DataFrame, name: str) -> tuple[pl.DataFrame, Any, int]:
    """Add an event after the answer of a test query, by the same user in the same visit.

    Returns:
        The log, the owner of the query, and the time of the event.
    """
    before = split(whole(frame), RULES[name])
    data = before.train
    by_visit = name.startswith(("sessions", "last of"))
    ids = data.sessions.ids if by_visit else data.users.ids
    question = asked(data, opened(before), lambda row: ids[row])[3]
    own = frame.filter(pl.col("visit" if by_visit else "user") == question.owner)
    last = own.filter(pl.col("item").is_in(list(question.answers))).sort("time")[-1]
    unknown = sorted(set(range(80)) - set(frame.filter(user=last["user"][0])["item"]))[0]
    time = int(last["time"][0]) + 5
    row = last.with_columns(item=pl.lit(unknown), time=pl.lit(time)).cast(frame.schema)
    return pl.concat([frame, row]), question.owner, time


def breaches(frame: pl.DataFrame, name: str) -> list[str]:
    """Return what a later event changes although it must not, one line each."""
    more, owner, time = plant(frame, name)
    before, after = split(whole(frame), RULES[name]), split(whole(more), RULES[name])
    lines = leaks(after, whole(more), name)
    for stage, train in (("train", after.train.log), ("refit", after.refit().train.log)):
        if time in train.time:
            lines.append(f"{stage} holds the later event")
    moves = name.startswith("next ") and "time" not in name
    kept, now = set(before.train.log.time), set(after.train.log.time)
    if not (kept == now or (moves and kept <= now <= set(before.refit().train.log.time))):
        lines.append("train has changed")
    by_visit = name.startswith(("sessions", "last of"))
    ids = before.train.sessions.ids if by_visit else before.train.users.ids
    for part, (old, new) in {
        "valid": (before.valid, after.valid),
        "test": (opened(before), opened(after)),
    }.items():
        questions = [
            [each for each in asked(data, held, lambda row: ids[row]) if each.owner != owner]
            for data, held in ((before.train, old), (after.train, new))
        ]
        if questions[0] != questions[1]:
            lines.append(f"{part} asks others something else")
    if not moves and name not in UNORDERED:
        old_own, new_own = (
            {
                each.history
                for each in asked(s.train, opened(s), lambda row: ids[row])
                if each.owner == owner
            }
            for s in (before, after)
        )
        if not (old_own <= new_own or name.startswith(("last of", "new"))):
            lines.append("the history of the query has changed")
    return lines


@pytest.mark.parametrize("name", RULES)
def test_a_later_event_changes_no_earlier_question(name: str) -> None:
    assert breaches(log(), name) == []


@pytest.mark.parametrize("name", RULES)
def test_a_rule_that_reads_later_events_would_be_noticed(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The histories of this rule go to the end of the path, whatever is asked."""

    def to_the_end(make: Callable[..., Questions]) -> Callable[..., Questions]:
        def wrong(paths: Paths, first: np.ndarray, last: np.ndarray) -> Questions:
            questions = make(paths, first, last)
            return replace(questions, end=paths.end[questions.owner])

        return wrong

    for module in (next_item, global_time, by_session, new_user):
        for function in ("each_place", "one_for_all"):
            if hasattr(module, function):
                monkeypatch.setattr(module, function, to_the_end(getattr(module, function)))
    assert breaches(log(), name) != []


def test_a_train_part_of_random_pairs_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule that asks for the last items but draws train at random holds the future."""

    def drawn(data: Any, rule: SplitRule) -> Any:
        questions = real(data, rule)
        part = np.random.default_rng(0).choice(3, len(questions.part), p=[0.8, 0.1, 0.1])
        return replace(questions, part=part.astype(np.int8))

    real = next_item.next_item
    monkeypatch.setattr(splits, "next_item", drawn)
    loaded = whole(log())
    lines = leaks(split(loaded, RULES["next item"]), loaded, "next item")
    assert any("train reaches the answer" in line for line in lines)
