"""Ids of a request in a file: a list with one id a line, or a column of a table."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recsys.data.ids import match_id_type
from recsys.data.reading.columns import folded
from recsys.data.reading.delimited import open_delimited
from recsys.data.reading.dialect import is_number
from recsys.data.reading.parquet import open_parquet
from recsys.data.reading.text_files import lines, require, stem
from recsys.data.reading.usual_names import KNOWN
from recsys.data.types import Vocab
from recsys.errors import InputError

__all__ = ["read_ids"]

_SEPARATORS = ("\t", "::", ",", ";", "|", " ")
_SAMPLE = 200  # first lines by which the form of a file is recognised
_REMEDY = "give one id per line, or a table with a column of them"


def read_ids(
    path: str | Path, vocab: Vocab | None = None, column: str | int | None = None
) -> pl.Series:
    """Return the ids of a file, without duplicates if the file is a table.

    The file is a list with one id a line, or a table: delimited text (also gz, xz, zst) or Parquet.

    Of a table the column is taken that loading takes for such ids: `column`, else a usual name of
    users or items, else `id`. Without a header it is the position `column`, else the first column
    for users and the second for items. If that column holds no known id, the first column that does
    is taken.

    The first line of a list is a header if it is a usual name of users or items, `id`, or `column`,
    and not a known id. A line that is a known id as a whole is never split into columns.

    Args:
        path: the file, or a folder of Parquet files.
        vocab: the known ids.
        column: name or position (from 0) of the column of such ids in the data of the run.

    Raises:
        InputError: the file is missing, unreadable or empty, or no column looks like such ids.
    """
    path = Path(path)
    require(path)
    request = _Request(path, vocab, column)
    if path.is_dir() or stem(path).endswith((".parquet", ".pq")):
        return request.from_parquet()
    try:
        text = [line.strip(" \r") for line in lines(path) if line.strip()]
    except InputError as error:
        if "is empty" in error.cause:
            raise request.without_ids() from None
        raise
    separator = request.separator(text)
    ids = request.from_list(text) if separator is None else request.from_table(text, separator)
    if not len(ids):
        raise request.without_ids()
    return ids


@dataclass(frozen=True, eq=False)
class _Request:
    """A file of ids, and what is known of its ids; see `read_ids`."""

    path: Path
    vocab: Vocab | None
    column: str | int | None

    def without_ids(self) -> InputError:
        """Return the error of a file without ids."""
        return InputError("holds no id", place=str(self.path), remedy=_REMEDY)

    def from_parquet(self) -> pl.Series:
        """Return one column of Parquet."""
        table = open_parquet(self.path)
        if not table.names or not table.sample.height:
            raise self.without_ids()
        name = self._named_column(table.names)
        ids = table.collect([name])[0][name]
        if ids.dtype.is_nested():
            raise InputError(
                f"column '{name}' holds {ids.dtype}, not ids",
                place=str(self.path),
                remedy="give one id a row",
            )
        return _distinct(ids)

    def from_list(self, text: list[str]) -> pl.Series:
        """Return one id a line.

        Quotes are part of an id, unless the file is CSV or every line is in quotes.
        """
        text = [line.strip() for line in text]
        all_quoted = all(re.fullmatch(r'"([^"]|"")*"', line) for line in text)
        is_csv = stem(self.path).endswith((".csv", ".tsv"))
        if (is_csv or all_quoted) and not self._has_whole_ids(text):
            text = self._unquoted(text)
        is_header = bool(text) and _is_name(text[0], ("user", "item"), self.column)
        if is_header and not self._any_known(text[:1]):
            text = text[1:]
        return pl.Series("id", text, dtype=pl.String)

    def _unquoted(self, text: list[str]) -> list[str]:
        """Return the only field of each line of CSV.

        Raises:
            InputError: a quote that is not closed, or a line with several fields.
        """
        try:
            rows = list(csv.reader(text, strict=True))
        except csv.Error as error:
            raise InputError(
                f"cannot be read: {error}",
                place=str(self.path),
                remedy="close the quote, or double it",
            ) from None
        long = next((row for row in rows if len(row) > 1), None)
        if long is not None:
            raise InputError(
                f"'{','.join(long)[:60]}' has {len(long)} fields, the first line has 1",
                place=str(self.path),
                remedy="correct the line, or quote an id that holds a comma",
            )
        return [row[0].strip() for row in rows if row]

    def from_table(self, text: list[str], separator: str) -> pl.Series:
        """Return one column of delimited text, read like interactions."""
        rows = [_cells(line, separator) for line in text[:_SAMPLE]]
        header = self._has_header(rows)
        if len(text) == int(header):
            raise self.without_ids()
        table = open_delimited(self.path, separator=separator, header=header)
        name = self._named_column(table.names) if header else ""
        name = name or self._column_by_position(rows, table.names)
        return _distinct(table.collect([name])[0][name])

    def separator(self, text: list[str]) -> str | None:
        """Return the separator of the columns; None for a list.

        Except in CSV, a separator occurs in each of the first lines, and as often in each.
        """
        first = text[:_SAMPLE]
        if self._has_whole_ids(first):
            return None
        unquoted = [re.sub(r'"([^"]|"")*"', "", line) for line in first]
        if stem(self.path).endswith((".csv", ".tsv")):
            present = [each for each in _SEPARATORS if each not in (" ", "::")]
            present = [each for each in present if each in unquoted[0]]
            return max(
                present,
                key=lambda each: (_is_regular(unquoted, each), unquoted[0].count(each)),
                default=None,
            )
        regular = [each for each in _SEPARATORS if _is_regular(unquoted, each)]
        if regular and regular[0] in ",;|":
            # A decimal comma (3,5) is not the separator if ; occurs more often.
            return max((each for each in regular if each in ",;|"), key=unquoted[0].count)
        if regular == [" "] and not self._words_are_columns(first):
            return None
        return regular[0] if regular else None

    def _words_are_columns(self, first: list[str]) -> bool:
        """Return whether words between blanks are columns, not ids of several words.

        They are if one of them is a usual column name or a known id.
        """
        rows = [_cells(line, " ") for line in first]
        return any(_is_name(cell, ("user", "item")) for cell in rows[0]) or (
            self._any_known([cell for row in rows for cell in row])
        )

    def _has_whole_ids(self, text: list[str]) -> bool:
        """Return whether a line with a separator or a quote is a known id as a whole."""
        signs = (*_SEPARATORS, '"')
        return self._any_known([line for line in text if any(sign in line for sign in signs)])

    def _has_header(self, rows: list[list[str]]) -> bool:
        """Return whether the first line is a header: a usual name, or words above numbers.

        A line with a known id is not.
        """
        if self._any_known(rows[0]):
            return False
        if any(_is_name(cell, tuple(KNOWN), self.column) for cell in rows[0]):
            return True
        return len(rows) > 1 and not any(map(is_number, rows[0])) and any(map(is_number, rows[1]))

    def _named_column(self, names: Sequence[str]) -> str:
        """Return the column of such ids by its name.

        Raises:
            InputError: no column looks like such ids.
        """
        by_plain_name = {_plain(name): name for name in reversed(names)}
        if isinstance(self.column, str) and self.column in names:
            return self.column
        for word in (*(word for role in self._roles() for word in KNOWN[role]), "id"):
            if word in by_plain_name:
                return by_plain_name[word]
        if isinstance(self.column, int) and self.column < len(names):
            return names[self.column]
        if len(names) == 1:
            return names[0]
        role = self._roles()[0]
        raise InputError(
            f"no column looks like the {role}s; found: {', '.join(names)}",
            place=str(self.path),
            remedy=f"call it {self.column if isinstance(self.column, str) else role}",
        )

    def _column_by_position(self, rows: list[list[str]], names: Sequence[str]) -> str:
        """Return the column of such ids in a table without header."""
        usual = int(self._roles()[0] == "item")
        if isinstance(self.column, int):
            usual = self.column
        usual = min(usual, len(names) - 1)
        for position in (usual, *range(len(names))):
            if self._any_known([row[position] for row in rows if position < len(row)]):
                return names[position]
        return names[usual]

    def _roles(self) -> tuple[str, ...]:
        """Return what the ids may be of: users, items or both."""
        if self.vocab is not None and self.vocab.name in KNOWN:
            return (self.vocab.name,)
        return ("user", "item")

    def _any_known(self, text: list[str]) -> bool:
        """Return whether one of some texts is a known id."""
        text = [each for each in text if each]
        if self.vocab is None or not text:
            return False
        ids = pl.Series("id", text, dtype=pl.String)
        ids = match_id_type(ids, self.vocab.ids.dtype, self.vocab.name)
        return bool((self.vocab.rows(ids) >= 0).any())


def _distinct(ids: pl.Series) -> pl.Series:
    return ids.unique(maintain_order=True).alias("id")


def _is_regular(unquoted: list[str], separator: str) -> bool:
    """Return whether a separator occurs in every line, and as often in each."""
    counts = {line.count(separator) for line in unquoted}
    return len(counts) == 1 and counts != {0}


def _cells(line: str, separator: str) -> list[str]:
    single = "\t" if separator == "::" else separator
    row = next(csv.reader([line.replace(separator, single)], delimiter=single), [])
    return [cell.strip() for cell in row]


def _is_name(cell: str, roles: tuple[str, ...], column: str | int | None = None) -> bool:
    """Return whether a cell is `column`, `id`, or a usual column name of one of the roles."""
    usual = ("id", *(word for role in roles for word in KNOWN[role]))
    return cell == column or _plain(cell) in usual


def _plain(name: str) -> str:
    """Return a column name for comparison, without a type after a colon."""
    return folded(name.partition(":")[0])
