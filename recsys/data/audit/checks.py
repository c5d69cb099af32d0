"""Leakage and health of a split: does a number measured on it mean what it says?

Every check answers with one `Finding`, whether it found something or not:

    error    a number measured on this split is wrong: the answer leaks into training, or cannot be given at all
    warning  the number is right, but for a question that may not be the one that is asked
    ok       nothing found, or too little to matter

What features know is judged in `hindsight`. Opens the sealed test once, with the reason "audit".
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import polars as pl
from scipy import stats

from recsys.data.audit.leakage import feature_findings, label_findings
from recsys.data.finding import Finding, Severity
from recsys.data.splitting.rules import cut_ties
from recsys.data.types import FeatureTable, Interactions, Split, join

__all__ = ["Finding", "audit", "table", "worst"]

# Held-out pairs below this share move no metric by more than the third digit that anyone reads.
_SMALL = 0.01
# The usual bounds of the population stability index (Siddiqi, Credit Risk Scorecards, 2006): below 0.1 the two populations are
# alike, above 0.25 they are different ones.
_MOVED, _OTHER = 0.1, 0.25
_GROUPS = 10
_MANY = 200  # held-out pairs from which ten groups have shares worth comparing

# What the rule of a split that is in time order says.
_IN_TIME = re.compile(r"\bby_(time|last)|\blast \d|leave.last|in time|temporal|chrono")

Parts = Sequence[tuple[str, Interactions]]


def audit(
    split: Split,
    *,
    features: Mapping[str, FeatureTable] | None = None,
    core: int | None = None,
    seed: int = 0,
) -> list[Finding]:
    """Look for what would make numbers measured on a split wrong or misleading.

    Args:
        split: what to look at. Its test is opened with the reason "audit".
        features: item features to look at [n_items, d]; those of the training data by default.
        core: the k-core that the data is said to have; read from the data's history by default.
        seed: of the permutations and simulations.

    Returns:
        One finding per check, in a fixed order; the same ones for the same seed. Those of reading and splitting come last.
    """
    train = split.train.pairs
    features = split.train.features if features is None else features
    held: list[tuple[str, Interactions]] = []
    if split.valid is not None and len(split.valid):
        held.append(("valid", split.valid))
    if split.test is not None and len(split.test):
        held.append(("test", split.test.open("audit")))
    findings = [_duplicates([("train", train), *held])]
    if not len(train) or not held:
        missing = (
            "train is empty" if not len(train) else "nothing is held back: valid and test are empty"
        )
        return [
            *findings,
            Finding(
                "empty parts", "error", 1, missing, "loosen the filters, or the ratios of the split"
            ),
        ]
    rng = np.random.default_rng(seed)
    findings += [
        _overlap([("train", train), *held]),
        _masked([("train", train), *held]),
        _order(train, held, split.rule),
        _equal_times(train, held, split.rule),
        _future(train, held),
        *_unmet(train, held, with_features=bool(features)),
        _silent(train, held),
        _shift(train, *held[-1], rng),
        _core(train, split.train.history, core),
    ]
    findings += feature_findings(
        train, *held[-1], features, rng, by_chance=_by_chance(train, held[-1][1], split.rule)
    )
    findings += label_findings(train, held, features)
    return [*findings, *split.train.findings]


def table(findings: Iterable[Finding]) -> pl.DataFrame:
    """Findings as a frame with the columns check, severity, count, message, remedy; the gravest first."""
    rows = sorted(findings, key=lambda finding: -finding.gravity)
    columns = {
        name: pl.Int64 if name == "count" else pl.String
        for name in ("check", "severity", "count", "message", "remedy")
    }
    return pl.DataFrame(
        [{name: getattr(row, name) for name in columns} for row in rows], schema=columns
    )


def worst(findings: Iterable[Finding]) -> str:
    """The gravest severity among findings, "ok" where there is none."""
    return max(
        findings, key=lambda finding: finding.gravity, default=Finding("", "ok", 0, "")
    ).severity


def _duplicates(parts: Parts) -> Finding:
    """The same pair more than once inside one part."""
    extra = {name: len(pairs) - len(np.unique(pairs.key)) for name, pairs in parts}
    count = sum(extra.values())
    if not count:
        return Finding("duplicates", "ok", 0, "no pair occurs twice inside a part")
    said = ", ".join(f"{n:,} in {name}" for name, n in extra.items() if n)
    return Finding(
        "duplicates",
        "warning",
        count,
        f"pairs that repeat an earlier one: {said}; training weighs them several times",
        "merge duplicates before splitting",
    )


def _overlap(parts: Parts) -> Finding:
    """The same pair in two parts: known before it is asked for, and masked where seen items are."""
    said, count = [], 0
    for place, (first, a) in enumerate(parts):
        for second, b in parts[place + 1 :]:
            both = int(np.isin(b.key, a.key).sum())
            count += both
            if both:
                said.append(
                    f"{both:,} of {len(b):,} {second} pairs ({_share(both, len(b))}) are also in {first}"
                )
    if not count:
        return Finding("overlap", "ok", 0, "no pair is in two parts")
    message = (
        "; ".join(said)
        + ": they are masked as seen and can never be hit, or are known beforehand where nothing is masked"
    )
    return Finding(
        "overlap", "error", count, message, "merge duplicates before splitting, or split again"
    )


def _masked(parts: Parts) -> Finding:
    """Users all of whose answers are masked as seen: they score 0 whatever the method."""
    said, count = [], 0
    for place, (name, pairs) in enumerate(parts[1:], start=1):
        seen = np.concatenate([earlier.key for _, earlier in parts[:place]])
        open_ = np.zeros(pairs.n_users, dtype=bool)
        open_[pairs.user[~np.isin(pairs.key, seen)]] = True
        users = np.unique(pairs.user)
        closed = int((~open_[users]).sum())
        count += closed
        if closed:
            said.append(f"{closed:,} of {len(users):,} {name} users ({_share(closed, len(users))})")
    if not count:
        return Finding(
            "masked users", "ok", 0, "every held-out user has an item that is not masked as seen"
        )
    return Finding(
        "masked users",
        "error",
        count,
        " and ".join(said) + " have no item left to be found: every one is masked",
        "leave them out, or split again",
    )


def _order(train: Interactions, held: Parts, rule: str) -> Finding:
    """Held-out pairs older than what the same user trains on."""
    if train.time is None or any(pairs.time is None for _, pairs in held):
        return Finding("time order", "ok", 0, "not checked: there are no time stamps")
    last = np.full(train.n_users, np.iinfo(np.int64).min)
    np.maximum.at(last, train.user, train.time)
    said, count, total = [], 0, 0
    for name, pairs in held:
        assert pairs.time is not None
        early = int((pairs.time < last[pairs.user]).sum())
        count, total = count + early, total + len(pairs)
        said.append(f"{_share(early, len(pairs))} of {name}")
        np.maximum.at(last, pairs.user, pairs.time)
    if not count:
        return Finding(
            "time order",
            "ok",
            0,
            "no user is asked about what happened before what is known of them",
        )
    message = f"asked about the past: {' and '.join(said)} pairs are older than something known of the same user; {_by_time(train, held)}"
    if _IN_TIME.search(rule.lower()):
        return Finding(
            "time order",
            "error",
            count,
            f"{message}; yet the split says it is '{rule}'",
            "check the time column, and split again",
        )
    if count < _SMALL * total:
        return Finding("time order", "ok", count, message)
    return Finding(
        "time order",
        "warning",
        count,
        message,
        "split by = 'time' or 'last', if the numbers shall speak for the future",
    )


def _equal_times(train: Interactions, held: Parts, rule: str) -> Finding:
    """Users whose first held-out pair has the time of their last earlier one."""
    check = "equal times"
    if train.time is None or any(pairs.time is None for _, pairs in held):
        return Finding(check, "ok", 0, "not checked: there are no time stamps")
    if not _IN_TIME.search(rule.lower()):
        return Finding(check, "ok", 0, "not checked: the split is not in time order")
    parts = [train, *(pairs for _, pairs in held)]
    number = np.concatenate([np.full(len(part), i, dtype=np.int8) for i, part in enumerate(parts)])
    tied, cut = cut_ties(functools.reduce(join, parts), number)
    if not tied:
        return Finding(check, "ok", 0, "no user is split among pairs of equal time")
    message = (
        f"{tied:,} of {cut:,} users ({_share(tied, cut)}) are split among pairs of equal time: the order of "
        "the file, or a hash, decides which of them are asked for"
    )
    remedy = "give finer times, or split by = 'time', which keeps equal times together"
    severity: Severity = "ok" if tied < _SMALL * cut else "warning"
    return Finding(check, severity, tied, message, remedy if severity == "warning" else "")


def _by_time(train: Interactions, held: Parts) -> str:
    """What one cut in time of the same size would hold back."""
    parts = [train, *(pairs for _, pairs in held)]
    user, item = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("user", "item")
    )
    time = np.concatenate([part.time for part in parts if part.time is not None])
    cut = np.sort(time)[len(train)]
    later = time >= cut
    known_users, known_items = (
        np.zeros(train.n_users, dtype=bool),
        np.zeros(train.n_items, dtype=bool),
    )
    known_users[user[~later]] = known_items[item[~later]] = True
    warm = int((known_users[user[later]] & known_items[item[later]]).sum())
    day = np.datetime64(int(cut), "s").astype("datetime64[D]")
    return f"one cut at {day} would hold back {int(later.sum()):,} pairs, {_share(warm, int(later.sum()))} of them by known users of known items"


def _future(train: Interactions, held: Parts) -> Finding:
    """How much of train happened after a held-out pair, whoever's it was: trends are known beforehand."""
    name, pairs = held[-1]
    if train.time is None or pairs.time is None:
        return Finding("future in train", "ok", 0, "not checked: there are no time stamps")
    ordered = np.sort(train.time)
    after = len(ordered) - np.searchsorted(ordered, pairs.time, side="right")
    count, mean = int((after > 0).sum()), float(after.mean()) / len(ordered)
    if mean < _SMALL:
        return Finding(
            "future in train",
            "ok",
            count,
            f"on average {mean:.1%} of train is younger than a {name} pair",
        )
    message = (
        f"on average {mean:.1%} of train is younger than a {name} pair (0 % in a split by time, 50 % in a random one): "
        "what becomes popular is known beforehand"
    )
    return Finding(
        "future in train",
        "warning",
        count,
        message,
        "split by = 'time', if the numbers shall speak for the future",
    )


