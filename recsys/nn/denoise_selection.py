"""Verdicts on observed pairs: which of a batch are dropped, which get label 0, and what the others count for.

Pure functions for T-CE and DCF of `recsys.nn.denoise`, where the symbols and sources stand. `verdict` is the definition, for any device.
`quick_verdict` says the same on the CPU, where a step of a small network leaves little time.
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

# Below this there is no bound but minus infinity.
_LOWEST = -1e300


def damped(loss: Tensor) -> Tensor:
    """psi(l) = log(1 + l + l^2 / 2) of losses >= 0, in float64: growing everywhere, so that two losses of float32 keep their order."""
    loss = loss.double()
    return torch.addcmul(loss, loss, loss, value=0.5).log1p_()


def half_width(variance: float, t: int, n: Tensor) -> Tensor:
    """Half the width of the confidence interval: b = s (t + s log(2 t) / t^2) / (n - s) of n [B], s < 1 the variance, t >= 1 the losses seen."""
    return variance * (t + variance * math.log(2 * t) / t**2) / (n.double() - variance)


def lower_bound(mean: Tensor, width: Tensor) -> Tensor:
    """l* = max(0, mu - b), [B]."""
    return (mean - width).clamp_min(0)


def top_bands(score: Tensor, candidate: Tensor, top: int, second: int) -> tuple[Tensor, Tensor]:
    """Which candidates are among the `top` of largest score, and which of these among the `second`, bool [B] both.

    Of equal scores the later in the batch counts as larger. No more are chosen than there are candidates.

    Args:
        score: at least 0, [B].
        candidate: bool [B]; the others stand below all.
        top, second: how many; second <= top.
    """
    order = score.masked_fill(~candidate, -1).argsort(stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    return candidate & (rank >= len(order) - top), candidate & (rank >= len(order) - second)


class Verdict(NamedTuple):
    """What a denoiser that drops makes of the pairs of a batch: `weight` times the loss of each, plus `scale` times what its negatives add."""

    weight: Tensor
    """0 of a pair that is dropped, else `scale`; float32 [B]."""
    scale: Tensor | float
    """All losses of the batch over those that are left; a number, or float64 [] where reading it would wait for the device."""
    sign: Tensor | None = None
    """-1, or 1 of a pair that has label 0, so that its loss is softplus(sign logit); float32 [B]. None: -1 of all."""


def verdict(
    seen: Tensor, negatives: int, top: int, second: int = 0, prior: Tensor | None = None
) -> Verdict:
    """T-CE and DCF on any device, which is not waited for.

    Args:
        seen: losses for label 1 [B].
        negatives: how many losses of negatives stand beside them.
        top, second: how many pairs belong to the band, and to its top.
        prior: t times DCF's lower bound of each pair, were its loss 0 this time, t the losses it is of; minus infinity where it has label 0
            already; float64 [B]. None: T-CE.
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
    """`verdict` on the CPU, in a third of its time; None where a limit is 0 or tied, so that it takes more than a comparison with it.

    A step evicts its code from the caches, and every operation that is not used elsewhere costs several times its arithmetic. So these are few: the
    vectorised sort of numpy, and comparisons. Above a limit that is above 0, cutting the bounds at 0 changes nothing.
    """
    size, top = len(seen), min(top, len(seen))
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
    """What the `many` largest are not below, and all others are; None where there is no such number above 0."""
    place = len(ranked) - many
    if not many:
        return math.inf
    least = ranked[place]
    return None if least <= 0 or (place and ranked[place - 1] == least) else float(least)
