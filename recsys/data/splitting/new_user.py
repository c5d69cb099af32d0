"""Whole users are held out: what else do users do, given a part of what they did?

This is strong generalisation: Marlin, "Collaborative filtering: a machine learning perspective"
(2004); Liang et al., "Variational autoencoders for collaborative filtering" (WWW 2018), give 80 %
of the items of a new user and ask for the rest. No event of such a user is in train.
"""

from __future__ import annotations

import numpy as np

from recsys.data.interactions import contains
from recsys.data.splitting.asking import Asked, require_times
from recsys.data.splitting.event_pairs import EventPairs
from recsys.data.splitting.folds import fold_of
from recsys.data.splitting.paths import Timeline
from recsys.data.splitting.questions import Form, one_for_all
from recsys.data.splitting.rules import TEST, TRAIN, VALID, by_ratio
from recsys.data.splitting.settings import SplitRule
from recsys.data.splitting.ties import tie_keys
from recsys.data.types import Dataset
from recsys.errors import InputError

__all__ = ["new_user"]


def new_user(data: Dataset, rule: SplitRule) -> Asked:
    """Hold out users, and ask for a part of what they did, given the rest.

    Only users with two items or more can be held out.

    Args:
        data: the data.
        rule: reads `new_users`, or `folds`, `fold` and `valid_share`; and `given`, `order`, `seed`.

    Raises:
        InputError: order "time" without times, or too few users.
    """
    log = data.log
    if rule.order == "time":
        require_times(log, "order = 'time'")
    timeline = Timeline.of(data, rule.seed)
    part, words = _parts_of_users(data, rule)
    answers = _answers(data, timeline, part[log.user] != TRAIN, rule)
    paths = timeline.paths(log.user, data.n_users, last=answers)
    n_given = np.bincount(log.user[timeline.counts & ~answers], minlength=data.n_users)
    first = paths.begin + n_given
    questions = {
        number: one_for_all(paths, first, np.where(part == number, paths.end, first))
        for number in (VALID, TEST)
    }
    which = "the first in time" if rule.order == "time" else "drawn at random"
    form = Form(
        f"the rest of what a new user did, given {rule.given:g} of it, {which}", by_user=False
    )
    return Asked(
        part[log.user],
        paths,
        questions,
        {VALID: form, TEST: form},
        f"{words}, given {rule.given:g}, {which}, seed {rule.seed}",
        needs_users=False,
        ids=data.users,
    )


def _parts_of_users(data: Dataset, rule: SplitRule) -> tuple[np.ndarray, str]:
    """Return the part of each user, int8 [n_users], and the rule in words.

    Raises:
        InputError: too few users for valid and test, or for the folds.
    """
    eligible = np.flatnonzero(data.pairs.user_counts() > 1)
    drawn = np.random.default_rng([rule.seed, *b"new-user"]).permutation(eligible)
    part = np.full(data.n_users, TRAIN, dtype=np.int8)
    if rule.folds is not None:
        if len(drawn) < rule.folds:
            raise InputError(
                f"{len(drawn)} users with two items or more are too few for {rule.folds} folds",
                place="[split] folds",
                remedy="make fewer folds",
            )
        fold = fold_of(np.arange(len(drawn)), rule.folds)
        part[drawn[fold == rule.fold]] = TEST
        rest = drawn[fold != rule.fold]
        part[rest[: int(rule.valid_share * len(rest) + 1e-9)]] = VALID
        words = f"new users, fold {rule.fold} of {rule.folds} test"
        return part, words + (
            f", {rule.valid_share:g} of the rest valid" if rule.valid_share else ""
        )
    n_new = int(rule.new_users * len(drawn) + 1e-9)
    if n_new < 2:
        raise InputError(
            f"{rule.new_users:g} of {len(drawn)} users with two items or more is {n_new}, "
            "too few for valid and test",
            place="[split] new_users",
            remedy="raise the share",
        )
    part[drawn[: n_new // 2]] = VALID
    part[drawn[n_new // 2 : n_new]] = TEST
    return part, f"new users {rule.new_users:g}, half valid, half test"


def _answers(data: Dataset, timeline: Timeline, asked: np.ndarray, rule: SplitRule) -> np.ndarray:
    """Return which events of held-out users are asked for, bool [n].

    In time order, the first events are given. At random, items are given: all events of an item
    are on one side.

    Args:
        data: n events.
        timeline: the events in order.
        asked: which events are of held-out users, bool [n].
        rule: reads `given`, `order` and `seed`.
    """
    chosen = asked & timeline.counts
    ratios = (rule.given, 0.0, 1 - rule.given)
    answers = np.zeros(len(chosen), dtype=bool)
    if rule.order == "time":
        events = data.log.take(chosen)
        ties = tie_keys(data, rule.seed, events)
        answers[chosen] = by_ratio(events, ratios, order="time", ties=ties) == TEST
        return answers
    pairs = EventPairs(data, timeline.counts, timeline.rank).of(chosen)
    keys = np.sort(pairs.key[by_ratio(pairs, ratios, seed=rule.seed) == TEST])
    answers[chosen] = contains(keys, data.log.key[chosen])
    return answers
