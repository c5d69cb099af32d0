"""Times: columns of any kind to points in time, and points in time to integers of a unit.

Between reading and numbering a time is a polars `Datetime` in microseconds, or in nanoseconds if a
value needs them. `Interactions` holds int64 numbers in the coarsest unit that keeps every value
exact: seconds for a log of whole seconds, milliseconds or finer for a log that has them. The order
within a second is never lost, and equal times give equal interactions in every notation.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal, TypeAlias

import numpy as np
import polars as pl

from recsys.data.row_errors import RowPlace, first_true, refuse_rows
from recsys.errors import InputError

__all__ = [
    "TICKS",
    "Unit",
    "count_ticks",
    "iso_time",
    "moment",
    "parse_times",
    "rescale",
    "ticks_at",
]

Unit: TypeAlias = Literal["s", "ms", "us", "ns"]

# Ticks of each unit in a second, from coarse to fine.
TICKS: dict[Unit, int] = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}

# Numbers below a limit are in a unit: limit, name of the unit, ticks in a second.
_SIZES = ((1e11, "seconds", 1), (1e14, "milliseconds", 1_000), (1e17, "microseconds", 1_000_000))
_NANO = ("nanoseconds", 1_000_000_000)
# 1989 to 2103 in seconds. A number in this range in one unit only identifies the unit.
_YEARS = (6e8, 4.2e9)
# Dates written as one integer, which could be mistaken for seconds or milliseconds.
_STAMPS = (
    ("%Y%m%d", 19700101, 21001231),
    ("%Y%m%d%H%M%S", 19700101_000000, 21001231_235959),
)
# From here on float32 does not hold every whole number; present-day seconds are 128 s apart.
_FLOAT32 = 2.0**24
_REMEDY = "write unix seconds or ISO dates, as in 2011-12-09 08:26:00"


def parse_times(values: pl.Series, where: RowPlace, column: str = "time") -> tuple[pl.Series, str]:
    """Return the points in time of a column, and the notation that was recognised.

    Accepts dates, date-times (without a time zone: UTC), ISO 8601 text, and numbers. The size of
    numbers gives their unit: below 1e11 seconds, below 1e14 milliseconds, below 1e17 microseconds,
    otherwise nanoseconds. Numbers with a fraction are rounded to microseconds, which is the
    precision of a float64 for present-day times.

    Args:
        values: the column [n].
        where: gives the place of a row, for errors.
        column: name of the column, for errors.

    Returns:
        Datetime [n] called "time", in microseconds, or in nanoseconds if a value needs them; and
        "dates", "seconds", "milliseconds", "microseconds" or "nanoseconds".

    Raises:
        InputError: a value in another notation, numbers in several units, numbers that are all
            dates, such as 20111209, or float32 that has lost digits.
    """
    if values.dtype == pl.Date or isinstance(values.dtype, pl.Datetime):
        _refuse(values.is_null(), values, where, column, 'fill it in, or set time = "none"')
        return _from_datetimes(values), "dates"
    if values.dtype == pl.String:
        numbers = values.cast(pl.Int64, strict=False)
        if numbers.null_count():
            numbers = values.cast(pl.Float64, strict=False)
        if numbers.null_count() and (numbers.null_count() == len(values) or numbers[0] is None):
            dates = _from_text(values)
            _refuse(dates.is_null(), values, where, column, _REMEDY)
            return _from_datetimes(dates), "dates"
    else:
        if str(values.dtype) in ("Float32", "Float16"):
            lost = (values.abs() >= _FLOAT32).fill_null(value=False)
            refuse_rows(lost, values, where, column, _lost_digits, "write float64 or whole seconds")
        kind = pl.Int64 if values.dtype.is_integer() else pl.Float64
        numbers = values.cast(kind, strict=False)
    return _from_numbers(numbers, values, where, column)


def count_ticks(columns: Sequence[pl.Series]) -> tuple[list[np.ndarray], Unit]:
    """Return columns of times as int64 [n] in the coarsest unit that holds all of them exactly.

    Args:
        columns: Datetime [n] each, as from `parse_times`; or integers, which are seconds.

    Returns:
        The columns, and their common unit.
    """
    unit: Unit = "s"
    for column in columns:
        if isinstance(column.dtype, pl.Datetime):
            unit = _finer(unit, _exact_unit(column))
    return [_ticks(column, unit) for column in columns], unit


def rescale(time: np.ndarray, unit: Unit, to: Unit) -> np.ndarray:
    """Return times, int64 [n], in another unit.

    Args:
        time: times in `unit`, int64 [n].
        unit: the unit of `time`.
        to: the new unit, as fine or finer.
    """
    return time if unit == to else time * (TICKS[to] // TICKS[unit])


def moment(value: str | int, name: str = "time") -> int:
    """Return a point in time as nanoseconds since 1970.

    Integers are read as in a column of times, so 1323419160000 is a number of milliseconds.

    Args:
        value: an ISO date or a unix time.
        name: name of the setting, for errors.

    Raises:
        InputError: the value is neither an integer nor an ISO date.
    """
    try:
        time, _ = parse_times(pl.Series([str(value)]), lambda _: name)
    except InputError:
        remedy = f"write an ISO date, as in {datetime.now(UTC):%Y-%m-%d}, or unix seconds"
        raise InputError(f"{value!r} is not a point in time", place=name, remedy=remedy) from None
    return int(time.to_physical()[0]) * (1 if _unit_of(time) == "ns" else 1_000)


def ticks_at(nanoseconds: int, unit: Unit) -> int:
    """Return the first tick of a unit that is not before a point in time.

    Args:
        nanoseconds: the point in time, since 1970.
        unit: the unit of the result.
    """
    return -(-nanoseconds * TICKS[unit] // TICKS["ns"])


def iso_time(ticks: int, unit: Unit = "s") -> str:
    """Return a time as ISO text in UTC, with as many decimals as the unit has.

    A time beyond the year 9999 is returned as the number.
    """
    seconds, rest = divmod(int(ticks), TICKS[unit])
    digits = len(str(TICKS[unit])) - 1
    try:
        text = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return str(ticks)
    return f"{text}.{rest:0{digits}d}" if digits else text


def _from_datetimes(values: pl.Series) -> pl.Series:
    """Return dates and date-times of any unit and time zone as times in UTC."""
    if values.dtype == pl.Date:
        return values.cast(pl.Datetime("us")).alias("time")
    if getattr(values.dtype, "time_zone", None):
        values = values.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    fine = _unit_of(values) == "ns" and bool((values.to_physical() % 1_000 != 0).any())
    return values.cast(pl.Datetime("ns" if fine else "us")).alias("time")


def _from_numbers(
    numbers: pl.Series, values: pl.Series, where: RowPlace, column: str
) -> tuple[pl.Series, str]:
    """Return numbers as times, and the name of their unit.

    Args:
        numbers: Int64 or Float64 [n], null where a value is not a number.
        values: the column as it was read [n], for errors.
        where: gives the place of a row.
        column: name of the column.
    """
    whole = numbers.dtype.is_integer()
    bad = numbers.is_null() if whole else ~(numbers.abs() < 2.0**63).fill_null(value=False)
    _refuse(bad, values, where, column, _REMEDY)
    size = float(numbers.cast(pl.Float64).abs().max() or 0)  # type: ignore[arg-type]
    unit, ticks = next(((name, n) for limit, name, n in _SIZES if size < limit), _NANO)
    if ticks > 1:
        _require_one_unit(numbers, unit, where, column)
    floor = (numbers if whole else numbers.floor()).cast(pl.Int64)
    if _are_dates(floor):
        cause = (
            f"'{floor[0]}' is a date written as one number, which would count as {unit} since 1970"
        )
        remedy = "write ISO dates, as in 2011-12-09 08:26:00"
        raise InputError(cause, place=f"{where(0)}, column '{column}'", remedy=remedy)
    if whole and unit == "nanoseconds":
        return _from_datetimes(numbers.cast(pl.Int64).cast(pl.Datetime("ns"))), unit
    scale = TICKS["us"] / ticks
    micro = numbers * int(scale) if whole else (numbers.cast(pl.Float64) * scale).round()
    micro = micro.cast(pl.Int64)
    return micro.cast(pl.Datetime("us")).alias("time"), unit


def _from_text(text: pl.Series) -> pl.Series:
    """Return ISO 8601 text as times, null where it is not ISO 8601.

    Decimals beyond microseconds are kept.
    """
    plain = (
        text.str.strip_chars()
        .str.replace(r"^(\d{4}-\d\d-\d\d)T", "$1 ")  # the T before a time, not the T of UTC
        .str.replace(r"^(\d{4}-\d\d-\d\d)\s*(Z|UTC|GMT)$", "$1")
        .str.replace(r"\s*(Z|UTC|GMT)$", "+0000")
        .str.replace(r"([+-]\d\d):(\d\d)$", "$1$2")
        .str.replace(r"(:\d\d(?:\.\d+)?\s*[+-]\d\d)$", "${1}00")  # +02, as PostgreSQL writes it
    )
    unit: Literal["us", "ns"] = "ns" if plain.str.contains(r"\.\d{7,}").any() else "us"
    result = pl.Series(text.name, [None] * len(text), dtype=pl.Datetime(unit))
    forms = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S%.f%z")
    for form in (*forms, "%Y-%m-%d %H:%M%z"):
        if not result.null_count():
            break
        if form == "%Y-%m-%d":
            parsed = plain.str.to_date(form, strict=False).cast(pl.Datetime(unit))
        else:
            parsed = plain.str.to_datetime(form, strict=False, time_unit=unit)
        if getattr(parsed.dtype, "time_zone", None):
            parsed = parsed.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        result = pl.select(pl.coalesce(pl.lit(result), pl.lit(parsed))).to_series()
    return result


def _require_one_unit(numbers: pl.Series, unit: str, where: RowPlace, column: str) -> None:
    """Raise an error if some times are of the present in one unit and all others in another unit.

    A log whose times count from 0 also has numbers in between, and is accepted.

    Raises:
        InputError: the column mixes two units.
    """
    low, high = _YEARS
    units = [(name, ticks) for _, name, ticks in _SIZES] + [_NANO]
    present = {name: (numbers >= low * n) & (numbers < high * n) for name, n in units}
    if sum(int(each.sum()) for each in present.values()) < int((numbers >= low).sum()):
        return
    for name, each in present.items():
        if name != unit and each.any():
            row = first_true(each)
            last = int(numbers.arg_max() or 0)
            cause = f"'{numbers[row]}' looks like {name}, '{numbers[last]}' like {unit}"
            place = f"{where(row)}, column '{column}'"
            raise InputError(cause, place=place, remedy="write all times in one unit")


def _are_dates(whole: pl.Series) -> bool:
    """Return whether all integers are dates, such as 20111209 or 20111209082600.

    Read as seconds, they would all be in August 1970.
    """
    for form, first, last in _STAMPS:
        if len(whole) and whole.is_between(first, last).all():
            text = whole.unique().cast(pl.String)
            return not text.str.to_datetime(form, strict=False, time_unit="us").null_count()
    return False


def _refuse(bad: pl.Series, values: pl.Series, where: RowPlace, column: str, remedy: str) -> None:
    """Raise an error about the first value that is not a time."""
    refuse_rows(bad, values, where, column, _not_a_time, remedy)


def _lost_digits(value: object) -> str:
    return f"time '{value}' is a float32 that has lost digits"


def _not_a_time(value: object) -> str:
    return "the time is empty" if value is None else f"'{value}' is not a time"


def _unit_of(column: pl.Series) -> Unit:
    unit: Unit = column.dtype.time_unit  # type: ignore[attr-defined]
    return unit


def _exact_unit(column: pl.Series) -> Unit:
    """Return the coarsest unit that holds a column of times exactly."""
    physical, ticks = column.to_physical(), TICKS[_unit_of(column)]
    for unit, coarse in TICKS.items():
        if coarse >= ticks or not (physical % (ticks // coarse) != 0).any():
            return unit
    return _unit_of(column)


def _ticks(column: pl.Series, unit: Unit) -> np.ndarray:
    """Return times as int64 numbers of a unit that holds them exactly."""
    if not isinstance(column.dtype, pl.Datetime):
        return rescale(column.cast(pl.Int64).to_numpy(), "s", unit)
    physical, own = column.to_physical().to_numpy(), TICKS[_unit_of(column)]
    if own >= TICKS[unit]:
        return physical // (own // TICKS[unit])
    return physical * (TICKS[unit] // own)


def _finer(one: Unit, other: Unit) -> Unit:
    return one if TICKS[one] >= TICKS[other] else other
