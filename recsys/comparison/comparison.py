"""Compare several reports in one table: means with intervals, paired tests, Holm's correction.

Means are over the users that all methods share, or over the queries that they share if a user, a
session or an item has several. Intervals and tests take these units for independent. A method may
have a report per training seed; the variance of the seeds is then part of every interval and test.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from recsys.comparison.alignment import (
    AlignedReports,
    common_metrics,
    per_report,
    refuse_different,
)
from recsys.comparison.entries import Entry
from recsys.comparison.outcomes import (
    Columns,
    Key,
    Outcomes,
    Pair,
    over_users,
    over_users_and_seeds,
)
from recsys.comparison.table import LEVEL, Comparison, PairedTest, TableCell
from recsys.errors import InputError, one_of, suggest
from recsys.evaluation.metrics import parse
from recsys.evaluation.report import Report
from recsys.experiment.execution import Run
from recsys.notebook import counted
from recsys.statistics.intervals import defined_mean
from recsys.statistics.paired_tests import holm
from recsys.statistics.units import unit_means
from recsys.training.stopping import Stopping, signs

__all__ = ["Comparison", "compare", "compare_runs"]


def compare(
    reports: Mapping[str, Report | Sequence[Report]],
    metric: str | Sequence[str] | None = None,
    baseline: str | None = None,
    *,
    test: Literal["t", "wilcoxon"] = "t",
    fingerprints: Mapping[str, str] | None = None,
    stopping: Mapping[str, Stopping | Sequence[Stopping]] | None = None,
) -> Comparison:
    """Compare methods on the users that all their reports share.

    Args:
        reports: a report per method, or several for its training seeds.
        metric: the metrics to compare; None takes all that the reports have in common. More
            metrics cost power, as Holm's correction counts every test.
        baseline: name of the method to test the others against; None tests every pair.
        test: the test behind the p values and the bold type. The default is the t test. With the
            usual numbers of users it agrees with the randomisation test, and it tests the mean,
            which the table shows (Smucker, Allan & Carterette 2007).
        fingerprints: fingerprint of the ids and interactions of the split, by method.
        stopping: how the training behind each report ended, by method. A method whose training
            ended too early is marked wherever it is shown.

    Raises:
        InputError: `reports` is empty; data, splits or protocols differ; an unknown metric or
            baseline; no common user; or the Wilcoxon test with several seeds, as it cannot take
            the variance of seeds into account.
    """
    by_method = _by_method(reports)
    several = any(len(seeds) > 1 for seeds in by_method.values())
    _check_test(test, several)
    prints = fingerprints or {}
    if prints:
        refuse_different("data or split", {name: prints.get(name, "") for name in by_method})
    refuse_different("protocol", per_report(by_method, lambda report: report.protocol))
    metrics = common_metrics([each for seeds in by_method.values() for each in seeds], metric)
    if baseline is not None and baseline not in reports:
        raise InputError(f"unknown baseline '{baseline}'", remedy=suggest(baseline, by_method))
    aligned = AlignedReports.of(by_method)
    columns: dict[Key, np.ndarray] = {}
    ranked: dict[str, list[str]] = {}
    pairs: list[Pair] = []
    for name in metrics:
        if aligned.is_whole(name):
            numbers = aligned.numbers(name)
            ranked[name] = _best_first({m: float(np.mean(v)) for m, v in numbers.items()}, name)
            continue
        values = aligned.values(name)
        columns |= {(method, name): matrix for method, matrix in values.items()}
        ranked[name] = _best_first({m: defined_mean(v) for m, v in values.items()}, name)
        pairs += _pairs(name, tuple(by_method), ranked[name], baseline)
    outcomes = (
        over_users_and_seeds(columns, pairs, aligned.unit)
        if several
        else over_users(columns, pairs, test, aligned.unit)
    )
    ends = {
        method: (each,) if isinstance(each, Stopping) else tuple(each)
        for method, each in (stopping or {}).items()
        if method in by_method
    }
    tests = _tests(pairs, outcomes, {method for method, runs in ends.items() if signs(runs)})
    cells = []
    for method, name in itertools.product(by_method, metrics):
        is_best = ranked[name][:1] == [method]
        if (method, name) in columns:
            is_bold = is_best and _beats_the_others(name, ranked[name], tests)
            cell = _cell((method, name), columns, outcomes, aligned.unit)
            cell = replace(cell, best=is_best, bold=is_bold)
        else:
            cell = _whole_cell((method, name), by_method[method], is_best)
        cells.append(cell)
    return Comparison(
        methods=tuple(by_method),
        metrics=metrics,
        cells=tuple(cells),
        tests=tests,
        n_users=aligned.n_users,
        n_queries=len(aligned.unit),
        dropped=aligned.dropped,
        dropped_queries=aligned.dropped_queries,
        test=test,
        notes=_notes(aligned),
        stopping=ends,
        unit_name=aligned.unit_name,
    )


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
        folders: folders of the runs, or the runs; or folders of reports alone, see `Report.save`.
            All must have the same split and protocol.
        metric: as in `compare`.
        baseline: name of the run to test the others against; None tests every pair.
        test: as in `compare`.
        names: names of the rows in place of those of the runs. Runs with one name are its seeds.

    Raises:
        InputError: a folder is given twice, holds neither a finished run nor a report, or has no
            test report; or its data or protocol differ from those of the others.
    """
    paths = [each.folder if isinstance(each, Run) else Path(each) for each in folders]
    resolved = [path.resolve() for path in paths]
    for path in paths:
        if resolved.count(path.resolve()) > 1:
            raise InputError("is given twice", place=str(path), remedy="name each run once")
    entries = [Entry.of(each) for each in folders]
    labels = _labels(entries) if names is None else names
    reports: dict[str, list[Report]] = {}
    ends: dict[str, list[Stopping]] = {}
    for label, entry in zip(labels, entries, strict=True):
        reports.setdefault(label, []).append(entry.report())
        if entry.run is not None:
            ends.setdefault(label, []).append(entry.run.stopping)
    prints, alone = {}, []
    for label, entry in zip(labels, entries, strict=True):
        place = f"{label} ({entry.folder})" if len(reports[label]) > 1 else label
        if entry.run is None:
            alone.append(place)
        else:
            prints[place] = entry.run.pairs_fingerprint
    refuse_different("data or split", prints)
    comparison = compare(reports, metric, baseline, test=test, stopping=ends)
    notes = list(comparison.notes)
    if len(_feature_fingerprints(entry.run for entry in entries if entry.run is not None)) > 1:
        notes.append("The runs did not all have the same item features.")
    if alone and len(entries) > 1:
        notes.append(
            f"That data and split are the same was not checked for {', '.join(alone)}: "
            "a report without its run does not know them."
        )
    return replace(comparison, notes=tuple(notes))


