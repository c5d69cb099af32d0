"""Features of new items, which come after training: their ids, and a vector per modality."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from recsys.data.features.encoder import encoder_of
from recsys.data.features.validation import require_finite, require_unique
from recsys.data.ids import ids_of
from recsys.data.types import FeatureTable
from recsys.errors import InputError, first_line, suggest

__all__ = ["read_new_items"]

_IDS = ("item", "id")
_VECTORS = "give a vector per item"


@dataclass(frozen=True)
class _Column:
    """The vectors of one modality as they are in a file.

    Args:
        ids: of the items [n].
        values: a list of numbers or null per item [n].
        path: of the file.
    """

    ids: pl.Series
    values: pl.Series
    path: Path


def read_new_items(
    path: str | Path, dims: Mapping[str, int], encoders: Mapping[str, str] | None = None
) -> tuple[pl.Series, dict[str, FeatureTable]]:
    """Read the ids of new items and their features by modality.

    Args:
        path: a Parquet file with the column `item` (or `id`) and a column of vectors per modality,
            called after it, or `values` if there is one modality; null if an item lacks it. Or a
            folder with a file `MODALITY.parquet` for each, with the columns `item` and `values`,
            without the items that lack it. Other columns and files are ignored.
        dims: length of a vector by modality, as in training.
        encoders: id of the encoder of training by modality, if known. If a file of one modality
            names its encoder, as those of `recsys data features` do, the two must be equal.

    Returns:
        The ids in the order of the file, or of the files one after the other; and a table per
        modality with a row for each id.

    Raises:
        InputError: a file or a column is missing; an id is missing, of a wrong type or occurs
            twice; a vector has another length, another encoder or a value that is not finite; an
            item has no modality.
    """
    path = Path(path)
    if not path.exists():
        raise InputError("no such file or folder", place=str(path), remedy="check the path")
    names = list(dims)
    columns = _from_folder(path, names) if path.is_dir() else _from_file(path, names)
    ids = pl.concat([column.ids for column in columns.values()]).unique(maintain_order=True)
    if not len(ids):
        raise InputError("holds no item", place=str(path), remedy="give a row per item")
    rows = pl.DataFrame({"id": ids, "row": np.arange(len(ids))})
    features = {}
    for name, column in columns.items():
        _require_encoder(column, name, (encoders or {}).get(name))
        features[name] = _table(column, rows, dims[name], name)
    bare = np.flatnonzero(~np.any([table.present for table in features.values()], axis=0))
    if len(bare):
        raise InputError(
            f"item {ids[int(bare[0])]!r} has no modality at all "
            f"({len(bare)} of {len(ids)} have none)",
            place=str(path),
            remedy="leave it out: nothing is known about it",
        )
    return ids.alias("item"), features


def _require_encoder(column: _Column, name: str, expected: str | None) -> None:
    """Refuse vectors of another encoder than that of training.

    Raises:
        InputError: both are known and differ.
    """
    actual = encoder_of(column.path)
    if actual and expected and actual != expected and column.values.name == "values":
        raise InputError(
            f"vectors of another encoder than those of '{name}' in training",
            place=str(column.path),
            remedy="make them by `recsys data features NEW --like` the table of training",
        )


def _table(column: _Column, rows: pl.DataFrame, dim: int, name: str) -> FeatureTable:
    """Return the feature table of one modality.

    Args:
        column: its vectors.
        rows: `row` of every `id`.
        dim: length of a vector in training.
        name: of the modality.
    """
    known, vectors = _vectors(column, dim, name)
    joined = column.ids.to_frame("id").join(rows, on="id", how="left", maintain_order="left")
    own_rows = joined["row"].to_numpy()[known]
    values = np.zeros((len(rows), dim), dtype=np.float32)
    present = np.zeros(len(rows), dtype=bool)
    values[own_rows] = vectors
    present[own_rows] = True
    return FeatureTable(values, present)


def _from_folder(folder: Path, names: list[str]) -> dict[str, _Column]:
    """Return the columns of a folder by modality.

    Raises:
        InputError: a file or a column is missing, or the ids are of different types.
    """
    columns = {}
    for name in names:
        path = folder / f"{name}.parquet"
        if not path.exists():
            inside = ", ".join(sorted(file.name for file in folder.iterdir())[:8]) or "nothing"
            raise InputError(
                f"has no {name}.parquet; it holds {inside}",
                place=str(folder),
                remedy=f"give a file for each modality of training: {', '.join(names)}",
            )
        frame = _read(path)
        columns[name] = _Column(_ids(frame, path), _column(frame, "values", path), path)
    types = sorted({str(column.ids.dtype) for column in columns.values()})
    if len(types) > 1:
        raise InputError(
            f"ids are {' in one file and '.join(types)} in another",
            place=str(folder),
            remedy="write the ids of all files in the same type",
        )
    return columns


def _from_file(path: Path, names: list[str]) -> dict[str, _Column]:
    """Return the columns of one file by modality.

    Raises:
        InputError: a column is missing.
    """
    frame = _read(path)
    ids = _ids(frame, path)
    if len(names) == 1 and names[0] not in frame.columns and "values" in frame.columns:
        return {names[0]: _Column(ids, frame["values"], path)}
    return {name: _Column(ids, _column(frame, name, path), path) for name in names}


def _read(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(
            f"cannot be read as Parquet: {first_line(error)}",
            place=str(path),
            remedy="write it again",
        ) from None


def _column(frame: pl.DataFrame, name: str, path: Path) -> pl.Series:
    if name not in frame.columns:
        raise InputError(
            f"no column '{name}'", place=str(path), remedy=suggest(name, frame.columns)
        )
    return frame[name]


def _ids(frame: pl.DataFrame, path: Path) -> pl.Series:
    """Return the ids of a file.

    Raises:
        InputError: no column of ids, or an id that is missing, of a wrong type or a duplicate.
    """
    name = next((name for name in _IDS if name in frame.columns), None)
    if name is None:
        raise InputError("no column 'item'", place=str(path), remedy=suggest("item", frame.columns))
    ids = ids_of(frame[name], str(path)).alias("id")
    require_unique(ids, str(path))
    return ids


def _vectors(column: _Column, dim: int, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of items with a vector, [m], and their vectors, float32 [m, dim].

    Raises:
        InputError: a vector has another length, or a value that is not a finite number.
    """
    values, place = column.values, str(column.path)
    if values.dtype == pl.Null:  # no item has the modality
        return np.empty(0, dtype=np.int64), np.empty((0, dim), dtype=np.float32)
    if not isinstance(values.dtype, pl.List | pl.Array):
        raise InputError(
            f"'{values.name}' is {values.dtype}, not a list of numbers",
            place=place,
            remedy=_VECTORS,
        )
    inner = values.dtype.inner
    if not (inner.is_numeric() or inner == pl.Null):
        raise InputError(
            f"'{values.name}' must hold lists of numbers, got lists of {inner}",
            place=place,
            remedy=_VECTORS,
        )
    known = values.is_not_null()
    lists = values.filter(known).cast(pl.List(inner))
    ids = column.ids.filter(known)
    lengths = lists.list.len().to_numpy()
    if (lengths != dim).any():
        wrong = int(np.argmax(lengths != dim))
        raise InputError(
            f"item {ids[wrong]!r} has a vector of {lengths[wrong]} numbers for '{name}'",
            place=place,
            remedy=f"training had {dim}: make it by the same encoder",
        )
    try:
        vectors = np.empty((0, dim), dtype=np.float32)
        if len(lists):
            vectors = lists.explode().cast(pl.Float32).to_numpy().reshape(-1, dim)
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise InputError(
            f"'{values.name}' must hold numbers: {first_line(error)}",
            place=place,
            remedy=_VECTORS,
        ) from None
    require_finite(ids, vectors, place, f"'{values.name}'")
    return np.flatnonzero(known.to_numpy()), vectors
