"""Times are exact whatever form they came in, so that the last event of a user is the last."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from recsys.data.load import load
from recsys.data.splitting.splits import SplitRule, split
from recsys.data.times import count_ticks, moment, parse_times, rescale, ticks_at
from recsys.data.types import Interactions, join
from recsys.errors import InputError

# Microseconds after one moment; users 1 to 3, whose last items are 10, 20 and 32. Names sort in the
# opposite order.
BASE = 1_577_836_800
EVENTS = [
    (1, 30, 0),
    (1, 11, 250_000),
    (1, 10, 750_000),
    (2, 31, 50_000),
    (2, 21, 100_000),
    (2, 20, 900_000),
    (3, 33, 950_000),
    (3, 32, 1_000_000),
]
LAST = {1: 10, 2: 20, 3: 32}
FORMS = (
    "csv ms",
    "csv us",
    "csv fractions",
    "csv iso",
    "inter",
    "polars ms",
    "polars us",
    "polars ns",
    "polars zone",
    "pandas",
    "pandas ms",
    "parquet us",
    "parquet int",
)


def stamps() -> list[datetime]:
    return [datetime.fromtimestamp(BASE, UTC) + timedelta(microseconds=e[2]) for e in EVENTS]


def source(form: str, folder: Path) -> Any:
    """Return the events in one of the forms in which logs come."""
    kind, _, unit = form.partition(" ")
    users, items = [event[0] for event in EVENTS], [event[1] for event in EVENTS]
    frame = pl.DataFrame({"user": users, "item": items})
    micro = pl.Series([BASE * 10**6 + event[2] for event in EVENTS])
    when = pl.Series(stamps()).dt.replace_time_zone(None)
    if kind == "csv":
        values = {
            "ms": micro // 1000,
            "us": micro,
            "fractions": pl.Series([f"{m // 10**6}.{m % 10**6:06d}" for m in micro]),
            "iso": when.dt.to_string("%Y-%m-%d %H:%M:%S%.6f"),
        }
        frame.with_columns(timestamp=values[unit]).write_csv(folder / "log.csv")
        return folder / "log.csv"
    if kind == "inter":
        rows = [f"{u}\t{i}\t{m / 10**6!r}" for u, i, m in zip(users, items, micro, strict=True)]
        head = "user_id:token\titem_id:token\ttimestamp:float"
        (folder / "log.inter").write_text("\n".join([head, *rows]) + "\n")
        return folder / "log.inter"
    if kind == "pandas":
        dtype = f"datetime64[{unit or 'ns'}]"
        return pd.DataFrame(
            {"user": users, "item": items, "timestamp": when.to_numpy().astype(dtype)}
        )
    if kind == "parquet":
        frame.with_columns(timestamp=micro if unit == "int" else when).write_parquet(
            folder / "log.parquet"
        )
        return folder / "log.parquet"
    if unit == "zone":
        return frame.with_columns(timestamp=pl.Series(stamps()).dt.convert_time_zone("Asia/Tokyo"))
    return frame.with_columns(timestamp=when.dt.cast_time_unit(unit))


@pytest.mark.parametrize("form", FORMS)
def test_the_last_event_is_the_last_below_the_second(form: str, tmp_path: Path) -> None:
    data = load(source(form, tmp_path))
    test = split(data, SplitRule(by="last")).test
    assert test is not None
    pairs = test.open("a test of times").pairs
    users, items = data.dataset.users.ids, data.dataset.items.ids
    assert dict(zip(users.gather(pairs.user), items.gather(pairs.item), strict=True)) == LAST
    assert data.dataset.pairs.time_unit == "ms", "the coarsest unit that is exact"
    assert pairs.order is None, "no two times are equal"


def test_nanoseconds_are_kept() -> None:
    nano = 1_600_000_000_000_000_001
    log = pl.DataFrame({"user": [1, 1], "item": [7, 3], "time": [nano + 1, nano]})
    pairs = load(log).dataset.pairs
    assert (sorted(pairs.time.tolist()), pairs.time_unit) == ([nano, nano + 1], "ns")


def test_seconds_stay_seconds() -> None:
    log = pl.DataFrame({"user": [1, 1], "item": [7, 3], "time": [1_600_000_000, 1_600_000_060]})
    pairs = load(log).dataset.pairs
    assert (pairs.time.tolist(), pairs.time_unit) == ([1_600_000_000, 1_600_000_060], "s")


def test_parts_share_a_unit(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("user,item,time\n1,2,1600000000000\n1,3,1600000001000\n")
    (tmp_path / "test.csv").write_text("user,item,time\n1,4,1600000002500\n")
    data = load(tmp_path)
    assert data.parts is not None
    test = data.parts[1]
    assert test is not None
    assert data.dataset.pairs.time_unit == test.time_unit == "ms"
    assert data.dataset.pairs.time.tolist() == [1_600_000_000_000, 1_600_000_001_000]


def test_joined_parts_take_the_finer_unit() -> None:
    one = Interactions(np.array([0]), np.array([0]), 1, 2, time=np.array([5]), time_unit="s")
    two = Interactions(np.array([0]), np.array([1]), 1, 2, time=np.array([5_250]), time_unit="ms")
    both = join(one, two)
    assert (sorted(both.time.tolist()), both.time_unit) == ([5_000, 5_250], "ms")


def test_points_in_time_are_seen_in_the_unit_of_the_log() -> None:
    log = pl.DataFrame(
        {"user": [1] * 4, "item": [1, 2, 3, 4], "time": [BASE * 1000 + i * 250 for i in range(4)]}
    )
    parted = split(load(log), SplitRule(by="time", test_from="2020-01-01T00:00:00.500"))
    assert len(parted.train.pairs) == 2
    window = load(log, since="2020-01-01T00:00:00.250", until="2020-01-01T00:00:00.750")
    assert len(window.dataset.pairs) == 2
    assert ticks_at(moment("2020-01-01T00:00:00.250"), "ms") == BASE * 1000 + 250
    # A point between two ticks begins with the next tick.
    assert ticks_at(moment("2020-01-01T00:00:00.250"), "s") == BASE + 1


def test_units_that_do_not_fit_are_refused() -> None:
    assert rescale(np.array([1, -2]), "s", "ms").tolist() == [1000, -2000]
    with pytest.raises(InputError, match="time"):
        parse_times(pl.Series("time", ["soon", "later"]), lambda row: f"row {row}")


def test_ticks_are_the_coarsest_exact_unit() -> None:
    seconds = pl.Series([BASE * 10**6, (BASE + 86_400) * 10**6]).cast(pl.Datetime("us"))
    finer = pl.Series([BASE * 10**6 + 1]).cast(pl.Datetime("us"))
    (ticks,), unit = count_ticks([seconds])
    assert (ticks.tolist(), unit) == ([BASE, BASE + 86_400], "s")
    (ticks, more), unit = count_ticks([seconds, finer])
    assert (ticks.tolist(), more.tolist(), unit) == (
        [BASE * 10**6, (BASE + 86_400) * 10**6],
        [BASE * 10**6 + 1],
        "us",
    )
