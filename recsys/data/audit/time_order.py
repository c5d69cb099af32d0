"""Checks of time: held-out pairs that are older than what is known, and ties of equal time."""

from __future__ import annotations

import functools
import re

import numpy as np

from recsys.data.audit.overlap import NamedParts, percent
from recsys.data.finding import Finding, Severity
from recsys.data.splitting.ties import cut_ties
from recsys.data.types import Interactions, join

__all__ = ["SMALL", "equal_times", "future_in_train", "is_exchangeable", "time_order"]

# Held-out pairs below this share change a metric in the third digit at most.
SMALL = 0.01

# Words of a rule that splits in time order.
_IN_TIME = re.compile(r"\bby_(time|last)|\blast \d|leave.last|in time|temporal|chrono")
_NO_TIMES = "not checked: the pairs have no time stamps"


def _have_times(train: Interactions, held: NamedParts) -> bool:
    return train.time is not None and all(pairs.time is not None for _, pairs in held)


def time_order(train: Interactions, held: NamedParts, rule: str) -> Finding:
    """Look for held-out pairs that are older than an earlier part's pair of the same user.

    Args:
        train: the training interactions.
        held: the held-out parts.
        rule: of the split, in words.
    """
    check = "time order"
    if not _have_times(train, held):
        return Finding(check, "ok", 0, _NO_TIMES)
    last = np.full(train.n_users, np.iinfo(np.int64).min)
    assert train.time is not None
    np.maximum.at(last, train.user, train.time)
    listing = []
    count = 0
    for name, pairs in held:
        assert pairs.time is not None
        early = int((pairs.time < last[pairs.user]).sum())
        count += early
        listing.append(f"{percent(early, len(pairs))} of {name}")
        np.maximum.at(last, pairs.user, pairs.time)
    if not count:
        message = "no held-out pair is older than an earlier part's pair of the same user"
        return Finding(check, "ok", 0, message)
    message = (
        f"{' and '.join(listing)} pairs are older than an earlier part's pair of the same user; "
        f"{_one_cut(train, held)}"
    )
    if _IN_TIME.search(rule.lower()):
        return Finding(
            check,
            "error",
            count,
            f"{message}; yet the split is described as '{rule}'",
            "check the time column, and split again",
        )
    if count < SMALL * sum(len(pairs) for _, pairs in held):
        return Finding(check, "ok", count, message)
    return Finding(
        check,
        "warning",
        count,
        message,
        "split by = 'time' or 'last' to measure predictions of the future",
    )


def equal_times(train: Interactions, held: NamedParts, rule: str) -> Finding:
    """Look for users whose first held-out pair has the time of their last earlier one.

    Args:
        train: the training interactions.
        held: the held-out parts.
        rule: of the split, in words.
    """
    check = "equal times"
    if not _have_times(train, held):
        return Finding(check, "ok", 0, _NO_TIMES)
    if not _IN_TIME.search(rule.lower()):
        return Finding(check, "ok", 0, "not checked: the split is not in time order")
    parts = [train, *(pairs for _, pairs in held)]
    number = np.concatenate([np.full(len(part), i, dtype=np.int8) for i, part in enumerate(parts)])
    tied, cut = cut_ties(functools.reduce(join, parts), number)
    if not tied:
        return Finding(check, "ok", 0, "no user is split among pairs of equal time")
    message = (
        f"{tied:,} of {cut:,} users ({percent(tied, cut)}) are split among pairs of equal time: "
        "the order of the file, or a hash, decides which of them are held out"
    )
    severity: Severity = "ok" if tied < SMALL * cut else "warning"
    remedy = "give finer times, or split by = 'time', which keeps equal times together"
    return Finding(check, severity, tied, message, remedy if severity == "warning" else "")


def future_in_train(train: Interactions, held: NamedParts) -> Finding:
    """Measure how much of train is younger than a held-out pair, of any user: trends are known."""
    check = "future in train"
    name, pairs = held[-1]
    if train.time is None or pairs.time is None:
        return Finding(check, "ok", 0, _NO_TIMES)
    ordered = np.sort(train.time)
    after = len(ordered) - np.searchsorted(ordered, pairs.time, side="right")
    count = int((after > 0).sum())
    mean = float(after.mean()) / len(ordered)
    message = f"on average {mean:.1%} of train is younger than a {name} pair"
    if mean < SMALL:
        return Finding(check, "ok", count, message)
    return Finding(
        check,
        "warning",
        count,
        f"{message} (0 % in a split by time, 50 % in a random one): "
        "what becomes popular is known beforehand",
        "split by = 'time' to measure predictions of the future",
    )


def is_exchangeable(train: Interactions, pairs: Interactions, rule: str) -> bool:
    """Return whether train and held-out pairs differ only by chance.

    They do if they are equally old; without times, if the rule says that they were drawn.
    """
    if train.time is None or pairs.time is None:
        return re.search(r"random|libcml", rule.lower()) is not None
    ordered = np.sort(train.time)
    return bool(abs(np.searchsorted(ordered, pairs.time).mean() / len(ordered) - 0.5) < 0.05)


def _one_cut(train: Interactions, held: NamedParts) -> str:
    """Describe what one cut in time would hold out, with a train part of the same size."""
    parts = [train, *(pairs for _, pairs in held)]
    user = np.concatenate([part.user for part in parts])
    item = np.concatenate([part.item for part in parts])
    time = np.concatenate([part.time for part in parts if part.time is not None])
    cut = np.sort(time)[len(train)]
    later = time >= cut
    known_users = np.zeros(train.n_users, dtype=bool)
    known_items = np.zeros(train.n_items, dtype=bool)
    known_users[user[~later]] = True
    known_items[item[~later]] = True
    warm = int((known_users[user[later]] & known_items[item[later]]).sum())
    total = int(later.sum())
    day = np.datetime64(int(cut), "s").astype("datetime64[D]")
    return (
        f"one cut at {day} would hold out {total:,} pairs, "
        f"{percent(warm, total)} of them by known users of known items"
    )
