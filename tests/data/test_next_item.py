"""The last events of each user, asked with all before them: against a plain loop."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from questions import (
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
from recsys.data.splitting import SplitRule, split
from recsys.errors import InputError


def naive(
    events: list[Event], k: int, ask: str
) -> tuple[list[Event], list[Event], list[Question], list[Question]]:
    """Return the events of train, those that join at the refit, and the questions."""
    train: list[Event] = []
    joining: list[Event] = []
    questions: dict[int, list[Question]] = {1: [], 2: []}
    for user, own in by_user(events).items():
        buys = [event for event in own if event.buys]
        cuts: dict[int, Event] = {}
        left = buys
        for part in (2, 1):
            take = min(k, max(len(left) - 1, 0))
            held = left[len(left) - take :]
            left = left[: len(left) - take]
            if not held:
                continue
            cuts[part] = held[0]
            if ask == "once":
                questions[part].append(question(user, left, held))
            else:
                for place, event in enumerate(held):
                    questions[part].append(question(user, left + held[:place], [event]))
        for event in own:
            if not cuts or event < min(cuts.values()):
                train.append(event)
            elif 2 not in cuts or event < cuts[2]:
                joining.append(event)
    return train, joining, sorted(questions[1]), sorted(questions[2])


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("ask", ["each", "once"])
def test_against_the_naive_loop(seed: int, k: int, ask: str) -> None:
    frame = random_log(seed)
    data = loaded(frame).dataset
    result = split(data, SplitRule(by="next-item", k=k, ask=ask))
    train, joining, valid, test = naive(events_of(frame, data), k, ask)
    assert asked(data, result.valid) == valid
    assert asked(data, opened(result)) == test
    assert rows_of(data, result.train.log) == triples(train)
    assert pairs_of(data, result.train.pairs) == bought(train)
    assert result.valid is not None
    assert pairs_of(data, result.valid.pairs) == bought(joining)
    refitted = result.refit().train
    assert rows_of(data, refitted.log) == triples(train + joining)
    assert pairs_of(data, refitted.pairs) == bought(train + joining)
    # Users are known, so that a method without histories answers from train.
    assert opened(result).queries.kinds == {"user", "history"}
    assert np.array_equal(opened(result).queries.user, opened(result).unit)
    assert opened(result).queries.excludes_history


def test_pairs_in_place_of_a_log_are_held_out_as_by_last() -> None:
    pairs = random_log(3, views=False).unique(["user", "item"], keep="first", maintain_order=True)
    data = load(pairs).dataset
    assert data.events is None
    for k in (1, 2):
        by_last = split(data, SplitRule(by="last", k=k))
        result = split(data, SplitRule(by="next-item", k=k))
        assert result.train.pairs.fingerprint == by_last.train.pairs.fingerprint
        assert by_last.valid is not None
        assert result.valid is not None
        assert result.valid.pairs.fingerprint == by_last.valid.pairs.fingerprint
        assert opened(result).pairs.fingerprint == opened(by_last).pairs.fingerprint
        assert result.refit().train.pairs.fingerprint == by_last.refit().train.pairs.fingerprint
        # The questions are others, and so is the split.
        assert result.fingerprint != by_last.fingerprint
        valid, test = asked(data, result.valid), asked(data, opened(result))
        assert (valid, test) == naive(events_of(pairs, data), k, "each")[2:]


def test_histories_are_spans_of_one_array_without_the_last_answers() -> None:
    frame = pl.DataFrame({"user": [1] * 6, "item": [7, 8, 9, 8, 5, 4], "time": range(6)})
    held = opened(split(load(frame, keep_log=True), SplitRule(by="next-item", k=3)))
    history = held.queries.history
    assert history is not None
    assert history.begin.tolist() == [0, 0, 0]
    assert history.end.tolist() == [3, 4, 5]
    assert len(history.item) == 5, "the last event is not among them"
    assert history.time is not None
    assert history.time.tolist() == [0, 1, 2, 3, 4]


def test_a_user_of_one_event_stays_in_train() -> None:
    frame = pl.DataFrame({"user": [1, 2, 2, 3, 3, 3], "item": [1, 1, 2, 1, 2, 3], "time": range(6)})
    data = load(frame).dataset
    result = split(data, SplitRule(by="next-item"))
    assert asked(data, result.valid) == [Question(3, (1,), (2,))]
    assert asked(data, opened(result)) == [Question(2, (1,), (2,)), Question(3, (1, 2), (3,))]
    assert pairs_of(data, result.train.pairs) == [(1, 1), (2, 1), (3, 1)]


def test_constant_times_keep_the_order_of_the_file() -> None:
    frame = pl.DataFrame({"user": [1] * 4, "item": [4, 2, 3, 1], "time": [5] * 4})
    result = split(load(frame), SplitRule(by="next-item"))
    assert asked(result.train, opened(result)) == [Question(1, (4, 2, 3), (1,))]
    assert "equal times in the order of the file: they decide for 1 of 1 users" in result.rule


def test_a_history_of_a_hundred_thousand_events() -> None:
    n = 100_000
    frame = pl.DataFrame({"user": [1] * n, "item": np.arange(n) % 977, "time": np.arange(n)})
    result = split(load(frame, keep_log=True), SplitRule(by="next-item", k=n // 2 - 1))
    held = opened(result)
    assert len(held.queries) == n // 2 - 1
    assert held.queries.history is not None
    assert held.queries.history.length.max() == n - 1
    assert len(held.queries.history.item) == n - 1, "prefixes are not copied"
    assert len(held.fingerprint) == 64


def test_rows_that_are_not_sorted_give_the_same_questions() -> None:
    frame = pl.DataFrame({"user": [1, 1, 2, 2] * 5, "item": range(20), "time": range(20)})
    first = split(load(frame, keep_log=True), SplitRule(by="next-item", k=2))
    mixed = frame.sample(fraction=1.0, shuffle=True, seed=1)
    second = split(load(mixed, keep_log=True), SplitRule(by="next-item", k=2))
    assert first.fingerprint == second.fingerprint


def test_answers_that_train_never_saw_are_counted_and_may_be_dropped() -> None:
    frame = pl.DataFrame({"user": [1, 1, 1, 2, 2, 2], "item": [1, 2, 1, 2, 1, 9], "time": range(6)})
    data = load(frame, keep_log=True).dataset
    kept = split(data, SplitRule(by="next-item"))
    assert "1 of 2 test answers are items without train rows, kept as misses" in kept.rule
    assert len(opened(kept).queries) == 2
    dropped = split(data, SplitRule(by="next-item", drop_new_items=True))
    assert "1 of 2 test answers are items without train rows, dropped" in dropped.rule
    assert [each.owner for each in asked(data, opened(dropped))] == [1]
    assert opened(dropped).rule != opened(kept).rule


def test_without_times_the_rule_is_refused() -> None:
    with pytest.raises(InputError, match="by = 'next-item' needs times, which the data lacks"):
        split(load(pl.DataFrame({"user": [1, 1], "item": [1, 2]})), SplitRule(by="next-item"))


def test_in_the_order_of_the_file_if_the_source_says_so() -> None:
    frame = pl.DataFrame({"user": [1, 1, 1], "item": [3, 1, 2]})
    result = split(load(frame, ordered=True), SplitRule(by="next-item"))
    assert asked(result.train, opened(result)) == [Question(1, (3, 1), (2,))]
