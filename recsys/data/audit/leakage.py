"""Features and labels that leak the held-out interactions.

What stays invisible: features learnt from train and test alike (a factorisation of all pairs) whose
single columns follow no popularity. Fit them on train, and no check is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # scipy.stats takes 0.6 s to import, and scipy imports it on first use

from recsys.data.audit.popularity import popularity_finding
from recsys.data.finding import Finding
from recsys.data.types import FeatureTable, Interactions
from recsys.statistics.roc import auc

__all__ = ["feature_findings", "label_findings"]

_USERS = 20_000  # users looked at; more of them make no test clearer
_FEW = 50  # users below which no test is worth reporting
_COLUMNS = 256  # of a feature table, multiplied at a time to bound memory
_LARGEST = 1 << 26  # numbers of a feature table that is checked as dense vectors
_SEPARATES = 0.99  # an AUC above which a column is the label
_FROM_CONTENT = "make the feature from content, or from train alone"


@dataclass(frozen=True)
class _Table:
    """A feature table under audit.

    Args:
        modality: its name.
        table: one row per item.
        name: of the held-out part.
    """

    modality: str
    table: FeatureTable
    name: str

    def check(self, subject: str) -> str:
        """Return the name of a check."""
        return f"feature {self.modality}: {subject}"


def feature_findings(
    train: Interactions,
    name: str,
    asked: Interactions,
    features: Mapping[str, FeatureTable],
    rng: np.random.Generator,
    *,
    by_chance: bool,
) -> list[Finding]:
    """Check every feature table for knowledge of the held-out interactions.

    Args:
        train: the training interactions.
        name: of the held-out part, in messages.
        asked: the held-out interactions, over the same items.
        features: tables with one row per item, by modality.
        rng: for permutations and simulations.
        by_chance: whether the parts were split at random, so that they differ in nothing else.

    Returns:
        Four findings per table: rows, presence, popularity, co-occurrence.
    """
    counts = train.item_counts()
    counts_asked = asked.item_counts()
    findings = []
    for modality, table in features.items():
        if len(table.present) != train.n_items:
            findings.append(
                Finding(
                    f"feature {modality}",
                    "error",
                    abs(len(table.present) - train.n_items),
                    f"{len(table.present):,} rows for {train.n_items:,} items",
                    "align the table with the item vocabulary",
                )
            )
            continue
        if train.n_items * table.dim > _LARGEST:
            message = f"not checked as dense vectors: {table.dim:,} columns"
            findings.append(Finding(f"feature {modality}", "ok", 0, message))
            continue
        under_audit = _Table(modality, table, name)
        findings += [
            _empty_rows(under_audit),
            _presence(under_audit, counts, counts_asked > 0),
            popularity_finding(
                under_audit.check("popularity"), name, table, counts, counts_asked, rng
            ),
            _co_occurrence(under_audit, train, asked, rng, by_chance=by_chance),
        ]
    return findings


def label_findings(
    train: Interactions,
    held: Sequence[tuple[str, Interactions]],
    features: Mapping[str, FeatureTable],
) -> list[Finding]:
    """Look for columns that give the noise label away, and for noise in the held-out parts.

    Args:
        train: the training interactions.
        held: name and interactions of each held-out part.
        features: tables of the items by modality.
    """
    if train.clean is None and all(pairs.clean is None for _, pairs in held):
        return [Finding("labels", "ok", 0, "not checked: no pair is labelled as noise or clean")]
    findings = _noisy_answers(held)
    if train.clean is None or len(np.unique(train.clean)) < 2:
        return findings or [
            Finding("labels", "ok", 0, "not checked: train does not have both labels")
        ]
    columns = _separating_columns(train, features)
    if not columns:
        return [*findings, Finding("labels", "ok", 0, "no column of train tells noise from clean")]
    listing = ", ".join(columns[:5]) + (" ..." if len(columns) > 5 else "")
    return [
        *findings,
        Finding(
            "labels",
            "error",
            len(columns),
            f"columns that tell noise from clean (AUC above {_SEPARATES}): {listing}",
            "drop them before a denoiser is trained or judged",
        ),
    ]


def _noisy_answers(held: Sequence[tuple[str, Interactions]]) -> list[Finding]:
    """Return a finding if held-out interactions are known to be noise."""
    noise = {name: int((pairs.clean == 0).sum()) for name, pairs in held if pairs.clean is not None}
    total = sum(noise.values())
    if not total:
        return []
    listing = ", ".join(f"{count:,} in {name}" for name, count in noise.items() if count)
    return [
        Finding(
            "noisy answers",
            "warning",
            total,
            f"held-out pairs known to be noise: {listing}",
            "keep clean pairs only, to judge a denoiser",
        )
    ]


def _separating_columns(train: Interactions, features: Mapping[str, FeatureTable]) -> list[str]:
    """Return the names of columns of the pairs or items that separate noise from clean pairs."""
    assert train.clean is not None
    clean: np.ndarray = np.equal(train.clean, 1)
    columns = [column for column, values in _pair_columns(train) if _separates(values, clean)]
    # No column of the items tells more than the share of clean pairs of each item.
    if _separates(_clean_share(train.item, clean, train.n_items), clean):
        columns += [
            f"{modality}[{d}]"
            for modality, table in features.items()
            if len(table.present) == train.n_items and train.n_items * table.dim <= _LARGEST
            for d in range(table.dim)
            if _separates(table.values[train.item, d], clean)
        ]
    return columns


def _empty_rows(under_audit: _Table) -> Finding:
    """Look for rows that count as present and are zeros or not finite: they should be missing."""
    table = under_audit.table
    check = under_audit.check("rows")
    norms = np.linalg.norm(table.values, axis=1)
    # A single number may well be 0.
    holds = np.isfinite(norms) & ((norms > 0) | (table.dim == 1))
    empty = int((table.present & ~holds).sum())
    if not empty:
        present = int(table.present.sum())
        return Finding(check, "ok", 0, f"the {present:,} rows that count as present hold numbers")
    return Finding(
        check,
        "warning",
        empty,
        f"{empty:,} rows that count as present are all zeros or hold no finite numbers",
        "mark them as missing: present = false",
    )


def _presence(under_audit: _Table, train: np.ndarray, asked: np.ndarray) -> Finding:
    """Look whether having the modality tells which items are held out, beyond train popularity.

    Items of the same train count are compared with each other (Mantel and Haenszel, 1959): popular
    items have more pictures, and are in every test.

    Args:
        under_audit: the table.
        train: training interactions per item [n_items].
        asked: which items are held out, bool [n_items].
    """
    present, name = under_audit.table.present, under_audit.name
    check = under_audit.check("present")
    if present.all() or not present.any():
        return Finding(check, "ok", 0, "every item has it" if present.all() else "no item has it")
    both, having = int((present & asked).sum()), int(present.sum())
    message = (
        f"{having:,} of {len(present):,} items have it, {int(asked.sum()):,} are in {name}, "
        f"{both:,} are both"
    )
    stratum = np.unique(train, return_inverse=True)[1]
    size, with_it, held_out = (
        np.bincount(stratum, mask).astype(float) for mask in (np.ones(len(train)), present, asked)
    )
    expected = float((with_it * held_out / size).sum())
    variance = (
        with_it
        * (size - with_it)
        * held_out
        * (size - held_out)
        / (size**2 * np.maximum(size - 1, 1))
    )
    surprise = (both - expected) / max(float(variance.sum()) ** 0.5, 1e-9)
    # How much more than by chance, of what could be.
    excess = (both - expected) / max(having - expected, 1e-9)
    if both > 0.99 * int((present | asked).sum()) or (surprise > 5 and excess > 0.99):
        return Finding(
            check,
            "error",
            both,
            f"only items of {name} have it: {message}",
            "collect it for all items alike, without looking at the test",
        )
    if surprise > 5 and excess > 0.5:
        return Finding(
            check,
            "warning",
            both,
            f"{message}, where train popularity explains {expected:,.0f}",
            f"find out who has it; if {name} pairs had a part, collect it for all items alike",
        )
    return Finding(check, "ok", 0, message)


def _co_occurrence(
    under_audit: _Table,
    train: Interactions,
    asked: Interactions,
    rng: np.random.Generator,
    *,
    by_chance: bool,
) -> Finding:
    """Look whether the held-out items of a user resemble each other more than the training items.

    If the parts were split at random and the features come from content, both are alike. Features
    learnt from test pairs draw the held-out items together. So does a split by time, because items
    of one session are alike: there it is only a hint.
    """
    table, name = under_audit.table, under_audit.name
    check = under_audit.check("co-occurrence")
    norms = np.linalg.norm(table.values, axis=1)
    usable = table.present & np.isfinite(norms) & (norms > 0)
    counts = [
        np.bincount(pairs.user[usable[pairs.item]], minlength=train.n_users)
        for pairs in (train, asked)
    ]
    users = np.flatnonzero((counts[0] >= 2) & (counts[1] >= 2))
    if len(users) < _FEW:
        return Finding(
            check,
            "ok",
            0,
            f"not checked: {len(users):,} users have two items with features "
            f"in train and in {name}",
        )
    if len(users) > _USERS:
        users = np.sort(rng.choice(users, _USERS, replace=False))
    values = np.where(usable[:, None], table.values, 0.0)
    values[usable] -= values[usable].mean(axis=0)
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    in_train = _mean_cosine(train, values, usable, users)
    in_asked = _mean_cosine(asked, values, usable, users)
    gap = in_asked - in_train
    effect = float(gap.mean() / max(gap.std(), 1e-12))
    p = (
        float(scipy.stats.ttest_1samp(gap, 0.0, alternative="greater").pvalue)
        if gap.std() > 0
        else 1.0
    )
    message = (
        f"mean cosine between items of one user: {in_asked.mean():.2f} in {name}, "
        f"{in_train.mean():.2f} in train (p = {p:.1g}, {effect:+.2f} standard deviations)"
    )
    if p > 0.001 or effect < 0.2:
        return Finding(check, "ok", 0, message)
    if by_chance and effect >= 0.5:
        return Finding(check, "error", len(users), message, _FROM_CONTENT)
    if not by_chance:
        message += "; where the split follows time, items of one session may be alike anyway"
    remedy = f"find out how it was made, and whether {name} pairs had a part"
    return Finding(check, "warning", len(users), message, remedy)


def _mean_cosine(
    pairs: Interactions, values: np.ndarray, usable: np.ndarray, users: np.ndarray
) -> np.ndarray:
    """Return the mean cosine between two items of each user, [users].

    Args:
        pairs: the interactions.
        values: centred vectors of the items, of length 1 [n_items, d].
        usable: which items have a vector, bool [n_items].
        users: rows of users with at least two usable items.
    """
    kept = pairs.take(usable[pairs.item]).csr[users]
    degree = np.diff(kept.indptr)
    sums = np.zeros(len(users))
    for first in range(0, values.shape[1], _COLUMNS):
        sums += np.square(kept @ values[:, first : first + _COLUMNS]).sum(axis=1)
    cosine: np.ndarray = (sums - degree) / np.maximum(degree * (degree - 1), 1)
    return cosine


def _pair_columns(train: Interactions) -> Iterator[tuple[str, np.ndarray]]:
    """Yield name and values of each column of the interactions, [n]."""
    for column in ("weight", "time"):
        values = getattr(train, column)
        if values is not None:
            yield column, values
    if train.behaviour is not None:
        for code, behaviour in enumerate(train.behaviours):
            yield f"behaviour {behaviour}", train.behaviour == code


def _clean_share(item: np.ndarray, clean: np.ndarray, n_items: int) -> np.ndarray:
    """Return the share of clean pairs of each pair's item, [n]."""
    share = np.bincount(item, clean, n_items) / np.maximum(np.bincount(item, minlength=n_items), 1)
    return share[item]


def _separates(values: np.ndarray, clean: np.ndarray) -> bool:
    """Return whether values separate clean pairs from noise, either way round."""
    area = auc(values, clean)
    return max(area, 1 - area) > _SEPARATES
