"""Figures of a log, against plain counts, on drawn events and on real data."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.data.load import load
from recsys.data.log_figures import LENGTHS
from recsys.data.summary import Statistics, summary

DAY = 86_400
START = 1_600_000_000


def figures(frame: pl.DataFrame, **read: Any) -> Statistics:
    return summary(load(frame, keep_log=True, **read))


def naive(rows: list[tuple[Any, Any, float]]) -> dict[str, Any]:
    """Count repeats, ties and spans, one event after the other, in the order of the file."""
    of_user: dict[Any, list[tuple[float, Any]]] = defaultdict(list)
    for user, item, time in rows:
        of_user[user].append((time, item))
    figure: dict[str, Any] = Counter()
    spans = []
    for events in of_user.values():
        events.sort(key=lambda event: event[0])
        items = [item for _, item in events]
        times = [time for time, _ in events]
        repeats = len(items) - len(set(items))
        figure["repeats"] += repeats
        figure["repeating_users"] += repeats > 0
        figure["adjacent"] += sum(a == b for a, b in pairwise(items))
        figure["tied"] += sum(times.count(time) > 1 for time in times)
        figure["last_tied"] += len(times) > 1 and times[-1] == times[-2]
        spans.append(times[-1] - times[0])
    figure["within_day"] = sum(span < DAY for span in spans) / len(spans)
    figure["median_span"] = float(np.median(spans))
    figure["lengths"] = [len(events) for events in of_user.values()]
    return figure


def check(found: Statistics, rows: list[tuple[Any, Any, float]]) -> None:
    expected = naive(rows)
    assert found.log is not None
    assert found.order is not None
    assert found.log.events == len(rows)
    for name in ("repeats", "repeating_users", "adjacent"):
        assert getattr(found.log, name) == expected[name], name
    assert found.order.tied * len(rows) == pytest.approx(expected["tied"])
    assert found.order.last_tied == expected["last_tied"]
    assert found.order.within_day == pytest.approx(expected["within_day"])
    assert found.order.median_span == pytest.approx(expected["median_span"])
    lengths = [np.quantile(expected["lengths"], q) for q in LENGTHS]
    assert list(found.log.per_user.values()) == pytest.approx(lengths)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 3), st.sampled_from([0, 1, 2, DAY, 2 * DAY])),
        min_size=1,
        max_size=40,
    )
)
def test_figures_equal_a_plain_count(rows: list[tuple[int, int, int]]) -> None:
    rows = [(user, item, START + time) for user, item, time in rows]
    frame = pl.DataFrame(rows, schema=["user", "item", "time"], orient="row")
    check(figures(frame), rows)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.integers(0, 3),
            st.integers(0, 9),
            st.integers(0, 1),
            st.integers(1, 4),
        ),
        min_size=1,
        max_size=40,
    )
)
def test_clicks_equal_a_plain_count(rows: list[tuple[int, int, int, int, int]]) -> None:
    # Each user and item is clicked once, so that no row is left out of the log.
    rows += [(user, item, 99, 1, 1) for user, item, *_ in rows]
    names = ["user", "item", "time", "hit", "place"]
    frame = pl.DataFrame(rows, schema=names, orient="row").with_columns(pl.col("time") + START)
    found = figures(frame, clicked="hit", position="place")
    check(found, [(user, item, START + time) for user, item, time, hit, _ in rows if hit])
    clicks = found.clicks
    assert clicks is not None
    assert (clicks.shown, clicks.clicked) == (len(rows), sum(row[3] for row in rows))
    assert clicks.rate == pytest.approx(clicks.clicked / clicks.shown)
    shown = Counter(row[4] for row in rows)
    hits = Counter(row[4] for row in rows if row[3])
    assert clicks.places == tuple((place, shown[place], hits[place]) for place in sorted(shown))
    assert figures(frame, clicked="hit").clicks.places == ()


def test_what_has_no_order_has_no_adjacent_repeats_and_counters_have_no_span() -> None:
    frame = pl.DataFrame({"user": [1, 1, 1], "item": [1, 1, 2]})
    plain = figures(frame)
    assert plain.log is not None
    assert (plain.log.repeats, plain.log.adjacent) == (1, 1)  # in the order of the file
    assert plain.order is None
    numbered = figures(frame, ordered=True)
    assert numbered.order is not None
    assert numbered.order.tied == 0
    assert numbered.order.within_day is numbered.order.median_span is None


# ---- real data


def lists(path: Path) -> list[tuple[int, int]]:
    """User and item of each event of lines `user item item ...`."""
    lines = [[int(word) for word in line.split()] for line in path.read_text().splitlines()]
    return [(user, item) for user, *items in lines for item in items]


# Folder and file: users, items, events; lengths at 0, 50, 75, 90, 95, 99, 100 %; repeats, users
# with repeats, adjacent repeats.
LISTS: dict[str, tuple[str, tuple[int, int, int], list[int], tuple[int, int, int]]] = {
    "beauty": ("Beauty.txt", (22_363, 12_101, 198_502), [5, 6, 9, 14, 21, 43, 204], (0, 0, 0)),
    "toys": ("Toys_and_Games.txt", (19_412, 11_924, 167_597), [5, 6, 9, 14, 20, 40, 550], (0,) * 3),
    "yelp-sequences": (
        "Yelp.txt",
        (30_431, 20_033, 316_354),
        [5, 7, 11, 19, 27, 54, 350],
        (11_830, 7_102, 3_873),
    ),
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_in_order(shared_data: Path, name: str) -> None:
    file, sizes, lengths, repeats = LISTS[name]
    path = shared_data / name / file
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    events = lists(path)
    frame = pl.DataFrame(events, schema=["user", "item"], orient="row")
    found = figures(frame, ordered=True)
    assert found.log is not None
    assert (found.users, found.items, found.log.events) == sizes
    assert list(found.log.per_user.values()) == pytest.approx(lengths, abs=0.5)
    assert (found.log.repeats, found.log.repeating_users, found.log.adjacent) == repeats
    expected = naive([(user, item, row) for row, (user, item) in enumerate(events)])
    assert repeats == tuple(expected[name] for name in ("repeats", "repeating_users", "adjacent"))


def test_ratings_of_one_sitting(shared_data: Path) -> None:
    path = shared_data / "ml-100k" / "u.data"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    found = summary(load(path, keep_log=True))
    assert found.log is not None
    assert list(found.log.per_user.values()) == pytest.approx(
        [20, 65, 148, 244, 311, 443, 737], abs=0.5
    )
    assert found.order is not None
    assert found.order.tied == pytest.approx(0.758, abs=5e-4)
    assert found.order.last_tied == 415
    assert found.order.within_day == pytest.approx(0.677, abs=5e-4)
    assert found.order.median_span == pytest.approx(49 * 60, abs=30)
    rows = [tuple(map(int, line.split("\t"))) for line in path.read_text().splitlines()]
    check(found, [(user, item, time) for user, item, _, time in rows])


# Clicks, sessions, items; median, 95, 99 %, longest; adjacent repeats.
CLICKS: dict[str, tuple[tuple[int, int, int], tuple[float, ...], int]] = {
    "train_full": ((70_278, 17_794, 2_933), (3, 10, 18, 58), 13_625),
    "train_tr": ((53_254, 13_629, 2_873), (3, 10, 17.7, 58), 10_325),
    "train_valid": ((16_539, 4_084, 2_029), (3, 10, 19, 53), 3_222),
    "test": ((13_568, 3_416, 1_771), (3, 10, 19, 78), 2_626),
}


@pytest.mark.parametrize("name", CLICKS)
def test_clicks_in_sessions(shared_data: Path, name: str) -> None:
    path = shared_data / "yoochoose-100k" / f"{name}.txt"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    sizes, lengths, adjacent = CLICKS[name]
    found = summary(load(path, user="SessionId", item="ItemId", time="Time", keep_log=True))
    assert found.log is not None
    assert (found.log.events, found.users, found.items) == sizes
    per_user = found.log.per_user
    assert [per_user[q] for q in ("50%", "95%", "99%", "100%")] == pytest.approx(lengths, abs=0.5)
    assert found.log.adjacent == adjacent
    words = [line.split("\t") for line in path.read_text().splitlines()[1:]]
    check(found, [(int(user), int(item), float(time)) for user, item, time in words])
    if name == "train_full":
        assert found.time is not None
        assert found.time.first.startswith("2014-04-01 01:02")
        assert found.time.last.startswith("2014-04-07 00:43")
