"""Times of every kind that a frame or a file may hold: equal times in every notation."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import recsys
from recsys.data.load import load
from recsys.errors import InputError

DAYS = ["2020-01-01", "2020-01-02"]
SECONDS = [1577836800, 1577923200]
MOMENTS = [dt.datetime.fromisoformat(day) for day in DAYS]


def times(column: Any) -> list[int]:
    data = load(pd.DataFrame({"user": [1, 1], "item": [1, 2], "timestamp": column})).dataset
    assert data.pairs.time is not None
    assert data.pairs.time_unit == "s"
    return list(map(int, data.pairs.time))


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Athens"])
def test_numpy_times_of_any_unit_and_zone(unit: str, zone: str | None) -> None:
    column = pd.Series(np.array(DAYS, dtype=f"datetime64[{unit}]"))
    assert column.dtype == f"datetime64[{unit}]"
    shift = 0
    if zone is not None:
        column = column.dt.tz_localize(zone)
        shift = 2 * 3600 if zone == "Europe/Athens" else 0
    assert times(column) == [second - shift for second in SECONDS]


@pytest.mark.parametrize(
    "kind",
    [
        *(pa.timestamp(unit) for unit in ("s", "ms", "us", "ns")),
        pa.timestamp("us", tz="UTC"),
        pa.timestamp("s", tz="Asia/Tokyo"),
        pa.date32(),
        pa.date64(),
    ],
)
def test_arrow_backed_times(kind: pa.DataType) -> None:
    zone = getattr(kind, "tz", None)
    values = MOMENTS if zone is None else [moment.replace(tzinfo=dt.UTC) for moment in MOMENTS]
    if pa.types.is_date(kind):
        values = [moment.date() for moment in MOMENTS]  # type: ignore[misc]
    column = pd.Series(pd.array(pa.array(values, type=kind), dtype=pd.ArrowDtype(kind)))
    assert times(column) == SECONDS
    table = pa.table({"user": [1, 1], "item": [1, 2], "timestamp": pa.array(values, type=kind)})
    assert load(table).dataset.pairs.time.tolist() == SECONDS  # type: ignore[union-attr]


def test_times_with_gaps_are_an_error_that_names_the_row() -> None:
    for column in (
        pd.Series(np.array(["2020-01-01", "NaT"], dtype="datetime64[s]")),
        pd.Series([MOMENTS[0], None], dtype=pd.ArrowDtype(pa.timestamp("us"))),
    ):
        with pytest.raises(InputError, match=r"row 1, column 'timestamp': the time is empty"):
            times(column)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2019-10-01 00:00:00 UTC", "2019-10-01T00:00:00+00:00"),
        ("2019-10-01 07:30:01 UTC", "2019-10-01T07:30:01+00:00"),
        ("2019-10-01T07:30:01 UTC", "2019-10-01T07:30:01+00:00"),
        ("2019-10-01 07:30 GMT", "2019-10-01T07:30:00+00:00"),
        ("2019-10-01 UTC", "2019-10-01T00:00:00+00:00"),
        ("2019-10-01T07:30:01Z", "2019-10-01T07:30:01+00:00"),
        ("2019-10-01 07:30:01+02", "2019-10-01T07:30:01+02:00"),
        ("2019-10-01 07:30:01-0330", "2019-10-01T07:30:01-03:30"),
    ],
)
def test_texts_with_a_zone(text: str, moment: str, tmp_path: Path) -> None:
    second = int(dt.datetime.fromisoformat(moment).timestamp())
    path = tmp_path / "a.csv"
    path.write_text(f"user,item,event_time\n1,2,{text}\n1,3,{text}\n")
    for data in (
        load(path, time="event_time"),
        load(pd.DataFrame({"user": [1, 1], "item": [2, 3], "time": [text, text]})),
    ):
        assert data.dataset.pairs.time is not None
        assert data.dataset.pairs.time.tolist() == [second, second]


def test_arrow_tables_are_frames() -> None:
    table = pa.table({"user": ["a", "b", "a"], "item": [3, 4, 4], "rating": [1.0, 2.0, 3.0]})
    for given in (table, table.to_batches()[0], table.to_reader(), table.to_pandas()):
        data = recsys.load(given).dataset
        assert (data.users.ids.to_list(), data.items.ids.to_list()) == (["a", "b"], [3, 4])
    with pytest.raises(InputError, match="no column looks like the users; found: x, item"):
        load(pa.table({"x": [1], "item": [2]}))
    with pytest.raises(InputError) as caught:
        load(pa.table([pa.array([1]), pa.array([2])], names=["user", "user"]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", [pl.Int8, pl.UInt32, pl.Int64, pl.UInt64, pl.Int128])
def test_ids_of_any_width_are_whole_numbers(kind: Any) -> None:
    frame = pl.DataFrame(
        {"user": [1, 2, 7], "item": [3, 3, 4]}, schema={"user": kind, "item": kind}
    )
    data = load(frame).dataset
    assert data.users.ids.to_list() == [1, 2, 7]
    assert data.users.ids.dtype == data.items.ids.dtype == pl.Int64


@pytest.mark.parametrize("kind", [pl.Int128, pl.Decimal(38, 0)])
def test_ids_beyond_64_bits_are_texts(kind: Any) -> None:
    ids = [5, 2**64 + 1, 2**64 + 2]
    text = pl.Series(list(map(str, ids)))
    frame = pl.DataFrame({"user": text.cast(kind), "item": ["x", "y", "y"]})
    assert load(frame).dataset.users.ids.to_list() == list(map(str, ids))
    small = pl.DataFrame({"user": pl.Series([5, 6]).cast(kind), "item": ["x", "y"]})
    assert load(small).dataset.users.ids.to_list() == [5, 6]


def log(second: dict[int, int], rows: int = 900) -> pl.DataFrame:
    """One row a day from 2018 on, some at another time."""
    time = [1_514_764_800 + 86_400 * row for row in range(rows)]
    for row, value in second.items():
        time[row] = value
    frame = pl.DataFrame({"item": range(rows), "time": time})
    return frame.with_columns(user=pl.col("item") % 30)


@pytest.mark.parametrize(
    ("second", "says"),
    [
        ({17: 0}, "1 of 900 times is before 1990, such as 1970-01-01 00:00:00"),
        ({17: -1, 18: 0}, "2 of 900 times are before 1990, such as 1969-12-31 23:59:59"),
        ({17: 253_402_300_799}, "1 of 900 times is after 2100, such as 9999-12-31 23:59:59"),
    ],
)
def test_times_of_no_real_day_are_told(second: dict[int, int], says: str) -> None:
    late = max(second.values()) > 1e11
    # So large a number would be one of milliseconds: it comes as a date.
    frame = log(second).with_columns(pl.from_epoch("time", "s")) if late else log(second)
    (found,) = load(frame).dataset.findings
    assert (found.check, found.severity, found.count) == ("times", "warning", len(second))
    assert found.message == says


def test_times_that_count_from_0_and_real_ones_pass() -> None:
    assert load(log({})).dataset.findings == ()
    counted = pl.DataFrame({"user": [1] * 9, "item": range(9), "time": range(9)})
    assert load(counted).dataset.findings == ()
    cleaned = load(log({17: 0}), since="1990-01-01").dataset
    assert (len(cleaned.pairs), cleaned.findings) == (899, ())


def test_a_part_of_next_to_nothing_is_told() -> None:
    rule: dict[str, Any] = {"by": "time", "valid_from": 0.8, "test_from": 0.9}
    with pytest.warns(UserWarning, match="is before 1990"):
        loaded = recsys.load(log({17: 0}))
    with pytest.warns(UserWarning, match="was to have") as warned:
        split = recsys.split(loaded, **rule)
    assert len(warned) == 2, "train and valid, and the time is not told again"
    assert len(split.train.pairs) == 1, "what the stray time does"
    says = [finding.message for finding in split.train.findings]
    assert "train gets 1 of 900 rows (0.11%), and was to have 80%" in says
    assert "valid gets 0 of 900 rows (0.00%), and was to have 10%" in says
    sound = recsys.split(recsys.load(log({})), **rule)
    assert sound.train.findings == ()
    assert len(sound.train.pairs) == 720
