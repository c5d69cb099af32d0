"""Features that know the popularity of items in the held-out part.

A feature made from content may well correlate with popularity: cheap things sell. It then also
correlates with test popularity beyond train popularity, because train counts are a noisy view of
popularity. So a significant correlation does not prove leakage. The threshold is the correlation of
an oracle that knows the true rate of every item in the test period, but not the sampled test pairs.
A column with a higher correlation has seen the test pairs themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from recsys.data.audit.ranks import GivenRanks, correlations, scaled_ranks
from recsys.data.finding import Finding
from recsys.data.types import FeatureTable

__all__ = ["oracle_bound", "popularity_finding"]

_ITEMS = 20_000  # items looked at; more of them make no correlation clearer
_FEW = 50  # items below which no correlation is worth reporting
_COLUMNS = 256  # ranked at a time, to bound memory
_PERMUTATIONS = 199
_SIMULATIONS = 20
_SAME = 0.9999  # a rank correlation that only rounding keeps from 1


def oracle_bound(train: np.ndarray, asked: np.ndarray, rng: np.random.Generator) -> float:
    """Return the highest partial rank correlation that an oracle of the true rates would show.

    It is the correlation of an item's true rate with its test count, given its train count. Train
    counts give every item a gamma prior, with parameters by moments; test counts are Poisson around
    the rates. If the test counts spread more than that, because popularity has changed, the rates
    get as much spread as explains it. The bound is the largest of several simulations of rates and
    test counts.

    Args:
        train: training interactions per item, integers [n].
        asked: held-out interactions per item, integers [n].
        rng: of the simulations.
    """
    mean, variance = float(train.mean()), float(train.var())
    shape = mean**2 / max(variance - mean, 1e-3 * mean)
    expected = (train + shape) * (asked.sum() / (train + shape).sum())
    spread = 1.0 / (train + shape)
    surplus = float(
        (asked - expected).var() - expected.mean() - (spread * expected**2).mean()
    ) / float((expected**2).mean())
    spread = spread + max(surplus, 0.0)
    given = GivenRanks(train)
    highest = 0.0
    for _ in range(_SIMULATIONS):
        rates = rng.gamma(1.0 / spread, spread * expected)
        counts = rng.poisson(rates)
        highest = max(highest, float(given.correlations(rates[:, None], counts)[0]))
    return highest


@dataclass(frozen=True)
class _Correlations:
    """How the columns of a table correlate with held-out popularity.

    Args:
        strength: absolute partial rank correlation of each column [d].
        chance: the largest of all columns in each permutation of the items [permutations].
        copies: columns that are the held-out counts, or all counts, up to their scale.
    """

    strength: np.ndarray
    chance: np.ndarray
    copies: list[int]

    @property
    def best(self) -> int:
        """The column with the highest correlation."""
        return int(self.strength.argmax())

    @property
    def p(self) -> float:
        """One p-value that holds for the whole table (Westfall and Young, 1993)."""
        as_high = int((self.chance >= self.strength[self.best]).sum())
        return (1 + as_high) / (1 + _PERMUTATIONS)


def popularity_finding(
    check: str,
    name: str,
    table: FeatureTable,
    train: np.ndarray,
    asked: np.ndarray,
    rng: np.random.Generator,
) -> Finding:
    """Look for columns that know held-out popularity better than the true rates of the items.

    Args:
        check: name of the check.
        name: of the held-out part.
        table: features of the items.
        train: training interactions per item [n_items].
        asked: held-out interactions per item [n_items].
        rng: for permutations and simulations.
    """
    rows = np.flatnonzero(table.present & (train + asked > 0))
    if len(rows) > _ITEMS:
        rows = np.sort(rng.choice(rows, _ITEMS, replace=False))
    train, asked = train[rows], asked[rows]
    if len(rows) < _FEW or len(np.unique(asked)) < 2:
        return Finding(
            check,
            "ok",
            0,
            f"not checked: {len(rows):,} items with features, "
            f"{int(asked.sum()):,} {name} pairs of theirs",
        )
    result = _correlate(table.values, rows, train, asked, rng)
    strength, highest = result.strength, result.strength[result.best]
    bound = oracle_bound(train, asked, rng)
    remedy = "make the feature from content, or from train alone"
    if result.copies:
        return Finding(
            check,
            "error",
            len(result.copies),
            f"column {result.copies[0]} is a count of {name} or of all pairs, up to its scale",
            remedy,
        )
    message = (
        f"column {result.best} correlates with {name} popularity beyond train popularity: "
        f"{highest:.2f} (p = {result.p:.3f}; the true rates would reach {bound:.2f})"
    )
    if result.p <= 0.01 and highest > bound:
        count = int((strength > max(bound, result.chance.max())).sum())
        return Finding(check, "error", count, message, remedy)
    if result.p <= 0.01 and highest > bound / 2 and highest > 0.1:
        count = int((strength > max(bound / 2, result.chance.max())).sum())
        advice = f"find out how it was made; if {name} pairs had a part, {remedy}"
        return Finding(check, "warning", count, message, advice)
    return Finding(check, "ok", 0, message)


def _correlate(
    values: np.ndarray,
    rows: np.ndarray,
    train: np.ndarray,
    asked: np.ndarray,
    rng: np.random.Generator,
) -> _Correlations:
    """Correlate the columns of a table with held-out popularity, given train popularity.

    Args:
        values: the table [n_items, d].
        rows: of the items that are looked at [n].
        train, asked: interactions of these items [n].
        rng: of the permutations.
    """
    given = GivenRanks(train)
    target = given.residual(asked)
    shuffled = np.stack([rng.permutation(target) for _ in range(_PERMUTATIONS)]).astype(np.float32)
    train_ranks, *leaked_ranks = (
        scaled_ranks(counts[:, None].astype(float))[:, 0]
        for counts in (train, asked, train + asked)
    )
    chance = np.zeros(_PERMUTATIONS)
    strength: list[np.ndarray] = []
    copies: list[int] = []
    for start, columns in _blocks(values, rows):
        residuals = given.residuals(columns)
        by_chance = np.abs(shuffled @ residuals.astype(np.float32)).max(axis=1)
        np.maximum(chance, by_chance, out=chance)
        strength.append(np.abs(target @ residuals))
        ranks = scaled_ranks(columns)
        leaked = np.max([np.abs(correlations(ranks, counts)) for counts in leaked_ranks], axis=0)
        legitimate = np.abs(correlations(ranks, train_ranks)) >= _SAME
        copies += (start + np.flatnonzero((leaked >= _SAME) & ~legitimate)).tolist()
    return _Correlations(np.concatenate(strength), chance, copies)


def _blocks(values: np.ndarray, rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the first column and the values [n, columns] of each block; NaN becomes 0."""
    for start in range(0, values.shape[1], _COLUMNS):
        yield start, np.nan_to_num(values[rows, start : start + _COLUMNS].astype(np.float64))
