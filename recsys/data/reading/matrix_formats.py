"""Formats of numpy and scipy: sparse users x items matrices, and arrays of pairs.

Python objects in a file (pickle) are never loaded. Every `read_` function reads one file:
`read(path, source) -> RawLog`. See `recsys.data.reading.formats`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import scipy.sparse as sp

from recsys.data.raw_parts import RawLog
from recsys.data.reading.normalisation import doubles, normalise
from recsys.data.reading.source import Source
from recsys.data.reading.text_files import damaged, require, unreadable
from recsys.errors import InputError

__all__ = ["log_of_matrix", "log_of_pairs", "read_npy", "read_npz"]

_PICKLE = "holds Python objects (pickle), which are never loaded"
_MAX_SIZE = 2**31
# With more stored entries off the diagonal than this, a symmetric matrix is not a coincidence.
_MANY = 20


def read_npz(path: Path, source: Source) -> RawLog:
    """Read a users x items matrix as `scipy.sparse.save_npz` writes it, in any layout.

    Its stored entries are the interactions. An adjacency matrix of users and items together, as in
    LightGCN and related code, is reduced to its block of users x items.

    Raises:
        InputError: an archive that is damaged, holds Python objects or no sparse matrix; an
            adjacency matrix without a clear border between users and items.
    """
    return log_of_matrix(_load_matrix(path), str(path))


def read_npy(path: Path, source: Source) -> RawLog:
    """Read pairs of user and item, an integer array [n, 2] as `numpy.save` writes it.

    Raises:
        InputError: an array that is damaged, has another shape or holds other values.
    """
    require(path)
    remedy = "save whole numbers [n, 2], user and item, by numpy.save"
    try:
        array = np.load(path, allow_pickle=False)
    except OSError as error:
        raise unreadable(path, error) from None
    except (ValueError, EOFError) as error:
        if "pickle" in str(error) or "Object arrays" in str(error):
            raise InputError(_PICKLE, place=str(path), remedy=remedy) from None
        raise damaged(path, error) from None
    if not isinstance(array, np.ndarray):
        raise InputError("holds several arrays, not one", place=str(path), remedy=remedy)
    if not is_pairs(array):
        cause = f"holds {array.dtype} {list(array.shape)}, not pairs of whole numbers [n, 2]"
        raise InputError(cause, place=str(path), remedy=remedy)
    if not len(array):
        raise InputError("holds no pair", place=str(path), remedy="give a file with interactions")
    return log_of_pairs(array, str(path))


def is_pairs(array: np.ndarray) -> bool:
    """Return whether an array holds integers in two columns."""
    return array.dtype.kind in "iu" and array.ndim == 2 and array.shape[1] == 2


def log_of_pairs(array: np.ndarray, place: str) -> RawLog:
    """Return the interactions of an array of pairs.

    Args:
        array: user and item of each row, integers [n, 2].
        place: of the array, for errors.
    """
    native = array.astype(array.dtype.newbyteorder("="), copy=False)
    table = pl.DataFrame({"user": native[:, 0].copy(), "item": native[:, 1].copy()})
    roles = {"user": "user", "item": "item"}
    frame, notes = normalise(table, roles, lambda row: f"{place}, row {row}", typed=True)
    return RawLog(frame, notes=tuple(notes))


def log_of_matrix(matrix: sp.coo_matrix, place: str) -> RawLog:
    """Return the stored entries of a users x items matrix; their values are the weights.

    Entries that are stored several times are added up, as scipy does. An adjacency matrix of users
    and items together is reduced to its block of users x items.

    Args:
        matrix: users x items, real numbers.
        place: of the matrix, for errors.

    Raises:
        InputError: an entry that is not a finite number; an adjacency matrix without a clear
            border between users and items.
    """
    if matrix.data.dtype.kind not in "biuf":
        raise InputError(
            f"a matrix of {matrix.data.dtype}, not of real numbers",
            place=place,
            remedy="give real numbers, as with .astype(float)",
        )
    values = doubles(pl.Series(matrix.data)).to_numpy()
    infinite = np.flatnonzero(~np.isfinite(values))
    if len(infinite):
        bad = int(infinite[0])
        raise InputError(
            f"entry ({matrix.row[bad]}, {matrix.col[bad]}) is {values[bad]}",
            place=place,
            remedy="give finite values",
        )
    entries = sp.coo_matrix((values, (matrix.row, matrix.col)), shape=matrix.shape)
    entries.sum_duplicates()
    notes = []
    if entries.nnz < len(values):
        notes.append(f"entries stored several times added up: {len(values)} -> {entries.nnz}")
    n_users = _users_of_adjacency(place, entries)
    if n_users is not None:
        entries, block_notes = _user_item_block(entries, n_users)
        notes += block_notes
    columns: dict[str, Any] = {
        "user": entries.row.astype(np.int64),
        "item": entries.col.astype(np.int64),
    }
    if not (entries.data == 1).all():
        columns["weight"] = entries.data
    rows, items = entries.shape
    return RawLog(pl.DataFrame(columns), range(rows), range(items), tuple(notes))


def _users_of_adjacency(place: str, entries: sp.coo_matrix) -> int | None:
    """Return the number of users of an adjacency matrix; None for a users x items matrix.

    An adjacency matrix is square and symmetric. Users come first. Off the diagonal, every
    entry is between a user and an item.

    Args:
        place: of the matrix; a square one in a file with `adj` in its name is an adjacency matrix.
        entries: the matrix, without duplicates.

    Raises:
        InputError: it is an adjacency matrix, and the border between users and items is not unique.
    """
    size = entries.shape[0]
    off = entries.row != entries.col
    low = np.minimum(entries.row, entries.col)[off]
    high = np.maximum(entries.row, entries.col)[off]
    is_named_so = "adj" in Path(place).name.lower()
    is_square = size == entries.shape[1]
    if not is_square or not len(low) or (len(low) <= _MANY and not is_named_so):
        return None
    is_above = (entries.row < entries.col)[off]
    key = low.astype(np.int64) * size + high
    upper, lower = np.unique(key[is_above]), np.unique(key[~is_above])
    symmetric = np.array_equal(upper, lower)
    if not symmetric:
        if not is_named_so:
            return None
        raise InputError(
            "is called an adjacency, and is not symmetric",
            place=place,
            remedy="give users x items, not called adj",
        )
    first = int(low.max()) + 1
    last = int(high.min())
    if first == last:
        return first
    if first < last:
        raise InputError(
            f"is an adjacency of users and items whose items may begin at {first} to {last}",
            place=place,
            remedy="cut it: scipy.sparse.save_npz('train.npz', matrix[:n_users, n_users:])",
        )
    is_dense = 2 * len(upper) >= size * (size - 1) // 2
    if is_dense and not is_named_so:
        return None  # users x items with almost every entry stored, and so symmetric
    raise InputError(
        f"is symmetric, {size} x {size}: a graph of users or of items alone",
        place=place,
        remedy="give a matrix of users x items",
    )


def _user_item_block(entries: sp.coo_matrix, n_users: int) -> tuple[sp.coo_matrix, list[str]]:
    """Return the block of users x items of an adjacency matrix, and notes on it."""
    in_block = (entries.row < n_users) & (entries.col >= n_users)
    n_items = entries.shape[0] - n_users
    notes = [
        f"an adjacency of {n_users} users and {n_items} items together: "
        f"{in_block.sum()} of {len(in_block)} entries are of users x items"
    ]
    values = entries.data[in_block]
    if (values != np.floor(values)).any():
        notes.append("its values are normalised, not weights")
        values = np.ones(len(values))
    rows = entries.row[in_block]
    columns = entries.col[in_block] - n_users
    return sp.coo_matrix((values, (rows, columns)), shape=(n_users, n_items)), notes


def _load_matrix(path: Path) -> sp.coo_matrix:
    """Return the matrix of a file of `scipy.sparse.save_npz`."""
    require(path)
    remedy = "write it again with scipy.sparse.save_npz"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            is_archive = isinstance(archive, np.lib.npyio.NpzFile)
            if not is_archive or not {"format", "shape", "data"} <= set(archive.files):
                raise InputError("not a sparse matrix", place=str(path), remedy=remedy)
            arrays = {name: archive[name] for name in archive.files}
        return _matrix_of(arrays)
    except InputError:
        raise
    except OSError as error:
        raise unreadable(path, error) from None
    except Exception as error:
        # numpy and zipfile raise many kinds, such as ValueError, BadZipFile, KeyError, EOFError.
        if "pickle" in str(error):
            raise InputError(_PICKLE, place=str(path), remedy=remedy) from None
        raise damaged(path, error) from None


def _matrix_of(arrays: dict[str, Any]) -> sp.coo_matrix:
    """Return the matrix of the arrays of `save_npz`, after a check of the indices.

    Raises:
        ValueError: a shape or a layout that is not valid.
    """
    layout = arrays["format"].item()
    layout = layout.decode() if isinstance(layout, bytes) else str(layout)
    shape = tuple(int(n) for n in arrays["shape"])
    if len(shape) != 2 or min(shape) < 0 or max(shape) >= _MAX_SIZE:
        raise ValueError(f"shape {shape}")
    compressed = {"csr": sp.csr_matrix, "csc": sp.csc_matrix, "bsr": sp.bsr_matrix}
    if layout in compressed:
        content = (arrays["data"], arrays["indices"], arrays["indptr"])
        matrix = compressed[layout](content, shape=shape)
        matrix.check_format(full_check=True)
        return matrix.tocoo()
    others: dict[str, Callable[[], Any]] = {
        "coo": lambda: sp.coo_matrix((arrays["data"], (arrays["row"], arrays["col"])), shape=shape),
        "dia": lambda: sp.dia_matrix((arrays["data"], arrays["offsets"]), shape=shape),
    }
    if layout not in others:
        raise ValueError(f"unknown layout {layout!r}")
    return others[layout]().tocoo()
