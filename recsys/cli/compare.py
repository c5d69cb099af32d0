"""`recsys compare`: finished runs, or methods on data, with intervals and paired tests."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recsys.cli.compare_methods import methods_on_data, run_methods
from recsys.cli.show import table
from recsys.cli.starting import Data, K
from recsys.errors import InputError

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
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN... | DATA [METHOD...]",
            help="Folders of finished runs or of saved reports; or a file or data set, the methods "
            "to run on it, and dotted settings.",
            show_default=False,
        ),
    ] = None,
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
    data: Data = None,
    k: K = None,
    form: Annotated[Form, typer.Option("--format", help="Format of the output.")] = Form.table,
    json: Annotated[bool, typer.Option("--json", help="Short for --format json.")] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Write to this file instead of printing.", show_default=False),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print the result only.")] = False,
) -> None:
    """Compare runs, or methods on a file: means with 95 % intervals, paired tests, effect sizes.

    The p-values are corrected after Holm. Methods have their default settings and are not tuned;
    `recsys benchmark` tunes them.
    """
    from recsys.files import write_text

    asked = methods_on_data(what or [], data)
    tested = metric
    if asked is not None:
        silent = quiet or json or form is not Form.table
        runs, tested = run_methods(asked, metric, k, silent)
    elif k is not None:
        raise InputError(
            "--k has no effect on finished runs", remedy="leave it out, or give data and methods"
        )
    else:
        runs = [Path(word) for word in what or []]

    from recsys.comparison.comparison import compare_runs

    only = metric if asked is None else None
    comparison = compare_runs(runs, metric=only, baseline=baseline)
    chosen = Form.json if json else form
    if chosen is Form.table and out is None:
        show_comparison(comparison, tested)
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
            numbers = [f"{cell.mean:.4f}", *comparison.after_mean(cell)]
            if best.get(name) == method:
                numbers.append(f"*{comparison.beside(method, name)}")
            row.append(" ".join(numbers))
        if comparison.stopping:
            row.append(reasons(comparison.stopping.get(method, ())))
        rows.append(row)
    mean = "mean with 95 % interval"
    if comparison.is_clustered:
        mean += f" (mean over {comparison.unit_name}s)"
    table(
        ["method", *comparison.metrics, *(["stopped by"] if comparison.stopping else [])],
        rows,
        title=f"test, {comparison.size}, {mean}; "
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
