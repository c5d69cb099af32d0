"""The result of a comparison: its cells, its paired tests, and its forms as text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import polars as pl

from recsys.comparison.rendering import (
    Column,
    interval_text,
    latex_table,
    latex_text,
    markdown_table,
    number,
    plain_text,
)
from recsys.data.held_out import Unit
from recsys.evaluation.query_rows import rows_counted
from recsys.notebook import Shown, counted, table_html
from recsys.statistics.paired_tests import Paired
from recsys.training.stopping import SIGNS, Stopping, legend, marked, reasons, signs

__all__ = ["LEVEL", "Comparison", "PairedTest", "TableCell"]

LEVEL = 0.05  # of significance
DIGITS = 4

_TEST_COLUMNS: Mapping[str, type[pl.DataType]] = {
    "metric": pl.String,
    "first": pl.String,
    "second": pl.String,
    "n": pl.Int64,
    "difference": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "p": pl.Float64,
    "p_t": pl.Float64,
    "p_wilcoxon": pl.Float64,
    "p_holm": pl.Float64,
    "seed_share": pl.Float64,
    "d_z": pl.Float64,
    "rank_biserial": pl.Float64,
    "cliff": pl.Float64,
    "wins": pl.Int64,
    "losses": pl.Int64,
    "undertrained": pl.String,
}


@dataclass(frozen=True)
class TableCell:
    """One method under one metric.

    Args:
        method: name of the method.
        metric: name of the metric.
        mean: over the common queries for which the metric is defined, and over seeds if there are
            several.
        low: lower bound of the 95 % interval of the mean; NaN for a metric with one number for all
            users.
        high: upper bound.
        users: common units (users, sessions or items) for which the metric is defined.
        best: whether it is the best mean of its metric.
        bold: whether it also beats every method that it is tested against, with an adjusted p
            value below `LEVEL`.
        seeds: number of reports.
        seeds_sd: standard deviation of the means of the seeds; NaN with one seed.
        queries: common queries for which the metric is defined; `users` with one per unit.
        unit_mean: mean over units of their means over queries, each unit with the same weight;
            `mean` with one query per unit, NaN for a metric with one number for all users.
    """

    method: str
    metric: str
    mean: float
    low: float
    high: float
    users: int
    best: bool = False
    bold: bool = False
    seeds: int = 1
    seeds_sd: float = float("nan")
    queries: int = 0
    unit_mean: float = float("nan")


@dataclass(frozen=True)
class PairedTest:
    """One paired test of the first method against the second.

    Args:
        metric: name of the metric.
        first: name of the first method.
        second: name of the second method.
        p: unadjusted p value of the chosen test.
        p_holm: the same, adjusted over all tests of the comparison.
        result: both tests, both effect sizes, the difference with its interval. With several seeds
            they are of the means over seeds, and the interval is that of `statistics.gap`.
        seed_share: share of the squared standard error of the difference that is due to seeds; 0
            with one seed each.
        undertrained: those of the two whose training ended too early, judged by their curves. The
            difference may then be one of training.
    """

    metric: str
    first: str
    second: str
    p: float
    p_holm: float
    result: Paired
    seed_share: float = 0.0
    undertrained: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Shown):
    """Methods in rows, metrics in columns, and the tests behind the bold type.

    Args:
        methods: names in the given order.
        metrics: names in the given order.
        cells: one per method and metric, methods outermost.
        tests: the paired tests: of every pair or against the baseline, and of the best method
            against the second.
        n_users: units (users, sessions or items) common to all methods.
        n_queries: queries common to all methods; `n_users` with one per unit.
        dropped: units that are in some reports only.
        dropped_queries: queries that are in some reports only.
        test: the test that `p` comes from, "t" or "wilcoxon".
        notes: what a reader should know.
        stopping: how the training of each run of a method ended, where that is known.
        unit_name: what a unit is: "user", "session" or "item".
    """

    methods: tuple[str, ...]
    metrics: tuple[str, ...]
    cells: tuple[TableCell, ...]
    tests: tuple[PairedTest, ...]
    n_users: int
    n_queries: int
    dropped: int
    dropped_queries: int
    test: str
    notes: tuple[str, ...] = ()
    stopping: Mapping[str, tuple[Stopping, ...]] = field(default_factory=dict)
    unit_name: Unit = "user"

    @property
    def is_clustered(self) -> bool:
        """Whether a unit has several queries."""
        return self.n_queries > self.n_users

    @property
    def size(self) -> str:
        """The number of common units in words, and that of queries if a unit has several."""
        return rows_counted(self.n_queries, self.n_users, self.unit_name)

    def signs(self, method: str) -> str:
        """Return the signs after the name of a method: "", "†", "‡" or "†‡".

        They mark a method whose training ended too early.
        """
        return signs(self.stopping.get(method, ()))

    def beside(self, method: str, metric: str) -> str:
        """Return the signs after a claim that a method is the best under a metric.

        They are those of the method itself and of all methods that it was tested against.
        """
        names = {
            name
            for test in self.tests
            if test.metric == metric and method in (test.first, test.second)
            for name in (test.first, test.second)
        }
        shown = "".join(self.signs(name) for name in names)
        return "".join(sign for sign in SIGNS.values() if sign in shown)

    @property
    def undertrained(self) -> tuple[str, ...]:
        """A line for each method whose training ended too early, and the meaning of its signs."""
        return legend(self.stopping)

    def cell(self, method: str, metric: str) -> TableCell:
        """Return the cell of a method and a metric."""
        row, column = self.methods.index(method), self.metrics.index(metric)
        return self.cells[row * len(self.metrics) + column]

    def _facts(self) -> Iterator[tuple[str, object]]:
        yield "", counted(len(self.methods), "method")
        yield "", self._common(",")
        for metric in self.metrics:
            means = (
                f"{name} {number(self.cell(name, metric).mean, DIGITS)}" for name in self.methods
            )
            yield f"{metric}:", " / ".join(means)

    def _repr_html_(self) -> str:
        rows = []
        bold = {}
        for row, method in enumerate(self.methods):
            texts = [method]
            for column, metric in enumerate(self.metrics, start=1):
                cell = self.cell(method, metric)
                numbers = number(cell.mean, DIGITS), *self.after_mean(cell, DIGITS)
                texts.append(" ".join(numbers))
                bold[row, column] = cell.bold
            rows.append(texts)
        return table_html(("method", *self.metrics), rows, notes=self._caption(), bold=bold)

    def table(self) -> pl.DataFrame:
        """Return a row per cell.

        Columns method, metric, mean, low, high, users, best, bold, seeds, seeds_sd, stopped,
        marks. Null for a missing interval, and where nothing is known about the training. If a
        unit has several queries, there are also queries and unit_mean.
        """
        frame = pl.DataFrame(self._plain_cells(), infer_schema_length=None)
        runs = [self.stopping.get(cell.method, ()) for cell in self.cells]
        return frame.with_columns(
            pl.col("^(mean|low|high|seeds_sd|unit_mean)$").cast(pl.Float64).fill_nan(None),
            stopped=pl.Series([reasons(each) or None for each in runs], dtype=pl.String),
            marks=pl.Series([marked(each) or None for each in runs], dtype=pl.String),
        )

    def tests_table(self) -> pl.DataFrame:
        """Return a row per test.

        Columns metric, first, second, n, difference, low, high, p, p_t, p_wilcoxon, p_holm,
        seed_share, d_z, rank_biserial, cliff, wins, losses, undertrained.
        """
        rows = []
        for test in self.tests:
            values = asdict(test) | asdict(test.result)
            values["undertrained"] = ", ".join(test.undertrained) or None
            rows.append({name: values[name] for name in _TEST_COLUMNS})
        frame = pl.DataFrame(rows, schema=dict(_TEST_COLUMNS))
        return frame.with_columns(pl.col(pl.Float64).fill_nan(None))

    def csv(self) -> str:
        """Return `table` as CSV."""
        return self.table().write_csv()

    def json(self) -> str:
        """Return everything as JSON; numbers that are not finite are null.

        Keys methods, metrics, n_users, dropped, test, notes, cells, tests, stopping, undertrained;
        with sessions, items or several queries per user also unit, n_queries and dropped_queries.
        """
        plain = {
            "methods": self.methods,
            "metrics": self.metrics,
            "n_users": self.n_users,
            "dropped": self.dropped,
            **self._plain_units(),
            "test": self.test,
            "notes": self.notes,
            "cells": self._plain_cells(),
            "tests": [asdict(test) for test in self.tests],
            "stopping": {
                method: [each.plain() for each in runs] for method, runs in self.stopping.items()
            },
            "undertrained": {
                method: marked(runs) for method, runs in self.stopping.items() if signs(runs)
            },
        }
        return json.dumps(_finite(plain), indent=1, allow_nan=False)

    def _plain_cells(self) -> list[dict[str, Any]]:
        """Return the cells as plain values, without what would repeat `users` and `mean`."""
        cells = [asdict(cell) for cell in self.cells]
        if not self.is_clustered:
            for cell in cells:
                del cell["queries"], cell["unit_mean"]
        return cells

    def _plain_units(self) -> dict[str, Any]:
        """Return what the units are; empty with one query per user."""
        if self.unit_name == "user" and not self.is_clustered:
            return {}
        return {
            "unit": self.unit_name,
            "n_queries": self.n_queries,
            "dropped_queries": self.dropped_queries,
        }

    def after_mean(self, cell: TableCell, digits: int = DIGITS) -> Iterator[str]:
        """Yield what a table shows after a mean: its interval, and the mean over units.

        The latter is in parentheses, and there if a unit has several queries.
        """
        if interval := interval_text(cell.low, cell.high, digits):
            yield interval
        if self.is_clustered and np.isfinite(cell.unit_mean):
            yield f"({number(cell.unit_mean, digits)})"

    def markdown(self, digits: int = DIGITS, columns: Sequence[Column] = ()) -> str:
        """Return a Markdown table with a row per method: mean, and interval in brackets.

        The caption explains the bold type.

        Args:
            digits: decimals of the numbers.
            columns: further columns, to the right.
        """
        rows = []
        for method in self.methods:
            row = [" ".join(filter(None, (plain_text(method), self.signs(method))))]
            for metric in self.metrics:
                cell = self.cell(method, metric)
                mean = number(cell.mean, digits)
                if cell.bold:
                    mean = f"**{mean}**{self.beside(method, metric)}"
                row.append(" ".join((mean, *self.after_mean(cell, digits))))
            rows.append(row + [plain_text(column.texts.get(method, "")) for column in columns])
        titles = [*self.metrics, *(column.title for column in columns)]
        head = ["method", *map(plain_text, titles)]
        return markdown_table(head, rows, self._caption())

    def latex(self, digits: int = DIGITS, columns: Sequence[Column] = ()) -> str:
        r"""Return a LaTeX table for booktabs: `\usepackage{booktabs}`.

        Args:
            digits: decimals of the numbers.
            columns: further columns, to the right.
        """
        rows = []
        for method in self.methods:
            row = [latex_text(f"{method}{self.signs(method)}")]
            for metric in self.metrics:
                cell = self.cell(method, metric)
                mean = number(cell.mean, digits)
                if cell.bold:
                    mean = rf"\textbf{{{mean}}}{latex_text(self.beside(method, metric))}"
                beside = " ".join(self.after_mean(cell, digits))
                row.append(mean + (rf" {{\scriptsize {beside}}}" if beside else ""))
            rows.append(row + [latex_text(column.texts.get(method, "")) for column in columns])
        titles = [*self.metrics, *(column.title for column in columns)]
        return latex_table(["Method", *map(latex_text, titles)], rows, self._caption())

    def _caption(self) -> list[str]:
        """Return the lines below a table."""
        what = {"t": "paired t test", "wilcoxon": "Wilcoxon signed-rank test"}[self.test]
        units, intervals = f"{self.unit_name}s", "bootstrap intervals"
        if self.is_clustered:
            what, intervals = f"{what} over {units}", f"{intervals} over {units}"
        if any(cell.seeds > 1 for cell in self.cells):
            what = f"t test over {units}, paired, and seeds"
            intervals = f"intervals over {units} and seeds"
        lines = [f"Means over {self._common()}, 95 % {intervals}."]
        if self.is_clustered:
            lines.append(f"In parentheses: mean over {units}, each with the same weight.")
        if self.tests:
            lines.append(
                f"Bold: the best, where it beats every other it is tested against ({what}, "
                f"Holm over {len(self.tests)} tests, p < {LEVEL})."
            )
        ended = [f"{method} {reasons(runs)}" for method, runs in self.stopping.items() if runs]
        if ended:
            lines.append(f"What ended the training: {'; '.join(ended)}.")
        return [*lines, *self.undertrained, *self.notes]

    def _common(self, form: str = "") -> str:
        """Return the number of common units, and that of queries if a unit has several.

        Args:
            form: format of the numbers.
        """
        units = f"{self.n_users:{form}} common {self.unit_name}s"
        return f"{self.n_queries:{form}} queries of {units}" if self.is_clustered else units


def _finite(value: Any) -> Any:
    """Return plain values with None for every number that is not finite."""
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
