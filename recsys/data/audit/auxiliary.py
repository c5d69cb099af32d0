"""Checks of auxiliary events: answers that they know, and what their absence tells."""

from __future__ import annotations

import numpy as np

from recsys.data.answers import unknowing
from recsys.data.audit.answers import NamedQuestions
from recsys.data.finding import Finding
from recsys.data.interactions import contains
from recsys.data.types import Interactions, Split

__all__ = ["known_answers", "missing_events"]

_LARGE = 0.1  # difference of two shares that is worth a warning


def known_answers(split: Split, asked: NamedQuestions) -> Finding:
    """Look for auxiliary events of held-out pairs, at or after their time, or without times.

    Args:
        split: its train part has auxiliary events.
        asked: the held-out parts.
    """
    check = "answers in auxiliary events"
    count = 0
    listing = []
    for name, part in asked:
        known = 0
        for events in _events_for(split, name):
            known += int((~unknowing(events, part.pairs)).sum())
        count += known
        if known:
            listing.append(f"{known:,} events of {name} pairs")
    if not count:
        return Finding(check, "ok", 0, "no auxiliary event is of a held-out pair and after it")
    return Finding(
        check,
        "error",
        count,
        f"{' and '.join(listing)} are among the auxiliary events: they know the answer",
        "remove the auxiliary events of held-out pairs at or after their time",
    )


def missing_events(split: Split, asked: NamedQuestions) -> Finding:
    """Compare how many pairs of train and of each held-out part have an auxiliary event.

    Where every event of a held-out pair has been removed, a method learns in train that a view
    precedes a purchase, and is asked for purchases without a view. What was viewed and not bought
    in train is then never an answer: a method that avoids it gains what no shop would.

    Args:
        split: its train part has auxiliary events.
        asked: the held-out parts.
    """
    check = "auxiliary events of answers"
    train = split.train
    assert train.auxiliary is not None
    own = _share(train.pairs, train.auxiliary)
    lowest = 1.0
    listing = []
    count = 0
    for name, part in asked:
        share = _share(part.pairs, train.auxiliary)
        if own - share > _LARGE:
            count += len(part.pairs)
        lowest = min(lowest, share)
        listing.append(f"{share:.1%} of the {name} pairs")
    message = f"{own:.1%} of the train pairs have an auxiliary event, {' and '.join(listing)}"
    if own - lowest <= _LARGE:
        return Finding(check, "ok", 0, message)
    return Finding(
        check,
        "warning",
        count,
        f"{message}: what precedes an answer has been removed, so the value of auxiliary events "
        "is underestimated, or its absence gives answers away",
        "give times, so that earlier events of held-out pairs stay",
    )


def _events_for(split: Split, name: str) -> list[Interactions]:
    """Return the auxiliary events that are known when a part is asked."""
    known = [split.train.auxiliary, split.valid_auxiliary if name == "test" else None]
    return [events for events in known if events is not None]


def _share(pairs: Interactions, events: Interactions) -> float:
    """Return the share of pairs with an event."""
    return float(contains(np.unique(events.key), pairs.key).mean()) if len(pairs) else 0.0
