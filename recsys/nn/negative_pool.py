"""The items from which a method that reads item features draws its negatives."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from recsys.sampling import Sampler

__all__ = ["Pool", "from_pool"]

Pool = Literal["all", "warm"]


def from_pool(sampler: Sampler, pool: Pool) -> Sampler:
    """Return the sampler, restricted to items with a training interaction if `pool` is "warm".

    With "all", the features of new items are trained as those of negatives, which pushes new
    items down for every user.
    """
    return replace(sampler, items="warm") if pool == "warm" else sampler
