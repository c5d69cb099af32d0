"""Titles of items: the text that is shown for an item, from an item table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from recsys.data.features.item_files import ItemTable, read_item_table, require_columns
from recsys.data.reading.columns import choose, folded
from recsys.data.reading.delimited import open_delimited
from recsys.data.reading.location import guess
from recsys.data.reading.parquet import open_parquet
from recsys.data.types import Vocab
from recsys.data.unmatched import Tell, tell_unmatched
from recsys.errors import InputError

__all__ = ["read_titles"]

_USUAL = ("title", "name", "itemname", "description")


def read_titles(
    path: Path, items: Vocab, form: ItemTable | None = None, *, tell: Tell | None = None
) -> pl.Series:
    """Return the title of every item from an item table.

    Args:
        path: Parquet or delimited text with a row per item.
        items: the vocabulary whose rows the titles belong to.
        form: format and columns of the table. None: the format is recognised, and the columns are
            those with the usual names of an item and of a title.
        tell: called with a finding about rows that belong to no item.

    Returns:
        String [n_items], null for an item without a title. An item that occurs several times has
        its first title.

    Raises:
        InputError: the table cannot be read, or lacks one of the two columns.
    """
    if form is None:
        ids, texts = _by_usual_names(path)
    else:
        ids, texts = _by_format(path, form)
    rows = items.rows(ids)
    tell_unmatched(tell, ids, items, "titles", str(path), rows)
    known = np.flatnonzero(rows >= 0)[::-1]  # reversed, so that the first of several wins
    source = np.full(len(items), -1, dtype=np.int64)
    source[rows[known]] = known
    return (
        texts.cast(pl.String)
        .gather(pl.Series(source).set(pl.Series(source < 0), None))
        .alias("title")
    )


def _by_format(path: Path, form: ItemTable) -> tuple[pl.Series, pl.Series]:
    """Return the two columns that a format names, the ids and the titles."""
    frame = read_item_table(path, form, content="titles", remedy="check `texts` in the entry")
    return _column(frame, form.item, str(path)), _column(frame, form.title, str(path))


def _column(frame: pl.DataFrame, column: str | int, place: str) -> pl.Series:
    """Return a column by name or position.

    Raises:
        InputError: the column does not exist.
    """
    if isinstance(column, str):
        require_columns(frame, [column], place)
        return frame[column]
    if not 0 <= column < frame.width:
        raise InputError(
            f"no column {column}: there are {frame.width}", place=place, remedy="count from 0"
        )
    return frame[frame.columns[column]]


def _by_usual_names(path: Path) -> tuple[pl.Series, pl.Series]:
    """Return the columns with the usual names, the ids and the titles."""
    table = open_parquet(path) if guess(path) == "parquet" else open_delimited(path)
    title = _title_column(table.names, str(path))
    # `choose` picks the columns of users and items; the title takes the role of the user here.
    columns = choose(
        table.names,
        {"user": title, "item": None},
        place=str(path),
        header=table.header,
        sample=table.sample,
    )
    frame, _ = table.collect(list(columns.values()))
    return frame[columns["item"]], frame[columns["user"]]


def _title_column(names: Sequence[str], place: str) -> str:
    """Return the column that has a usual name of a title.

    Raises:
        InputError: no column has.
    """
    by_folded_name = {folded(name): name for name in reversed(names)}
    for word in _USUAL:
        if word in by_folded_name:
            return by_folded_name[word]
    raise InputError(
        f"no column looks like the titles; found: {', '.join(names)}",
        place=place,
        remedy="call the column title",
    )
