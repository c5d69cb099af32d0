"""Partial AUC of a user's full ranking, from the ranks of the test items alone.

There are n+ test items among L candidates and n- = L - n+ others. Some of both are kept. The value
is the share of kept pairs in the right order, where equal scores count one half:

    one-way     all test items                            floor(b n-) best-ranked others   OPAUC
    two-way     floor(a n+) worst-ranked test items       floor(b n-) best-ranked others   TPAUC
    lower-left  floor(a n+) best-ranked test items        floor(b n-) best-ranked others   LLPAUC

a and b are the fractions that are kept. The literature on two-way partial AUC also writes alpha for
a bound on the true-positive rate. Keeping the worst fraction a of the test items is the region of
rates from 1 - a on, so its "TPR >= alpha" is a = 1 - alpha here.

Take a test item at mean rank r, with a test items above it and q equal to it, itself included. It
is outranked by s others and equal to t others with s + t / 2 = r - a - (q + 1) / 2. Of the K
best-ranked others, min(s, K) are above it and min(s + t, K) are above or equal. So it wins
K - (min(s, K) + min(s + t, K)) / 2 of its K pairs. If several others are equal, it does not matter
which of them are kept. The mean rank alone is not enough, t is needed: one other above a test item
gives the same rank 2 as two others equal to it, but 0 and 1/2 wins against the best other.

Sources: one-way, Dodd & Pepe, Biometrics 2003; two-way, Yang, Lu, Lyu & Hu, 2019; lower-left, Shi
et al., WWW 2024; floors of fractions as in the released code of Yang et al. (ICML 2021). The cost
after ranking is O(n+).
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Literal

import numpy as np

from recsys.errors import InputError
from recsys.evaluation.contexts import RankContext

__all__ = ["End", "Region", "example", "partial_auc", "region"]

End = Literal["opauc", "tpauc", "llpauc"]
Region = tuple[Fraction, Fraction]

_PERCENTAGE = re.compile(r"(0|[1-9][0-9]{0,2})(?:\.([0-9]{1,6}))?%")


def partial_auc(context: RankContext, *, end: End, kept: Region) -> np.ndarray:
    """Return the partial AUC of each user, float64 [U].

    NaN where a floor is 0: the user has too few test items or other candidates to keep the
    fraction. Like `auc`, it is about candidates only and ignores `context.n_relevant`.

    Args:
        context: ranks of the test items.
        end: the kept test items: all ("opauc"), the worst-ranked ("tpauc") or the best-ranked
            ("llpauc").
        kept: exact fractions of test items and of other candidates; the first is 1 for "opauc".
    """
    sizes, owner = context.sizes, context.owner
    ahead, equal = _ties_among_test_items(context)
    beaten = context.rank - ahead - (equal + 1) / 2  # others above, and half of the equal ones
    others = context.tied - equal
    n_pos = _floor(sizes, kept[0])
    n_neg = _floor(context.candidates - sizes, kept[1])
    best = n_neg[owner]
    above = np.minimum(beaten - others / 2, best)
    above_or_equal = np.minimum(beaten + others / 2, best)
    wins = best - (above + above_or_equal) / 2
    counted = context.position < n_pos[owner]
    if end == "tpauc":
        counted = context.position >= (sizes - n_pos)[owner]
    pairs = n_pos * n_neg
    total = context.sums(wins * counted)
    return np.asarray(np.divide(total, pairs, out=np.full(len(sizes), np.nan), where=pairs > 0))


def _ties_among_test_items(context: RankContext) -> tuple[np.ndarray, np.ndarray]:
    """Return how many test items are above each one, and how many equal it, int64 [P] each.

    Test items with equal scores share one rank, so ties are the runs of equal ranks.
    """
    owner, rank = context.owner, context.rank
    if not len(rank):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    new = np.append(True, (owner[1:] != owner[:-1]) | (rank[1:] != rank[:-1]))
    starts = np.flatnonzero(new)
    length = np.diff(np.append(starts, len(rank)))
    return np.repeat(context.position[starts], length), np.repeat(length, length)


def example(end: End) -> str:
    """Return a valid name of a partial AUC, such as `opauc@5%`."""
    return f"{end}@5%" if end == "opauc" else f"{end}@30%x30%"


def region(name: str, end: End, cut: str | None) -> tuple[str, Region]:
    """Read the fractions of a partial AUC from the text after the @ of its name.

    Args:
        name: the whole name, for errors.
        end: the kind of partial AUC.
        cut: `5%` for "opauc", `30%x5%` (test items x other candidates) for the others; None
            without an @.

    Returns:
        The text in its plainest form, and the exact fractions of test items and of other
        candidates.

    Raises:
        InputError: no fraction, too few or too many fractions, or a fraction that is not a
            percentage above 0 and up to 100.
    """
    remedy = f"write {example(end)}, for example"
    expected = "the fractions of test items and of other candidates that are kept"
    if end == "opauc":
        expected = "the fraction of other candidates that is kept"
    if not cut:
        raise InputError(f"metric '{name}' needs {expected}", remedy=remedy)
    parts = cut.split("x")
    if len(parts) != (1 if end == "opauc" else 2):
        raise InputError(
            f"metric '{name}': expected {expected} after the @, got '{cut}'", remedy=remedy
        )
    shares = [_share(name, part, remedy) for part in parts]
    plain = "x".join(f"{float(100 * share):.10g}%" for share in shares)
    return plain, (shares[0] if len(shares) == 2 else Fraction(1), shares[-1])


def _share(name: str, text: str, remedy: str) -> Fraction:
    """Read one percentage, above 0 % and up to 100 %."""
    share = Fraction(text[:-1]) / 100 if _PERCENTAGE.fullmatch(text) else Fraction(0)
    if not 0 < share <= 1:
        raise InputError(
            f"metric '{name}': '{text}' is not a percentage above 0% and up to 100%",
            remedy=remedy,
        )
    return share


def _floor(n: np.ndarray, share: Fraction) -> np.ndarray:
    """Return floor(share n) by integer arithmetic: in floating point, 29 % of 100 would be 28."""
    return np.asarray(n.astype(np.int64) * share.numerator // share.denominator)
