"""Interactions in arrays: a users x items matrix of scipy.sparse, or pairs of numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp

from recsys.data.raw_parts import RawLog, RawParts
from recsys.data.reading.matrix_formats import is_pairs, log_of_matrix, log_of_pairs
from recsys.data.reading.order import number_rows
from recsys.data.reading.source import COLUMN_SETTINGS, FILE_SETTINGS, Source
from recsys.errors import InputError

__all__ = ["is_array", "read_array"]


def is_array(data: Any) -> bool:
    """Return whether a value is a matrix of scipy.sparse or an array of numpy."""
    return bool(sp.issparse(data)) or isinstance(data, np.ndarray)


def read_array(data: Any, source: Source) -> RawParts:
    """Return the interactions of a matrix or an array.

    Args:
        data: users x items of scipy.sparse, whose stored entries are the weights; or integers
            [n, 2], user and item of each row.
        source: the settings; those of columns and files do not apply here.

    Raises:
        InputError: an array of another shape or type, an entry that is not a finite number, or a
            setting of columns or files.
    """
    place = "sparse matrix" if sp.issparse(data) else "array"
    for name in (*COLUMN_SETTINGS, *FILE_SETTINGS):
        if getattr(source, name) != getattr(Source, name):
            raise InputError(f"{name} does not apply here", place=place, remedy="leave it out")
    log, shape = _of_matrix(data, place) if sp.issparse(data) else _of_pairs(data, place)
    if not log.frame.height:
        raise InputError("holds no pair", place=place, remedy="give one with interactions")
    frame = number_rows({"all": log.frame}, place)["all"] if source.ordered else log.frame
    return RawParts(
        all=frame,
        users=log.users,
        items=log.items,
        history=(shape, *log.notes),
        in_file_order=not sp.issparse(data) or source.ordered,
    )


def _of_matrix(data: Any, place: str) -> tuple[RawLog, str]:
    """Return the stored entries of a matrix, and its size in words."""
    if data.ndim != 2:
        raise InputError(f"{data.ndim} dimension, not 2", place=place, remedy="give users x items")
    log = log_of_matrix(sp.coo_matrix(data), place)
    rows, columns = data.shape
    return log, f"{place} {rows} x {columns}: {log.frame.height} entries"


def _of_pairs(data: np.ndarray, place: str) -> tuple[RawLog, str]:
    """Return the rows of an array, and its size in words."""
    if not is_pairs(data):
        raise InputError(
            f"{data.dtype} {list(data.shape)}, not pairs of whole numbers [n, 2]",
            place=place,
            remedy="give user and item of each row, a data frame with named columns, "
            "or scipy.sparse.csr_matrix of users x items",
        )
    log = log_of_pairs(data, place)
    return log, f"{place}: {log.frame.height} rows"
