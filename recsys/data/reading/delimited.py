"""Delimited text, plain or compressed, as a table whose columns are text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recsys.data.reading.dialect import (
    Dialect,
    counts_columns,
    dialect_of,
    first_rows,
    guess_separator,
    has_header,
)
from recsys.data.reading.row_checks import (
    Text,
    check_field_counts,
    check_quotes,
    diagnose,
    holds,
    note_line_feeds,
    records,
)
from recsys.data.reading.text_files import contents, damaged, head
from recsys.errors import InputError

__all__ = ["DelimitedTable", "open_delimited"]

# Columns of checks next to those of the file; column names cannot hold a null character.
_IS_SHORT = "\0short"
_HAS_LINE_FEED = "\0feed"


@dataclass(frozen=True, eq=False)
class DelimitedTable:
    """Delimited text that was opened, and whose rows are not read yet; see `Table`.

    Args:
        path: of the file.
        text: what is read: the file, or its text after decompression.
        dialect: how it is written.
        all_names: a name for each field of a row.
        names: the columns that can be read.
        header: whether the file names its columns.
        first_line_is_row: False if the first line is a header, or counts the columns.
        strip: whether blanks around a value are removed.
        sample: the first rows, as text.
        notes: what was guessed.
        typed: text never has types.
    """

    path: Path
    text: Text
    dialect: Dialect
    all_names: tuple[str, ...]
    names: tuple[str, ...]
    header: bool
    first_line_is_row: bool
    strip: bool
    sample: pl.DataFrame
    notes: tuple[str, ...] = ()
    typed: bool = False

    def collect(self, columns: Sequence[str]) -> tuple[pl.DataFrame, tuple[str, ...]]:
        """Read some columns as text, and check every row.

        Args:
            columns: names of the columns.

        Returns:
            The columns; and a note if fields hold line feeds.

        Raises:
            InputError: a row with too many or too few fields, a quote that is not closed, a line
                feed in a field of tab-separated text, or a line that is not UTF-8; names the line.
        """
        quoted = self.dialect.quote is not None and holds(self.text, self.dialect.quote)
        scan = self._scan(columns, check_line_feeds=quoted)
        try:
            # Without projection pushdown polars checks the number of fields of every row.
            frame = scan.collect(
                engine="streaming", optimizations=pl.QueryOptFlags(projection_pushdown=False)
            )
        except pl.exceptions.PolarsError as error:
            n_columns = len(self.all_names)
            raise diagnose(self.path, self.text, self.dialect, n_columns, str(error)) from None
        except OSError as error:
            raise damaged(self.path, error) from None
        if quoted:
            rows = frame.height + int(not self.first_line_is_row)
            check_quotes(self.path, self.text, self.dialect, rows)
        if frame[_IS_SHORT].any():
            check_field_counts(self.path, self.text, self.dialect, len(self.all_names))
        if not frame.height:
            raise InputError(
                "the file is empty"
                if self.first_line_is_row
                else "there is a header and no row below it",
                place=str(self.path),
                remedy="give a file with interactions",
            )
        notes: tuple[str, ...] = ()
        if quoted and (count := int(frame[_HAS_LINE_FEED].sum())):
            notes = (note_line_feeds(self.path, self.text, self.dialect, count),)
        return frame.select(columns), notes

    def _scan(self, columns: Sequence[str], *, check_line_feeds: bool) -> pl.LazyFrame:
        """Return some columns of all rows that are not blank, with the columns of the checks."""
        scan = pl.scan_csv(
            self.text,
            glob=False,
            has_header=not self.first_line_is_row,
            separator=self.dialect.separator,
            quote_char=self.dialect.quote,
            infer_schema=False,
            new_columns=list(self.all_names),
        )
        picked = [
            pl.col(name).str.strip_chars() if self.strip else pl.col(name) for name in columns
        ]
        picked.append(pl.col(self.all_names[-1]).is_null().alias(_IS_SHORT))
        if check_line_feeds:
            feeds = [pl.col(name).str.contains("\n", literal=True) for name in self.all_names]
            has_feed = pl.any_horizontal(feeds).fill_null(value=False)
            picked.append(has_feed.alias(_HAS_LINE_FEED))
        blank = pl.all_horizontal(pl.all().is_null())
        return scan.filter(~blank).select(picked)

    def where(self, row: int) -> str:
        """Return the place of a row in the file, such as "ratings.csv, line 7"."""
        start = -int(not self.first_line_is_row)
        numbered = enumerate(records(self.text, self.dialect, strict=False), start)
        for number, (line, _) in numbered:
            if number == row:
                return f"{self.path}, line {line}"
        return f"{self.path}, row {row + 1}"


def open_delimited(
    path: Path,
    *,
    separator: str | None = None,
    header: bool | None = None,
    named: bool | None = None,
    quote: str | None = None,
    typed_names: bool = False,
) -> DelimitedTable:
    """Open delimited text, plain or gz, xz or zst.

    Blanks around a value are removed, unless the first lines hold quotes.

    Args:
        path: of the file.
        separator: one character, or `::`; None to recognise it by the first lines.
        header: whether the first line names the columns; None to recognise it.
        named: whether the caller asks for columns by name (True: there must be a header), by
            position (False), or does not say (None).
        quote: the quote character, "" if no character quotes; None to follow the separator.
        typed_names: names are `name:type`, as in RecBole; the type is left out.

    Raises:
        InputError: no separator or header can be recognised, or two columns have the same name.
    """
    first = [line for line in head(path) if line.strip()]
    notes = []
    if separator is None:
        separator = guess_separator(path, first)
        notes.append(f"separator {separator!r}")
    elif separator not in first[0]:
        raise InputError(
            f"separator {separator!r} does not occur in the first line",
            place=f"{path}, line 1",
            remedy=f"it looks like {guess_separator(path, first)!r}",
        )
    dialect = dialect_of(path, separator, quote, first[0])
    if dialect.quote is None and any('"' in line for line in first):
        notes.append("quotes are part of the values")
    rows = first_rows(path, first, separator, dialect)
    # Some programs write 0, 1, 2, ... above columns without names.
    only_counts = len(rows[0]) > 2 and counts_columns(rows[0])
    if header is None:
        header = named or has_header(path, rows, by_position=named is False)
        notes.append("with header" if header else "without header")
        if header and only_counts:
            notes.append("the first line counts the columns, and names none")
    names = _column_names(path, rows[0], header=header, typed_names=typed_names)
    # The column of row numbers has no name above it, and is not one of the columns.
    shown = names[1:] if header and only_counts and not names[0] else names
    strip = dialect.quote is None or not any(dialect.quote in line for line in first)
    return DelimitedTable(
        path=path,
        text=_text(path, separator),
        dialect=dialect,
        all_names=names,
        names=shown,
        header=header and not only_counts,
        first_line_is_row=not header,
        strip=strip,
        sample=_sample(rows[int(header) :], names, strip=strip).select(shown),
        notes=tuple(notes),
    )


def _column_names(
    path: Path, first: Sequence[str], *, header: bool, typed_names: bool
) -> tuple[str, ...]:
    """Return a distinct name for each field: those of the header, or "0", "1", ..."""
    if not header:
        return tuple(str(position) for position in range(len(first)))
    names = [name.strip() for name in first]
    if typed_names:
        names = [name.partition(":")[0] for name in names]
    for name in names:
        if names.count(name) > 1:
            raise InputError(
                f"two columns are called '{name}'", place=f"{path}, line 1", remedy="rename one"
            )
    return tuple(names)


def _text(path: Path, separator: str) -> Text:
    """Return what polars can read: the file, or its text with one character as the separator."""
    if separator == "::":
        return contents(path).replace(b"::", b"\t")
    return contents(path) if path.suffix.lower() in (".gz", ".xz") else path


def _sample(rows: Sequence[Sequence[str]], names: Sequence[str], *, strip: bool) -> pl.DataFrame:
    """Return the first rows that have a field for each name."""
    complete = [
        [cell.strip() if strip else cell for cell in row] for row in rows if len(row) == len(names)
    ]
    return pl.DataFrame(complete, schema=dict.fromkeys(names, pl.String), orient="row")
