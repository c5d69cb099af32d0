"""Parts of pairs, on their way from a rule to a split."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from recsys.data.splitting.log_cut import LogCut, cut_log, cut_presplit, without_pairs
from recsys.data.splitting.noise import Noise, inject, labelled
from recsys.data.splitting.rules import TRAIN, VALID, by_ratio
from recsys.data.types import Dataset, HeldOut, Interactions, Split
from recsys.errors import InputError

__all__ = [
    "Parts",
    "clean_test",
    "clean_valid",
    "with_noise",
    "with_valid_share",
    "without_cold_users",
    "without_held_out",
]


@dataclass(frozen=True)
class Parts:
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


def without_held_out(parts: Parts) -> Parts:
    """Return the parts of files that are split already, without held-out events in the log."""
    log = cut_presplit(parts.train, parts.valid, parts.test, parts.valid_log)
    train = parts.train.with_pairs(parts.train.pairs, log=log.train)
    return replace(parts, train=train, valid_log=log.valid)


def with_valid_share(parts: Parts, valid_share: float, seed: int) -> Parts:
    """Move a share of each user's train rows to valid, and cut the log.

    Raises:
        InputError: there is a valid part already.
    """
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


def without_cold_users(parts: Parts) -> Parts:
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


def with_noise(parts: Parts, noise: Noise) -> Parts:
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
    return Parts(
        parts.train.with_pairs(noisy),
        noisy_valid,
        None if test is None else labelled(test),
        f"{parts.words}; {words}",
    )


def clean_test(parts: Parts) -> Parts:
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


def clean_valid(result: Split) -> Split:
    """Leave rows known to be noise out of valid.

    Raises:
        InputError: the valid part is missing or has no labels.
    """
    pairs = None if result.valid is None else result.valid.pairs
    if pairs is None or pairs.clean is None:
        raise InputError(
            "clean_valid leaves noise out of valid, but the split has no valid part with labels",
            place="[split]",
            remedy='name the labels in [data], as in clean = "kept", or leave out clean_valid',
        )
    clean = pairs.clean == 1
    words = f"{result.rule}; {int((~clean).sum())} noisy valid rows left out"
    valid_log = result.valid_log
    if valid_log is not None:
        valid_log = without_pairs(valid_log, pairs.take(~clean))
    valid = HeldOut.of_pairs(pairs.take(clean))
    return replace(result, valid=valid, rule=words, valid_log=valid_log)
