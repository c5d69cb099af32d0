"""Scorer x interactions -> Report: per-user metric values, from which means, intervals and paired tests follow."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import scipy.sparse as sp

from recsys.config import to_dict
from recsys.data.types import FeatureTable, Interactions
from recsys.errors import InputError, suggest
from recsys.evaluation import sampled
from recsys.evaluation.full import Part, Ranking, leave_out_short, users_of_items
from recsys.evaluation.settings import Evaluation
from recsys.notebook import Shown, counted, table_html
from recsys.scorer import Scorer, places_of
from recsys.statistics.intervals import bootstrap

__all__ = ["Evaluation", "Report", "evaluate"]


@dataclass(frozen=True, eq=False, repr=False)
class Report(Shown):
    """What one evaluation found.

    Args:
        per_user: one row per test user: `user` (row number, int32) and a float64 column per metric, null where it is not defined for the user.
        whole: metrics of the system as a whole (coverage, gini), which have no per-user values and hence no interval: a resample of users
            holds fewer distinct lists, so its coverage is lower by construction.
        names: the metrics that were asked for, in order.
        n_users: test users.
        protocol: what the numbers depend on, in words.
        notes: what the reader should know of these numbers.
        seconds: wall time of the evaluation.
        settings: the `[evaluate]` it was made with, as plain values.
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
        """The value of a metric: the mean over users, or the whole-system number."""
        if name in self.whole:
            return self.whole[name]
        return self.mean(name)

    def mean(self, name: str) -> float:
        """Mean over the users for whom the metric is defined; NaN where there are none.

        Raises:
            InputError: the report has no such metric.
        """
        values = self.values(name)
        known = values[~np.isnan(values)]
        return float(known.mean()) if len(known) else float("nan")

    def values(self, name: str) -> np.ndarray:
        """Per-user values, float64 [n_users], NaN where not defined, in the order of `per_user`."""
        if name in self.whole:
            raise InputError(
                f"{name} is a number of the whole system and has no per-user values",
                remedy=f'read it as report["{name}"]',
            )
        if name not in self.per_user.columns or name == "user":
            known = [column for column in self.per_user.columns if column != "user"]
            raise InputError(
                f"the report has no metric '{name}'", remedy=suggest(name, [*known, *self.whole])
            )
        return self.per_user[name].cast(pl.Float64).fill_null(float("nan")).to_numpy()

    def interval(self, name: str, level: float = 0.95) -> tuple[float, float]:
        """Bootstrap interval of the mean over users; NaN, NaN for a whole-system metric or fewer than two users."""
        if name in self.whole:
            return float("nan"), float("nan")
        values = self.values(name)
        if level == 0.95 and name in self._intervals:
            return self._intervals[name]
        low, high = bootstrap(values, level)
        return float(low), float(high)

    @cached_property
    def _intervals(self) -> dict[str, tuple[float, float]]:
        """All 95 % intervals from one set of resamples."""
        names = [name for name in self.names if name not in self.whole]
        if not names or not len(self.per_user):
            return {}
        low, high = bootstrap(np.stack([self.values(name) for name in names], axis=1))
        return {name: (float(a), float(b)) for name, a, b in zip(names, low, high, strict=True)}

    def table(self) -> pl.DataFrame:
        """metric, mean, low, high (95 %), users who count; null where there is no interval."""
        rows = []
        for name in self.names:
            low, high = self.interval(name)
            users = (
                self.n_users
                if name in self.whole
                else int(np.count_nonzero(~np.isnan(self.values(name))))
            )
            rows.append((name, self[name], low, high, users))
        schema = {
            "metric": pl.String,
            "mean": pl.Float64,
            "low": pl.Float64,
            "high": pl.Float64,
            "users": pl.Int64,
        }
        return pl.DataFrame(rows, schema=schema, orient="row").with_columns(
            pl.col("mean", "low", "high").fill_nan(None)
        )

    def _facts(self) -> Iterator[tuple[str, object]]:
        yield "", counted(self.n_users, "user")
        for name in self.names:
            yield name, f"{self[name]:.4f}"

    def _repr_html_(self) -> str:
        rows = [
            (
                row["metric"],
                "" if row["mean"] is None else f"{row['mean']:.4f}",
                "" if row["low"] is None else f"[{row['low']:.4f}, {row['high']:.4f}]",
                f"{row['users']:,}",
            )
            for row in self.table().iter_rows(named=True)
        ]
        columns = ("metric", "mean", "95 % interval", "users")
        return table_html(columns, rows, title=self.protocol, notes=self.notes)

    def save(self, folder: str | Path) -> Path:
        """Write `per_user.parquet` and `report.json` into a folder, each atomically, the JSON last.

        Raises:
            InputError: the folder cannot be written.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            table = folder / "per_user.parquet"
            part = folder / f".per_user.{os.getpid()}.parquet"
            try:
                self.per_user.write_parquet(part)
                digest = hashlib.sha256(part.read_bytes()).hexdigest()
                os.replace(part, table)
            finally:
                part.unlink(missing_ok=True)
            rows = [
                {key: value for key, value in row.items() if value is not None}
                for row in self.table().iter_rows(named=True)
            ]
            plain = {
                "version": 1,
                "protocol": self.protocol,
                "n_users": self.n_users,
                "names": list(self.names),
                "metrics": rows,
                "whole": {
                    name: value if np.isfinite(value) else None
                    for name, value in self.whole.items()
                },
                "notes": list(self.notes),
                "seconds": self.seconds,
                "settings": dict(self.settings),
                "per_user_sha256": digest,
            }
            part = folder / f".report.{os.getpid()}.json"
            try:
                part.write_text(
                    json.dumps(plain, indent=1, allow_nan=False) + "\n", encoding="utf-8"
                )
                os.replace(part, folder / "report.json")
            finally:
                part.unlink(missing_ok=True)
        except OSError as error:
            cause = f"the report cannot be written: {error.strerror}"
            raise InputError(
                cause, place=str(folder), remedy="check the path, its permissions and the disk"
            ) from None
        return folder

    @classmethod
    def load(cls, folder: str | Path) -> Report:
        """Read what `save` wrote.

        Raises:
            InputError: a missing, damaged or foreign file.
        """
        folder = Path(folder)
        head, table = folder / "report.json", folder / "per_user.parquet"
        try:
            plain = json.loads(head.read_text(encoding="utf-8"))
            raw = table.read_bytes()
        except FileNotFoundError as error:
            raise InputError(
                "no such file", place=str(error.filename), remedy="evaluate the run again"
            ) from None
        except OSError as error:
            raise InputError(
                f"cannot be read: {error.strerror}",
                place=str(folder),
                remedy="check its permissions",
            ) from None
        except ValueError as error:
            raise InputError(
                f"not valid JSON: {error}", place=str(head), remedy="evaluate the run again"
            ) from None
        if not isinstance(plain, dict) or plain.get("version") != 1:
            raise InputError(
                "not a report of this version", place=str(head), remedy="evaluate the run again"
            )
        if hashlib.sha256(raw).hexdigest() != plain.get("per_user_sha256"):
            raise InputError(
                "does not belong to the report.json beside it, or is damaged",
                place=str(table),
                remedy="evaluate the run again",
            )
        try:
            whole = {
                str(name): float("nan") if value is None else float(value)
                for name, value in plain["whole"].items()
            }
            texts = (
                tuple(plain["names"]),
                int(plain["n_users"]),
                str(plain["protocol"]),
                tuple(plain["notes"]),
                float(plain["seconds"]),
            )
            return cls(pl.read_parquet(raw), whole, *texts, plain["settings"])
        except (
            KeyError,
            TypeError,
            ValueError,
            AttributeError,
            pl.exceptions.PolarsError,
        ) as error:
            raise InputError(
                f"not a complete report: {error}", place=str(head), remedy="evaluate the run again"
            ) from None


def evaluate(
    scorer: Scorer,
    train: Interactions,
    test: Interactions,
    evaluation: Evaluation | None = None,
    *,
    also_seen: Interactions | None = None,
    features: FeatureTable | None = None,
) -> Report:
    """Rank every candidate for every test user and measure.

    Only users with a test pair are scored. Those without a training pair are scored as the scorer has it, and a note says how many
    they are; the view "cold users" is of them alone. A test pair that was seen in training (or in `also_seen`) cannot be recommended: it
    counts as missed, and a note says how many there are; `auc` alone leaves such pairs out, being a statement about candidates. Top-k
    lists order equal scores by `recsys.data.hashing.tie_order`; full ranks give equal scores their mean rank.

    The cost does not grow with the metrics: one top-k pass at the largest cut-off, and one rank pass only where a full-ranking metric is asked for.

    Args:
        scorer: what is evaluated.
        train: masked, and the source of item popularity and co-occurrence.
        test: what should be found; duplicates count once.
        evaluation: which metrics and how.
        also_seen: masked as well unless `keep_valid`: the validation pairs when testing.
        features: item features for `diversity`; without them items are compared by the users they share.

    Raises:
        InputError: the sizes disagree, the test is empty, or the scorer gives NaN.
    """
    started, evaluation = time.perf_counter(), evaluation or Evaluation()
    _check(scorer, train, test, also_seen)
    wanted = evaluation.wanted
    relevant = test.csr
    users = np.flatnonzero(np.diff(relevant.indptr)).astype(np.int32)
    masked = (
        train.csr
        if also_seen is None or evaluation.keep_valid
        else sp.csr_matrix(train.csr + also_seen.csr)
    )
    every = Part(
        users, np.arange(len(users)), relevant[users], _minus(relevant[users], masked[users])
    )
    notes = _notes(every.relevant, every.reachable) + _cold(scorer, train, users)

    columns: dict[str, np.ndarray] = {}
    whole: dict[str, float] = {}
    drawn, more = _draws(evaluation, test.n_items, masked, every)
    notes += more
    if drawn:
        counts = users_of_items(train) if evaluation.sampled_by == "popularity" else None
        places = sampled.draw(
            scorer,
            users,
            every.reachable,
            masked,
            evaluation.sampled,
            counts=counts,
            seed=evaluation.seed,
        )
        columns = sampled.estimate(places, wanted, every.n_relevant, evaluation.estimator)
        how = f"{evaluation.sampled} {evaluation.sampled_by} candidates per user"
        notes += (
            f"uncorrected ranks among {how}"
            if evaluation.estimator == "none"
            else f"estimated from {how} ({evaluation.estimator})",
        )
        leave_out_short(columns, wanted, every, evaluation)
    else:
        ranking = Ranking(scorer, train, masked, evaluation, features)
        notes += ranking.measure(wanted, every, columns, whole)
    names = tuple(metric.name for metric in wanted)
    order = [name for name in names if name in columns] + [
        name for name in columns if name not in names
    ]
    per_user = pl.DataFrame({"user": users, **{name: columns[name] for name in order}})
    per_user = per_user.with_columns(pl.col(order).fill_nan(None)) if order else per_user
    return Report(
        per_user,
        whole,
        names,
        len(users),
        evaluation.protocol(drawn),
        notes,
        time.perf_counter() - started,
        to_dict(evaluation),
    )


def _draws(
    evaluation: Evaluation, n_items: int, masked: sp.csr_matrix, every: Part
) -> tuple[bool, tuple[str, ...]]:
    """Return whether candidates are drawn, and what is to be said of it: no more can be drawn than there are."""
    if evaluation.candidates != "sampled":
        return False, ()
    m = evaluation.sampled
    met = np.diff(masked.indptr)[every.users]
    pool = n_items - met - np.diff(every.reachable.indptr)
    most = int(pool.max())
    if m >= most:
        return False, (
            f"sampled = {m}, and no user has more than {most} candidates: ranked in full, these numbers are exact",
        )
    if evaluation.estimator != "none" and not sampled.worthwhile(m, every.reachable):
        return False, (
            f"drawing {m} of {n_items} candidates costs more than ranking all: ranked in full, these numbers are exact",
        )
    complete = np.count_nonzero(pool <= m)
    if not complete:
        return True, ()
    return True, (
        f"{complete} of {len(pool)} users have no more than {m} candidates, which are all ranked",
    )


def _check(
    scorer: Scorer, train: Interactions, test: Interactions, also_seen: Interactions | None
) -> None:
    sizes = {"train": train, "test": test} | (
        {"also_seen": also_seen} if also_seen is not None else {}
    )
    for what in ("n_users", "n_items"):
        expected = getattr(scorer, what)
        for name, pairs in sizes.items():
            if getattr(pairs, what) != expected:
                raise InputError(
                    f"the scorer has {expected} {what[2:]} and {name} {getattr(pairs, what)}",
                    remedy="evaluate it on the data it was trained on",
                )
    if not len(test):
        raise InputError(
            "the test has no pairs", remedy="split the data so that something is left to test on"
        )


def _notes(relevant: sp.csr_matrix, reachable: sp.csr_matrix) -> tuple[str, ...]:
    lost = relevant.nnz - reachable.nnz
    if not lost:
        return ()
    whole = np.count_nonzero(np.diff(reachable.indptr) == 0)
    note = f"{lost} of {relevant.nnz} test pairs were already seen and cannot be hit"
    return (f"{note}; {whole} users have no other test pair and score 0" if whole else note,)


def _cold(scorer: Scorer, train: Interactions, users: np.ndarray) -> tuple[str, ...]:
    """What to say of test users [U] without a training pair: what they get is no word of the model, unless it places them."""
    cold = np.count_nonzero(np.diff(train.csr.indptr)[users] == 0)
    if not cold:
        return ()
    ability = (
        "this method can place them"
        if places_of(scorer).users
        else "this method cannot place them, and `recommend` answers them by popularity"
    )
    return (
        f"{cold} of {len(users)} test users have no training pair: {ability}; metrics of theirs alone: [cold users]",
    )


def _minus(first: sp.csr_matrix, second: sp.csr_matrix) -> sp.csr_matrix:
    """The entries of `first` that `second` lacks, column indices sorted."""
    kept = sp.csr_matrix(first - first.multiply(second.astype(bool)))
    kept.eliminate_zeros()
    kept.sort_indices()
    return kept
