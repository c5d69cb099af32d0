"""Outside ids as they are given, in a list, a frame or a file, read as the loader reads them."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import polars as pl

from recsys.data.columns import KNOWN, folded
from recsys.data.types import Vocab
from recsys.errors import InputError

__all__ = ["Ids", "alike", "read_ids", "wanted"]

Ids: TypeAlias = "Sequence[Any] | pl.Series | pd.Series | np.ndarray"


def read_ids(path: str | Path, vocab: Vocab | None = None, column: str | None = None) -> pl.Series:
    """Ids from a file: one a line, or the first column of a Parquet or CSV.

    The first line is a header, and no id, where it is a name by which the loader knows users or items, `id`, or `column`, and no id of the run.

    Args:
        path: the file.
        vocab: the ids of the run.
        column: what the run's own data call them.

    Raises:
        InputError: missing, unreadable or empty.
    """
    path = Path(path)
    try:
        if path.suffix == ".parquet":
            frame = pl.read_parquet(path)
            ids = frame.to_series(0) if frame.width else pl.Series("id", [], dtype=pl.String)
        else:
            lines = [
                line.strip()
                for line in path.read_text(encoding="utf-8-sig").splitlines()
                if line.strip()
            ]
            if path.suffix == ".csv":
                lines = [row[0].strip() for row in csv.reader(lines, strict=True)]
            named = lines and (
                lines[0] == column or folded(lines[0]) in ("id", *KNOWN["user"], *KNOWN["item"])
            )
            if named and (vocab is None or vocab.rows(lines[:1])[0] < 0):
                lines = lines[1:]
            ids = pl.Series("id", lines, dtype=pl.String)
    except FileNotFoundError:
        raise InputError("no such file", place=str(path), remedy="check the path") from None
    except (OSError, UnicodeDecodeError, csv.Error, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"cannot be read: {str(error).splitlines()[0]}",
            place=str(path),
            remedy="give one id per line, or a Parquet file",
        ) from None
    if ids.dtype.is_nested():
        raise InputError(
            f"its first column holds {ids.dtype}, not ids",
            place=str(path),
            remedy="give one id a row",
        )
    if not len(ids):
        raise InputError(
            "holds no id", place=str(path), remedy="give one id per line, or a Parquet file"
        )
    return ids


def wanted(vocab: Vocab, users: Ids | None) -> pl.Series:
    """The users asked for, None for all of them, in the type of the run's ids; all as text where one cannot be of it.

    Raises:
        InputError: no list of ids, or one of them is missing.
    """
    return (vocab.ids if users is None else alike(users, vocab, "users")).alias("user")


def alike(ids: Ids, vocab: Vocab, place: str) -> pl.Series:
    """Ids in the type of the run's, as the loader reads them: 5.0 is 5 where ids are integers. All are text where one cannot be of that type.

    Args:
        ids: as they are given.
        vocab: those of the run.
        place: what they are, for the message.

    Raises:
        InputError: they are no list, hold something else than ids, or one is missing.
    """
    given, kind = _series(ids, place), vocab.ids.dtype
    if given.dtype == kind:
        return given
    if given.dtype.is_float() and (given == given.floor()).all():
        given = given.cast(pl.Int64, strict=False)
    text = given.cast(pl.String)
    cast = (text.str.strip_suffix(".0") if kind.is_integer() else text).cast(kind, strict=False)
    return (
        pl.select(pl.coalesce(cast.cast(pl.String), text)).to_series()
        if cast.null_count()
        else cast
    )


def _series(ids: Ids, place: str) -> pl.Series:
    """Ids of any kind as a series without gaps."""
    try:
        if isinstance(ids, (str, bytes)):
            raise TypeError
        if isinstance(ids, (pd.Series, pd.Index)):
            plain = not ids.hasnans and ids.dtype != object
            ids = (
                ids.to_numpy()
                if plain
                else [
                    None if gone else value
                    for value, gone in zip(ids.tolist(), ids.isna(), strict=True)
                ]
            )
        series = pl.Series("id", ids, strict=False)
        series = series.cast(pl.String, strict=False) if series.dtype == pl.Binary else series
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError):
        raise InputError(
            f"{type(ids).__name__} cannot be read as a list of ids",
            place=place,
            remedy="give a list, an array or a series, as in [7, 14]",
        ) from None
    if series.dtype.is_nested() or series.dtype == pl.Object:
        raise InputError(
            f"{series.dtype} are no ids", place=place, remedy="give numbers or texts, as in [7, 14]"
        )
    missing = series.is_null()
    if series.dtype.is_float() or series.dtype == pl.String:
        missing |= series.is_nan() if series.dtype.is_float() else series == ""
    if missing.any():
        raise InputError(
            f"{missing.sum()} of {len(series)} ids is missing", place=place, remedy="leave it out"
        )
    return series
