"""Figures of a data set: sizes, density, quantiles, time span."""

from __future__ import annotations

from typing import Any

import numpy as np

from recsys.data.load import LoadedData
from recsys.data.times import iso_time
from recsys.data.types import Dataset, Interactions, Sealed, Split

__all__ = ["QUANTILES", "summary"]

QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


def summary(loaded: LoadedData) -> dict[str, Any]:
    """Return the figures of a data set as plain values, ready for JSON.

    For a source that is already split, the figures are those of its train part.

    Args:
        loaded: what `load` returns.

    Returns:
        A dict with the keys
        users, items: sizes of the vocabularies;
        users_that_occur, items_that_occur: those with interactions;
        interactions, valid, test: number of pairs, None for a part that does not exist;
        density: pairs over users times items;
        per_user, per_item: quantiles of the counts of those that occur;
        time: first and last time, ISO 8601 in UTC, or None;
        weight: smallest, mean and largest weight, or None;
        labels: share of clean pairs, or None;
        behaviours: count by name, or None;
        features: `dim` and share of items that are `present`, by name;
        titles: share of items with a title, or None;
        history: what was done while reading, one line a step;
        findings: check, severity and message of each warning;
        fingerprint: SHA-256 over all parts.
    """
    data = loaded.dataset
    valid, test = loaded.parts or (None, None)
    per_user, per_item = data.pairs.user_counts(), data.pairs.item_counts()
    return {
        "users": data.n_users,
        "items": data.n_items,
        "users_that_occur": int((per_user > 0).sum()),
        "items_that_occur": int((per_item > 0).sum()),
        "interactions": len(data.pairs),
        "valid": None if valid is None else len(valid),
        "test": None if test is None else len(test),
        "density": len(data.pairs) / max(1, data.n_users * data.n_items),
        "per_user": _quantiles(per_user),
        "per_item": _quantiles(per_item),
        **_of_columns(data.pairs),
        "features": {
            name: {"dim": table.dim, "present": float(table.present.mean())}
            for name, table in data.features.items()
        },
        "titles": _share_of_titles(data),
        "history": list(data.history),
        "findings": [
            {"check": finding.check, "severity": finding.severity, "message": finding.message}
            for finding in data.findings
        ],
        "fingerprint": _fingerprint(loaded),
    }


def _of_columns(pairs: Interactions) -> dict[str, Any]:
    """Return the figures of time, weight, labels and behaviours; None for a missing column."""
    time = weight = labels = behaviours = None
    if pairs.time is not None and len(pairs):
        ends = (pairs.time.min(), pairs.time.max())
        time = [iso_time(int(end), pairs.time_unit) for end in ends]
    if pairs.weight is not None and len(pairs):
        weight = [float(figure(pairs.weight)) for figure in (np.min, np.mean, np.max)]
    if pairs.label is not None and len(pairs):
        labels = float((pairs.label == 1).mean())
    if pairs.behaviour is not None:
        counts = np.bincount(pairs.behaviour, minlength=len(pairs.behaviours))
        behaviours = dict(zip(pairs.behaviours, counts.tolist(), strict=True))
    return {"time": time, "weight": weight, "labels": labels, "behaviours": behaviours}


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
