"""Reports brought together: they must be comparable, and are reduced to their common users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recsys.errors import InputError, suggest
from recsys.evaluation.report import Report

__all__ = ["AlignedReports", "common_metrics", "refuse_different"]

_LONGEST = 200  # characters of two values that an error quotes


@dataclass(frozen=True, eq=False)
class AlignedReports:
    """Reports by method, one per training seed, with the rows of their common users.

    Args:
        reports: one or more per method.
        n_users: number U of users that are in all reports.
        dropped: number of users that are in some reports only.
        rows: positions of the common users in each report, int [U], in the order of `reports`.
    """

    reports: Mapping[str, tuple[Report, ...]]
    n_users: int
    dropped: int
    rows: Mapping[str, tuple[np.ndarray, ...]]

    @classmethod
    def of(cls, reports: Mapping[str, tuple[Report, ...]]) -> AlignedReports:
        """Find the common users of reports.

        Raises:
            InputError: the reports have no user in common.
        """
        users = {
            method: [report.per_user["user"].to_numpy() for report in seeds]
            for method, seeds in reports.items()
        }
        all_users = [each for seeds in users.values() for each in seeds]
        common = every = all_users[0]
        for each in all_users:
            common, every = np.intersect1d(common, each), np.union1d(every, each)
        if not len(common):
            raise InputError(
                "the reports have no user in common",
                remedy="compare runs of one data set and split",
            )
        rows = {
            method: tuple(_positions(each, common) for each in seeds)
            for method, seeds in users.items()
        }
        return cls(reports, len(common), len(every) - len(common), rows)

    def is_whole(self, metric: str) -> bool:
        """Return whether a metric is one number for all users."""
        return any(metric in report.whole for seeds in self.reports.values() for report in seeds)

    def numbers(self, metric: str) -> dict[str, list[float]]:
        """Return the value of a metric of each report, by method."""
        return {
            method: [report[metric] for report in seeds] for method, seeds in self.reports.items()
        }

    def values(self, metric: str) -> dict[str, np.ndarray]:
        """Return the values of the common users by method, float64 [seeds, U].

        A user for whom the metric is not defined in one report is NaN in all of them: a user counts
        for all methods or for none.
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


def _positions(users: np.ndarray, common: np.ndarray) -> np.ndarray:
    """Return the positions of common users, sorted, among the users of a report, int [U]."""
    order = np.argsort(users, kind="stable")
    return np.asarray(order[np.searchsorted(users[order], common)])


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
                remedy="compare runs of one data set, split and protocol",
            )
