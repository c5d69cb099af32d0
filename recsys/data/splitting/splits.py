"""Train, valid and a sealed test, parted by a rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np

from recsys.config import Bound, defaults, settings
from recsys.data.load import LoadedData
from recsys.data.plausible import thin_parts
from recsys.data.splitting.inject_noise import Noise, inject, labelled
from recsys.data.splitting.missing_modalities import Missing, without
from recsys.data.splitting.rules import (
    TEST,
    TRAIN,
    VALID,
    Moment,
    by_last,
    by_new_item,
    by_ratio,
    by_time,
    check_ratios,
    cut_ties,
    libcml,
    tie_keys,
)
from recsys.data.types import Dataset, Interactions, Sealed, Split, Vocab
from recsys.errors import InputError

__all__ = ["SplitRule", "presplit", "split"]

# Settings of some rules alone, which others would silently ignore.
_OF_SOME = (
    (("ratios", "per", "order"), ("ratio",)),
    (("k",), ("last",)),
    (("valid_from", "test_from"), ("time",)),
    (("new_items", "warm_share"), ("new-item",)),
    (("valid_share",), ("presplit",)),
)
_EITHER = ("auto", "label")  # as the files say where they are split already, else by ratio


@settings
class SplitRule:
    """How train, valid and test are told apart.

    Args:
        by: "ratio" by shares; "last" the last k of every user; "time" at two points in time; "new-item" by items, which leave
            train wholly; "label" by shares, or as the files say, and then rows known to be noise leave the test, so that train and
            valid are as noisy as ever and the test is clean; "presplit" as the files say; "libcml" the recipe of the LibCML data;
            "auto" presplit where there are files for the parts, else ratio.
        ratios: shares of train, valid and test; they add up to 1.
        per: ratio within each user, or over all rows.
        order: ratio at random, or in time order, train first.
        k: rows of each user in test, and as many in valid, for "last".
        valid_from, test_from: where valid and test begin, for "time": an ISO date, unix seconds, or a share of the time span
            as a fraction such as 0.8. Without `valid_from` there is no valid part.
        new_items: share of the items that are new; half of them go to valid, half to test.
        warm_share: share of each user's rows of the other items that are held back too, half for valid, half for test, for "new-item": so that
            warm items can be judged beside the new ones.
        valid_share: share of each user's train rows that becomes valid where presplit files give none.
        seed: of everything random. For "libcml" 0 stands for 1234, the seed of its recipe.
        drop_cold: leave out rows of valid and test whose user has no row in train.
        noise: false pairs that are put into train and valid, for experiments with noise.
        clean_valid: leave rows known to be noise out of valid too, so that what is selected is selected on clean pairs.
        missing: modalities that items lose, for experiments with missing ones.
    """

    by: Literal["auto", "ratio", "last", "time", "new-item", "label", "presplit", "libcml"] = "auto"
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

    def __post_init__(self) -> None:
        check_ratios(self.ratios)
        if self.by == "time" and self.test_from is None:
            raise InputError(
                "by = 'time' needs test_from",
                remedy="give an ISO date, unix seconds, or a fraction of the time span",
            )
        _refuse_idle(self, ("presplit", "ratio") if self.by in _EITHER else (self.by,))


def _refuse_idle(rule: SplitRule, parted: Sequence[str]) -> None:
    """Refuse settings that the ways in which the data may be parted would all ignore."""
    usual = defaults(type(rule))
    for keys, ways in _OF_SOME:
        idle = [key for key in keys if getattr(rule, key) != usual[key]]
        if idle and not set(ways) & set(parted):
            where = (
                ""
                if rule.by not in _EITHER or len(parted) > 1
                else f" on {'one log' if parted == ('ratio',) else 'data that are split already'}"
            )
            remedy = f"it is for by = {' or '.join(map(repr, ways))}; leave it out"
            raise InputError(
                f"{idle[0]} means nothing with by = '{rule.by}'{where}",
                place="[split]" if where else None,
                remedy=remedy,
            )


def split(data: LoadedData | Dataset, rule: SplitRule | None = None) -> Split:
    """Split the data by a rule.

    The same seed gives the same split, whatever ids are called; and whatever the order of the file was, where its
    times all differ. Equal times keep the order of the file. A source without an order (a matrix, a folder of many
    files) takes a hash of (seed, user id, item id) instead. `rule` says for how many users that decides.

    Args:
        data: from `load`, or a Dataset of one log.
        rule: how; the default rule where not given.

    Returns:
        train, valid and test over the same vocabularies, the test sealed; `rule` says it in words.

    Raises:
        InputError: a time-ordered rule without times, a rule that needs one log on presplit files and the other way round,
            or one that leaves train empty.
    """
    rule = rule or SplitRule()
    loaded = data if isinstance(data, LoadedData) else LoadedData(data)
    by = rule.by if rule.by != "auto" else "presplit" if loaded.parts is not None else "ratio"
    if by not in ("presplit", "label") and loaded.parts is not None:
        raise InputError(
            f"by = '{by}' parts one log, but the source is split already",
            place="[split]",
            remedy="use by = 'presplit', or give the whole log as path",
        )
    if rule.by in _EITHER:
        _refuse_idle(rule, ("ratio",) if loaded.parts is None else ("presplit",))
    dataset, pairs = loaded.dataset, loaded.dataset.pairs
    if by == "presplit" and loaded.parts is None:
        raise InputError(
            "by = 'presplit', but the source is one log",
            place="[split]",
            remedy="give train, valid and test in [data], or choose another rule",
        )
    if loaded.parts is not None:
        valid, test = loaded.parts
        test, words = _clean(test, "presplit") if by == "label" else (test, "presplit")
        made = presplit(
            dataset,
            valid,
            test,
            valid_share=rule.valid_share,
            seed=rule.seed,
            drop_cold=rule.drop_cold,
            noise=rule.noise,
            words=words,
        )
        return _spoilt(made, rule)
    part, words = _parted(dataset, by, rule)
    remedy = "choose other ratios" if by != "time" else "name valid_from and test_from as dates"
    thin = thin_parts(part, _meant(pairs, by, rule), remedy)
    dataset = replace(dataset, findings=(*dataset.findings, *thin))
    learned, held, kept = (pairs.take(part == number) for number in (TRAIN, VALID, TEST))
    test = kept if len(kept) else None
    if by == "label":
        test, words = _clean(test, words)
    made = _assemble(
        dataset.with_pairs(learned),
        held if len(held) else None,
        test,
        words,
        drop_cold=rule.drop_cold,
        noise=rule.noise,
    )
    return _spoilt(made, rule)


def _parted(data: Dataset, by: str, rule: SplitRule) -> tuple[np.ndarray, str]:
    """The part of each row of one log [n], and the rule in words."""
    pairs, seed = data.pairs, rule.seed
    ordered = by == "last" or (by in ("ratio", "label") and rule.order == "time")
    ties = tie_keys(data, seed) if ordered and pairs.time is not None else None
    match by:
        case "ratio" | "label":
            part = by_ratio(
                pairs, rule.ratios, per=rule.per, order=rule.order, seed=seed, ties=ties
            )
            shares = "/".join(f"{share:g}" for share in rule.ratios)
            order = "in time order" if ordered else f"random with seed {seed}"
            words = f"ratio {shares} per {rule.per}, {order}"
        case "last":
            part = by_last(pairs, rule.k, seed=seed, ties=ties)
            words = f"last {rule.k} of each user test, {rule.k} before valid"
        case "time":
            part = by_time(pairs, rule.valid_from, rule.test_from)
            words = f"in time, test from {rule.test_from}"
            if rule.valid_from is not None:
                words += f", valid from {rule.valid_from}"
        case "new-item":
            part = by_new_item(pairs, rule.new_items, warm_share=rule.warm_share, seed=seed)
            warm = f" and {rule.warm_share:g} of each user's other rows" if rule.warm_share else ""
            words = f"new items {rule.new_items:g}{warm}, half valid, half test, seed {seed}"
        case _:
            users, items = (_id_order(vocab) for vocab in (data.users, data.items))
            part = libcml(pairs, seed or 1234, users=users, items=items)
            words = f"libcml 3:1:1 per user, seed {seed or 1234}"
    return part, words + (_tie_words(pairs, part, seed) if ordered else "")


def _meant(
    pairs: Interactions, by: str, rule: SplitRule
) -> tuple[float | None, float | None, float | None]:
    """The rows that train, valid and test are to have by the rule, None where it does not say."""
    rows = len(pairs)
    if by in ("ratio", "label"):
        return tuple(share * rows for share in rule.ratios)  # type: ignore[return-value]
    if by == "last":
        held = float(rule.k * len(np.unique(pairs.user)))
        return None, held, held
    if by != "time" or not isinstance(rule.test_from, float):
        return None, None, None
    if rule.valid_from is None:
        return rule.test_from * rows, 0.0, (1 - rule.test_from) * rows
    if not isinstance(rule.valid_from, float):
        return None, None, (1 - rule.test_from) * rows
    shares = (rule.valid_from, rule.test_from - rule.valid_from, 1 - rule.test_from)
    return shares[0] * rows, shares[1] * rows, shares[2] * rows


def _tie_words(pairs: Interactions, part: np.ndarray, seed: int) -> str:
    """What decides between rows of equal times, and for how many users it does."""
    tied, cut = cut_ties(pairs, part)
    if not tied:
        return ""
    order = "in the order of the file" if pairs.position is not None else f"by hash, seed {seed}"
    return f"; equal times {order}: they decide for {tied} of {cut} users ({tied / cut:.1%})"


def _id_order(vocab: Vocab) -> np.ndarray:
    """The position of the id of each row among the sorted ids, int64 [n]."""
    position = np.empty(len(vocab), dtype=np.int64)
    position[vocab.ids.arg_sort().to_numpy()] = np.arange(len(vocab))
    return position


def presplit(
    train: Dataset,
    valid: Interactions | None,
    test: Interactions | None,
    *,
    valid_share: float = 0.0,
    seed: int = 0,
    drop_cold: bool = True,
    noise: Noise | None = None,
    words: str = "presplit",
) -> Split:
    """Parts that were made elsewhere, as they are.

    Args:
        train: the train part with the vocabularies of all parts.
        valid, test: the other parts, either may be None.
        valid_share: where there is no valid, this share of each user's train rows at random, as `by_ratio` takes it.
        seed: of that draw.
        drop_cold: leave out rows of users without a row in train.
        noise: false pairs that are put into train and valid.
        words: what the rule is called.
    """
    if valid is not None and valid_share > 0:
        cause = "valid_share is for data without a valid part, and these have one"
        raise InputError(
            cause,
            place="[split] valid_share",
            remedy="leave it out, or leave the valid file out of [data]",
        )
    if valid_share > 0:
        part = by_ratio(train.pairs, (1 - valid_share, valid_share, 0.0), seed=seed)
        valid, train = (
            train.pairs.take(part == VALID),
            train.with_pairs(train.pairs.take(part == TRAIN)),
        )
        words += f", valid {valid_share:g} of each user's train rows, seed {seed}"
    return _assemble(train, valid, test, words, drop_cold=drop_cold, noise=noise or Noise())


def _assemble(
    train: Dataset,
    valid: Interactions | None,
    test: Interactions | None,
    words: str,
    *,
    drop_cold: bool,
    noise: Noise,
) -> Split:
    if not len(train.pairs):
        raise InputError(
            "the rule leaves no train row",
            place="[split]",
            remedy="give train a larger share, or move the points in time",
        )
    if drop_cold:
        warm = np.bincount(train.pairs.user, minlength=train.n_users) > 0
        held, left = [], []
        for name, part in (("valid", valid), ("test", test)):
            keep = warm[part.user] if part is not None else None
            if part is not None and keep is not None and not keep.all():
                left.append(f"{int((~keep).sum())} {name}")
                part = part.take(keep)  # noqa: PLW2901
            held.append(part)
        valid, test = held
        if left:
            words += f"; {' and '.join(left)} rows of users without train rows dropped"
    if noise.kind != "none":
        pairs, valid, test, said = _with_noise(train.pairs, valid, test, noise)
        train, words = train.with_pairs(pairs), f"{words}; {said}"
    sizes = " / ".join(
        str(len(part)) if part is not None else "-" for part in (train.pairs, valid, test)
    )
    train = train.with_pairs(train.pairs, f"{words}: {sizes}")
    return Split(train, valid, Sealed(test) if test is not None else None, words)


def _clean(test: Interactions | None, words: str) -> tuple[Interactions | None, str]:
    """The test without rows known to be noise."""
    if test is None:
        return None, f"{words}, by label"
    if test.label is None:
        cause = "by = 'label' keeps noise out of the test, but no row is labelled"
        raise InputError(
            cause,
            place="[split]",
            remedy='name the labels in [data], as in label = "clean" or clean_weight = 3, or choose another rule',
        )
    clean = test.label == 1
    return test.take(
        clean
    ) if clean.any() else None, f"{words}, {int((~clean).sum())} noisy test rows left out"


def _spoilt(made: Split, rule: SplitRule) -> Split:
    """What is done to the parts last: a clean valid, and modalities that are lost."""
    made = _clean_valid(made) if rule.clean_valid else made
    return replace(made, train=without(made.train, rule.missing))


def _clean_valid(made: Split) -> Split:
    """The same without the rows of valid that are known to be noise."""
    if made.valid is None or made.valid.label is None:
        cause = "clean_valid leaves noise out of valid, but there is no valid part with labels"
        raise InputError(
            cause,
            place="[split]",
            remedy='name the labels in [data], as in label = "clean", or leave out clean_valid',
        )
    clean = made.valid.label == 1
    words = f"{made.rule}; {int((~clean).sum())} noisy valid rows left out"
    return replace(made, valid=made.valid.take(clean), rule=words)


def _with_noise(
    train: Interactions, valid: Interactions | None, test: Interactions | None, noise: Noise
) -> tuple[Interactions, Interactions | None, Interactions | None, str]:
    """False pairs in train and valid, labels everywhere, and what to say of it."""
    met = [part for part in (train, valid, test) if part is not None]
    noisy = inject(train, train, met, noise)
    words = f"noise {noise.kind} {noise.share:g} per {noise.per}, seed {noise.seed}: {len(noisy) - len(train)} false pairs in train"
    held = None if valid is None else labelled(valid)
    if valid is not None and noise.valid:
        held = inject(valid, train, [*met, noisy], noise, name="valid")
        words += f", {len(held) - len(valid)} in valid"
    return noisy, held, None if test is None else labelled(test), words
