"""Which events know a held-out answer: those of the same user and item, from its time on."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from recsys.data.interactions import Interactions
from recsys.data.times import TICKS, rescale

__all__ = ["Cut", "unknowing"]

# Whom a rule has one cut in time for: no user, each user, or all users together.
Cut: TypeAlias = Literal["none", "user", "all"]


def unknowing(events: Interactions, held: Interactions, cut: Cut = "none") -> np.ndarray:
    """Return which events do not know a held-out pair, bool [m].

    An event of a held-out user and item knows it at its time and later; without times, always.
    With a cut, so does every event of the user, or of all users, from the first held-out pair on.

    Args:
        events: m events over the same users and items as `held`.
        held: n held-out pairs.
        cut: whom the rule has a cut in time for.
    """
    if not len(held):
        return np.ones(len(events), dtype=bool)
    order = np.argsort(held.key, kind="stable")
    keys = held.key[order]
    place = np.minimum(np.searchsorted(keys, events.key), len(keys) - 1)
    same = keys[place] == events.key
    if events.time is None or held.time is None:
        return ~same
    unit = max(events.time_unit, held.time_unit, key=lambda each: TICKS[each])
    time = rescale(events.time, events.time_unit, unit)
    held_time = rescale(held.time, held.time_unit, unit)
    kept = ~same | (time < held_time[order][place])
    if cut == "user":
        first = np.full(held.n_users, np.iinfo(np.int64).max, dtype=np.int64)
        np.minimum.at(first, held.user, held_time)
        kept &= time < first[events.user]
    elif cut == "all":
        kept &= time < held_time.min()
    return kept
