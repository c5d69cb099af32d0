"""HTML elements and number formats that several parts of the page use."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from recsys.report import charts
from recsys.report.html import Markup, element

__all__ = [
    "amount",
    "details_table",
    "dot",
    "figure",
    "grid",
    "listing",
    "mean_text",
    "method_id",
    "p_text",
    "run_id",
    "scroll_box",
    "verbatim",
]


def details_table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> Markup:
    """Return a table that opens on demand: the numbers of a chart for readers who cannot see it.

    Args:
        title: the line that is always visible.
        head: names of the columns; the first one holds text, the others numbers.
        rows: the cells.
    """
    names = element("tr", *(_cell("th", i, word, scope="col") for i, word in enumerate(head)))
    lines = [element("tr", *(_cell("td", i, value) for i, value in enumerate(row))) for row in rows]
    table = element("table", element("thead", names), element("tbody", *lines), class_="sortable")
    return element("details", element("summary", title), scroll_box(table, title))


def _cell(kind: str, column: int, value: object, scope: str | None = None) -> Markup:
    return element(kind, value, scope=scope, class_=None if column == 0 else "n")


def scroll_box(table: Markup, label: str) -> Markup:
    """Return a box around a table that scrolls sideways, by keyboard too."""
    return element("div", table, class_="scroll", tabindex=0, role="region", aria_label=label)


def verbatim(text: str, **attributes: object) -> Markup:
    """Return text with its line breaks, in a box that scrolls by keyboard too."""
    return element("pre", text, tabindex=0, **attributes)


def figure(chart: Markup, caption: str) -> Markup:
    """Return a chart with a caption."""
    return element("figure", chart, element("figcaption", caption))


def grid(figures: Sequence[Markup]) -> Markup:
    """Return figures side by side."""
    return element("div", *figures, class_="grid")


def listing(values: Iterable[object]) -> Markup:
    """Return a bullet list."""
    return element("ul", *(element("li", value) for value in values))


def dot(order: int) -> Markup:
    """Return the mark of a method, in its colour and shape, to be put before its name."""
    return element(
        "svg",
        element("path", d=charts.shape(order, 7, 7, 4.5)),
        viewBox="0 0 14 14",
        aria_hidden="true",
        class_=f"dot {charts.colour(order)}",
    )


def method_id(name: str, order: int) -> str:
    """Return the id of the element that describes a method's runs."""
    return f"{name}-m{order}"


def run_id(name: str, order: int, seed: int) -> str:
    """Return the id of the element that describes a run."""
    return f"{name}-m{order}-r{seed}"


def mean_text(value: float) -> str:
    """Return a mean with four decimals; "-" if it is not finite."""
    return f"{value:.4f}" if math.isfinite(value) else "-"


def amount(value: float, digits: int = 0) -> str:
    """Return a number with thousands separators; "-" if it is not finite."""
    return f"{value:,.{digits}f}" if math.isfinite(value) else "-"


def p_text(value: float) -> str:
    """Return a p-value with two digits; "-" if it is not finite."""
    if not math.isfinite(value):
        return "-"
    return "< 0.0001" if value < 0.0001 else f"{value:.2g}"
