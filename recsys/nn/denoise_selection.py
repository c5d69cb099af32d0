"""Decisions of denoisers on a batch: pairs to drop, pairs to relabel 0, and the weight of the rest.

Pure functions for T-CE and DCF of `recsys.nn.denoise`, which gives symbols and sources. `verdict`
is the definition and runs on any device. `quick_verdict` gives the same result on the CPU in a
third of the time, because a step of a small network is short.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = [
    "Verdict",
    "damped",
    "half_width",
    "lower_bound",
    "quick_verdict",
    "top_bands",
    "verdict",
]

Array = NDArray[Any]

# Only minus infinity is below this bound.
_LOWEST = -1e300


def damped(loss: Tensor) -> Tensor:
    """Return psi(l) = log(1 + l + l^2 / 2) of losses l >= 0, in float64.

    psi grows everywhere, so two float32 losses keep their order.
    """
    loss = loss.double()
    return torch.addcmul(loss, loss, loss, value=0.5).log1p_()


def half_width(variance: float, t: int, n: Tensor) -> Tensor:
    """Return half the width of the confidence interval, [B].

    b = s (t + s log(2 t) / t^2) / (n - s), with the variance s < 1 and t >= 1 observed losses.

    Args:
        variance: s.
        t: number of losses observed.
        n: [B], larger than s.
    """
    return variance * (t + variance * math.log(2 * t) / t**2) / (n.double() - variance)


def lower_bound(mean: Tensor, width: Tensor) -> Tensor:
    """Return the lower bound of the mean loss, l* = max(0, mu - b), [B]."""
    return (mean - width).clamp_min(0)


def top_bands(score: Tensor, candidate: Tensor, top: int, second: int) -> tuple[Tensor, Tensor]:
    """Return which candidates have the `top` largest scores, and which the `second` largest.

    Ties go to the later position in the batch. No more are chosen than there are candidates.

    Args:
        score: at least 0, [B].
        candidate: bool [B]; others are never chosen.
        top, second: number of pairs in each band; second <= top.

    Returns:
        Two bool masks [B].
    """
    order = score.masked_fill(~candidate, -1).argsort(stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    return candidate & (rank >= len(order) - top), candidate & (rank >= len(order) - second)


class Verdict(NamedTuple):
    """The decision on the pairs of a batch.

    The loss of the batch is the sum of `weight` times the loss of each pair, plus `scale` times the
    losses of its negatives.
    """

    weight: Tensor
    """0 for a dropped pair, else `scale`; float32 [B]."""
    scale: Tensor | float
    """Number of losses in the batch divided by the number kept; a float, or a float64 tensor []
    where reading it would wait for the device."""
    sign: Tensor | None = None
    """1 for a pair with label 0, else -1, so that its loss is softplus(sign * logit); float32 [B].
    None: -1 for all."""


def verdict(
    seen: Tensor, negatives: int, top: int, second: int = 0, prior: Tensor | None = None
) -> Verdict:
    """Return the decision of T-CE or DCF, on any device, without waiting for it.

    Args:
        seen: losses of the pairs with label 1, [B].
        negatives: number of losses of negatives in the batch.
        top, second: number of pairs in the band, and in its upper part.
        prior: t times DCF's lower bound of each pair if its loss were 0 this time, where t counts
        its
            losses; minus infinity for a pair that has label 0 already; float64 [B]. None: T-CE.
    """
    if prior is None:
        band, _ = top_bands(seen, torch.ones_like(seen, dtype=torch.bool), top, 0)
        counts, sign = ~band, None
    else:
        zero = prior == -torch.inf
        band, flip = top_bands((prior + damped(seen)).clamp_min(0), ~zero, top, second)
        zero = zero | flip
        counts, sign = ~band | zero, zero.float() * 2 - 1
    scale = (counts.sum(dtype=torch.float64) + negatives).reciprocal() * (negatives + len(seen))
    return Verdict(counts * scale.float(), scale, sign)


def quick_verdict(
    seen: Array, negatives: int, top: int, second: int = 0, prior: Array | None = None
) -> Verdict | None:
    """Return `verdict` on the CPU in a third of its time, or None where the limit is 0 or tied.

    A training step evicts this code from the caches, so each additional operation costs several
    times
    its arithmetic. Few operations are used: numpy's vectorised sort, and comparisons with the
    limit. A
    tied limit needs more than a comparison. For a limit above 0, clipping the bounds at 0 changes
    nothing.
    """
    size = len(seen)
    top = min(top, size)
    second = min(second, top)
    if prior is None:
        bound = seen
    else:
        loss = seen.astype(np.float64)
        bound = loss * 0.5
        bound *= loss
        bound += loss
        np.log1p(bound, out=bound)
        bound += prior
    ranked = bound.copy()
    ranked.sort()
    least = _limit(ranked, top)
    if least is None:
        return None
    counts = bound < least
    scale = (1 / (size - top + second + negatives)) * (negatives + size)
    if prior is None:
        return Verdict(torch.from_numpy(counts * np.float32(scale)), scale)
    highest = _limit(ranked, second)
    if highest is None:
        return None
    zero = bound >= highest
    zero |= prior < _LOWEST
    counts |= zero
    sign = zero * np.float32(2)
    sign -= 1
    return Verdict(torch.from_numpy(counts * np.float32(scale)), scale, torch.from_numpy(sign))


def _limit(ranked: Array, many: int) -> float | None:
    """Return the value that separates the `many` largest from the rest.

    None if no such value above 0 exists. `ranked` is sorted in ascending order.
    """
    first = len(ranked) - many
    if not many:
        return math.inf
    least = ranked[first]
    return None if least <= 0 or (first and ranked[first - 1] == least) else float(least)
