"""Train, valid and a sealed test: one function per rule, each from interactions to a part number per row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np

from recsys.config import Bound, defaults, settings
from recsys.data.inject import Noise, inject, labelled
from recsys.data.load import Loaded
from recsys.data.missing import Missing, without
from recsys.data.prepare import moment
from recsys.data.types import Dataset, Interactions, Sealed, Split
from recsys.errors import InputError

__all__ = ["SplitRule", "by_last", "by_new_item", "by_ratio", "by_time", "libcml", "presplit", "split"]

TRAIN, VALID, TEST = 0, 1, 2

# Settings of some rules alone, which others would silently ignore.
_OF_SOME = (
    (("ratios", "per", "order"), ("auto", "ratio", "label")),
    (("k",), ("last",)),
    (("valid_from", "test_from"), ("time",)),
    (("new_items", "warm_share"), ("new-item",)),
    (("valid_share",), ("auto", "presplit", "label")),
)
Moment = str | int | float | None


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
        _check_ratios(self.ratios)
        if self.by == "time" and self.test_from is None:
            raise InputError("by = 'time' needs test_from", remedy="give an ISO date, unix seconds, or a fraction of the time span")
        usual = defaults(type(self))
        for keys, rules in _OF_SOME:
            idle = [key for key in keys if getattr(self, key) != usual[key]]
            if idle and self.by not in rules:
                remedy = f"it is for by = {' or '.join(map(repr, rules))}; leave it out"
                raise InputError(f"{idle[0]} means nothing with by = '{self.by}'", remedy=remedy)


def split(data: Loaded | Dataset, rule: SplitRule | None = None) -> Split:
    """Part the data by a rule. The same seed gives the same split, whatever the order of the rows was.

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
    loaded = data if isinstance(data, Loaded) else Loaded(data)
    by = rule.by if rule.by != "auto" else "presplit" if loaded.parts is not None else "ratio"
    if by not in ("presplit", "label") and loaded.parts is not None:
        raise InputError(
            f"by = '{by}' parts one log, but the source is split already",
            place="[split]",
            remedy="use by = 'presplit', or give the whole log as path",
        )
    dataset, pairs = loaded.dataset, loaded.dataset.pairs
    if by == "presplit" and loaded.parts is None:
        raise InputError(
            "by = 'presplit', but the source is one log", place="[split]", remedy="give train, valid and test in [data], or choose another rule"
        )
    if loaded.parts is not None:
        valid, test = loaded.parts
        test, words = _clean(test, "presplit") if by == "label" else (test, "presplit")
        made = presplit(dataset, valid, test, valid_share=rule.valid_share, seed=rule.seed, drop_cold=rule.drop_cold, noise=rule.noise, words=words)
        return _spoilt(made, rule)
    match by:
        case "ratio" | "label":
            part = by_ratio(pairs, rule.ratios, per=rule.per, order=rule.order, seed=rule.seed)
            shares = "/".join(f"{share:g}" for share in rule.ratios)
            words = f"ratio {shares} per {rule.per}, {f'random with seed {rule.seed}' if rule.order == 'random' else 'in time order'}"
        case "last":
            part = by_last(pairs, rule.k)
            words = f"last {rule.k} of each user test, {rule.k} before valid"
        case "time":
            part = by_time(pairs, rule.valid_from, rule.test_from)
            words = f"in time, test from {rule.test_from}" + (f", valid from {rule.valid_from}" if rule.valid_from is not None else "")
        case "new-item":
            part = by_new_item(pairs, rule.new_items, warm_share=rule.warm_share, seed=rule.seed)
            warm = f" and {rule.warm_share:g} of each user's other rows" if rule.warm_share else ""
            words = f"new items {rule.new_items:g}{warm}, half valid, half test, seed {rule.seed}"
        case _:
            part = libcml(pairs, rule.seed or 1234)
            words = f"libcml 3:1:1 per user, seed {rule.seed or 1234}"
    learned, held, kept = (pairs.take(part == number) for number in (TRAIN, VALID, TEST))
    test = kept if len(kept) else None
    if by == "label":
        test, words = _clean(test, words)
    made = _assemble(dataset.with_pairs(learned), held if len(held) else None, test, words, drop_cold=rule.drop_cold, noise=rule.noise)
    return _spoilt(made, rule)


