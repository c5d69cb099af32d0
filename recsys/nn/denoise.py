"""Denoising: from the loss of each observed pair to its weight or its label.

A denoiser stands between the loss of a network and its mean. It sees the logits of a loss by labels (`Terms.logits`) and knows each
observed pair by its row, its identity across epochs; what it remembers of a pair is a handful of tensors [P], P the training pairs, which
live on the device and in the checkpoint. A step costs the same for every pair and never waits for the device.

Symbols: l the loss of an observed pair for label 1; N the losses of a batch, positives and negatives (B pairs with one negative each: N = 2 B);
T the steps done, e the epochs done, E all epochs; d the share that is dropped in the end and d_T at step T, growing linearly over a ramp.

T-CE   drops the N - floor((1 - d_T) N) positives of largest l; loss = mean over what is left.
R-CE   weighs every loss by exp(-beta l): p^beta of a positive, (1 - p)^beta of a negative, without gradient; loss = mean.
       Both: Wang, Feng, He, Nie, Chua, "Denoising implicit feedback for recommendation", WSDM 2021.
DCF    He et al., "Double correction framework for denoising recommendation", KDD 2024. Ranks positives by the lower bound
           l* = max(0, mu - b),   mu = mean over a window of h epochs of psi(l),   psi(l) = log(1 + l + l^2 / 2),
           b = s (t + s log(2 t) / t^2) / (n - s),   s = variance (1 - e / (E - 1)),
       t the losses that mu is the mean of, n one more than the times the pair was kept in this window before. So a pair that was seldom kept gets
       a lower bound, and another chance. Of the positives that are dropped, the top share r of the band gets label 0 for good; loss = mean over
       what is kept and relabelled. The bound is that of Xia et al., "Sample selection with uncertainty of losses for learning with noisy
       labels", ICLR 2022.

Reconstructed: the text of the DCF paper was not at hand. Its mode "paper" follows the released code where that agrees with the description of the
method: the history belongs to the pair, the mean is that of the window, relabelling is permanent, n counts what was kept. That t and n begin anew
with the window is the reading under which a pair that was always kept has n = t, as the inequality wants it. The mode "released" does what the
released code does instead, for comparison with published logs: a history belongs to a place in the shuffled epoch and so to another pair (or
negative) each time, mu <- ((e + 1) mu + psi) / (e + 2), t = e + 1 without end, n + 1 in the denominator, n grows unless the place is in the
relabelling band, and that band is kept with label 1. Differs there: a batch is B pairs and B negatives, not any 2 B of both, and only pairs are
ranked.

Differs in all: the loss is N times the mean over what is left, divided by B, so that a denoiser that drops nothing leaves the loss as it was. A
relabelled pair is met once an epoch as a negative, but not drawn as one besides: samplers never see a model.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.config import Bound, settings
from recsys.errors import InputError
from recsys.nn.losses import Terms, label_losses, mean_negatives

__all__ = ["Denoise", "Denoiser", "damped", "drop_share", "half_width", "lower_bound", "top_bands"]


@settings
class Denoise:
    """What is done about noise among the observed pairs; for methods whose loss has labels (bce) and draws negatives."""

    kind: Literal["none", "watch", "tce", "rce", "dcf"] = "none"
    """watch: nothing, but remember the loss of every pair, for `recsys noise`. tce: drop the positives of largest loss. rce: weigh them less.
    dcf: drop by a lower bound of the mean loss of several epochs, and relabel some."""
    drop: Annotated[float, Bound(ge=0, lt=1)] = 0.2
    """tce, dcf: share that is dropped when the ramp has ended."""
    of: Literal["batch", "pairs"] = "batch"
    """The share is of all losses of a batch, negatives included, though only pairs are dropped (as published: 0.2 with one negative each drops
    0.4 of the pairs); or of the pairs."""
    ramp: Annotated[int, Bound(ge=1)] = 30000
    """tce, dcf: steps over which the share grows from 0. The default is the papers', for logs of a million pairs; a run of fewer steps never
    gets there."""
    beta: Annotated[float, Bound(ge=0)] = 0.25
    """rce: exponent of the weight; 0 changes nothing."""
    window: Annotated[int, Bound(ge=1)] = 3
    """dcf: epochs h of which the mean loss is taken, before it begins anew."""
    variance: Annotated[float, Bound(ge=0, lt=1)] = 1e-4
    """dcf: assumed variance of a loss (sigma squared), linearly to 0 at the last epoch; wide bounds for pairs seldom kept from about 0.1 on."""
    relabel: Annotated[float, Bound(ge=0, le=1)] = 0.05
    """dcf: share r of what is dropped that becomes a negative for good, at every step anew: with one negative a pair, 2 r drop of all pairs an
    epoch once the ramp has ended, so that many epochs want a smaller one."""
    mode: Literal["paper", "released"] = "paper"
    """dcf: as described, or as its released code does, which relabels nothing and mixes up the histories; see `recsys.nn.denoise`."""


def drop_share(done: int, drop: float, ramp: int) -> float:
    """d_T: the share dropped at a step, `done` steps after the first: d T / (ramp - 1) below the ramp, then d."""
    return drop if done >= ramp - 1 else drop * done / (ramp - 1)


def damped(loss: Tensor) -> Tensor:
    """psi(l) = log(1 + l + l^2 / 2) of losses >= 0, in float64: growing everywhere, so that two losses of float32 keep their order."""
    loss = loss.double()
    return torch.log1p(loss + loss.square() / 2)


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


def _largest(score: Tensor, top: int) -> Tensor:
    """`top_bands` where all are candidates, and of one band: bool [B]."""
    order = score.argsort(stable=True)
    return torch.zeros_like(score, dtype=torch.bool).index_fill_(0, order[len(order) - min(top, len(order)) :], True)


class Denoiser:
    """What one fit remembers of its pairs, and does with it.

    Args:
        how: which denoiser.
        pairs: P, how many training pairs there are.
        steps: of an epoch.
        epochs: E, at most.
        batch_size: pairs of a full batch.
        device: where the tensors live.

    Attributes:
        state: everything that moves, by name, tensors [P]: `loss` of the pair for label 1 when it was last met, its `weight` as a positive then,
            in how many epochs it was `dropped`, in which epoch (from 1) it was `relabelled` (0: never); of DCF also `total` and `kept`
            within the window ("released": of each place in the epoch).
    """

    def __init__(self, how: Denoise, pairs: int, *, steps: int, epochs: int, batch_size: int, device: torch.device | str = "cpu") -> None:
        self.how, self.steps, self.epochs, self.batch_size = how, steps, epochs, batch_size
        kinds: dict[str, tuple[int, torch.dtype]] = {"loss": (pairs, torch.float32), "weight": (pairs, torch.float32)}
        kinds |= {"dropped": (pairs, torch.int32), "relabelled": (pairs, torch.int32)}
        if how.kind == "dcf":
            places = pairs if how.mode == "paper" else 2 * pairs
            kinds |= {"total": (places, torch.float64), "kept": (places, torch.int32)}
        self.state = {name: torch.zeros(size, dtype=dtype, device=device) for name, (size, dtype) in kinds.items()}
        self.state["weight"].fill_(1)

    def __call__(self, terms: Terms, row: Tensor, epoch: int, step: int) -> Terms:
        """The terms with another loss per pair.

        Args:
            terms: of a loss by labels.
            row: the identity of each pair [B]; none twice.
            epoch, step: of the batch; step within the epoch.

        Raises:
            InputError: the loss has no labels, or the share of a batch is more than all pairs.
        """
        if terms.logits is None:
            raise InputError(
                f"'{self.how.kind}' needs a loss by labels in which every pair counts, and this method has another",
                place="[train] denoise",
                remedy='set model.loss = { kind = "bce" }, or choose a method that has it',
            )
        logits = replace(terms.logits, pos=terms.logits.pos.float(), neg=terms.logits.neg.float())
        own, others = label_losses(logits)
        seen = own.detach()
        self._keep("loss", row, seen)
        if self.how.kind == "watch":
            return terms
        if self.how.kind == "rce":
            weight = torch.exp(-self.how.beta * seen)
            self._keep("weight", row, weight)
            return replace(terms, pair=weight * own + mean_negatives(logits, torch.exp(-self.how.beta * others.detach()) * others))
        clean, dropped = self._judge(seen, row, others.shape[1], epoch, step)
        self._keep("weight", row, clean.float())
        self.state["dropped"].index_add_(0, row, dropped.int())
        other: Tensor | float = 0.0
        if self.how.kind == "dcf" and self.how.mode == "paper":  # the others relabel nothing
            other = torch.where(self.state["relabelled"].index_select(0, row) > 0, F.softplus(logits.pos), 0.0)
        kept = torch.where(clean, own, other)
        total = others.numel() + len(own)
        return replace(terms, pair=(kept + mean_negatives(logits, others)) * (total / (total - dropped.sum())))

    def _keep(self, name: str, row: Tensor, values: Tensor) -> None:
        """Write what is remembered of some pairs, none of them twice; several times faster here than by an index."""
        self.state[name].index_copy_(0, row, values)

    def _judge(self, seen: Tensor, row: Tensor, negatives: int, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        """Which pairs count as positives and which do not count at all, bool [B] both; what is neither has label 0 from now on."""
        how, size = self.how, len(seen)
        losses = size * (1 + negatives) if how.of == "batch" else size
        if how.of == "batch" and how.drop * (1 + negatives) >= 1:
            raise InputError(
                f"drop = {how.drop:g} of a batch with {negatives} negatives a pair is all its pairs",
                place="[train] denoise",
                remedy='say of = "pairs", or lower drop',
            )
        share = drop_share(epoch * self.steps + step, how.drop, how.ramp)
        top = losses - int((1 - share) * losses + 1e-9)
        if how.kind == "tce":
            dropped = _largest(seen, top)
            return ~dropped, dropped
        second = losses - int((1 - how.relabel * share) * losses + 1e-9)
        if how.mode == "released":
            return self._released(seen, negatives, top, second, epoch, step)
        positive = self.state["relabelled"].index_select(0, row) == 0
        t = epoch % how.window + 1
        fresh = t == 1
        total = damped(seen) if fresh else self.state["total"].index_select(0, row) + damped(seen)
        kept = torch.zeros_like(row, dtype=torch.int32) if fresh else self.state["kept"].index_select(0, row)
        score = lower_bound(total / t, half_width(self._variance(epoch), t, kept + 1))
        band, flip = top_bands(score, positive, top, second)
        clean = positive & ~band
        self._keep("total", row, torch.where(positive, total, 0.0))
        self._keep("kept", row, kept + clean.int())
        self.state["relabelled"].index_add_(0, row, flip.int() * (epoch + 1))
        return clean, band & ~flip

    def _released(self, seen: Tensor, negatives: int, top: int, second: int, epoch: int, step: int) -> tuple[Tensor, Tensor]:
        if negatives != 1:
            raise InputError(
                f"mode = 'released' takes one negative a pair, not {negatives}", place="[train] denoise", remedy="set sampler.negatives = 1"
            )
        size = len(seen)
        # The places of this step in a shuffled epoch of pairs and negatives: those of the pairs first.
        place = step * 2 * self.batch_size + torch.randperm(2 * size, device=seen.device)
        fresh = epoch % self.how.window == 0
        weight = epoch + 1
        mean = torch.zeros_like(place, dtype=torch.float64) if fresh else self.state["total"][place] * weight
        kept = torch.zeros_like(place, dtype=torch.int32) if fresh else self.state["kept"][place]
        mean = (mean + torch.cat([damped(seen), torch.zeros_like(seen, dtype=torch.float64)])) / (weight + 1)
        score = lower_bound(mean, half_width(self._variance(epoch), weight, kept + 2))[:size]
        band, flip = top_bands(score, torch.ones_like(seen, dtype=torch.bool), top, second)
        self.state["total"][place] = mean
        self.state["kept"][place] = kept + torch.cat([~flip, torch.ones_like(flip)]).int()
        dropped = band & ~flip
        return ~dropped, dropped

    def _variance(self, epoch: int) -> float:
        """s: linearly from the variance to 0 at the last epoch."""
        return self.how.variance * (1 - epoch / (self.epochs - 1)) if self.epochs > 1 else self.how.variance

    def summary(self, noise: Tensor | None) -> dict[str, Any]:
        """What happened in the epoch that has ended, for its entry in the history.

        Args:
            noise: whether each pair is known to be noise, bool [P], or None. It is looked at here and nowhere else.

        Returns:
            pairs `dropped` in this epoch and `relabelled` so far, the mean `weight`; with `noise` also the mean loss for label 1 of `clean` and
            `noisy` pairs, `dropped_noisy`, `relabelled_noisy`, and the mean weight of both.
        """
        weight, relabelled, loss = self.state["weight"], self.state["relabelled"] > 0, self.state["loss"]
        dropped = (weight == 0) & ~relabelled
        found: dict[str, Any] = {"dropped": int(dropped.sum()), "relabelled": int(relabelled.sum()), "weight": _mean_of(weight)}
        if noise is not None:
            found |= {"clean": _mean_of(loss[~noise]), "noisy": _mean_of(loss[noise])}
            found |= {"dropped_noisy": int((dropped & noise).sum()), "relabelled_noisy": int((relabelled & noise).sum())}
            found |= {"weight_clean": _mean_of(weight[~noise]), "weight_noisy": _mean_of(weight[noise])}
        return found


def _mean_of(values: Tensor) -> float | None:
    return float(values.double().mean()) if len(values) else None
