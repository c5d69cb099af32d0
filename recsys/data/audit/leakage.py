"""Features and labels that know what they could not have known.

A feature that was made from content may well go with popularity: cheap things sell. Such a feature also goes with test popularity
beyond train popularity, because train counts are a noisy view of what is popular. So significance alone accuses the innocent. The
bound used here is what a prophet could know: the true rate of every item in the test period, but not the chance by which this
many and no more test pairs were drawn. A column that goes with test popularity more closely than the true rates do has seen the
test pairs themselves.

What stays invisible: features learnt from train and test alike (a factorisation of all pairs) whose single columns follow no
popularity. Fit them on train, and no check is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from scipy import stats

from recsys.data.finding import Finding
from recsys.data.types import FeatureTable, Interactions

__all__ = ["feature_findings", "label_findings", "partial_correlation", "prophet"]

_ITEMS = 20_000  # items looked at; a correlation over more of them is no clearer
_FEW = 50  # items below which no correlation is worth a word
_COLUMNS = 256  # ranked at a time, to bound memory
_PERMUTATIONS = 199
_SIMULATIONS = 20
_SAME = 0.9999  # a rank correlation that only rounding keeps from 1
_TELLS = 0.99  # an AUC above which a column is the label


def feature_findings(
    train: Interactions,
    name: str,
    asked: Interactions,
    features: Mapping[str, FeatureTable],
    rng: np.random.Generator,
    *,
    by_chance: bool,
) -> list[Finding]:
    """Judge every feature table against the held-out pairs `asked`, which are called `name`.

    Args:
        train, asked: pairs over the same items.
        name: of the held-out part, for the message.
        features: tables with one row per item.
        rng: for permutations and simulations.
        by_chance: whether the parts were split by chance, so that they differ in nothing else.
    """
    counts, counts_asked = (
        np.bincount(pairs.item, minlength=train.n_items) for pairs in (train, asked)
    )
    findings = []
    for modality, table in features.items():
        check = f"feature {modality}"
        if len(table.values) != train.n_items:
            message = f"{len(table.values):,} rows for {train.n_items:,} items"
            findings.append(
                Finding(
                    check,
                    "error",
                    abs(len(table.values) - train.n_items),
                    message,
                    "align the table with the item vocabulary",
                )
            )
            continue
        findings.append(_hollow(f"{check}: rows", table))
        findings.append(
            _presence(f"{check}: present", name, table.present, counts, counts_asked > 0)
        )
        findings.append(_popularity(f"{check}: popularity", name, table, counts, counts_asked, rng))
        findings.append(
            _coherence(
                f"{check}: co-occurrence", name, table, train, asked, rng, by_chance=by_chance
            )
        )
    return findings


def label_findings(
    train: Interactions,
    held: Sequence[tuple[str, Interactions]],
    features: Mapping[str, FeatureTable],
) -> list[Finding]:
    """Columns that give the noise label away, and noise among the answers."""
    if train.label is None and all(pairs.label is None for _, pairs in held):
        return [Finding("labels", "ok", 0, "not checked: no pair is labelled as noise or clean")]
    findings = []
    noise = {name: int((pairs.label == 0).sum()) for name, pairs in held if pairs.label is not None}
    if sum(noise.values()):
        said = ", ".join(f"{n:,} in {name}" for name, n in noise.items() if n)
        findings.append(
            Finding(
                "noisy answers",
                "warning",
                sum(noise.values()),
                f"held-out pairs known to be noise: {said}",
                "keep clean pairs only, to judge a denoiser",
            )
        )
    if train.label is None or len(np.unique(train.label)) < 2:
        return findings or [Finding("labels", "ok", 0, "train has no two labels to tell apart")]
    clean = train.label == 1
    telling = [column for column, values in _pair_columns(train) if _tells(values, clean)]
    if _tells(_item_rate(train.item, clean, train.n_items), clean):  # else no column of an item can
        telling += [
            f"{modality}[{d}]"
            for modality, table in features.items()
            if len(table.values) == train.n_items
            for d in range(table.dim)
            if _tells(table.values[train.item, d], clean)
        ]
    if telling:
        message = f"columns that tell noise from clean (AUC above {_TELLS}): {', '.join(telling[:5])}{' ...' if len(telling) > 5 else ''}"
        findings.append(
            Finding(
                "labels",
                "error",
                len(telling),
                message,
                "drop them before a denoiser is trained or judged",
            )
        )
    else:
        findings.append(Finding("labels", "ok", 0, "no column of train tells noise from clean"))
    return findings


def partial_correlation(
    columns: np.ndarray, target: np.ndarray, given: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rank correlation of columns with a target that is left when a third quantity is known.

    Ranks of columns and target are freed from a cubic in the ranks of `given` by least squares; what remains is correlated.

    Args:
        columns: float [n, d].
        target: float [n].
        given: float [n].

    Returns:
        The correlations [d]; the unit residuals of the columns [n, d] and of the target [n], all 0 where nothing remains.
    """
    return _partial(columns, _freed(target[:, None], _basis(given))[:, 0], _basis(given))


