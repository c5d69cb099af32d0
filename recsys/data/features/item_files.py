"""Item tables in files: a row per item, in Parquet or delimited text."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from recsys.config import settings
from recsys.errors import InputError, first_line, suggest

__all__ = ["ItemTable", "read_item_table", "require_columns"]


@settings
class ItemTable:
    """Location and format of an item table: Parquet, or delimited text in any encoding.

    Args:
        path: relative to the folder of the data set.
        item: column of the ids, by name, or by position from 0 without a header.
        title: column of the titles, likewise.
        separator: between the fields of a line, one character or several.
        header: whether the first line names the columns.
        encoding: of delimited text.
    """

    path: str
    item: str | int
    title: str | int
    separator: str = ","
    header: bool = True
    encoding: str = "utf-8"


def read_item_table(
    path: Path,
    form: ItemTable,
    *,
    strict: bool = False,
    content: str = "items",
    remedy: str = "check that it is delimited text in UTF-8, or Parquet",
) -> pl.DataFrame:
    """Return all columns of an item table; those of delimited text are strings.

    Args:
        path: of the table.
        form: its format; its own `path` is not used.
        strict: a line of delimited text with more or fewer fields than the first is an error.
            Otherwise it is cut, or filled with nulls, which is good enough for titles to show.
        content: of the table, in an error.
        remedy: in an error.

    Raises:
        InputError: the file cannot be read in this format.
    """
    try:
        if path.suffix in (".parquet", ".pq"):
            return pl.read_parquet(path)
        return _read_delimited(path, form, strict)
    except (pl.exceptions.PolarsError, UnicodeDecodeError, LookupError, OSError) as error:
        raise InputError(
            f"cannot be read as a table of {content}: {first_line(error)}",
            place=str(path),
            remedy=remedy,
        ) from None


def require_columns(frame: pl.DataFrame, columns: Sequence[str], place: str) -> None:
    """Refuse a table that lacks a column.

    Raises:
        InputError: with the nearest name.
    """
    for name in columns:
        if name not in frame.columns:
            raise InputError(
                f"no column '{name}'", place=place, remedy=suggest(name, frame.columns)
            )


def _read_delimited(path: Path, form: ItemTable, strict: bool) -> pl.DataFrame:
    text = path.read_bytes().decode(form.encoding)
    separator = form.separator
    if len(separator) > 1:
        text, separator = text.replace(separator, "\t"), "\t"
    # Titles hold stray quotes; quoting is only used where the separator may occur in a title.
    quoted = separator in ",;"
    if strict:
        text = _normalised(path, text, separator, quoted)
    return pl.read_csv(
        io.StringIO(text),
        separator=separator,
        has_header=form.header,
        infer_schema=False,
        quote_char='"' if quoted else None,
        truncate_ragged_lines=True,
    )


def _normalised(path: Path, text: str, separator: str, quoted: bool) -> str:
    """Return the text without blank lines and with every quote escaped, as in `5" disk`.

    Raises:
        InputError: a line has more or fewer fields than the first.
    """
    limit = csv.field_size_limit(sys.maxsize)  # long texts are allowed
    output = io.StringIO()
    try:
        reader = csv.reader(
            io.StringIO(text, newline=""),
            delimiter=separator,
            quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        )
        writer = csv.writer(output, delimiter=separator, lineterminator="\n")
        width = 0  # fields of the first line
        line = 1
        for fields in reader:
            width = width or len(fields)
            if fields and len(fields) != width:
                remedy = f'put a text that holds "{separator}" or a line break into quotes'
                raise InputError(
                    f"{len(fields)} fields, and the first line has {width}",
                    place=f"{path}, line {line}",
                    remedy=remedy if quoted else "take the separator out of the texts",
                )
            if fields and quoted:
                writer.writerow(fields)
            elif fields:
                output.write(separator.join(fields) + "\n")
            line = reader.line_num + 1
    finally:
        csv.field_size_limit(limit)
    return output.getvalue()