def _labels(entries: Sequence[Entry]) -> list[str]:
    """Return the names of runs and reports; those with the same name get their folder as name."""
    names = [entry.name for entry in entries]
    return [
        name if names.count(name) == 1 else str(entry.folder)
        for name, entry in zip(names, entries, strict=True)
    ]


def _feature_fingerprints(runs: Iterable[Run]) -> set[str]:
    """Return the different fingerprints of data with item features, of runs that keep both."""
    return {run.split.fingerprint for run in runs if run.split.pairs is not None}


def _by_method(reports: Mapping[str, Report | Sequence[Report]]) -> dict[str, tuple[Report, ...]]:
    """Return the reports of each method as a tuple.

    Raises:
        InputError: `reports` is empty, or a method has no report.
    """
    if not reports:
        raise InputError("there is nothing to compare", remedy="name at least one run")
    by_method = {
        method: (each,) if isinstance(each, Report) else tuple(each)
        for method, each in reports.items()
    }
    for method, seeds in by_method.items():
        if not seeds:
            raise InputError(f"'{method}' has no report", remedy="leave it out, or run it")
    return by_method


def _check_test(test: str, several: bool) -> None:
    """Refuse an unknown test, and a test that cannot take several seeds into account."""
    one_of(test, ("t", "wilcoxon"), "test")
    if several and test != "t":
        raise InputError(
            f"test = '{test}' cannot take the variance of seeds into account",
            remedy="use test = 't', or give one report per method",
        )


