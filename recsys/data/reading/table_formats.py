"""Formats with columns: csv, parquet, inter (RecBole) and x-label.

`recsys.data.reading.formats` names the function that reads each of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import polars as pl

from recsys.data.raw_parts import RawLog
from recsys.data.reading.columns import choose, empty_roles
from recsys.data.reading.delimited import DelimitedTable, open_delimited
from recsys.data.reading.normalisation import normalise
from recsys.data.reading.session_logs import session_notes
from recsys.data.reading.source import NONE, ROLES, Column, Source
from recsys.data.reading.table import Table
from recsys.data.reading.target_rows import column_types, read_target_rows
from recsys.data.row_errors import refuse_rows

__all__ = ["OpenTable", "open_csv", "open_inter", "read_inter", "read_table", "read_x_label"]

# Opens a file as a table with columns.
OpenTable: TypeAlias = Callable[[Path, Source], Table]

_X_LABEL = "x_label"
_PARTS = ("train", "valid", "test")
_PART = "\0part"  # column names of a file cannot hold a null character


def open_csv(path: Path, source: Source) -> DelimitedTable:
    """Open delimited text with any separator, with or without header, plain or compressed."""
    given = [column for column in source.columns().values() if column not in (None, NONE)]
    return open_delimited(
        path,
        separator=source.separator,
        header=source.header,
        named=any(isinstance(column, str) for column in given) if given else None,
        quote=source.quote,
    )


def read_table(open_table: OpenTable, path: Path, source: Source) -> RawLog:
    """Read the columns of a table that have a role.

    Args:
        open_table: opens the file.
        path: of the file.
        source: the settings.
    """
    return _read(open_table(path, source), path, source)


def open_inter(path: Path, source: Source) -> DelimitedTable:
    """Open a file of RecBole; columns of sequences are left out."""
    table = open_delimited(
        path,
        separator=source.separator or "\t",
        header=True,
        quote=source.quote or "",
        typed_names=True,
    )
    types = column_types(path, source.separator or "\t")
    single = tuple(name for name in table.names if not types[name].endswith("_seq"))
    return dataclasses.replace(table, names=single)


def read_inter(path: Path, source: Source) -> RawLog:
    """Read a file of RecBole: header `user_id:token`, `rating:float`, ...; quotes are text.

    With `item_id_list:token_seq` next to `item_id:token` a row is a target with its history; see
    `recsys.data.reading.target_rows`. Other columns of sequences are not read.
    """
    table = open_inter(path, source)
    types = column_types(path, source.separator or "\t")
    chosen = _choose(table, source.columns(), path, source)
    history = f"{chosen['item']}_list"
    if types.get(history) == "token_seq":
        return read_target_rows(table, chosen, history, source)
    return _read(table, path, source)


def _read(table: Table, path: Path, source: Source) -> RawLog:
    """Read the columns of an open table that have a role."""
    given = source.columns()
    named = [role for role, column in given.items() if column is not None]
    chosen = _choose(table, given, path, source)
    rows, row_notes = table.collect(list(dict.fromkeys(chosen.values())))
    chosen, empty_notes = empty_roles(rows, chosen, named)
    frame, notes = normalise(rows, chosen, table.where, nulls=source.nulls, typed=table.typed)
    guessed = [f"{role} = '{name}'" for role, name in chosen.items() if role not in named]
    notes += session_notes(frame, chosen)
    return RawLog(frame, notes=(*table.notes, *guessed, *empty_notes, *row_notes, *notes))


def _choose(table: Table, given: dict[str, Column], path: Path, source: Source) -> dict[str, str]:
    """Return the column of each role.

    A file of a source that is already split may lack time, weight, clean and behaviour.
    """
    if source.train and path.is_file():
        given = _without_missing(given, table)
    return choose(table.names, given, place=str(path), header=table.header, sample=table.sample)


def _without_missing(given: Mapping[str, Column], table: Table) -> dict[str, Column]:
    """Return the given columns without optional ones that the table lacks."""
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
    # The parts are looked up like any other role, and taken out before columns are converted.
    given = source.columns() | {"clean": _X_LABEL}
    named = [role for role, column in given.items() if column is not None]
    chosen = _choose(table, given, path, source)
    rows, _ = table.collect(list(dict.fromkeys(chosen.values())))
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
    columns = {role: name for role, name in chosen.items() if role != "clean"}
    frame, notes = normalise(
        rows.with_columns(part.alias(_PART)), columns | {"part": _PART}, table.where
    )
    users, items = (_row_numbers(frame[role]) for role in ("user", "item"))
    return RawLog(frame, users, items, (*empty_notes, *notes, *session_notes(frame, columns)))


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
