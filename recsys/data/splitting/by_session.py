"""Whole sessions are held out: what comes next in a session, after what came so far?

The protocol of GRU4Rec: Hidasi et al., "Session-based recommendations with recurrent neural
networks" (ICLR 2016). Every event of a session but the first is asked for, items repeat within
sessions, and means are over events. Where the data has no sessions, each user is one session.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.data.load import LoadedData
from recsys.data.splitting.asking import Asked, Given, require_times
from recsys.data.splitting.event_pairs import answering
from recsys.data.splitting.paths import Timeline
from recsys.data.splitting.questions import Form, each_place
from recsys.data.splitting.rules import TEST, TRAIN, VALID, time_points
from recsys.data.splitting.settings import SplitRule
from recsys.data.types import Dataset, Interactions, Vocab, join
from recsys.errors import InputError

__all__ = ["SessionRows", "by_session", "split_sessions"]

_NAMES = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class SessionRows:
    """Events with the session of each.

    Args:
        timeline: n events.
        row: session of each event, int [n].
        ids: of the sessions, k in all.
        are_users: whether each user is one session.
        last: rank of the last event of each session, -1 without an event, int64 [k].
    """

    timeline: Timeline
    row: np.ndarray
    ids: Vocab
    are_users: bool
    last: np.ndarray

    @classmethod
    def of(cls, data: Dataset, timeline: Timeline) -> SessionRows:
        """Return the sessions of events; the users if the events have none.

        Raises:
            InputError: a session has two users.
        """
        events = timeline.events
        # A log of sessions without users names each session as a user, too.
        are_users = (
            events.session is None
            or data.sessions is None
            or (
                np.array_equal(events.session, events.user)
                and data.sessions.fingerprint == data.users.fingerprint
            )
        )
        row, ids = (events.user, data.users) if are_users else (events.session, data.sessions)
        assert row is not None
        assert ids is not None
        owner = np.full(len(ids), -1, dtype=np.int64)
        owner[row] = events.user
        if (shared := owner[row] != events.user).any():
            session = ids.ids[int(row[np.flatnonzero(shared)[0]])]
            raise InputError(
                f"session {session!r} has two users",
                place="[split] by = 'session'",
                remedy="name sessions that belong to one user each, or make them by session_gap",
            )
        last = np.full(len(ids), -1, dtype=np.int64)
        np.maximum.at(last, row, timeline.rank)
        return cls(timeline, row, ids, are_users, last)

    @property
    def in_order(self) -> np.ndarray:
        """Sessions with an event, by their last event, int64 [at most k]."""
        order = np.argsort(self.last, kind="stable")
        return order[self.last[order] >= 0]

    def asked(self, part: np.ndarray, rule: SplitRule, words: str, *, cut: bool) -> Asked:
        """Return the questions about the sessions of valid and test.

        Args:
            part: of each session, int8 [k].
            rule: reads `positions`.
            words: how the sessions were split.
            cut: whether events before the end of an earlier part are not asked for.
        """
        paths = self.timeline.paths(self.row, len(self.ids))
        rank = self.timeline.rank[paths.row]
        questions, n_early = {}, []
        for number in (VALID, TEST):
            earlier = int(self.last[(part < number) & (self.last >= 0)].max(initial=-1))
            first = np.minimum(paths.begin + 1, paths.end)
            known = np.clip(paths.first_where(rank > earlier), first, paths.end)
            held = part == number
            if n := int((known - first)[held].sum()):
                n_early.append(f"{n} {_NAMES[number]}")
            if cut:
                first = known
            if rule.positions == "last":
                first = np.maximum(first, paths.end - 1)
            questions[number] = each_place(paths, first, np.where(held, paths.end, first))
        where = "every position" if rule.positions == "all" else "the last position"
        form = Form(
            f"{where} of a session after those before it", "session", not self.are_users, True
        )
        if self.are_users:
            words += "; each user is a session"
        if n_early:
            fate = "not asked" if cut else "asked"
            words += f"; {' and '.join(n_early)} positions before the end of an earlier part {fate}"
        return Asked(
            part[self.row],
            paths,
            questions,
            {VALID: form, TEST: form},
            f"sessions in time, {where.removeprefix('the ')} asked, {words}",
            needs_users=False,
            ids=self.ids,
        )


def by_session(data: Dataset, rule: SplitRule) -> Asked:
    """Hold out the latest sessions by their last event: by share, or from a point in time on.

    A session that spans a cut belongs to the later part; its events before the end of the earlier
    parts are history only.

    Args:
        data: the data.
        rule: reads `ratios`, or `valid_from` and `test_from`; and `positions`.

    Raises:
        InputError: no times, points that cannot be read or are in the wrong order, or a session
            with two users.
    """
    time = require_times(data.log, "by = 'session'")
    sessions = SessionRows.of(data, Timeline.of(data, rule.seed))
    part = np.full(len(sessions.ids), TRAIN, dtype=np.int8)
    if rule.test_from is None:
        order = sessions.in_order
        n_valid, n_test = (int(share * len(order) + 1e-9) for share in rule.ratios[1:])
        part[order[len(order) - n_test - n_valid :]] = VALID
        part[order[len(order) - n_test :]] = TEST
        words = f"ratio {'/'.join(f'{share:g}' for share in rule.ratios)} of sessions"
        return sessions.asked(part, rule, words, cut=True)
    counted = data.log.take(sessions.timeline.counts)
    valid_from, test_from = time_points(counted, rule.valid_from, rule.test_from, rule.by)
    end = np.full(len(part), np.iinfo(np.int64).min, dtype=np.int64)
    np.maximum.at(end, sessions.row, time)
    part[end >= valid_from] = VALID
    part[end >= test_from] = TEST
    words = f"test from {rule.test_from}"
    if rule.valid_from is not None:
        words += f", valid from {rule.valid_from}"
    return sessions.asked(part, rule, words, cut=True)


def split_sessions(loaded: LoadedData, rule: SplitRule) -> tuple[Asked, Given]:
    """Ask about the sessions of valid and test files, every position of which can be an answer.

    Args:
        loaded: files that are split already.
        rule: reads `positions`, and `valid_share`: this share of the train sessions, the latest,
            becomes valid if the files have no valid part.

    Raises:
        InputError: no times, a session with two users or in two parts, or `valid_share` with a
            valid part.
    """
    assert loaded.parts is not None
    data = loaded.dataset
    events, counts, origin = _joined(loaded)
    require_times(events, "by = 'session'")
    sessions = SessionRows.of(data, Timeline.ordered(data, events, counts, rule.seed))
    part = np.full(len(sessions.ids), TRAIN, dtype=np.int8)
    part[sessions.row] = origin
    if (torn := part[sessions.row] != origin).any():
        row = int(np.flatnonzero(torn)[0])
        names = _NAMES[origin[row]], _NAMES[part[sessions.row[row]]]
        raise InputError(
            f"session {sessions.ids.ids[int(sessions.row[row])]!r} is in {names[0]} and {names[1]}",
            place="[split] by = 'session'",
            remedy="give files that keep sessions whole, or split one log",
        )
    valid, test = loaded.parts
    words = "sessions as the files are split"
    if rule.valid_share:
        if valid is not None:
            raise InputError(
                "valid_share is for data without a valid part, and these have one",
                place="[split] valid_share",
                remedy="leave it out, or leave the valid file out of [data]",
            )
        order = sessions.in_order
        order = order[part[order] == TRAIN]
        part[order[len(order) - int(rule.valid_share * len(order) + 1e-9) :]] = VALID
        words += f", valid the latest {rule.valid_share:g} of train"
    pairs = {number: each for number, each in ((VALID, valid), (TEST, test)) if each is not None}
    return sessions.asked(part, rule, words, cut=False), Given(pairs, loaded.valid_log)


def _joined(loaded: LoadedData) -> tuple[Interactions, np.ndarray, np.ndarray]:
    """Return the events of all parts, which of them ask and answer, and the part of each.

    Returns:
        n events, those of train in front; bool [n]; int8 [n].

    Raises:
        InputError: a part lacks times or sessions that another one has.
    """
    assert loaded.parts is not None
    pairs = (loaded.dataset.pairs, *loaded.parts)
    logs = (loaded.dataset.events, loaded.valid_log, loaded.test_log)
    events: Interactions | None = None
    counts, origin = [], []
    for number, (own, log) in enumerate(zip(pairs, logs, strict=True)):
        if own is None:
            continue
        every = own if log is None else log
        counts.append(answering(every, own))
        origin.append(np.full(len(every), number, dtype=np.int8))
        events = every if events is None else _appended(events, every, _NAMES[number])
    assert events is not None
    return events, np.concatenate(counts), np.concatenate(origin)


def _appended(first: Interactions, second: Interactions, name: str) -> Interactions:
    """Return the events of both.

    Raises:
        InputError: one of them lacks sessions or times.
    """
    for column in ("session", "time"):
        if (getattr(first, column) is None) != (getattr(second, column) is None):
            raise InputError(
                f"train and {name} do not both have a {column} column",
                place="[split] by = 'session'",
                remedy="give files with the same columns",
            )
    return join(first, second)
