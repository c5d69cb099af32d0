"""Short representations for the end of a notebook cell: one line of text, or an HTML table."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Shown", "counted", "facts_html", "plural", "table_html"]

_LONGEST = 200  # characters of a line; a longer one ends in "..."


class Shown:
    """A value that is shown by a summary of its contents instead of its arrays.

    A subclass implements `_facts`, which yields names and values in reading order. Facts without
    a name come first in the line of text and in the heading of the table.
    """

    __slots__ = ()

    def _facts(self) -> Iterable[tuple[str, object]]:
        raise NotImplementedError

    def __repr__(self) -> str:
        words = [f"{name} {value}" if name else f"{value}" for name, value in self._facts()]
        line = f"{type(self).__name__}({', '.join(words)})"
        return line if len(line) <= _LONGEST else line[: _LONGEST - 4] + "...)"

    def _repr_html_(self) -> str:
        return facts_html(type(self).__name__, self._facts())


def counted(n: int, word: str) -> str:
    """Return a number with the noun it counts: `1 user`, `1,200 users`."""
    return f"{n:,} {word if n == 1 else plural(word)}"


def plural(word: str) -> str:
    """Return the plural of a regular noun: `users`, `queries`, `days`."""
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return f"{word[:-1]}ies"
    return f"{word}s"


def facts_html(title: str, facts: Iterable[tuple[str, object]]) -> str:
    """Return an HTML table of names and values. All texts are escaped.

    Args:
        title: the caption.
        facts: names and values; values without a name are appended to the caption.
    """
    heading, rows = [title], []
    for name, value in facts:
        if name:
            rows.append(f"<tr><th>{_text(name)}</th><td>{_text(value)}</td></tr>")
        else:
            heading.append(str(value))
    return f"<table><caption>{_text(', '.join(heading))}</caption>{''.join(rows)}</table>"


def table_html(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str = "",
    notes: Iterable[str] = (),
    bold: Mapping[tuple[int, int], bool] | None = None,
) -> str:
    """Return an HTML table. All texts are escaped.

    Args:
        columns: the names of the columns.
        rows: the cells of each row.
        title: the caption.
        notes: lines to show below the table.
        bold: cells to set in bold, by row and column number.
    """
    body = []
    for row_number, row in enumerate(rows):
        cells = [
            f"<td><b>{_text(cell)}</b></td>"
            if (bold or {}).get((row_number, column))
            else f"<td>{_text(cell)}</td>"
            for column, cell in enumerate(row)
        ]
        body.append(f"<tr>{''.join(cells)}</tr>")
    heading = "".join(f"<th>{_text(name)}</th>" for name in columns)
    caption = f"<caption>{_text(title)}</caption>" if title else ""
    below = "".join(f"<div>{_text(note)}</div>" for note in notes)
    return (
        f"<table>{caption}<thead><tr>{heading}</tr></thead><tbody>{''.join(body)}</tbody></table>"
        f"{below}"
    )


def _text(value: object) -> str:
    return html.escape(str(value))
