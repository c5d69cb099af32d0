"""Losses per pair, and the logits behind a loss by labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

__all__ = ["Logits", "Terms", "label_losses", "label_parts", "mean_negatives"]


@dataclass(frozen=True, eq=False)
class Logits:
    """The scores behind a loss by labels (binary cross-entropy).

    With them a denoiser can weight positives and negatives separately or change a label.

    Args:
        pos: logits of the observed pairs, [B].
        neg: logits of their negatives, [B, K].
        mask: bool [B, K], False for a candidate that is not a negative; None: all are.
        weight: weight of the negative part.
        losses: losses computed from these logits, if available: of the pairs [B], of the negatives
            [B, K], and the contribution of the negatives to the loss of a pair [B].
    """

    pos: Tensor
    neg: Tensor
    mask: Tensor | None = None
    weight: float = 1.0
    losses: tuple[Tensor, Tensor, Tensor] | None = None


@dataclass(frozen=True, eq=False)
class Terms:
    """A loss before reduction.

    Args:
        pair: loss of each observed pair, [B].
        extra: a scalar that belongs to no pair, such as regularisation.
        logits: the logits from which `pair` was computed, for a loss by labels; a denoiser computes
            another `pair` from them.
    """

    pair: Tensor
    extra: Tensor | None = None
    logits: Logits | None = None

    def total(self) -> Tensor:
        """Return the mean over the pairs plus the extra term, a scalar."""
        mean = self.pair.mean()
        return mean if self.extra is None else mean + self.extra


def label_losses(logits: Logits) -> tuple[Tensor, Tensor]:
    """Return the binary cross-entropy of the observed pairs and of their negatives.

    The first is for label 1, [B], the second for label 0, [B, K], unweighted; both are in at least
    float32.
    """
    return (
        (F.softplus(-single(logits.pos)), F.softplus(single(logits.neg)))
        if logits.losses is None
        else logits.losses[:2]
    )


def label_parts(logits: Logits) -> tuple[Tensor, Tensor]:
    """Return the two parts of the loss of a pair: its own and that of its negatives, [B] each."""
    if logits.losses is not None:
        return logits.losses[0], logits.losses[2]
    own, others = label_losses(logits)
    return own, mean_negatives(logits, others)


def mean_negatives(logits: Logits, each: Tensor) -> Tensor:
    """Return the contribution of the negatives to the loss of a pair, [B].

    The result is equal to that of `pair_loss` to the bit.

    Args:
        logits: the logits.
        each: a value per negative, [B, K].
    """
    return mean_weighted(each, logits.weight, logits.mask)


def mean_weighted(each: Tensor, weight: float, mask: Tensor | None) -> Tensor:
    each = weighted(weight, each)
    return mean_of(each if mask is None else each * mask, mask)


def single(scores: Tensor) -> Tensor:
    """Return scores in at least float32: in half precision many losses would be equal."""
    return scores.float() if scores.dtype.itemsize < 4 else scores


def weighted(weight: float, each: Tensor) -> Tensor:
    return each if weight == 1 else weight * each


def mean_of(each: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mean over the valid negatives, [B]; 0 for a pair without any."""
    if mask is None:
        return each.squeeze(1) if each.shape[1] == 1 else each.mean(1)
    return (each * mask).sum(1) / mask.sum(1).clamp_min(1)
