"""Fallback: one method for items with training interactions, another for new ones, in one ranking.

Symbols: s1 and s2 are the scores of the two methods. An item with a training interaction is scored
by s1. A new one is scored by s2 on the scale of s1. Let m and d be the mean and the standard
deviation of a user's scores over the items with a training interaction, which both methods can
score:

    s(u, j) = m1 + d1 / d2 * (s2(u, j) - m2) + advantage * d1.

So a new item is as far above the others as the second method ranks it (`recsys.scorer.Fallback` has
the corner cases). How much room new items get in a list is a choice, not a fact; `advantage` makes
it. A user without a training interaction is scored by the second method alone, unless `users` is
false.

Source: Burke, "Hybrid recommender systems: survey and experiments", UMUAI 2002 (a switching
hybrid); the common scale is an addition of this project. Reproduces nothing published.

Each part is the folder of a finished run, or the name of a method without gradients, as in
`recsys.models.blend`, which explains why:

    [model]
    name = "fallback"
    first = "runs/lightgcn"
    second = "contentknn"

In Python, scorers in memory are combined without files: `recsys.scorer.Fallback.of(one.scorer,
other.scorer, parts.train.pairs)`.
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
    """Part for items with a training interaction: folder of a finished run, or name of a method
    without gradients, as in blend."""
    second: str = "contentknn"
    """Part for the other items, in the same form; one that ranks by features or text."""
    calibrate: Calibration = "moments"
    """moments: put new items on the scale of the first part by mean and standard deviation over the
    known ones. none: use the scores of the second part unchanged."""
    advantage: float = 0.0
    """Added to the scores of all new items, in standard deviations of a user's scores of known
    items; negative moves them down. In units of scores with calibrate = "none"."""
    users: bool = True
    """Score a user without a training interaction by the second part alone."""

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
