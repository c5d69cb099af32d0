"""The report of one evaluation: values per user, their means and intervals, and its two files."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.config import build, settings
from recsys.errors import InputError, suggest
from recsys.files import read_json, write_atomic
from recsys.notebook import Shown, counted, table_html
from recsys.statistics.intervals import bootstrap, defined_mean

__all__ = ["Report"]

LEVEL = 0.95  # of the intervals in tables
_VERSION = 1  # of report.json
_REMEDY = "evaluate the run again"


@dataclass(frozen=True, eq=False, repr=False)
class Report(Shown):
    """The result of one evaluation.

    Args:
        per_user: one row per test user: `user` (row number, int32) and a float64 column per
            metric, null where the metric is not defined for the user.
        whole: metrics with one number for all users (coverage, gini). They have no values per user
            and hence no interval: a resample of users holds fewer distinct lists, so its coverage
            is lower by construction.
        names: the requested metrics, in order.
        n_users: number of test users.
        protocol: what the numbers depend on, in words.
        notes: what a reader should know about the numbers.
        seconds: wall time of the evaluation.
        settings: the settings `[evaluate]` of the evaluation, as plain values.
    """

    per_user: pl.DataFrame
    whole: Mapping[str, float]
    names: tuple[str, ...]
    n_users: int
    protocol: str = ""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> float:
        """Return the value of a metric: the mean over users, or its one number for all users."""
        if name in self.whole:
            return self.whole[name]
        return self.mean(name)

    def mean(self, name: str) -> float:
        """Return the mean over the users for whom the metric is defined; NaN without any.

        Raises:
            InputError: the report has no such metric, or the metric has no values per user.
        """
        return defined_mean(self.values(name))

    def values(self, name: str) -> np.ndarray:
        """Return the values per user, float64 [n_users], in the order of `per_user`.

        NaN where the metric is not defined for a user.

        Raises:
            InputError: the report has no such metric, or the metric has no values per user.
        """
        if name in self.whole:
            raise InputError(
                f"{name} is one number for the whole system and has no values per user",
                remedy=f'read it as report["{name}"]',
            )
        if name not in self.per_user.columns or name == "user":
            known = [column for column in self.per_user.columns if column != "user"]
            raise InputError(
                f"the report has no metric '{name}'", remedy=suggest(name, [*known, *self.whole])
            )
        return self.per_user[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()

    def interval(self, name: str, level: float = LEVEL) -> tuple[float, float]:
        """Return the bootstrap interval of the mean over users.

        Args:
            name: the metric.
            level: coverage of the interval.

        Returns:
            Lower and upper bound; NaN for a metric with one number for all users, and with fewer
            than two users.
        """
        if name in self.whole:
            return float("nan"), float("nan")
        if level == LEVEL and name in self._intervals:
            return self._intervals[name]
        low, high = bootstrap(self.values(name), level)
        return float(low), float(high)

    @cached_property
    def _intervals(self) -> dict[str, tuple[float, float]]:
        """The 95 % intervals of all requested metrics, from one set of resamples."""
        names = [name for name in self.names if name not in self.whole]
        if not names or not len(self.per_user):
            return {}
        low, high = bootstrap(np.stack([self.values(name) for name in names], axis=1), LEVEL)
        return {name: (float(a), float(b)) for name, a, b in zip(names, low, high, strict=True)}

    def table(self) -> pl.DataFrame:
        """Return a row per metric: metric, mean, low, high, users.

        `low` and `high` are the bounds of the 95 % interval, and a missing interval is
        null. `users` is the number of users for whom the metric is defined.
        """
        schema = {
            "metric": pl.String,
            "mean": pl.Float64,
            "low": pl.Float64,
            "high": pl.Float64,
            "users": pl.Int64,
        }
        rows: list[tuple[str, float, float, float, int]] = []
        undefined = (float("nan"), float("nan"))
        for name in self.names:
            if name in self.whole:
                rows.append((name, self.whole[name], *undefined, self.n_users))
                continue
            values = self.values(name)
            bounds = self._intervals.get(name, undefined)
            users = int(np.count_nonzero(~np.isnan(values)))
            rows.append((name, defined_mean(values), *bounds, users))
        return pl.DataFrame(rows, schema=schema, orient="row").with_columns(
            pl.col("mean", "low", "high").fill_nan(None)
        )

    def _facts(self) -> Iterator[tuple[str, object]]:
        yield "", counted(self.n_users, "user")
        for name in self.names:
            yield name, f"{self[name]:.4f}"

    def _repr_html_(self) -> str:
        rows = []
        for metric, mean, low, high, users in self.table().iter_rows():
            value = "" if mean is None else f"{mean:.4f}"
            bounds = "" if low is None else f"[{low:.4f}, {high:.4f}]"
            rows.append((metric, value, bounds, f"{users:,}"))
        columns = ("metric", "mean", "95 % interval", "users")
        return table_html(columns, rows, title=self.protocol, notes=self.notes)

    def save(self, folder: str | Path) -> Path:
        """Write `per_user.parquet` and `report.json` into a folder, and return the folder.

        Both files are complete on disk before one of them replaces an older file, so a full disk
        leaves an older report as it was. The checksum in the JSON ties the two together.

        Raises:
            InputError: the folder cannot be written.
        """
        folder = Path(folder)
        buffer = io.BytesIO()
        self.per_user.write_parquet(buffer)
        content = buffer.getvalue()
        text = json.dumps(self._plain(content), indent=1, allow_nan=False) + "\n"

        def write_both(temporary: Path) -> None:
            temporary.write_text(text, encoding="utf-8")
            write_atomic(folder / "per_user.parquet", lambda part: part.write_bytes(content))

        write_atomic(folder / "report.json", write_both)
        return folder

    def _plain(self, table: bytes) -> dict[str, Any]:
        """Return the content of report.json.

        Args:
            table: the content of per_user.parquet.
        """
        metrics = [
            {key: value for key, value in row.items() if value is not None}
            for row in self.table().iter_rows(named=True)
        ]
        whole = {name: value if np.isfinite(value) else None for name, value in self.whole.items()}
        return {
            "version": _VERSION,
            "protocol": self.protocol,
            "n_users": self.n_users,
            "names": list(self.names),
            "metrics": metrics,
            "whole": whole,
            "notes": list(self.notes),
            "seconds": self.seconds,
            "settings": dict(self.settings),
            "per_user_sha256": hashlib.sha256(table).hexdigest(),
        }

    @classmethod
    def load(cls, folder: str | Path) -> Report:
        """Read the files that `save` wrote.

        Raises:
            InputError: a file is missing, damaged, of another version, or of another report.
        """
        head, table = Path(folder) / "report.json", Path(folder) / "per_user.parquet"
        stored = _read_head(head)
        try:
            content = table.read_bytes()
        except FileNotFoundError:
            raise InputError("no such file", place=str(table), remedy=_REMEDY) from None
        except OSError as error:
            raise InputError(
                f"cannot be read: {error.strerror}",
                place=str(table),
                remedy="check its permissions",
            ) from None
        if hashlib.sha256(content).hexdigest() != stored.per_user_sha256:
            raise InputError(
                f"is damaged, or does not belong to {head.name} in the same folder",
                place=str(table),
                remedy=_REMEDY,
            )
        try:
            per_user = pl.read_parquet(content)
        except pl.exceptions.PolarsError as error:
            raise InputError(
                f"is not a valid Parquet file: {error}", place=str(table), remedy=_REMEDY
            ) from None
        nan = float("nan")
        return cls(
            per_user=per_user,
            whole={name: nan if value is None else value for name, value in stored.whole.items()},
            names=stored.names,
            n_users=stored.n_users,
            protocol=stored.protocol,
            notes=stored.notes,
            seconds=stored.seconds,
            settings=stored.settings,
        )


@settings
class _MetricRow:
    """A row of `Report.table` in report.json; a bound that does not exist is left out."""

    metric: str
    users: int
    mean: float | None = None
    low: float | None = None
    high: float | None = None


@settings
class _Head:
    """The content of report.json, version 1.

    The rows of `metrics` are for readers of the file. They follow from the values per user, so
    they are checked and not used.
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


def _read_head(path: Path) -> _Head:
    """Read report.json.

    Raises:
        InputError: it is missing, not JSON, of another version, or a key is missing or invalid.
    """
    place = str(path)
    try:
        plain = read_json(path)
    except InputError as error:
        raise InputError(error.cause, place=place, remedy=_REMEDY) from None
    if not isinstance(plain, dict) or plain.get("version") != _VERSION:
        raise InputError("is not a report of this version", place=place, remedy=_REMEDY)
    rows = plain.get("metrics")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError("metrics is not a list of tables", place=place, remedy=_REMEDY)
    try:
        metrics = [build(_MetricRow, row, "metrics") for row in rows]
        return build(_Head, {**plain, "metrics": metrics})
    except InputError as error:
        raise InputError(
            f"is not a complete report: {error}", place=place, remedy=_REMEDY
        ) from None