def prophet(train: np.ndarray, asked: np.ndarray, rng: np.random.Generator) -> float:
    """The highest partial rank correlation with test counts, given train counts, that true rates would show.

    Train counts give every item a gamma prior (its parameters by moments), test counts are Poisson around the rates. Where test counts
    spread more than that, because popularity moved, the rates are given as much spread as explains it. The bound is the largest of
    several simulations of rates and test counts from this model.

    Args:
        train, asked: counts per item, int [n].
    """
    mean, variance = float(train.mean()), float(train.var())
    shape = mean**2 / max(variance - mean, 1e-3 * mean)
    expected = (train + shape) * (asked.sum() / (train + shape).sum())
    spread = 1.0 / (train + shape)
    surplus = float(
        (asked - expected).var() - expected.mean() - (spread * expected**2).mean()
    ) / float((expected**2).mean())
    spread = spread + max(surplus, 0.0)
    basis, best = _basis(train), 0.0
    for _ in range(_SIMULATIONS):
        rates = rng.gamma(1.0 / spread, spread * expected)
        target = _freed(rng.poisson(rates)[:, None].astype(float), basis)[:, 0]
        best = max(best, float(_partial(rates[:, None], target, basis)[0][0]))
    return best


def _hollow(check: str, table: FeatureTable) -> Finding:
    """Missing is data, not a row of zeros."""
    norms = np.linalg.norm(table.values, axis=1)
    holds = np.isfinite(norms) & ((norms > 0) | (table.dim == 1))  # a single number may well be 0
    hollow = int((table.present & ~holds).sum())
    if not hollow:
        return Finding(
            check,
            "ok",
            0,
            f"the {int(table.present.sum()):,} rows that count as present hold numbers",
        )
    message = f"{hollow:,} rows that count as present are all zeros or hold no finite numbers"
    return Finding(check, "warning", hollow, message, "mark them as missing: present = false")


def _presence(
    check: str, name: str, present: np.ndarray, train: np.ndarray, asked: np.ndarray
) -> Finding:
    """Being there is itself a feature: it must not tell who is in the test, beyond what train popularity tells.

    Items of the same train count are compared with each other (Mantel and Haenszel, 1959): popular items have more pictures, and
    are in every test.
    """
    if present.all() or not present.any():
        return Finding(check, "ok", 0, "every item has it" if present.all() else "no item has it")
    both, having = int((present & asked).sum()), int(present.sum())
    message = f"{having:,} of {len(present):,} items have it, {int(asked.sum()):,} are in {name}, {both:,} are both"
    stratum = np.unique(train, return_inverse=True)[1]
    size, with_, in_test = (
        np.bincount(stratum, mask).astype(float) for mask in (np.ones(len(train)), present, asked)
    )
    expected = float((with_ * in_test / size).sum())
    spread = (
        with_ * (size - with_) * in_test * (size - in_test) / (size**2 * np.maximum(size - 1, 1))
    )
    surprise = (both - expected) / max(float(spread.sum()) ** 0.5, 1e-9)
    excess = (both - expected) / max(
        having - expected, 1e-9
    )  # of what could be, how much more than chance
    if both > 0.99 * int((present | asked).sum()) or (surprise > 5 and excess > 0.99):
        return Finding(
            check,
            "error",
            both,
            f"only items of {name} have it: {message}",
            "collect it for all items alike, without looking at the test",
        )
    if surprise > 5 and excess > 0.5:
        said = f"{message}, where train popularity explains {expected:,.0f}"
        return Finding(
            check,
            "warning",
            both,
            said,
            f"find out who has it; if {name} pairs had a part, collect it for all items alike",
        )
    return Finding(check, "ok", 0, message)


