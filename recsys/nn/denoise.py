"""Denoising: from the loss of each observed pair to its weight or its label.

A denoiser stands between the loss of a network and its mean. It sees the logits of a loss by labels
(`Terms.logits`) and knows each observed pair by its row, its identity across epochs; what it
remembers of a pair is a handful of tensors [P], P the training pairs, which live on the device and
in the checkpoint. A step costs the same for every pair and never waits for the device.

Symbols: l the loss of an observed pair for label 1; N the losses of a batch, positives and
negatives (B pairs with one negative each: N = 2 B); T the steps done, e the epochs done, E all
epochs; d the share that is dropped in the end and d_T at step T, growing linearly over a ramp.

T-CE   drops the N - floor((1 - d_T) N) positives of largest l; loss = mean over what is left.
random drops as many positives as T-CE, whichever they are, and rare those of the items with the
fewest pairs: the controls that tell whether a
       gain is one of knowing which to drop, and whether that is more than popularity. Ours.
R-CE   weighs every loss by exp(-beta l): p^beta of a positive, (1 - p)^beta of a negative, without
gradient; loss = mean.
       Both: Wang, Feng, He, Nie, Chua, "Denoising implicit feedback for recommendation", WSDM 2021.
DCF    He et al., "Double correction framework for denoising recommendation", KDD 2024. Ranks
positives by the lower bound
           l* = max(0, mu - b),   mu = mean over a window of h epochs of psi(l),   psi(l) = log(1 +
           l + l^2 / 2), b = s (t + s log(2 t) / t^2) / (n - s),   s = variance (1 - e / (E - 1)),
       t the losses that mu is the mean of, n one more than the times the pair was kept in this
       window before. So a pair that was seldom kept gets a lower bound, and another chance. Of the
       positives that are dropped, the top share r of the band gets label 0 for good; loss = mean
       over what is kept and relabelled. The bound is that of Xia et al., "Sample selection with
       uncertainty of losses for learning with noisy labels", ICLR 2022.

Reconstructed: the text of the DCF paper was not at hand. Its mode "paper" follows the released code
where that agrees with the description of the method: the history belongs to the pair, the mean is
that of the window, relabelling is permanent, n counts what was kept. That t and n begin anew with
the window is the reading under which a pair that was always kept has n = t, as the inequality wants
it. The mode "released" does what the released code does instead, for comparison with published
logs: a history belongs to a place in the shuffled epoch and so to another pair (or negative) each
time, mu <- ((e + 1) mu + psi) / (e + 2), t = e + 1 without end, n + 1 in the denominator, n grows
unless the place is in the relabelling band, and that band is kept with label 1. Differs there: a
batch is B pairs and B negatives, not any 2 B of both, and only pairs are ranked.

Differs in all: the loss is N times the mean over what is left, divided by B, so that a denoiser
that drops nothing leaves the loss as it was. A relabelled pair is met once an epoch as a negative,
but not drawn as one besides: samplers never see a model.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.config import Bound, settings
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
from recsys.nn.losses import Terms, label_losses, label_parts, mean_negatives

__all__ = ["Denoise", "Denoiser", "damped", "drop_share", "half_width", "lower_bound", "top_bands"]

# Kinds that leave pairs out.
_DROPS = ("tce", "random", "rare", "dcf")

# What was found of this many pairs is written at once.
_WAITING = 1 << 15


@settings
class Denoise:
    """What is done about noise among the observed pairs; for methods whose loss has labels (bce) and draws negatives."""

    reconstructed = 'DCF in its mode "paper"'

    kind: Literal["none", "watch", "random", "rare", "tce", "rce", "dcf"] = "none"
    """watch: nothing, but remember the loss of every pair, for `recsys noise`. tce: drop the positives of largest loss. random: drop as many,
    whichever they are. rare: drop as many, those whose items have the fewest pairs. rce: weigh them
    by the loss. dcf: drop by a lower bound of the mean loss of several epochs, and relabel some."""
    drop: Annotated[float, Bound(ge=0, lt=1)] = 0.2
    """tce, random, rare, dcf: share that is dropped when the ramp has ended."""
    of: Literal["batch", "pairs"] = "batch"
    """The share is of all losses of a batch, negatives included, though only pairs are dropped (as published: 0.2 with one negative each drops
    0.4 of the pairs); or of the pairs."""
    ramp: Annotated[int, Bound(ge=1)] = 30000
    """tce, random, rare, dcf: steps over which the share grows from 0. The default is the papers', for logs of a million pairs; a run of fewer
    steps never gets there."""
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

    def idle(self) -> set[str]:
        """The settings that have no effect beside the others."""
        drops = self.kind in _DROPS
        works = dict.fromkeys(("drop", "of", "ramp"), drops) | {"beta": self.kind == "rce"}
        works |= dict.fromkeys(("window", "variance", "relabel", "mode"), self.kind == "dcf")
        return {name for name, does in works.items() if not does}


def drop_share(done: int, drop: float, ramp: int) -> float:
    """d_T: the share dropped at a step, `done` steps after the first: d T / (ramp - 1) below the ramp, then d."""
    return drop if done >= ramp - 1 else drop * done / (ramp - 1)


class Denoiser:
    """What one fit remembers of its pairs, and does with it.

    A step reads what was known when the epoch began, since no pair is met twice in one, and puts by
    what it found. That is written for many steps at a time, and counted when the epoch has ended or
    somebody looks.

    Args:
        how: which denoiser.
        pairs: P, how many training pairs there are.
        steps: of an epoch.
        epochs: E, at most.
        device: where the tensors live.
        item: the item of each pair, int64 [P]; for "rare".

    Attributes:
        quick: whether `quick_verdict` is asked first, as it is on the CPU; the verdicts are the
            same.
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
        self.how, self.pairs, self.steps, self.epochs = how, pairs, steps, epochs
        kinds: dict[str, tuple[int, torch.dtype]] = {
            "loss": (pairs, torch.float32),
            "weight": (pairs, torch.float32),
        }
        kinds |= {"dropped": (pairs, torch.int32), "relabelled": (pairs, torch.int32)}
        if how.kind == "dcf":
            places = pairs if how.mode == "paper" else 2 * pairs
            kinds |= {"total": (places, torch.float64), "kept": (places, torch.int32)}
        self._state = {
            name: torch.zeros(size, dtype=dtype, device=device)
            for name, (size, dtype) in kinds.items()
        }
        self._state["weight"].fill_(1)
        self.quick = torch.device(device).type == "cpu"
        self._prior: Tensor | None = None  # see `_before`
        self._epoch = 0
        self._found: list[tuple[Tensor, ...]] = []  # in this epoch, and not written yet
        self._waiting = 0  # pairs of these
        drops = how.kind in _DROPS
        self._mark = (
            torch.full((pairs,), torch.nan, device=device) if drops else None
        )  # weights that are not counted yet, nan where there are none
        self._unsettled = False
        self._rarity: Tensor | None = None
        if how.kind == "rare":
            if item is None:
                raise ValueError("'rare' asks for the item of each pair")
            self._rarity = torch.bincount(item).float().reciprocal_()[item].to(device)

    @property
    def state(self) -> dict[str, Tensor]:
        """Everything that moves, by name, tensors [P].

        `loss` of the pair for label 1 when it was last met, its `weight` as a positive then, in how
        many epochs it was `dropped`, in which epoch (from 1) it was `relabelled` (0: never); of DCF
        also `total` and `kept` within the window ("released": of each place in the epoch).
        """
        self._settle()
        return self._state

    @state.setter
    def state(self, state: dict[str, Tensor]) -> None:
        self._state, self._prior, self._found, self._waiting, self._unsettled = (
            state,
            None,
            [],
            0,
            False,
        )
        if self._mark is not None:
            self._mark.fill_(torch.nan)

    def __call__(self, terms: Terms, row: Tensor, epoch: int, step: int) -> Terms:
        """The terms with another loss per pair.

        Args:
            terms: of a loss by labels.
            row: the identity of each pair [B]; none twice in an epoch.
            epoch, step: of the batch; step within the epoch.

        Raises:
            InputError: the loss has no labels, or the share of a batch is more than all pairs.
        """
        logits, how = terms.logits, self.how
        if logits is None:
            raise InputError(
                f"'{how.kind}' needs a loss by labels in which every pair counts, and this method has another",
                place="[train] denoise",
                remedy='set model.loss = { kind = "bce", reduce = "each" } where the method has a loss, or use gmf, neumf, cdae or lightgcn',
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
            found = self._verdict(seen, logits.neg.numel(), top)
        elif how.kind == "random":
            found = self._verdict(torch.rand_like(seen), logits.neg.numel(), top)
        elif self._rarity is not None:
            found = self._verdict(self._rarity.index_select(0, row), logits.neg.numel(), top)
        elif how.mode == "paper":
            found = self._verdict(
                seen, logits.neg.numel(), top, second, self._before().index_select(0, row)
            )
        else:
            found = self._released(seen, negatives, top, second, step)
        if found.sign is None:
            self._put_by(row, seen, found.weight)
        else:
            self._put_by(row, seen, found.weight, found.sign)
            own = F.softplus(logits.pos.float() * found.sign)
        weighed = own * found.weight
        pair = (
            torch.add(weighed, rest, alpha=found.scale)
            if isinstance(found.scale, float)
            else weighed + rest * found.scale
        )
        return Terms(pair, terms.extra, logits)

    def _verdict(
        self, seen: Tensor, negatives: int, top: int, second: int = 0, prior: Tensor | None = None
    ) -> Verdict:
        if self.quick:
            found = quick_verdict(
                seen.numpy(), negatives, top, second, None if prior is None else prior.numpy()
            )
            if found is not None:
                return found
        found = verdict(seen, negatives, top, second, prior)
        return found._replace(scale=float(found.scale)) if self.quick else found

    def _shares(self, pairs: int, negatives: int, done: int) -> tuple[int, int]:
        """How many pairs of a batch belong to the band, and how many of these to its top, which is relabelled."""
        how = self.how
        losses = pairs * (1 + negatives) if how.of == "batch" else pairs
        if how.of == "batch" and how.drop * (1 + negatives) >= 1:
            raise InputError(
                f"drop = {how.drop:g} of a batch with {negatives} negatives a pair is all its pairs",
                place="[train] denoise",
                remedy='say of = "pairs", or lower drop',
            )
        share = drop_share(done, how.drop, how.ramp)
        return losses - int((1 - share) * losses + 1e-9), losses - int(
            (1 - how.relabel * share) * losses + 1e-9
        )

    def _before(self) -> Tensor:
        """What `verdict` wants to know of every pair, when the epoch began; float64 [P]."""
        if self._prior is None:
            t, state = self._epoch % self.how.window + 1, self._state
            kept = torch.zeros_like(state["kept"]) if t == 1 else state["kept"]
            total = torch.zeros_like(state["total"]) if t == 1 else state["total"]
            prior = total - t * half_width(self._variance(self._epoch), t, kept + 1)
            self._prior = prior.masked_fill_(state["relabelled"] > 0, -torch.inf)
        return self._prior

    def _put_by(self, row: Tensor, *found: Tensor) -> None:
        """Keep what was found of some pairs until it is written; none of them is looked at again in this epoch."""
        self._found.append((row, *found))
        self._waiting += len(row)
        if self._waiting >= _WAITING:
            self._write()

    def _write(self) -> None:
        """Put losses and weights where they belong: weights of pairs with label 0 below 0, until `_settle`."""
        if not self._found:
            return
        row, seen, *found = (torch.cat(each) for each in zip(*self._found, strict=True))
        self._found, self._waiting = [], 0
        self._state["loss"].index_copy_(0, row, seen)
        if found:
            weight = found[0] if len(found) == 1 else found[0] * -found[1]
            (self._state["weight"] if self._mark is None else self._mark).index_copy_(
                0, row, weight
            )
            self._unsettled = self._mark is not None

    def _settle(self) -> None:
        """Count what was written; a pass over all pairs, once an epoch and when somebody looks."""
        self._write()
        if self._mark is None or not self._unsettled:
            return
        state, mark = self._state, self._mark
        met, kept = ~mark.isnan(), mark > 0
        state["weight"] = torch.where(met, kept.float(), state["weight"])
        state["dropped"] += mark == 0
        if "total" in state and self.how.mode == "paper":
            state["relabelled"] += ((mark < 0) & (state["relabelled"] == 0)) * (self._epoch + 1)
            psi = damped(state["loss"])
            if self._epoch % self.how.window:
                state["total"] += psi * met
                state["kept"] += kept
            else:
                state["total"] = torch.where(met, psi, state["total"])
                state["kept"] = torch.where(met, kept.int(), state["kept"])
        mark.fill_(torch.nan)
        self._unsettled = False

    def _released(self, seen: Tensor, negatives: int, top: int, second: int, step: int) -> Verdict:
        """DCF as its released code does it."""
        if negatives != 1:
            raise InputError(
                f"mode = 'released' takes one negative a pair, not {negatives}",
                place="[train] denoise",
                remedy="set sampler.negatives = 1",
            )
        size, state = len(seen), self._state
        # The places of this step in a shuffled epoch of pairs and negatives: those of the pairs
        # first.
        first = 2 * (step * self.pairs // self.steps)  # where `sample.place_of` begins this batch
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
        """s: linearly from the variance to 0 at the last epoch."""
        return (
            self.how.variance * (1 - epoch / (self.epochs - 1))
            if self.epochs > 1
            else self.how.variance
        )

    def summary(self, noise: Tensor | None) -> dict[str, Any]:
        """What happened in the epoch that has ended, for its entry in the history.

        Args:
            noise: whether each pair is known to be noise, bool [P], or None. It is looked at here
                and nowhere else.

        Returns:
            pairs `dropped` in this epoch and `relabelled` so far, the mean `weight`; with `noise`
            also the mean loss for label 1 of `clean` and `noisy` pairs, `dropped_noisy`,
            `relabelled_noisy`, and the mean weight of both.
        """
        weight, relabelled, loss = (
            self.state["weight"],
            self.state["relabelled"] > 0,
            self.state["loss"],
        )
        dropped = (weight == 0) & ~relabelled
        found: dict[str, Any] = {
            "dropped": int(dropped.sum()),
            "relabelled": int(relabelled.sum()),
            "weight": _mean_of(weight),
        }
        if noise is not None:
            found |= {"clean": _mean_of(loss[~noise]), "noisy": _mean_of(loss[noise])}
            found |= {
                "dropped_noisy": int((dropped & noise).sum()),
                "relabelled_noisy": int((relabelled & noise).sum()),
            }
            found |= {
                "weight_clean": _mean_of(weight[~noise]),
                "weight_noisy": _mean_of(weight[noise]),
            }
        return found


def _mean_of(values: Tensor) -> float | None:
    return float(values.double().mean()) if len(values) else None
