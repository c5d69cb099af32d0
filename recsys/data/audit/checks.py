"""Leakage and health of a split: does a number measured on it mean what it says?

Every check returns one `Finding`, whether it found something or not:

    error    a number measured on this split is wrong: the answer leaks into training, or cannot be
             given at all
    warning  the number is right, but for a question that may not be the one that is asked
    ok       nothing found, or too little to matter
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import polars as pl

from recsys.data.audit.coverage import cold, core_after_split, silent_items
from recsys.data.audit.leakage import feature_findings, label_findings
from recsys.data.audit.overlap import duplicates, masked_users, overlap
from recsys.data.audit.shift import popularity_shift
from recsys.data.audit.time_order import (
    equal_times,
    future_in_train,
    is_exchangeable,
    time_order,
)
from recsys.data.finding import Finding
from recsys.data.types import FeatureTable, Interactions, Split

__all__ = ["Finding", "audit", "table", "worst"]


def audit(
    split: Split,
    *,
    features: Mapping[str, FeatureTable] | None = None,
    core: int | None = None,
    seed: int = 0,
) -> list[Finding]:
    """Look for what would make numbers measured on a split wrong or misleading.

    Args:
        split: the split. Its test is opened once, with the reason "audit".
        features: item features to check [n_items, d]; by default those of the training data.
        core: the k of the k-core that the data should be; by default read from the data's history.
        seed: of the permutations and simulations.

    Returns:
        One finding per check, in a fixed order; the same ones for the same seed. Those of reading
        and splitting come last.
    """
    train = split.train.pairs
    features = split.train.features if features is None else features
    held: list[tuple[str, Interactions]] = []
    if split.valid is not None and len(split.valid):
        held.append(("valid", split.valid))
    if split.test is not None and len(split.test):
        held.append(("test", split.test.open("audit")))
    parts = [("train", train), *held]
    repeated = duplicates(parts)
    if not len(train) or not held:
        return [repeated, _empty_parts(train)]
    rng = np.random.default_rng(seed)
    name, asked = held[-1]
    findings = [
        repeated,
        overlap(parts),
        masked_users(parts),
        time_order(train, held, split.rule),
        equal_times(train, held, split.rule),
        future_in_train(train, held),
        cold("user", train, held, with_features=bool(features)),
        cold("item", train, held, with_features=bool(features)),
        silent_items(train, held),
        popularity_shift(train, name, asked, rng),
        core_after_split(train, split.train.history, core),
    ]
    by_chance = is_exchangeable(train, asked, split.rule)
    findings += feature_findings(train, name, asked, features, rng, by_chance=by_chance)
    findings += label_findings(train, held, features)
    return [*findings, *split.train.findings]


def table(findings: Iterable[Finding]) -> pl.DataFrame:
    """Return findings as a table, the gravest first.

    Returns:
        The columns check, severity, count, message, remedy.
    """
    rows = sorted(findings, key=lambda finding: -finding.gravity)
    columns = {
        name: pl.Int64 if name == "count" else pl.String
        for name in ("check", "severity", "count", "message", "remedy")
    }
    return pl.DataFrame(
        [{name: getattr(row, name) for name in columns} for row in rows], schema=columns
    )


def worst(findings: Iterable[Finding]) -> str:
    """Return the gravest severity among findings, "ok" without findings."""
    severities = sorted(findings, key=lambda finding: finding.gravity)
    return severities[-1].severity if severities else "ok"


def _empty_parts(train: Interactions) -> Finding:
    message = "nothing is held out: valid and test are empty"
    if not len(train):
        message = "train is empty"
    return Finding(
        "empty parts", "error", 1, message, "loosen the filters, or the ratios of the split"
    )
