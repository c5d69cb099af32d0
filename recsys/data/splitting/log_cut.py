"""The part of the log that a split leaves to train, consistent with its pairs.

No event of a held-out pair stays in train, whichever rule split the pairs. Rules in time order also
end the log before the first held-out row: of the user, or of all users if the rule has one cut for
all. An event at that very time stays only if its pair is a pair of train, as the pair does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from recsys.data.splitting.event_pairs import among
from recsys.data.splitting.rules import TEST, VALID, Moment, time_point
from recsys.data.splitting.settings import SplitRule
from recsys.data.times import rescale
from recsys.data.types import Dataset, Interactions, join

__all__ = ["CutLog", "LogCut", "cut_log", "cut_of", "cut_presplit", "without_pairs"]


@dataclass(frozen=True)
class LogCut:
    """What a rule cuts off besides the events of held-out pairs.

    Args:
        order: "none": nothing. "user" or "all": events of the user, or of all users, from the first
            held-out row on. "time": events from a point in time on. "new-item": all events of items
            without a pair in train.
        valid_from, test_from: the points in time of "time", as in `by_time`.
    """

    order: Literal["none", "user", "all", "time", "new-item"] = "none"
    valid_from: Moment = None
    test_from: Moment = None


@dataclass(frozen=True)
class CutLog:
    """The events that a split leaves to train.

    Args:
        train: the log of train, or None if the log is not kept.
        valid: the events that join it when valid joins train, or None.
    """

    train: Interactions | None = None
    valid: Interactions | None = None


def cut_of(by: str, rule: SplitRule) -> LogCut:
    """Return what a rule cuts off besides the events of held-out pairs.

    Args:
        by: the rule that splits the pairs.
        rule: its settings.
    """
    match by:
        case "time":
            return LogCut("time", rule.valid_from, rule.test_from)
        case "last":
            return LogCut("user")
        case "new-item":
            return LogCut("new-item")
        case "ratio" | "label" if rule.order == "time":
            return LogCut(rule.per)
    return LogCut()


def cut_log(data: Dataset, part: np.ndarray, train: Interactions, cut: LogCut) -> CutLog:
    """Return the log of train, and the events that a refit adds to it.

    Args:
        data: the whole log.
        part: of each pair: 0 train, 1 valid, 2 test; [n].
        train: the pairs of train. They are the log of train if `data.log` is `data.pairs`.
        cut: what the rule cuts off besides the events of held-out pairs.
    """
    if data.events is None:
        return CutLog()
    if data.log is data.pairs:
        return CutLog(train)
    first = cut.test_from if cut.valid_from is None else cut.valid_from
    in_train = _kept(data, part >= VALID, cut, first)
    in_refit = _kept(data, part == TEST, cut, cut.test_from)
    log = data.log
    return CutLog(log.take(in_train), log.take(in_refit & ~in_train))


def cut_presplit(
    train: Dataset,
    valid: Interactions | None,
    test: Interactions | None,
    valid_log: Interactions | None,
) -> CutLog:
    """Return the log of a source that is already split, without events of held-out pairs.

    Args:
        train: the train part with its log.
        valid, test: the held-out pairs, or None.
        valid_log: the events of the valid part, or None.
    """
    if train.events is None or train.log is train.pairs:
        return CutLog(train.events, valid_log)
    log = train.log
    if test is not None:
        log = without_pairs(log, test)
        valid_log = None if valid_log is None else without_pairs(valid_log, test)
    if valid is None:
        return CutLog(log, valid_log)
    of_valid = among(log, valid.key)
    moved = log.take(of_valid)
    joined = moved if valid_log is None else join(moved, valid_log).ordered()
    return CutLog(log.take(~of_valid), joined)


def without_pairs(log: Interactions, pairs: Interactions) -> Interactions:
    """Return the events whose user and item are not among the pairs."""
    return log.take(~among(log, pairs.key))


def _kept(data: Dataset, held: np.ndarray, cut: LogCut, point: Moment) -> np.ndarray:
    """Return which events may be learned from while some pairs are held out, bool [m].

    Args:
        data: n pairs and m events.
        held: which pairs are held out, bool [n].
        cut: what is cut off besides the events of held-out pairs.
        point: the point in time, for the order "time".
    """
    log, pairs = data.log, data.pairs
    kept = ~among(log, pairs.key[held])
    if cut.order == "new-item":
        left = np.bincount(pairs.item[~held], minlength=pairs.n_items) > 0
        return kept & left[log.item]
    if cut.order == "none" or not held.any():
        return kept
    assert log.time is not None
    assert pairs.time is not None
    if cut.order == "time":
        limit = time_point(point, pairs, log.time_unit)
        return kept & (log.time < limit)
    held_time = rescale(pairs.time, pairs.time_unit, log.time_unit)[held]
    if cut.order == "user":
        limits = np.full(pairs.n_users, np.iinfo(np.int64).max, dtype=np.int64)
        np.minimum.at(limits, pairs.user[held], held_time)
    else:
        limits = np.full(pairs.n_users, held_time.min(), dtype=np.int64)
    limit_of_event = limits[log.user]
    tied = (log.time == limit_of_event) & among(log, pairs.key[~held])
    return kept & ((log.time < limit_of_event) | tied)
