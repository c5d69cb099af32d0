"""Interactions in data frames: pandas, polars, and tables that hand out Arrow data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from recsys.data.raw_parts import RawParts
from recsys.data.reading.columns import choose, empty_roles
from recsys.data.reading.normalisation import normalise
from recsys.data.reading.order import number_rows
from recsys.data.reading.session_logs import session_notes
from recsys.data.reading.source import FILE_SETTINGS, Column, Source
from recsys.errors import InputError, first_line

__all__ = ["read_frame"]

_PLACE = "data frame"


def read_frame(data: Any, source: Source) -> RawParts:
    """Return the interactions of a data frame; only the columns that are used are copied.

    An integer for a column of a pandas frame is a name if the frame has integers as names,
    otherwise a position.

    Args:
        data: a pandas or polars frame, or a table that hands out Arrow data.
        source: the settings; those of files do not apply here.

    Raises:
        InputError: another type, no rows, a column that is missing, or a value that is not valid;
            names the row.
    """
    for name in FILE_SETTINGS:
        if getattr(source, name) != getattr(Source, name):
            raise InputError(
                f"{name} does not apply to a data frame", place="load", remedy="leave it out"
            )
    data = _from_arrow(data)
    names = _column_names(data)
    given = {role: _by_name(column, role, data) for role, column in source.columns().items()}
    named = [role for role, column in given.items() if column is not None]
    chosen = choose(names, given, place=_PLACE)
    rows = _to_polars(data, list(dict.fromkeys(chosen.values())), names)
    if not rows.height:
        raise InputError(
            "the frame has no rows", place=_PLACE, remedy="give a frame with interactions"
        )
    chosen, empty_notes = empty_roles(rows, chosen, named)
    frame, notes = normalise(
        rows, chosen, lambda row: f"{_PLACE}, row {row}", nulls=source.nulls, typed=True
    )
    notes += session_notes(frame, chosen)
    if source.ordered:
        frame = number_rows({"all": frame}, _PLACE)["all"]
    return RawParts(all=frame, history=(f"{_PLACE}: {rows.height} rows", *empty_notes, *notes))


def _is_pandas(data: Any) -> bool:
    """Return whether a value is a pandas frame, without importing pandas."""
    return hasattr(data, "columns") and hasattr(data, "iloc")


def _from_arrow(data: Any) -> Any:
    """Return a table that hands out Arrow data (DuckDB, ...) as a polars frame."""
    is_frame = isinstance(data, pl.DataFrame | pl.LazyFrame) or _is_pandas(data)
    if is_frame or not hasattr(data, "__arrow_c_stream__"):
        return data
    try:
        return pl.DataFrame(data)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"{type(data).__name__} cannot be read: {first_line(error, 120)}",
            place=_PLACE,
            remedy="give a table of plain columns, each with a name of its own",
        ) from None


def _column_names(data: Any) -> list[str]:
    """Return the columns of a frame as text.

    Raises:
        InputError: the value is not a frame, or two columns have the same name.
    """
    if isinstance(data, pl.LazyFrame):
        return data.collect_schema().names()
    if not _is_pandas(data) and not isinstance(data, pl.DataFrame):
        raise InputError(
            f"expected a data frame, got {type(data).__name__}",
            place=_PLACE,
            remedy="give a pandas or polars frame, an Arrow table, or a path",
        )
    names = [str(name) for name in data.columns]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two columns are called '{name}'", place=_PLACE, remedy="rename one")
    return names


def _by_name(column: Column, role: str, data: Any) -> Column:
    """Return an integer as a name, if the columns of a pandas frame are called by integers."""
    if not isinstance(column, int) or not _is_pandas(data):
        return column
    numbers = [name for name in data.columns if isinstance(name, int | np.integer)]
    if not numbers:
        return column
    if column not in numbers:
        raise InputError(
            f"no column {column} for {role}; the columns are {', '.join(map(str, data.columns))}",
            place=_PLACE,
            remedy="the names of the columns are whole numbers: give one of them",
        )
    return str(column)


def _to_polars(data: Any, columns: list[str], names: Sequence[str]) -> pl.DataFrame:
    """Return some columns of a frame as a polars frame."""
    if isinstance(data, pl.LazyFrame):
        return data.select(columns).collect()
    if isinstance(data, pl.DataFrame):
        return data.select(columns)
    try:
        picked = data.iloc[:, [names.index(column) for column in columns]]
        return pl.DataFrame(
            {column: _series(picked.iloc[:, i], column) for i, column in enumerate(columns)}
        )
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"a column mixes types: {first_line(error, 120)}",
            place=_PLACE,
            remedy="give each column one type, as with .astype(str)",
        ) from None


def _series(values: Any, name: str) -> pl.Series:
    """Return one pandas column.

    Text columns of Python objects go through a list, so that pyarrow is not needed.
    """
    import pandas as pd

    kind = values.dtype
    if isinstance(kind, pd.ArrowDtype):
        return pl.Series(name, values.array.__arrow_array__())
    if isinstance(kind, pd.DatetimeTZDtype):
        values = values.dt.tz_convert("UTC").dt.tz_localize(None)
        kind = values.dtype
    if isinstance(kind, np.dtype) and kind.kind == "M":
        array = values.to_numpy()
        # polars has no unit of whole seconds; milliseconds hold them exactly.
        seconds = np.datetime_data(kind)[0] == "s"
        return pl.Series(name, array.astype("datetime64[ms]") if seconds else array)
    if isinstance(kind, np.dtype) and kind.kind in "iuf":
        return pl.Series(name, values.to_numpy())
    return pl.Series(
        name,
        [
            None if is_missing else value
            for value, is_missing in zip(values.tolist(), values.isna(), strict=True)
        ],
    )
