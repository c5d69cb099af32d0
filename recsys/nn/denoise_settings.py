"""Settings of the denoiser, `[train.denoise]`; `recsys.nn.denoise` gives formulas and sources."""

from __future__ import annotations

from typing import Annotated, Literal

from recsys.config import Bound, settings

__all__ = ["DROPS", "Denoise"]

# Kinds that drop pairs.
DROPS = ("tce", "random", "rare", "dcf")


@settings
class Denoise:
    """Handle noise among the observed pairs; for losses by labels (bce) with sampled negatives."""

    reconstructed = 'DCF in its mode "paper"'

    kind: Literal["none", "watch", "random", "rare", "tce", "rce", "dcf"] = "none"
    """none: no denoising. watch: only remember the loss of every pair, for `recsys noise`. tce:
    drop the positives with the largest loss. random: drop as many at random. rare: drop as many,
    those whose items have the fewest pairs. rce: weight pairs by their loss. dcf: drop by a
    lower bound of the mean loss over several epochs, and relabel some."""
    drop: Annotated[float, Bound(ge=0, lt=1)] = 0.2
    """tce, random, rare, dcf: share dropped at the end of the ramp."""
    of: Literal["batch", "pairs"] = "batch"
    """batch: the share is of all losses of a batch, negatives included, though only pairs are
    dropped (as published: with one negative each, 0.2 drops 0.4 of the pairs). pairs: the share
    is of the pairs."""
    ramp: Annotated[int, Bound(ge=1)] = 30000
    """tce, random, rare, dcf: steps over which the share grows from 0. The default is that of the
    papers, for logs of a million pairs; a run with fewer steps never reaches the full share."""
    beta: Annotated[float, Bound(ge=0)] = 0.25
    """rce: exponent of the weight; 0 leaves the loss unchanged."""
    window: Annotated[int, Bound(ge=1)] = 3
    """dcf: number of epochs h in the mean loss, before it restarts."""
    variance: Annotated[float, Bound(ge=0, lt=1)] = 1e-4
    """dcf: assumed variance of a loss (sigma squared), decreasing linearly to 0 at the last epoch;
    from about 0.1 on, the bounds of seldom kept pairs are wide."""
    relabel: Annotated[float, Bound(ge=0, le=1)] = 0.05
    """dcf: share r of the dropped pairs that permanently become negatives, at every step: with one
    negative per pair, 2 r drop of all pairs per epoch after the ramp, so many epochs need a
    smaller value."""
    mode: Literal["paper", "released"] = "paper"
    """dcf: paper, as described; or released, as its released code does, which relabels no pair and
    mixes up the histories; see `recsys.nn.denoise`."""

    def idle(self) -> set[str]:
        """Return the settings that have no effect given the others."""
        drops = self.kind in DROPS
        works = dict.fromkeys(("drop", "of", "ramp"), drops) | {"beta": self.kind == "rce"}
        works |= dict.fromkeys(("window", "variance", "relabel", "mode"), self.kind == "dcf")
        return {name for name, does in works.items() if not does}