def _by_chance(train: Interactions, pairs: Interactions, rule: str) -> bool:
    """Whether train and held-out pairs are exchangeable: as old as each other, or drawn by chance as the rule says."""
    if train.time is None or pairs.time is None:
        return re.search(r"random|libcml", rule.lower()) is not None
    ordered = np.sort(train.time)
    return bool(abs(np.searchsorted(ordered, pairs.time).mean() / len(ordered) - 0.5) < 0.05)


def _unmet(train: Interactions, held: Parts, *, with_features: bool) -> list[Finding]:
    """Users and items that are asked about and never trained on."""
    findings = []
    for kind, size in (("user", train.n_users), ("item", train.n_items)):
        met = np.zeros(size, dtype=bool)
        met[getattr(train, kind)] = True
        said, count, rows, most = [], 0, 0, 0.0
        for name, pairs in held:
            asked = getattr(pairs, kind)
            strange = ~met[asked]
            new = len(np.unique(asked[strange]))
            count, rows = count + new, rows + int(strange.sum())
            most = max(most, float(strange.mean()))
            said.append(
                f"{new:,} {kind}s with {_share(int(strange.sum()), len(pairs))} of the {name} pairs"
            )
        check = f"cold {kind}s"
        if not rows:
            findings.append(Finding(check, "ok", 0, f"every held-out {kind} is in train"))
            continue
        limit = (
            f"; without features no method scores above {1 - most:.1%} recall there"
            if kind == "item"
            else "; a method that learns from interactions cannot know them"
        )
        message = f"not in train: {' and '.join(said)}{limit}"
        hopeless = most == 1.0 and not (kind == "item" and with_features)
        severity: Severity = "error" if hopeless else "warning" if most >= _SMALL else "ok"
        remedy = {
            "user": "report them apart, or keep only users with training pairs",
            "item": "report them apart, or use a method that reads features",
        }[kind]
        findings.append(
            Finding(check, severity, count, message, remedy if severity != "ok" else "")
        )
    return findings


