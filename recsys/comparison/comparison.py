"""Many reports -> one honest table: means with intervals over the users all methods share, paired tests, Holm's correction.

A method may have a report per training seed; the chance of the seeds then has its part in every interval and test.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from recsys.comparison.rendering import (
    Column,
    latex_signs,
    latex_table,
    latex_text,
    markdown_table,
    plain_text,
)
from recsys.errors import InputError, one_of, suggest
from recsys.evaluation.evaluator import Report
from recsys.evaluation.metrics import parse
from recsys.experiment.execution import Run, open_run
from recsys.notebook import Shown, counted, table_html
from recsys.statistics.intervals import Paired, bootstrap, holm, over_seeds, paired
from recsys.statistics.seeds import Gap, gap
from recsys.training.stopping import SIGNS, Stopping, legend, marked, reasons, signs

__all__ = [
    "Cell",
    "Comparison",
    "Test",
    "compare",
    "compare_runs",
    "latex_signs",
    "latex_text",
    "plain_text",
]

LEVEL = 0.05


@dataclass(frozen=True)
class Cell:
    """One method under one metric.

    Args:
        mean, low, high: over the common users for whom the metric is defined, and over seeds where there are several, with a 95 % interval; NaN
            interval for whole-system metrics.
        best: the best mean of its metric. bold: it also beats every method that it is tested against with an adjusted p below 0.05.
        seeds: reports it rests on.
        seeds_sd: standard deviation of the seeds' means; NaN with one.
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
class Test:
    """One paired test, first against second.

    Args:
        p: of the chosen test, unadjusted; p_holm: adjusted over every test of the comparison.
        result: both tests, both effect sizes, the difference with its interval; of the means over seeds where there are several, and the interval is
            then that of `statistics.gap`.
        seed_share: part of the squared standard error of the difference that is chance of the seeds; 0 where each has one.
        undertrained: those of the two whose training ended too early as far as their curves tell: the difference may be one of training.
    """

    metric: str
    first: str
    second: str
    p: float
    p_holm: float
    result: Paired
    seed_share: float = 0.0
    undertrained: tuple[str, ...] = ()

    __test__ = False  # not a test of the suite


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Shown):
    """Methods in rows, metrics in columns, and the tests behind the bold type.

    Args:
        methods, metrics: names in the order given.
        cells: one per method and metric, methods outermost.
        tests: the paired tests, of every pair or against the baseline, and of the best against the second.
        n_users: users common to all methods.
        dropped: users that some report has and another lacks.
        test: which test `p` comes from.
        notes: what the reader should know.
        stopping: by method, how the training of each of its runs ended, as far as that is known.
    """

    methods: tuple[str, ...]
    metrics: tuple[str, ...]
    cells: tuple[Cell, ...]
    tests: tuple[Test, ...]
    n_users: int
    dropped: int
    test: str
    notes: tuple[str, ...] = ()
    stopping: Mapping[str, tuple[Stopping, ...]] = field(default_factory=dict)

    def signs(self, method: str) -> str:
        """What stands beside the name of a method whose training ended too early: "", "†", "‡" or "†‡"."""
        return signs(self.stopping.get(method, ()))

    def beside(self, method: str, metric: str) -> str:
        """What stands beside a claim that a method is the best of a metric: the signs of all that it was tested against, and its own."""
        tests = [test for test in self.tests if test.metric == metric]
        sides = {
            name
            for test in tests
            if method in (test.first, test.second)
            for name in (test.first, test.second)
        }
        seen = "".join(self.signs(name) for name in sides)
        return "".join(sign for sign in SIGNS.values() if sign in seen)

    @property
    def undertrained(self) -> tuple[str, ...]:
        """A line for each method whose training ended too early, and what its signs mean; empty where there is none."""
        return legend(self.stopping)

    def _facts(self) -> Iterator[tuple[str, object]]:
        yield "", counted(len(self.methods), "method")
        yield "", f"{self.n_users:,} common users"
        for metric in self.metrics:
            means = (f"{name} {_number(self.cell(name, metric).mean, 4)}" for name in self.methods)
            yield f"{metric}:", " / ".join(means)

    def _repr_html_(self) -> str:
        rows, bold = [], {}
        for place, method in enumerate(self.methods):
            row = [method]
            for column, metric in enumerate(self.metrics, start=1):
                cell = self.cell(method, metric)
                known = np.isfinite(cell.low)
                interval = f" [{cell.low:.4f}, {cell.high:.4f}]" if known else ""
                row.append(_number(cell.mean, 4) + interval)
                bold[place, column] = cell.bold
            rows.append(row)
        return table_html(("method", *self.metrics), rows, notes=self._caption(), bold=bold)

    def cell(self, method: str, metric: str) -> Cell:
        """The cell of a method and a metric."""
        return self.cells[
            self.methods.index(method) * len(self.metrics) + self.metrics.index(metric)
        ]

    def table(self) -> pl.DataFrame:
        """Return method, metric, mean, low, high, users, best, bold, seeds, seeds_sd, stopped, marks: a row per cell.

        Null where there is no interval, or nothing is known of the training.
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

        Columns metric, first, second, n, difference, low, high, p, p_t, p_wilcoxon, p_holm, seed_share, d_z, rank_biserial, cliff, wins, losses,
        undertrained.
        """
        kept = (
            "n",
            "difference",
            "low",
            "high",
            "p",
            "p_t",
            "p_wilcoxon",
            "p_holm",
            "seed_share",
            "d_z",
            "rank_biserial",
            "cliff",
            "wins",
            "losses",
        )
        types: dict[str, Any] = dict.fromkeys(
            ("metric", "first", "second"), pl.String
        ) | dict.fromkeys(kept, pl.Float64)
        types |= dict.fromkeys(("n", "wins", "losses"), pl.Int64) | {"undertrained": pl.String}
        rows = []
        for test in self.tests:
            found = asdict(test) | asdict(test.result)
            found["undertrained"] = ", ".join(test.undertrained) or None
            rows.append({name: found[name] for name in types})
        return pl.DataFrame(rows, schema=types).with_columns(pl.col(pl.Float64).fill_nan(None))

    def csv(self) -> str:
        """`table` as CSV."""
        return self.table().write_csv()

    def json(self) -> str:
        """Everything as JSON: methods, metrics, cells, tests, n_users, dropped, notes, stopping. Numbers that are not finite are null."""
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

    def markdown(self, digits: int = 4, columns: Sequence[Column] = ()) -> str:
        """Return a Markdown table with a row per method, and its caption below.

        A field has the mean and the interval in brackets; bold type means what the caption says.

        Args:
            digits: of means and intervals.
            columns: further columns, to the right.
        """
        rows = []
        for method in self.methods:
            row = [" ".join(filter(None, (plain_text(method), self.signs(method))))]
            for metric in self.metrics:
                cell = self.cell(method, metric)
                mean = _number(cell.mean, digits)
                bold = f"**{mean}**{self.beside(method, metric)}"
                row.append((bold if cell.bold else mean) + _interval(cell, digits, " {}"))
            rows.append(row + [plain_text(column.texts.get(method, "")) for column in columns])
        head = ["method", *self.metrics, *(column.title for column in columns)]
        return "\n".join([*markdown_table(head, rows), "", *self._caption()]) + "\n"

    def latex(self, digits: int = 4, columns: Sequence[Column] = ()) -> str:
        r"""Return a LaTeX table for booktabs: `\usepackage{booktabs}`.

        Args:
            digits: of means and intervals.
            columns: further columns, to the right.
        """
        rows = []
        for method in self.methods:
            row = [latex_text(f"{method}{self.signs(method)}")]
            for metric in self.metrics:
                cell = self.cell(method, metric)
                mean = _number(cell.mean, digits)
                bold = f"\\textbf{{{mean}}}{latex_text(self.beside(method, metric))}"
                interval = _interval(cell, digits, r" {{\scriptsize {}}}")
                row.append((bold if cell.bold else mean) + interval)
            rows.append(row + [latex_text(column.texts.get(method, "")) for column in columns])
        head = ["Method", *self.metrics, *(column.title for column in columns)]
        caption = [f"% {line}" for line in self._caption()]
        return "\n".join([*latex_table(head, rows), *caption]) + "\n"

    def _caption(self) -> list[str]:
        several = any(cell.seeds > 1 for cell in self.cells)
        what = {"t": "paired t test", "wilcoxon": "Wilcoxon signed-rank test"}[self.test]
        if several:
            what = "t test over users, paired, and seeds"
        lines = [
            f"Means over {self.n_users} common users, 95 % {'intervals over users and seeds' if several else 'bootstrap intervals'}."
        ]
        if self.tests:
            lines.append(
                f"Bold: the best, where it beats every other it is tested against ({what}, Holm over {len(self.tests)} tests, p < {LEVEL})."
            )
        return [*lines, *self._ended(), *self.undertrained, *self.notes]

    def _ended(self) -> list[str]:
        """Why the training of each method ended, in a line."""
        known = {method: reasons(runs) for method, runs in self.stopping.items() if runs}
        said = "; ".join(f"{method} {why}" for method, why in known.items())
        return [f"What ended the training: {said}."] if known else []


