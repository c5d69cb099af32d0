"""The main table of a section: methods x metrics, with intervals and tests."""

from __future__ import annotations

import math

from recsys.comparison.table import LEVEL, TableCell
from recsys.evaluation.metrics import parse
from recsys.evaluation.query_rows import rows_counted
from recsys.report.elements import (
    details_table,
    dot,
    mean_text,
    method_id,
    p_text,
    run_id,
    scroll_box,
    verbatim,
)
from recsys.report.html import Markup, element, join
from recsys.report.methods import Method
from recsys.report.section import Section
from recsys.training.stopping import marked, reasons

__all__ = ["headline", "lead"]

_TESTS = {"t": "paired t test", "wilcoxon": "Wilcoxon signed-rank test"}


def lead(section: Section) -> Markup:
    """Return the result in a sentence or two."""
    comparison, metric = section.comparison, section.metric
    best = _best(section, metric)
    if best is None:
        text = (
            f"{metric} is neither better nor worse when it is higher; no method is called the best."
        )
        return element("p", text, class_="lead")
    sentences: list[object] = [
        element("b", best.method),
        f" has the best {metric}: {mean_text(best.mean)}",
        _interval(best),
        ".",
    ]
    rivals = [
        test
        for test in comparison.tests
        if test.metric == metric and best.method in (test.first, test.second)
    ]
    if rivals:
        worst = max(rivals, key=lambda test: test.p_holm)
        other = worst.second if worst.first == best.method else worst.first
        p = p_text(worst.p_holm)
        if best.bold:
            sentences.append(
                " It beats every method it was tested against "
                f"(largest adjusted p {p}, against {other})."
            )
        else:
            sentences.append(
                f" That it is better than {other} is not established (adjusted p {p})."
            )
    early = [
        f"{name} {comparison.signs(name)}"
        for name in comparison.methods
        if any(name in test.undertrained for test in rivals)
    ]
    if early:
        sentences.append(
            f" Undertrained, so that this may be a matter of training: {', '.join(early)}."
        )
    return element("p", *sentences, class_="lead")


def headline(section: Section, name: str) -> Markup:
    """Return the table: mean, interval and adjusted p against the best.

    Each number links to the run it comes from.

    Args:
        section: the data set.
        name: prefix of the ids of its elements.
    """
    comparison = section.comparison
    heads = [element("th", "method", scope="col")]
    heads += [
        element("th", metric, _arrow(metric), scope="col", class_="n")
        for metric in comparison.metrics
    ]
    heads += [element("th", "seeds", scope="col", class_="n"), element("th", "stopped by")]
    rows = [_row(section, method, order, name) for order, method in enumerate(section.methods)]
    table = element(
        "table",
        element("thead", element("tr", *heads)),
        element("tbody", *rows),
        class_="sortable",
    )
    notes = (_caption(section), *comparison.undertrained, *comparison.notes, *section.notes)
    return join(
        scroll_box(table, "Means by method and metric"),
        *(element("p", note, class_="note") for note in notes),
        _copy(name, "csv", "The table as CSV", comparison.csv()),
        _copy(name, "md", "The table as Markdown", comparison.markdown()),
        _tests(section),
    )


def _row(section: Section, method: Method, order: int, name: str) -> Markup:
    comparison = section.comparison
    sign = _sign(section, method.label)
    cells = [element("th", dot(order), method.label, sign, scope="row", data_v=method.label)]
    # A number of one run links to that run, a number of several runs to their method.
    target = run_id(name, order, 0) if len(method.runs) == 1 else method_id(name, order)
    cells += [
        _cell(section, comparison.cell(method.label, metric), target)
        for metric in comparison.metrics
    ]
    seeds = len(method.runs)
    title = f"train.seed = {', '.join(map(str, method.seeds))}"
    cells.append(element("td", seeds, class_="n", data_v=seeds, title=title))
    ends = comparison.stopping.get(method.label, ())
    cells.append(element("td", reasons(ends), title="; ".join(map(str, ends))))
    return element("tr", *cells)


