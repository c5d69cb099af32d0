"""Attributes of users or items from a table in a file or in memory: CSV, Parquet, RecBole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import scipy.sparse as sp

from recsys.config import build, settings
from recsys.data.features.attribute_columns import fit_encoding, guess_kind
from recsys.data.features.attribute_table import AttributeEncoding, AttributeTable, ColumnKind
from recsys.data.features.item_files import ItemTable, read_item_table, require_columns
from recsys.data.finding import Finding
from recsys.data.ids import ids_of
from recsys.data.reading.columns import folded
from recsys.data.reading.text_files import require
from recsys.data.reading.usual_names import KNOWN
from recsys.data.types import Vocab
from recsys.data.unmatched import Tell, tell_unmatched
from recsys.errors import InputError

__all__ = ["ATTRIBUTE_ENDINGS", "AttributeFile", "attribute_table", "encoded_rows", "form_of"]

# Files that hold attributes rather than vectors.
ATTRIBUTE_ENDINGS = (".csv", ".tsv", ".txt", ".item", ".user")
_TYPES: Mapping[str, ColumnKind] = {
    "token": "category",
    "token_seq": "several",
    "float": "number",
    "float_seq": "vector",
}
_SEPARATORS = ("\t", ",", ";", "|")
_KINDS: Mapping[str, ColumnKind] = {
    "numeric": "number",
    "categorical": "category",
    "several": "several",
}


@settings
class AttributeFile:
    """A table of attributes, a row per user or item, and what its columns are.

    Args:
        path: CSV or other delimited text, Parquet, or a `.user` or `.item` file of RecBole, whose
            header names the types.
        id: column of the ids; none: the one with a usual name.
        columns: names of the columns of a file without header, in order.
        numeric, categorical, several: columns of numbers, of one value, of a list of values. The
            kind of any other column is recognised.
        leave_out: columns that are not used.
        split: what separates the values of a list.
        encoding: of delimited text.
    """

    path: str
    id: str | None = None
    columns: tuple[str, ...] | None = None
    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    several: tuple[str, ...] = ()
    leave_out: tuple[str, ...] = ()
    split: str = "|"
    encoding: str = "utf-8"

    def __post_init__(self) -> None:
        if not self.split:
            raise InputError("split is empty", remedy='give a character, as in split = "|"')
        named = [*self.numeric, *self.categorical, *self.several, *self.leave_out]
        for name in named:
            if named.count(name) > 1:
                raise InputError(f"'{name}' is named twice", remedy="name each column once")


def attribute_table(
    source: Path | pl.DataFrame,
    form: AttributeFile,
    vocab: Vocab,
    *,
    name: str,
    tell: Tell | None = None,
) -> AttributeTable:
    """Return the attributes of all users or items.

    Args:
        source: the file, or a table in memory.
        form: what its columns are.
        vocab: the vocabulary whose rows the table gets.
        name: of the table, for findings.
        tell: called with findings about columns that are left out, and about rows that belong to
            no user or item.

    Raises:
        InputError: the file is missing or cannot be read, a column is missing or is not what the
            form names, an id is missing or occurs twice, or no row belongs to the data.
    """
    place = str(source) if isinstance(source, Path) else f"features '{name}'"
    frame, types = _read(source, form)
    ids = _ids(frame, form, vocab.name, place)
    kinds, left_out = _kinds(frame.drop(ids.name), types, form, place)
    if not kinds:
        raise InputError(
            "holds no attribute" + (f": {_listed(left_out)}" if left_out else ""),
            place=place,
            remedy="give a column of numbers or of categories",
        )
    splits = dict.fromkeys(kinds, " " if types else form.split)
    encoding = fit_encoding(frame, kinds, splits, place)
    rows = vocab.rows(ids_of(ids, place))
    tell_unmatched(tell, ids_of(ids, place), vocab, f"feature {name}", place, rows)
    if left_out and tell is not None:
        message = f"columns left out of {Path(place).name}: {_listed(left_out)}"
        tell(Finding(f"columns of {name}", "ok", len(left_out), message))
    table = _aligned(frame, encoding, rows, len(vocab), place)
    if not table.present.any():
        raise InputError(
            f"no {vocab.name} of the data is in the table of '{name}'",
            place=place,
            remedy=f"its ids must be those of the data, such as {vocab.ids[0]!r}",
        )
    return table


def encoded_rows(
    path: Path, encoding: AttributeEncoding, role: str, form: AttributeFile | None = None
) -> tuple[pl.Series, AttributeTable]:
    """Return the ids of a file of new users or items, and their attributes as training had them.

    Args:
        path: of the file, with a row for each.
        encoding: of training.
        role: "user" or "item".
        form: how the file is written; its kinds of columns are not used.

    Raises:
        InputError: as `attribute_table`.
    """
    frame, _ = _read(path, form or AttributeFile(path=str(path)))
    place = str(path)
    ids = ids_of(_ids(frame, form or AttributeFile(path=str(path)), role, place), place)
    if not len(ids):
        raise InputError(f"holds no {role}", place=place, remedy=f"give a row per {role}")
    return ids.alias(role), _aligned(frame, encoding, np.arange(len(ids)), len(ids), place)


def _aligned(
    frame: pl.DataFrame, encoding: AttributeEncoding, rows: np.ndarray, n: int, place: str
) -> AttributeTable:
    """Return the table of a vocabulary of n rows; `rows` is -1 for a row that is not in it."""
    known = np.flatnonzero(rows >= 0)
    matrix, given, gaps = encoding.encode(frame[known], place)
    into = sp.csr_matrix(
        (np.ones(len(known), dtype=np.float32), (rows[known], np.arange(len(known)))),
        shape=(n, len(known)),
    )
    present = np.zeros(n, dtype=bool)
    present[rows[known]] = given
    share = len(known) / max(n, 1)
    gaps = {name: 1 - share * (1 - gap) for name, gap in gaps.items()}
    return AttributeTable(into @ matrix, present, encoding, gaps=gaps)


def _read(
    source: Path | pl.DataFrame, form: AttributeFile
) -> tuple[pl.DataFrame, dict[str, ColumnKind]]:
    """Return the columns of a table, and their kinds if its header names types."""
    if isinstance(source, pl.DataFrame):
        return source, {}
    require(source)
    if source.suffix in (".parquet", ".pq"):
        return read_item_table(source, _item_table(","), content="attributes"), {}
    try:
        with source.open(encoding=form.encoding) as file:
            first = file.readline()
    except (OSError, UnicodeDecodeError, LookupError) as error:
        raise InputError(
            f"cannot be read as text in {form.encoding}: {error}",
            place=str(source),
            remedy='give its encoding, as in encoding = "latin-1"',
        ) from None
    separator = next((each for each in _SEPARATORS if each in first), ",")
    table = _item_table(separator, header=form.columns is None, encoding=form.encoding)
    frame = read_item_table(source, table, strict=True, content="attributes")
    if form.columns is not None:
        if len(form.columns) != frame.width:
            raise InputError(
                f"{len(form.columns)} names for {frame.width} columns",
                place=str(source),
                remedy="name every column, in order",
            )
        return frame.rename(dict(zip(frame.columns, form.columns, strict=True))), {}
    typed = [name.partition(":") for name in frame.columns]
    if not all(kind in _TYPES for _, _, kind in typed):
        return frame.rename({name: name.strip() for name in frame.columns}), {}
    names = {name: plain for name, (plain, _, _) in zip(frame.columns, typed, strict=True)}
    return frame.rename(names), {plain: _TYPES[kind] for plain, _, kind in typed}


def _item_table(separator: str, *, header: bool = True, encoding: str = "utf-8") -> ItemTable:
    return ItemTable(
        path="", item=0, title=0, separator=separator, header=header, encoding=encoding
    )


def _ids(frame: pl.DataFrame, form: AttributeFile, role: str, place: str) -> pl.Series:
    """Return the column of ids.

    Raises:
        InputError: no column has a usual name, or an id occurs twice.
    """
    if form.id is not None:
        require_columns(frame, [form.id], place)
        name: str | None = form.id
    else:
        words = (*KNOWN[role], "id")
        by_folded = {folded(column): column for column in reversed(frame.columns)}
        name = next((by_folded[word] for word in words if word in by_folded), None)
    if name is None:
        raise InputError(
            f"no column looks like the {role}s; found: {', '.join(frame.columns[:8])}",
            place=place,
            remedy='name it: { path = "...", id = "COLUMN" }',
        )
    ids = frame[name]
    if (repeated := ids.is_duplicated()).any():
        raise InputError(
            f"duplicate {role} id {ids.filter(repeated)[0]!r}",
            place=place,
            remedy=f"give one row per {role}; several values of a column go into one field, "
            "as in Action|Comedy",
        )
    return ids


def _kinds(
    frame: pl.DataFrame, types: Mapping[str, ColumnKind], form: AttributeFile, place: str
) -> tuple[dict[str, ColumnKind], dict[str, str]]:
    """Return the kind of each column that is used, and why the others are left out.

    Raises:
        InputError: a named column does not exist.
    """
    given: dict[str, ColumnKind] = {
        name: kind for key, kind in _KINDS.items() for name in getattr(form, key)
    }
    require_columns(frame, [*given, *form.leave_out], place)
    kinds: dict[str, ColumnKind] = {}
    left_out = {}
    for name in frame.columns:
        if name in form.leave_out:
            continue
        if name in given:
            kinds[name] = given[name]
            continue
        guessed = guess_kind(frame[name], form.split)
        usable = guessed in ("flag", "number", "category", "several", "vector")
        if not usable:
            left_out[name] = guessed
        else:
            kinds[name] = types.get(name, guessed)  # type: ignore[arg-type]
    return kinds, left_out


def _listed(left_out: Mapping[str, str]) -> str:
    some = [f"{name} ({why})" for name, why in list(left_out.items())[:4]]
    return ", ".join(some) + (", ..." if len(left_out) > 4 else "")


def form_of(value: str | Path | Mapping[str, Any], place: str) -> AttributeFile:
    """Return the settings of a table of attributes from plain values, or from its path."""
    if isinstance(value, str | Path):
        return AttributeFile(path=str(value))
    return build(AttributeFile, value, place)
