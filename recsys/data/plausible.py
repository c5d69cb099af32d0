"""Warnings about data that can be read but look wrong: impossible times, almost empty parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from recsys.data.finding import Finding
from recsys.data.times import TICKS, iso_time
from recsys.data.types import Interactions

__all__ = ["are_dates", "odd_times", "thin_parts"]

# 1990 and 2100 in seconds; times of a real log lie between them.
_FIRST, _LAST = 631_152_000, 4_102_444_800
_NAMES = ("train", "valid", "test")


def are_dates(pairs: Interactions) -> bool:
    """Return whether most times are of 1990 to 2100; row numbers and counters are not."""
    if pairs.time is None or not len(pairs):
        return False
    ticks = TICKS[pairs.time_unit]
    return bool(_FIRST * ticks <= np.median(pairs.time) < _LAST * ticks)


def odd_times(parts: Sequence[Interactions]) -> list[Finding]:
    """Return warnings about times before 1990 or after 2100, if most times lie between.

    Such times are placeholders: 0 or -1 for an unknown time, the year 9999 for "no end". A log
    whose times all count from 0 does not hold dates, and gets no warning.

    Args:
        parts: all parts of one source.
    """
    timed = [(part.time, TICKS[part.time_unit]) for part in parts if part.time is not None]
    total = sum(len(time) for time, _ in timed)
    early = sum(int((time < _FIRST * ticks).sum()) for time, ticks in timed)
    late = sum(int((time >= _LAST * ticks).sum()) for time, ticks in timed)
    if not early + late or 2 * (early + late) > total:
        return []
    findings = []
    if early:
        message = f"{early:,} of {total:,} times {_is(early)} before 1990, such as "
        message += _extreme(parts, np.min, min)
        findings.append(_odd_times(early, message, 'since = "1990-01-01"'))
    if late:
        message = f"{late:,} of {total:,} times {_is(late)} after 2100, such as "
        message += _extreme(parts, np.max, max)
        findings.append(_odd_times(late, message, 'until = "2100-01-01"'))
    return findings


def _odd_times(count: int, message: str, setting: str) -> Finding:
    remedy = f"correct them, or leave them out: {setting}"
    return Finding("times", "warning", count, message, remedy)


def thin_parts(part: np.ndarray, meant: Sequence[float | None], remedy: str) -> list[Finding]:
    """Return a warning for each part with less than half of the rows that the rule asks for.

    Args:
        part: part of each row: 0 train, 1 valid, 2 test; [n].
        meant: rows of train, valid and test according to the rule; None if the rule does not fix
            it.
        remedy: what the user can do.
    """
    sizes = np.bincount(part, minlength=3)
    total = max(1, len(part))
    return [
        Finding(
            f"size of {name}",
            "warning",
            int(rows),
            f"{name} gets {rows:,} of {total:,} rows ({rows / total:.2%}), "
            f"and was to have {target / total:.0%}",
            remedy,
        )
        for name, rows, target in zip(_NAMES, sizes, meant, strict=True)
        if target is not None and rows < target / 2
    ]


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def _extreme(
    parts: Sequence[Interactions],
    of_part: Callable[[np.ndarray], np.integer],
    of_all: Callable[[list[tuple[float, str]]], tuple[float, str]],
) -> str:
    """Return the first or the last time of all parts, as text.

    Args:
        parts: of one source.
        of_part: minimum or maximum of the times of one part.
        of_all: minimum or maximum of (seconds, text).
    """
    ends = []
    for part in parts:
        if part.time is not None and len(part.time):
            ticks = int(of_part(part.time))
            ends.append((ticks / TICKS[part.time_unit], iso_time(ticks, part.time_unit)))
    return of_all(ends)[1]
