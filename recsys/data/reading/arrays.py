"""Interactions that stand in arrays of the caller's: a users x items matrix, or pairs of user and item."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import scipy.sparse as sp

from recsys.data.reading.columns import ROLES, normalise
from recsys.data.reading.formats import of_sparse
from recsys.data.reading.reader import Parts, Source
from recsys.errors import InputError

__all__ = ["is_array", "read"]

_OF_TABLES = (
    *ROLES,
    "source",
    "path",
    "train",
    "valid",
    "test",
    "format",
    "separator",
    "header",
    "quote",
)


def is_array(data: Any) -> bool:
    """Whether something is a matrix of scipy.sparse or an array of numpy."""
    return bool(sp.issparse(data)) or isinstance(data, np.ndarray)


def read(data: Any, source: Source) -> Parts:
    """The interactions of a matrix or an array, as a file of the same gives them.

    Args:
        data: users x items of scipy.sparse, whose stored entries are the weights; or whole numbers [n, 2], user and item of each row.
        source: the settings; those of columns and files have no meaning here.

    Raises:
        InputError: an array of another shape or kind, an entry that is no finite number, a setting of columns or files.
    """
    place = "sparse matrix" if sp.issparse(data) else "array"
    for name in (*_OF_TABLES, "nulls"):
        if getattr(source, name) != getattr(Source, name):
            raise InputError(f"{name} does not go with this", place=place, remedy="leave it out")
    parts = _of_matrix(data, place) if sp.issparse(data) else _of_pairs(data, place)
    assert parts.all is not None
    if not parts.all.height:
        raise InputError("holds no pair", place=place, remedy="give one with interactions")
    if source.ordered:
        return Parts(
            all=parts.all.with_columns(pl.Series("time", np.arange(parts.all.height))),
            users=parts.users,
            items=parts.items,
            history=parts.history,
        )
    return parts


def _of_matrix(data: Any, place: str) -> Parts:
    if data.ndim != 2:
        raise InputError(f"{data.ndim} dimension, not 2", place=place, remedy="give users x items")
    numbered = of_sparse(sp.coo_matrix(data), place)
    rows, columns = data.shape
    head = f"{place} {rows} x {columns}: {numbered.frame.height} entries"
    return Parts(
        all=numbered.frame,
        users=numbered.users,
        items=numbered.items,
        history=(head, *numbered.notes),
        in_file_order=False,
    )


def _of_pairs(data: np.ndarray, place: str) -> Parts:
    if data.dtype.kind not in "iu" or data.ndim != 2 or data.shape[1] != 2:
        raise InputError(
            f"{data.dtype} {list(data.shape)}, not pairs of whole numbers [n, 2]",
            place=place,
            remedy="give user and item of each row, a data frame with named columns, or scipy.sparse.csr_matrix of users x items",
        )
    native = data.astype(data.dtype.newbyteorder("="), copy=False)
    table = pl.DataFrame({"user": native[:, 0].copy(), "item": native[:, 1].copy()})
    frame, notes = normalise(
        table, {"user": "user", "item": "item"}, lambda row: f"{place}, row {row}", typed=True
    )
    return Parts(all=frame, history=(f"{place}: {frame.height} rows", *notes))
