"""Diversity control regularisation (DCRS): keep the vectors of a user neither equal nor far apart.

With D_ab = |u_a - u_b|^2 over the C vectors of a user, a band low <= high, and [x]+ = max(0, x):

    paper      [low - m]+ + [m - high]+,  m = sum_ab D_ab / (2 C (C - 1)),
               half the mean squared distance of two vectors
    released   sum over a != b of ([low - D_ab]+ + [D_ab - high]+) / C^2, per pair of vectors

Source: Bao, Xu, Yang, He, Cao, Huang, "The minority matters: a diversity-promoting collaborative
metric learning algorithm", NeurIPS 2022, section 3.3. The second form is what the authors' code
computes; its band is on the doubled scale.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from recsys.config import Bound, settings
from recsys.errors import InputError

__all__ = ["Diversity", "diversity"]


@settings
class Diversity:
    """Set the band of distances between the vectors of a user."""

    weight: Annotated[float, Bound(ge=0)] = 10.0
    """eta of the paper, for a loss that is summed over the batch; 0 turns the term off."""
    low: Annotated[float, Bound(ge=0)] = 0.05
    """delta 1: vectors closer than this are pushed apart."""
    high: Annotated[float, Bound(ge=0)] = 0.25
    """delta 2: vectors farther apart than this are pulled together."""
    form: Literal["released", "paper"] = "released"
    """released: keep each pair of vectors in the band, as in the authors' code. paper: keep their
    mean distance in the band, as in the formula."""
    over: Literal["batch", "all"] = "batch"
    """batch: the users of the batch. all: every user at every step, as in the authors' code. The
    expected gradient is the same, but an optimiser such as Adam, which rescales it, then also moves
    users outside the batch; it costs a pass over the table."""
    below: bool = True
    """Push vectors apart that are too close; false: only pull vectors together."""
    above: bool = True
    """Pull vectors together that are too far apart."""

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise InputError(
                f"low = {self.low:g} is above high = {self.high:g}", remedy="low <= high"
            )


def diversity(settings: Diversity, vectors: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return the regularisation term of each user before weighting, [n].

    The term of a user with one vector is 0.

    Args:
        settings: band and form; the caller applies `weight` and `over`.
        vectors: vectors of the users, float [n, C, d].
        valid: bool [n, C], vectors that the user has; None: all.
    """
    value: Tensor = _Band.apply(vectors, valid, settings)  # type: ignore[no-untyped-call]
    return value


class _Band(torch.autograd.Function):
    """The term and its gradient in two small matrix products.

    With S_ab the derivative of the term by D_ab, the gradient by u_a is 4 sum_b S_ab (u_a - u_b).
    """

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, valid: Tensor | None, settings: Diversity) -> Tensor:
        n, size, _ = vectors.shape
        gram = vectors @ vectors.transpose(1, 2)
        square = gram.diagonal(dim1=1, dim2=2)
        distance = (square[:, :, None] + square[:, None, :] - 2 * gram).clamp_min_(0)
        pairs = ~torch.eye(size, dtype=torch.bool, device=vectors.device).expand(n, size, size)
        number = vectors.new_full((n,), size)
        if valid is not None:
            pairs = pairs & valid[:, :, None] & valid[:, None, :]
            number = valid.sum(1).to(vectors.dtype)
        if settings.form == "paper":
            share = pairs / (2 * number * (number - 1)).clamp_min(1)[:, None, None]
            mean = (distance * share).sum((1, 2))
            value, slope = _hinges(mean, settings)
            several = number > 1
            ctx.save_for_backward(vectors, share * (slope * several)[:, None, None])
            return value * several
        value, slope = _hinges(distance, settings)
        share = pairs / number.square()[:, None, None]
        ctx.save_for_backward(vectors, slope * share)
        return (value * share).sum((1, 2))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        vectors, slope = ctx.saved_tensors
        slope = slope * (4 * grads[0])[:, None, None]
        return (
            torch.baddbmm(vectors * slope.sum(2, keepdim=True), slope, vectors, alpha=-1),
            None,
            None,
        )


def _hinges(value: Tensor, settings: Diversity) -> tuple[Tensor, Tensor]:
    """Return [low - x]+ + [x - high]+ and its derivative."""
    under, over = (settings.low - value).clamp_min(0), (value - settings.high).clamp_min(0)
    total, slope = torch.zeros_like(value), torch.zeros_like(value)
    if settings.below:
        total, slope = total + under, slope - (under > 0).to(value.dtype)
    if settings.above:
        total, slope = total + over, slope + (over > 0).to(value.dtype)
    return total, slope
