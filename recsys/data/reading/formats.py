"""The table of file formats: a reader for each name of `format`, and readers of other packages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import polars as pl

from recsys import plugins
from recsys.data.raw_parts import RawLog
from recsys.data.reading.basket_format import read_baskets
from recsys.data.reading.list_formats import (
    read_adjacency,
    read_json_lists,
    read_noise_flag,
    read_users_dat,
)
from recsys.data.reading.matrix_formats import read_npy, read_npz
from recsys.data.reading.normalisation import normalise
from recsys.data.reading.parquet import ParquetTable, open_parquet
from recsys.data.reading.source import ROLES, Source
from recsys.data.reading.table_formats import (
    OpenTable,
    open_csv,
    open_inter,
    read_inter,
    read_table,
    read_x_label,
)
from recsys.errors import InputError

__all__ = ["FileFormat", "Reader", "file_format", "is_plugin"]

# Reads one file. A reader of another package (entry points `recsys.readers`, see recsys.plugins)
# has the same signature. Its rows are interactions, with `user`, `item` and, where the file has
# them, `time`, `weight`, `clean`, `behaviour`, `session`, `clicked` and `position`, of any type:
# they are checked and converted like the columns of a data frame. A folder is passed as it is.
Reader: TypeAlias = Callable[[Path, Source], RawLog]


@dataclass(frozen=True)
class FileFormat:
    """How one format is read.

    Args:
        read: reads one file.
        settings: the settings of a file that the format uses; any other is refused. None: all.
        folders: whether a folder can be read as one table.
        in_file_order: whether the order of the rows has a meaning.
        fixed_size: whether all parts must have the same number of users and items.
        lists: whether a user has a list of items, whose order counts only with `ordered`.
        open_table: opens a file as a table with columns; None for a format without columns.
    """

    read: Reader
    settings: tuple[str, ...] | None = ("ordered",)
    folders: bool = False
    in_file_order: bool = True
    fixed_size: bool = False
    lists: bool = False
    open_table: OpenTable | None = None


def _open_parquet(path: Path, source: Source) -> ParquetTable:
    return open_parquet(path)


_OF_X_LABEL = (
    "user",
    "item",
    "time",
    "weight",
    "behaviour",
    "session",
    "separator",
    "quote",
    "ordered",
)
_TABLE = (*ROLES, "ordered", "nulls")
_FORMATS: Mapping[str, FileFormat] = {
    "csv": FileFormat(
        partial(read_table, open_csv),
        (*_TABLE, "separator", "quote", "header"),
        open_table=open_csv,
    ),
    "parquet": FileFormat(
        partial(read_table, _open_parquet), _TABLE, folders=True, open_table=_open_parquet
    ),
    "inter": FileFormat(read_inter, (*_TABLE, "separator", "quote"), open_table=open_inter),
    "adjacency": FileFormat(read_adjacency, lists=True),
    "users-dat": FileFormat(read_users_dat, lists=True),
    "x-label": FileFormat(read_x_label, _OF_X_LABEL),
    "noise-flag": FileFormat(read_noise_flag, ("weight", "clean", "ordered")),
    "npz": FileFormat(read_npz, in_file_order=False, fixed_size=True),
    "npy": FileFormat(read_npy),
    "json-lists": FileFormat(read_json_lists, lists=True),
    "baskets": FileFormat(read_baskets, ("separator",)),
}


def file_format(name: str) -> FileFormat:
    """Return the format of a name.

    Args:
        name: a format of this package or the name of an entry point of `recsys.readers`.

    Raises:
        InputError: the reader of another package cannot be imported.
    """
    if name in _FORMATS:
        return _FORMATS[name]
    return FileFormat(_plugin_reader(name), settings=None, folders=True)


def is_plugin(name: str) -> bool:
    """Return whether a format is read by another package."""
    return name not in _FORMATS and name in plugins.names("readers")


def _plugin_reader(name: str) -> Reader:
    """Return the reader of another package, with a check of its result."""
    place = f"format '{name}'"
    try:
        read = plugins.load("readers", name)
    except InputError as error:
        raise error.at(place) from None

    def read_checked(path: Path, source: Source) -> RawLog:
        return _checked(read(path, source), path, place, source)

    return read_checked


def _checked(log: RawLog, path: Path, place: str, source: Source) -> RawLog:
    """Return the result of another package's reader with columns of our types.

    Raises:
        InputError: the result is not a RawLog, lacks a column, or holds a value that is not valid.
    """
    remedy = "correct the reader of the group recsys.readers"
    if not isinstance(log, RawLog):
        cause = f"expected a RawLog for {path}, got {type(log).__name__}"
        raise InputError(cause, place=place, remedy=remedy)
    missing = [role for role in ("user", "item") if role not in log.frame.columns]
    if missing:
        cause = f"the table of {path} lacks the column {' and '.join(map(repr, missing))}"
        raise InputError(cause, place=place, remedy=remedy)
    roles = {role: role for role in (*ROLES, "part") if role in log.frame.columns}
    if not source.keep_log:
        roles.pop("position", None)  # in earlier versions any column could be called so
    if "label" in log.frame.columns:  # the name of `clean` in earlier versions
        roles.setdefault("clean", "label")
    frame, notes = normalise(
        log.frame, roles, lambda row: f"{path}, row {row + 1}", nulls=source.nulls, typed=True
    )
    for role, numbered in (("user", log.users), ("item", log.items)):
        if numbered is not None and frame[role].dtype != pl.Int64:
            cause = f"{role}s are a range of numbers, but the column '{role}' holds text"
            raise InputError(cause, place=place, remedy=remedy)
    return RawLog(frame, log.users, log.items, (*log.notes, *notes), log.histories)
