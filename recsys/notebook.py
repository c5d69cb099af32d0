"""What a value says of itself at the end of a notebook cell: a line of text, or a small table in HTML."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Shown", "counted", "facts_html", "table_html"]

_LONGEST = 200  # signs of a line; what is left out is marked


class Shown:
    """A value that is shown by what it holds, never by its arrays.

    A class says what it holds in `_facts`: names and values, in the order in which they are read. Those
    without a name stand in the line of text and head the table.
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
    """A number and what it counts: `1 user`, `1,200 users`."""
    return f"{n:,} {word}" + ("" if n == 1 else "s")


def facts_html(title: str, facts: Iterable[tuple[str, object]]) -> str:
    """A table of names and values; what has no name stands in its title. Everything is escaped."""
    head, rows = [title], []
    for name, value in facts:
        if name:
            rows.append(f"<tr><th>{_text(name)}</th><td>{_text(value)}</td></tr>")
        else:
            head.append(str(value))
    return f"<table><caption>{_text(', '.join(head))}</caption>{''.join(rows)}</table>"


def table_html(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str = "",
    notes: Iterable[str] = (),
    bold: Mapping[tuple[int, int], bool] | None = None,
) -> str:
    """A table with a head and notes below it; cells at the places (row, column) of `bold` stand out. Everything is escaped."""
    body = []
    for place, row in enumerate(rows):
        cells = [
            f"<td><b>{_text(cell)}</b></td>"
            if (bold or {}).get((place, column))
            else f"<td>{_text(cell)}</td>"
            for column, cell in enumerate(row)
        ]
        body.append(f"<tr>{''.join(cells)}</tr>")
    head = "".join(f"<th>{_text(name)}</th>" for name in columns)
    caption = f"<caption>{_text(title)}</caption>" if title else ""
    below = "".join(f"<div>{_text(note)}</div>" for note in notes)
    return (
        f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
        f"{below}"
    )


def _text(value: object) -> str:
    return html.escape(str(value))