def by_ratio(
    pairs: Interactions, ratios: Sequence[float] = (0.8, 0.1, 0.1), *, per: str = "user", order: str = "random", seed: int = 0
) -> np.ndarray:
    """Shares of each user's rows, or of all rows.

    Of n rows, test and valid take the floor of their shares, and train the rest. Per user a share above 0 whose floor is 0
    takes one row, test before valid, as long as train keeps one: n = 1 is all train, 2 is one train and one test, 3 one of each.

    Args:
        pairs: the interactions.
        ratios: shares of train, valid, test.
        per: "user" or "all".
        order: "random", or "time": the earliest are train, the latest test.
        seed: of the random order.

    Returns:
        0 train, 1 valid, 2 test; int8 [n].

    Raises:
        InputError: order "time" without times.
    """
    _check_ratios(ratios)
    canonical, group = _canonical(pairs), pairs.user if per == "user" else np.zeros(len(pairs), dtype=np.int32)
    if order == "time":
        place, counts = _places(group, canonical, _times(pairs, "order = 'time'"))
    else:
        # One random number per row, given out in canonical order, so that the order of the file cannot matter.
        draw = np.empty(len(pairs), dtype=np.int64)
        draw[canonical] = np.random.default_rng(seed).integers(0, 2**32, len(pairs))
        place, counts = _places(group, canonical, draw)
    shares = [np.floor(counts * share + 1e-9).astype(np.int64) for share in ratios[1:]]
    if per == "user":
        for i in (1, 0):
            free = counts - shares[0] - shares[1] > 1
            shares[i] += (ratios[1 + i] > 0) & (shares[i] == 0) & free
    return _cut(place, counts, shares[0], shares[1])


def by_last(pairs: Interactions, k: int = 1) -> np.ndarray:
    """The last k rows of each user are test, the k before them valid; train keeps at least one row, test is served before valid.

    Rows of the same time stand in the order of their items.

    Returns:
        0 train, 1 valid, 2 test; int8 [n].

    Raises:
        InputError: the interactions have no times.
    """
    place, counts = _places(pairs.user, _canonical(pairs), _times(pairs, "by = 'last'"))
    test = np.minimum(k, np.maximum(counts - 1, 0))
    valid = np.minimum(k, np.maximum(counts - test - 1, 0))
    return _cut(place, counts, valid, test)


def by_time(pairs: Interactions, valid_from: Moment, test_from: Moment) -> np.ndarray:
    """Two points in time for all users: train < valid_from <= valid < test_from <= test.

    Args:
        pairs: the interactions.
        valid_from, test_from: an ISO date, unix seconds, or a share of the time span as a fraction; None for `valid_from`: no valid.

    Returns:
        0 train, 1 valid, 2 test; int8 [n].

    Raises:
        InputError: no times, points that cannot be read or stand the wrong way round, no row before the first point or after the last.
    """
    time = _times(pairs, "by = 'time'")
    points = [_point(value, time, name) for value, name in ((valid_from, "valid_from"), (test_from, "test_from"))]
    last = points[1]
    if last is None:
        raise InputError("test_from is missing", place="[split]", remedy="give an ISO date, unix seconds, or a fraction of the time span")
    first = last if points[0] is None else points[0]
    if first > last:
        raise InputError(f"valid_from {valid_from} is later than test_from {test_from}", place="[split]", remedy="exchange them")
    if len(time) and last > time.max():
        remedy = "choose an earlier point, or a fraction of the time span such as 0.9"
        raise InputError(f"no row is at or after test_from {test_from}", place="[split]", remedy=remedy)
    return ((time >= first).astype(np.int8) + (time >= last)).astype(np.int8)


