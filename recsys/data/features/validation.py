"""Checks of item ids and of vectors, which every reader of features needs."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsys.errors import InputError

__all__ = ["ids_of", "require_finite", "require_unique"]


def ids_of(ids: pl.Series, place: str) -> pl.Series:
    """Return ids as text or integers, converted from the type of their column.

    Args:
        ids: text, integers, categories, or floats and decimals without a fraction (an integer
            column that once had a gap) [n].
        place: of the table in an error.

    Raises:
        InputError: another type, or an id is missing.
    """
    if isinstance(ids.dtype, pl.Categorical | pl.Enum):
        ids = ids.cast(pl.String)
    if (ids.dtype.is_float() or ids.dtype.is_decimal()) and (ids == ids.floor()).all():
        ids = ids.cast(pl.Int64, strict=False)
    if not (ids.dtype == pl.String or ids.dtype.is_integer() or ids.dtype == pl.Null):
        raise InputError(
            f"'{ids.name}' holds {ids.dtype}, not ids",
            place=place,
            remedy="write ids as text or whole numbers",
        )
    missing = ids.null_count()
    if missing:
        verb = "is" if missing == 1 else "are"
        raise InputError(
            f"{missing} of {len(ids)} ids {verb} missing",
            place=place,
            remedy="leave the row out",
        )
    return ids


def require_unique(ids: pl.Series, place: str) -> None:
    """Refuse ids of which one occurs twice.

    Raises:
        InputError: with the first duplicate id.
    """
    if ids.n_unique() < len(ids):
        raise InputError(
            f"duplicate item id {ids.filter(ids.is_duplicated())[0]!r}",
            place=place,
            remedy="give one row per item",
        )


def require_finite(
    ids: pl.Series, vectors: np.ndarray, place: str, where: str = "its vector"
) -> None:
    """Refuse vectors with a value that is infinite or NaN.

    Args:
        ids: of the items [n].
        vectors: [n, d].
        place: of the table in an error.
        where: what to call a vector in an error.

    Raises:
        InputError: with the first such item.
    """
    bad = np.flatnonzero(~np.isfinite(vectors).all(1))
    if not len(bad):
        return
    cause = f"item {ids[int(bad[0])]!r} has a value in {where} that is not a finite number"
    if len(bad) > 1:
        cause += f" ({len(bad)} of {len(ids)} items have)"
    raise InputError(cause, place=place, remedy="leave out the items without a vector")
