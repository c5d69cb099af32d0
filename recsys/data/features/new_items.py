"""Items that come after training, as a file brings them: outside ids, and a vector for every modality that an item has."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from recsys.data.features.encoder import encoder_of
from recsys.data.features.tables import ids_of, require_finite
from recsys.data.types import FeatureTable
from recsys.errors import InputError, suggest

__all__ = ["arrivals"]

_IDS = ("item", "id")


def arrivals(
    path: str | Path, dims: Mapping[str, int], encoders: Mapping[str, str] | None = None
) -> tuple[pl.Series, dict[str, FeatureTable]]:
    """Ids of items and their features by modality.

    Args:
        path: a Parquet file with the column `item` (or `id`) and a column of vectors for every modality, or `values` where there is one modality;
            null where an item lacks a modality. Or a folder with a Parquet file for every modality, called after it, with the columns `item` and
            `values`; a file leaves out the items that lack its modality. Other columns and files do not matter.
        dims: length of a vector by modality, as in training.
        encoders: id of what made the vectors of training by modality, where it is known. A file of one modality that says what made its own, as
            those of `recsys data features` do, has to say the same.

    Returns:
        The ids in the order of the file (of the folder's files, one after the other), and a table for every modality with a row for each.

    Raises:
        InputError: a file or a column is missing, an id is missing, no id or there twice, a vector of another length, of another encoder or with a
            number that is not finite, an item without any modality.
    """
    path = Path(path)
    if not path.exists():
        raise InputError("no such file or folder", place=str(path), remedy="check the path")
    parts = _of_folder(path, list(dims)) if path.is_dir() else _of_file(path, list(dims))
    ids = pl.concat([own for own, _, _ in parts.values()]).unique(maintain_order=True)
    if not len(ids):
        raise InputError("holds no item", place=str(path), remedy="give a row per item")
    row = pl.DataFrame({"id": ids, "row": np.arange(len(ids))})
    features = {}
    for name, (own, values, place) in parts.items():
        made, wanted = encoder_of(Path(place)), (encoders or {}).get(name)
        if made and wanted and made != wanted and values.name == "values":
            remedy = "make them by `recsys data features NEW --like` the table of training"
            raise InputError(
                f"vectors of another encoder than those of '{name}' in training",
                place=place,
                remedy=remedy,
            )
        known, numbers = _numbers(own, values, dims[name], place, name)
        rows = (
            own.to_frame("id")
            .join(row, on="id", how="left", maintain_order="left")["row"]
            .to_numpy()[known]
        )
        wide, present = (
            np.zeros((len(ids), dims[name]), dtype=np.float32),
            np.zeros(len(ids), dtype=bool),
        )
        wide[rows], present[rows] = numbers, True
        features[name] = FeatureTable(wide, present)
    bare = np.flatnonzero(~np.any([table.present for table in features.values()], axis=0))
    if len(bare):
        cause = f"item {ids[int(bare[0])]!r} has no modality at all ({len(bare)} of {len(ids)} have none)"
        raise InputError(cause, place=str(path), remedy="leave it out: nothing is known of it")
    return ids.alias("item"), features


def _of_folder(folder: Path, names: list[str]) -> dict[str, tuple[pl.Series, pl.Series, str]]:
    """Ids, vectors and place of every modality."""
    found = {}
    for name in names:
        path = folder / f"{name}.parquet"
        if not path.exists():
            there = ", ".join(sorted(file.name for file in folder.iterdir())[:8]) or "nothing"
            cause = f"has no {name}.parquet; there is {there}"
            raise InputError(
                cause,
                place=str(folder),
                remedy=f"give a file for each of {', '.join(names)}, which training had",
            )
        frame = _read(path)
        found[name] = _ids(frame, str(path)), _column(frame, "values", str(path)), str(path)
    kinds = {str(ids.dtype) for ids, _, _ in found.values()}
    if len(kinds) > 1:
        raise InputError(
            f"ids are {' in one file and '.join(sorted(kinds))} in another",
            place=str(folder),
            remedy="write all of them alike",
        )
    return found


def _of_file(path: Path, names: list[str]) -> dict[str, tuple[pl.Series, pl.Series, str]]:
    frame = _read(path)
    ids = _ids(frame, str(path))
    if len(names) == 1 and names[0] not in frame.columns and "values" in frame.columns:
        return {names[0]: (ids, frame["values"], str(path))}
    return {name: (ids, _column(frame, name, str(path)), str(path)) for name in names}


def _read(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise InputError(
            f"cannot be read as Parquet: {said}", place=str(path), remedy="write it again"
        ) from None


def _column(frame: pl.DataFrame, name: str, place: str) -> pl.Series:
    if name not in frame.columns:
        raise InputError(f"no column '{name}'", place=place, remedy=suggest(name, frame.columns))
    return frame[name]


def _ids(frame: pl.DataFrame, place: str) -> pl.Series:
    name = next((name for name in _IDS if name in frame.columns), None)
    if name is None:
        raise InputError("no column 'item'", place=place, remedy=suggest("item", frame.columns))
    ids = ids_of(frame[name], place).alias("id")
    if ids.n_unique() < len(ids):
        twice = ids.filter(ids.is_duplicated())[0]
        raise InputError(
            f"item {twice!r} is there twice", place=place, remedy="give a row per item"
        )
    return ids


def _numbers(
    ids: pl.Series, values: pl.Series, dim: int, place: str, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Which rows have a vector, as places, and their vectors, float32 [n, dim]."""
    if values.dtype == pl.Null:  # a column of nulls alone: nobody has it
        return np.empty(0, dtype=np.int64), np.empty((0, dim), dtype=np.float32)
    if not isinstance(values.dtype, pl.List | pl.Array):
        raise InputError(
            f"'{values.name}' is {values.dtype}, not a list of numbers",
            place=place,
            remedy="give a vector per item",
        )
    inner = values.dtype.inner
    if not (inner.is_numeric() or inner == pl.Null):
        raise InputError(
            f"'{values.name}' holds no numbers but lists of {inner}",
            place=place,
            remedy="give a vector per item",
        )
    known = values.is_not_null()
    lists = values.filter(known).cast(pl.List(values.dtype.inner))
    ids, lengths = ids.filter(known), lists.list.len().to_numpy()
    if (lengths != dim).any():
        wrong = int(np.argmax(lengths != dim))
        cause = f"item {ids[wrong]!r} has a vector of {lengths[wrong]} numbers for '{name}'"
        raise InputError(
            cause, place=place, remedy=f"training had {dim}: make it by the same encoder"
        )
    try:
        numbers = (
            lists.explode().cast(pl.Float32).to_numpy().reshape(-1, dim)
            if len(lists)
            else np.empty((0, dim), dtype=np.float32)
        )
    except (pl.exceptions.PolarsError, ValueError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0][:160]
        raise InputError(
            f"'{values.name}' holds no numbers: {said}",
            place=place,
            remedy="give a vector per item",
        ) from None
    require_finite(ids, numbers, place, f"'{values.name}'")
    return np.flatnonzero(known.to_numpy()), numbers
