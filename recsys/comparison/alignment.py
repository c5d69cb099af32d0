"""Reports brought together: they must be comparable, and are reduced to their common queries."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np
import polars as pl

from recsys.data.held_out import Unit
from recsys.errors import InputError, suggest
from recsys.evaluation.report import Report

__all__ = ["AlignedReports", "common_metrics", "per_report", "refuse_different"]

_LONGEST = 200  # characters of two values that an error quotes
_REMEDY = "compare runs of one data set, split and protocol"


@dataclass(frozen=True, eq=False)
class AlignedReports:
    """Reports by method, one per training seed, with the rows of their common queries.

    A query is the same in two reports if it has the same position in the same test part. With one
    query per unit it is the same if it belongs to the same unit.

    Args:
        reports: one or more per method.
        unit: unit of each query that is in all reports, int [n].
        dropped: number of units that have such queries in some reports only.
        dropped_queries: number of queries that are in some reports only.
        rows: positions of the common queries in each report, int [n], in the order of `reports`.
    """

    reports: Mapping[str, tuple[Report, ...]]
    unit: np.ndarray
    dropped: int
    dropped_queries: int
    rows: Mapping[str, tuple[np.ndarray, ...]]

    @classmethod
    def of(cls, reports: Mapping[str, tuple[Report, ...]]) -> AlignedReports:
        """Find the common queries of reports.

        Raises:
            InputError: the reports are of different units or kinds of queries, have no query in
                common, or disagree on the unit of a query.
        """
        refuse_different("units", per_report(reports, lambda report: report.unit_name))
        refuse_different("queries", per_report(reports, _kind_of_queries))
        every = [report for seeds in reports.values() for report in seeds]
        parts = _numbered_parts(every)
        keys = {
            method: [_row_keys(report, parts) for report in seeds]
            for method, seeds in reports.items()
        }
        all_keys = [each for seeds in keys.values() for each in seeds]
        common = reduce(np.intersect1d, all_keys[1:], np.unique(all_keys[0]))
        if not len(common):
            noun = "query" if "query" in every[0].keys else every[0].unit_name
            raise InputError(
                f"the reports have no {noun} in common",
                remedy="compare runs of one data set and split",
            )
        rows = {
            method: tuple(_positions(each, common) for each in seeds)
            for method, seeds in keys.items()
        }
        unit = _common_units(reports, rows)
        all_units = reduce(np.union1d, (report.unit for report in every))
        return cls(
            reports,
            unit,
            dropped=len(all_units) - len(np.unique(unit)),
            dropped_queries=len(reduce(np.union1d, all_keys)) - len(common),
            rows=rows,
        )

    @cached_property
    def n_users(self) -> int:
        """Number of units with a common query."""
        return len(np.unique(self.unit))

    @property
    def unit_name(self) -> Unit:
        """What a unit is."""
        return next(iter(self.reports.values()))[0].unit_name

    def is_whole(self, metric: str) -> bool:
        """Return whether a metric is one number for all users."""
        return any(metric in report.whole for seeds in self.reports.values() for report in seeds)

    def numbers(self, metric: str) -> dict[str, list[float]]:
        """Return the value of a metric of each report, by method."""
        return {
            method: [report[metric] for report in seeds] for method, seeds in self.reports.items()
        }

    def values(self, metric: str) -> dict[str, np.ndarray]:
        """Return the values of the common queries by method, float64 [seeds, n].

        A query for which the metric is not defined in one report is NaN in all of them: a query
        counts for all methods or for none.
        """
        values = {
            method: np.stack(
                [
                    report.values(metric)[rows]
                    for report, rows in zip(seeds, self.rows[method], strict=True)
                ]
            )
            for method, seeds in self.reports.items()
        }
        undefined = np.isnan(np.concatenate(list(values.values()))).any(0)
        for matrix in values.values():
            matrix[:, undefined] = np.nan
        return values


def _kind_of_queries(report: Report) -> str:
    """Return how many queries a unit has, in words."""
    kind = f"{'several' if 'query' in report.keys else 'one'} per {report.unit_name}"
    return f"{kind} in each of several test parts" if "part" in report.keys else kind


def _numbered_parts(reports: Sequence[Report]) -> dict[str, int]:
    """Return a number for each test part of pooled reports."""
    names: dict[str, None] = {}
    for report in reports:
        if "part" in report.keys:
            names |= dict.fromkeys(report.per_user["part"].unique(maintain_order=True))
    return {name: number for number, name in enumerate(names)}


def _row_keys(report: Report, parts: Mapping[str, int]) -> np.ndarray:
    """Return a number per row that is the same for the same query of any report, int64 [n].

    Args:
        report: the report.
        parts: number of each test part.
    """
    column = "query" if "query" in report.keys else "user"
    keys = report.per_user[column].cast(pl.Int64).to_numpy()
    if "part" not in report.keys:
        return keys
    part = report.per_user["part"].replace_strict(parts, return_dtype=pl.Int64).to_numpy()
    return np.asarray(part << 32 | keys)


def _common_units(
    reports: Mapping[str, tuple[Report, ...]], rows: Mapping[str, tuple[np.ndarray, ...]]
) -> np.ndarray:
    """Return the unit of each common query, int [n].

    Raises:
        InputError: two reports disagree.
    """
    units = [
        (method, report.unit[each])
        for method, seeds in reports.items()
        for report, each in zip(seeds, rows[method], strict=True)
    ]
    first, unit = units[0]
    for other, other_unit in units[1:]:
        differs = np.flatnonzero(unit != other_unit)
        if len(differs):
            name, at = reports[first][0].unit_name, differs[0]
            raise InputError(
                f"the same query belongs to {name} {unit[at]} in '{first}' and to {name} "
                f"{other_unit[at]} in '{other}'",
                remedy=_REMEDY,
            )
    return np.asarray(unit)


def _positions(keys: np.ndarray, common: np.ndarray) -> np.ndarray:
    """Return the positions of common keys, sorted, among the keys of a report, int [n]."""
    order = np.argsort(keys, kind="stable")
    return np.asarray(order[np.searchsorted(keys[order], common)])


def common_metrics(
    reports: Sequence[Report], metric: str | Sequence[str] | None
) -> tuple[str, ...]:
    """Return the metrics to compare.

    Args:
        reports: all reports.
        metric: one or several names; None takes all that the reports have in common.

    Raises:
        InputError: a report lacks a metric, or the reports have none in common.
    """
    shared = [name for name in reports[0].names if all(name in report.names for report in reports)]
    if metric is None:
        if not shared:
            raise InputError(
                "the reports have no metric in common",
                remedy="evaluate the runs with the same metrics",
            )
        return tuple(shared)
    names = (metric,) if isinstance(metric, str) else tuple(dict.fromkeys(metric))
    for name in names:
        if name not in shared:
            raise InputError(
                f"not every report has the metric '{name}'", remedy=suggest(name, shared)
            )
    return names


def per_report(
    reports: Mapping[str, Sequence[Report]], value: Callable[[Report], str]
) -> dict[str, str]:
    """Return a property of each report, by method and seed."""
    return {
        f"{method}, seed {seed}" if seed else method: value(report)
        for method, seeds in reports.items()
        for seed, report in enumerate(seeds)
    }


def refuse_different(what: str, values: Mapping[str, str]) -> None:
    """Refuse reports that were made differently.

    Args:
        what: the compared property, for the error.
        values: the property by name of the report.

    Raises:
        InputError: the values differ.
    """
    if not values:
        return
    first, value = next(iter(values.items()))
    for other, other_value in values.items():
        if other_value != value:
            known = ""
            if len(value) + len(other_value) < _LONGEST:
                known = f": '{value}' and '{other_value}'"
            raise InputError(
                f"'{first}' and '{other}' were evaluated on different {what}{known}",
                remedy=_REMEDY,
            )
