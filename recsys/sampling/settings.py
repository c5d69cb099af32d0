"""Settings of the sampler, `[model.sampler]`."""

from __future__ import annotations

from typing import Annotated, Literal

from recsys.config import Bound, settings
from recsys.errors import InputError

__all__ = ["Sampler"]


@settings
class Sampler:
    """How the negatives of a pair are drawn.

    Hardness is not decided here: the loss keeps some of the drawn candidates (`Loss.reduce`).
    docs/negatives.md lists every rule.
    """

    negatives: Annotated[int, Bound(ge=0)] = 1
    """Candidates per pair ("own"), or drawn for the pool of a batch ("shared", "mixed"). Not used
    by "in-batch" and "all"."""
    pool: Literal["own", "shared", "in-batch", "mixed", "all"] = "own"
    """own: each pair draws its own candidates (per-pair negatives);
    shared: one draw serves the whole batch (scores become one matrix product);
    in-batch: the positives of the other pairs of the batch; mixed: these and one draw, joined (Yang
    et al., WWW companion 2020); all: every item without a training interaction of the user."""
    proposal: Literal["uniform", "popularity"] = "uniform"
    """Distribution of the draws: uniform over items, or proportional to (train count)^alpha."""
    items: Literal["all", "warm"] = "all"
    """Items that may be drawn: all, or those with a training interaction. all lets the features of
    new items push users away."""
    alpha: Annotated[float, Bound(ge=0)] = 0.75
    """Exponent of the popularity proposal; items without a training interaction are never drawn
    when it is positive."""
    reject: bool = True
    """Never use an observed training item of the user as a negative (false-negative masking). "own"
    draws again, at most `rounds` times, and masks what is left; "shared", "in-batch" and "mixed"
    mask only the pair's own positive, which is cheap."""
    strict: bool = False
    """"shared", "in-batch" and "mixed": mask every training item of the user, not only the pair's
    own positive; needs a look-up of the histories."""
    rounds: Annotated[int, Bound(ge=1, le=100)] = 8
    """Rounds of drawing again, at most."""
    unit: Literal["pair", "triplet"] = "pair"
    """What train.batch_size counts. pair: pairs, each with all its negatives. triplet: pairs with
    one negative each; an epoch has `negatives` triplets for every pair, shuffled together: steps
    are smaller, and there are as many times more of them."""

    def __post_init__(self) -> None:
        if self.unit == "triplet" and (self.pool != "own" or self.negatives < 1):
            raise InputError(
                "unit = 'triplet' needs negatives of each pair, "
                f"got pool = '{self.pool}', negatives = {self.negatives}",
                remedy='use pool = "own" and negatives of 1 or more, or unit = "pair"',
            )
        if self.pool in ("in-batch", "all") and self.proposal != "uniform":
            raise InputError(
                f"proposal = '{self.proposal}' has no effect with pool = '{self.pool}', "
                "which draws no negatives",
                remedy='use pool = "own", "shared" or "mixed", or leave proposal out',
            )
        if self.pool in ("own", "all") and self.strict:
            raise InputError(
                f"strict has no effect with pool = '{self.pool}', which is not shared by pairs",
                remedy="leave strict out",
            )

    def idle(self) -> set[str]:
        """Return the settings that have no effect with the values of the others."""
        works = {
            "negatives": self.pool not in ("in-batch", "all"),
            "alpha": self.proposal == "popularity",
            "reject": self.pool == "own",
            "rounds": self.pool == "own" and self.reject,
        }
        return {name for name, has_effect in works.items() if not has_effect}
