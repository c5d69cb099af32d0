"""Tables of `[rerank]`: items of users or groups, categories of items, times of items."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
import scipy.sparse as sp

from recsys.data.ids import match_id_type
from recsys.data.types import Vocab
from recsys.errors import InputError, first_line, suggest
from recsys.ranking.rerank.settings import moment_of

__all__ = [
    "Categories",
    "ItemsOf",
    "read_available",
    "read_categories",
    "read_columns",
    "read_items",
]


@dataclass(frozen=True, eq=False)
class ItemsOf:
    """Items of users or groups, called by their ids as text.

    Args:
        index: table of `id` and `row`.
        items: CSR [n, n_items], binary.
    """

    index: pl.DataFrame
    items: sp.csr_matrix

    @classmethod
    def of(cls, ids: pl.Series, rows: np.ndarray, n_items: int) -> ItemsOf:
        """Return the items of each distinct id.

        Args:
            ids: text [m].
            rows: item rows [m]; -1 is left out.
            n_items: number of items.
        """
        names = ids.unique().sort()
        index = pl.DataFrame({"id": names, "row": np.arange(len(names), dtype=np.int64)})
        known = rows >= 0
        cell = _rows_of(index, ids)[known], rows[known]
        matrix = sp.csr_matrix(
            (np.ones(int(known.sum()), dtype=np.float32), cell), shape=(len(names), n_items)
        )
        matrix.sum_duplicates()
        matrix.data[:] = 1.0
        return cls(index, matrix)

    def rows(self, ids: pl.Series) -> np.ndarray:
        """Return the row of each id, int64 [n]; -1 for others.

        Args:
            ids: text [n].
        """
        return _rows_of(self.index, ids)

    def of_each(self, ids: pl.Series) -> sp.csr_matrix:
        """Return the items of each id, CSR [n, n_items]; none for other ids."""
        rows = self.rows(ids)
        full = sp.vstack([self.items, sp.csr_matrix((1, self.items.shape[1]))], format="csr")
        return sp.csr_matrix(full[np.where(rows < 0, len(self.index), rows)])


def _rows_of(index: pl.DataFrame, ids: pl.Series) -> np.ndarray:
    asked = pl.DataFrame({"id": ids.cast(pl.String)})
    joined = asked.join(index, on="id", how="left", maintain_order="left")
    return joined["row"].fill_null(-1).to_numpy().astype(np.int64)


@dataclass(frozen=True, eq=False)
class Categories:
    """Categories of the items, from one column.

    Args:
        values: their names, sorted.
        matrix: CSR [n_items, len(values)], binary.
    """

    values: tuple[str, ...]
    matrix: sp.csr_matrix

    @property
    def shares(self) -> np.ndarray:
        """Share of each category in each item, float64 [n_items, G]; zeros without any."""
        dense = self.matrix.toarray().astype(np.float64)
        return np.asarray(dense / np.maximum(dense.sum(1, keepdims=True), 1.0))

    @cached_property
    def padded(self) -> np.ndarray:
        """Categories of each item, int64 [n_items, M], filled up with G."""
        counts = np.diff(self.matrix.indptr)
        padded = np.full((len(counts), max(1, int(counts.max(initial=0)))), len(self.values))
        owner = np.repeat(np.arange(len(counts)), counts)
        column = np.arange(len(owner)) - np.repeat(self.matrix.indptr[:-1], counts)
        padded[owner, column] = self.matrix.indices
        return padded


def read_columns(path: str, needed: Sequence[str], place: str) -> pl.DataFrame:
    """Return columns of a table as text, without blanks around it; empty fields are null.

    Args:
        path: a CSV or Parquet file.
        needed: the columns.
        place: name of the setting, for errors.

    Raises:
        InputError: the file cannot be read, or lacks a column.
    """
    where = f"{place}: {path}"
    try:
        if Path(path).suffix in (".parquet", ".pq"):
            frame = pl.read_parquet(path)
        else:
            separator = "\t" if Path(path).suffix == ".tsv" else ","
            frame = pl.read_csv(path, infer_schema=False, separator=separator)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"cannot be read: {first_line(error)}",
            place=where,
            remedy="give a CSV or Parquet table with a header",
        ) from None
    for name in needed:
        if name not in frame.columns:
            raise InputError(
                f"column '{name}' is missing", place=where, remedy=suggest(name, frame.columns)
            )
    if nested := [name for name in needed if frame[name].dtype.is_nested()]:
        frame = frame.with_columns(
            pl.col(name).cast(pl.List(pl.String)).list.join("|") for name in nested
        )
    text = (pl.col(name).cast(pl.String).str.strip_chars() for name in needed)
    frame = frame.select(text).with_columns(
        pl.when(pl.col(name) == "").then(None).otherwise(pl.col(name)).alias(name)
        for name in needed
    )
    if not frame.height:
        raise InputError("holds no row", place=where, remedy="add rows, or leave the setting out")
    return frame


def item_rows(frame: pl.DataFrame, items: Vocab, place: str) -> np.ndarray:
    """Return the item row of each row of a table, -1 for items that the data do not have.

    Raises:
        InputError: an item is missing, or none is known.
    """
    ids = frame["item"]
    if ids.null_count():
        raise InputError(
            f"row {int(np.flatnonzero(ids.is_null().to_numpy())[0]) + 1} has no item",
            place=place,
            remedy="complete or remove the row",
        )
    rows = items.rows(match_id_type(ids, items.ids.dtype, place))
    if (rows < 0).all():
        items.require(ids, place)
    return rows


def read_items(path: str, owner: str, items: Vocab, place: str) -> ItemsOf:
    """Read the items of users or groups.

    Args:
        path: table with the columns `owner` and item.
        owner: "user" or "group".
        items: the items of the data.
        place: name of the setting, for errors.

    Raises:
        InputError: as `read_columns`; a field is empty, or no item is known.
    """
    frame = read_columns(path, (owner, "item"), place)
    if frame[owner].null_count():
        raise InputError(
            f"a row has no {owner}", place=f"{place}: {path}", remedy="complete or remove it"
        )
    return ItemsOf.of(frame[owner], item_rows(frame, items, f"{place}: {path}"), len(items))


def read_categories(path: str, column: str, items: Vocab) -> Categories:
    """Read the categories of the items from one column.

    Raises:
        InputError: as `read_columns`; no item is known, or none has a category.
    """
    place = f"categories: {path}"
    frame = read_columns(path, ("item", column), "categories")
    frame = frame.with_columns(row=pl.Series(item_rows(frame, items, place)))
    long = (
        frame.with_columns(value=pl.col(column).str.split("|"))
        .explode("value")
        .with_columns(pl.col("value").str.strip_chars())
        .filter((pl.col("row") >= 0) & (pl.col("value") != ""))
        .select("row", "value")
        .unique()
    )
    if not long.height:
        raise InputError(
            f"no item has a value in column '{column}'", place=place, remedy="name another column"
        )
    values = long["value"].unique().sort()
    code = pl.DataFrame({"value": values, "code": np.arange(len(values))})
    joined = long.join(code, on="value", how="left")
    cell = joined["row"].to_numpy(), joined["code"].to_numpy()
    ones = np.ones(len(cell[0]), dtype=np.float32)
    matrix = sp.csr_matrix((ones, cell), shape=(len(items), len(values)))
    matrix.sort_indices()
    return Categories(tuple(values.to_list()), matrix)


def read_available(path: str, moment: str, items: Vocab) -> np.ndarray:
    """Return the rows of the items that can be recommended at a moment, ascending.

    An item with several rows is available in each of their spans; one without a row always is.

    Raises:
        InputError: as `read_columns`; a field is not a date or time.
    """
    place = f"availability: {path}"
    frame = read_columns(path, ("item", "from", "until"), "availability")
    rows = item_rows(frame, items, place)
    now = moment_of(moment, "moment")
    known: dict[str, datetime] = {}
    inside = np.ones(len(rows), dtype=bool)
    for name in ("from", "until"):
        for text in frame[name].drop_nulls().unique().to_list():
            known[text] = moment_of(text, f"{place}, column '{name}'")
        begun = np.array([text is None or known[text] <= now for text in frame[name].to_list()])
        ended = np.array(
            [text is not None and known[text] <= now for text in frame[name].to_list()]
        )
        inside &= begun if name == "from" else ~ended
    listed = np.zeros(len(items), dtype=bool)
    open = np.zeros(len(items), dtype=bool)
    listed[rows[rows >= 0]] = True
    open[rows[(rows >= 0) & inside]] = True
    available = np.flatnonzero(open | ~listed)
    if not len(available):
        raise InputError(
            f"no item is available at {moment}", place=place, remedy="correct moment or the table"
        )
    return available
