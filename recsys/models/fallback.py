"""Fallback: one method for the items it has met in training, another for new ones, and one ranking of both.

Symbols: s1 and s2 are the scores of the two methods. An item with a training pair is scored by s1. A new one is scored by s2, put on the scale of
s1: with m and d the mean and the standard deviation of a user's scores over the items that have a training pair, which both methods can score,

    s(u, j) = m1 + d1 / d2 * (s2(u, j) - m2) + advantage * d1,

so that a new item stands as far above the others as the second method finds it (`recsys.scorer.Fallback` has the corner cases). How much room
new items get in a list is a choice, not a fact, and `advantage` is where it is made. A user without a training pair is scored by the second
method alone, unless `users` is false.

Source: Burke, "Hybrid recommender systems: survey and experiments", UMUAI 2002 (a switching hybrid); the common scale is ours. Reproduces nothing
published.

Each of the two is the folder of a finished run, or the name of a method without gradients, as in `recsys.models.blend`, which says why:

    [model]
    name = "fallback"
    first = "runs/lightgcn"
    second = "contentknn"

In Python, scorers at hand are joined without files: `recsys.scorer.Fallback.of(one.scorer, other.scorer, parts.train.pairs)`.
"""

from __future__ import annotations

from recsys import scorer as joined
from recsys.config import settings
from recsys.data.types import Dataset
from recsys.models._finished_run import part_of
from recsys.scorer.blend import Calibration

__all__ = ["Fallback"]


@settings
class Fallback:
    """Known items by one finished method, new items by another, in one ranking (Burke, 2002)."""

    first: str = "ials"
    """For items with a training pair: folder of a finished run, or name of a method without gradients; as in blend."""
    second: str = "contentknn"
    """For the others, likewise; one that ranks by features or text."""
    calibrate: Calibration = "moments"
    """moments: new items on the scale of the first by mean and standard deviation over the known ones. none: the scores of the second as they are."""
    advantage: float = 0.0
    """How far all new items are moved up, in standard deviations of a user's scores of known ones; below zero: down. In scores with "none"."""
    users: bool = True
    """Whether a user without a training pair is scored by the second alone."""

    def build(self, train: Dataset) -> joined.Fallback:
        parts = (
            part_of(self.first, train, "[model] first"),
            part_of(self.second, train, "[model] second"),
        )
        return joined.Fallback.of(
            *parts,
            train.pairs,
            users=self.users,
            calibrate=self.calibrate,
            advantage=self.advantage,
        )
