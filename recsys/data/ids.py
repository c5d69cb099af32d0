"""Types of user and item ids: the one place that decides when two ids are the same.

An id is an integer (Int64) or text (String). A column of ids comes in many types: integers of any
width, floats (pandas turns an integer column with gaps into floats), decimals, text. These
functions bring it to Int64 or String, or to the type that the ids of a data set already have.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import polars as pl

from recsys.data.row_errors import RowPlace, refuse_rows
from recsys.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Ids",
    "ids_of",
    "lookup_ids",
    "match_id_type",
    "read_id_column",
    "requested_ids",
    "require_id_type",
    "unify_id_types",
    "whole_numbers",
]

# Ids as a caller may give them.
Ids: TypeAlias = "Sequence[Any] | pl.Series | pd.Series | np.ndarray"

# Floats hold every integer below 2 to the power of these many bits.
_MANTISSA_BITS = {"Float16": 11, "Float32": 24, "Float64": 53}


def read_id_column(values: pl.Series, where: RowPlace, column: str) -> pl.Series:
    """Return a column of ids as Int64 or String, null where an id is missing.

    Integers beyond 64 bits become text. Floats that are all whole numbers become integers.

    Args:
        values: the column, of any type [n].
        where: gives the place of a row, for errors.
        column: name of the column, for errors.

    Raises:
        InputError: a float, or the text of one, too large to tell whole numbers apart.
    """
    if values.dtype.is_decimal() and (values == values.floor()).all():
        values = values.cast(pl.Int128)  # databases export their integers as decimals
    if values.dtype.is_integer():
        whole = values.cast(pl.Int64, strict=False)
        return whole if whole.null_count() == values.null_count() else values.cast(pl.String)
    if values.dtype.is_float():
        return _from_floats(values, where, column)
    text = values.cast(pl.String)
    if text.str.contains("+", literal=True).any():
        # Spreadsheets and pandas write large floats as 7.656e+16.
        rounded = text.str.contains(r"^-?\d(\.\d+)?[eE]\+\d\d$")
        refuse_rows(rounded, values, where, column, _lost_digits, "write the ids in full, as text")
    if text.dtype == pl.String and (text == "").any():
        return text.set(text == "", None)
    return text


def _from_floats(values: pl.Series, where: RowPlace, column: str) -> pl.Series:
    """Return float ids as integers if all are whole numbers, else as text."""
    whole = values.fill_nan(None)
    too_large = whole.abs() >= 2 ** _MANTISSA_BITS.get(str(values.dtype), 53)
    remedy = "read the column as whole numbers or text, as with dtype='Int64' or dtype=str"
    refuse_rows(too_large, values, where, column, _lost_digits, remedy)
    return whole.cast(pl.Int64 if (whole == whole.floor()).all() else pl.String)


def _lost_digits(value: object) -> str:
    return f"id '{value}' is a float that has lost digits"


def whole_numbers(text: pl.Series, *, strip_zero_fraction: bool = False) -> pl.Series:
    """Return a text column as Int64 if every value is an integer in its usual spelling.

    '007' is not the usual spelling of 7, so a column that holds '007' stays text. Nulls are kept; a
    column of nulls only stays text. A column of another type is returned unchanged.

    Args:
        text: String [n].
        strip_zero_fraction: also accept a column in which every value ends in '.0'.
    """
    if text.dtype != pl.String:
        return text
    distinct = text.unique().drop_nulls()
    if len(text) and not len(distinct):
        return text
    whole = text
    if strip_zero_fraction and len(distinct) and distinct.str.ends_with(".0").all():
        whole = text.str.strip_suffix(".0")
        distinct = distinct.str.strip_suffix(".0")
    numbers = distinct.cast(pl.Int64, strict=False)
    if numbers.null_count() or not (numbers.cast(pl.String) == distinct).all():
        return text
    return whole.cast(pl.Int64)


def unify_id_types(columns: Sequence[pl.Series]) -> list[pl.Series]:
    """Return columns of ids in one type: text, if one column is text and another integers.

    pandas writes an integer column with gaps as floats, so the text '7.0' becomes '7' there.

    Args:
        columns: the ids of each part of a data set, Int64 or String.
    """
    if len({column.dtype for column in columns}) <= 1:
        return list(columns)
    return [column.cast(pl.String).str.replace(r"^(0|-?[1-9]\d*)\.0$", "$1") for column in columns]


def lookup_ids(values: pl.Series | Sequence[Any] | np.ndarray, dtype: pl.DataType) -> pl.Series:
    """Return values in a type of ids, null where a value cannot be one of them.

    Integers and their decimal text match; 1.5 does not match 1.

    Args:
        values: the ids to look up [n].
        dtype: type of the known ids, Int64 or String.
    """
    ids = (
        values.alias("id")
        if isinstance(values, pl.Series)
        else pl.Series("id", values, strict=False)
    )
    if isinstance(ids.dtype, pl.Categorical | pl.Enum):
        ids = ids.cast(pl.String)
    if ids.dtype.is_float() and dtype.is_integer():
        is_whole = pl.col("id") == pl.col("id").floor()
        ids = ids.to_frame().select(pl.when(is_whole).then("id"))["id"]
    return ids if ids.dtype == dtype else ids.cast(dtype, strict=False)


def requested_ids(known: pl.Series, ids: Ids | None) -> pl.Series:
    """Return the users of a request, in the type of the known user ids.

    Args:
        known: all user ids of the data set [n_users].
        ids: the requested ids, or None for all users.

    Returns:
        A series called "user". It is text if one requested id does not fit the type of the known
        ids.

    Raises:
        InputError: `ids` is not a list of ids, or one of them is missing.
    """
    return (known if ids is None else match_id_type(ids, known.dtype, "users")).alias("user")


def match_id_type(ids: Ids, dtype: pl.DataType, place: str) -> pl.Series:
    """Return ids in the type of known ids, with the conversions that reading a file makes.

    The float 5.0 and the text '5.0' become 5 where known ids are integers. If one id does not fit
    the type, all are returned as text, so that a message can show each as it was given.

    Args:
        ids: ids of a request.
        dtype: type of the known ids, Int64 or String.
        place: what the ids are, for errors, such as "users".

    Raises:
        InputError: `ids` is not a list of ids, holds other values, or one id is missing.
    """
    given = _series(ids, place)
    if given.dtype == dtype:
        return given
    if given.dtype.is_float() and (given == given.floor()).all():
        given = given.cast(pl.Int64, strict=False)
    text = given.cast(pl.String)
    cast = text.str.strip_suffix(".0") if dtype.is_integer() else text
    cast = cast.cast(dtype, strict=False)
    if not cast.null_count():
        return cast
    return pl.select(pl.coalesce(cast.cast(pl.String), text)).to_series()


def require_id_type(ids: pl.Series, dtype: pl.DataType, place: str) -> pl.Series:
    """Return ids cast to the type of known ids.

    Args:
        ids: ids of a table, Int64 or String [n].
        dtype: type of the known ids.
        place: what the ids are, for errors.

    Raises:
        InputError: an id that does not fit the type.
    """
    cast = ids.cast(dtype, strict=False)
    if cast.null_count():
        first = ids.filter(cast.is_null())[0]
        raise InputError(
            f"id {first!r} is not a valid {dtype}, the type of the ids in training",
            place=place,
            remedy="write ids as in training",
        )
    return cast


def ids_of(ids: pl.Series, place: str) -> pl.Series:
    """Return the id column of a feature table as text or integers.

    Args:
        ids: the column, of any type [n].
        place: the table, for errors.

    Raises:
        InputError: the column holds neither text nor whole numbers, or an id is missing.
    """
    if isinstance(ids.dtype, pl.Categorical | pl.Enum):
        ids = ids.cast(pl.String)
    has_fraction_type = ids.dtype.is_float() or ids.dtype.is_decimal()
    if has_fraction_type and (ids == ids.floor()).all():
        ids = ids.cast(pl.Int64, strict=False)  # pandas makes floats of integers with a gap
    if not (ids.dtype == pl.String or ids.dtype.is_integer() or ids.dtype == pl.Null):
        raise InputError(
            f"'{ids.name}' holds {ids.dtype}, not ids",
            place=place,
            remedy="write ids as text or whole numbers",
        )
    if ids.null_count():
        verb = "is" if ids.null_count() == 1 else "are"
        raise InputError(
            f"{ids.null_count()} of {len(ids)} ids {verb} missing",
            place=place,
            remedy="leave the row out",
        )
    return ids


def _series(ids: Ids, place: str) -> pl.Series:
    """Return ids of any container as a series without missing values."""
    try:
        if isinstance(ids, (str, bytes)):
            raise TypeError
        series = pl.Series("id", _from_pandas(ids), strict=False)
        series = series.cast(pl.String, strict=False) if series.dtype == pl.Binary else series
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
        raise InputError(
            f"{type(ids).__name__} cannot be read as a list of ids",
            place=place,
            remedy="give a list, an array or a series, as in [7, 14]",
        ) from None
    if series.dtype.is_nested() or series.dtype == pl.Object:
        raise InputError(
            f"expected ids, got {series.dtype}",
            place=place,
            remedy="give numbers or texts, as in [7, 14]",
        )
    missing = series.is_null()
    if series.dtype.is_float():
        missing |= series.is_nan()
    elif series.dtype == pl.String:
        missing |= series == ""
    if missing.any():
        raise InputError(
            f"{missing.sum()} of {len(series)} ids is missing", place=place, remedy="leave it out"
        )
    return series


def _from_pandas(ids: Any) -> Any:
    """Return a pandas series or index as an array or a list; anything else unchanged."""
    pandas = sys.modules.get("pandas")  # imported by the caller if an id comes from it
    if pandas is None or not isinstance(ids, (pandas.Series, pandas.Index)):
        return ids
    if not ids.hasnans and ids.dtype != object:
        return ids.to_numpy()
    return [
        None if is_missing else value
        for value, is_missing in zip(ids.tolist(), ids.isna(), strict=True)
    ]
