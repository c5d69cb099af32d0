"""Every check of a log finds the fault that was planted, and is silent where there is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.audit.answers import masked_answers
from recsys.data.audit.checks import audit
from recsys.data.audit.log_time import Cut, cut_of
from recsys.data.finding import Finding
from recsys.data.held_out import HeldOut
from recsys.data.histories import Histories
from recsys.data.interactions import Interactions, join
from recsys.data.load import load
from recsys.data.query import Queries
from recsys.data.splitting import SplitRule, split
from recsys.data.types import Sealed, Split

DAY = 86_400
START = 1_600_000_000 // DAY * DAY
CHECKS = (
    "events after the cut",
    "answers in the log",
    "masked answers",
    "later events of others",
    "sessions across the cut",
    "sessions with two users",
    "constant times",
    "users with one event",
)


def shop(seed: int = 0) -> pl.DataFrame:
    """Draw one visit of 4 events for each of 50 users on each of 10 days, in the same two hours."""
    rng = np.random.default_rng(seed)
    user, day, number = (each.ravel() for each in np.mgrid[:50, :10, :4])
    second = rng.permutation(7_200)[: 50 * 4].reshape(50, 4)
    second.sort(axis=1)
    return pl.DataFrame(
        {
            "user": user,
            "item": rng.integers(0, 60, len(user)),
            "time": START + day * DAY + second[user, number],
            "visit": user * 10 + day,
        }
    )


RULES = {
    "last": SplitRule(by="last"),
    "ratio in time": SplitRule(order="time"),
    "time": SplitRule(by="time", valid_from=START + 8 * DAY, test_from=START + 9 * DAY),
    "random": SplitRule(seed=3),
}


def made(rule: str, frame: pl.DataFrame | None = None) -> Split:
    frame = shop() if frame is None else frame
    return split(load(frame, session="visit", keep_log=True), RULES[rule])


def found(result: Split, check: str) -> Finding:
    (finding,) = [finding for finding in audit(result) if finding.check == check]
    return finding


def pairs_of(part: Any) -> Interactions:
    """The pairs of a held-out part."""
    pairs = getattr(part, "pairs", part)
    assert isinstance(pairs, Interactions)
    return pairs


def test_of(result: Split) -> Interactions:
    assert result.test is not None
    return pairs_of(result.test.open("look inside"))


test_of.__test__ = False  # not a test


def with_log(result: Split, log: Interactions) -> Split:
    return replace(result, train=replace(result.train, events=log))


def with_events(result: Split, **columns: Any) -> Split:
    """The split with further events in the log of train."""
    log = result.train.log
    n = len(columns["user"])
    given = {name: np.asarray(values) for name, values in columns.items()}
    given.setdefault("session", np.zeros(n, dtype=int))
    more = Interactions(**given, n_users=log.n_users, n_items=log.n_items, time_unit=log.time_unit)
    return with_log(result, join(log, more))


def test_honest_splits_have_no_fault() -> None:
    for rule in RULES:
        findings = {each.check: each.severity for each in audit(made(rule))}
        assert set(CHECKS) <= set(findings)
        assert {check for check in CHECKS if findings[check] != "ok"} <= {"later events of others"}


def test_without_a_log_nothing_is_added() -> None:
    plain = split(load(shop()), RULES["last"])
    checks = [finding.check for finding in audit(plain)]
    assert not set(CHECKS) & set(checks)


@pytest.mark.parametrize(
    ("words", "cut"),
    [
        *(
            (made(rule).rule, cut)
            for rule, cut in zip(RULES, ["user", "user", "all", None], strict=True)
        ),
        (split(load(shop()), SplitRule(order="time", per="all")).rule, "all"),
        ("next item, the last 1 of each user test, 1 before valid", "user"),
        ("next item in time, test from 0.8", "all"),
        ("all later items in time, window 2 of 4 from 0.5 on, the one before valid", "all"),
        ("sessions in time, every position asked, test from 0.8", None),
        ("new users 0.2, half valid, half test, given 0.8, at random, seed 0", None),
        ("by_last 1", "user"),
        ("a temporal split", "all"),
    ],
)
def test_the_cut_of_a_rule_is_read_from_its_words(words: str, cut: Cut | None) -> None:
    assert cut_of(words) == cut


@pytest.mark.parametrize("rule", ["last", "ratio in time", "time"])
def test_events_after_the_cut(rule: str) -> None:
    result = made(rule)
    train, held = result.train.pairs, test_of(result)
    assert result.valid is not None
    users = np.unique(held.user)[:3]
    first = {
        int(user): int(pairs_of(result.valid).time[pairs_of(result.valid).user == user].min())
        for user in users
    }
    known = {int(user): int(train.item[train.user == user][0]) for user in users}
    times = [first[int(user)] + 1 for user in users]
    if rule == "time":
        times[0] = START + 9 * DAY  # a day after the cut
    late = with_events(result, user=users, item=[known[int(user)] for user in users], time=times)
    finding = found(late, "events after the cut")
    assert (finding.severity, finding.count) == ("error", 3)
    assert f"3 of the {len(late.train.log):,} events of train" in finding.message
    # What is before the cut, or at its very moment, is allowed.
    early = with_events(
        result, user=users, item=[known[int(user)] for user in users], time=[START] * 3
    )
    assert found(early, "events after the cut").severity == "ok"
    assert "no cut in time" in found(made("random"), "events after the cut").message


def test_events_that_the_refit_adds_after_the_cut() -> None:
    result = made("last")
    assert result.valid_log is not None
    late = replace(result.valid_log, time=result.valid_log.time + 100 * DAY)
    finding = found(replace(result, valid_log=late), "events after the cut")
    assert (finding.severity, finding.count) == ("error", len(late))
    assert "events that the refit adds" in finding.message


def test_answers_that_the_log_knows() -> None:
    result = made("random")
    held = test_of(result)
    leaky = with_events(
        result, user=held.user[:4], item=held.item[:4], time=[START] * 4, session=[0] * 4
    )
    finding = found(leaky, "answers in the log")
    assert (finding.severity, finding.count) == ("error", 4)
    assert "4 events of test pairs" in finding.message
    assert result.valid_log is not None
    one = Interactions(held.user[:1], held.item[:1], held.n_users, held.n_items)
    refit = replace(result, valid_log=join(result.valid_log, one))
    assert found(refit, "answers in the log").count == 1


def test_other_users_later_events() -> None:
    """Each user comes for a day, one after the other, and is asked for the last event."""
    user, number = (each.ravel() for each in np.mgrid[:40, :5])
    frame = pl.DataFrame(
        {
            "user": user,
            "item": number + user % 3,
            "time": START + user * DAY + number,
            "visit": user,
        }
    )
    result = made("last", frame)
    finding = found(result, "later events of others")
    train, held = result.train.log, test_of(result)
    later = [(train.time > time).sum() for time in held.time]
    assert (finding.severity, finding.count) == ("warning", sum(each > 0 for each in later))
    assert f"the median pair than {np.median(later) / len(train):.1%} of them" in finding.message
    assert "leak by the global clock" in finding.message
    # All users at once: nobody comes after the last event.
    same = frame.with_columns(time=START + pl.Series(number))
    assert found(made("last", same), "later events of others").severity == "ok"
    assert "not checked" in found(made("time"), "later events of others").message


def test_sessions_across_the_cut() -> None:
    assert found(made("time"), "sessions across the cut").count == 0
    frame = shop()
    midnight = START + 9 * DAY
    # Visits of twelve users on day 8 go on into day 9.
    across = frame.with_columns(
        visit=pl.when((pl.col("time") >= midnight) & (pl.col("user") < 12))
        .then(pl.col("visit") - 1)
        .otherwise(pl.col("visit"))
    )
    result = split(
        load(across, session="visit", keep_log=True), SplitRule(by="time", test_from=midnight)
    )
    finding = found(result, "sessions across the cut")
    train, held = result.train.log, test_of(result)
    expected = len(set(train.session.tolist()) & set(held.session.tolist()))
    assert (finding.severity, finding.count) == ("warning", expected)
    assert 0 < expected <= 12
    whole = replace(result, rule="ratio 0.8/0.1/0.1 of sessions")
    assert found(whole, "sessions across the cut").severity == "error"
    by_user = found(made("last"), "sessions across the cut")
    assert (by_user.severity, by_user.count > 0) == ("ok", True)
    plain = split(load(shop(), keep_log=True), RULES["time"])
    assert "no sessions" in found(plain, "sessions across the cut").message


def test_sessions_with_two_users() -> None:
    result = made("last")
    log = result.train.log
    session = log.session.copy()
    taken = [np.flatnonzero(log.user == user)[0] for user in (0, 1, 2)]
    session[taken[0]] = session[np.flatnonzero(log.user == 7)[0]]
    session[taken[1:]] = session[np.flatnonzero(log.user == 8)[0]]
    finding = found(with_log(result, replace(log, session=session)), "sessions with two users")
    assert (finding.severity, finding.count) == ("error", 2)
    assert "have events of several users" in finding.message


def test_users_whose_events_are_all_at_one_time() -> None:
    frame = shop().with_columns(
        time=pl.when(pl.col("user") < 6).then(START + pl.col("user")).otherwise(pl.col("time"))
    )
    finding = found(made("last", frame), "constant times")
    assert (finding.severity, finding.count) == ("warning", 6)
    assert "6 of 50 users" in finding.message


def test_users_with_one_event() -> None:
    frame = pl.concat([shop().filter(pl.col("user") > 4), shop().group_by("user").head(1)])
    frame = frame.unique(["user", "time"], maintain_order=True)
    finding = found(made("random", frame), "users with one event")
    assert (finding.severity, finding.count) == ("warning", 5)
    assert "5 of 50 users" in finding.message


def test_logs_without_times() -> None:
    result = split(load(shop().drop("time"), keep_log=True))
    for check in ("events after the cut", "later events of others", "constant times"):
        assert "no time stamps" in found(result, check).message


# ---- questions with a history


def asked(
    histories: list[list[int]], answers: list[list[int]], *, repeats: bool = False
) -> HeldOut:
    """One question per history, about items 0..9, with any number of answers."""
    n = len(histories)
    targets = np.zeros((n, 10), dtype=np.float32)
    for row, items in enumerate(answers):
        targets[row, items] = 1
    user = np.arange(n)
    pairs = Interactions(user, np.array([each[0] for each in answers]), n, 10)
    queries = Queries(user, Histories.of_lists(histories), excludes_history=not repeats)
    return HeldOut(pairs, queries, user, sp.csr_matrix(targets), repeats=repeats)


ROWS = st.lists(st.integers(0, 9), max_size=6)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(ROWS, st.lists(st.integers(0, 9), min_size=1, max_size=3)), min_size=1, max_size=9
    ),
    st.integers(1, 12),
)
def test_masked_answers_are_those_of_the_sets(
    rows: list[tuple[list[int], list[int]]], cells: int
) -> None:
    histories, answers = [row[0] for row in rows], [row[1] for row in rows]
    expected = sum(len(set(a) & set(h)) for h, a in rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recsys.data.audit.answers._CELLS", cells)  # several blocks
        finding = masked_answers([("test", asked(histories, answers))])
    assert finding.count == expected
    total = sum(len(set(answer)) for answer in answers)
    assert finding.severity == (
        "ok" if not expected else "warning" if expected < total else "error"
    )
    assert masked_answers([("test", asked(histories, answers, repeats=True))]).count == 0


def test_answers_that_the_history_has_are_no_overlap() -> None:
    """Where questions bring a history, a held-out pair may be one of train too."""
    base = made("last")
    train = base.train
    user = np.array([0, 1, 2])
    history = train.log.histories.take(user)
    item = np.array([items[0] for items in history])
    pairs = Interactions(
        user, item, train.n_users, train.n_items, time=np.full(3, START + 99 * DAY)
    )
    targets = sp.csr_matrix(
        (np.ones(3, dtype=np.float32), (np.arange(3), item)), shape=(3, train.n_items)
    )
    held = HeldOut(pairs, Queries(user, history, excludes_history=True), user, targets)
    result = replace(base, valid=None, valid_log=None, test=Sealed(held))  # type: ignore[arg-type]
    finding = found(result, "masked answers")
    assert (finding.severity, finding.count) == ("error", 3)
    for check in ("overlap", "masked users", "answers in the log"):
        assert "not checked" in found(result, check).message
    strangers = replace(held, queries=replace(held.queries, user=None))
    unknown = replace(result, test=Sealed(strangers))  # type: ignore[arg-type]
    assert "no user" in found(unknown, "cold users").message


# ---- real data


def test_leave_last_trains_on_the_future_of_others(shared_data: Path) -> None:
    path = shared_data / "ml-100k" / "u.data"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    result = split(load(path, keep_log=True), SplitRule(by="last"))
    finding = found(result, "later events of others")
    assert finding.severity == "warning"
    assert "the median pair than 38" in finding.message
    constant = found(result, "constant times")
    times: dict[str, set[str]] = {}
    for line in path.read_text().splitlines():
        user, _, _, time = line.split("\t")
        times.setdefault(user, set()).add(time)
    assert constant.count == sum(len(each) == 1 for each in times.values())


def test_masking_hides_answers_that_repeat(shared_data: Path) -> None:
    path = shared_data / "yelp-sequences" / "Yelp.txt"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    lists = [[int(word) for word in line.split()[1:]] for line in path.read_text().splitlines()]
    n_items = max(map(max, lists)) + 1
    user = np.arange(len(lists))
    parts = []
    for name, cut in (("valid", -2), ("test", -1)):
        answer = np.array([each[cut] for each in lists])
        pairs = Interactions(user, answer, len(lists), n_items)
        queries = Queries(
            user, Histories.of_lists([each[:cut] for each in lists]), excludes_history=True
        )
        parts.append((name, HeldOut(pairs, queries, user, pairs.csr)))
    finding = masked_answers(parts)
    assert (finding.severity, finding.count) == ("warning", 2_027 + 1_640)
    assert "1,640 of 30,431 valid answers" in finding.message
    assert "2,027 of 30,431 test answers (6.7%)" in finding.message


def test_masking_sessions_hides_a_third_of_the_answers(shared_data: Path) -> None:
    path = shared_data / "yoochoose-100k" / "test.txt"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    frame = pl.read_csv(path, separator="\t")
    data = load(frame, user="SessionId", item="ItemId", time="Time", keep_log=True).dataset
    whole = data.log.histories
    place = np.concatenate(
        [np.arange(b + 1, e) for b, e in zip(whole.begin, whole.end, strict=True)]
    )
    owner = np.repeat(np.arange(len(whole)), whole.length - 1)
    history = Histories(whole.item, whole.begin[owner], place)
    cells = (np.ones(len(place), dtype=np.float32), (np.arange(len(place)), whole.item[place]))
    targets = sp.csr_matrix(cells, shape=(len(place), data.n_items))
    held = HeldOut(
        data.pairs, Queries(history=history, excludes_history=True), owner, targets, "session"
    )
    finding = masked_answers([("test", held)])
    assert "of 10,152 test answers (34.2%)" in finding.message
