"""Check of popularity: whether the held-out part is of another population than train."""

from __future__ import annotations

import numpy as np
import scipy  # scipy.stats takes 0.6 s to import, and scipy imports it on first use

from recsys.data.finding import Finding
from recsys.data.types import Interactions

__all__ = ["popularity_shift"]

# Usual bounds of the population stability index (Siddiqi, Credit Risk Scorecards, 2006): below 0.1
# two populations are alike, above 0.25 they are different ones.
_MOVED = 0.1
_OTHER = 0.25
_GROUPS = 10
_MANY = 200  # held-out pairs from which the shares of ten groups are worth comparing


def popularity_shift(
    train: Interactions, name: str, pairs: Interactions, rng: np.random.Generator
) -> Finding:
    """Compute the population stability index over ten popularity groups of equal mass.

    Popularity comes from one random half of train, the shares from the other half and from the
    held-out pairs: with groups made of the compared pairs, chance alone would look like a fall of
    the popular items. Training pairs weigh as much as their user does in the held-out part, so that
    a split with one pair per user is not a shift. Without a shift, the index is about
    chi-square(groups - 1) * (1 / n + 1 / m) (Yurdakul, Statistical properties of the population
    stability index, 2018).

    Args:
        train: the training interactions.
        name: of the held-out part.
        pairs: the held-out interactions.
        rng: for the two halves.
    """
    check = "popularity shift"
    asked = pairs.user_counts()
    half = rng.random(len(train)) < 0.5
    popularity = np.bincount(train.item[half], minlength=train.n_items)
    left_user, left_item = train.user[~half], train.item[~half]
    of_user = np.bincount(left_user, minlength=train.n_users)
    weight = asked[left_user] / of_user[left_user]
    warm = of_user[pairs.user] > 0
    if warm.sum() < _MANY or not popularity.any():
        message = f"not checked: only {int(warm.sum()):,} {name} pairs of known users"
        return Finding(check, "ok", 0, message)
    group = _groups(popularity)
    n, m = weight.sum() ** 2 / (weight**2).sum(), float(warm.sum())
    expected = np.bincount(group[left_item], weight, _GROUPS + 1) / weight.sum() * n
    actual = np.bincount(group[pairs.item[warm]], minlength=_GROUPS + 1).astype(float)
    kept = (expected + actual) > 0
    p, q = ((counts[kept] + 0.5) / (counts[kept] + 0.5).sum() for counts in (expected, actual))
    index = float(((q - p) * np.log(q / p)).sum())
    chance = float(scipy.stats.chi2.ppf(0.999, kept.sum() - 1)) * (1 / n + 1 / m)
    message = (
        f"stability index {index:.3f} between train and {name} "
        f"(alike below {_MOVED}, different above {_OTHER}); the most popular tenth of train holds "
        f"{float(actual[0] / m):.1%} of {name}, {float(expected[0] / n):.1%} if nothing had moved"
    )
    if index < max(_MOVED, chance):
        return Finding(check, "ok", 0, message)
    moved = round(float(np.abs(q - p).sum()) / 2 * m)
    population = "another population" if index >= _OTHER else "a moved one"
    return Finding(
        check,
        "warning",
        moved,
        f"{message}: {population}, so methods that rely on popularity gain or lose by it",
        "report results by popularity group",
    )


def _groups(popularity: np.ndarray) -> np.ndarray:
    """Return the group of each item: 0 the most popular, ..., and a last one of unpopular items.

    Args:
        popularity: interactions per item [n_items].
    """
    order = np.argsort(-popularity, kind="stable")
    ordered = popularity[order]
    before = np.cumsum(ordered) - ordered
    group = np.empty(len(popularity), dtype=np.int64)
    group[order] = np.where(ordered > 0, before * _GROUPS // popularity.sum(), _GROUPS)
    return group
