"""The content of `report.json`, and its checks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recsys.config import build, settings
from recsys.data.held_out import Unit
from recsys.errors import InputError
from recsys.files import read_json

__all__ = ["REMEDY", "VERSION", "ReportHead", "read_head"]

VERSION = 1
REMEDY = "evaluate the run again"


@settings
class _MetricRow:
    """A row of `Report.table` in report.json; a value that does not exist is left out."""

    metric: str
    users: int
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    queries: int | None = None
    unit_mean: float | None = None


@settings
class ReportHead:
    """The content of report.json, version 1.

    The rows of `metrics` and `n_queries` are for readers of the file. They follow from the values
    per query, so they are checked and not used. `unit` and `n_queries` are left out with one query
    per user.
    """

    version: int
    protocol: str
    n_users: int
    names: tuple[str, ...]
    metrics: tuple[_MetricRow, ...]
    whole: dict[str, float | None]
    notes: tuple[str, ...]
    seconds: float
    settings: dict[str, Any]
    per_user_sha256: str
    unit: Unit = "user"
    n_queries: int | None = None


def read_head(path: Path) -> ReportHead:
    """Read report.json.

    Raises:
        InputError: it is missing, not JSON, of another version, or a key is missing or invalid.
    """
    place = str(path)
    try:
        plain = read_json(path)
    except InputError as error:
        raise InputError(error.cause, place=place, remedy=REMEDY) from None
    if not isinstance(plain, dict) or plain.get("version") != VERSION:
        raise InputError("is not a report of this version", place=place, remedy=REMEDY)
    rows = plain.get("metrics")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError("metrics is not a list of tables", place=place, remedy=REMEDY)
    try:
        metrics = [build(_MetricRow, row, "metrics") for row in rows]
        return build(ReportHead, {**plain, "metrics": metrics})
    except InputError as error:
        raise InputError(f"is not a complete report: {error}", place=place, remedy=REMEDY) from None
