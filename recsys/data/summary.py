"""Figures of a data set: sizes, density, quantiles, time span."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from recsys.data.finding import Finding
from recsys.data.load import LoadedData
from recsys.data.times import iso_time
from recsys.data.types import Dataset, Interactions, Sealed, Split

__all__ = [
    "QUANTILES",
    "LogSize",
    "SessionSize",
    "Statistics",
    "TableSize",
    "TimeSpan",
    "WeightRange",
    "summary",
]

QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


class TimeSpan(NamedTuple):
    """The first and the last time of the interactions, ISO 8601 in UTC."""

    first: str
    last: str


class WeightRange(NamedTuple):
    """The smallest, mean and largest weight of the interactions."""

    least: float
    mean: float
    most: float


@dataclass(frozen=True)
class TableSize:
    """The size of a feature table.

    Args:
        dim: length of a vector.
        present: share of items with a vector.
    """

    dim: int
    present: float


@dataclass(frozen=True)
class LogSize:
    """The events of a log that was kept.

    Args:
        events: number of events.
        per_user: quantiles of the events of a user, by name, such as "50%".
        repeated: share of events whose user had an earlier event with the same item.
    """

    events: int
    per_user: Mapping[str, float]
    repeated: float


@dataclass(frozen=True)
class SessionSize:
    """The sessions of the events.

    Args:
        count: number of sessions with an event.
        per_session: quantiles of the events of a session, by name, such as "50%".
    """

    count: int
    per_session: Mapping[str, float]


@dataclass(frozen=True)
class Statistics:
    """The figures of a data set; of its train part, if the source is already split.

    Args:
        users, items: sizes of the vocabularies.
        users_that_occur, items_that_occur: number of those with interactions.
        interactions: number of interactions.
        valid, test: number of interactions of a part; None for a part that does not exist.
        density: interactions over users times items.
        per_user, per_item: quantiles of the interactions per user or item that occurs, by name,
            such as "50%"; empty without interactions.
        time: first and last time, or None.
        weight: smallest, mean and largest weight, or None.
        labels: share of clean interactions, or None.
        behaviours: number of events of the log by name, or None.
        log: size of the log; None if it is not kept.
        tied: share of events of the log whose user has another event at the same time; None
            without times.
        sessions: number and lengths of the sessions in the log, or None.
        features: size of each feature table, by modality.
        titles: share of items with a title, or None.
        history: what was done while reading, one line a step.
        findings: the results of the checks that are not in order.
        fingerprint: SHA-256 over all parts.
    """

    users: int
    items: int
    users_that_occur: int
    items_that_occur: int
    interactions: int
    valid: int | None
    test: int | None
    density: float
    per_user: Mapping[str, float]
    per_item: Mapping[str, float]
    time: TimeSpan | None
    weight: WeightRange | None
    labels: float | None
    behaviours: Mapping[str, int] | None
    log: LogSize | None
    tied: float | None
    sessions: SessionSize | None
    features: Mapping[str, TableSize]
    titles: float | None
    history: tuple[str, ...]
    findings: tuple[Finding, ...]
    fingerprint: str

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain values; of a finding, only check, severity and message."""
        findings = [
            {"check": finding.check, "severity": finding.severity, "message": finding.message}
            for finding in self.findings
        ]
        return {**dataclasses.asdict(self), "findings": findings}


def summary(loaded: LoadedData) -> Statistics:
    """Return the figures of a data set.

    Args:
        loaded: what `load` returns.
    """
    data = loaded.dataset
    pairs = data.pairs
    valid, test = loaded.parts or (None, None)
    per_user, per_item = pairs.user_counts(), pairs.item_counts()
    return Statistics(
        users=data.n_users,
        items=data.n_items,
        users_that_occur=int((per_user > 0).sum()),
        items_that_occur=int((per_item > 0).sum()),
        interactions=len(pairs),
        valid=None if valid is None else len(valid),
        test=None if test is None else len(test),
        density=len(pairs) / max(1, data.n_users * data.n_items),
        per_user=_quantiles(per_user),
        per_item=_quantiles(per_item),
        time=_time_span(pairs),
        weight=_weight_range(pairs),
        labels=_share_of_clean(pairs),
        behaviours=_behaviour_counts(data.log),
        log=None if data.events is None else _log_size(data.events),
        tied=_share_of_ties(data.log),
        sessions=_session_size(data.log),
        features={
            name: TableSize(table.dim, float(table.present.mean()))
            for name, table in data.features.items()
        },
        titles=_share_of_titles(data),
        history=tuple(data.history),
        findings=tuple(data.findings),
        fingerprint=_fingerprint(loaded),
    )


def _time_span(pairs: Interactions) -> TimeSpan | None:
    if pairs.time is None or not len(pairs):
        return None
    first, last = int(pairs.time.min()), int(pairs.time.max())
    return TimeSpan(iso_time(first, pairs.time_unit), iso_time(last, pairs.time_unit))


def _weight_range(pairs: Interactions) -> WeightRange | None:
    weight = pairs.weight
    if weight is None or not len(pairs):
        return None
    return WeightRange(float(np.min(weight)), float(np.mean(weight)), float(np.max(weight)))


def _share_of_clean(pairs: Interactions) -> float | None:
    if pairs.clean is None or not len(pairs):
        return None
    return float((pairs.clean == 1).mean())


def _log_size(log: Interactions) -> LogSize:
    repeated = 1 - len(np.unique(log.key)) / max(1, len(log))
    return LogSize(len(log), _quantiles(log.user_counts()), repeated)


def _share_of_ties(log: Interactions) -> float | None:
    if log.time is None or not len(log):
        return None
    order = np.lexsort((log.time, log.user))
    user, time = log.user[order], log.time[order]
    equal = (user[1:] == user[:-1]) & (time[1:] == time[:-1])
    tied = np.append(equal, False) | np.append(False, equal)
    return float(tied.mean())


def _session_size(log: Interactions) -> SessionSize | None:
    if log.session is None:
        return None
    counts = np.bincount(log.session)
    return SessionSize(int((counts > 0).sum()), _quantiles(counts))


def _behaviour_counts(pairs: Interactions) -> dict[str, int] | None:
    if pairs.behaviour is None:
        return None
    counts = np.bincount(pairs.behaviour, minlength=len(pairs.behaviours))
    return dict(zip(pairs.behaviours, counts.tolist(), strict=True))


def _share_of_titles(data: Dataset) -> float | None:
    if data.titles is None:
        return None
    return 1 - data.titles.null_count() / max(1, data.n_items)


def _fingerprint(loaded: LoadedData) -> str:
    """Return the fingerprint of the data set, or of all parts if there are several."""
    if loaded.parts is None:
        return loaded.dataset.fingerprint
    valid, test = loaded.parts
    return Split(loaded.dataset, valid, Sealed(test) if test is not None else None).fingerprint


def _quantiles(counts: np.ndarray) -> dict[str, float]:
    """Return the quantiles of the counts above 0, by name, such as "50%"."""
    counts = counts[counts > 0]
    if not len(counts):
        return {}
    values = np.quantile(counts, QUANTILES)
    return {f"{q:.0%}": float(value) for q, value in zip(QUANTILES, values, strict=True)}
