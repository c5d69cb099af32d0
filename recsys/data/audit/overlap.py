"""Checks of pairs that occur more than once: inside a part, in two parts, or masked as seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from recsys.data.finding import Finding
from recsys.data.types import Interactions

__all__ = ["WITH_HISTORY", "NamedParts", "duplicates", "masked_users", "overlap", "percent"]

NamedParts: TypeAlias = Sequence[tuple[str, Interactions]]  # name and interactions of each part


WITH_HISTORY = "not checked: answers may repeat what is in the history"


def percent(part: int, whole: int) -> str:
    """Return a share as in "12.5%"."""
    return f"{part / max(whole, 1):.1%}"


def duplicates(parts: NamedParts) -> Finding:
    """Look for the same pair more than once inside one part."""
    extra = {name: len(pairs) - len(np.unique(pairs.key)) for name, pairs in parts}
    count = sum(extra.values())
    if not count:
        return Finding("duplicates", "ok", 0, "no pair occurs twice inside a part")
    listing = ", ".join(f"{n:,} in {name}" for name, n in extra.items() if n)
    return Finding(
        "duplicates",
        "warning",
        count,
        f"pairs that repeat an earlier one: {listing}; training weighs them several times",
        "merge duplicates before splitting",
    )


def overlap(parts: NamedParts) -> Finding:
    """Look for the same pair in two parts: it is known beforehand, or masked as seen."""
    if len(parts) == 1:
        return Finding("overlap", "ok", 0, WITH_HISTORY)
    listing = []
    count = 0
    for position, (first, a) in enumerate(parts):
        for second, b in parts[position + 1 :]:
            both = int(np.isin(b.key, a.key).sum())
            count += both
            if both:
                share = percent(both, len(b))
                listing.append(
                    f"{both:,} of {len(b):,} {second} pairs ({share}) are also in {first}"
                )
    if not count:
        return Finding("overlap", "ok", 0, "no pair is in two parts")
    return Finding(
        "overlap",
        "error",
        count,
        f"{'; '.join(listing)}: they are masked as seen and can never be hit, "
        "or are known beforehand where nothing is masked",
        "merge duplicates before splitting, or split again",
    )


def masked_users(parts: NamedParts) -> Finding:
    """Look for users whose held-out items are all masked as seen: every method scores 0 on them."""
    if len(parts) == 1:
        return Finding("masked users", "ok", 0, WITH_HISTORY)
    listing = []
    count = 0
    for position, (name, pairs) in enumerate(parts[1:], start=1):
        seen = np.concatenate([earlier.key for _, earlier in parts[:position]])
        has_open_item = np.zeros(pairs.n_users, dtype=bool)
        has_open_item[pairs.user[~np.isin(pairs.key, seen)]] = True
        users = np.unique(pairs.user)
        masked = int((~has_open_item[users]).sum())
        count += masked
        if masked:
            share = percent(masked, len(users))
            listing.append(f"{masked:,} of {len(users):,} {name} users ({share})")
    if not count:
        message = "every held-out user has a held-out item that is not masked as seen"
        return Finding("masked users", "ok", 0, message)
    return Finding(
        "masked users",
        "error",
        count,
        f"{' and '.join(listing)} have no item left to find: "
        "all their held-out items are masked as seen",
        "leave them out, or split again",
    )
