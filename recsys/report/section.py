"""One data set on the page: its methods, their comparison, results by group, and some users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from recsys.comparison.comparison import Comparison, compare
from recsys.data.types import Split
from recsys.errors import InputError, suggest
from recsys.evaluation.breakdown import by_activity, by_popularity
from recsys.evaluation.evaluator import Report
from recsys.evaluation.metrics import GROUPS
from recsys.experiment.execution import data_of
from recsys.experiment.run import Run, open_run
from recsys.report.methods import Method, methods_of, methods_of_benchmark
from recsys.report.shown_users import ShownUser, shown_users

__all__ = ["ACTIVITIES", "Activity", "Section", "sections"]


@dataclass(frozen=True)
class Activity:
    """What the groups by the activity of the units are.

    Args:
        title: heading of the groups.
        meaning: what the activity of a unit is.
    """

    title: str
    meaning: str


ACTIVITIES = {
    "user": Activity("users by activity", "number of training items of a user"),
    "session": Activity("sessions by length", "number of test queries of a session"),
    "item": Activity("query items by popularity", "number of training users of a query item"),
}


@dataclass(frozen=True, eq=False)
class Section:
    """Everything that the page shows about one data set.

    Args:
        title: heading.
        methods: in the order of the table.
        comparison: means, intervals and tests.
        metric: the metric of the curves, costs and groups.
        groups: by kind of group and by method, the table of `recsys.evaluation.breakdown`.
        users: some users, with the list of each method.
        hits_known: whether the test part was opened, so that hits can be marked.
        notes: what the reader should know.
        no_users: why `users` is empty.
    """

    title: str
    methods: tuple[Method, ...]
    comparison: Comparison
    metric: str
    groups: Mapping[str, Mapping[str, pl.DataFrame]]
    users: tuple[ShownUser, ...]
    hits_known: bool
    notes: tuple[str, ...] = ()
    no_users: str = "No users were asked for."


@dataclass(frozen=True)
class _Options:
    """The options of `sections`."""

    metric: str | None
    baseline: str | None
    users: int
    k: int
    hits: bool


def sections(
    folders: Sequence[str | Path],
    *,
    metric: str | None = None,
    baseline: str | None = None,
    users: int = 20,
    k: int = 10,
    hits: bool = True,
) -> tuple[Section, ...]:
    """Read finished runs of one split, or the folder of one benchmark.

    Args:
        folders: folders of the runs, or that of the benchmark, which has one section per data set.
            Runs that differ only in the training seed are one method with several seeds.
        metric: the metric of the charts; the monitor of the first run by default.
        baseline: test every method against this one; every pair by default.
        users: how many users to show. They are drawn without replacement, with a fixed seed.
        k: length of their lists.
        hits: load the data once more and open the test part, to mark the hits. Each run whose
            lists are shown records the opening.

    Raises:
        InputError: a folder does not hold a finished run with a test report, a run is given twice,
            or the data, splits or protocols of the runs differ.
    """
    if not folders:
        raise InputError("there is nothing to report", remedy="name at least one run")
    options = _Options(metric, baseline, users, k, hits)
    if len(folders) == 1 and (Path(folders[0]) / "results.json").exists():
        by_data = methods_of_benchmark(Path(folders[0]))
    else:
        methods = methods_of([open_run(folder) for folder in folders])
        source = methods[0].runs[0].experiment.data
        by_data = {str(source.source or Path(str(source.path)).name): methods}
    return tuple(_section(title, methods, options) for title, methods in by_data.items())


def _section(title: str, methods: tuple[Method, ...], options: _Options) -> Section:
    first = methods[0].runs[0]
    comparison = _comparison(methods, options.baseline)
    metric = options.metric or _default_metric(comparison, first)
    if metric not in comparison.metrics:
        raise InputError(
            f"not every report has the metric '{metric}'",
            remedy=suggest(metric, comparison.metrics),
        )
    split, notes = None, []
    reason = _reason_against_lists(methods[0].reports[0]) if options.users else ""
    users = 0 if reason else options.users
    if options.hits and users:
        try:
            split = _split_of(first)
        except InputError as error:
            notes.append(
                "The lists do not show what was found, "
                f"as the data could not be read again: {error}"
            )
    shown = shown_users(methods, split, users, options.k)
    if users and not shown:
        reason = "No lists are shown, as the test part does not ask once per user."
    return Section(
        title,
        methods,
        comparison,
        metric,
        groups=_groups(methods, metric),
        users=shown,
        hits_known=split is not None,
        notes=tuple(notes),
        no_users=reason or Section.no_users,
    )


def _comparison(methods: Sequence[Method], baseline: str | None) -> Comparison:
    # A baseline may be given by the name of its run too.
    labels = {method.runs[0].name: method.label for method in methods}
    return compare(
        {method.label: method.reports for method in methods},
        None,
        labels.get(baseline, baseline) if baseline is not None else None,
        fingerprints={method.label: method.runs[0].pairs_fingerprint for method in methods},
        stopping={method.label: [run.stopping for run in method.runs] for method in methods},
    )


def _default_metric(comparison: Comparison, run: Run) -> str:
    monitor = run.experiment.evaluate.monitor
    return monitor if monitor in comparison.metrics else comparison.metrics[0]


def _split_of(run: Run) -> Split:
    """Load the data of a run once more, and split them.

    Raises:
        InputError: they cannot be read, or have changed.
    """
    split = data_of(run.experiment)
    if not split.matches(run.split.fingerprint):
        raise InputError(
            "the data have changed since this run",
            place=str(run.folder),
            remedy="restore the data, or leave the hits out",
        )
    return split


def _reason_against_lists(report: Report) -> str:
    """Return why no lists of users can be shown; "" if they can.

    A list is that of a user as the scorer has stored the user. It answers one query of a user, and
    neither a session nor several queries.
    """
    if report.unit_name != "user":
        return f"No lists are shown, as the test queries are of {report.unit_name}s, not of users."
    if report.is_clustered:
        return "No lists are shown, as a user has several test queries."
    return ""


def _groups(methods: Sequence[Method], metric: str) -> dict[str, dict[str, pl.DataFrame]]:
    """Return the metric by activity, and recall by item popularity if all reports have it."""
    train = methods[0].runs[0].train.pairs
    reports = {method.label: _over_seeds(method.reports) for method in methods}
    groups: dict[str, dict[str, pl.DataFrame]] = {}
    if metric not in methods[0].reports[0].whole:
        groups[ACTIVITIES[methods[0].reports[0].unit_name].title] = {
            label: by_activity(replace(report, names=(metric,)), train)
            for label, report in reports.items()
        }
    columns = _popularity_columns(reports[methods[0].label])
    if columns and all(
        column in report.per_user.columns for report in reports.values() for column in columns
    ):
        groups["items by popularity"] = {
            label: by_popularity(
                replace(report, per_user=report.per_user.select(*report.keys, *columns))
            )
            for label, report in reports.items()
        }
    return groups


def _popularity_columns(report: Report) -> list[str]:
    """Return the columns of the first metric that a report has by item popularity."""
    for name in report.per_user.columns:
        if name.endswith("[head]"):
            return [f"{name.removesuffix('[head]')}[{group}]" for group in GROUPS]
    return []


def _over_seeds(reports: Sequence[Report]) -> Report:
    """Return one report with the mean of each query over the seeds.

    The test part is the same for all seeds, and so are its queries.
    """
    first = reports[0]
    if len(reports) == 1:
        return first
    columns = [
        name
        for name in first.per_user.columns
        if name not in first.keys and all(name in report.per_user.columns for report in reports)
    ]
    values = {
        name: np.mean([report.values(name) for report in reports], axis=0) for name in columns
    }
    frame = first.per_user.select(first.keys).with_columns(**values)
    return replace(first, per_user=frame.with_columns(pl.col(columns).fill_nan(None)))
