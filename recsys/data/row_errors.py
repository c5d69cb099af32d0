"""Errors that name the row and the column of a table in which a value is wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import polars as pl

from recsys.errors import InputError

__all__ = ["RowPlace", "first_true", "refuse_rows"]

# Row number of a table, from 0, to its place in an error, such as "ratings.csv, line 7".
RowPlace: TypeAlias = Callable[[int], str]


def refuse_rows(
    bad: pl.Series,
    values: pl.Series,
    where: RowPlace,
    column: str,
    cause: Callable[[Any], str],
    remedy: str,
) -> None:
    """Raise an error about the first bad row, if there is one.

    Args:
        bad: whether a row is bad, bool [n].
        values: the column as it was read [n].
        where: gives the place of a row.
        column: name of the column.
        cause: describes a bad value.
        remedy: what the user can do.

    Raises:
        InputError: at least one row is bad.
    """
    if not bad.any():
        return
    row = first_true(bad)
    place = f"{where(row)}, column '{column}'"
    raise InputError(cause(values[row]), place=place, remedy=remedy)


def first_true(mask: pl.Series) -> int:
    """Return the position of the first true value of a mask that has one."""
    return int(mask.arg_true()[0])
