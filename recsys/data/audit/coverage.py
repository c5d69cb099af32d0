"""Checks of users and items: unknown ones, unused ones, a k-core that is lost."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

import numpy as np

from recsys.data.audit.overlap import NamedParts, percent
from recsys.data.audit.time_order import SMALL
from recsys.data.finding import Finding, Severity
from recsys.data.types import Interactions

__all__ = ["cold", "core_after_split", "silent_items"]

Kind: TypeAlias = Literal["user", "item"]

_REMEDIES: dict[Kind, str] = {
    "user": "report them separately, or keep only users with training pairs",
    "item": "report them separately, or use a method that reads features",
}
_CLAIM = re.compile(r"(?:\b(user|item)[_ ])?(?:\b(\d+)-core|(?<![a-z])core[ =]+(\d+))")


def cold(kind: Kind, train: Interactions, held: NamedParts, *, with_features: bool) -> Finding:
    """Look for users or items that are held out and have no training interaction.

    Args:
        kind: which of the two.
        train: the training interactions.
        held: the held-out parts.
        with_features: whether they have features, so that a method can know new ones.
    """
    check = f"cold {kind}s"
    if not held:
        return Finding(check, "ok", 0, "not checked: the questions bring a history and no user")
    known = np.zeros(train.n_users if kind == "user" else train.n_items, dtype=bool)
    known[_rows(train, kind)] = True
    listing = []
    count = 0  # users or items
    n_pairs = 0
    largest = 0.0  # share of the pairs of a part
    for name, pairs in held:
        rows = _rows(pairs, kind)
        unknown = ~known[rows]
        here = len(np.unique(rows[unknown]))
        count += here
        n_pairs += int(unknown.sum())
        largest = max(largest, float(unknown.mean()))
        share = percent(int(unknown.sum()), len(pairs))
        listing.append(f"{here:,} {kind}s with {share} of the {name} pairs")
    if not n_pairs:
        return Finding(check, "ok", 0, f"every held-out {kind} is in train")
    if kind == "item":
        limit = f"without features no method scores above {1 - largest:.1%} recall there"
    elif with_features:
        limit = "without features of users no method can tell them apart"
    else:
        limit = "a method that learns from interactions cannot know them"
    severity: Severity = "warning" if largest >= SMALL else "ok"
    if largest == 1.0 and not with_features:
        severity = "error"
    message = f"not in train: {' and '.join(listing)}; {limit}"
    return Finding(check, severity, count, message, _REMEDIES[kind] if severity != "ok" else "")


def silent_items(train: Interactions, held: NamedParts) -> Finding:
    """Look for candidates that occur in no part: they can only be wrong answers."""
    check = "silent items"
    occurs = np.zeros(train.n_items, dtype=bool)
    for pairs in (train, *(part for _, part in held)):
        occurs[pairs.item] = True
    silent = int((~occurs).sum())
    share = percent(silent, train.n_items)
    message = f"{silent:,} of {train.n_items:,} candidate items occur in no part ({share})"
    if silent < SMALL * train.n_items:
        return Finding(check, "ok", silent, message)
    return Finding(
        check,
        "warning",
        silent,
        f"{message}: they can only be wrong answers",
        "drop them from the catalogue, or explain why they are candidates",
    )


def core_after_split(train: Interactions, history: Sequence[str], core: int | None) -> Finding:
    """Look whether train still has the k-core of the whole data.

    Args:
        train: the training interactions.
        history: of the data, which may claim a k-core.
        core: the k that is claimed; None: read from the history.
    """
    check = "core after split"
    claims = _claims(history)
    if core is not None:
        claims = {"user": core, "item": core}
    if not any(claims.values()):
        return Finding(check, "ok", 0, "not checked: the data claims no k-core")
    listing = []
    count = 0
    total = 0
    for kind, least in claims.items():
        counts = np.bincount(_rows(train, kind))
        present = int((counts > 0).sum())
        below = int(((counts > 0) & (counts < least)).sum())
        count += below
        total += present
        listing.append(f"{below:,} of {present:,} {kind}s have fewer than {least} training pairs")
    message = " and ".join(listing)
    if count < max(SMALL * total, 1):
        return Finding(check, "ok", count, message)
    return Finding(
        check,
        "warning",
        count,
        f"the k-core of the whole data does not hold in train: {message}",
        "do not call train a k-core; or take the core of train",
    )


def _claims(history: Iterable[str]) -> dict[Kind, int]:
    """Return the k-cores that a history claims, 0 for none; the last one counts.

    Examples are `k_core 5`, `item_core 5` and `5-core`.
    """
    claims: dict[Kind, int] = {"user": 0, "item": 0}
    for line in history:
        for kind, before, after in _CLAIM.findall(line):
            size = int(before or after)
            if kind != "item":
                claims["user"] = size
            if kind != "user":
                claims["item"] = size
    return claims


def _rows(pairs: Interactions, kind: Kind) -> np.ndarray:
    return pairs.user if kind == "user" else pairs.item
