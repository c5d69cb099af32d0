"""The histories that a method of sequences learns from: sessions, or all events of a user."""

from __future__ import annotations

from typing import Literal, TypeAlias

from recsys.data.histories import Histories
from recsys.data.types import Interactions
from recsys.errors import InputError

__all__ = ["Sessions", "training_histories"]

Sessions: TypeAlias = bool | Literal["auto"]


def training_histories(log: Interactions, sessions: Sessions) -> Histories:
    """Return the events of each session or of each user, in the order in which they happened.

    Args:
        log: the training events.
        sessions: True: one history per session. False: one per user. "auto": per session if the log
            has sessions.

    Raises:
        InputError: sessions = true, and the log has none.
    """
    if sessions is True and log.session is None:
        raise InputError(
            "sessions = true needs sessions, and these interactions have none",
            place="[model] sessions",
            remedy="name their column with session in [data], form them by an idle time with "
            'session_gap, or use sessions = "auto"',
        )
    by_session = log.session is not None and sessions is not False
    return log.visits if by_session else log.histories
