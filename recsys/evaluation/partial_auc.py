"""Partial AUC of a user's full ranking, from the ranks of the test items alone: no score is looked at and no pair is formed.

With n+ test items among L candidates and n- = L - n+ others, keep some of both and take the share of pairs in the right order, ties one half:

    one-way     all test items                              against the floor(b n-) best-ranked others    OPAUC
    two-way     the floor(a n+) worst-ranked test items     against them                                  TPAUC
    lower-left  the floor(a n+) best-ranked test items      against them                                  LLPAUC

a and b are the fractions that are kept. (The literature of two-way partial AUC also writes alpha for a bound on the true-positive rate: keeping the
worst fraction a of the test items is the region of rates from 1 - a on, so its "TPR >= alpha" is a = 1 - alpha here.)

A test item at mean rank r, with a test items above it and q equal, itself included, is outranked by s others and equal to t others with
s + t / 2 = r - a - (q + 1) / 2. Of the K best-ranked others min(s, K) are above it and min(s + t, K) above or equal, so it wins
K - (min(s, K) + min(s + t, K)) / 2 of its K pairs. Which of several equals are kept makes no difference: they win the same. Mean ranks alone
would not do, t has to be counted: one other above a test item or two equal to it give the same rank 2, but 0 and 1/2 wins against the best other.

Sources: one-way, Dodd & Pepe, Biometrics 2003; two-way, Yang, Lu, Lyu & Hu, 2019; lower-left, Shi et al., WWW 2024; fractions as floors as in the
released code of Yang et al. (ICML 2021). Cost O(n+) after ranking.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Literal

import numpy as np

from recsys.errors import InputError

__all__ = ["End", "Region", "partial_auc", "region"]

End = Literal["opauc", "tpauc", "llpauc"]
Region = tuple[Fraction, Fraction]

_SHARE = re.compile(r"(0|[1-9][0-9]{0,2})(?:\.([0-9]{1,6}))?%")


def partial_auc(
    rank: np.ndarray,
    indptr: np.ndarray,
    candidates: np.ndarray,
    n_relevant: np.ndarray,
    tied: np.ndarray,
    *,
    end: End,
    kept: Region,
) -> np.ndarray:
    """Per user, float64 [U]; NaN where a floor is 0: too few test items or other candidates to keep that fraction of.

    Args:
        rank: mean ranks of the reachable test items, ascending within a user, float64 [P].
        indptr: int64 [U + 1]; user u's are rank[indptr[u]:indptr[u + 1]].
        candidates: ranked items per user, int64 [U].
        n_relevant: not looked at: as `auc`, this is about candidates only.
        tied: candidates of the same score as each test item, itself included, int64 [P].
        end: which test items are kept: all of them ("opauc"), the worst-ranked ("tpauc") or the best-ranked ("llpauc").
        kept: the fractions of test items and of other candidates that are kept, exact; the first must be 1 for "opauc".
    """
    sizes = np.diff(indptr)
    owner = np.repeat(np.arange(len(sizes)), sizes)
    place = np.arange(len(rank)) - indptr[:-1][owner]
    # Test items of one score have one rank, others another, so the runs of equal ranks are the ties among test items.
    starts = (
        np.flatnonzero(np.append(True, (owner[1:] != owner[:-1]) | (rank[1:] != rank[:-1])))
        if len(rank)
        else np.empty(0, dtype=np.int64)
    )
    mine = np.diff(np.append(starts, len(rank)))
    ahead, equal = np.repeat(place[starts], mine), np.repeat(mine, mine)
    beaten = rank - ahead - (equal + 1) / 2  # others above, and half of those equal
    others = tied - equal
    above, upto = beaten - others / 2, beaten + others / 2

    n_pos, n_neg = _floor(sizes, kept[0]), _floor(candidates - sizes, kept[1])
    k = n_neg[owner]
    wins = k - (np.minimum(above, k) + np.minimum(upto, k)) / 2
    chosen = place >= (sizes - n_pos)[owner] if end == "tpauc" else place < n_pos[owner]
    pairs = n_pos * n_neg
    total = np.bincount(owner, wins * chosen, minlength=len(sizes))
    return np.asarray(np.divide(total, pairs, out=np.full(len(sizes), np.nan), where=pairs > 0))


def region(name: str, end: End, cut: str | None) -> tuple[str, Region]:
    """What stands behind the @: `5%` for "opauc", `30%x5%` (test items x other candidates) for the two others.

    Returns:
        the same in its plainest form, and the fractions of test items and of other candidates, exact.

    Raises:
        InputError: no fraction, one too few or too many, one that is no percentage above 0 up to 100.
    """
    example = f"{end}@5%" if end == "opauc" else f"{end}@30%x30%"
    wanted = (
        "the fraction of other candidates that is kept"
        if end == "opauc"
        else "the fractions of test items and of other candidates that are kept"
    )
    if not cut:
        raise InputError(f"metric '{name}' needs {wanted}", remedy=f"write {example}, for example")
    parts = cut.split("x")
    if len(parts) != (1 if end == "opauc" else 2):
        raise InputError(
            f"metric '{name}': behind the @ stands '{cut}' instead of {wanted}",
            remedy=f"write {example}, for example",
        )
    shares = [_share(name, part, example) for part in parts]
    plain = "x".join(f"{float(100 * share):.10g}%" for share in shares)
    return plain, (shares[0] if len(shares) == 2 else Fraction(1), shares[-1])


def _share(name: str, text: str, example: str) -> Fraction:
    matched = _SHARE.fullmatch(text)
    share = Fraction(text[:-1]) / 100 if matched else Fraction(0)
    if not 0 < share <= 1:
        raise InputError(
            f"metric '{name}': '{text}' is not a percentage above 0% and up to 100%",
            remedy=f"write {example}, for example",
        )
    return share


def _floor(n: np.ndarray, share: Fraction) -> np.ndarray:
    """floor(share n) in whole numbers: in floating point, 29 % of 100 would be 28."""
    return np.asarray(n.astype(np.int64) * share.numerator // share.denominator)
