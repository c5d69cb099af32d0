"""Item tables: a row per item, from a file or from a data set of the catalogue."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from recsys.data.catalog.catalog import ensure_local, entry
from recsys.data.features.item_files import ItemTable, read_item_table, require_columns
from recsys.data.features.validation import require_unique
from recsys.data.ids import ids_of
from recsys.errors import InputError

__all__ = ["item_table"]

_IDS = ("item", "item_id", "itemid", "id", "asin", "StockCode", "movieId")
_TABBED = (".tsv", ".inter", ".item")


def item_table(source: str, item: str | None = None) -> tuple[pl.DataFrame, pl.Series]:
    """Return an item table and the ids of its rows.

    Args:
        source: path of Parquet or of delimited text with a header, or the name of a data set of the
            catalogue that has a table of its items.
        item: the column of the ids; None: the usual names are tried.

    Returns:
        The columns, [n_items] each, and the ids [n_items], text or integers.

    Raises:
        InputError: the table or column does not exist; an id is missing or occurs twice.
    """
    path, form, strict = _locate(source)
    if not path.is_file():
        raise InputError(
            "no such file",
            place=str(path),
            remedy="give a table with a row per item: Parquet, .csv or .tsv",
        )
    place = str(path)
    frame = read_item_table(path, form, strict=strict)
    usual = form.item if isinstance(form.item, str) and form.header else None
    name = item or usual or next((name for name in _IDS if name in frame.columns), None)
    if name is None:
        raise InputError(
            f"no column looks like the items; found: {', '.join(frame.columns)}",
            place=place,
            remedy="name it: --item COLUMN",
        )
    require_columns(frame, [name], place)
    ids = ids_of(frame[name], place).alias("item")
    if not len(ids):
        raise InputError("holds no item", place=place, remedy="give a row per item")
    require_unique(ids, place)
    return frame, ids


def _locate(source: str) -> tuple[Path, ItemTable, bool]:
    """Return the path of a table, its format, and whether uneven lines are an error.

    They are not in a table of the catalogue, which the user cannot repair.
    """
    path = Path(source).expanduser()
    if path.exists() or "/" in source or "." in source:
        separator = "\t" if path.suffix in _TABBED else ","
        return path, ItemTable(path="", item=0, title=0, separator=separator), True
    known = entry(source)
    if known.texts is None:
        raise InputError(f"'{source}' has no table of items", remedy="give the file of one")
    return ensure_local(known) / known.texts.path, known.texts, False