def compare(
    reports: Mapping[str, Report | Sequence[Report]],
    metric: str | Sequence[str] | None = None,
    baseline: str | None = None,
    *,
    test: Literal["t", "wilcoxon"] = "t",
    fingerprints: Mapping[str, str] | None = None,
    stopping: Mapping[str, Stopping | Sequence[Stopping]] | None = None,
) -> Comparison:
    """Compare methods on the users they share.

    Args:
        reports: a report per method, in the order of the rows, or one per seed. Where any method has several, intervals and tests are those of the
            model of users and seeds (`over_seeds`, `statistics.gap`); a method with one report then counts as one without chance in its seed.
        metric: one metric or several; all that every report has by default.
        baseline: test every other method against this one; without it, every pair. The best is tested against the second in any case.
        test: which p value is corrected and decides the bold type. The t test is the default: with the numbers of users met here it agrees with
            the randomisation test, and it tests the mean, which is what the table shows (Smucker, Allan & Carterette 2007).
        fingerprints: fingerprint of ids and pairs of the split per method.
        stopping: how the training behind each report ended; who was ended too early is marked wherever it is shown.

    Raises:
        InputError: fewer than one report, different data, splits or protocols, an unknown metric or baseline, no common user, several seeds and the
            Wilcoxon test, which has no part for them.
    """
    if not reports:
        raise InputError("there is nothing to compare", remedy="name at least one run")
    several = {
        method: (given,) if isinstance(given, Report) else tuple(given)
        for method, given in reports.items()
    }
    methods, every = (
        tuple(several),
        [
            (method, seed, report)
            for method, found in several.items()
            for seed, report in enumerate(found)
        ],
    )
    none = next((method for method, found in several.items() if not found), None)
    if none is not None:
        raise InputError(f"'{none}' has no report", remedy="leave it out, or run it")
    one_of(test, ("t", "wilcoxon"), "test")
    seeded = len(every) > len(methods)
    if seeded and test != "t":
        raise InputError(
            f"test = '{test}' has no part for the chance of seeds",
            remedy="use test = 't', or give one report per method",
        )
    _same(
        "data or split",
        {method: (fingerprints or {}).get(method, "") for method in methods}
        if fingerprints
        else {},
    )
    _same(
        "protocol",
        {
            method if not seed else f"{method}, seed {seed}": report.protocol
            for method, seed, report in every
        },
    )
    metrics = _metrics([report for _, _, report in every], metric)
    if baseline is not None and baseline not in reports:
        raise InputError(f"unknown baseline '{baseline}'", remedy=suggest(baseline, methods))
    users, rows, dropped = _common({(method, seed): report for method, seed, report in every})
    pairs: list[tuple[str, str, str]] = []
    columns: dict[tuple[str, str], np.ndarray] = {}  # [seeds, users]
    order = {}
    for name in metrics:
        if any(name in report.whole for _, _, report in every):
            order[name] = _order(
                {
                    method: float(np.mean([report[name] for report in found]))
                    for method, found in several.items()
                },
                name,
            )
            continue
        values = [
            np.stack([report.values(name)[rows[method, seed]] for seed, report in enumerate(found)])
            for method, found in several.items()
        ]
        undefined = np.isnan(np.concatenate(values)).any(0)
        for method, matrix in zip(methods, values, strict=True):
            matrix[:, undefined] = np.nan  # a user counts for all methods or for none
            columns[method, name] = matrix
        order[name] = _order({method: _mean(columns[method, name]) for method in methods}, name)
        wanted = list(itertools.combinations(methods, 2))
        if baseline is not None:
            wanted = [(method, baseline) for method in methods if method != baseline]
        if len(order[name]) > 1 and not any({*pair} == {*order[name][:2]} for pair in wanted):
            wanted.append((order[name][0], order[name][1]))
        pairs += [(name, first, second) for first, second in wanted]
    intervals, results, gaps = (
        _over_users_and_seeds(columns, pairs) if seeded else _over_users(columns, pairs)
    )
    raw = (
        [found.p for found in gaps]
        if seeded
        else [result.p_t if test == "t" else result.p_wilcoxon for result in results]
    )
    shares = [found.seed_share for found in gaps] if seeded else [0.0] * len(pairs)
    ends = {
        method: (given,) if isinstance(given, Stopping) else tuple(given)
        for method, given in (stopping or {}).items()
        if method in several
    }
    early = {method for method, runs in ends.items() if signs(runs)}
    tests = tuple(
        Test(
            name,
            first,
            second,
            p,
            float(adjusted),
            result,
            share,
            tuple(side for side in (first, second) if side in early),
        )
        for (name, first, second), result, p, adjusted, share in zip(
            pairs, results, raw, holm(raw), shares, strict=True
        )
    )
    cells = []
    for method, name in itertools.product(methods, metrics):
        best, found = order[name][:1] == [method], several[method]
        if (method, name) in columns:
            scored, (low, high) = columns[method, name], intervals[method, name]
            bold = best and _beats_the_others(name, order[name], tests)
            spread, counted = (
                _spread([_mean(row) for row in scored]),
                int((~np.isnan(scored[0])).sum()),
            )
            cells.append(
                Cell(
                    method, name, _mean(scored), low, high, counted, best, bold, len(found), spread
                )
            )
        else:
            whole = [report[name] for report in found]
            nan = float("nan")
            cells.append(
                Cell(
                    method,
                    name,
                    float(np.mean(whole)),
                    nan,
                    nan,
                    found[0].n_users,
                    best,
                    seeds=len(found),
                    seeds_sd=_spread(whole),
                )
            )
    notes = (
        [f"{dropped} users that not every method was evaluated on are left out."] if dropped else []
    )
    notes += list(
        dict.fromkeys(f"{method}: {note}" for method, _, report in every for note in report.notes)
    )
    return Comparison(
        methods, metrics, tuple(cells), tests, len(users), dropped, test, tuple(notes), ends
    )


