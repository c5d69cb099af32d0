"""A data set in numbers, against a plain count."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.load import load
from recsys.data.log_figures import LENGTHS
from recsys.data.summary import QUANTILES, Statistics, summary


def test_every_number(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(
        "user,item,rating,time,event,clean\n1,a,2,0,view,1\n1,b,4,86400,buy,0\n2,a,6,10,view,1\n"
    )
    found = summary(load(str(path), clean="clean"))
    assert (
        found.users,
        found.items,
        found.interactions,
        found.valid,
        found.test,
    ) == (2, 2, 3, None, None)
    assert found.density == pytest.approx(3 / 4)
    assert found.time == ("1970-01-01 00:00:00", "1970-01-02 00:00:00")
    assert found.weight == (2, 4, 6)
    assert found.labels == pytest.approx(2 / 3)
    assert found.behaviours == {"view": 2, "buy": 1}
    assert found.features == {}
    assert found.titles is None
    assert any("3 rows" in line for line in found.history)
    plain = json.loads(json.dumps(found.to_json()))
    assert list(plain) == [field.name for field in dataclasses.fields(Statistics)]
    assert (plain["time"], plain["weight"]) == (list(found.time), [2, 4, 6])
    assert plain["findings"] == [
        {"check": each.check, "severity": each.severity, "message": each.message}
        for each in found.findings
    ]


def test_ids_that_never_occur_and_parts(tmp_path):
    (tmp_path / "train.txt").write_text("0 0 1\n1\n2 3\n")
    (tmp_path / "test.txt").write_text("1 4\n")
    found = summary(load(str(tmp_path)))
    assert (
        found.users,
        found.users_that_occur,
        found.items,
        found.items_that_occur,
    ) == (3, 2, 5, 3)
    assert (found.interactions, found.valid, found.test) == (3, None, 1)
    assert found.per_user["0%"] == 1  # of users that occur
    assert found.time is found.weight is found.labels is found.behaviours is None


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=60, unique=True)
)
def test_quantiles_equal_a_count(pairs):
    found = summary(
        load(pl.DataFrame({"user": [u for u, _ in pairs], "item": [i for _, i in pairs]}))
    )
    for key, column in (("per_user", 0), ("per_item", 1)):
        counts = list(np.unique([pair[column] for pair in pairs], return_counts=True)[1])
        assert list(getattr(found, key).values()) == pytest.approx(
            [np.quantile(counts, q) for q in QUANTILES]
        )
    assert list(found.per_user) == ["0%", "10%", "25%", "50%", "75%", "90%", "100%"]


def naive_ties(rows: list[tuple[int, int, int]]) -> float:
    """Share of (user, item, time) with another row of the same user and time."""
    moments = [(user, time) for user, _, time in rows]
    return sum(moments.count(moment) > 1 for moment in moments) / len(rows)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(0, 9)), min_size=1, max_size=40
    ),
    st.integers(1, 4),
)
def test_events_ties_and_sessions_equal_a_count(rows, gap):
    frame = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    found = summary(load(frame, keep_log=True, session_gap=gap))
    assert found.log.events == len(rows)
    assert found.log.repeated == pytest.approx(1 - len({row[:2] for row in rows}) / len(rows))
    lengths = list(np.unique([user for user, _, _ in rows], return_counts=True)[1])
    assert list(found.log.per_user.values()) == pytest.approx(
        [np.quantile(lengths, q) for q in LENGTHS]
    )
    assert found.order.tied == pytest.approx(naive_ties(rows))
    times = {user: sorted(time for owner, _, time in rows if owner == user) for user, *_ in rows}
    sizes = []
    for moments in times.values():
        for index, moment in enumerate(moments):
            if index and moment - moments[index - 1] <= gap:
                sizes[-1] += 1
            else:
                sizes.append(1)
    assert found.sessions.count == len(sizes)
    assert list(found.sessions.per_session.values()) == pytest.approx(
        [np.quantile(sizes, q) for q in LENGTHS]
    )


def test_what_is_not_known_is_not_shown():
    plain = summary(load(pl.DataFrame({"user": [1, 1, 2], "item": [1, 1, 2]})))
    assert plain.log is plain.order is plain.sessions is plain.clicks is None
    timed = pl.DataFrame({"user": [1, 1, 2], "item": [1, 1, 2], "time": [5, 5, 5]})
    assert summary(load(timed)).order.tied == 0  # of the pairs: the repeat is gone
    assert summary(load(timed, keep_log=True)).order.tied == pytest.approx(2 / 3)
    events = timed.with_columns(event=pl.Series(["view", "buy", "buy"]))
    kept = summary(load(events, behaviours=("buy",), keep_log=True))
    assert kept.behaviours == {"buy": 2, "view": 1}
    assert json.loads(json.dumps(kept.to_json()))["log"]["events"] == 3