def _popularity(
    check: str,
    name: str,
    table: FeatureTable,
    train: np.ndarray,
    asked: np.ndarray,
    rng: np.random.Generator,
) -> Finding:
    """Columns that know test popularity better than the true rates of the items could."""
    rows = np.flatnonzero(table.present & (train + asked > 0))
    if len(rows) > _ITEMS:
        rows = np.sort(rng.choice(rows, _ITEMS, replace=False))
    train, asked = train[rows], asked[rows]
    if len(rows) < _FEW or len(np.unique(asked)) < 2:
        return Finding(
            check,
            "ok",
            0,
            f"not checked: {len(rows):,} items with features, {int(asked.sum()):,} {name} pairs of theirs",
        )
    basis = _basis(train)
    target = _freed(asked[:, None].astype(float), basis)[:, 0]
    shuffled = np.stack([rng.permutation(target) for _ in range(_PERMUTATIONS)]).astype(np.float32)
    counted = [_ranks(counts[:, None].astype(float))[:, 0] for counts in (asked, train + asked)]
    own = _ranks(train[:, None].astype(float))[:, 0]
    chance, found, copies = np.zeros(_PERMUTATIONS), [], []
    for start, columns in _blocks(table.values, rows):
        correlation, residual, _ = _partial(columns, target, basis)
        np.maximum(chance, np.abs(shuffled @ residual.astype(np.float32)).max(axis=1), out=chance)
        found.append(np.abs(correlation))
        ranks = _ranks(columns)
        copied = np.max([np.abs(_correlate(ranks, counts)) for counts in counted], axis=0) >= _SAME
        copies += [
            start + int(d)
            for d in np.flatnonzero(copied & (np.abs(_correlate(ranks, own)) < _SAME))
        ]
    strength = np.concatenate(found)
    best = int(strength.argmax())
    # The largest of all columns in each permutation: one p-value that holds for the whole table (Westfall and Young, 1993).
    p = (1 + int((chance >= strength[best]).sum())) / (1 + _PERMUTATIONS)
    bound = prophet(train, asked, rng)
    message = (
        f"column {best} goes with {name} popularity beyond train popularity by {strength[best]:.2f} "
        f"(p = {p:.3f}; the true rates would by {bound:.2f})"
    )
    remedy = "make the feature from content, or from train alone"
    if copies:
        return Finding(
            check,
            "error",
            len(copies),
            f"column {copies[0]} is a count of {name} or of all pairs, up to its scale",
            remedy,
        )
    if p <= 0.01 and strength[best] > bound:
        return Finding(
            check, "error", int((strength > max(bound, chance.max())).sum()), message, remedy
        )
    if p <= 0.01 and strength[best] > bound / 2 and strength[best] > 0.1:
        return Finding(
            check,
            "warning",
            int((strength > max(bound / 2, chance.max())).sum()),
            message,
            f"find out how it was made; if {name} pairs had a part, {remedy}",
        )
    return Finding(check, "ok", 0, message)


