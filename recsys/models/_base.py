"""What a method consists of: a recipe, and, if it is trained by gradients, a network."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from recsys.data.types import Dataset
from recsys.errors import InputError
from recsys.kernels import PairTask
from recsys.nn.losses import Loss, Terms
from recsys.sampling import Pairs, Sampler, StreamKind, Users
from recsys.scorer import Scorer

__all__ = ["BuildsOnDevice", "NeedsNegatives", "Network", "Recipe"]


class Network(nn.Module):
    """The module that a recipe builds on training data and that `fit` trains.

    A network returns the loss of a batch before reduction and, at any time, a frozen scorer.
    """

    sampler: Sampler | None = None
    """How the negatives of a pair are drawn, for a network that trains on pairs."""

    @property
    def stream(self) -> StreamKind:
        """What a batch of the training holds, here pairs if there is a sampler, else whole users.

        A network that trains on something else returns another value, such as `Sequences`.
        """
        return Users() if self.sampler is None else Pairs(self.sampler)

    rows: tuple[nn.Embedding, ...] = ()
    """Tables whose gradient may be sparse: they are read only through their own forward."""

    def loss(self, batch: Any) -> Terms:
        """Return the loss of the pairs, users or positions of a batch, [B], before reduction."""
        raise TypeError(f"{type(self).__name__} defines no loss")

    def pair_task(self) -> PairTask:
        """Return the objective of one pair, for `train.update = "pair"`.

        Raises:
            InputError: the method, or one of its settings, has no compiled kernel.
        """
        raise InputError(
            "update = 'pair' has compiled kernels for cml, dpcml and mf only",
            place="[train] update",
            remedy='set update = "batch"',
        )

    def scorer(self) -> Scorer:
        """Return a detached value that scores as the network does now."""
        raise TypeError(f"{type(self).__name__} defines no scorer")

    def constrain(self, batch: Any) -> None:
        """Project the parameters after a step; nothing by default. `batch` has the moved rows."""


class Recipe(Protocol):
    """The hyper-parameters of one method: a frozen value that can build it on training data."""

    def build(self, train: Dataset) -> Network | Scorer: ...


@runtime_checkable
class BuildsOnDevice(Protocol):
    """A recipe of a method in closed form that can do its computation on a device.

    `build` is the same on the CPU. The scorers differ by rounding; none depends on the device that
    built it once it is saved.
    """

    def build_on(self, train: Dataset, device: torch.device) -> Scorer: ...


class NeedsNegatives:
    """Base of the recipes whose loss compares an observed pair with sampled negatives.

    Construction refuses a sampler that draws no negatives. It also refuses triplets (one negative
    a step) if the loss looks at all negatives of a pair together.
    """

    sampler: Sampler
    loss: Loss | None = None
    """None: the method has a loss of its own, over all negatives of a pair together."""

    def __post_init__(self) -> None:
        sampler, loss = self.sampler, self.loss
        if sampler.unit == "triplet" and (loss is None or loss.reduce != "each"):
            rule = "the loss of this method" if loss is None else f"loss.reduce = '{loss.reduce}'"
            raise InputError(
                f"sampler.unit = 'triplet' gives a step one negative of a pair, "
                f"and {rule} looks at all of them together",
                remedy='use unit = "pair", or a method with loss.reduce = "each"',
            )
        if sampler.negatives < 1 and sampler.pool in ("own", "shared"):
            raise InputError(
                "sampler.negatives = 0, and the loss compares with negatives",
                remedy="draw at least 1",
            )
