"""Figures of a data set: sizes, density, quantiles, time span."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from recsys.data.features.attribute_table import AttributeTable
from recsys.data.finding import Finding
from recsys.data.load import LoadedData
from recsys.data.log_figures import (
    Clicks,
    LogSize,
    SessionSize,
    TimeOrder,
    clicks_of,
    log_size,
    positives,
    quantiles,
    session_size,
    time_order,
)
from recsys.data.times import iso_time
from recsys.data.types import Dataset, FeatureTable, HeldOut, Interactions, Sealed, Split

__all__ = [
    "QUANTILES",
    "RelationSize",
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
        dim: length of a vector, or number of columns.
        present: share of items, or users, with a vector.
        missing: of attributes, share of rows without a value by column of the file.
    """

    dim: int
    present: float
    missing: Mapping[str, float] | None = None


@dataclass(frozen=True)
class RelationSize:
    """The size of a graph of relations.

    Args:
        triples, entities, relations: their numbers; entities include all items, or all users.
        linked: share of the items or users that have a triple.
    """

    triples: int
    entities: int
    relations: int
    linked: float


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
        behaviours: number of events of the log by name, or None. Of a log of clicks, those that
            were clicked.
        auxiliary: number of events of each auxiliary behaviour by name, or None.
        log: size of the log; None if it is not kept.
        order: how far times order the events of each user in the log; None without times.
        sessions: number and lengths of the sessions in the log, or None.
        clicks: what was shown and clicked; None if that is not known.
        features: size of each feature table, by modality.
        user_features: size of each table of users, by name.
        relations: size of each graph of relations, by name.
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
    auxiliary: Mapping[str, int] | None
    log: LogSize | None
    order: TimeOrder | None
    sessions: SessionSize | None
    clicks: Clicks | None
    features: Mapping[str, TableSize]
    user_features: Mapping[str, TableSize]
    relations: Mapping[str, RelationSize]
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
    pairs, events = data.pairs, positives(data.log)
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
        per_user=quantiles(per_user, QUANTILES),
        per_item=quantiles(per_item, QUANTILES),
        time=_time_span(pairs),
        weight=_weight_range(pairs),
        labels=_share_of_clean(pairs),
        behaviours=_behaviour_counts(events),
        auxiliary=None if data.auxiliary is None else _behaviour_counts(data.auxiliary),
        log=None if data.events is None else log_size(events),
        order=time_order(events),
        sessions=session_size(events),
        clicks=clicks_of(data.log),
        features=_table_sizes(data.features),
        user_features=_table_sizes(data.user_features),
        relations={
            name: RelationSize(
                len(each), each.n_entities, len(each.names), float(each.linked.mean())
            )
            for name, each in data.relations.items()
        },
        titles=_share_of_titles(data),
        history=tuple(data.history),
        findings=tuple(data.findings),
        fingerprint=_fingerprint(loaded),
    )


def _table_sizes(tables: Mapping[str, FeatureTable]) -> dict[str, TableSize]:
    return {
        name: TableSize(
            table.dim,
            float(table.present.mean()),
            dict(table.gaps) if isinstance(table, AttributeTable) else None,
        )
        for name, table in tables.items()
    }


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
    valid, test = (None if part is None else HeldOut.of_pairs(part) for part in loaded.parts)
    return Split(loaded.dataset, valid, None if test is None else Sealed(test)).fingerprint
