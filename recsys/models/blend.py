"""Blend: rank by a weighted sum of the standardised scores of two methods.

Symbols: s1 and s2 are the scores of the two methods. z maps a user's scores onto a common scale
over all items (`scale`). Score:

    s(u, i) = share * z(s1(u, .))_i + (1 - share) * z(s2(u, .))_i.

Sources: Fox, Shaw, "Combination of multiple searches", TREC-2, 1994; Montague, Aslam, "Relevance
score normalization for metasearch", CIKM 2001; Aslam, Montague, "Models for metasearch", SIGIR
2001, for ranks. Reproduces nothing published.

Each part is the folder of a finished run, or the name of a method without gradients, which is built
with its default settings:

    [model]
    name = "blend"
    first = "runs/lightgcn"
    second = "runs/itemknn"

With this, `recsys run` evaluates a blend and `recsys tune` searches `model.share`. The run of a
blend contains both scorers, so `verify` and `recommend` no longer need the two folders.

A blend does not train networks: each network has its own stream of batches, its own number of
epochs and its own best epoch, and a run is where these are chosen. A part must have been trained on
exactly the interactions that the blend is built on. A run that has also seen the validation
interactions would be judged on its training data, so `refit` and blends cannot be combined.

In Python, scorers in memory are combined without files: `recsys.scorer.Blend((one.scorer,
other.scorer), (0.7, 0.3))`.
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
    """Two finished methods, ranked by a weighted sum on a common scale (Fox, Shaw, 1994)."""

    first: str = "ials"
    """Folder of a finished run, relative to the working directory, or name of a method without
    gradients. Write ./NAME for a folder that has the name of a method."""
    second: str = "itemknn"
    """The second part, in the same form."""
    share: Annotated[float, Bound(ge=0, le=1)] = 0.5
    """Weight of the first part; the second has the rest."""
    scale: Standard = "zscore"
    """zscore: subtract the mean of a user's scores and divide by their standard deviation. rank:
    the share of items with a lower score."""

    def build(self, train: Dataset) -> joined.Blend:
        parts = (
            part_of(self.first, train, "[model] first"),
            part_of(self.second, train, "[model] second"),
        )
        return joined.Blend(parts, (self.share, 1 - self.share), self.scale)
