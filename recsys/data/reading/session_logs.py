"""Logs of sessions without users, as of RSC15: `SessionId ItemId Time`.

Each session is a user: `recsys.data.reading.columns.choose` gives both roles to one column. Rows
need no order: events are taken in order of time, equal times in the order of the file.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

__all__ = ["session_notes"]


def session_notes(frame: pl.DataFrame, chosen: Mapping[str, str]) -> list[str]:
    """Return notes on a log whose sessions are its users; an empty list for another log.

    Args:
        frame: the columns of the package.
        chosen: role to column, as from `choose`.
    """
    if "session" not in frame.columns or chosen["user"] != chosen["session"] or not frame.height:
        return []
    notes = [f"each session of '{chosen['session']}' is a user"]
    owner = frame["user"].rank("dense").to_numpy()
    n_sessions = int(owner.max())
    resumed = 1 + int((owner[1:] != owner[:-1]).sum()) - n_sessions
    if resumed:
        notes.append(f"sessions are not contiguous, they resume {resumed} times")
    if "time" in frame.columns:
        late = _unsorted(owner, frame["time"].to_physical().to_numpy())
        if late:
            notes.append(f"{late} of {n_sessions} sessions are not in order of time")
    if len(notes) > 1:
        order = "time" if "time" in frame.columns else "the file"
        notes.append(f"their events are taken in order of {order}")
    return notes


def _unsorted(owner: np.ndarray, time: np.ndarray) -> int:
    """Return the number of sessions with a row that is earlier than the row before.

    Args:
        owner: the session of each row, int [n].
        time: its time, int [n].
    """
    order = np.argsort(owner, kind="stable")
    owner, time = owner[order], time[order]
    late = (time[1:] < time[:-1]) & (owner[1:] == owner[:-1])
    return len(np.unique(owner[1:][late]))
