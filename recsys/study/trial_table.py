"""The trials of a study as a table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from recsys.experiment.search_space import Dimension
from recsys.study.trial_record import Trial

__all__ = ["trial_table"]

_COLUMN_TYPES: Mapping[type, Any] = {bool: pl.Boolean, int: pl.Int64, float: pl.Float64}


def trial_table(
    trials: Sequence[Trial], objectives: Sequence[str], dimensions: Sequence[Dimension]
) -> pl.DataFrame:
    """Return the trials as a table, a row each; the columns are those of `Study.table`."""
    rows = [_row(trial, objectives) for trial in trials]
    schema: dict[str, Any] = {
        "number": pl.Int64,
        "state": pl.String,
        **dict.fromkeys(objectives, pl.Float64),
        "within": pl.Boolean,
        "origin": pl.String,
        "seconds": pl.Float64,
        "best_epoch": pl.Int64,
        "marks": pl.String,
        "reason": pl.String,
    }
    for dimension in dimensions:
        kind = _kind_of(row.get(dimension.path) for row in rows)
        schema[dimension.path] = _COLUMN_TYPES.get(kind, pl.String)
        if kind is str:
            for row in rows:
                row[dimension.path] = _text(row.get(dimension.path))
    return pl.DataFrame(rows, schema=schema, orient="row", strict=False)


def _row(trial: Trial, objectives: Sequence[str]) -> dict[str, Any]:
    stopping = trial.facts.stopping
    marks = "" if stopping is None else ", ".join(stopping.marks)
    row: dict[str, Any] = {"number": trial.number, "state": trial.state}
    for index, name in enumerate(objectives):
        row[name] = trial.values[index] if trial.values else None
    row |= {"within": trial.within, "origin": trial.origin, "seconds": trial.seconds}
    row |= {
        "best_epoch": trial.facts.best_epoch,
        "marks": marks or None,
        "reason": trial.reason or None,
    }
    return row | {path: _cell(value) for path, value in trial.settings.items()}


def _kind_of(values: Iterable[object]) -> type:
    """Return the type of a column: that of all its values, float for numbers, else text."""
    kinds: set[type] = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        return float
    return kinds.pop() if len(kinds) == 1 else str


def _cell(value: Any) -> Any:
    """Return a setting as a cell; tables and lists become JSON."""
    if isinstance(value, Mapping | Sequence) and not isinstance(value, str):
        return json.dumps(value, sort_keys=True)
    return value


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else json.dumps(value)
