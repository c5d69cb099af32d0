"""Checks of the rows of delimited text, and the place of a row that is wrong.

polars reads fast and reports little: it fills short rows with nulls, and reads on to the next line
if a quote is not closed. These checks count separators and quotes in bulk. Only if a count is
suspicious, the exact and slow reader of the standard library decides.
"""

from __future__ import annotations

import csv
import io
import mmap
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import polars as pl

from recsys.data.reading.dialect import Dialect
from recsys.data.reading.text_files import contents, first_bad_byte, not_utf8
from recsys.errors import InputError, first_line

__all__ = [
    "Text",
    "check_field_counts",
    "check_quotes",
    "diagnose",
    "holds",
    "note_line_feeds",
    "records",
]

# A file to read, or the text of one that had to be decompressed or changed first.
Text: TypeAlias = Path | bytes


def records(text: Text, how: Dialect, *, strict: bool = True) -> Iterator[tuple[int, int]]:
    """Yield the first line (from 1) and the number of fields of every row that is not blank.

    Args:
        text: the file.
        how: how it is written.
        strict: whether a misplaced quote is an error.
    """
    start = 1
    reader = how.reader(_stream(text), strict=strict)
    for row in reader:
        if any(row):
            yield start, len(row)
        start = reader.line_num + 1  # type: ignore[attr-defined]


def diagnose(path: Path, text: Text, how: Dialect, n_columns: int, reason: str) -> InputError:
    """Return the error of a text that polars could not read, with the line that is wrong.

    Args:
        path: of the file.
        text: the file.
        how: how it is written.
        n_columns: number of fields of the first line.
        reason: what polars reported.
    """
    data = _bytes(text)
    offset = first_bad_byte(data)
    if offset >= 0:
        return not_utf8(path, data, offset)
    last = 0
    try:
        for line, fields in records(data, how):
            if fields != n_columns:
                return _wrong_field_count(path, line, fields, n_columns, how)
            last = line
    except csv.Error as error:
        return _misplaced_quote(path, last, error)
    if how.quote is not None and how.quote.encode() in data:
        mark = how.quote.encode()
        for line, content in enumerate(data.split(b"\n"), 1):
            if content.count(mark) % 2:
                return _inner_quote(path, line)
    return InputError(
        f"cannot be parsed: {(reason.splitlines() or ['no reason given'])[0][:120]}",
        place=str(path),
        remedy="check the separator and the quotes",
    )


def check_quotes(path: Path, text: Text, how: Dialect, rows: int) -> None:
    """Raise an error if the borders of rows are unclear, as with a quote inside a field (5" disk).

    Only a line with an odd number of quotes can continue on the next line. If there is one, the
    exact reader must count as many rows.

    Args:
        path: of the file.
        text: the file.
        how: how it is written; it must have a quote character.
        rows: number of rows that polars read, the header included.

    Raises:
        InputError: a quote that is not closed or misplaced.
    """
    assert how.quote is not None
    counts = pl.read_lines(text, glob=False)["line"].str.count_matches(how.quote, literal=True)
    if not (counts % 2 == 1).any():
        return
    last = exact = 0
    try:
        for number, (line, _) in enumerate(records(text, how), 1):
            last, exact = line, number
    except csv.Error as error:
        raise _misplaced_quote(path, last, error) from None
    if exact != rows:
        raise _inner_quote(path, int((counts % 2 == 1).arg_max() or 0) + 1)


def check_field_counts(path: Path, text: Text, how: Dialect, n_columns: int) -> None:
    """Raise an error about a row with too few fields, which polars fills with nulls.

    Args:
        path: of the file.
        text: the file.
        how: how it is written.
        n_columns: number of fields of the first line.

    Raises:
        InputError: names the line.
    """
    rows = pl.read_lines(text, glob=False)["line"]
    if how.quote is not None and rows.str.contains(how.quote, literal=True).any():
        mark = re.escape(how.quote)
        rows = rows.str.replace_all(f"{mark}[^{mark}]*{mark}", "")
    too_few = rows.str.count_matches(how.separator, literal=True) < n_columns - 1
    if not (too_few & (rows.str.len_bytes() > 0)).any():
        return
    for line, fields in records(text, how, strict=False):
        if fields != n_columns:
            raise _wrong_field_count(path, line, fields, n_columns, how)


def note_line_feeds(path: Path, text: Text, how: Dialect, count: int) -> str:
    """Return a note about quoted fields that hold a line feed.

    Args:
        path: of the file.
        text: the file.
        how: how it is written.
        count: number of rows with such a field.

    Raises:
        InputError: the text is separated by tabs, where a field cannot hold a line feed.
    """
    reader = how.reader(_stream(text))
    line = 1
    for row in reader:
        if any("\n" in cell for cell in row):
            break
        line = reader.line_num + 1  # type: ignore[attr-defined]
    if how.multiline:
        rows = "row holds" if count == 1 else "rows hold"
        return f"{count} {rows} a line feed in quotes, the first at line {line}"
    raise InputError(
        "a field in quotes goes on over the end of the line, which tab-separated text forbids",
        place=f"{path}, line {line}",
        remedy='if quotes are part of the values, set quote = ""; '
        "else take line feeds out of the values",
    )


def holds(text: Text, mark: str) -> bool:
    """Return whether a character occurs in a text; for a .zst file, whether it may occur."""
    if isinstance(text, bytes):
        return mark.encode() in text
    if text.suffix.lower() == ".zst":
        return True
    with text.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(mark.encode()) >= 0


def _bytes(text: Text) -> bytes:
    return text if isinstance(text, bytes) else contents(text)


def _stream(text: Text) -> io.StringIO:
    return io.StringIO(_bytes(text).decode("utf-8-sig", errors="replace"), newline="")


def _inner_quote(path: Path, line: int) -> InputError:
    return InputError(
        "a quote inside of a field, so that the end of the row is unclear",
        place=f"{path}, line {line}",
        remedy="put the field in quotes and double the inner one; "
        'if quotes are part of the values, set quote = ""',
    )


def _misplaced_quote(path: Path, last: int, error: csv.Error) -> InputError:
    return InputError(
        f"an unclosed or misplaced quote ({first_line(error)})",
        place=f"{path}, after line {last}",
        remedy='close the quote, or double it; if quotes are part of the values, set quote = ""',
    )


def _wrong_field_count(
    path: Path, line: int, fields: int, n_columns: int, how: Dialect
) -> InputError:
    advice = "quote a field that holds the separator"
    if how.quote is None:
        advice = "set quote = '\"' if fields that hold the separator are in quotes"
    return InputError(
        f"{fields} fields, the first line has {n_columns}",
        place=f"{path}, line {line}",
        remedy=f"correct the line, or {advice}",
    )
