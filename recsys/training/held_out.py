"""The loss of held-out pairs, for choosing an epoch: with the largest left out it bears noise among them.

The denoising literature chooses its epoch by the cross-entropy of validation pairs and drawn negatives. The validation pairs are as noisy as the
training pairs, and a model that fits them worse may well be the better one. Leaving out the share of largest loss is what the SIGIR 2025
re-evaluation of denoising methods calls a trimmed validation: with it, plain cross-entropy often does as well as a denoiser.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from recsys.errors import InputError
from recsys.models import Network
from recsys.nn.losses import label_losses, mean_negatives
from recsys.sampling import Batch

__all__ = ["held_out_loss"]


@torch.no_grad()
def held_out_loss(network: Network, batches: Iterable[Batch], trim: float = 0.0) -> float:
    """Mean cross-entropy of held-out pairs and their negatives, a pair's negatives counting as one.

    Of n pairs, int(trim n) of largest loss are left out; their negatives are not.

    Args:
        network: in the mode for evaluation, with a loss by labels.
        batches: of the held-out pairs.
        trim: share of the pairs that is left out.

    Raises:
        InputError: the loss has no labels.
    """
    own, others = [], []
    for batch in batches:
        logits = network.loss(batch).logits
        if logits is None:
            remedy = 'say select = "metric", or set model.loss = { kind = "bce" }'
            raise InputError(
                "select = 'loss' needs a loss by labels, and this method has another",
                place="[train] select",
                remedy=remedy,
            )
        pos, neg = label_losses(logits)
        own.append(pos.double())
        others.append(mean_negatives(logits, neg).double())
    losses = torch.cat(own).sort().values
    kept = losses[: len(losses) - int(trim * len(losses) + 1e-9)]
    return float((kept.sum() + torch.cat(others).sum()) / (len(kept) + len(losses)))
