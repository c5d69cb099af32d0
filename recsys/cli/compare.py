"""`recsys compare`: finished runs side by side, with intervals and paired tests."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recsys.cli.show import table

if TYPE_CHECKING:
    from recsys.comparison.comparison import Comparison

__all__ = ["compare", "show_comparison"]


class Form(StrEnum):
    """Format of the comparison."""

    table = "table"
    markdown = "markdown"
    latex = "latex"
    csv = "csv"
    json = "json"


def compare(
    folders: Annotated[
        list[Path], typer.Argument(help="Folders of finished runs.", show_default=False)
    ],
    metric: Annotated[
        str | None,
        typer.Option(
            help="The metric to test; default: all of them, at a loss of statistical power.",
            show_default=False,
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            help="Test every run against this one (its name); default: all pairs.",
            show_default=False,
        ),
    ] = None,
    form: Annotated[Form, typer.Option("--format", help="Format of the output.")] = Form.table,
    json: Annotated[bool, typer.Option("--json", help="Short for --format json.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Write to this file instead of printing.", show_default=False),
    ] = None,
) -> None:
    """Compare runs on the same test users: means with 95 % intervals, paired tests, effect sizes.

    The p-values are corrected after Holm.
    """
    from recsys.comparison.comparison import compare_runs
    from recsys.files import write_text

    comparison = compare_runs(folders, metric=metric, baseline=baseline)
    chosen = Form.json if json else form
    if chosen is Form.table and out is None:
        show_comparison(comparison)
        return
    writers = {Form.latex: comparison.latex, Form.csv: comparison.csv, Form.json: comparison.json}
    text = writers.get(chosen, comparison.markdown)()
    if out is None:
        typer.echo(text)
    else:
        write_text(out, text)
        typer.echo(f"written: {out}")


def show_comparison(comparison: Comparison, metric: str | None = None) -> None:
    """Print the table of means, then the paired tests of one metric.

    Args:
        comparison: the comparison.
        metric: the metric whose tests are printed; None takes the first that has tests.
    """
    _print_means(comparison)
    _print_tests(comparison, metric)
    for line in comparison.undertrained:
        typer.echo(line)
    for note in comparison.notes:
        typer.echo(f"note: {note}")


def _print_means(comparison: Comparison) -> None:
    from recsys.training.stopping import reasons

    best = {cell.metric: cell.method for cell in comparison.cells if cell.bold}
    rows = []
    for method in comparison.methods:
        row = [" ".join(filter(None, (method, comparison.signs(method))))]
        for name in comparison.metrics:
            cell = comparison.cell(method, name)
            interval = "" if cell.low != cell.low else f" [{cell.low:.4f}, {cell.high:.4f}]"
            star = f" *{comparison.beside(method, name)}" if best.get(name) == method else ""
            row.append(f"{cell.mean:.4f}{interval}{star}")
        if comparison.stopping:
            row.append(reasons(comparison.stopping.get(method, ())))
        rows.append(row)
    table(
        ["method", *comparison.metrics, *(["stopped by"] if comparison.stopping else [])],
        rows,
        title=f"test, {comparison.n_users:,} users, mean with 95 % interval; "
        "* significantly better than every other one it is tested against",
    )


def _print_tests(comparison: Comparison, metric: str | None) -> None:
    tests = [test for test in comparison.tests if metric is None or test.metric == metric]
    tested = next((test.metric for test in tests), None)
    lines = [
        [
            " ".join(filter(None, (test.first, comparison.signs(test.first)))),
            " ".join(filter(None, (test.second, comparison.signs(test.second)))),
            f"{test.result.difference:+.4f}",
            f"{test.result.d_z:+.2f}",
            f"{test.p:.2g}",
            f"{test.p_holm:.2g}",
        ]
        for test in tests
        if test.metric == tested
    ]
    if lines:
        numbers = ["difference", "effect size d", "p", "p corrected"]
        correction = f"p corrected after Holm over all {len(comparison.tests)} tests"
        table(
            ["first", "second", *numbers],
            lines,
            title=f"paired tests of {tested} ({comparison.test} test; {correction})",
            right=numbers,
        )
