"""The loss of held-out interactions, as a criterion for the best epoch.

The denoising literature chooses the epoch by the cross-entropy of the validation interactions and
sampled negatives. The validation interactions are as noisy as the training interactions, so a
model that fits them worse may be the better one. Leaving out the share with the largest loss
reduces that effect. The SIGIR 2025 re-evaluation of denoising methods calls this a trimmed
validation: with it, plain cross-entropy often does as well as a denoiser.
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
    """Return the mean cross-entropy of held-out interactions and their negatives.

    All negatives of an interaction together count as one term. Of n interactions, the int(trim n)
    with the largest loss are left out; their negatives are kept.

    Args:
        network: in evaluation mode, with a loss that has labels (bce).
        batches: batches of the held-out interactions.
        trim: share of the interactions that is left out, in [0, 1).

    Raises:
        InputError: the loss has no labels.
    """
    positives, negatives = [], []
    for batch in batches:
        logits = network.loss(batch).logits
        if logits is None:
            raise InputError(
                "select = 'loss' needs a loss with labels, and this method has another loss",
                place="[train] select",
                remedy='set select = "metric", or model.loss = { kind = "bce" }',
            )
        pos, neg = label_losses(logits)
        positives.append(pos.double())
        negatives.append(mean_negatives(logits, neg).double())
    losses = torch.cat(positives).sort().values
    kept = losses[: len(losses) - int(trim * len(losses) + 1e-9)]
    return float((kept.sum() + torch.cat(negatives).sum()) / (len(kept) + len(losses)))
