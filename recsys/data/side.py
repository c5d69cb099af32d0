"""What stands beside the interactions in files: the titles and the feature tables of the items."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl

from recsys.config import settings
from recsys.data.types import FeatureTable, Vocab
from recsys.errors import InputError, suggest

__all__ = ["Texts", "feature_table", "feature_tables", "seen_from", "table_of", "texts"]


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
    frame = table_of(path, how, "check `texts` in the entry", "titles")
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


def table_of(path: Path, how: Texts, remedy: str = "check that it is delimited text in UTF-8, or Parquet", what: str = "items") -> pl.DataFrame:
    """All columns of a table of items; those of delimited text are texts.

    Raises:
        InputError: it cannot be read so.
    """
    try:
        return pl.read_parquet(path) if path.suffix in (".parquet", ".pq") else _delimited(path, how)
    except (pl.exceptions.PolarsError, UnicodeDecodeError, LookupError, OSError) as error:
        raise InputError(f"cannot be read as a table of {what}: {_said(error)}", place=str(path), remedy=remedy) from None


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


def feature_tables(where: str | Mapping[str, str], base: Path, items: Vocab) -> dict[str, FeatureTable]:
    """The modalities that `[data] features` names, aligned with the vocabulary.

    Args:
        where: a file or folder by modality; or one folder, whose modalities are its files `NAME_feat.npy`, as MMRec lays them, and `NAME.parquet`
            with the columns `item` and `values`.
        base: what relative paths are seen from first; then from the working folder.
        items: the vocabulary whose rows the tables get.

    Raises:
        InputError: as `feature_table`; there is no modality, or no item of the data has one.
    """
    if isinstance(where, str):
        folder = seen_from(base, where)
        if not folder.is_dir():
            remedy = f'name the modality, as in features = {{ text = "{where}" }}' if folder.exists() else "check the path"
            raise InputError("is no folder of feature tables", place=str(folder), remedy=remedy)
        found = {path.name.removesuffix("_feat.npy"): path for path in sorted(folder.glob("*_feat.npy"))}
        found |= {path.stem: path for path in sorted(folder.glob("*.parquet")) if {"item", "values"} <= set(_columns(path))}
        if not found:
            raise InputError("holds no feature table", place=str(folder), remedy="it takes files NAME_feat.npy, or NAME.parquet with item and values")
    else:
        found = {name: seen_from(base, path) for name, path in where.items()}
    tables = {name: feature_table(path, items) for name, path in found.items()}
    for name, table in tables.items():
        if not table.present.any():
            cause = f"no item of the data is in the table of '{name}'"
            raise InputError(cause, place=str(found[name]), remedy=f"its ids must be those of the data, such as {items.ids[0]!r}")
    return tables


def feature_table(path: Path, items: Vocab) -> FeatureTable:
    """A modality from files, numbers of any width, as many for each item.

    Args:
        path: Parquet with the columns `item` and `values`; or `F.npy` [n, d], its ids in `F.ids.npy` or `F.ids.txt` (one a line) beside it, or
            without these row i for the item with the id i, as MMRec numbers them; or a folder of one `ID.npy` per item, as Ducho writes them.
        items: the vocabulary whose rows the table gets.

    Returns:
        values float32 [n_items, d]; an item that the file does not have, or whose row of an array is all NaN, is not present, its row is zeros.

    Raises:
        InputError: the file is missing, damaged, has other columns or rows of different lengths, an item twice, or a value that is not finite.
    """
    ids, numbers = _of_folder(path, items) if path.is_dir() else _of_array(path, items) if path.suffix == ".npy" else _of_parquet(path)
    rows = items.rows(ids)
    at = np.flatnonzero(rows >= 0)
    if len(np.unique(rows[at])) < len(at):
        twice = ids.filter(pl.Series(rows >= 0)).filter(pl.Series(np.bincount(rows[at])[rows[at]] > 1))[0]
        raise InputError(f"item {twice!r} is there twice", place=str(path), remedy="give a row per item")
    wide, present = np.zeros((len(items), numbers.shape[1]), dtype=np.float32), np.zeros(len(items), dtype=bool)
    with np.errstate(over="ignore"):  # what is too large for 32 bits is found below
        chosen = np.asarray(numbers[at], dtype=np.float32)
    known = ~np.isnan(chosen).all(1)
    if not np.isfinite(chosen[known]).all():
        raise InputError("a value is not a finite number", place=str(path), remedy="leave out the items that have none")
    wide[rows[at[known]]], present[rows[at[known]]] = chosen[known], True
    return FeatureTable(wide, present)


def _of_parquet(path: Path) -> tuple[pl.Series, np.ndarray]:
    """Ids and vectors [n, d], of width 1 or more."""
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
    if values.null_count() or not dim or not len(values):
        raise InputError("`values` is empty in a row", place=place, remedy="leave out the items that have none")
    try:
        numbers = values.explode().cast(pl.Float32).to_numpy().reshape(-1, dim)
    except (pl.exceptions.PolarsError, ValueError) as error:
        raise InputError(f"`values` are no numbers: {_said(error)}", place=place, remedy=remedy) from None
    if not np.isfinite(numbers).all():
        raise InputError("a value is not a finite number", place=place, remedy="leave out the items that have none")
    return frame["item"], numbers


def _of_array(path: Path, items: Vocab) -> tuple[pl.Series, np.ndarray]:
    """Ids and vectors [n, d] of an array; ids from the file beside it, or the numbers of the rows."""
    numbers = _array(path)
    if numbers.ndim != 2 or not numbers.size:
        raise InputError(f"has the shape {list(numbers.shape)}", place=str(path), remedy="give an array of n items with d numbers each")
    beside = [path.with_suffix(suffix) for suffix in (".ids.npy", ".ids.txt")]
    ids_of = next((file for file in beside if file.exists()), None)
    if ids_of is None:
        if not items.ids.dtype.is_integer():
            cause = "has no ids, and those of the data are no row numbers"
            raise InputError(cause, place=str(path), remedy=f"write them, one a line, to {beside[1].name} beside it")
        known = items.ids.to_numpy()
        if known.max(initial=0) >= len(numbers) or known.min(initial=0) < 0:
            cause = f"has {len(numbers)} rows and no ids, but there are items from {known.min()} to {known.max()}"
            raise InputError(cause, place=str(path), remedy=f"if row i is not item i, write the ids, one a line, to {beside[1].name} beside it")
        return pl.Series(np.arange(len(numbers))), numbers
    try:
        ids = (
            pl.Series(_array(ids_of)) if ids_of.suffix == ".npy" else pl.Series(ids_of.read_text(encoding="utf-8").split("\n")).str.strip_chars("\r")
        )
    except (OSError, UnicodeDecodeError, TypeError, pl.exceptions.PolarsError) as error:
        raise InputError(f"cannot be read as ids: {_said(error)}", place=str(ids_of), remedy="write one id a line") from None
    if ids_of.suffix == ".txt" and len(ids) and ids[-1] == "":
        ids = ids.head(-1)
    if len(ids) != len(numbers):
        raise InputError(f"{len(ids)} ids for {len(numbers)} rows", place=str(ids_of), remedy="give an id for every row")
    return ids, numbers


def _of_folder(path: Path, items: Vocab) -> tuple[pl.Series, np.ndarray]:
    """Ids and vectors of a folder with an array per item, each [d] or [1, d]; only those of known items are read."""
    files = sorted(path.glob("*.npy"))
    if not files:
        raise InputError("holds no array", place=str(path), remedy="give a folder with one ID.npy per item, or the file of a table")
    ids = pl.Series([file.stem for file in files])
    known = np.flatnonzero(items.rows(ids) >= 0)
    vectors = [_array(files[at]).reshape(-1) for at in (known if len(known) else [0])]
    if len({vector.size for vector in vectors}) > 1:
        sizes = {vector.size: files[at].name for vector, at in zip(vectors, known, strict=True)}
        said = " and ".join(f"{size} in {name}" for size, name in sorted(sizes.items())[:2])
        raise InputError(f"vectors differ in length: {said}", place=str(path), remedy="give every item as many numbers")
    return ids[known.tolist()], np.stack(vectors)[: len(known)]


def _array(path: Path) -> np.ndarray:
    """An array of numbers or texts; nothing in the file is run."""
    try:
        made = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"cannot be read as an array: {_said(error)}", place=str(path), remedy="write it again by numpy.save") from None
    if not isinstance(made, np.ndarray) or made.dtype.kind not in "fiubU" or (made.dtype.kind == "U" and ".ids" not in path.name):
        raise InputError(f"holds {getattr(made, 'dtype', 'several arrays')}, not numbers", place=str(path), remedy="write it again by numpy.save")
    return made


def _columns(path: Path) -> list[str]:
    try:
        return list(pl.read_parquet_schema(path))
    except (pl.exceptions.PolarsError, OSError):
        return []


def seen_from(base: Path, text: str) -> Path:
    """A path that stands beside the interactions: from their folder where there is such a thing, else from the working folder."""
    path = Path(text).expanduser()
    return base / path if (base / path).exists() else path


def _said(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]
