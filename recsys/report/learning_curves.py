"""Learning curves: the monitored metric by epoch for all methods, and the loss of each method."""

from __future__ import annotations

import math
from collections.abc import Sequence

from recsys.experiment.run import Run
from recsys.report import charts
from recsys.report.charts import Mark, Series
from recsys.report.elements import details_table, figure, grid
from recsys.report.html import Markup, element, join
from recsys.report.methods import Method
from recsys.report.section import Section
from recsys.training.progress import EpochEntry

__all__ = ["curves"]

# A longer history is thinned out evenly; its best epoch and its last one are kept.
_POINTS = 120


def curves(section: Section) -> Markup | None:
    """Return the charts; None if no method was trained by epochs.

    All methods share the chart of the metric. Losses are on different scales, so each method has
    a chart of its own. Of several seeds the first one is drawn.
    """
    metric = section.metric
    levels: list[Series] = []
    losses: list[tuple[Method, Series]] = []
    rows = []
    for order, method in enumerate(section.methods):
        run = method.runs[0]
        series = _metric_series(method, order, metric)
        if series is not None:
            levels.append(series)
            rows.append(_row(method, run, series))
        loss = _loss_series(method, order)
        if len(loss.marks) > 1:
            losses.append((method, loss))
    figures = _figures(metric, levels, losses) if levels else []
    if not figures:
        return None
    note = "Losses of different methods are on different scales and cannot be compared."
    if any(len(method.runs) > 1 for method in section.methods):
        note = f"Of several seeds, the first is drawn. {note}"
    head = (
        "method",
        "epochs",
        "kept",
        f"highest valid {metric} drawn",
        "stopped by",
        "undertrained",
    )
    return join(
        element("p", note, class_="note"),
        charts.key([method.label for method in section.methods]),
        grid(figures),
        details_table("The curves in numbers", head, rows),
    )


def _figures(
    metric: str, levels: Sequence[Series], losses: Sequence[tuple[Method, Series]]
) -> list[Markup]:
    figures = []
    if any(not series.dashed for series in levels):
        names = ", ".join(series.name for series in levels)
        label = f"{metric} on valid by epoch, for {names}"
        chart = charts.lines(levels, "epoch", f"valid {metric}", label)
        caption = f"{metric} on valid. Ring: the epoch that was kept. Dashed: fitted in one step."
        figures.append(figure(chart, caption))
    for method, series in losses:
        label = f"training loss of {method.label} by epoch"
        chart = charts.lines([series], "epoch", "loss", label)
        figures.append(figure(chart, f"Training loss of {method.label}."))
    return figures


def _metric_series(method: Method, order: int, metric: str) -> Series | None:
    """Return the validation curve of a method; a single value becomes a dashed line."""
    run = method.runs[0]
    entries = [entry for entry in run.history if math.isfinite(entry.metric(metric))]
    if not entries:
        return None
    if len(entries) == 1:
        entry = entries[0]
        value = entry.metric(metric)
        mark = Mark(entry.epoch, value, f"{method.label}, no epochs: {value:.4f}")
        return Series(method.label, order, (mark,), dashed=True)
    best = run.meta.best_epoch
    marks = [
        Mark(
            entry.epoch,
            entry.metric(metric),
            f"{method.label}, epoch {entry.epoch}: {entry.metric(metric):.4f}",
            ring=entry.epoch == best,
        )
        for entry in _thinned(entries, best)
    ]
    return Series(method.label, order, tuple(marks))


def _loss_series(method: Method, order: int) -> Series:
    run = method.runs[0]
    entries = [entry for entry in run.history if entry.loss is not None]
    marks = [
        Mark(entry.epoch, entry.loss, f"{method.label}, epoch {entry.epoch}: loss {entry.loss:.5g}")
        for entry in _thinned(entries, run.meta.best_epoch)
        if entry.loss is not None
    ]
    return Series(method.label, order, tuple(marks))


def _row(method: Method, run: Run, series: Series) -> tuple[object, ...]:
    highest = max(mark.y for mark in series.marks)
    end = run.stopping
    return (
        method.label,
        len(run.history),
        run.meta.best_epoch,
        f"{highest:.4f}",
        end.reason,
        ", ".join(end.marks),
    )


def _thinned(entries: Sequence[EpochEntry], best: int | None) -> list[EpochEntry]:
    """Return about `_POINTS` entries, evenly spaced, with the best one and the last one."""
    step = -(-len(entries) // _POINTS) or 1
    return [
        entry
        for index, entry in enumerate(entries)
        if index % step == 0 or index == len(entries) - 1 or entry.epoch == best
    ]
