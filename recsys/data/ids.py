"""Outside ids as they are given, in a list, a frame or a file, read as the loader reads them."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import polars as pl

from recsys.data.reading.columns import KNOWN, folded
from recsys.data.reading.table import is_number, lines, parquet, require, scan_text, stem
from recsys.data.types import Vocab
from recsys.errors import InputError

__all__ = ["Ids", "alike", "read_ids", "wanted"]

Ids: TypeAlias = "Sequence[Any] | pl.Series | pd.Series | np.ndarray"

_SEPARATORS = ("\t", "::", ",", ";", "|", " ")
_LOOK = 200  # first lines that tell what a file is
_REMEDY = "give one id per line, or a table with a column of them"


def read_ids(
    path: str | Path, vocab: Vocab | None = None, column: str | int | None = None
) -> pl.Series:
    """Return the ids of a file: one a line, or a column of a table, delimited text (also gz, xz, zst) or Parquet.

    Of a table the column is taken that the loader takes for such ids: `column`, else the usual names of users or items, else `id`. Without a
    header it is the place of `column`, else the first column for users and the second for items, or the first one that holds ids of the run
    where that one holds none. What a table has several times is asked for once.

    The first line of a list is a header, and no id, where it is a name by which the loader knows users or items, `id`, or `column`, and no id
    of the run. A line that is an id of the run as a whole is no row of a table.

    Args:
        path: the file, or a folder of Parquet files.
        vocab: the ids of the run.
        column: what the run's own data call them, or where it stands there, from 0.

    Raises:
        InputError: missing, unreadable or empty, or a table in which no column looks like such ids.
    """
    path = Path(path)
    require(path)
    if path.is_dir() or stem(path).endswith((".parquet", ".pq")):
        return _of_parquet(path, vocab, column)
    try:
        text = [line.strip(" \r") for line in lines(path) if line.strip()]
    except InputError as error:
        if "is empty" in error.cause:
            raise _no_id(path) from None
        raise
    separator = _separator(stem(path), text, vocab)
    ids = (
        _of_list(path, text, vocab, column)
        if separator is None
        else _of_table(path, text, separator, vocab, column)
    )
    if not len(ids):
        raise _no_id(path)
    return ids


def _no_id(path: Path) -> InputError:
    return InputError("holds no id", place=str(path), remedy=_REMEDY)


def _of_parquet(path: Path, vocab: Vocab | None, column: str | int | None) -> pl.Series:
    table = parquet(path)
    if not table.names or not table.sample.height:
        raise _no_id(path)
    name = _named(path, table.names, vocab, column)
    ids = table.collect([name])[name]
    if ids.dtype.is_nested():
        raise InputError(
            f"column '{name}' holds {ids.dtype}, not ids",
            place=str(path),
            remedy="give one id a row",
        )
    return _once(ids)


def _of_list(
    path: Path, text: list[str], vocab: Vocab | None, column: str | int | None
) -> pl.Series:
    """Return one id a line; quotes belong to it unless the file is CSV or every line has them."""
    text = [line.strip() for line in text]
    quoted = all(re.fullmatch(r'"([^"]|"")*"', line) for line in text)
    if not _whole(text, vocab) and (stem(path).endswith((".csv", ".tsv")) or quoted):
        try:
            rows = list(csv.reader(text, strict=True))
        except csv.Error as error:
            raise InputError(
                f"cannot be read: {error}", place=str(path), remedy="close the quote, or double it"
            ) from None
        long = next((row for row in rows if len(row) > 1), None)
        if long is not None:
            raise InputError(
                f"'{','.join(long)[:60]}' has {len(long)} fields, the first line has 1",
                place=str(path),
                remedy="correct the line, or quote an id that holds a comma",
            )
        text = [row[0].strip() for row in rows if row]
    if text and _is_name(text[0], column, ("user", "item")) and not _known(text[:1], vocab):
        text = text[1:]
    return pl.Series("id", text, dtype=pl.String)


def _of_table(
    path: Path, text: list[str], separator: str, vocab: Vocab | None, column: str | int | None
) -> pl.Series:
    """Return one column of delimited text, read by what reads interactions."""
    rows = [_cells(line, separator) for line in text[:_LOOK]]
    header = _has_header(rows, vocab, column)
    if len(text) == int(header):
        raise _no_id(path)
    table = scan_text(path, separator=separator, header=header)
    named = _named(path, table.names, vocab, column) if header else ""
    name = named or _at_place(rows, table.names, vocab, column)
    return _once(table.collect([name])[name])


def _once(ids: pl.Series) -> pl.Series:
    return ids.unique(maintain_order=True).alias("id")


def _separator(name: str, text: list[str], vocab: Vocab | None) -> str | None:
    """Return what separates the columns; None for a list. Outside a CSV it stands on each of the first lines, and as often."""
    first = text[:_LOOK]
    if _whole(first, vocab):
        return None
    bare = [re.sub(r'"([^"]|"")*"', "", line) for line in first]
    if name.endswith((".csv", ".tsv")):
        some = [each for each in _SEPARATORS if each not in (" ", "::") and each in bare[0]]
        return max(some, key=lambda each: (_even(bare, each), bare[0].count(each)), default=None)
    some = [each for each in _SEPARATORS if _even(bare, each)]
    close = [each for each in some if each in ",;|"]
    if some and some[0] in ",;|":  # the comma of 3,5 separates nothing where ; stands more often
        return max(close, key=bare[0].count)
    if some == [" "] and not _holds_column(first, vocab):
        return None
    return some[0] if some else None


def _holds_column(first: list[str], vocab: Vocab | None) -> bool:
    """Return whether words apart by blanks are columns, and not ids of several words: one is a name of a column or an id of the run."""
    rows = [_cells(line, " ") for line in first]
    return any(_is_name(cell, None, ("user", "item")) for cell in rows[0]) or _known(
        [cell for row in rows for cell in row], vocab
    )


def _whole(text: list[str], vocab: Vocab | None) -> bool:
    """Return whether a line that could be a row of a table is an id of the run, blanks, commas, quotes and all."""
    signs = (*_SEPARATORS, '"')
    return _known([line for line in text if any(sign in line for sign in signs)], vocab)


def _even(bare: list[str], separator: str) -> bool:
    counts = {line.count(separator) for line in bare}
    return len(counts) == 1 and counts != {0}


def _cells(line: str, separator: str) -> list[str]:
    single = "\t" if separator == "::" else separator
    row = next(csv.reader([line.replace(separator, single)], delimiter=single), [])
    return [cell.strip() for cell in row]


def _has_header(rows: list[list[str]], vocab: Vocab | None, column: str | int | None) -> bool:
    """A known name is a header, and so are words above numbers, unless one of them is an id of the run."""
    if _known(rows[0], vocab):
        return False
    if any(_is_name(cell, column, tuple(KNOWN)) for cell in rows[0]):
        return True
    return len(rows) > 1 and not any(map(is_number, rows[0])) and any(map(is_number, rows[1]))


def _named(path: Path, names: Sequence[str], vocab: Vocab | None, column: str | int | None) -> str:
    """Return the column of such ids by its name.

    Raises:
        InputError: no column looks like it.
    """
    plain = {_plain(name): name for name in reversed(names)}
    if isinstance(column, str) and column in names:
        return column
    for word in (*(word for role in _roles(vocab) for word in KNOWN[role]), "id"):
        if word in plain:
            return plain[word]
    if isinstance(column, int) and column < len(names):
        return names[column]
    if len(names) == 1:
        return names[0]
    role = _roles(vocab)[0]
    raise InputError(
        f"no column looks like the {role}s; found: {', '.join(names)}",
        place=str(path),
        remedy=f"call it {column if isinstance(column, str) else role}",
    )


def _at_place(
    rows: list[list[str]], names: Sequence[str], vocab: Vocab | None, column: str | int | None
) -> str:
    """Return the column of such ids in a table without header."""
    usual = column if isinstance(column, int) else int(_roles(vocab)[0] == "item")
    usual = min(usual, len(names) - 1)
    for place in (usual, *range(len(names))):
        if _known([row[place] for row in rows if place < len(row)], vocab):
            return names[place]
    return names[usual]


def _roles(vocab: Vocab | None) -> tuple[str, ...]:
    return (vocab.name,) if vocab is not None and vocab.name in KNOWN else ("user", "item")


def _is_name(cell: str, column: str | int | None, roles: tuple[str, ...]) -> bool:
    return cell == column or _plain(cell) in (
        "id",
        *(word for role in roles for word in KNOWN[role]),
    )


def _plain(name: str) -> str:
    """Return a column name as it is compared, without the type that stands behind a colon."""
    return folded(name.partition(":")[0])


def _known(text: list[str], vocab: Vocab | None) -> bool:
    """Return whether one of some texts is an id of the run."""
    text = [each for each in text if each]
    if vocab is None or not text:
        return False
    ids = pl.Series("id", text, dtype=pl.String)
    return bool((vocab.rows(alike(ids, vocab, vocab.name)) >= 0).any())


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