def _silent(train: Interactions, held: Parts) -> Finding:
    """Candidates that occur nowhere: they can only be wrong answers."""
    found = np.zeros(train.n_items, dtype=bool)
    for pairs in (train, *(part for _, part in held)):
        found[pairs.item] = True
    silent = int((~found).sum())
    message = f"{silent:,} of {train.n_items:,} candidate items occur in no part ({_share(silent, train.n_items)})"
    if silent < _SMALL * train.n_items:
        return Finding("silent items", "ok", silent, message)
    return Finding(
        "silent items",
        "warning",
        silent,
        f"{message}: they can only be wrong answers",
        "drop them from the catalogue, or say why they are candidates",
    )


def _shift(
    train: Interactions, name: str, pairs: Interactions, rng: np.random.Generator
) -> Finding:
    """Population stability index over ten popularity groups of equal mass.

    Popularity comes from one random half of train, the shares from the other half and from the held-out pairs: were the groups made
    from what is then compared, chance alone would look like a fall of the popular. Training pairs weigh as much as their user does
    in the held-out part, so that a split that takes one pair per user is no shift by itself. Where nothing shifts, the index is about
    chi-square(groups - 1) * (1 / n + 1 / m) (Yurdakul, Statistical properties of the population stability index, 2018).
    """
    asked = np.bincount(pairs.user, minlength=train.n_users)
    half = rng.random(len(train)) < 0.5
    popularity = np.bincount(train.item[half], minlength=train.n_items)
    left_user, left_item = train.user[~half], train.item[~half]
    of_user = np.bincount(left_user, minlength=train.n_users)
    weight = asked[left_user] / of_user[left_user]
    warm = of_user[pairs.user] > 0
    if warm.sum() < _MANY or not popularity.any():
        return Finding(
            "popularity shift",
            "ok",
            0,
            f"not checked: only {int(warm.sum()):,} {name} pairs of known users",
        )
    order = np.argsort(-popularity, kind="stable")
    before = np.cumsum(popularity[order]) - popularity[order]
    group = np.empty(train.n_items, dtype=np.int64)
    group[order] = np.where(popularity[order] > 0, before * _GROUPS // popularity.sum(), _GROUPS)
    n, m = weight.sum() ** 2 / (weight**2).sum(), float(warm.sum())
    expected = np.bincount(group[left_item], weight, _GROUPS + 1) / weight.sum() * n
    actual = np.bincount(group[pairs.item[warm]], minlength=_GROUPS + 1).astype(float)
    kept = (expected + actual) > 0
    p, q = ((counts[kept] + 0.5) / (counts[kept] + 0.5).sum() for counts in (expected, actual))
    index = float(((q - p) * np.log(q / p)).sum())
    chance = float(stats.chi2.ppf(0.999, kept.sum() - 1)) * (1 / n + 1 / m)
    top, most = float(actual[0] / m), float(expected[0] / n)
    message = (
        f"stability index {index:.3f} between train and {name} (alike below {_MOVED}, different above {_OTHER}); "
        f"the most popular tenth of train holds {top:.1%} of {name}, {most:.1%} if nothing had moved"
    )
    if index < max(_MOVED, chance):
        return Finding("popularity shift", "ok", 0, message)
    moved = round(float(np.abs(q - p).sum()) / 2 * m)
    grave = "another population" if index >= _OTHER else "a moved one"
    return Finding(
        "popularity shift",
        "warning",
        moved,
        f"{message}: {grave}, so methods that lean on popularity are judged apart",
        "report results by popularity group",
    )


def _core(train: Interactions, history: Sequence[str], core: int | None) -> Finding:
    """The k-core of the whole data, looked for in train."""
    claims = dict.fromkeys(("user", "item"), core) if core is not None else _claims(history)
    if not any(claims.values()):
        return Finding("core after split", "ok", 0, "not checked: the data claims no k-core")
    said, count, total = [], 0, 0
    for kind, least in claims.items():
        counts = np.bincount(getattr(train, kind))
        known, below = int((counts > 0).sum()), int(((counts > 0) & (counts < (least or 0))).sum())
        count, total = count + below, total + known
        said.append(f"{below:,} of {known:,} {kind}s have fewer than {least or 0} training pairs")
    message = " and ".join(said)
    if count < max(_SMALL * total, 1):
        return Finding("core after split", "ok", count, message)
    return Finding(
        "core after split",
        "warning",
        count,
        f"the k-core of the whole data is none of train: {message}",
        "do not call train a k-core; or take the core of train",
    )


def _claims(history: Iterable[str]) -> dict[str, int | None]:
    """The cores that the data's history speaks of, as in `k_core 5`, `item_core 5` or `5-core`; the last one counts."""
    claims: dict[str, int | None] = {"user": None, "item": None}
    for line in history:
        for kind, before, after in re.findall(
            r"(?:\b(user|item)[_ ])?(?:\b(\d+)-core|(?<![a-z])core[ =]+(\d+))", line
        ):
            claims.update(
                dict.fromkeys((kind,) if kind else ("user", "item"), int(before or after))
            )
    return claims


def _share(part: int, whole: int) -> str:
    return f"{part / max(whole, 1):.1%}"
