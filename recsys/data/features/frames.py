"""Vectors of items from Parquet, from data frames, and from pairs of ids and an array."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.data.features.validation import require_finite
from recsys.data.ids import ids_of
from recsys.errors import InputError, first_line

__all__ = ["columns_of", "from_memory", "from_parquet"]

_COLUMNS = "it needs the columns `item` and `values`, a list of numbers"
_IN_MEMORY = (
    "give a path, a frame with the columns `item` and `values`, "
    "or a pair of ids and an array with a row for each"
)


def from_parquet(path: Path) -> tuple[pl.Series, np.ndarray]:
    """Return the ids and the vectors of a Parquet file with the columns `item` and `values`.

    Returns:
        Ids [n], and vectors float32 [n, d] with d >= 1, of the items that have one.

    Raises:
        InputError: the file cannot be read, or a column is not what it should be.
    """
    try:
        frame = pl.read_parquet(path, columns=["item", "values"])
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(
            f"cannot be read as a feature table: {first_line(error)}",
            place=str(path),
            remedy=_COLUMNS,
        ) from None
    return _from_columns(frame["item"], frame["values"], str(path))


def columns_of(path: Path) -> list[str]:
    """Return the names of the columns of a Parquet file, none if it cannot be read."""
    try:
        return list(pl.read_parquet_schema(path))
    except (pl.exceptions.PolarsError, OSError):
        return []


def from_memory(table: Any, place: str) -> tuple[pl.Series, np.ndarray]:
    """Return the ids and the vectors of a table in memory.

    Args:
        table: a polars or pandas frame with the columns `item` and `values`, or a pair of n ids and
            an array [n, d].
        place: what to call the table in an error.

    Returns:
        Ids [n] and vectors [n, d].

    Raises:
        InputError: another kind of table, or values that are not vectors.
    """
    try:
        if isinstance(table, tuple):
            return _from_pair(table, place)
        if isinstance(table, pl.DataFrame):
            return _from_columns(table["item"], table["values"], place)
        ids = _with_none(table["item"])
        vectors = [
            None if value is None else np.asarray(value).tolist()
            for value in _with_none(table["values"])
        ]
        return _from_columns(pl.Series("item", ids), pl.Series("values", vectors), place)
    except (
        TypeError,
        ValueError,
        KeyError,
        IndexError,
        AttributeError,
        pl.exceptions.PolarsError,
    ) as error:
        raise InputError(
            f"{type(table).__name__} is not a feature table: {first_line(error)}",
            place=place,
            remedy=_IN_MEMORY,
        ) from None


def _with_none(column: Any) -> list[Any]:
    """Return the values of a pandas column, None where one is missing."""
    return [
        None if missing else value for value, missing in zip(column, column.isna(), strict=True)
    ]


def _from_pair(pair: tuple[Any, ...], place: str) -> tuple[pl.Series, np.ndarray]:
    """Return n ids and an array [n, d].

    Raises:
        InputError: the array has another shape or does not hold numbers.
    """
    ids = pl.Series("item", pair[0])
    vectors = np.asarray(pair[1])
    has_rows = vectors.ndim == 2 and vectors.size and len(ids) == len(vectors)
    if len(pair) == 2 and has_rows and vectors.dtype.kind in "fiub":
        return ids_of(ids, place), vectors
    raise InputError(
        f"{len(ids)} ids and {vectors.dtype} {list(vectors.shape)}",
        place=place,
        remedy=_IN_MEMORY,
    )


def _from_columns(ids: pl.Series, values: pl.Series, place: str) -> tuple[pl.Series, np.ndarray]:
    """Return the ids and the vectors of two columns, without the items that have no vector.

    Raises:
        InputError: the values are not lists of numbers, all finite and of one length.
    """
    ids = ids_of(ids, place)
    if not isinstance(values.dtype, pl.List | pl.Array) or values.dtype.inner.is_nested():
        raise InputError(f"`values` is {values.dtype}", place=place, remedy=_COLUMNS)
    ids = ids.filter(values.is_not_null())
    values = values.drop_nulls()
    if not len(values):
        raise InputError(
            "`values` is empty in every row", place=place, remedy="give the items that have vectors"
        )
    is_list = isinstance(values.dtype, pl.List)
    lengths = (values.list.len() if is_list else values.arr.len()).to_numpy()
    dim = int(lengths[0])
    if not lengths.all():
        raise InputError(
            f"`values` is empty for item {ids[int(np.argmin(lengths))]!r}",
            place=place,
            remedy="leave the item out, or write null",
        )
    if (lengths != dim).any():
        other = int(np.argmax(lengths != dim))
        raise InputError(
            f"different lengths in `values`: {dim} for item {ids[0]!r}, "
            f"{lengths[other]} for item {ids[other]!r}",
            place=place,
            remedy="give every item a vector of the same length",
        )
    try:
        vectors = values.explode().cast(pl.Float32).to_numpy().reshape(-1, dim)
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise InputError(
            f"`values` must hold numbers: {first_line(error)}",
            place=place,
            remedy="give every item a list of numbers",
        ) from None
    require_finite(ids, vectors, place)
    return ids, vectors
