"""A data set in numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from recsys.data.load import LoadedData
from recsys.data.times import iso_time
from recsys.data.types import Sealed, Split

__all__ = ["QUANTILES", "summary"]

QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


def summary(loaded: LoadedData) -> dict[str, Any]:
    """What there is to know before a first experiment, as plain values; of a split source the numbers of its train part.

    Returns:
        users, items: sizes of the vocabularies, and how many of them occur; interactions, valid, test: pairs; density: pairs
        over users times items; per_user, per_item: quantiles of the counts of those that occur; time: first and last, ISO
        8601, UTC, null where there are none; weight: smallest, mean, largest; labels: share of clean pairs among the
        labelled; behaviours: count by name; features: dim and share of items that have it, by name; titles: share of items
        with one; history: what was done while reading; findings: what looked wrong or did not fit; fingerprint: SHA-256 over
        all parts.
    """
    data, parts = loaded.dataset, loaded.parts or (None, None)
    pairs = data.pairs
    per_user, per_item = (
        np.bincount(pairs.user, minlength=data.n_users),
        np.bincount(pairs.item, minlength=data.n_items),
    )
    return {
        "users": data.n_users,
        "items": data.n_items,
        "users_that_occur": int((per_user > 0).sum()),
        "items_that_occur": int((per_item > 0).sum()),
        "interactions": len(pairs),
        "valid": None if parts[0] is None else len(parts[0]),
        "test": None if parts[1] is None else len(parts[1]),
        "density": len(pairs) / max(1, data.n_users * data.n_items),
        "per_user": _quantiles(per_user),
        "per_item": _quantiles(per_item),
        "time": None
        if pairs.time is None or not len(pairs)
        else [iso_time(int(end), pairs.time_unit) for end in (pairs.time.min(), pairs.time.max())],
        "weight": None
        if pairs.weight is None or not len(pairs)
        else [float(f(pairs.weight)) for f in (np.min, np.mean, np.max)],
        "labels": None
        if pairs.label is None or not len(pairs)
        else float((pairs.label == 1).mean()),
        "behaviours": None
        if pairs.behaviour is None
        else dict(
            zip(
                pairs.behaviours,
                np.bincount(pairs.behaviour, minlength=len(pairs.behaviours)).tolist(),
                strict=True,
            )
        ),
        "features": {
            name: {"dim": table.dim, "present": float(table.present.mean())}
            for name, table in data.features.items()
        },
        "titles": None
        if data.titles is None
        else 1 - data.titles.null_count() / max(1, data.n_items),
        "history": list(data.history),
        "findings": [
            {"check": finding.check, "severity": finding.severity, "message": finding.message}
            for finding in data.findings
        ],
        "fingerprint": _fingerprint(loaded),
    }


def _fingerprint(loaded: LoadedData) -> str:
    """That of the data set, or of all parts where there are several."""
    if loaded.parts is None:
        return loaded.dataset.fingerprint
    valid, test = loaded.parts
    return Split(loaded.dataset, valid, Sealed(test) if test is not None else None).fingerprint


def _quantiles(counts: np.ndarray) -> dict[str, float]:
    counts = counts[counts > 0]
    return (
        {
            f"{q:.0%}": float(value)
            for q, value in zip(QUANTILES, np.quantile(counts, QUANTILES), strict=True)
        }
        if len(counts)
        else {}
    )
