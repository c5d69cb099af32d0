"""Quality against cost: training time, speed of evaluation, and size of the scorer."""

from __future__ import annotations

import math
from collections.abc import Sequence

from recsys.experiment.run import Run
from recsys.notebook import plural
from recsys.report import charts
from recsys.report.charts import Mark, Series
from recsys.report.elements import amount, details_table, figure, grid, mean_text
from recsys.report.html import Markup, element, join
from recsys.report.methods import Method
from recsys.report.section import Section

__all__ = ["costs"]


def costs(section: Section) -> Markup:
    """Return a chart per cost, with the metric on the test set as the other axis."""
    metric = section.metric
    asked = "query" if section.comparison.is_clustered else section.comparison.unit_name
    axes = ("training, s", f"{plural(asked)} evaluated per s", "numbers in the scorer")
    series: dict[str, list[Series]] = {axis: [] for axis in axes}
    rows = []
    for order, method in enumerate(section.methods):
        cell = section.comparison.cell(method.label, metric)
        seconds, speed, size = values = _costs_of(method)
        for axis, value in zip(axes, values, strict=True):
            if math.isfinite(value) and value > 0 and math.isfinite(cell.mean):
                text = f"{method.label}: {metric} {cell.mean:.4f}, {axis} {value:,.4g}"
                mark = Mark(value, cell.mean, text, cell.low, cell.high)
                series[axis].append(Series(method.label, order, (mark,)))
        rows.append(
            (method.label, mean_text(cell.mean), amount(seconds, 2), amount(speed), amount(size))
        )
    figures = [
        figure(
            charts.points(
                drawn, f"{axis} (log)", f"test {metric}", f"test {metric} against {axis}"
            ),
            f"{metric} against {axis}.",
        )
        for axis, drawn in series.items()
        if drawn
    ]
    return join(
        element("p", _note(section.methods, asked), class_="note"),
        charts.key([method.label for method in section.methods]),
        grid(figures),
        details_table("The costs in numbers", ("method", f"test {metric}", *axes), rows),
    )


def _costs_of(method: Method) -> tuple[float, float, float]:
    """Return a method's costs in the order of the axes, each the mean over its runs."""
    n = len(method.runs)
    seconds = sum(_or_nan(run.meta.train_seconds) for run in method.runs)
    speed = sum(
        report.n_queries / report.seconds if report.seconds > 0 else math.nan
        for report in method.reports
    )
    size = sum(_or_nan(run.meta.parameters) for run in method.runs)
    return seconds / n, speed / n, size / n


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _note(methods: Sequence[Method], asked: str) -> str:
    """Return where and what was measured.

    Args:
        methods: the methods.
        asked: what was ranked for, "user", "query" or the like.
    """
    machines = {_machine(run) for method in methods for run in method.runs}
    where = f"All on {next(iter(machines))}."
    if len(machines) > 1:
        names = "; ".join(sorted(machines))
        where = f"Measured on different machines ({names}): times differ."
    return (
        f"{where} Training: epochs of the fit that selected, or the one step. "
        f"Evaluated: test {plural(asked)} ranked and measured by all metrics per second."
    )


def _machine(run: Run) -> str:
    environment = run.meta.environment
    processor = environment.gpu or f"{environment.cpus} CPU cores"
    threads = environment.threads
    return f"{processor}, {threads} thread{'' if threads == 1 else 's'}"
