"""The last events of each user are asked for, with all that the user did before.

This is leave-last-out of sequential recommendation: Kang and McAuley, "Self-attentive sequential
recommendation" (ICDM 2018), hold out the last event of a user for test and the one before for
valid. At test, the event of valid is part of the history.
"""

from __future__ import annotations

import numpy as np

from recsys.data.splitting.asking import Asked, require_times
from recsys.data.splitting.paths import Paths, Timeline
from recsys.data.splitting.questions import Form, Questions, each_place, one_for_all
from recsys.data.splitting.rules import TEST, VALID
from recsys.data.splitting.settings import SplitRule
from recsys.data.splitting.ties import words_of_ties
from recsys.data.types import Dataset

__all__ = ["next_item"]


def next_item(data: Dataset, rule: SplitRule) -> Asked:
    """Ask for the last k events of each user at test, and for the k before at valid.

    Train keeps at least one event of a user, and test is served before valid. Events of other
    users that are later than an answer stay in train: the rule has a cut for each user.

    Args:
        data: the data.
        rule: reads `k`, `ask` and `seed`.

    Raises:
        InputError: no times.
    """
    require_times(data.log, "by = 'next-item'")
    timeline = Timeline.of(data, rule.seed)
    user = data.log.user
    paths = timeline.paths(user, data.n_users)
    n_test = np.minimum(rule.k, np.maximum(paths.size - 1, 0))
    n_valid = np.minimum(rule.k, np.maximum(paths.size - n_test - 1, 0))
    test = paths.end - n_test
    valid = test - n_valid
    part = (timeline.rank >= _rank_at(paths, valid)[user]).astype(np.int8)
    part += timeline.rank >= _rank_at(paths, test)[user]
    words = f"next item, the last {rule.k} of each user test, {rule.k} before valid"
    if rule.ask == "once":
        words += ", asked once"
    words += words_of_ties(data.log, *_cut_ties(paths, part), rule.seed)
    form = Form(_question(rule))
    held = float(rule.k * int((paths.size > 0).sum()))
    return Asked(
        part,
        paths,
        {VALID: _ask(paths, valid, test, rule), TEST: _ask(paths, test, paths.end, rule)},
        {VALID: form, TEST: form},
        words,
        sizes=(None, held, held),
        remedy="choose another k or rule",
    )


def _ask(paths: Paths, first: np.ndarray, last: np.ndarray, rule: SplitRule) -> Questions:
    """Return the questions of one part, as the rule asks them."""
    return (each_place if rule.ask == "each" else one_for_all)(paths, first, last)


def _rank_at(paths: Paths, place: np.ndarray) -> np.ndarray:
    """Return the rank of the event at one place of each path; beyond all if the path ends there."""
    rank = np.full(len(place), len(paths.timeline.rank), dtype=np.int64)
    inside = place < paths.end
    rank[inside] = paths.timeline.rank[paths.row[place[inside]]]
    return rank


def _cut_ties(paths: Paths, part: np.ndarray) -> tuple[int, int]:
    """Count the users who are cut between events of equal time, and the users who are cut."""
    time = paths.timeline.events.time
    assert time is not None
    row, user = paths.row, paths.owner
    cut = (user[1:] == user[:-1]) & (part[row[1:]] != part[row[:-1]])
    tied = cut & (time[row[1:]] == time[row[:-1]])
    return len(np.unique(user[1:][tied])), len(np.unique(user[1:][cut]))


def _question(rule: SplitRule) -> str:
    """Return the question in words."""
    last = "last event" if rule.k == 1 else f"last {rule.k} events"
    if rule.ask == "each":
        return f"the {last} of a user, each after all before it"
    return f"the {last} of a user, asked once before the first"
