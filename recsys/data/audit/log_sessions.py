"""Checks of sessions: cut in two, or shared by users."""

from __future__ import annotations

import re

import numpy as np

from recsys.data.audit.log_time import cut_of
from recsys.data.audit.overlap import NamedParts, percent
from recsys.data.audit.time_order import SMALL
from recsys.data.finding import Finding
from recsys.data.types import Interactions

__all__ = ["across_the_cut", "shared_sessions"]

_WHOLE = re.compile(r"\bsessions in time|\bof sessions|\bby.session")
_NO_SESSIONS = "not checked: the events have no sessions"


def across_the_cut(log: Interactions, held: NamedParts, rule: str) -> Finding:
    """Look for sessions with events both in train and held out.

    Rules that hold out whole sessions must have none. Under one cut in time for all, a session that
    goes on over the cut tells its end by its beginning. Rules that part the events of each user
    part sessions by design.

    Args:
        log: events of train.
        held: the held-out parts.
        rule: of the split, in words.
    """
    check = "sessions across the cut"
    sessions = [pairs.session for _, pairs in held if pairs.session is not None]
    if log.session is None or len(sessions) < len(held):
        return Finding(check, "ok", 0, _NO_SESSIONS)
    asked = np.unique(np.concatenate(sessions))
    count = int(np.isin(asked, log.session).sum())
    share = percent(count, len(asked))
    message = f"{count:,} of {len(asked):,} held-out sessions ({share}) begin in train"
    if not count:
        return Finding(check, "ok", 0, "no held-out session has an event in train")
    if _WHOLE.search(rule.lower()):
        return Finding(
            check,
            "error",
            count,
            f"{message}; yet the split is described as '{rule}'",
            "hold out whole sessions",
        )
    if cut_of(rule) != "all":
        return Finding(check, "ok", count, f"{message}: the split parts the events of a session")
    if count < SMALL * len(asked):
        return Finding(check, "ok", count, message)
    return Finding(
        check,
        "warning",
        count,
        f"{message}: the cut goes through them",
        "move the point in time to a quiet hour, or leave these sessions out",
    )


def shared_sessions(log: Interactions, held: NamedParts) -> Finding:
    """Look for sessions with events of two users.

    Args:
        log: events of train.
        held: the held-out parts.
    """
    check = "sessions with two users"
    parts = [part for part in (log, *(pairs for _, pairs in held)) if part.session is not None]
    if not parts:
        return Finding(check, "ok", 0, _NO_SESSIONS)
    session = np.concatenate([part.session for part in parts if part.session is not None])
    user = np.concatenate([part.user for part in parts])
    owner = np.zeros(int(session.max(initial=-1)) + 1, dtype=np.int32)
    owner[session] = user
    count = len(np.unique(session[owner[session] != user]))
    total = len(np.unique(session))
    if not count:
        return Finding(check, "ok", 0, "every session has one user")
    return Finding(
        check,
        "error",
        count,
        f"{count:,} of {total:,} sessions ({percent(count, total)}) have events of several users: "
        "what one of them did is taken for the history of another",
        "name sessions that belong to one user each, or make them by session_gap",
    )