def _coherence(
    check: str,
    name: str,
    table: FeatureTable,
    train: Interactions,
    asked: Interactions,
    rng: np.random.Generator,
    *,
    by_chance: bool,
) -> Finding:
    """Whether the test items of a user resemble each other more than the training items do.

    Where the parts were split by chance and the features come from content, both resemble each other alike. Features learnt from
    test pairs draw the former together. So does a split by time, for what is met in one sitting is alike: there it is only a hint.
    """
    norms = np.linalg.norm(table.values, axis=1)
    usable = table.present & np.isfinite(norms) & (norms > 0)
    counts = [
        np.bincount(pairs.user[usable[pairs.item]], minlength=train.n_users)
        for pairs in (train, asked)
    ]
    users = np.flatnonzero((counts[0] >= 2) & (counts[1] >= 2))
    if len(users) < _FEW:
        return Finding(
            check,
            "ok",
            0,
            f"not checked: {len(users):,} users have two items with features in train and in {name}",
        )
    if len(users) > _ITEMS:
        users = np.sort(rng.choice(users, _ITEMS, replace=False))
    values = np.where(usable[:, None], table.values, 0.0)
    values[usable] -= values[usable].mean(axis=0)
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
    alike = []
    for pairs in (train, asked):
        kept = pairs.take(usable[pairs.item]).csr[users]
        degree = np.diff(kept.indptr)
        sums = np.zeros(len(users))
        for first in range(0, values.shape[1], _COLUMNS):
            sums += np.square(kept @ values[:, first : first + _COLUMNS]).sum(axis=1)
        alike.append((sums - degree) / np.maximum(degree * (degree - 1), 1))
    gap = alike[1] - alike[0]
    effect = float(gap.mean() / max(gap.std(), 1e-12))
    p = float(stats.ttest_1samp(gap, 0.0, alternative="greater").pvalue) if gap.std() > 0 else 1.0
    message = (
        f"items of one user are alike by {alike[1].mean():.2f} in {name}, by {alike[0].mean():.2f} in train "
        f"(p = {p:.1g}, {effect:+.2f} standard deviations)"
    )
    if p > 0.001 or effect < 0.2:
        return Finding(check, "ok", 0, message)
    if by_chance and effect >= 0.5:
        return Finding(
            check,
            "error",
            len(users),
            message,
            "make the feature from content, or from train alone",
        )
    reason = (
        ""
        if by_chance
        else "; where the split follows time, items of one sitting may be alike by themselves"
    )
    return Finding(
        check,
        "warning",
        len(users),
        message + reason,
        f"find out how it was made, and whether {name} pairs had a part",
    )


def _pair_columns(train: Interactions) -> Iterator[tuple[str, np.ndarray]]:
    for column in ("weight", "time"):
        values = getattr(train, column)
        if values is not None:
            yield column, values
    if train.behaviour is not None:
        for code, called in enumerate(train.behaviours):
            yield f"behaviour {called}", train.behaviour == code


def _item_rate(item: np.ndarray, clean: np.ndarray, n_items: int) -> np.ndarray:
    """The share of clean pairs of each pair's item: no column of the items tells more."""
    return (
        np.bincount(item, clean, n_items) / np.maximum(np.bincount(item, minlength=n_items), 1)
    )[item]


def _tells(values: np.ndarray, clean: np.ndarray) -> bool:
    ranks = stats.rankdata(values)
    positive, negative = int(clean.sum()), int((~clean).sum())
    auc = (ranks[clean].sum() - positive * (positive + 1) / 2) / (positive * negative)
    return bool(max(auc, 1 - auc) > _TELLS)


def _blocks(values: np.ndarray, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, values.shape[1], _COLUMNS):
        yield start, np.nan_to_num(values[rows, start : start + _COLUMNS].astype(np.float64))


def _basis(given: np.ndarray) -> np.ndarray:
    """Orthonormal cubic in the ranks of `given`, [n, 4]."""
    ranks = _ranks(given[:, None].astype(float))[:, 0]
    basis, _ = np.linalg.qr(np.vander(ranks, 4))
    return basis


def _freed(columns: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Ranks of columns less what the basis explains, at unit length; 0 where nothing remains."""
    ranks = _ranks(columns)
    rest = ranks - basis @ (basis.T @ ranks)
    length = np.linalg.norm(rest, axis=0)
    # What is left of a column that the basis explains is rounding: it counts as nothing.
    return np.where(length > 1e-6 * np.sqrt(len(rest)), rest / np.maximum(length, 1e-12), 0.0)


def _partial(
    columns: np.ndarray, target: np.ndarray, basis: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    residual = _freed(columns, basis)
    return target @ residual, residual, target


def _ranks(columns: np.ndarray) -> np.ndarray:
    """Mean ranks of each column, scaled to -1..1, [n, d]."""
    ranks = stats.rankdata(columns, axis=0)
    return 2.0 * (ranks - 1) / max(len(columns) - 1, 1) - 1.0


def _correlate(ranks: np.ndarray, target: np.ndarray) -> np.ndarray:
    centred, aim = ranks - ranks.mean(axis=0), target - target.mean()
    return aim @ centred / np.maximum(np.linalg.norm(centred, axis=0) * np.linalg.norm(aim), 1e-12)
