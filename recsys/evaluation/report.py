"""The report of an evaluation: values per query, their means and intervals, and its two files."""

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

from recsys.data.held_out import Unit
from recsys.errors import InputError, suggest
from recsys.evaluation.query_rows import KEYS, rows_counted, with_positions
from recsys.evaluation.report_file import REMEDY, VERSION, read_head
from recsys.files import write_atomic
from recsys.notebook import Shown, counted, table_html
from recsys.statistics.intervals import bootstrap, defined_mean
from recsys.statistics.units import unit_means

__all__ = ["Report"]

LEVEL = 0.95  # of the intervals in tables
_COLUMNS: Mapping[str, type[pl.DataType]] = {
    "metric": pl.String,
    "mean": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "users": pl.Int64,
}
_COLUMNS_OF_UNITS: Mapping[str, type[pl.DataType]] = {"queries": pl.Int64, "unit_mean": pl.Float64}


@dataclass(frozen=True, eq=False, repr=False)
class Report(Shown):
    """The result of one evaluation.

    It has a row per query, and a query belongs to a unit: a user, a session or an item. Means are
    over queries. Intervals and tests take units for independent, not queries. With one query per
    unit, both are the same.

    Args:
        per_user: one row per query, see `recsys.evaluation.query_rows`: `user` (row number of the
            unit, int32), `query` (int32) if a unit has several queries, `part` (text) if several
            test parts are pooled, and a float64 column per metric, null where the metric is not
            defined for the query. A missing `query` is added: the position of the row.
        whole: metrics with one number for all users (coverage, gini). They have no values per user
            and hence no interval: a resample of users holds fewer distinct lists, so its coverage
            is lower by construction.
        names: the requested metrics, in order.
        n_users: number of units.
        protocol: what the numbers depend on, in words.
        notes: what a reader should know about the numbers.
        seconds: wall time of the evaluation.
        settings: the settings `[evaluate]` of the evaluation, as plain values.
        unit_name: what a unit is: "user", "session" or "item".

    Raises:
        ValueError: two rows are of the same query.
    """

    per_user: pl.DataFrame
    whole: Mapping[str, float]
    names: tuple[str, ...]
    n_users: int
    protocol: str = ""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    settings: Mapping[str, Any] = field(default_factory=dict)
    unit_name: Unit = "user"

    def __post_init__(self) -> None:
        if not self.is_clustered:
            return
        if self.keys == ("user",):
            object.__setattr__(self, "per_user", with_positions(self.per_user))
        if self.per_user.select(self.keys).is_duplicated().any():
            raise ValueError(f"two rows of a report have equal {', '.join(self.keys)}")

    @property
    def keys(self) -> tuple[str, ...]:
        """The columns of `per_user` that tell which row it is; all others are metrics."""
        return tuple(name for name in KEYS if name in self.per_user.columns)

    @property
    def n_queries(self) -> int:
        """Number of queries, the rows of `per_user`."""
        return len(self.per_user)

    @property
    def unit(self) -> np.ndarray:
        """The unit of each query, int32 [n_queries]."""
        return self.per_user["user"].to_numpy()

    @cached_property
    def is_clustered(self) -> bool:
        """Whether a unit has several queries."""
        return self.per_user["user"].n_unique() < len(self.per_user)

    @property
    def size(self) -> str:
        """The number of units in words, and that of queries if a unit has several."""
        if not self.is_clustered:
            return counted(self.n_users, self.unit_name)
        return rows_counted(self.n_queries, self.n_users, self.unit_name)

    def __getitem__(self, name: str) -> float:
        """Return the value of a metric: the mean over queries, or its one number for all users."""
        if name in self.whole:
            return self.whole[name]
        return self.mean(name)

    def mean(self, name: str) -> float:
        """Return the mean over the queries for which the metric is defined; NaN without any.

        Raises:
            InputError: the report has no such metric, or the metric has no values per user.
        """
        return defined_mean(self.values(name))

    def unit_mean(self, name: str) -> float:
        """Return the mean over units of their means over queries; NaN without any.

        Each unit weighs the same here. In `mean`, a unit weighs as much as it has queries. With
        one query per unit both are the same.

        Raises:
            InputError: the report has no such metric, or the metric has no values per user.
        """
        return defined_mean(unit_means(self.values(name), self.unit))

    def values(self, name: str) -> np.ndarray:
        """Return the values per query, float64 [n_queries], in the order of `per_user`.

        NaN where the metric is not defined for a query.

        Raises:
            InputError: the report has no such metric, or the metric has no values per user.
        """
        if name in self.whole:
            raise InputError(
                f"{name} is one number for the whole system and has no values per user",
                remedy=f'read it as report["{name}"]',
            )
        if name not in self.per_user.columns or name in KEYS:
            known = [column for column in self.per_user.columns if column not in KEYS]
            raise InputError(
                f"the report has no metric '{name}'", remedy=suggest(name, [*known, *self.whole])
            )
        return self.per_user[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()

    def interval(self, name: str, level: float = LEVEL) -> tuple[float, float]:
        """Return the bootstrap interval of the mean over queries, with units resampled.

        Args:
            name: the metric.
            level: coverage of the interval.

        Returns:
            Lower and upper bound; NaN for a metric with one number for all users, and with fewer
            than two units.
        """
        if name in self.whole:
            return float("nan"), float("nan")
        if level == LEVEL and name in self._intervals:
            return self._intervals[name]
        low, high = bootstrap(self.values(name), level, unit=self.unit)
        return float(low), float(high)

    @cached_property
    def _intervals(self) -> dict[str, tuple[float, float]]:
        """The 95 % intervals of all requested metrics, from one set of resamples."""
        names = [name for name in self.names if name not in self.whole]
        if not names or not len(self.per_user):
            return {}
        values = np.stack([self.values(name) for name in names], axis=1)
        low, high = bootstrap(values, LEVEL, unit=self.unit)
        return {name: (float(a), float(b)) for name, a, b in zip(names, low, high, strict=True)}

    def table(self) -> pl.DataFrame:
        """Return a row per metric: metric, mean, low, high, users.

        `low` and `high` are the bounds of the 95 % interval, and a missing interval is
        null. `users` is the number of units for which the metric is defined. If a unit has several
        queries, there are also `queries`, their number, and `unit_mean`, see `unit_mean`.
        """
        columns = dict(_COLUMNS)
        if self.is_clustered:
            columns |= _COLUMNS_OF_UNITS
        rows = [self._row(name) for name in self.names]
        return pl.DataFrame(
            [{name: row[name] for name in columns} for row in rows], schema=columns
        ).with_columns(pl.col(pl.Float64).fill_nan(None))

    def _row(self, name: str) -> dict[str, Any]:
        """Return the row of a metric in `table`."""
        if name in self.whole:
            return {
                "metric": name,
                "mean": self.whole[name],
                "low": None,
                "high": None,
                "users": self.n_users,
                "queries": self.n_queries,
                "unit_mean": None,
            }
        values = self.values(name)
        known = ~np.isnan(values)
        low, high = self._intervals.get(name, (float("nan"), float("nan")))
        return {
            "metric": name,
            "mean": defined_mean(values),
            "low": low,
            "high": high,
            "users": len(np.unique(self.unit[known])),
            "queries": int(np.count_nonzero(known)),
            "unit_mean": self.unit_mean(name),
        }

    def texts(self) -> tuple[list[str], list[list[str]]]:
        """Return heads and rows of `table` for people, numbers with four decimals."""
        names = ["metric", "mean", "low", "users"]
        heads = ["metric", "mean", "95 % interval", f"{self.unit_name}s"]
        if self.is_clustered:
            names[3:3] = ["unit_mean", "queries"]
            heads[3:3] = [f"mean over {self.unit_name}s", "queries"]
        rows = []
        for row in self.table().iter_rows(named=True):
            texts = dict.fromkeys(names, "") | {"metric": row["metric"]}
            texts |= {name: f"{row[name]:,}" for name in ("users", "queries") if name in row}
            for name in ("mean", "unit_mean"):
                if row.get(name) is not None:
                    texts[name] = f"{row[name]:.4f}"
            if row["low"] is not None:
                texts["low"] = f"[{row['low']:.4f}, {row['high']:.4f}]"
            rows.append([texts[name] for name in names])
        return heads, rows

    def _facts(self) -> Iterator[tuple[str, object]]:
        yield "", self.size
        for name in self.names:
            yield name, f"{self[name]:.4f}"

    def _repr_html_(self) -> str:
        return table_html(*self.texts(), title=self.protocol, notes=self.notes)

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
            "version": VERSION,
            "protocol": self.protocol,
            "n_users": self.n_users,
            **({} if self.unit_name == "user" else {"unit": self.unit_name}),
            **({"n_queries": self.n_queries} if self.is_clustered else {}),
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
        stored = read_head(head)
        try:
            content = table.read_bytes()
        except FileNotFoundError:
            raise InputError("no such file", place=str(table), remedy=REMEDY) from None
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
                remedy=REMEDY,
            )
        try:
            per_user = pl.read_parquet(content)
        except pl.exceptions.PolarsError as error:
            raise InputError(
                f"is not a valid Parquet file: {error}", place=str(table), remedy=REMEDY
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
            unit_name=stored.unit,
        )
