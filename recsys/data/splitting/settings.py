"""Settings `[split]`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, get_args

from recsys.config import Bound, defaults, settings
from recsys.data.splitting.missing_modalities import Missing
from recsys.data.splitting.noise import Noise
from recsys.data.splitting.rules import Moment, check_ratios
from recsys.data.splitting.splitters import splitter_names
from recsys.errors import InputError, suggest

__all__ = ["ASKING", "EITHER", "SplitRule", "refuse_unused"]

Rule = Literal[
    "auto",
    "ratio",
    "last",
    "time",
    "new-item",
    "label",
    "presplit",
    "libcml",
    "next-item",
    "global-time",
    "session",
    "new-user",
    "cold-user",
    "fold",
    "basket",
]

# Rules that take the files as they are if those are split already, and else split by ratio.
EITHER = ("auto", "label")
# Rules that ask with a history. The others ask one question per user.
ASKING = ("next-item", "global-time", "session", "new-user", "basket")

# The rules that read a setting; the others would silently ignore it.
_RULES_OF: Mapping[str, tuple[str, ...]] = {
    "ratios": ("ratio", "session", "basket"),
    "per": ("ratio", "fold"),
    "order": ("ratio", "new-user", "basket"),
    "k": ("last", "next-item"),
    "valid_from": ("time", "global-time", "session", "basket"),
    "test_from": ("time", "global-time", "session", "basket"),
    "new_items": ("new-item",),
    "warm_share": ("new-item",),
    "valid_share": ("presplit", "session", "new-user", "fold"),
    "ask": ("next-item",),
    "targets": ("global-time",),
    "windows": ("global-time",),
    "window": ("global-time",),
    "positions": ("session",),
    "new_users": ("new-user", "cold-user"),
    "given": ("new-user",),
    "folds": ("fold", "new-user"),
    "fold": ("fold", "new-user"),
    "drop_new_items": ASKING,
}


@settings
class SplitRule:
    """How interactions are split into train, valid and test.

    The rules "next-item", "global-time", "session", "new-user" and "basket" ask with a history.
    They work on every event that counts if `[data] keep_log` is set, else on the pairs.

    Args:
        by: "ratio" by shares; "last" the last k of every user; "time" at two points in time;
            "new-item" by items, which leave train with all their interactions; "presplit" as the
            files are; "label" as "presplit" or "ratio", without the rows known to be noise in the
            test, so that train and valid stay noisy and the test is clean; "libcml" as the data of
            LibCML; "auto" "presplit" if there are files for the parts, else "ratio"; "next-item"
            the last k events of every user, each asked with all events before it; "global-time"
            what users do from a point in time on, asked with what they did before; "session" whole
            sessions, every position of which is asked with those before it; "new-user" users, who
            leave train with all their interactions, given a part of them; "cold-user" users of whom
            only attributes are known; "fold" one of k folds; "basket" whole sessions, each item of
            which is asked for the others.
            Or the name of a splitter of another package.
        ratios: shares of train, valid and test; they add up to 1. Of rows for "ratio", of sessions
            for "session" and "basket".
        per: "ratio" and "fold" within each user, or over all rows.
        order: "ratio" at random, or in time order with train first; "new-user" gives items at
            random, or the first events; "basket" holds out sessions at random, or the latest.
        k: rows of each user in test, and as many in valid, for "last" and "next-item".
        valid_from, test_from: start of valid and of test, for "time", "global-time", "session"
            and "basket": an ISO date, unix seconds, or a fraction of the time span such as 0.8.
            Without `valid_from` valid is empty.
        new_items: share of the items that are new; half of them go to valid, half to test.
        warm_share: share of each user's rows of the other items that is held out too, half for
            valid, half for test, for "new-item": warm items can then be evaluated next to new ones.
        valid_share: share of each user's train rows that becomes valid, for presplit files without
            a valid part and for "fold"; of the train sessions, the latest, for presplit files by
            "session"; of the train users, for "new-user" with `folds`.
        ask: "each" of the k last events with all before it; or "once" for all k, before the first.
        targets: "next" asks for the first event of a user from a point in time on, with all before
            it; "all-later" for all events, with those before the point.
        windows: parts of equal duration from `test_from` to the end. One is test, the one before it
            valid, and all before is train.
        window: the window that is test, from 1.
        positions: "all" positions of a session are asked but the first; or the "last".
        new_users: share of the users that are held out; half of them go to valid, half to test.
        given: share of what a held-out user did that is given; the rest is asked.
        folds: number of folds: of rows for "fold"; of users for "new-user", in place of
            `new_users`.
        fold: the fold that is test, from 1.
        seed: of everything random. For "libcml", 0 means 1234, the seed of its authors.
        drop_cold: leave out rows of valid and test whose user has no row in train; for "basket",
            questions about items without a row in train.
        drop_new_items: leave out answers whose item has no row in train; otherwise they count as
            misses of a method that cannot place them.
        noise: false interactions that are added to train and valid, to study noise.
        clean_valid: leave rows known to be noise out of valid too, so that selection uses clean
            interactions only.
        missing: modalities that items lose, to study missing modalities.
        join_parts: treat the parts of files that are split already as one log, to split it by
            another rule.
    """

    by: Rule | str = "auto"
    ratios: tuple[float, float, float] = (0.8, 0.1, 0.1)
    per: Literal["user", "all"] = "user"
    order: Literal["random", "time"] = "random"
    k: Annotated[int, Bound(ge=1)] = 1
    valid_from: Moment = None
    test_from: Moment = None
    new_items: Annotated[float, Bound(gt=0, lt=1)] = 0.2
    warm_share: Annotated[float, Bound(ge=0, lt=1)] = 0.0
    valid_share: Annotated[float, Bound(ge=0, lt=1)] = 0.0
    ask: Literal["each", "once"] = "each"
    targets: Literal["next", "all-later"] = "next"
    windows: Annotated[int, Bound(ge=2)] | None = None
    window: Annotated[int, Bound(ge=1)] = 1
    positions: Literal["all", "last"] = "all"
    new_users: Annotated[float, Bound(gt=0, lt=1)] = 0.2
    given: Annotated[float, Bound(gt=0, lt=1)] = 0.8
    folds: Annotated[int, Bound(ge=2)] | None = None
    fold: Annotated[int, Bound(ge=1)] = 1
    seed: Annotated[int, Bound(ge=0)] = 0
    drop_cold: bool = True
    drop_new_items: bool = False
    noise: Noise = Noise()
    clean_valid: bool = False
    missing: Missing = Missing()
    join_parts: bool = False

    def __post_init__(self) -> None:
        if self.by not in get_args(Rule):
            known = [*get_args(Rule), *splitter_names()]
            if self.by not in known:
                raise InputError(
                    f"by = '{self.by}' is not a rule or an installed splitter",
                    remedy=suggest(self.by, known),
                )
        check_ratios(self.ratios)
        if self.by in ("time", "global-time") and self.test_from is None:
            raise InputError(
                f"by = '{self.by}' needs test_from",
                remedy="give an ISO date, unix seconds, or a fraction of the time span",
            )
        refuse_unused(self, ("presplit", "ratio") if self.by in EITHER else (self.by,))
        _check_numbers(self)
        if self.by in ASKING:
            _refuse_pair_settings(self)


def refuse_unused(rule: SplitRule, possible: Sequence[str]) -> None:
    """Refuse settings that have no effect.

    Args:
        rule: the settings.
        possible: the rules by which the data may be split.

    Raises:
        InputError: a setting is not at its default, and none of these rules reads it.
    """
    usual = defaults(type(rule))
    for key, readers in _RULES_OF.items():
        if getattr(rule, key) == usual[key] or set(readers) & set(possible):
            continue
        where = ""
        if rule.by in EITHER and len(possible) == 1:
            where = " on one log" if possible[0] == "ratio" else " on data that are split already"
        names = " or ".join(f"'{name}'" for name in readers)
        raise InputError(
            f"{key} has no effect with by = '{rule.by}'{where}",
            place="[split]" if where else None,
            remedy=f"it is for by = {names}; leave it out",
        )


def _check_numbers(rule: SplitRule) -> None:
    """Refuse folds and windows that do not fit each other or the rest of the rule.

    Raises:
        InputError: a fold or a window that does not exist, or a setting that has no effect with
            them.
    """
    if rule.by == "fold" and rule.folds is None:
        raise InputError("by = 'fold' needs folds", remedy="give their number, as in folds = 5")
    for name, number, several, total in (
        ("fold", rule.fold, "folds", rule.folds),
        ("window", rule.window, "windows", rule.windows),
    ):
        if total is None and number > 1:
            raise InputError(
                f"{name} has no effect without {several}", remedy=f"give {several}, or leave it out"
            )
        if total is not None and number > total:
            raise InputError(
                f"{name} = {number}, and there are {total} {several}",
                remedy=f"give a number from 1 to {total}",
            )
    if rule.by == "cold-user" and not rule.drop_cold:
        raise InputError(
            "drop_cold has no effect with by = 'cold-user', whose users have no row in train",
            remedy="leave it out",
        )
    usual = defaults(type(rule))
    for key, other, has_other in (
        ("valid_from", "windows", rule.windows is not None),
        ("new_users", "folds", rule.folds is not None),
        ("ratios", "test_from", rule.by in ("session", "basket") and rule.test_from is not None),
        ("order", "test_from", rule.by == "basket" and rule.test_from is not None),
    ):
        if has_other and getattr(rule, key) != usual[key]:
            raise InputError(f"{key} has no effect with {other}", remedy="leave out one of them")
    if rule.by == "new-user" and rule.folds is None and rule.valid_share:
        raise InputError(
            "valid_share has no effect without folds",
            remedy="leave it out: half of new_users is valid",
        )
    if rule.by in ("session", "basket") and rule.valid_from and rule.test_from is None:
        raise InputError(
            "valid_from has no effect without test_from", remedy="give both, or leave it out"
        )


def _refuse_pair_settings(rule: SplitRule) -> None:
    """Refuse settings that change pairs of valid: the questions would not know of it.

    Raises:
        InputError: noise, `clean_valid`, or a `drop_cold` that has no effect.
    """
    refused = {
        "noise": (rule.noise.kind != "none", "adds pairs, which have no place in a history"),
        "clean_valid": (rule.clean_valid, "leaves out pairs, which stay in the histories"),
    }
    for key, (is_given, reason) in refused.items():
        if is_given:
            raise InputError(
                f"{key} {reason}, and by = '{rule.by}' asks with histories",
                remedy="leave it out, or choose another rule",
            )
    if rule.by in ("session", "new-user") and not rule.drop_cold:
        raise InputError(
            f"drop_cold has no effect with by = '{rule.by}', whose questions bring a history",
            remedy="leave it out",
        )
