"""What stands beside the interactions in files: the titles and the feature tables of the items."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import polars as pl

from recsys.config import settings
from recsys.data.types import FeatureTable, Vocab
from recsys.errors import InputError, suggest

__all__ = ["Texts", "feature_table", "texts"]


@settings
class Texts:
    """A table with a text per item: Parquet, or delimited text in any encoding; columns by name, by position without header."""

    path: str
    item: str | int
    title: str | int
    separator: str = ","
    header: bool = True
    encoding: str = "utf-8"


def texts(path: Path, how: Texts, items: Vocab) -> pl.Series:
    """The text of every item, String [n_items], null where the table has none; of several the first.

    Raises:
        InputError: the table cannot be read so, or lacks a column.
    """
    try:
        frame = pl.read_parquet(path) if path.suffix in (".parquet", ".pq") else _delimited(path, how)
    except (pl.exceptions.PolarsError, UnicodeDecodeError, LookupError, OSError) as error:
        raise InputError(f"cannot be read as a table of titles: {_said(error)}", place=str(path), remedy="check `texts` in the entry") from None
    for column in (how.item, how.title):
        if isinstance(column, str) and column not in frame.columns:
            raise InputError(f"no column '{column}'", place=str(path), remedy=suggest(column, frame.columns))
        if isinstance(column, int) and not 0 <= column < frame.width:
            raise InputError(f"no column {column}: there are {frame.width}", place=str(path), remedy="count from 0")
    ids, text = (frame[frame.columns[column] if isinstance(column, int) else column] for column in (how.item, how.title))
    rows = items.rows(ids)
    known = np.flatnonzero(rows >= 0)[::-1]
    place = np.full(len(items), -1, dtype=np.int64)
    place[rows[known]] = known
    return text.cast(pl.String).gather(pl.Series(place).set(pl.Series(place < 0), None)).alias("title")


def _delimited(path: Path, how: Texts) -> pl.DataFrame:
    text = path.read_bytes().decode(how.encoding)
    separator = how.separator
    if len(separator) > 1:
        text, separator = text.replace(separator, "\t"), "\t"
    # Titles hold stray quotes; quoting is only used where the separator may occur in a title.
    return pl.read_csv(
        io.StringIO(text),
        separator=separator,
        has_header=how.header,
        infer_schema=False,
        quote_char='"' if separator in ",;" else None,
        truncate_ragged_lines=True,
    )


def feature_table(path: Path, items: Vocab) -> FeatureTable:
    """A modality from a Parquet file with the columns `item` and `values`, numbers of any width, as many for each item.

    Returns:
        values float32 [n_items, d]; an item that the file does not have is not present, its row is zeros.

    Raises:
        InputError: the file is missing, damaged, has other columns or rows of different lengths, or a value is not finite.
    """
    place, remedy = str(path), "it needs the columns `item` and `values`, a list of numbers"
    try:
        frame = pl.read_parquet(path, columns=["item", "values"])
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(f"cannot be read as a feature table: {_said(error)}", place=place, remedy=remedy) from None
    values = frame["values"]
    match values.dtype:
        case pl.Array(shape=(dim,)):
            pass
        case pl.List():
            lengths = values.list.len().unique()
            if len(lengths) > 1:
                raise InputError(f"{len(lengths)} different lengths in `values`", place=place, remedy="give every item as many numbers")
            dim = int(lengths[0] or 0) if len(lengths) else 0
        case other:
            raise InputError(f"`values` is {other}", place=place, remedy=remedy)
    if values.null_count() or not dim:
        raise InputError("`values` is empty in a row", place=place, remedy="leave out the items that have none")
    try:
        numbers = values.explode().cast(pl.Float32).to_numpy().reshape(-1, dim)
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise InputError(f"`values` are no numbers: {_said(error)}", place=place, remedy=remedy) from None
    if not np.isfinite(numbers).all():
        raise InputError("a value is not a finite number", place=place, remedy="leave out the items that have none")
    rows = items.rows(frame["item"])
    wide, present = np.zeros((len(items), dim), dtype=np.float32), np.zeros(len(items), dtype=bool)
    wide[rows[rows >= 0]], present[rows[rows >= 0]] = numbers[rows >= 0], True
    return FeatureTable(wide, present)


def _said(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
