"""Markdown and LaTeX tables: one writer for comparisons and for benchmarks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

__all__ = [
    "Column",
    "latex_signs",
    "latex_table",
    "latex_text",
    "markdown_table",
    "plain_text",
]


@dataclass(frozen=True)
class Column:
    """A column that is added to the right of a comparison's own.

    Args:
        title: head of the column.
        texts: text of each method; a method without one has an empty field.
    """

    title: str
    texts: Mapping[str, str]


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table: the first column to the left, the others to the right.

    Args:
        head: title of each column.
        rows: texts of each row; `plain_text` has been applied where necessary.
    """
    lines = [
        "| " + " | ".join(map(plain_text, head)) + " |",
        "|---|" + "---:|" * (len(head) - 1),
    ]
    return [*lines, *("| " + " | ".join(row) + " |" for row in rows)]


def latex_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    r"""Return the lines of a LaTeX table for booktabs: `\usepackage{booktabs}`.

    Args:
        head: title of each column, as plain text.
        rows: texts of each row, in LaTeX.
    """
    return [
        r"\begin{tabular}{l" + "r" * (len(head) - 1) + "}",
        r"\toprule",
        " & ".join(map(latex_text, head)) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]


def plain_text(text: str) -> str:
    """Return text for a cell of a Markdown table."""
    return text.replace("|", "\\|")


def latex_text(text: str) -> str:
    """Return text for LaTeX, its special characters escaped."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {character: f"\\{character}" for character in "&%$#_{}"}
    return latex_signs("".join(special.get(character, character) for character in text))


def latex_signs(text: str) -> str:
    """Return LaTeX with the signs of undertrained methods as superscripts."""
    for sign, name in (("†", "dagger"), ("‡", "daggerdbl")):
        text = text.replace(sign, rf"\textsuperscript{{\text{name}}}")
    return text
