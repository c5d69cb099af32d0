"""The rows of a report: one per query, with the unit, the query and the test part of each."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

__all__ = ["KEYS", "query_rows", "rows_counted", "with_positions"]

KEYS = ("user", "query", "part")  # columns that tell which row it is; all others are metrics


def query_rows(
    unit: np.ndarray, columns: Mapping[str, np.ndarray], query: np.ndarray | None = None
) -> pl.DataFrame:
    """Return the rows of a report.

    Args:
        unit: row number of the unit of each query, int [n].
        columns: values per query of each metric, float64 [n]; NaN where it is not defined.
        query: position of each query among all queries of the test part, int [n]; None: 0, 1, ...
            It tells the queries of a unit apart, and pairs the rows of two methods.

    Returns:
        `user` (the unit, int32), `query` (int32) if a unit has several queries, and the metrics,
        null where they are not defined.
    """
    units = np.asarray(unit, dtype=np.int32)
    frame = pl.DataFrame({"user": units, **columns}).with_columns(pl.col(pl.Float64).fill_nan(None))
    return with_positions(frame, query) if len(np.unique(units)) < len(units) else frame


def with_positions(frame: pl.DataFrame, query: np.ndarray | None = None) -> pl.DataFrame:
    """Return the rows of a report with the column `query`, int32, after `user`.

    Args:
        frame: rows without the column.
        query: position of each query, int [n]; None: 0, 1, ...
    """
    positions = np.arange(len(frame)) if query is None else query
    query_column = pl.Series("query", positions, dtype=pl.Int32)
    return frame.select("user", query_column, pl.exclude("user"))


def rows_counted(queries: int, units: int, unit_name: str) -> str:
    """Return the number of rows in words: `200 users`, or `900 queries of 200 sessions`.

    The nouns are in the plural, as in the head of a column.
    """
    of_units = f"{units:,} {unit_name}s"
    return of_units if queries == units else f"{queries:,} queries of {of_units}"
