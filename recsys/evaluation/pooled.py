"""One report of several test parts: the folds of a cross-validation, the windows of a rolling test.

Each part has a scorer of its own, trained on its own data. Queries of one user in several parts
are not independent, so the units are resampled over all parts together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import polars as pl

from recsys.errors import InputError
from recsys.evaluation.query_rows import with_positions
from recsys.evaluation.report import Report
from recsys.notebook import counted
from recsys.statistics.intervals import defined_mean

__all__ = ["pool_reports"]

_REMEDY = "pool evaluations of one experiment with the same settings [evaluate]"


def pool_reports(parts: Sequence[tuple[str, Report]]) -> Report:
    """Return one report with the queries of several test parts.

    Means are over the queries of all parts, and intervals and tests resample units over all parts.
    A metric with one number for all users is the mean over the parts.

    Args:
        parts: name and report of each part. All have one vocabulary: a row number is the same user,
            session or item in every part.

    Returns:
        The report, with the column `part` (name of the part) in `per_user`. Settings that differ
        between the parts are left out.

    Raises:
        InputError: there is not one part, a name occurs twice or is empty, a report is pooled
            already, or the parts have different units, metrics or protocols.
    """
    names = [name for name, _ in parts]
    _check_names(names)
    reports = [report for _, report in parts]
    first = reports[0]
    for name, report in parts:
        if "part" in report.keys:
            raise InputError(f"part '{name}' is pooled already", remedy="pool its own parts")
        for what, value, expected in (
            ("units", report.unit_name, first.unit_name),
            ("metrics", ", ".join(report.names), ", ".join(first.names)),
            ("protocol", report.protocol, first.protocol),
        ):
            if value != expected:
                raise InputError(
                    f"the parts '{names[0]}' and '{name}' have different {what}: "
                    f"'{expected}' and '{value}'",
                    remedy=_REMEDY,
                )
    frame = _rows(parts)
    return replace(
        first,
        per_user=frame,
        whole={
            name: defined_mean(np.array([report.whole[name] for report in reports], dtype=float))
            for name in _whole(reports)
        },
        n_users=frame["user"].n_unique(),
        protocol=f"{first.protocol}; {counted(len(parts), 'test part')} together",
        notes=_notes(parts),
        seconds=sum(report.seconds for report in reports),
        settings={
            key: value
            for key, value in first.settings.items()
            if all(report.settings.get(key) == value for report in reports)
        },
    )


def _check_names(names: Sequence[str]) -> None:
    """Refuse no part, a part without a name, and two parts with one name."""
    if not names:
        raise InputError("no test part is given to pool", remedy="give at least one report")
    for name in names:
        if not name or names.count(name) > 1:
            raise InputError(
                f"part '{name}' is given twice" if name else "a part has no name",
                remedy="give each part a name of its own, such as 'fold 1'",
            )


def _rows(parts: Sequence[tuple[str, Report]]) -> pl.DataFrame:
    """Return the rows of all parts with their common columns, in the order of the first."""
    frames = [report.per_user.with_columns(pl.lit(name).alias("part")) for name, report in parts]
    if any("query" in frame.columns for frame in frames):
        # A part in which no unit has two queries has no column: its queries are in order.
        frames = [frame if "query" in frame.columns else with_positions(frame) for frame in frames]
    keys = [name for name in ("user", "query", "part") if name in frames[0].columns]
    metrics = [
        name
        for name in parts[0][1].per_user.columns
        if name not in keys and all(name in frame.columns for frame in frames)
    ]
    return pl.concat([frame.select(*keys, *metrics) for frame in frames])


def _whole(reports: Sequence[Report]) -> list[str]:
    """Return the metrics with one number for all users."""
    return [name for name in reports[0].whole if all(name in report.whole for report in reports)]


def _notes(parts: Sequence[tuple[str, Report]]) -> tuple[str, ...]:
    """Return how the parts were pooled, then their notes, a note of all parts once."""
    reports = [report for _, report in parts]
    names = ", ".join(name for name, _ in parts)
    notes = [f"{counted(len(parts), 'test part')} together: {names}"]
    for metric in _whole(reports):
        parts_with = sum(not np.isnan(report.whole[metric]) for report in reports)
        notes.append(f"{metric} is the mean of {counted(parts_with, 'part')}")
    for name, report in parts:
        for note in report.notes:
            shared = all(note in other.notes for other in reports)
            notes.append(note if shared else f"{name}: {note}")
    return tuple(dict.fromkeys(notes))