def by_new_item(pairs: Interactions, share: float = 0.2, *, warm_share: float = 0.0, seed: int = 0) -> np.ndarray:
    """A random share of the items is new and leaves train with all its rows: half of them are valid, half test items.

    The protocol of MILK (Bai et al., SIGIR 2024) for new items. Only items that occur are drawn. Of each user's rows of the other items
    `warm_share` is held back too, half and half, as `by_ratio` takes it.

    Returns:
        0 train, 1 valid, 2 test; int8 [n].

    Raises:
        InputError: too few items for a new one in both parts.
    """
    items = np.unique(pairs.item)
    new = int(share * len(items) + 1e-9)
    if new < 2:
        raise InputError(f"{share:g} of {len(items)} items is {new}, too few for valid and test", place="[split] new_items", remedy="raise the share")
    drawn = np.random.default_rng(seed).permutation(items)[:new]
    role = np.zeros(pairs.n_items, dtype=np.int8)
    role[drawn[: new // 2]], role[drawn[new // 2 :]] = VALID, TEST
    part = role[pairs.item]
    if warm_share:
        warm = np.flatnonzero(part == TRAIN)
        part[warm] = by_ratio(pairs.take(warm), (1 - warm_share, warm_share / 2, warm_share / 2), seed=seed)
    return part


def libcml(pairs: Interactions, seed: int = 1234) -> np.ndarray:
    """The recipe behind the matrices of LibCML, DPCML and SFCML (released code): user by user in order, the sorted items are shuffled.

    The first int(n * 3 / 5) are train, the next int(n * 1 / 5) valid, the rest test. One legacy generator serves all users in turn.

    Returns:
        0 train, 1 valid, 2 test; int8 [n].
    """
    if not 0 <= seed < 2**32:
        raise InputError(f"seed = {seed}: the generator of 'libcml' takes 32 bits", place="[split] seed", remedy="give a number below 4294967296")
    order = _canonical(pairs)
    ends = np.cumsum(np.bincount(pairs.user, minlength=pairs.n_users))
    generator = np.random.RandomState(seed)  # the released split is a draw of the legacy generator
    part = np.empty(len(pairs), dtype=np.int8)
    start = 0
    for end in ends:
        rows = order[start:end].copy()
        generator.shuffle(rows)
        train, valid = int(len(rows) * 3 / 5), int(len(rows) * 1 / 5)
        part[rows[:train]], part[rows[train : train + valid]], part[rows[train + valid :]] = TRAIN, VALID, TEST
        start = int(end)
    return part


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
    if valid is None and valid_share > 0:
        part = by_ratio(train.pairs, (1 - valid_share, valid_share, 0.0), seed=seed)
        valid, train = train.pairs.take(part == VALID), train.with_pairs(train.pairs.take(part == TRAIN))
        words += f", valid {valid_share:g} of each user's train rows, seed {seed}"
    return _assemble(train, valid, test, words, drop_cold=drop_cold, noise=noise or Noise())


def _assemble(train: Dataset, valid: Interactions | None, test: Interactions | None, words: str, *, drop_cold: bool, noise: Noise) -> Split:
    if not len(train.pairs):
        raise InputError("the rule leaves no train row", place="[split]", remedy="give train a larger share, or move the points in time")
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
    sizes = " / ".join(str(len(part)) if part is not None else "-" for part in (train.pairs, valid, test))
    train = train.with_pairs(train.pairs, f"{words}: {sizes}")
    return Split(train, valid, Sealed(test) if test is not None else None, words)


def _clean(test: Interactions | None, words: str) -> tuple[Interactions | None, str]:
    """The test without rows known to be noise."""
    if test is None:
        return None, f"{words}, by label"
    if test.label is None:
        cause = "by = 'label' keeps noise out of the test, but no row is labelled"
        raise InputError(
            cause, place="[split]", remedy='name the labels in [data], as in label = "clean" or clean_weight = 3, or choose another rule'
        )
    clean = test.label == 1
    return test.take(clean) if clean.any() else None, f"{words}, {int((~clean).sum())} noisy test rows left out"


def _spoilt(made: Split, rule: SplitRule) -> Split:
    """What is done to the parts last: a clean valid, and modalities that are lost."""
    made = _clean_valid(made) if rule.clean_valid else made
    return replace(made, train=without(made.train, rule.missing))


def _clean_valid(made: Split) -> Split:
    """The same without the rows of valid that are known to be noise."""
    if made.valid is None or made.valid.label is None:
        cause = "clean_valid leaves noise out of valid, but there is no valid part with labels"
        raise InputError(cause, place="[split]", remedy='name the labels in [data], as in label = "clean", or leave out clean_valid')
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


def _canonical(pairs: Interactions) -> np.ndarray:
    """The order by user, item and time [n]; what `dataset` makes stands in it already."""
    key = pairs.key
    if len(key) < 2 or (key[1:] > key[:-1]).all():
        return np.arange(len(key))
    columns = [values for name in ("label", "behaviour", "weight", "time") if (values := getattr(pairs, name)) is not None]
    return np.lexsort((*columns, key))


def _places(group: np.ndarray, canonical: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each row its place 0, 1, ... in its group when that is sorted by `value` (integers), and the size of the group; int64 [n] both."""
    low = int(value.min()) if len(value) else 0
    bits = (int(value.max()) - low).bit_length() if len(value) else 0
    if bits + int(group.max(initial=0)).bit_length() < 63:  # one stable sort of one key, several times faster than two
        key = ((group.astype(np.int64) << bits) | (value - low))[canonical]
        order = canonical[np.argsort(key, kind="stable")]
    else:
        order = canonical[np.lexsort((value[canonical], group[canonical]))]
    sizes = np.bincount(group) if len(group) else np.zeros(1, dtype=np.int64)
    place = np.empty(len(group), dtype=np.int64)
    place[order] = np.arange(len(group)) - (np.cumsum(sizes) - sizes)[group[order]]
    return place, sizes[group]


def _cut(place: np.ndarray, counts: np.ndarray, valid: np.ndarray, test: np.ndarray) -> np.ndarray:
    return ((place >= counts - test - valid).astype(np.int8) + (place >= counts - test)).astype(np.int8)


def _times(pairs: Interactions, what: str) -> np.ndarray:
    if pairs.time is None:
        raise InputError(
            f"{what} needs times, which the data lacks", place="[split]", remedy='name the column in [data]: time = "..."; or choose another rule'
        )
    return pairs.time


def _point(value: Moment, time: np.ndarray, name: str) -> int | None:
    if value is None:
        return None
    if isinstance(value, float):
        if not 0 < value < 1:
            raise InputError(
                f"{name} = {value:g} is no fraction", place="[split]", remedy="give a number between 0 and 1, an ISO date, or whole unix seconds"
            )
        if not len(time):
            return 0
        low, high = int(time.min()), int(time.max())
        return low + int(np.ceil(value * (high - low)))
    return moment(value, f"[split] {name}")


def _check_ratios(ratios: Sequence[float]) -> None:
    if len(ratios) != 3 or min(ratios) < 0 or not abs(sum(ratios) - 1) < 1e-6 or ratios[0] <= 0:
        cause = f"ratios = {list(ratios)} are no shares of train, valid and test that add up to 1"
        raise InputError(cause, remedy="correct them, as in ratios = [0.8, 0.1, 0.1]")
