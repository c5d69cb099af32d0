"""Formats with columns: csv, parquet, inter (RecBole) and x-label.

Every `read_` function reads one file: `read(path, source) -> RawLog`. See
`recsys.data.reading.formats`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from recsys.data.raw_parts import RawLog
from recsys.data.reading.columns import choose, empty_roles
from recsys.data.reading.delimited import open_delimited
from recsys.data.reading.normalisation import normalise
from recsys.data.reading.parquet import open_parquet
from recsys.data.reading.source import NONE, ROLES, Column, Source
from recsys.data.reading.table import Table
from recsys.data.row_errors import refuse_rows

__all__ = ["read_csv", "read_inter", "read_parquet", "read_x_label"]

_X_LABEL = "x_label"
_PARTS = ("train", "valid", "test")
_PART = "\0part"  # column names of a file cannot hold a null character


def read_csv(path: Path, source: Source) -> RawLog:
    """Read delimited text with any separator, with or without header, plain or compressed."""
    given = [column for column in source.columns().values() if column not in (None, NONE)]
    table = open_delimited(
        path,
        separator=source.separator,
        header=source.header,
        named=any(isinstance(column, str) for column in given) if given else None,
        quote=source.quote,
    )
    return _read_columns(table, path, source, typed=False)


def read_parquet(path: Path, source: Source) -> RawLog:
    """Read a Parquet file, or a folder of them as one table."""
    return _read_columns(open_parquet(path), path, source, typed=True)


def read_inter(path: Path, source: Source) -> RawLog:
    """Read a file of RecBole: header `user_id:token`, `rating:float`, ...; quotes are text."""
    table = open_delimited(
        path,
        separator=source.separator or "\t",
        header=True,
        quote=source.quote or "",
        typed_names=True,
    )
    return _read_columns(table, path, source, typed=False)


def _read_columns(table: Table, path: Path, source: Source, *, typed: bool) -> RawLog:
    """Read the columns that have a role.

    Args:
        table: the opened file.
        path: of the file.
        source: the settings.
        typed: the file has types, so ids that are text stay text.
    """
    given = source.columns()
    named = [role for role, column in given.items() if column is not None]
    if source.train and path.is_file():
        given = _without_missing(given, table)
    place = str(path)
    chosen = choose(table.names, given, place=place, header=table.header, sample=table.sample)
    rows, row_notes = table.collect(list(chosen.values()))
    chosen, empty_notes = empty_roles(rows, chosen, named)
    frame, notes = normalise(rows, chosen, table.where, nulls=source.nulls, typed=typed)
    guessed = [f"{role} = '{name}'" for role, name in chosen.items() if role not in named]
    return RawLog(frame, notes=(*table.notes, *guessed, *empty_notes, *row_notes, *notes))


def _without_missing(given: Mapping[str, Column], table: Table) -> dict[str, Column]:
    """Return the given columns without those that one of several split files lacks.

    Valid and test files may lack time, weight, label and behaviour.
    """
    size = len(table.names)

    def is_missing(role: str, column: Column) -> bool:
        if role not in ROLES[2:]:
            return False
        if isinstance(column, int):
            return column >= size
        return isinstance(column, str) and table.header and column not in (*table.names, NONE)

    return {role: column for role, column in given.items() if not is_missing(role, column)}


def read_x_label(path: Path, source: Source) -> RawLog:
    """Read a .inter file with all three parts: the column `x_label` is 0 train, 1 valid, 2 test.

    Raises:
        InputError: another value of `x_label`.
    """
    table = open_delimited(
        path, separator=source.separator or "\t", header=True, quote=source.quote or ""
    )
    # `label` is looked up like any other role, and taken out before columns are converted.
    given: dict[str, Column] = source.columns() | {"label": _X_LABEL}
    named = [role for role, column in given.items() if column is not None]
    if source.train and path.is_file():
        given = _without_missing(given, table)
    place = str(path)
    chosen = choose(table.names, given, place=place, header=table.header, sample=table.sample)
    rows, _ = table.collect(list(chosen.values()))
    chosen, empty_notes = empty_roles(rows, chosen, named)
    labels = rows[_X_LABEL].cast(pl.Int64, strict=False)
    refuse_rows(
        ~labels.is_in([0, 1, 2]).fill_null(value=False),
        rows[_X_LABEL],
        table.where,
        _X_LABEL,
        lambda value: f"'{value}' is not a part",
        "0 is train, 1 valid, 2 test",
    )
    part = labels.replace_strict(dict(enumerate(_PARTS)), return_dtype=pl.String)
    columns = {role: name for role, name in chosen.items() if role != "label"}
    frame, notes = normalise(
        rows.with_columns(part.alias(_PART)), columns | {"part": _PART}, table.where
    )
    users, items = (_row_numbers(frame[role]) for role in ("user", "item"))
    return RawLog(frame, users, items, (*empty_notes, *notes))


def _row_numbers(ids: pl.Series) -> range | None:
    """Return 0..max for ids that are row numbers, as feature files of this format use them.

    Returns None for text, for negative ids, and for ids too large to be row numbers.
    """
    if ids.dtype != pl.Int64 or not len(ids):
        return None
    least, most = int(ids.min()), int(ids.max())  # type: ignore[arg-type]
    if least < 0 or most > max(10_000_000, 100 * len(ids)):
        return None
    return range(most + 1)
