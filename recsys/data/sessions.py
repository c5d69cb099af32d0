"""Sessions: events of one user that belong together, from a column or from idle times."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from recsys.data.raw_parts import RawParts
from recsys.data.reading.source import Source
from recsys.data.times import TICKS, count_ticks
from recsys.errors import InputError

__all__ = ["with_sessions"]

_PLACE = "[data] session"
_GAP_PLACE = "[data] session_gap"


def with_sessions(parts: RawParts, source: Source) -> RawParts:
    """Return the interactions with the sessions that the settings ask for, checked.

    Sessions are found before any row is filtered: an event that is left out later still continues
    a visit.

    Args:
        parts: the interactions as they were read.
        source: the settings `session` and `session_gap`.

    Raises:
        InputError: a session has two users, or `session_gap` without times.
    """
    if source.session_gap is not None:
        return _by_gap(parts, source.session_gap)
    named = [frame for frame in parts.frames.values() if "session" in frame.columns]
    if named:
        _check_owners(named)
    return parts


def _check_owners(frames: list[pl.DataFrame]) -> None:
    """Raise an error about a session with two users.

    Args:
        frames: with the columns `session` and `user`.
    """
    owners = pl.concat([frame.select("session", "user") for frame in frames]).unique(
        maintain_order=True
    )
    shared = owners.filter(pl.col("session").is_duplicated())
    if not shared.height:
        return
    session = shared["session"][0]
    users = shared.filter(pl.col("session") == session)["user"].to_list()
    n_shared = shared["session"].n_unique()
    more = f" ({n_shared} such sessions)" if n_shared > 1 else ""
    raise InputError(
        f"session {session!r} belongs to two users, {users[0]!r} and {users[1]!r}{more}",
        place=_PLACE,
        remedy="name a column whose values belong to one user each, "
        "or make sessions by time with session_gap",
    )


def _by_gap(parts: RawParts, gap: float) -> RawParts:
    """Return the interactions with sessions that end after an idle time.

    Sessions are numbered from 0 in the order in which they begin. Parts of a source that is already
    split are looked at together, so that a session may span them.

    Args:
        parts: the interactions.
        gap: the idle time, in seconds.

    Raises:
        InputError: a part has no times.
    """
    frames = parts.frames
    for name, frame in frames.items():
        # Row numbers that serve as times (`ordered`) are integers.
        if "time" not in frame.columns or not isinstance(frame["time"].dtype, pl.Datetime):
            where = "the data lack" if name == "all" else f"the {name} part lacks"
            raise InputError(
                f"session_gap needs times, which {where}",
                place=_GAP_PLACE,
                remedy='name the column: time = "..."; or name a column of sessions',
            )
    ticks, unit = count_ticks([frame["time"] for frame in frames.values()])
    time = np.concatenate(ticks)
    users = pl.concat([frame["user"] for frame in frames.values()])
    owner = users.rank("dense").to_numpy()
    order = np.lexsort((time, owner))
    begins = np.ones(len(order), dtype=bool)
    idle = np.diff(time[order]) > gap * TICKS[unit]
    begins[1:] = idle | (np.diff(owner[order].astype(np.int64)) != 0)
    # Numbered by user first, and then by the time of the first event.
    number = np.cumsum(begins) - 1
    rank = np.empty(int(begins.sum()), dtype=np.int64)
    first = order[begins]
    rank[np.lexsort((first, time[first]))] = np.arange(len(rank))
    session = np.empty(len(order), dtype=np.int64)
    session[order] = rank[number]
    ends = np.cumsum([frame.height for frame in frames.values()])
    pieces = np.split(session, ends[:-1])
    for (name, frame), piece in zip(list(frames.items()), pieces, strict=True):
        frames[name] = frame.with_columns(pl.Series("session", piece))
    note = f"session_gap {gap:g}: {len(rank)} sessions"
    return replace(
        parts,
        all=frames.get("all"),
        train=frames.get("train"),
        valid=frames.get("valid"),
        test=frames.get("test"),
        history=(*parts.history, note),
    )
