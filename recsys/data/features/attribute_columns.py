"""Fit an encoding of attributes to the columns of a file: what kind each is, and its values."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from recsys.data.features.attribute_table import (
    AttributeEncoding,
    ColumnCode,
    ColumnKind,
    entries_of,
    numbers_of,
    vectors_of,
)
from recsys.errors import InputError

__all__ = ["fit_encoding", "guess_kind"]

_FEW = 50  # rows below which distinct values are not a sign of an id
_CONSTANT = 1e-12  # standard deviation, relative to the largest value, that counts as 0


def guess_kind(column: pl.Series, split: str) -> ColumnKind | str:
    """Return the kind of a column, or why it is left out.

    Numbers are "number", those that are all 0 or 1 "flag"; lists "several" or "vector"; text in
    which `split` occurs "several", other text "category". Left out are columns with one value, and
    text that differs in more than half of the rows, such as names: it identifies rows, and holds
    nothing that they share.

    Args:
        column: of the file.
        split: what separates the values of a list in text.
    """
    dtype = column.dtype
    if dtype == pl.String:
        column = column.str.strip_chars().replace("", None)
    known = column.drop_nulls()
    if not len(known):
        return "empty in every row"
    if isinstance(dtype, pl.List | pl.Array):
        return "vector" if dtype.inner.is_numeric() else "several"
    if dtype == pl.Boolean:
        return "flag" if known.n_unique() > 1 else "the same in every row"
    numbers = known.cast(pl.Float64, strict=False)
    if (dtype.is_numeric() or dtype == pl.String) and not numbers.null_count():
        if set(numbers.unique().head(3).to_list()) <= {0.0, 1.0}:
            return "flag"
        return "number" if known.n_unique() > 1 else "the same in every row"
    if dtype not in (pl.String, pl.Categorical, pl.Enum):
        return f"of the type {dtype}"
    texts = known.cast(pl.String)
    if texts.str.contains(split, literal=True).any():
        return "several"
    n_values = texts.n_unique()
    if n_values > _FEW and 2 * n_values > len(texts):
        return f"different in {n_values:,} of {len(texts):,} rows"
    return "category" if n_values > 1 or known.len() < len(column) else "the same in every row"


def fit_encoding(
    frame: pl.DataFrame, kinds: Mapping[str, ColumnKind], splits: Mapping[str, str], place: str
) -> AttributeEncoding:
    """Return how the rows of a file become rows of a table.

    Args:
        frame: the columns of the file.
        kinds: kind of each column that is used, in the order of the table.
        splits: what separates the values of a list in text, by column.
        place: of the file, for errors.

    Raises:
        InputError: a column of numbers holds something else, or vectors differ in length.
    """
    codes = []
    for name, kind in kinds.items():
        split = splits.get(name, "|")
        column, within = frame[name], f"{place}, column '{name}'"
        if kind in ("category", "several"):
            _, texts = entries_of(column, kind, split)
            values = tuple(texts.unique().sort().to_list())
            if not values:
                raise InputError(
                    "has no value in any row", place=within, remedy="leave the column out"
                )
            codes.append(ColumnCode(name, kind, values, split))
            continue
        if kind == "flag":
            numbers_of(column, within)
            codes.append(ColumnCode(name, kind))
            continue
        if kind == "vector":
            known, numbers = vectors_of(column, within, split)
        else:
            known, flat = numbers_of(column, within)
            numbers = flat[:, None]
        codes.append(_scaled(name, kind, split, numbers[known]))
    return AttributeEncoding(tuple(codes))


def _scaled(name: str, kind: ColumnKind, split: str, numbers: np.ndarray) -> ColumnCode:
    """Return the scaling of numbers [n, d] to mean 0 and standard deviation 1."""
    mean, deviation = numbers.mean(0), numbers.std(0)
    largest = np.abs(numbers).max(0, initial=1.0)
    deviation = np.where(deviation < _CONSTANT * largest, 1.0, deviation)
    return ColumnCode(name, kind, (), split, tuple(mean.tolist()), tuple(deviation.tolist()))
