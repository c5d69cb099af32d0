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

__all__ = ["EITHER", "SplitRule", "refuse_unused"]

Rule = Literal["auto", "ratio", "last", "time", "new-item", "label", "presplit", "libcml"]

# Rules that take the files as they are if those are split already, and else split by ratio.
EITHER = ("auto", "label")

# Settings of one rule, which the others would silently ignore.
_RULE_OF: Mapping[str, str] = {
    "ratios": "ratio",
    "per": "ratio",
    "order": "ratio",
    "k": "last",
    "valid_from": "time",
    "test_from": "time",
    "new_items": "new-item",
    "warm_share": "new-item",
    "valid_share": "presplit",
}


@settings
class SplitRule:
    """How interactions are split into train, valid and test.

    Args:
        by: "ratio" by shares; "last" the last k of every user; "time" at two points in time;
            "new-item" by items, which leave train with all their interactions; "presplit" as the
            files are; "label" as "presplit" or "ratio", without the rows known to be noise in the
            test, so that train and valid stay noisy and the test is clean; "libcml" as the data of
            LibCML; "auto" "presplit" if there are files for the parts, else "ratio". Or the name of
            a splitter of another package.
        ratios: shares of train, valid and test; they add up to 1.
        per: "ratio" within each user, or over all rows.
        order: "ratio" at random, or in time order with train first.
        k: rows of each user in test, and as many in valid, for "last".
        valid_from, test_from: start of valid and of test, for "time": an ISO date, unix seconds, or
            a fraction of the time span such as 0.8. Without `valid_from` valid is empty.
        new_items: share of the items that are new; half of them go to valid, half to test.
        warm_share: share of each user's rows of the other items that is held out too, half for
            valid, half for test, for "new-item": warm items can then be evaluated next to new ones.
        valid_share: share of each user's train rows that becomes valid if presplit files have none.
        seed: of everything random. For "libcml", 0 means 1234, the seed of its authors.
        drop_cold: leave out rows of valid and test whose user has no row in train.
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
    seed: Annotated[int, Bound(ge=0)] = 0
    drop_cold: bool = True
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
        if self.by == "time" and self.test_from is None:
            raise InputError(
                "by = 'time' needs test_from",
                remedy="give an ISO date, unix seconds, or a fraction of the time span",
            )
        refuse_unused(self, ("presplit", "ratio") if self.by in EITHER else (self.by,))


def refuse_unused(rule: SplitRule, possible: Sequence[str]) -> None:
    """Refuse settings that have no effect.

    Args:
        rule: the settings.
        possible: the rules by which the data may be split.

    Raises:
        InputError: a setting is not at its default, and none of these rules reads it.
    """
    usual = defaults(type(rule))
    for key, by in _RULE_OF.items():
        if getattr(rule, key) == usual[key] or by in possible:
            continue
        where = ""
        if rule.by in EITHER and len(possible) == 1:
            where = " on one log" if possible[0] == "ratio" else " on data that are split already"
        raise InputError(
            f"{key} has no effect with by = '{rule.by}'{where}",
            place="[split]" if where else None,
            remedy=f"it is for by = '{by}'; leave it out",
        )
