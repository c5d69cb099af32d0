"""Results by group: users by activity, items by popularity."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import polars as pl

from recsys.evaluation.query_rows import rows_counted
from recsys.report import charts
from recsys.report.charts import Mark, Series
from recsys.report.elements import details_table, figure, grid
from recsys.report.html import Markup, element, join
from recsys.report.section import ACTIVITIES, Section

__all__ = ["groups"]


def groups(section: Section) -> Markup | None:
    """Return means and intervals per group, a small chart each; None without values per user.

    All charts of one kind of group have the same scale.
    """
    parts = [_kind(kind, frames, section) for kind, frames in section.groups.items()]
    parts = [part for part in parts if part is not None]
    if not parts:
        return None
    unit = section.comparison.unit_name
    note = (
        f"Activity: {ACTIVITIES[unit].meaning}, in the run of {section.methods[0].label}. "
        "Popularity: head, mid and tail hold a third of the training interactions each. "
        f"Intervals: 95 %, bootstrap over {unit}s."
    )
    if any(len(method.runs) > 1 for method in section.methods):
        whose = "query" if section.comparison.is_clustered else unit
        note += (
            f" Of several seeds, each {whose}'s mean is taken, "
            "and the interval leaves the chance of the seeds out."
        )
    if len(section.groups) == 1:
        note += " By popularity: not stored by these runs (evaluate.groups = true)."
    return join(element("p", note, class_="note"), *parts)


def _kind(kind: str, frames: Mapping[str, pl.DataFrame], section: Section) -> Markup | None:
    """Return the charts of one kind of group.

    Args:
        kind: its name.
        frames: by method, the table of `recsys.evaluation.breakdown`.
        section: the data set.
    """
    unit = section.comparison.unit_name
    every = pl.concat([frame.with_columns(method=pl.lit(name)) for name, frame in frames.items()])
    if every.is_empty():
        return None
    values = [value for name in ("low", "mean", "high") for value in every[name].drop_nulls()]
    if not values:
        return None
    ends, metric = (min(0.0, *values), max(values)), str(every["metric"][0])
    figures = []
    for group in every["group"].unique(maintain_order=True):
        frame = every.filter(pl.col("group") == group)
        series = [
            Series(method.label, order, (_mark(row, metric, unit),))
            for order, method in enumerate(section.methods)
            for row in frame.filter(pl.col("method") == method.label).iter_rows(named=True)
            if row["mean"] is not None
        ]
        chart = charts.rows(series, metric, f"{metric}, {kind}: {group}", ends)
        figures.append(figure(chart, f"{group} · {_size(frame.row(-1, named=True), unit)}"))
    counts = [name for name in ("queries", "users") if name in every.columns]
    rows = [
        (row["group"], row["method"], *(row[name] for name in counts), *_texts(row))
        for row in every.iter_rows(named=True)
    ]
    title = f"{kind[0].upper()}{kind[1:]}"
    heads = {"queries": "queries", "users": f"{unit}s"}
    head = ("group", "method", *(heads[name] for name in counts), f"mean {metric}", "low", "high")
    table = details_table(f"{kind}, in numbers", head, rows)
    return join(element("h4", title), grid(figures), table)


def _size(row: Mapping[str, Any], unit: str) -> str:
    """Return the number of units of a row in words, and that of queries if a unit has several."""
    return rows_counted(row.get("queries", row["users"]), row["users"], unit)


def _mark(row: Mapping[str, Any], metric: str, unit: str) -> Mark:
    mean, low, high = (math.nan if value is None else value for value in _values_of(row))
    text = (
        f"{row['method']}, {row['group']}: {metric} {mean:.4f} [{low:.4f}, {high:.4f}], "
        f"{_size(row, unit)}"
    )
    return Mark(mean, 0.0, text, low, high)


def _values_of(row: Mapping[str, object]) -> list[float | None]:
    """Return the mean and the ends of its interval."""
    values = [row[name] for name in ("mean", "low", "high")]
    return [value if isinstance(value, float) else None for value in values]


def _texts(row: Mapping[str, object]) -> list[str]:
    """Return the mean and the ends of its interval with four decimals."""
    return ["" if value is None else f"{value:.4f}" for value in _values_of(row)]
