"""How delimited text is written: separator, quote character, header.

Whether a field may be in quotes depends on the separator. With commas, semicolons, bars and blanks
it may, as in RFC 4180. With tabs and `::` a quote is an ordinary character, unless every column
name in the first line is in quotes. The setting `quote` overrides both.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from recsys.data.reading.columns import folded
from recsys.data.reading.usual_names import KNOWN
from recsys.errors import InputError

__all__ = [
    "Dialect",
    "counts_columns",
    "dialect_of",
    "first_rows",
    "guess_separator",
    "has_header",
    "is_number",
]

_SEPARATORS = ("\t", "::", ",", ";", "|", " ")


@dataclass(frozen=True)
class Dialect:
    """How delimited text is written.

    Args:
        separator: one character.
        quote: the quote character; None if no character quotes.
        multiline: whether a quoted field may hold a line feed.
    """

    separator: str
    quote: str | None
    multiline: bool

    def reader(self, source: Iterable[str], *, strict: bool = False) -> Iterator[list[str]]:
        """Return the reader of the standard library, which is exact and slow.

        Args:
            source: lines of text.
            strict: whether a misplaced quote is an error.
        """
        if self.quote is None:
            return csv.reader(source, delimiter=self.separator, quoting=csv.QUOTE_NONE)
        return csv.reader(source, delimiter=self.separator, quotechar=self.quote, strict=strict)


def dialect_of(path: Path, separator: str, quote: str | None, first: str) -> Dialect:
    """Return how a text is written.

    Args:
        path: of the file, for errors.
        separator: one character, or `::`.
        quote: the setting `quote`; None to follow the separator.
        first: the first line.

    Raises:
        InputError: a separator or a quote of more than one character, or both equal.
    """
    single = "\t" if separator == "::" else separator
    if len(single) != 1:
        raise InputError(
            f"separator {separator!r} is longer than one character",
            place=str(path),
            remedy="use one character, or '::'",
        )
    if quote is None:
        # A file with every column name in quotes has all text in quotes, as R writes it.
        all_quoted = all(re.fullmatch(r'".+"', cell.strip()) for cell in first.split(separator))
        quote = '"' if single != "\t" or (all_quoted and separator == "\t") else ""
    if len(quote) > 1 or quote == single or not quote.isascii():
        raise InputError(
            f"quote = {quote!r} is not a valid quote character",
            place=str(path),
            remedy="give one character that is not the separator, "
            'or quote = "" if no character quotes',
        )
    return Dialect(single, quote or None, multiline=single != "\t")


def guess_separator(path: Path, first: Sequence[str]) -> str:
    """Return the separator of a text.

    Args:
        path: of the file, for errors.
        first: the first lines.

    Raises:
        InputError: the first line holds none of the usual separators.
    """
    candidates = [separator for separator in _SEPARATORS if separator in first[0]]
    if not candidates:
        raise InputError(
            "no separator found in the first line (tried tab, '::', ',', ';', '|', space)",
            place=f"{path}, line 1",
            remedy='give it: separator = "..."',
        )
    if candidates[0] not in ",;|":
        return candidates[0]
    # A decimal comma (3,5) is not a separator if ; or | is more frequent, and equally in each line.
    unquoted = [re.sub(r'"[^"]*"', "", line) for line in first]
    counts = {
        separator: {line.count(separator) for line in unquoted}
        for separator in candidates
        if separator in ",;|"
    }
    regular = [separator for separator, distinct in counts.items() if len(distinct) == 1]
    return max(regular, key=lambda separator: max(counts[separator]), default=candidates[0])


def first_rows(path: Path, first: Sequence[str], separator: str, how: Dialect) -> list[list[str]]:
    """Return the fields of the first lines.

    Raises:
        InputError: a line that cannot be parsed, such as one with a carriage return in it.
    """
    plain = (line.replace("::", "\t") if separator == "::" else line for line in first)
    try:
        return list(how.reader(plain))
    except csv.Error as error:
        raise InputError(
            f"cannot be parsed: {error}",
            place=str(path),
            remedy="end lines with a line feed, and quote fields that hold one",
        ) from None


def has_header(path: Path, rows: Sequence[Sequence[str]], *, by_position: bool) -> bool:
    """Return whether the first line names the columns.

    It does if it holds a usual column name, or words above numbers. It does not if it holds
    numbers, except 0, 1, 2, ..., which pandas writes above columns without names.

    Args:
        path: of the file, for errors.
        rows: the fields of the first lines.
        by_position: the settings give columns by position. Then a usual name next to a number is
            not a column name, and words above words are rows.

    Raises:
        InputError: both lines hold words only.
    """
    if len(rows[0]) > 2 and counts_columns(rows[0]):
        return True
    usual = {word for words in KNOWN.values() for word in words}
    holds_number = any(is_number(cell) for cell in rows[0])
    holds_usual_name = any(folded(cell.partition(":")[0]) in usual for cell in rows[0])
    if holds_usual_name and not (by_position and holds_number):
        return True
    if holds_number:
        return False
    if len(rows) > 1 and any(is_number(cell) for cell in rows[1]):
        return True
    if by_position:
        return False
    raise InputError(
        f"cannot tell whether the first line ({', '.join(rows[0])[:60]}) names the columns",
        place=f"{path}, line 1",
        remedy="set header = true or header = false",
    )


def counts_columns(cells: Sequence[str]) -> bool:
    """Return whether cells are 0, 1, 2, ..., possibly after an empty one above the row numbers."""
    names = [cell.strip() for cell in cells]
    names = names[1:] if names[0] == "" else names
    return names == [str(number) for number in range(len(names))]


def is_number(cell: str) -> bool:
    """Return whether a cell of text is a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True
