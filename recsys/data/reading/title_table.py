"""Titles: the text of every item, from a table of items."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from recsys.data.reading.columns import choose, folded
from recsys.data.reading.delimited import open_delimited
from recsys.data.reading.location import guess
from recsys.data.reading.parquet import open_parquet
from recsys.data.reading.source import Column
from recsys.data.reading.table import Table
from recsys.data.types import Vocab
from recsys.data.unmatched import Tell, tell_unmatched
from recsys.errors import InputError

__all__ = ["read_titles"]

_USUAL_NAMES = ("title", "name", "itemname", "description")


def read_titles(
    path: str | Path,
    items: Vocab,
    item: Column = None,
    title: Column = None,
    *,
    tell: Tell | None = None,
) -> pl.Series:
    """Return the text of every item, String [n_items]; null for an item without one.

    The first of several rows of one item counts.

    Args:
        path: CSV or Parquet with a column of item ids and a column of text.
        items: the vocabulary.
        item, title: the columns; if not given, the usual names of an item and `title`, `name` or
            `description`.
        tell: receives a finding about rows that belong to no item.

    Raises:
        InputError: the table cannot be read, or a column is missing.
    """
    path = Path(path)
    table: Table = open_parquet(path) if guess(path) == "parquet" else open_delimited(path)
    if title is None:
        title = _title_column(table, path)
    # `choose` looks for a user and an item; the title takes the place of the user.
    given: dict[str, Column] = {"user": title, "item": item}
    place = str(path)
    chosen = choose(table.names, given, place=place, header=table.header, sample=table.sample)
    raw, _ = table.collect(list(chosen.values()))
    ids, text = raw[chosen["item"]], raw[chosen["user"]].cast(pl.String)
    rows = items.rows(ids)
    tell_unmatched(tell, ids, items, "titles", str(path), rows)
    known = np.flatnonzero(rows >= 0)
    position = np.full(len(items), -1, dtype=np.int64)
    position[rows[known][::-1]] = known[::-1]  # reversed, so that the first of several is kept
    positions = pl.Series(position)
    return text.gather(positions.set(positions < 0, None)).alias("title")


def _title_column(table: Table, path: Path) -> str:
    """Return the column with a usual name of titles."""
    by_folded_name = {folded(name): name for name in reversed(table.names)}
    for word in _USUAL_NAMES:
        if word in by_folded_name:
            return by_folded_name[word]
    raise InputError(
        f"no column looks like the titles; found: {', '.join(table.names)}",
        place=str(path),
        remedy="call the column title",
    )
