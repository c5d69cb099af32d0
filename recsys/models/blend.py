"""Blend: two finished methods, every item ranked by a weighted sum of their standardised scores.

Symbols: s1 and s2 are the scores of the two methods, and z a user's scores brought onto a common scale over all items (`scale`). Score:

    s(u, i) = share * z(s1(u, .))_i + (1 - share) * z(s2(u, .))_i.

Sources: Fox, Shaw, "Combination of multiple searches", TREC-2, 1994; Montague, Aslam, "Relevance score normalization for metasearch", CIKM 2001;
Aslam, Montague, "Models for metasearch", SIGIR 2001, for ranks. Reproduces nothing published.

Each of the two is the folder of a finished run, or the name of a method without gradients, which is built with its defaults:

    [model]
    name = "blend"
    first = "runs/lightgcn"
    second = "runs/itemknn"

This way `recsys run` evaluates a blend, `recsys tune` searches `model.share`, and its own run holds both scorers whole: `verify` and `recommend` need
the two folders no more. Networks are not trained within a blend: each has its own stream of batches, its own epochs and its own best one, and a run
is where these are decided. A run has to have learned from the very pairs that the blend is built on: one that has met the validation pairs would be
judged by what it knows, so `refit` and blends do not go together. In Python, scorers at hand are joined without files:
`recsys.scorer.Blend((one.scorer, other.scorer), (0.7, 0.3))`.
"""

from __future__ import annotations

from typing import Annotated

from recsys import scorer as joined
from recsys.config import Bound, settings
from recsys.data.types import Dataset
from recsys.models._finished_run import part_of
from recsys.scorer.blend import Standard

__all__ = ["Blend"]


@settings
class Blend:
    """Two finished methods, each item by a weighted sum of both on a common scale (Fox, Shaw, 1994)."""

    first: str = "ials"
    """Folder of a finished run, from the working folder, or name of a method without gradients; a folder with the name of a method is ./NAME."""
    second: str = "itemknn"
    """The other, likewise."""
    share: Annotated[float, Bound(ge=0, le=1)] = 0.5
    """Weight of the first; the second has the rest."""
    scale: Standard = "zscore"
    """zscore: a user's scores less their mean, over their standard deviation. rank: the share of items that score lower."""

    def build(self, train: Dataset) -> joined.Blend:
        parts = (
            part_of(self.first, train, "[model] first"),
            part_of(self.second, train, "[model] second"),
        )
        return joined.Blend(parts, (self.share, 1 - self.share), self.scale)
