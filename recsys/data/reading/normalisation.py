"""Columns of any table to the columns of the package: user, item, time, weight and others."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from recsys.data.ids import read_id_column, whole_numbers
from recsys.data.row_errors import RowPlace, first_true, refuse_rows
from recsys.data.times import parse_times
from recsys.errors import InputError

__all__ = ["doubles", "normalise"]

_LAST_PLACE = 32_767  # the largest int16


def normalise(
    frame: pl.DataFrame,
    chosen: Mapping[str, str],
    where: RowPlace,
    *,
    nulls: str = "error",
    typed: bool = False,
) -> tuple[pl.DataFrame, list[str]]:
    """Return the columns of the package, read from a table of any types.

    Args:
        frame: the table; all text if the file has no types.
        chosen: role to column, as from `choose`; also "part", if a file holds several parts.
        where: gives the place of a row, for errors.
        nulls: what to do with rows without a user or an item: "error", or "drop" to leave them out.
        typed: the file has types, so ids that are text stay text. Otherwise text ids become Int64
            if all of them are whole numbers.

    Returns:
        A frame with user and item (Int64 or String), time (Datetime), weight (Float64), clean
        (Int8), behaviour (String), session (as ids), clicked (Int8), position (Int16) and part
        (String), as far as `chosen` names them; and notes on what was done.

    Raises:
        InputError: an empty id or one that lost digits, a weight that is not a finite number, a
            value that is not a time, a label or a click other than 0 and 1, a place that does not
            count from 1, a column of lists or of Python objects.
    """
    for name in chosen.values():
        _check_type(frame[name], where)
    frame = frame.select(pl.col(name).alias(role) for role, name in chosen.items())
    try:
        frame = frame.with_columns(pl.col(pl.Binary).cast(pl.String))
    except pl.exceptions.ComputeError:
        raise InputError(
            "a column holds bytes that are not UTF-8", place=where(0), remedy="make it text"
        ) from None
    frame = frame.with_columns(
        read_id_column(frame[role], where, chosen[role]) for role in ("user", "item")
    )
    notes: list[str] = []
    missing = frame["user"].is_null() | frame["item"].is_null()
    if missing.any():
        if nulls == "error":
            raise _missing_id(frame, missing, where, chosen)
        kept = (~missing).arg_true()
        of_file = where
        where = lambda row: of_file(int(kept[row]))  # noqa: E731  rows moved up
        notes.append(f"rows without user or item dropped: {frame.height} -> {len(kept)} rows")
        frame = frame.filter(~missing)
    columns = [
        frame[role] if typed else whole_numbers(frame[role], strip_zero_fraction=True)
        for role in ("user", "item")
    ]
    if "time" in chosen:
        time, unit = parse_times(frame["time"], where, chosen["time"])
        columns.append(time)
        if unit not in ("seconds", "dates"):
            notes.append(f"times in '{chosen['time']}' read as {unit}")
    parsers = {
        "weight": _weights,
        "clean": _labels,
        "behaviour": _behaviours,
        "clicked": _clicks,
        "position": _positions,
        "part": _parts,
    }
    for role, parse in parsers.items():
        if role in chosen:
            columns.append(parse(frame[role], where, chosen[role]))
    if "session" in chosen:
        sessions = _sessions(frame["session"], where, chosen["session"])
        columns.append(sessions if typed else whole_numbers(sessions, strip_zero_fraction=True))
    return pl.DataFrame(columns), notes


def _check_type(column: pl.Series, where: RowPlace) -> None:
    """Raise an error about a column of lists, of Python objects, or of durations."""
    if column.dtype.is_nested():
        raise InputError(
            f"column '{column.name}' holds {column.dtype}, not one value a row",
            place=where(0),
            remedy="give one row per interaction",
        )
    if column.dtype in (pl.Object, pl.Duration, pl.Time):
        value = next((value for value in column.to_list() if value is not None), object())
        raise InputError(
            f"column '{column.name}' holds values of the type {type(value).__name__}",
            place=where(0),
            remedy="make it text, numbers or date-times, as with .astype(str)",
        )


def _missing_id(
    frame: pl.DataFrame, missing: pl.Series, where: RowPlace, chosen: Mapping[str, str]
) -> InputError:
    """Return the error of the first row without a user or an item."""
    row = first_true(missing)
    role = "user" if frame["user"][row] is None else "item"
    return InputError(
        f"no {role} (column '{chosen[role]}'; {missing.sum()} such rows)",
        place=where(row),
        remedy='fill it in, or set nulls = "drop"',
    )


def doubles(values: pl.Series) -> pl.Series:
    """Return numbers as Float64, null where a value is not a number.

    A float32 becomes the number in its decimal notation. So 0.7 from a Parquet file equals 0.7 from
    a text file, and both pass a threshold of 0.7.
    """
    numbers = values.cast(pl.Float64, strict=False)
    if str(values.dtype) in ("Float32", "Float16") and (numbers != numbers.floor()).any():
        return values.cast(pl.String).cast(pl.Float64, strict=False)
    return numbers


def _weights(values: pl.Series, where: RowPlace, column: str) -> pl.Series:
    """Return weights as Float64; a value that is not a finite number is an error."""
    numbers = doubles(values)
    bad = ~numbers.is_finite().fill_null(value=False)
    remedy = 'write a finite number, or set weight = "none"'
    refuse_rows(bad, values, where, column, _not_a_weight, remedy)
    return numbers.alias("weight")


def _labels(values: pl.Series, where: RowPlace, column: str) -> pl.Series:
    """Return labels as Int8; a value other than 0 and 1 is an error."""
    remedy = "a label is 1 (clean) or 0 (noise)"
    return _flags(values, where, column, "label", remedy).alias("clean")


def _clicks(values: pl.Series, where: RowPlace, column: str) -> pl.Series:
    """Return clicks as Int8; a value other than 0 and 1 is an error."""
    remedy = "a click is 1 (clicked) or 0 (shown and not clicked)"
    return _flags(values, where, column, "click", remedy).alias("clicked")


def _flags(values: pl.Series, where: RowPlace, column: str, word: str, remedy: str) -> pl.Series:
    """Return zeros and ones as Int8.

    Args:
        values: the column.
        where: gives the place of a row, for errors.
        column: its name.
        word: what a value is, for errors.
        remedy: what it has to be.
    """
    numbers = values.cast(pl.Float64, strict=False)
    bad = ~numbers.is_in([0.0, 1.0]).fill_null(value=False)
    refuse_rows(bad, values, where, column, lambda value: _not_a(word, value), remedy)
    return numbers.cast(pl.Int8)


def _positions(values: pl.Series, where: RowPlace, column: str) -> pl.Series:
    """Return places in a list as Int16; a value that is not a whole number from 1 is an error."""
    numbers = values.cast(pl.Float64, strict=False)
    bad = ~((numbers == numbers.floor()) & numbers.is_between(1, _LAST_PLACE))
    remedy = f"a position counts from 1, the first place shown, to {_LAST_PLACE}"
    refuse_rows(
        bad.fill_null(value=True),
        values,
        where,
        column,
        lambda value: _not_a("position", value),
        remedy,
    )
    return numbers.cast(pl.Int16).alias("position")


def _behaviours(values: pl.Series, where: RowPlace, column: str) -> pl.Series:
    """Return behaviours as String; a missing one is an error."""
    text = values.cast(pl.String)
    remedy = 'fill it in, or set behaviour = "none"'
    refuse_rows(text.is_null(), values, where, column, lambda _: "the behaviour is empty", remedy)
    return text


def _sessions(values: pl.Series, where: RowPlace, column: str) -> pl.Series:
    """Return the ids of sessions as Int64 or String; a missing one is an error."""
    ids = read_id_column(values, where, column)
    remedy = 'fill it in, or set session = "none"'
    refuse_rows(ids.is_null(), values, where, column, lambda _: "the session is empty", remedy)
    return ids


def _parts(values: pl.Series, where: RowPlace, column: str) -> pl.Series:
    """Return the part of each row as String; a value that is not a part is an error."""
    text = values.cast(pl.String)
    bad = ~text.is_in(["train", "valid", "test"]).fill_null(value=False)
    remedy = "a part is train, valid or test"
    refuse_rows(bad, values, where, column, lambda value: f"'{value}' is not a part", remedy)
    return text


def _not_a_weight(value: object) -> str:
    return "the weight is empty" if value is None else f"'{value}' is not a finite number"


def _not_a(word: str, value: object) -> str:
    return f"the {word} is empty" if value is None else f"'{value}' is not a {word}"
