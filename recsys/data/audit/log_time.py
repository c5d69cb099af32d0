"""Checks of the log in time: what is later than a cut, and what has no order."""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

import numpy as np

from recsys.data.audit.overlap import NamedParts, percent
from recsys.data.audit.time_order import SMALL
from recsys.data.finding import Finding
from recsys.data.times import TICKS, Unit, rescale
from recsys.data.types import Interactions, Split

__all__ = ["Cut", "after_the_cut", "constant_times", "cut_of", "later_of_others", "single_events"]

# Whom a rule has one cut in time for.
Cut: TypeAlias = Literal["user", "all"]

_OF_USER = re.compile(r"\bby_last|\blast \d|leave.last|per user, in time")
_OF_ALL = re.compile(r"\bby_time|\bin time, (test|valid|window)|per all, in time|temporal|chrono")
_NO_TIMES = "not checked: the events have no time stamps"
_NO_CUT = "not checked: the split has no cut in time"


def cut_of(rule: str) -> Cut | None:
    """Return whether a rule, in words, has a cut for each user or one for all; None for no cut."""
    words = rule.lower()
    if _OF_USER.search(words):
        return "user"
    return "all" if _OF_ALL.search(words) else None


def after_the_cut(split: Split, held: NamedParts) -> Finding:
    """Look for events of the log that are later than the first held-out pair.

    The log of the refit, with the events of valid, must end before the test. Events at the very
    moment of the cut are allowed: their order decides.

    Args:
        split: its train part has a log.
        held: the held-out parts.
    """
    check = "events after the cut"
    log, cut = split.train.log, cut_of(split.rule)
    if not _have_times(log, held):
        return Finding(check, "ok", 0, _NO_TIMES)
    if cut is None:
        return Finding(check, "ok", 0, _NO_CUT)
    count = int(_is_late(log, held, cut).sum())
    listing = [f"{count:,} of the {len(log):,} events of train"] if count else []
    later, test = split.valid_log, held[-1:]
    if later is not None and later.time is not None and test[0][0] == "test":
        of_valid = int(_is_late(later, test, cut).sum())
        count += of_valid
        if of_valid:
            listing.append(f"{of_valid:,} of the {len(later):,} events that the refit adds")
    whom = "of their user" if cut == "user" else "of all users"
    if not count:
        return Finding(check, "ok", 0, f"the log ends before the first held-out pair {whom}")
    return Finding(
        check,
        "error",
        count,
        f"{' and '.join(listing)} are later than the first held-out pair {whom}: "
        "what is asked for is known from what follows it",
        "cut the log where the pairs are cut",
    )


def later_of_others(log: Interactions, held: NamedParts, rule: str) -> Finding:
    """Measure how much of the log is later than an answer, where each user has a cut of their own.

    Leave-last splits train on what other users did after the answer: a leak by the global clock. It
    belongs to the rule, and most published tables of next-item methods have it.

    Args:
        log: events of train.
        held: the held-out parts.
        rule: of the split, in words.
    """
    check = "later events of others"
    if not _have_times(log, held):
        return Finding(check, "ok", 0, _NO_TIMES)
    if cut_of(rule) != "user":
        return Finding(check, "ok", 0, "not checked: the split has no cut for each user")
    name, pairs = held[-1]
    unit = _finest([log, pairs])
    ordered = np.sort(_times(log, unit))
    later = len(ordered) - np.searchsorted(ordered, _times(pairs, unit), side="right")
    count = int((later > 0).sum())
    median = float(np.median(later)) / max(1, len(ordered))
    message = (
        f"{count:,} of {len(pairs):,} {name} pairs ({percent(count, len(pairs))}) are earlier than "
        f"some event of train, the median pair than {median:.1%} of them"
    )
    if median < SMALL:
        return Finding(check, "ok", count, message)
    return Finding(
        check,
        "warning",
        count,
        f"{message}: a leak by the global clock, because other users' later events tell what "
        "becomes popular; most published leave-last tables have it",
        "say so where the numbers are, or split by = 'time'",
    )


def constant_times(log: Interactions, held: NamedParts) -> Finding:
    """Look for users with several events, all at one time: the file alone orders them.

    Args:
        log: events of train.
        held: the held-out parts.
    """
    check = "constant times"
    if not _have_times(log, held):
        return Finding(check, "ok", 0, _NO_TIMES)
    parts = [log, *(pairs for _, pairs in held)]
    unit = _finest(parts)
    user = np.concatenate([part.user for part in parts])
    time = np.concatenate([_times(part, unit) for part in parts])
    first = np.full(log.n_users, np.iinfo(np.int64).max)
    last = np.full(log.n_users, np.iinfo(np.int64).min)
    np.minimum.at(first, user, time)
    np.maximum.at(last, user, time)
    several = np.bincount(user, minlength=log.n_users) > 1
    count, total = int((several & (first == last)).sum()), int(several.sum())
    message = (
        f"{count:,} of {total:,} users with several events ({percent(count, total)}) have all of "
        "them at one time"
    )
    if count < max(1, SMALL * total):
        return Finding(check, "ok", count, message)
    return Finding(
        check,
        "warning",
        count,
        f"{message}: the order of the file decides what comes next",
        "give finer times, or leave these users out where the order matters",
    )


def single_events(log: Interactions) -> Finding:
    """Look for users with a single event in train: it is followed by nothing to learn from.

    Args:
        log: events of train.
    """
    check = "users with one event"
    counts = log.histories.length
    count, total = int((counts == 1).sum()), int((counts > 0).sum())
    message = f"{count:,} of {total:,} users ({percent(count, total)}) have one event in train"
    if count < max(1, SMALL * total):
        return Finding(check, "ok", count, message)
    return Finding(
        check,
        "warning",
        count,
        f"{message}: a method of sequences learns nothing from them",
        "leave them out with min_user, or report them separately",
    )


def _is_late(log: Interactions, held: NamedParts, cut: Cut) -> np.ndarray:
    """Return which events are later than the first held-out pair of their user, or of all [m]."""
    unit = _finest([log, *(pairs for _, pairs in held)])
    limit = np.full(log.n_users, np.iinfo(np.int64).max)
    for _, pairs in held:
        np.minimum.at(limit, pairs.user, _times(pairs, unit))
    if cut == "all":
        limit[:] = limit.min()
    return np.asarray(_times(log, unit) > limit[log.user])


def _have_times(log: Interactions, held: NamedParts) -> bool:
    return log.time is not None and all(pairs.time is not None for _, pairs in held)


def _finest(parts: list[Interactions]) -> Unit:
    """Return the finest unit of time of some interactions."""
    return max((part.time_unit for part in parts), key=lambda unit: TICKS[unit])


def _times(part: Interactions, unit: Unit) -> np.ndarray:
    """Return times, int64 [n], in a unit as fine as their own or finer."""
    assert part.time is not None
    return rescale(part.time, part.time_unit, unit)
