"""Figures of a log: lengths, repeats, equal times, spans, sessions and clicks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from recsys.data.interactions import Interactions
from recsys.data.plausible import are_dates
from recsys.data.times import TICKS

__all__ = [
    "LENGTHS",
    "Clicks",
    "LogSize",
    "Place",
    "SessionSize",
    "TimeOrder",
    "clicks_of",
    "log_size",
    "positives",
    "quantiles",
    "session_size",
    "time_order",
]

LENGTHS = (0.0, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)
_DAY = 86_400


@dataclass(frozen=True)
class LogSize:
    """The events of a log that was kept.

    Args:
        events: number of events; of a log of clicks, those that were clicked.
        per_user: quantiles `LENGTHS` of the events of a user, by name, such as "50%".
        repeated: share of events whose user had an earlier event with the same item.
        repeats: their number.
        repeating_users: number of users with such an event.
        adjacent: number of events with the item of the user's event before; None if the events of
            a user have no order.
    """

    events: int
    per_user: Mapping[str, float]
    repeated: float
    repeats: int
    repeating_users: int
    adjacent: int | None


@dataclass(frozen=True)
class TimeOrder:
    """How far times order the events of each user.

    Args:
        tied: share of events whose user has another event at the same time.
        last_tied: number of users whose last two events have the same time: the order of the file
            decides which is the last.
        within_day: share of users whose events span less than a day; None if times are counters.
        median_span: seconds from the first to the last event of the median user, or None.
    """

    tied: float
    last_tied: int
    within_day: float | None
    median_span: float | None


@dataclass(frozen=True)
class SessionSize:
    """The sessions of the events.

    Args:
        count: number of sessions with an event.
        per_session: quantiles `LENGTHS` of the events of a session, by name, such as "50%".
    """

    count: int
    per_session: Mapping[str, float]


class Place(NamedTuple):
    """How often a place of the lists was shown, and clicked."""

    position: int
    shown: int
    clicked: int


@dataclass(frozen=True)
class Clicks:
    """What was shown and clicked.

    Args:
        shown: number of rows.
        clicked: number of those that were clicked.
        places: the same for each place, the first one in front; empty if places are not known.
    """

    shown: int
    clicked: int
    places: tuple[Place, ...]

    @property
    def rate(self) -> float:
        """Share of the rows that were clicked."""
        return self.clicked / max(1, self.shown)


def positives(log: Interactions) -> Interactions:
    """Return the events without those that were shown and not clicked."""
    return log if log.clicked is None else log.take(log.clicked == 1)


def log_size(log: Interactions) -> LogSize:
    """Return sizes and repeats.

    Args:
        log: events, all of them positives.
    """
    key = np.sort(log.key)
    repeats = key[1:][key[1:] == key[:-1]]
    adjacent = None
    if log.time is not None or log.order is not None:
        rows = _by_user(log)
        same = log.key[rows]
        adjacent = int((same[1:] == same[:-1]).sum())
    return LogSize(
        events=len(log),
        per_user=quantiles(log.user_counts(), LENGTHS),
        repeated=len(repeats) / max(1, len(log)),
        repeats=len(repeats),
        repeating_users=len(np.unique(repeats // max(1, log.n_items))),
        adjacent=adjacent,
    )


def time_order(log: Interactions) -> TimeOrder | None:
    """Return how far times order the events of each user; None without times.

    Args:
        log: events, all of them positives.
    """
    if log.time is None or not len(log):
        return None
    rows = np.lexsort((log.time, log.user))
    user, time = log.user[rows], log.time[rows]
    equal = (user[1:] == user[:-1]) & (time[1:] == time[:-1])
    tied = np.append(equal, False) | np.append(False, equal)
    is_last = np.append(user[1:] != user[:-1], True)
    is_first = np.append(True, is_last[:-1])
    span = (time[is_last] - time[is_first]) / TICKS[log.time_unit]
    dated = are_dates(log)
    return TimeOrder(
        tied=float(tied.mean()),
        last_tied=int((np.append(False, equal) & is_last).sum()),
        within_day=float((span < _DAY).mean()) if dated else None,
        median_span=float(np.median(span)) if dated else None,
    )


def session_size(log: Interactions) -> SessionSize | None:
    """Return number and lengths of the sessions; None without sessions.

    Args:
        log: events, all of them positives.
    """
    if log.session is None:
        return None
    counts = np.bincount(log.session)
    return SessionSize(int((counts > 0).sum()), quantiles(counts, LENGTHS))


def clicks_of(log: Interactions) -> Clicks | None:
    """Return what was shown and clicked; None if that is not known."""
    if log.clicked is None:
        return None
    places: list[Place] = []
    if log.position is not None:
        shown = np.bincount(log.position)
        clicked = np.bincount(log.position[log.clicked == 1], minlength=len(shown))
        places += [
            Place(place, int(shown[place]), int(clicked[place]))
            for place in np.flatnonzero(shown).tolist()
        ]
    return Clicks(len(log), int((log.clicked == 1).sum()), tuple(places))


def quantiles(counts: np.ndarray, shares: Sequence[float]) -> dict[str, float]:
    """Return the quantiles of the counts above 0, by name, such as "50%".

    Args:
        counts: number of events of each user, item or session [n].
        shares: which quantiles.
    """
    counts = counts[counts > 0]
    if not len(counts):
        return {}
    values = np.quantile(counts, shares)
    return {f"{q:.0%}": float(value) for q, value in zip(shares, values, strict=True)}


def _by_user(log: Interactions) -> np.ndarray:
    """Return the rows user by user, those of a user in the order in which they happened [n]."""
    rows = log.chronological
    return rows[np.argsort(log.user[rows], kind="stable")]
