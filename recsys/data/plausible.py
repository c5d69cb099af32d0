"""What looks wrong though it can be read: times of no real day, parts that get next to nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsys.data.finding import Finding
from recsys.data.times import TICKS, iso_time
from recsys.data.types import Interactions

__all__ = ["odd_times", "thin_parts"]

# 1990 and 2100 in seconds; a log of people and things lies between them.
_FIRST, _LAST = 631_152_000, 4_102_444_800
_NAMES = ("train", "valid", "test")


def odd_times(parts: Sequence[Interactions]) -> list[Finding]:
    """Return a warning about times before 1990 or after 2100 in a log whose other times lie between them.

    Such are the 0 and -1 of what was not known, and the year 9999 of what has no end. Times that all count from 0 are
    no dates, and pass.

    Args:
        parts: of one source.
    """
    timed = [(part.time, TICKS[part.time_unit]) for part in parts if part.time is not None]
    total = sum(len(time) for time, _ in timed)
    early = sum(int((time < _FIRST * ticks).sum()) for time, ticks in timed)
    late = sum(int((time >= _LAST * ticks).sum()) for time, ticks in timed)
    if not early + late or 2 * (early + late) > total:
        return []
    units = [part for part in parts if part.time is not None and len(part.time)]
    ends = [
        (
            f"{early:,} of {total:,} times {_is(early)} before 1990",
            min,
            early,
            'since = "1990-01-01"',
        ),
        (f"{late:,} of {total:,} times {_is(late)} after 2100", max, late, 'until = "2100-01-01"'),
    ]
    return [
        Finding(
            "times",
            "warning",
            count,
            f"{words}, such as {_end(units, pick)}",
            f"correct them, or leave them out: {setting}",
        )
        for words, pick, count, setting in ends
        if count
    ]


def thin_parts(part: np.ndarray, meant: Sequence[float | None], remedy: str) -> list[Finding]:
    """Return a warning about every part that gets less than half of the rows it was to have.

    Args:
        part: 0 train, 1 valid, 2 test; [n].
        meant: rows of train, valid and test by the rule, None where the rule does not say.
        remedy: what to do about it.
    """
    found = np.bincount(part, minlength=3)
    total = max(1, len(part))
    return [
        Finding(
            f"size of {name}",
            "warning",
            int(rows),
            f"{name} gets {rows:,} of {total:,} rows ({rows / total:.2%}), and was to have {wish / total:.0%}",
            remedy,
        )
        for name, rows, wish in zip(_NAMES, found, meant, strict=True)
        if wish is not None and rows < wish / 2
    ]


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def _end(parts: Sequence[Interactions], pick: object) -> str:
    """The first or the last time of all parts, as text."""
    ends = [
        (int(pick(part.time)) / TICKS[part.time_unit], int(pick(part.time)), part.time_unit)  # type: ignore[operator]
        for part in parts
    ]
    _, time, unit = pick(ends)  # type: ignore[operator]
    return iso_time(time, unit)
