"""Splits: train, valid and a sealed test of a data set, by a rule."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from recsys.data.load import LoadedData
from recsys.data.plausible import thin_parts
from recsys.data.splitting.log_cut import LogCut, cut_log, cut_of, cut_presplit, without_pairs
from recsys.data.splitting.missing_modalities import without
from recsys.data.splitting.noise import Noise, inject, labelled
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
from recsys.data.splitting.settings import EITHER, SplitRule, refuse_unused
from recsys.data.splitting.splitters import parts_by
from recsys.data.splitting.ties import tie_keys, tie_words
from recsys.data.types import Dataset, Interactions, Sealed, Split, Vocab
from recsys.errors import InputError

__all__ = ["SplitRule", "presplit", "split"]


@dataclass(frozen=True)
class _Parts:
    """Train, and the held-out parts that exist.

    Args:
        train: the training data, with the vocabularies of all parts.
        valid, test: interactions, or None.
        words: how they were split.
        valid_log: the events that join the log of train when valid does, or None.
    """

    train: Dataset
    valid: Interactions | None
    test: Interactions | None
    words: str
    valid_log: Interactions | None = None


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
    result = _assemble(parts, drop_cold=rule.drop_cold, noise=rule.noise)
    if rule.clean_valid:
        result = _clean_valid(result)
    return replace(result, train=without(result.train, rule.missing))


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
    parts = _with_valid(_Parts(train, valid, test, words), valid_share, seed)
    return _assemble(parts, drop_cold=drop_cold, noise=noise or Noise())


def _presplit_parts(
    loaded: LoadedData,
    held: tuple[Interactions | None, Interactions | None],
    by: str,
    rule: SplitRule,
) -> _Parts:
    """Return the parts of files that are split already.

    Raises:
        InputError: the rule is for one log.
    """
    if by not in ("presplit", "label"):
        raise InputError(
            f"by = '{by}' splits one log, but the source is split already",
            place="[split]",
            remedy="use by = 'presplit', or give the whole log as path",
        )
    parts = _Parts(loaded.dataset, *held, "presplit", loaded.valid_log)
    if by == "label":
        parts = _clean_test(parts)
    return _with_valid(parts, rule.valid_share, rule.seed)


def _log_parts(data: Dataset, by: str, rule: SplitRule) -> _Parts:
    """Return the parts of one log."""
    part, words = _parts_of_rows(data, by, rule)
    remedy = "choose other ratios"
    if by == "time":
        remedy = "name valid_from and test_from as dates"
    thin = thin_parts(part, _expected_sizes(data.pairs, by, rule), remedy)
    data = replace(data, findings=(*data.findings, *thin))
    train, valid, test = (data.pairs.take(part == number) for number in (TRAIN, VALID, TEST))
    log = cut_log(data, part, train, cut_of(by, rule))
    parts = _Parts(
        data.with_pairs(train, log=log.train),
        valid if len(valid) else None,
        test if len(test) else None,
        words,
        log.valid,
    )
    return _clean_test(parts) if by == "label" else parts


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
    if by != "time" or not isinstance(rule.test_from, float):
        return None, None, None
    after = (1 - rule.test_from) * rows
    if rule.valid_from is None:
        return rule.test_from * rows, 0.0, after
    if not isinstance(rule.valid_from, float):
        return None, None, after
    return rule.valid_from * rows, (rule.test_from - rule.valid_from) * rows, after


def _id_ranks(vocab: Vocab) -> np.ndarray:
    """Return the rank of the id of each row among the sorted ids, int64 [n]."""
    rank = np.empty(len(vocab), dtype=np.int64)
    rank[vocab.ids.arg_sort().to_numpy()] = np.arange(len(vocab))
    return rank


def _with_valid(parts: _Parts, valid_share: float, seed: int) -> _Parts:
    """Move a share of each user's train rows to valid, and cut the log.

    Raises:
        InputError: there is a valid part already.
    """
    log = cut_presplit(parts.train, parts.valid, parts.test, parts.valid_log)
    train = parts.train.with_pairs(parts.train.pairs, log=log.train)
    parts = replace(parts, train=train, valid_log=log.valid)
    if not valid_share > 0:
        return parts
    if parts.valid is not None:
        raise InputError(
            "valid_share is for data without a valid part, and these have one",
            place="[split] valid_share",
            remedy="leave it out, or leave the valid file out of [data]",
        )
    pairs = parts.train.pairs
    part = by_ratio(pairs, (1 - valid_share, valid_share, 0.0), seed=seed)
    train_pairs = pairs.take(part == TRAIN)
    log = cut_log(parts.train, part, train_pairs, LogCut())
    return replace(
        parts,
        train=parts.train.with_pairs(train_pairs, log=log.train),
        valid=pairs.take(part == VALID),
        valid_log=log.valid,
        words=f"{parts.words}, valid {valid_share:g} of each user's train rows, seed {seed}",
    )


def _assemble(parts: _Parts, *, drop_cold: bool, noise: Noise) -> Split:
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
        parts = _without_cold_users(parts)
    if noise.kind != "none":
        parts = _with_noise(parts, noise)
    sizes = " / ".join(
        str(len(part)) if part is not None else "-"
        for part in (parts.train.pairs, parts.valid, parts.test)
    )
    train = parts.train.with_pairs(parts.train.pairs, f"{parts.words}: {sizes}")
    test = Sealed(parts.test) if parts.test is not None else None
    return Split(train, parts.valid, test, parts.words, parts.valid_log)


def _without_cold_users(parts: _Parts) -> _Parts:
    """Leave out the held-out rows of users without a row in train."""
    train = parts.train
    warm = train.pairs.user_counts() > 0
    valid, test = _rows_of(parts.valid, warm), _rows_of(parts.test, warm)
    dropped = []
    for name, before, after in (("valid", parts.valid, valid), ("test", parts.test, test)):
        if before is not None and after is not None and len(after) < len(before):
            dropped.append(f"{len(before) - len(after)} {name}")
    if not dropped:
        return parts
    words = f"{parts.words}; {' and '.join(dropped)} rows of users without train rows dropped"
    valid_log = _rows_of(parts.valid_log, warm)
    return replace(parts, valid=valid, test=test, words=words, valid_log=valid_log)


def _rows_of(part: Interactions | None, chosen: np.ndarray) -> Interactions | None:
    """Return the rows of the chosen users.

    Args:
        part: held-out interactions, or None.
        chosen: whether a user is chosen, bool [n_users].
    """
    if part is None or chosen[part.user].all():
        return part
    return part.take(chosen[part.user])


def _with_noise(parts: _Parts, noise: Noise) -> _Parts:
    """Add false interactions to train and valid, and labels to all parts.

    Raises:
        InputError: the log has events that the pairs lack.
    """
    train = parts.train.pairs
    if parts.train.log is not train:
        raise InputError(
            "noise is added to pairs, and the log holds other events too",
            place="[split] noise",
            remedy="leave out noise, or [data] keep_log",
        )
    valid, test = parts.valid, parts.test
    known = [part for part in (train, valid, test) if part is not None]
    noisy = inject(train, train, known, noise)
    words = (
        f"noise {noise.kind} {noise.share:g} per {noise.per}, seed {noise.seed}: "
        f"{len(noisy) - len(train)} false pairs in train"
    )
    noisy_valid = None if valid is None else labelled(valid)
    if valid is not None and noise.valid:
        noisy_valid = inject(valid, train, [*known, noisy], noise, name="valid")
        words += f", {len(noisy_valid) - len(valid)} in valid"
    return _Parts(
        parts.train.with_pairs(noisy),
        noisy_valid,
        None if test is None else labelled(test),
        f"{parts.words}; {words}",
    )


def _clean_test(parts: _Parts) -> _Parts:
    """Leave rows known to be noise out of the test.

    Raises:
        InputError: the test has no labels.
    """
    test = parts.test
    if test is None:
        return replace(parts, words=f"{parts.words}, by label")
    if test.clean is None:
        raise InputError(
            "by = 'label' keeps noise out of the test, but no row is labelled",
            place="[split]",
            remedy='name the labels in [data], as in clean = "kept" or clean_weight = 3, '
            "or choose another rule",
        )
    clean = test.clean == 1
    return replace(
        parts,
        test=test.take(clean) if clean.any() else None,
        words=f"{parts.words}, {int((~clean).sum())} noisy test rows left out",
    )


def _clean_valid(result: Split) -> Split:
    """Leave rows known to be noise out of valid.

    Raises:
        InputError: the valid part is missing or has no labels.
    """
    if result.valid is None or result.valid.clean is None:
        raise InputError(
            "clean_valid leaves noise out of valid, but the split has no valid part with labels",
            place="[split]",
            remedy='name the labels in [data], as in clean = "kept", or leave out clean_valid',
        )
    clean = result.valid.clean == 1
    words = f"{result.rule}; {int((~clean).sum())} noisy valid rows left out"
    valid_log = result.valid_log
    if valid_log is not None:
        valid_log = without_pairs(valid_log, result.valid.take(~clean))
    return replace(result, valid=result.valid.take(clean), rule=words, valid_log=valid_log)