Intervals = dict[tuple[str, str], tuple[float, float]]


def _over_users(
    columns: Mapping[tuple[str, str], np.ndarray], pairs: Sequence[tuple[str, str, str]]
) -> tuple[Intervals, list[Paired], list[Gap]]:
    """Intervals and paired tests of one report per method: one set of resamples for every mean and every difference."""
    if not columns:
        return {}, [], []
    differences = [
        columns[first, name][0] - columns[second, name][0] for name, first, second in pairs
    ]
    low, high = bootstrap(
        np.stack([*(values[0] for values in columns.values()), *differences], axis=1)
    )
    ends = [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
    results = [
        paired(columns[first, name][0], columns[second, name][0], interval=interval)
        for (name, first, second), interval in zip(pairs, ends[len(columns) :], strict=True)
    ]
    return dict(zip(columns, ends, strict=False)), results, []


def _over_users_and_seeds(
    columns: Mapping[tuple[str, str], np.ndarray], pairs: Sequence[tuple[str, str, str]]
) -> tuple[Intervals, list[Paired], list[Gap]]:
    """The same of several reports per method; a method with one has an interval over users."""
    single = {key: values[0] for key, values in columns.items() if len(values) == 1}
    intervals: Intervals = {}
    if single:
        low, high = bootstrap(np.stack(list(single.values()), axis=1))
        intervals = {key: (float(a), float(b)) for key, a, b in zip(single, low, high, strict=True)}
    for key, values in columns.items():
        if key not in intervals:
            found = over_seeds(values)
            intervals[key] = (found.low, found.high)
    gaps = [gap(columns[first, name], columns[second, name]) for name, first, second in pairs]
    results = [
        paired(
            columns[first, name].mean(0),
            columns[second, name].mean(0),
            interval=(found.low, found.high),
        )
        for (name, first, second), found in zip(pairs, gaps, strict=True)
    ]
    return intervals, results, gaps


def compare_runs(
    folders: Sequence[str | Path | Run],
    metric: str | Sequence[str] | None = None,
    baseline: str | None = None,
    *,
    test: Literal["t", "wilcoxon"] = "t",
    names: Sequence[str] | None = None,
) -> Comparison:
    """Compare the test reports of finished runs.

    Args:
        folders: of the runs, or the runs; they must have been made on the same split with the same protocol.
        metric: the one to test; None takes all, which costs power, as Holm's correction counts every test.
        baseline: name of the run to test the others against; None tests every pair.
        test: as of `compare`.
        names: of the rows, where those of the runs are not to stand there. Runs of one name are its seeds.

    Raises:
        InputError: a folder is given twice, is no finished run, has no test report, or its data or protocol differ from the others'.
    """
    given = [each.folder if isinstance(each, Run) else Path(each) for each in folders]
    places = [folder.resolve() for folder in given]
    if twice := next((folder for folder in given if places.count(folder.resolve()) > 1), None):
        raise InputError("is given twice", place=str(twice), remedy="name each run once")
    runs = [open_run(folder) for folder in given]
    if names is None:
        own = [run.name for run in runs]
        # Runs of one name are told apart by their folder.
        names = [
            name if own.count(name) == 1 else str(run.folder)
            for name, run in zip(own, runs, strict=True)
        ]
    reports: dict[str, list[Report]] = {}
    ended: dict[str, list[Stopping]] = {}
    for name, run in zip(names, runs, strict=True):
        reports.setdefault(name, []).append(run.report("test"))
        ended.setdefault(name, []).append(run.stopping)
    _same(
        "data or split",
        {
            f"{name} ({run.folder})" if len(reports[name]) > 1 else name: run.pairs_fingerprint
            for name, run in zip(names, runs, strict=True)
        },
    )
    found = compare(reports, metric, baseline, test=test, stopping=ended)
    known = {run.meta["split"]["fingerprint"] for run in runs if "pairs" in run.meta["split"]}
    return (
        replace(found, notes=(*found.notes, "The runs did not all have the same item features."))
        if len(known) > 1
        else found
    )


def _same(what: str, values: Mapping[str, str]) -> None:
    different = [method for method, value in values.items() if value != next(iter(values.values()))]
    if different:
        first = next(iter(values))
        known = (
            f": '{values[first]}' and '{values[different[0]]}'"
            if len(values[first]) + len(values[different[0]]) < 200
            else ""
        )
        raise InputError(
            f"'{first}' and '{different[0]}' were evaluated on different {what}{known}",
            remedy="compare runs of one data set, split and protocol",
        )


def _metrics(reports: Sequence[Report], metric: str | Sequence[str] | None) -> tuple[str, ...]:
    shared = [name for name in reports[0].names if all(name in report.names for report in reports)]
    if metric is None:
        if not shared:
            raise InputError(
                "the reports have no metric in common",
                remedy="evaluate the runs with the same metrics",
            )
        return tuple(shared)
    wanted = (metric,) if isinstance(metric, str) else tuple(dict.fromkeys(metric))
    for name in wanted:
        if name not in shared:
            raise InputError(
                f"not every report has the metric '{name}'", remedy=suggest(name, shared)
            )
    return wanted


def _common(
    reports: Mapping[tuple[str, int], Report],
) -> tuple[np.ndarray, dict[tuple[str, int], np.ndarray], int]:
    """Common user rows, where they stand in each report, and how many users some report lacks."""
    sets = {method: report.per_user["user"].to_numpy() for method, report in reports.items()}
    common = every = next(iter(sets.values()))
    for users in sets.values():
        common, every = np.intersect1d(common, users), np.union1d(every, users)
    if not len(common):
        raise InputError(
            "the reports have no user in common", remedy="compare runs of one data set and split"
        )
    rows = {}
    for method, users in sets.items():
        order = np.argsort(users, kind="stable")
        rows[method] = order[np.searchsorted(users[order], common)]
    return common, rows, len(every) - len(common)


def _order(means: Mapping[str, float], metric: str) -> list[str]:
    """Methods from best to worst; none where more is neither better nor worse."""
    higher = parse(metric).higher
    if higher is None:
        return []
    return sorted(
        (method for method in means if np.isfinite(means[method])),
        key=lambda method: -means[method] if higher else means[method],
    )


def _beats_the_others(metric: str, order: Sequence[str], tests: Sequence[Test]) -> bool:
    """Whether the best differs from every method it is tested against, the second among them."""
    own = [
        test for test in tests if test.metric == metric and order[0] in (test.first, test.second)
    ]
    return any({test.first, test.second} == {*order[:2]} for test in own) and all(
        test.p_holm < LEVEL for test in own
    )


def _spread(means: Sequence[float]) -> float:
    return float(np.std(means, ddof=1)) if len(means) > 1 else float("nan")


def _mean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if np.isfinite(value) else "-"


def _interval(cell: Cell, digits: int, form: str) -> str:
    """Return the interval of a cell in a form such as " {}"; empty where there is no interval."""
    if not np.isfinite(cell.low):
        return ""
    return form.format(f"[{cell.low:.{digits}f}, {cell.high:.{digits}f}]")


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return value
