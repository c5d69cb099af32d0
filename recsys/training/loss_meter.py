"""The mean loss of an epoch, and the check that training has not diverged."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from recsys.errors import TrainingError
from recsys.sampling import AnyBatch

__all__ = ["LossMeter", "refuse_divergence", "weights_not_finite"]

# Training has diverged once the mean loss is this many times that of the first epoch, even if
# every number is still finite.
_DIVERGED = 1e3
_REMEDY = "lower train.lr, or set train.clip"


class LossMeter:
    """Adds up the loss of an epoch and remembers the first step at which it was not finite.

    Both numbers stay on the device, so that no step waits for it.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.total = torch.zeros((), dtype=torch.float64, device=device)
        self.bad_step = torch.full((), -1, dtype=torch.int64, device=device)

    def add(self, loss: Tensor, batch: AnyBatch) -> None:
        """Add the mean loss of a batch.

        Raises:
            TrainingError: it is not a finite number. On a GPU that is found at the epoch's end.
        """
        if self.device.type == "cpu":
            if not math.isfinite(float(loss)):
                raise _not_finite(batch.epoch, batch.step)
        else:
            is_first = (self.bad_step < 0) & ~torch.isfinite(loss)
            self.bad_step = torch.where(is_first, batch.step, self.bad_step)
        self.total += loss.double() * len(batch)

    def mean(self, epoch: int, size: int) -> float:
        """Return the mean loss of the epoch.

        Args:
            epoch: epochs done before this one.
            size: number of interactions (or users) in an epoch.

        Raises:
            TrainingError: the loss was not a finite number, with the step.
        """
        bad, mean = int(self.bad_step), float(self.total) / size
        if bad >= 0 or not math.isfinite(mean):
            raise _not_finite(epoch, bad)
        return mean

    def reset(self) -> None:
        """Start the next epoch."""
        self.total.zero_()

    def tensors(self) -> dict[str, Tensor]:
        """Return both numbers by their name in a checkpoint."""
        return {"loss_sum": self.total, "bad_step": self.bad_step}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Replace both numbers by those of a checkpoint."""
        self.total = tensors["loss_sum"].to(self.device)
        self.bad_step = tensors["bad_step"].to(self.device)


def refuse_divergence(mean: float, first: float, epoch: int) -> None:
    """Raise an error if the loss has grown a thousandfold.

    Args:
        mean: mean loss of the epoch that ended.
        first: mean loss of the first epoch.
        epoch: number of the epoch that ended, counted from 1.

    Raises:
        TrainingError: it has.
    """
    if mean > _DIVERGED * max(abs(first), 1e-3):
        raise TrainingError(
            f"the loss has grown from {first:.4g} to {mean:.4g}",
            place=f"epoch {epoch}",
            remedy=_REMEDY,
        )


def weights_not_finite(epoch: int, step: int) -> TrainingError:
    """Return the error of a weight that is not a finite number."""
    place = f"epoch {epoch}, step {step}"
    return TrainingError("a weight is not a finite number", place=place, remedy=_REMEDY)


def _not_finite(epoch: int, step: int) -> TrainingError:
    place = f"epoch {epoch + 1}, step {step + 1}"
    return TrainingError("the loss is not a finite number", place=place, remedy=_REMEDY)
