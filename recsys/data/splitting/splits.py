"""Splits: train, valid and a sealed test of a data set, by a rule."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from recsys.config import defaults
from recsys.data.load import LoadedData
from recsys.data.plausible import thin_parts
from recsys.data.splitting.asking import assemble
from recsys.data.splitting.auxiliary_cut import without_answers
from recsys.data.splitting.by_basket import by_basket
from recsys.data.splitting.by_session import by_session, split_sessions
from recsys.data.splitting.cold_user import by_cold_user
from recsys.data.splitting.folds import by_fold
from recsys.data.splitting.global_time import global_time, sizes_in_time
from recsys.data.splitting.log_cut import cut_log, cut_of
from recsys.data.splitting.missing_modalities import without
from recsys.data.splitting.new_user import new_user
from recsys.data.splitting.next_item import next_item
from recsys.data.splitting.noise import Noise
from recsys.data.splitting.parts import (
    Parts,
    clean_test,
    clean_valid,
    with_noise,
    with_valid_share,
    without_cold_users,
    without_held_out,
)
from recsys.data.splitting.rules import (
    TEST,
    TRAIN,
    VALID,
    by_last,
    by_new_item,
    by_ratio,
    by_time,
    libcml,
)
from recsys.data.splitting.settings import ASKING, EITHER, SplitRule, refuse_unused
from recsys.data.splitting.splitters import parts_by
from recsys.data.splitting.ties import tie_keys, tie_words
from recsys.data.types import Dataset, HeldOut, Interactions, Sealed, Split, Vocab
from recsys.errors import InputError

__all__ = ["SplitRule", "presplit", "split"]


def split(data: LoadedData | Dataset, rule: SplitRule | None = None) -> Split:
    """Split the data by a rule.

    The same seed gives the same split, regardless of what the ids are, and of the order of the file
    if all times differ. Rows of equal times keep the order of the file. A source without an order
    (a matrix, a folder of many files) takes a hash of (seed, user id, item id) instead. The `rule`
    of the result reports for how many users that decides.

    Args:
        data: from `load`, or a Dataset of one log.
        rule: how to split; by default `SplitRule()`.

    Returns:
        Train, valid and test over the same vocabularies, with the test sealed; its `rule` describes
        the split in words.

    Raises:
        InputError: a rule in time order without times; a rule for one log on presplit files, or the
            other way round; a rule that leaves train empty.
    """
    rule = rule or SplitRule()
    loaded = data if isinstance(data, LoadedData) else LoadedData(data)
    if rule.join_parts:
        loaded = loaded.joined()
    by = rule.by
    if by == "auto":
        by = "presplit" if loaded.parts is not None else "ratio"
    if rule.by in EITHER:
        refuse_unused(rule, ("ratio",) if loaded.parts is None else ("presplit",))
    if by in ASKING:
        result = without_answers(_asked(loaded, by, rule), by, rule)
        return replace(result, train=without(result.train, rule.missing))
    if loaded.parts is not None:
        parts = _presplit_parts(loaded, loaded.parts, by, rule)
    elif by == "presplit":
        raise InputError(
            "by = 'presplit', but the source is one log",
            place="[split]",
            remedy="give train, valid and test in [data], or choose another rule",
        )
    else:
        parts = _log_parts(loaded.dataset, by, rule)
    drop_cold = rule.drop_cold and by != "cold-user"
    result = _assemble(parts, drop_cold=drop_cold, noise=rule.noise)
    if rule.clean_valid:
        result = clean_valid(result)
    result = without_answers(result, by, rule)
    return replace(result, train=without(result.train, rule.missing))


def _asked(loaded: LoadedData, by: str, rule: SplitRule) -> Split:
    """Return the split of a rule that asks with histories.

    Raises:
        InputError: the rule is for one log, and the files are split already; `valid_share` for one
            log.
    """
    if by == "basket" and loaded.parts is None:
        return by_basket(loaded.dataset, rule)
    if loaded.parts is not None:
        if by != "session":
            raise _for_one_log(by)
        for key in ("ratios", "valid_from", "test_from"):
            if getattr(rule, key) != defaults(SplitRule)[key]:
                raise InputError(
                    f"{key} has no effect with by = 'session' on data that are split already",
                    place="[split]",
                    remedy="leave it out",
                )
        asked, given = split_sessions(loaded, rule)
        return assemble(loaded.dataset, asked, rule, given)
    if by == "session" and rule.valid_share:
        raise InputError(
            "valid_share has no effect with by = 'session' on one log",
            place="[split]",
            remedy="leave it out, and give valid a share in ratios",
        )
    ask = {
        "next-item": next_item,
        "global-time": global_time,
        "session": by_session,
        "new-user": new_user,
    }
    return assemble(loaded.dataset, ask[by](loaded.dataset, rule), rule)


def _for_one_log(by: str) -> InputError:
    """Return the error of a rule for one log on files that are split already."""
    return InputError(
        f"by = '{by}' splits one log, but the source is split already",
        place="[split]",
        remedy="use by = 'presplit', or give the whole log as path",
    )


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
    """Return parts that were split elsewhere, as they are.

    Args:
        train: the train part with the vocabularies of all parts.
        valid, test: the other parts; None if the part does not exist.
        valid_share: without a valid part, this share of each user's train rows, drawn as `by_ratio`
            does.
        seed: of that draw.
        drop_cold: leave out rows of users without a row in train.
        noise: false interactions that are added to train and valid.
        words: name of the rule.

    Raises:
        InputError: `valid_share` with a valid part, or an empty train.
    """
    parts = without_held_out(Parts(train, valid, test, words))
    parts = with_valid_share(parts, valid_share, seed)
    return _assemble(parts, drop_cold=drop_cold, noise=noise or Noise())


def _presplit_parts(
    loaded: LoadedData,
    held: tuple[Interactions | None, Interactions | None],
    by: str,
    rule: SplitRule,
) -> Parts:
    """Return the parts of files that are split already.

    Raises:
        InputError: the rule is for one log.
    """
    if by not in ("presplit", "label"):
        raise _for_one_log(by)
    parts = Parts(loaded.dataset, *held, "presplit", loaded.valid_log)
    if by == "label":
        parts = clean_test(parts)
    return with_valid_share(without_held_out(parts), rule.valid_share, rule.seed)


def _log_parts(data: Dataset, by: str, rule: SplitRule) -> Parts:
    """Return the parts of one log."""
    part, words = _parts_of_rows(data, by, rule)
    remedy = "choose other ratios"
    if by == "time":
        remedy = "name valid_from and test_from as dates"
    thin = thin_parts(part, _expected_sizes(data.pairs, by, rule), remedy)
    data = replace(data, findings=(*data.findings, *thin))
    train, valid, test = (data.pairs.take(part == number) for number in (TRAIN, VALID, TEST))
    log = cut_log(data, part, train, cut_of(by, rule))
    parts = Parts(
        data.with_pairs(train, log=log.train),
        valid if len(valid) else None,
        test if len(test) else None,
        words,
        log.valid,
    )
    if by == "fold":
        return with_valid_share(parts, rule.valid_share, rule.seed)
    return clean_test(parts) if by == "label" else parts


def _parts_of_rows(data: Dataset, by: str, rule: SplitRule) -> tuple[np.ndarray, str]:
    """Return the part of each row of one log, int8 [n], and the rule in words."""
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
        case "cold-user":
            part = by_cold_user(pairs, rule.new_users, seed=seed)
            words = f"cold users {rule.new_users:g}, half valid, half test, seed {seed}"
        case "fold":
            assert rule.folds is not None
            part = by_fold(pairs, rule.folds, rule.fold, per=rule.per, seed=seed)
            words = f"fold {rule.fold} of {rule.folds} per {rule.per}, random with seed {seed}"
        case "libcml":
            users, items = _id_ranks(data.users), _id_ranks(data.items)
            part = libcml(pairs, seed or 1234, users=users, items=items)
            words = f"libcml 3:1:1 per user, seed {seed or 1234}"
        case _:
            part = parts_by(by, data, seed)
            words = f"splitter '{by}', seed {seed}"
    if ordered:
        words += tie_words(pairs, part, seed)
    return part, words


def _expected_sizes(
    pairs: Interactions, by: str, rule: SplitRule
) -> tuple[float | None, float | None, float | None]:
    """Return the rows that train, valid and test should have; None if the rule leaves it open."""
    rows = len(pairs)
    if by in ("ratio", "label"):
        train, valid, test = rule.ratios
        return train * rows, valid * rows, test * rows
    if by == "last":
        held = float(rule.k * len(np.unique(pairs.user)))
        return None, held, held
    if by != "time":
        return None, None, None
    return sizes_in_time(rows, rule.valid_from, rule.test_from)


def _id_ranks(vocab: Vocab) -> np.ndarray:
    """Return the rank of the id of each row among the sorted ids, int64 [n]."""
    rank = np.empty(len(vocab), dtype=np.int64)
    rank[vocab.ids.arg_sort().to_numpy()] = np.arange(len(vocab))
    return rank


def _assemble(parts: Parts, *, drop_cold: bool, noise: Noise) -> Split:
    """Drop cold users, add noise, and seal the test.

    Raises:
        InputError: train is empty.
    """
    if not len(parts.train.pairs):
        raise InputError(
            "the rule leaves no train row",
            place="[split]",
            remedy="give train a larger share, or move the points in time",
        )
    if drop_cold:
        parts = without_cold_users(parts)
    if noise.kind != "none":
        parts = with_noise(parts, noise)
    sizes = " / ".join(
        str(len(part)) if part is not None else "-"
        for part in (parts.train.pairs, parts.valid, parts.test)
    )
    train = parts.train.with_pairs(parts.train.pairs, f"{parts.words}: {sizes}")
    valid, test = (
        None if pairs is None else HeldOut.of_pairs(pairs) for pairs in (parts.valid, parts.test)
    )
    sealed = None if test is None else Sealed(test)
    return Split(train, valid, sealed, parts.words, parts.valid_log)
