"""Denoising: turn the loss of each observed pair into its weight or its label.

A denoiser sits between the loss of a network and its mean. It reads the logits of a loss by labels
(`Terms.logits`) and identifies each observed pair by its row, which is fixed across epochs. It
remembers a few tensors [P] per pair, P the number of training pairs; they live on the device and in
the checkpoint. The cost of a step does not depend on P, and a step never waits for the device.

Symbols: l is the loss of an observed pair for label 1; N the number of losses in a batch, positives
and negatives (B pairs with one negative each: N = 2 B); T the steps done, e the epochs done, E all
epochs; d the final drop share, and d_T the share at step T, which grows linearly over a ramp.

T-CE   drops the N - floor((1 - d_T) N) positives with the largest l; the loss is the mean of the
       rest.
random drops as many positives as T-CE, chosen at random; rare drops those of the items with the
       fewest pairs. These controls show whether a gain comes from knowing which pairs to drop, and
       whether that is more than popularity. They are ours.
R-CE   weights every loss by exp(-beta l): p^beta for a positive, (1 - p)^beta for a negative,
       without gradient; the loss is the mean. T-CE and R-CE: Wang, Feng, He, Nie, Chua, "Denoising
       implicit feedback for recommendation", WSDM 2021.
DCF    He et al., "Double correction framework for denoising recommendation", KDD 2024. Ranks
       positives by the lower bound
           l* = max(0, mu - b),
           mu = mean over a window of h epochs of psi(l),   psi(l) = log(1 + l + l^2 / 2),
           b = s (t + s log(2 t) / t^2) / (n - s),   s = variance (1 - e / (E - 1)),
       where t is the number of losses in mu, and n is one more than the number of times the pair
       was kept earlier in this window. A pair that was seldom kept gets a lower bound, and so
       another chance. Of the dropped positives, the top share r of the band gets label 0
       permanently; the loss is the mean of the kept and relabelled pairs. The bound is that of Xia
       et al., "Sample selection with uncertainty of losses for learning with noisy labels", ICLR
       2022.

Reconstructed: DCF, whose paper's text was not available. Its mode "paper" follows the released code
where it agrees with the description of the method: the history belongs to the pair, the mean is
that of the window, relabelling is permanent, n counts how often the pair was kept. That t and n
restart with the window is an interpretation; with it, a pair that was always kept has n = t, as the
inequality requires. The mode "released" reproduces the released code, for comparison with published
logs: a history belongs to a position in the shuffled epoch and so to a different pair (or negative)
each time, mu <- ((e + 1) mu + psi) / (e + 2), t = e + 1 without a restart, n + 1 in the
denominator, n grows unless the position is in the relabelling band, and that band is kept with
label 1. Differs from it: a batch is B pairs and B negatives, not any 2 B of both, and only pairs
are ranked.

Differs in all kinds: the loss is N times the mean of the rest, divided by B, so that a denoiser
that drops no pair leaves the loss unchanged. A relabelled pair occurs once an epoch as a negative
but is not drawn as one in addition, because samplers never see a model.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.errors import InputError
from recsys.nn.denoise_selection import (
    Verdict,
    damped,
    half_width,
    lower_bound,
    quick_verdict,
    top_bands,
    verdict,
)
from recsys.nn.denoise_settings import DROPS, Denoise
from recsys.nn.losses import Terms, label_losses, label_parts, mean_negatives

__all__ = ["Denoise", "Denoiser", "damped", "drop_share", "half_width", "lower_bound", "top_bands"]

# Updates of this many pairs are written together.
_WAITING = 1 << 15


def drop_share(done: int, drop: float, ramp: int) -> float:
    """Return d_T, the drop share after `done` steps: d T / (ramp - 1) on the ramp, then d."""
    return drop if done >= ramp - 1 else drop * done / (ramp - 1)


class Denoiser:
    """Remember the losses of one fit's pairs and apply the denoiser to each batch.

    Each step reads the per-pair state from the start of the epoch, because a pair occurs at most
    once
    per epoch, and buffers its updates. The buffer is flushed every few thousand pairs; counters are
    updated at the end of the epoch or when `state` is read.

    Args:
        how: the settings.
        pairs: P, the number of training pairs.
        steps: steps per epoch.
        epochs: E, the maximum number of epochs.
        device: device of the tensors.
        item: the item of each pair, int64 [P]; for "rare".

    Attributes:
        quick: try `quick_verdict` first, as on the CPU; the decisions are the same.
    """

    def __init__(
        self,
        how: Denoise,
        pairs: int,
        *,
        steps: int,
        epochs: int,
        device: torch.device | str = "cpu",
        item: Tensor | None = None,
    ) -> None:
        self.how = how
        self.pairs = pairs
        self.steps = steps
        self.epochs = epochs
        kinds: dict[str, tuple[int, torch.dtype]] = {
            "loss": (pairs, torch.float32),
            "weight": (pairs, torch.float32),
        }
        kinds |= {"dropped": (pairs, torch.int32), "relabelled": (pairs, torch.int32)}
        if how.kind == "dcf":
            size = pairs if how.mode == "paper" else 2 * pairs
            kinds |= {"total": (size, torch.float64), "kept": (size, torch.int32)}
        self._state = {
            name: torch.zeros(size, dtype=dtype, device=device)
            for name, (size, dtype) in kinds.items()
        }
        self._state["weight"].fill_(1)
        self.quick = torch.device(device).type == "cpu"
        self._prior: Tensor | None = None  # see `_before`
        self._epoch = 0
        self._buffer: list[tuple[Tensor, ...]] = []  # updates of this epoch, not written yet
        self._waiting = 0  # number of pairs in the buffer
        drops = how.kind in DROPS
        # Weights not counted yet; nan for pairs without.
        self._mark = torch.full((pairs,), torch.nan, device=device) if drops else None
        self._unsettled = False
        self._rarity: Tensor | None = None
        if how.kind == "rare":
            if item is None:
                raise ValueError("'rare' needs the item of each pair")
            self._rarity = torch.bincount(item).float().reciprocal_()[item].to(device)

    @property
    def state(self) -> dict[str, Tensor]:
        """Return everything that changes, by name, tensors [P].

        `loss` of the pair for label 1 at its last occurrence, its `weight` as a positive then, in
        how many
        epochs it was `dropped`, and the epoch (from 1) in which it was `relabelled` (0: never). For
        DCF
        also `total` and `kept` within the window ("released": of each position in the epoch).
        """
        self._settle()
        return self._state

    @state.setter
    def state(self, state: dict[str, Tensor]) -> None:
        """Return everything that changes, by name, tensors [P].

        `loss` of the pair for label 1 at its last occurrence, its `weight` as a positive then, in
        how many
        epochs it was `dropped`, and the epoch (from 1) in which it was `relabelled` (0: never). For
        DCF
        also `total` and `kept` within the window ("released": of each position in the epoch).
        """
        self._state = state
        self._prior = None
        self._buffer = []
        self._waiting = 0
        self._unsettled = False
        if self._mark is not None:
            self._mark.fill_(torch.nan)

    def __call__(self, terms: Terms, row: Tensor, epoch: int, step: int) -> Terms:
        """Return the terms with a corrected loss per pair.

        Args:
            terms: terms of a loss by labels.
            row: identity of each pair, [B], distinct within an epoch.
            epoch, step: position of the batch; step within the epoch.

        Raises:
            InputError: the loss has no labels, or the drop share of a batch covers all its pairs.
        """
        logits, how = terms.logits, self.how
        if logits is None:
            raise InputError(
                f"'{how.kind}' needs a loss by labels in which every pair counts, which this "
                "method has not",
                place="[train] denoise",
                remedy='set model.loss = { kind = "bce", reduce = "each" } where the method has a '
                "loss, or use gmf, neumf, cdae or lightgcn",
            )
        if epoch != self._epoch:
            self._settle()
            self._epoch, self._prior = epoch, None
        own, rest = label_parts(logits)
        seen = own.detach().float()
        if how.kind == "watch":
            self._put_by(row, seen)
            return terms
        if how.kind == "rce":
            _, others = label_losses(logits)
            weight = torch.exp(seen * -how.beta)
            self._put_by(row, seen, weight)
            return Terms(
                weight * own
                + mean_negatives(logits, torch.exp(others.detach() * -how.beta) * others),
                terms.extra,
                logits,
            )
        negatives = logits.neg.shape[1]
        top, second = self._shares(len(seen), negatives, epoch * self.steps + step)
        if how.kind == "tce":
            decision = self._verdict(seen, logits.neg.numel(), top)
        elif how.kind == "random":
            decision = self._verdict(torch.rand_like(seen), logits.neg.numel(), top)
        elif self._rarity is not None:
            decision = self._verdict(self._rarity.index_select(0, row), logits.neg.numel(), top)
        elif how.mode == "paper":
            decision = self._verdict(
                seen, logits.neg.numel(), top, second, self._before().index_select(0, row)
            )
        else:
            decision = self._released(seen, negatives, top, second, step)
        if decision.sign is None:
            self._put_by(row, seen, decision.weight)
        else:
            self._put_by(row, seen, decision.weight, decision.sign)
            own = F.softplus(logits.pos.float() * decision.sign)
        weighted = own * decision.weight
        pair = (
            torch.add(weighted, rest, alpha=decision.scale)
            if isinstance(decision.scale, float)
            else weighted + rest * decision.scale
        )
        return Terms(pair, terms.extra, logits)

    def _verdict(
        self, seen: Tensor, negatives: int, top: int, second: int = 0, prior: Tensor | None = None
    ) -> Verdict:
        if self.quick:
            quick = quick_verdict(
                seen.numpy(), negatives, top, second, None if prior is None else prior.numpy()
            )
            if quick is not None:
                return quick
        exact = verdict(seen, negatives, top, second, prior)
        return exact._replace(scale=float(exact.scale)) if self.quick else exact

    def _shares(self, pairs: int, negatives: int, done: int) -> tuple[int, int]:
        """Return the number of pairs in the band, and in its upper part, which is relabelled."""
        how = self.how
        losses = pairs * (1 + negatives) if how.of == "batch" else pairs
        if how.of == "batch" and how.drop * (1 + negatives) >= 1:
            raise InputError(
                f"drop = {how.drop:g} of a batch with {negatives} negatives per pair "
                "covers all its pairs",
                place="[train] denoise",
                remedy='set of = "pairs", or lower drop',
            )
        share = drop_share(done, how.drop, how.ramp)
        return losses - int((1 - share) * losses + 1e-9), losses - int(
            (1 - how.relabel * share) * losses + 1e-9
        )

    def _before(self) -> Tensor:
        """Return the `prior` of `verdict` for every pair at the start of the epoch, [P]."""
        if self._prior is None:
            t, state = self._epoch % self.how.window + 1, self._state
            kept = torch.zeros_like(state["kept"]) if t == 1 else state["kept"]
            total = torch.zeros_like(state["total"]) if t == 1 else state["total"]
            prior = total - t * half_width(self._variance(self._epoch), t, kept + 1)
            self._prior = prior.masked_fill_(state["relabelled"] > 0, -torch.inf)
        return self._prior

    def _put_by(self, row: Tensor, *updates: Tensor) -> None:
        """Buffer the updates of some pairs, which do not occur again in this epoch."""
        self._buffer.append((row, *updates))
        self._waiting += len(row)
        if self._waiting >= _WAITING:
            self._write()

    def _write(self) -> None:
        """Write the buffered losses and weights.

        Until `_settle`, weights of pairs with label 0 are stored as negative numbers.
        """
        if not self._buffer:
            return
        row, seen, *weights = (torch.cat(each) for each in zip(*self._buffer, strict=True))
        self._buffer, self._waiting = [], 0
        self._state["loss"].index_copy_(0, row, seen)
        if weights:
            weight = weights[0] if len(weights) == 1 else weights[0] * -weights[1]
            target = self._state["weight"] if self._mark is None else self._mark
            target.index_copy_(0, row, weight)
            self._unsettled = self._mark is not None

    def _settle(self) -> None:
        """Update the counters from the written weights, in one pass over all pairs."""
        self._write()
        if self._mark is None or not self._unsettled:
            return
        state, mark = self._state, self._mark
        occurred, kept = ~mark.isnan(), mark > 0
        state["weight"] = torch.where(occurred, kept.float(), state["weight"])
        state["dropped"] += mark == 0
        if "total" in state and self.how.mode == "paper":
            state["relabelled"] += ((mark < 0) & (state["relabelled"] == 0)) * (self._epoch + 1)
            psi = damped(state["loss"])
            if self._epoch % self.how.window:
                state["total"] += psi * occurred
                state["kept"] += kept
            else:
                state["total"] = torch.where(occurred, psi, state["total"])
                state["kept"] = torch.where(occurred, kept.int(), state["kept"])
        mark.fill_(torch.nan)
        self._unsettled = False

    def _released(self, seen: Tensor, negatives: int, top: int, second: int, step: int) -> Verdict:
        """Return the decision of DCF as its released code computes it."""
        if negatives != 1:
            raise InputError(
                f"mode = 'released' needs one negative per pair, got {negatives}",
                place="[train] denoise",
                remedy="set sampler.negatives = 1",
            )
        size, state = len(seen), self._state
        # Positions of this step in a shuffled epoch of pairs and negatives, pairs first. The batch
        # begins where `sampling.place_of` puts it.
        first = 2 * (step * self.pairs // self.steps)
        place = first + torch.randperm(2 * size, device=seen.device)
        fresh = self._epoch % self.how.window == 0
        weight = self._epoch + 1
        mean = (
            torch.zeros_like(place, dtype=torch.float64)
            if fresh
            else state["total"].index_select(0, place) * weight
        )
        kept = (
            torch.zeros_like(place, dtype=torch.int32)
            if fresh
            else state["kept"].index_select(0, place)
        )
        mean = (mean + torch.cat([damped(seen), torch.zeros_like(seen, dtype=torch.float64)])) / (
            weight + 1
        )
        score = lower_bound(mean, half_width(self._variance(self._epoch), weight, kept + 2))[:size]
        band, flip = top_bands(score, torch.ones_like(seen, dtype=torch.bool), top, second)
        state["total"].index_copy_(0, place, mean)
        state["kept"].index_copy_(0, place, kept + torch.cat([~flip, torch.ones_like(flip)]).int())
        scale = 2 * size / (2 * size - min(top, size) + min(second, size))
        return Verdict((~band | flip) * scale, scale)

    def _variance(self, epoch: int) -> float:
        """Return s, which decreases linearly to 0 at the last epoch."""
        return (
            self.how.variance * (1 - epoch / (self.epochs - 1))
            if self.epochs > 1
            else self.how.variance
        )

    def summary(self, noise: Tensor | None) -> dict[str, Any]:
        """Return the statistics of the epoch that has ended, for its entry in the history.

        Args:
            noise: bool [P], pairs known to be noise, or None. It is used here only, for diagnosis.

        Returns:
            The number of pairs `dropped` in this epoch and `relabelled` so far, and the mean
            `weight`. With
            `noise` also the mean loss for label 1 of `clean` and `noisy` pairs, `dropped_noisy`,
            `relabelled_noisy`, and the mean weight of both.
        """
        weight = self.state["weight"]
        relabelled = self.state["relabelled"] > 0
        loss = self.state["loss"]
        dropped = (weight == 0) & ~relabelled
        statistics: dict[str, Any] = {
            "dropped": int(dropped.sum()),
            "relabelled": int(relabelled.sum()),
            "weight": _mean_of(weight),
        }
        if noise is not None:
            statistics |= {"clean": _mean_of(loss[~noise]), "noisy": _mean_of(loss[noise])}
            statistics |= {
                "dropped_noisy": int((dropped & noise).sum()),
                "relabelled_noisy": int((relabelled & noise).sum()),
            }
            statistics |= {
                "weight_clean": _mean_of(weight[~noise]),
                "weight_noisy": _mean_of(weight[noise]),
            }
        return statistics


def _mean_of(values: Tensor) -> float | None:
    return float(values.double().mean()) if len(values) else None
