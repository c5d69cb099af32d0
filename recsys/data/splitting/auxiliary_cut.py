"""The auxiliary events that a split leaves to train: those that do not know an answer.

An event of a held-out user and item stays only if it is earlier than the held-out pair; without
times, it goes. Rules in time order also end the events before the first held-out pair:
of the user, or of all users if the rule has one cut for all. `new-item` leaves no event of a new
item, and `new-user` and `cold-user` none of a held-out user.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from recsys.data.answers import Cut, unknowing
from recsys.data.splitting.log_cut import cut_of
from recsys.data.splitting.settings import SplitRule
from recsys.data.types import Split

__all__ = ["without_answers"]

# The cut of rules that ask with a history, and of `LogCut.order` for the others.
_OF_RULE: Mapping[str, Cut] = {
    "next-item": "user",
    "global-time": "all",
    "session": "all",
    "basket": "all",
}
_OF_ORDER: Mapping[str, Cut] = {"user": "user", "all": "all", "time": "all"}


def without_answers(result: Split, by: str, rule: SplitRule) -> Split:
    """Return the split without the auxiliary events that know its answers.

    Those that only valid forbids are kept in `Split.valid_auxiliary`, for a refit.

    Args:
        result: a split whose train part has every auxiliary event.
        by: the rule.
        rule: its settings.
    """
    events, pairs = result.train.auxiliary, result.train.pairs
    if events is None:
        return result
    cut = _OF_RULE.get(by) or _OF_ORDER.get(cut_of(by, rule).order, "none")
    in_refit = np.ones(len(events), dtype=bool)
    if result.test is not None:
        in_refit &= result.test.unknown_to(events, cut)
    in_train = in_refit.copy()
    if result.valid is not None:
        in_train &= unknowing(events, result.valid.pairs, cut)
    if by in ("new-item", "new-user", "cold-user"):
        side = "item" if by == "new-item" else "user"
        of_train = np.bincount(getattr(pairs, side), minlength=max(pairs.shape)) > 0
        of_refit = of_train.copy()
        if result.valid is not None:
            of_refit[getattr(result.valid.pairs, side)] = True
        rows = getattr(events, side)
        in_train &= of_train[rows]
        in_refit &= of_refit[rows]
    note = f"auxiliary: {int((~in_train).sum())} of {len(events)} events know an answer, removed"
    history = (*result.train.history, note)
    train = replace(result.train, auxiliary=events.take(in_train), history=history)
    return replace(result, train=train, valid_auxiliary=events.take(in_refit & ~in_train))