def _cell(section: Section, cell: TableCell, target: str) -> Markup:
    comparison = section.comparison
    mean: object = mean_text(cell.mean)
    if cell.bold:
        mean = join(element("b", mean), comparison.beside(cell.method, cell.metric))
    counts = rows_counted(cell.queries, cell.users, comparison.unit_name)
    exact = f"{cell.mean!r}; {counts}"
    if cell.seeds > 1:
        exact += f"; standard deviation of {cell.seeds} seeds {cell.seeds_sd:.4f}"
    lines = [element("a", mean, href=f"#{target}", title=exact)]
    if math.isfinite(cell.low):
        lines.append(element("small", _interval(cell)))
    if comparison.is_clustered and math.isfinite(cell.unit_mean):
        lines.append(element("small", f"over {comparison.unit_name}s {mean_text(cell.unit_mean)}"))
    if cell.best:
        lines.append(element("small", "best"))
    elif p := _p_against_best(section, cell):
        lines.append(element("small", p))
    return element("td", *lines, class_="n", data_v=repr(cell.mean))


def _p_against_best(section: Section, cell: TableCell) -> str:
    """Return the adjusted p of the test against the best of the column; "" without a test."""
    comparison, best = section.comparison, _best(section, cell.metric)
    if best is None:
        return ""
    pair = {best.method, cell.method}
    for test in comparison.tests:
        if test.metric == cell.metric and {test.first, test.second} == pair:
            signs = comparison.signs(test.first) + comparison.signs(test.second)
            return _words(f"p {p_text(test.p_holm)}", signs)
    return ""


def _best(section: Section, metric: str) -> TableCell | None:
    cells = section.comparison.cells
    return next((cell for cell in cells if cell.metric == metric and cell.best), None)


def _caption(section: Section) -> str:
    comparison = section.comparison
    several = any(len(method.runs) > 1 for method in section.methods)
    units = f"{comparison.unit_name}s"
    over = f" over {units} and seeds" if several else f", bootstrap over {units}"
    text = f"Mean over {comparison.size}; in brackets the 95 % interval{over}."
    if comparison.is_clustered:
        text += f" Below it the mean over {units}, each with the same weight."
    if comparison.tests:
        kind = f"t test over {units} and seeds" if several else _TESTS[comparison.test]
        text += (
            f" p: {kind} against the best of the column, Holm over all "
            f"{len(comparison.tests)} tests. Bold: the best, where every p is below {LEVEL}."
        )
    return text


def _sign(section: Section, label: str) -> Markup | None:
    """Return the sign of a method whose training ended too early, with its meaning."""
    sign = section.comparison.signs(label)
    if not sign:
        return None
    meaning = marked(section.comparison.stopping[label])
    return element(
        "span", f" {sign}", title=meaning, aria_label=f"undertrained: {meaning}", role="img"
    )


def _tests(section: Section) -> Markup | None:
    comparison = section.comparison
    if not comparison.tests:
        return None
    rows = [
        (
            test.metric,
            _words(test.first, comparison.signs(test.first)),
            _words(test.second, comparison.signs(test.second)),
            f"{test.result.difference:+.4f}",
            f"[{test.result.low:+.4f}, {test.result.high:+.4f}]",
            f"{test.result.d_z:+.2f}",
            p_text(test.p),
            p_text(test.p_holm),
        )
        for test in comparison.tests
    ]
    head = (
        "metric",
        "first",
        "second",
        "difference",
        "95 % interval",
        "effect size d",
        "p",
        "p adjusted",
    )
    return details_table("Every paired test", head, rows)


def _words(*words: str) -> str:
    return " ".join(filter(None, words))


def _copy(name: str, form: str, title: str, text: str) -> Markup:
    box = verbatim(text, id=f"{name}-{form}")
    return element("details", element("summary", title), box, class_="copy")


def _arrow(metric: str) -> Markup | None:
    higher = parse(metric).higher
    if higher is None:
        return None
    if higher:
        return element("span", " ↑", title="higher is better")
    return element("span", " ↓", title="lower is better")


def _interval(cell: TableCell) -> str:
    return f" [{cell.low:.4f}, {cell.high:.4f}]" if math.isfinite(cell.low) else ""
