"""From a rule that asks with histories to a split: train, and queries with their answers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from recsys.data.plausible import thin_parts
from recsys.data.splitting.event_pairs import EventPairs
from recsys.data.splitting.paths import Paths
from recsys.data.splitting.questions import Form, Questions, held_out
from recsys.data.splitting.rules import TEST, TRAIN, VALID
from recsys.data.splitting.settings import SplitRule
from recsys.data.types import Dataset, HeldOut, Interactions, Sealed, Split, Vocab
from recsys.errors import InputError

__all__ = ["OUT", "Asked", "Given", "assemble", "require_times"]

# Part of an event that is neither learned from nor held out.
OUT = 3

_NAMES = {VALID: "valid", TEST: "test"}


@dataclass(frozen=True, eq=False)
class Asked:
    """What a rule makes of n events.

    Args:
        part: of each event: 0 train, 1 valid, 2 test, 3 left out; int8 [n].
        paths: what the questions are about.
        questions: of valid and of test, by part.
        forms: what is known of them, by part.
        words: the rule.
        needs_users: whether only users with a row in train can be asked about.
        ids: outside names of the owners of the paths, for the output of queries without users.
        sizes: events that train, valid and test should have; None if the rule leaves it open.
        remedy: what to do where a part is much smaller.
    """

    part: np.ndarray
    paths: Paths
    questions: dict[int, Questions]
    forms: dict[int, Form]
    words: str
    needs_users: bool = True
    ids: Vocab | None = None
    sizes: tuple[float | None, float | None, float | None] = (None, None, None)
    remedy: str = ""


@dataclass(frozen=True)
class Given:
    """What files that are split already give of valid and test; None: it is cut from the data.

    Args:
        pairs: pairs of valid and of test, by part.
        valid_log: the events of valid that join the log of train when valid does.
    """

    pairs: dict[int, Interactions]
    valid_log: Interactions | None = None


def require_times(events: Interactions, setting: str) -> np.ndarray:
    """Return the times of events.

    Raises:
        InputError: they have no times; it names the setting that needs them.
    """
    if events.time is None:
        raise InputError(
            f"{setting} needs times, which the data lacks",
            place="[split]",
            remedy='name the column in [data]: time = "..."; ordered = true if the rows are in the '
            "order of time; or choose another rule",
        )
    return events.time


def assemble(data: Dataset, asked: Asked, rule: SplitRule, given: Given | None = None) -> Split:
    """Return the split that a rule asks for.

    Args:
        data: the data; its log is the first m of the n events.
        asked: what the rule makes of the events.
        rule: the settings.
        given: valid and test of files that are split already.

    Raises:
        InputError: train is empty.
    """
    given = given or Given({})
    timeline = asked.paths.timeline
    own = slice(len(data.log))
    pairs = EventPairs(data, timeline.counts[own], timeline.rank[own])
    train = pairs.of(pairs.counts & (asked.part[own] == TRAIN))
    if not len(train):
        raise InputError(
            "the rule leaves no train row",
            place="[split]",
            remedy="give train a larger share, or move the points in time",
        )
    thin = thin_parts(asked.part[timeline.counts & (asked.part <= TEST)], asked.sizes, asked.remedy)
    asked = _without_new_items(_without_cold_users(asked, train, rule), train, rule)
    held = [_held_out(pairs, asked, number, given) for number in (VALID, TEST)]
    train_log = valid_log = None
    if data.log is not data.pairs:
        train_log = data.log.take(asked.part[own] == TRAIN)
        moved = data.log.take(asked.part[own] == VALID)
        valid_log = moved if given.valid_log is None else given.valid_log
    sizes = " / ".join("-" if part is None else str(len(part)) for part in (train, *held))
    dataset = replace(data, findings=(*data.findings, *thin))
    dataset = dataset.with_pairs(train, f"{asked.words}: {sizes}", log=train_log)
    valid, test = held
    return Split(dataset, valid, None if test is None else Sealed(test), asked.words, valid_log)


def _held_out(pairs: EventPairs, asked: Asked, number: int, given: Given) -> HeldOut | None:
    """Return valid or test; None without a question."""
    questions = asked.questions.get(number)
    if questions is None or not len(questions):
        return None
    own = given.pairs.get(number)
    if own is None:
        own = pairs.of(pairs.counts & (asked.part[: len(pairs.counts)] == number))
    return held_out(questions, asked.paths, own, asked.forms[number], asked.ids)


def _without_cold_users(asked: Asked, train: Interactions, rule: SplitRule) -> Asked:
    """Leave out questions about users without a row in train, and what they hold out."""
    if not asked.needs_users or not rule.drop_cold:
        return asked
    user = asked.paths.timeline.events.user
    cold = (train.user_counts() == 0)[user]
    questions, dropped = {}, []
    for number, part in asked.questions.items():
        questions[number] = part.only(~cold[asked.paths.row[part.answer]])
        if len(questions[number]) < len(part):
            dropped.append(f"{len(part) - len(questions[number])} {_NAMES[number]}")
    if not dropped:
        return asked
    words = f"{asked.words}; {' and '.join(dropped)} questions of users without train rows dropped"
    left = np.where((asked.part != TRAIN) & cold, OUT, asked.part)
    return replace(asked, part=left, questions=questions, words=words)


def _without_new_items(asked: Asked, train: Interactions, rule: SplitRule) -> Asked:
    """Count answers whose item has no row in train, and leave them out if the rule says so."""
    known = (train.item_counts() > 0)[asked.paths.timeline.events.item]
    questions, new = {}, []
    for number, part in asked.questions.items():
        kept = known[asked.paths.row[part.answer]]
        if not kept.all():
            new.append(f"{int((~kept).sum())} of {len(kept)} {_NAMES[number]}")
        questions[number] = part.only(kept) if rule.drop_new_items else part
    if not new:
        return asked
    fate = "dropped" if rule.drop_new_items else "kept as misses"
    words = f"{asked.words}; {' and '.join(new)} answers are items without train rows, {fate}"
    forms = asked.forms
    if rule.drop_new_items:
        forms = {
            number: replace(form, words=f"{form.words}, items of train only")
            for number, form in forms.items()
        }
    return replace(asked, questions=questions, forms=forms, words=words)
