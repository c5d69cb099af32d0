"""Checks of item ids and of vectors, which every reader of features needs."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsys.errors import InputError

__all__ = ["require_finite", "require_unique"]


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
