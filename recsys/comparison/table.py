"""The result of a comparison: its cells, its paired tests, and its forms as text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import polars as pl

from recsys.comparison.rendering import (
    interval_text,
    latex_table,
    latex_text,
    markdown_table,
    number,
    plain_text,
)
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
        mean: over the common users for whom the metric is defined, and over seeds if there are
            several.
        low: lower bound of the 95 % interval of the mean; NaN for a metric with one number for all
            users.
        high: upper bound.
        users: common users for whom the metric is defined.
        best: whether it is the best mean of its metric.
        bold: whether it also beats every method that it is tested against, with an adjusted p
            value below `LEVEL`.
        seeds: number of reports.
        seeds_sd: standard deviation of the means of the seeds; NaN with one seed.
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
        n_users: users common to all methods.
        dropped: users that are in some reports only.
        test: the test that `p` comes from, "t" or "wilcoxon".
        notes: what a reader should know.
        stopping: how the training of each run of a method ended, where that is known.
    """

    methods: tuple[str, ...]
    metrics: tuple[str, ...]
    cells: tuple[TableCell, ...]
    tests: tuple[PairedTest, ...]
    n_users: int
    dropped: int
    test: str
    notes: tuple[str, ...] = ()
    stopping: Mapping[str, tuple[Stopping, ...]] = field(default_factory=dict)

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
        yield "", f"{self.n_users:,} common users"
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
                interval = interval_text(cell.low, cell.high, DIGITS)
                texts.append(" ".join(filter(None, (number(cell.mean, DIGITS), interval))))
                bold[row, column] = cell.bold
            rows.append(texts)
        return table_html(("method", *self.metrics), rows, notes=self._caption(), bold=bold)

    def table(self) -> pl.DataFrame:
        """Return a row per cell.

        Columns method, metric, mean, low, high, users, best, bold, seeds, seeds_sd, stopped,
        marks. Null for a missing interval, and where nothing is known about the training.
        """
        frame = pl.DataFrame([asdict(cell) for cell in self.cells], infer_schema_length=None)
        runs = [self.stopping.get(cell.method, ()) for cell in self.cells]
        return frame.with_columns(
            pl.col("mean", "low", "high", "seeds_sd").cast(pl.Float64).fill_nan(None),
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

        Keys methods, metrics, n_users, dropped, test, notes, cells, tests, stopping, undertrained.
        """
        plain = {
            "methods": self.methods,
            "metrics": self.metrics,
            "n_users": self.n_users,
            "dropped": self.dropped,
            "test": self.test,
            "notes": self.notes,
            "cells": [asdict(cell) for cell in self.cells],
            "tests": [asdict(test) for test in self.tests],
            "stopping": {
                method: [each.plain() for each in runs] for method, runs in self.stopping.items()
            },
            "undertrained": {
                method: marked(runs) for method, runs in self.stopping.items() if signs(runs)
            },
        }
        return json.dumps(_finite(plain), indent=1, allow_nan=False)

    def markdown(self, digits: int = DIGITS) -> str:
        """Return a Markdown table with a row per method: mean, and interval in brackets.

        The caption explains the bold type.

        Args:
            digits: decimals of the numbers.
        """
        rows = []
        for method in self.methods:
            row = [" ".join(filter(None, (plain_text(method), self.signs(method))))]
            for metric in self.metrics:
                cell = self.cell(method, metric)
                mean = number(cell.mean, digits)
                if cell.bold:
                    mean = f"**{mean}**{self.beside(method, metric)}"
                interval = interval_text(cell.low, cell.high, digits)
                row.append(" ".join(filter(None, (mean, interval))))
            rows.append(row)
        head = ["method", *map(plain_text, self.metrics)]
        return markdown_table(head, rows, self._caption())

    def latex(self, digits: int = DIGITS) -> str:
        r"""Return a LaTeX table for booktabs: `\usepackage{booktabs}`.

        Args:
            digits: decimals of the numbers.
        """
        rows = []
        for method in self.methods:
            row = [latex_text(f"{method}{self.signs(method)}")]
            for metric in self.metrics:
                cell = self.cell(method, metric)
                mean = number(cell.mean, digits)
                if cell.bold:
                    mean = rf"\textbf{{{mean}}}{latex_text(self.beside(method, metric))}"
                interval = interval_text(cell.low, cell.high, digits)
                row.append(mean + (rf" {{\scriptsize {interval}}}" if interval else ""))
            rows.append(row)
        return latex_table(["Method", *map(latex_text, self.metrics)], rows, self._caption())

    def _caption(self) -> list[str]:
        """Return the lines below a table."""
        what = {"t": "paired t test", "wilcoxon": "Wilcoxon signed-rank test"}[self.test]
        intervals = "bootstrap intervals"
        if any(cell.seeds > 1 for cell in self.cells):
            what = "t test over users, paired, and seeds"
            intervals = "intervals over users and seeds"
        lines = [f"Means over {self.n_users} common users, 95 % {intervals}."]
        if self.tests:
            lines.append(
                f"Bold: the best, where it beats every other it is tested against ({what}, "
                f"Holm over {len(self.tests)} tests, p < {LEVEL})."
            )
        ended = [f"{method} {reasons(runs)}" for method, runs in self.stopping.items() if runs]
        if ended:
            lines.append(f"What ended the training: {'; '.join(ended)}.")
        return [*lines, *self.undertrained, *self.notes]


def _finite(value: Any) -> Any:
    """Return plain values with None for every number that is not finite."""
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
