"""Tables as Markdown and LaTeX text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from recsys.training.stopping import SIGNS

__all__ = [
    "interval_text",
    "latex_signs",
    "latex_table",
    "latex_text",
    "markdown_table",
    "number",
    "plain_text",
]

_LATEX_WORDS = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
_LATEX = _LATEX_WORDS | {character: f"\\{character}" for character in "&%$#_{}"}
_LATEX_SIGNS = dict(zip(SIGNS.values(), ("dagger", "daggerdbl"), strict=True))


def markdown_table(
    head: Sequence[str], rows: Iterable[Sequence[str]], notes: Iterable[str] = ()
) -> str:
    """Return a Markdown table with notes below; the first column is aligned left.

    Args:
        head: titles of the columns, as Markdown.
        rows: texts of the cells, as Markdown.
        notes: lines below the table.
    """
    lines = [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, "", *notes]) + "\n"


def latex_table(
    head: Sequence[str], rows: Iterable[Sequence[str]], notes: Iterable[str] = ()
) -> str:
    r"""Return a LaTeX table for booktabs, `\usepackage{booktabs}`, with notes as comments.

    Args:
        head: titles of the columns, as LaTeX.
        rows: texts of the cells, as LaTeX.
        notes: comments below the table.
    """
    lines = [rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}", r"\toprule"]
    lines += [" & ".join(head) + r" \\", r"\midrule"]
    lines += [" & ".join(row) + r" \\" for row in rows]
    lines += [r"\bottomrule", r"\end{tabular}", *(f"% {note}" for note in notes)]
    return "\n".join(lines) + "\n"


def number(value: float, digits: int) -> str:
    """Return a number with a fixed number of decimals, or "-" if it is not finite."""
    return f"{value:.{digits}f}" if np.isfinite(value) else "-"


def interval_text(low: float, high: float, digits: int) -> str:
    """Return an interval in brackets, or an empty text without an interval."""
    return f"[{low:.{digits}f}, {high:.{digits}f}]" if np.isfinite(low) else ""


def plain_text(text: str) -> str:
    """Return text for a cell of a Markdown table."""
    return text.replace("|", "\\|")


def latex_text(text: str) -> str:
    """Return text for LaTeX, with its special characters escaped."""
    return latex_signs("".join(_LATEX.get(character, character) for character in text))


def latex_signs(text: str) -> str:
    """Return LaTeX with the signs of undertrained methods as superscripts."""
    for sign, name in _LATEX_SIGNS.items():
        text = text.replace(sign, rf"\textsuperscript{{\text{name}}}")
    return text
