"""Vectors of items from NumPy files: one array of all items, or a folder with an array per item."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from recsys.data.ids import ids_of
from recsys.data.types import Vocab
from recsys.errors import InputError, first_line

__all__ = ["from_array", "from_folder"]

_NUMBERS = "fiub"  # kinds of dtype
_AS_NUMBERS = "as plain numbers, with .astype('float32')"


def from_array(path: Path, items: Vocab) -> tuple[pl.Series, np.ndarray]:
    """Return the ids and the vectors of an array `F.npy`.

    The ids are in `F.ids.npy` or `F.ids.txt` next to it, one per row. Without such a file, row i is
    the item with the id i.

    Args:
        path: of the array [n, d].
        items: the vocabulary, which shows whether ids may be row numbers.

    Returns:
        Ids [n] and vectors [n, d].

    Raises:
        InputError: a file cannot be read or has another shape, or ids are needed and missing.
    """
    vectors = _load(path, _NUMBERS, _AS_NUMBERS)
    if vectors.ndim != 2 or not vectors.size:
        raise InputError(
            f"has the shape {list(vectors.shape)}",
            place=str(path),
            remedy="give an array of n items with d numbers each",
        )
    text = path.with_suffix(".ids.txt")
    binary = path.with_suffix(".ids.npy")
    if binary.exists():
        ids = _ids_of_array(binary, text.name)
        ids_path = binary
    elif text.exists():
        ids = _ids_of_text(text)
        ids_path = text
    else:
        _require_row_numbers(items, len(vectors), path, text.name)
        return pl.Series(np.arange(len(vectors))), vectors
    if len(ids) != len(vectors):
        raise InputError(
            f"{len(ids)} ids for {len(vectors)} rows",
            place=str(ids_path),
            remedy="give an id for every row",
        )
    return ids_of(ids, str(ids_path)), vectors


def from_folder(path: Path, items: Vocab) -> tuple[pl.Series, np.ndarray]:
    """Return the ids and the vectors of a folder with a file `ID.npy` per item.

    Args:
        path: of the folder; each array is [d] or [1, d].
        items: the vocabulary; only the files of its items are read.

    Returns:
        Ids [n] and vectors float32 [n, d].

    Raises:
        InputError: the folder holds no array, one cannot be read, or their lengths differ.
    """
    files = sorted(path.glob("*.npy"))
    if not files:
        raise InputError(
            "holds no array",
            place=str(path),
            remedy="give a folder with one ID.npy per item, or the file of a table",
        )
    ids = pl.Series([file.stem for file in files])
    known = np.flatnonzero(items.rows(ids) >= 0)
    # One file is read in any case: it gives the length of a vector.
    chosen = [files[position] for position in (known if len(known) else [0])]
    vectors = np.empty((0, 0), dtype=np.float32)
    for row, file in enumerate(chosen):
        # Read as a copy: memory maps would hold as many files open.
        vector = _load(file, _NUMBERS, _AS_NUMBERS, mapped=False).reshape(-1)
        if row == 0:
            vectors = np.empty((len(chosen), vector.size), dtype=np.float32)
        if vector.size != vectors.shape[1]:
            raise InputError(
                f"vectors differ in length: {vectors.shape[1]} in {chosen[0].name} "
                f"and {vector.size} in {file.name}",
                place=str(path),
                remedy="give every item a vector of the same length",
            )
        with np.errstate(over="ignore"):
            vectors[row] = vector
    return ids[known.tolist()], vectors[: len(known)]


def _require_row_numbers(items: Vocab, rows: int, path: Path, ids_name: str) -> None:
    """Refuse an array without ids if the ids of the data cannot be its row numbers.

    Raises:
        InputError: an id is not an integer, or out of range.
    """
    if not items.ids.dtype.is_integer():
        raise InputError(
            "has no ids, and the ids of the data are not row numbers",
            place=str(path),
            remedy=f"write them, one a line, to {ids_name} next to it",
        )
    known = items.ids.to_numpy()
    if known.max(initial=0) >= rows or known.min(initial=0) < 0:
        raise InputError(
            f"has {rows} rows and no ids, but there are items from {known.min()} to {known.max()}",
            place=str(path),
            remedy=f"if row i is not item i, write the ids, one a line, to {ids_name} next to it",
        )


def _ids_of_array(path: Path, text_name: str) -> pl.Series:
    array = _load(path, "fiuU", f"as text, with .astype(str), or one a line in {text_name} instead")
    if array.ndim != 1:
        raise InputError(
            f"has the shape {list(array.shape)}",
            place=str(path),
            remedy="give one id for every row",
        )
    return pl.Series("it", array)


def _ids_of_text(path: Path) -> pl.Series:
    try:
        ids = pl.Series(path.read_text(encoding="utf-8").split("\n")).str.strip_chars("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot be read as ids: {first_line(error)}",
            place=str(path),
            remedy="write one id a line",
        ) from None
    return ids.head(-1) if len(ids) and ids[-1] == "" else ids


def _load(path: Path, kinds: str, advice: str, *, mapped: bool = True) -> np.ndarray:
    """Return an array from a file; nothing in the file is executed.

    Args:
        path: of a file that `numpy.save` wrote.
        kinds: accepted letters of `dtype.kind`.
        advice: how to save it instead, in an error.
        mapped: leave the values on disk until they are read, and keep the file open.

    Raises:
        InputError: the file cannot be read, or holds another kind of values.
    """
    remedy = f"write it again by numpy.save {advice}"
    try:
        array = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"cannot be read as an array: {first_line(error)}", place=str(path), remedy=remedy
        ) from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in kinds:
        expected = "ids" if "U" in kinds else "numbers"
        raise InputError(
            f"holds {getattr(array, 'dtype', 'several arrays')}, not {expected}",
            place=str(path),
            remedy=remedy,
        )
    return array