def _best_first(means: Mapping[str, float], metric: str) -> list[str]:
    """Return the methods from best to worst; none where neither direction is better."""
    higher = parse(metric).higher
    if higher is None:
        return []
    known = [method for method in means if np.isfinite(means[method])]
    return sorted(known, key=lambda method: -means[method] if higher else means[method])


def _pairs(
    metric: str, methods: Sequence[str], ranked: Sequence[str], baseline: str | None
) -> list[Pair]:
    """Return the pairs to test under a metric: every pair, or each method against the baseline.

    The best method against the second is added, as the bold type needs it.
    """
    pairs = list(itertools.combinations(methods, 2))
    if baseline is not None:
        pairs = [(method, baseline) for method in methods if method != baseline]
    if len(ranked) > 1 and not any({*pair} == {*ranked[:2]} for pair in pairs):
        pairs.append((ranked[0], ranked[1]))
    return [Pair(metric, first, second) for first, second in pairs]


def _tests(
    pairs: Sequence[Pair], outcomes: Outcomes, undertrained: set[str]
) -> tuple[PairedTest, ...]:
    """Return the tests with p values adjusted over all of them."""
    adjusted = holm(outcomes.p)
    return tuple(
        PairedTest(
            metric=pair.metric,
            first=pair.first,
            second=pair.second,
            p=outcomes.p[index],
            p_holm=float(adjusted[index]),
            result=outcomes.results[index],
            seed_share=outcomes.seed_shares[index],
            undertrained=tuple(name for name in (pair.first, pair.second) if name in undertrained),
        )
        for index, pair in enumerate(pairs)
    )


def _beats_the_others(metric: str, ranked: Sequence[str], tests: Sequence[PairedTest]) -> bool:
    """Return whether the best method differs from every method it is tested against.

    The second method must be among them.
    """
    best, second = ranked[0], ranked[1] if len(ranked) > 1 else None
    own = [test for test in tests if test.metric == metric and best in (test.first, test.second)]
    has_second = any(second in (test.first, test.second) for test in own)
    return has_second and all(test.p_holm < LEVEL for test in own)


def _cell(key: Key, columns: Columns, outcomes: Outcomes, unit: np.ndarray) -> TableCell:
    """Return the cell of a metric with values per query.

    Args:
        key: method and metric.
        columns: values by method and metric.
        outcomes: their intervals.
        unit: unit of each query, int [n].
    """
    method, metric = key
    values = columns[key]
    low, high = outcomes.intervals[key]
    known = ~np.isnan(values[0])
    return TableCell(
        method=method,
        metric=metric,
        mean=defined_mean(values),
        low=low,
        high=high,
        users=len(np.unique(unit[known])),
        seeds=len(values),
        seeds_sd=_standard_deviation([defined_mean(row) for row in values]),
        queries=int(np.count_nonzero(known)),
        unit_mean=defined_mean(unit_means(values.mean(0), unit)),
    )


def _whole_cell(key: Key, reports: Sequence[Report], best: bool) -> TableCell:
    """Return the cell of a metric with one number for all users."""
    method, metric = key
    numbers = [report[metric] for report in reports]
    return TableCell(
        method=method,
        metric=metric,
        mean=float(np.mean(numbers)),
        low=float("nan"),
        high=float("nan"),
        users=reports[0].n_users,
        queries=reports[0].n_queries,
        best=best,
        seeds=len(reports),
        seeds_sd=_standard_deviation(numbers),
    )


def _standard_deviation(means: Sequence[float]) -> float:
    """Return the standard deviation between seeds; NaN with one seed."""
    return float(np.std(means, ddof=1)) if len(means) > 1 else float("nan")


def _notes(aligned: AlignedReports) -> tuple[str, ...]:
    """Return the note on what is left out, and the notes of all reports, each once."""
    notes = []
    units = f"{aligned.dropped} {aligned.unit_name}s"
    left_out = "that not every method was evaluated on are left out"
    if aligned.dropped_queries != aligned.dropped:
        with_them = f", and with them {units}" if aligned.dropped else ""
        notes.append(f"{counted(aligned.dropped_queries, 'query')} {left_out}{with_them}.")
    elif aligned.dropped:
        notes.append(f"{units} {left_out}.")
    for method, seeds in aligned.reports.items():
        notes += [f"{method}: {note}" for report in seeds for note in report.notes]
    return tuple(dict.fromkeys(notes))
