"""One training step: loss, gradients, update; and all tensors that it changes."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from recsys.errors import InputError
from recsys.models import Network
from recsys.nn.denoise import Denoiser
from recsys.sampling import AnyBatch, Batch, stream_seed
from recsys.training.device import seed_device
from recsys.training.job import Job
from recsys.training.optimizers import clip, lr_factor, make_optimizers, put_state, state_of

__all__ = ["Learner"]


class Learner:
    """A network with its optimisers and, if asked for, its denoiser.

    Args:
        network: on the device of the job.
        job: the training.
        steps: number of steps per epoch.

    Raises:
        InputError: the settings do not fit the method.
    """

    def __init__(self, network: Network, job: Job, steps: int) -> None:
        config = job.config
        self.network = network
        self.config = config
        self.device = job.device
        self.steps = steps
        self.optimizers = make_optimizers(
            network,
            config.optimizer,
            config.lr,
            touched=config.rows == "touched",
            weight_decay=config.weight_decay,
        )
        self.loss = torch.compile(network.loss) if config.compile else network.loss
        self.denoiser = _denoiser(network, job, steps)
        # Known noise. It is only compared with the denoiser's choices at the end of an epoch.
        clean = job.train.pairs.clean
        self.noise = None if clean is None else torch.tensor(clean == 0, device=job.device)

    def step(self, batch: AnyBatch) -> Tensor:
        """Update the network with one batch.

        Returns:
            The loss of the batch before the update, a scalar on the device.
        """
        seed_device(self.device, stream_seed(self.config.seed, "network", batch.epoch, batch.step))
        done = batch.epoch * self.steps + batch.step
        if self.config.schedule != "constant" or done <= self.config.warmup:
            self._set_lr(done)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        mixed = self.config.precision == "bfloat16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=mixed):
            terms = self.loss(batch)
            if self.denoiser is not None and isinstance(batch, Batch):
                terms = self.denoiser(terms, batch.row, batch.epoch, batch.step)
            loss = terms.total()
        loss.backward()  # type: ignore[no-untyped-call]
        if self.config.clip is not None:
            clip(self.network, self.config.clip)
        for optimizer in self.optimizers:
            optimizer.step()
        self.network.constrain(batch)
        return loss.detach()

    def _set_lr(self, done: int) -> None:
        config = self.config
        factor = lr_factor(
            config.schedule,
            done,
            self.steps,
            config.epochs,
            warmup=config.warmup,
            decay=config.lr_decay,
        )
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = config.lr * factor

    def denoiser_statistics(self) -> Mapping[str, int | float | None] | None:
        """Return what the denoiser did in the epoch that ended; None without a denoiser."""
        return None if self.denoiser is None else self.denoiser.summary(self.noise)

    def weights_are_finite(self) -> bool:
        """Return whether every weight is a finite number."""
        finite = [torch.isfinite(param).all() for param in self.network.parameters()]
        return not finite or bool(torch.stack(finite).all())

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors that training changes, by their name in a checkpoint."""
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        optimizers = state_of(self.optimizers)
        tensors |= {f"optimizer.{name}": tensor for name, tensor in optimizers.items()}
        if self.denoiser is not None:
            tensors |= {f"denoise.{name}": tensor for name, tensor in self.denoiser.state.items()}
        return tensors

    def restore(self, tensors: Mapping[str, Tensor], *, begun: bool) -> None:
        """Replace all tensors that training changes.

        Args:
            tensors: what `tensors` returned.
            begun: whether at least one step was done, so that the optimisers have a state.

        Raises:
            KeyError, IndexError, ValueError, RuntimeError: the tensors are of another network or
                of other optimisers.
        """
        self.network.load_state_dict(_under("network.", tensors))
        put_state(self.optimizers, _under("optimizer.", tensors), self.device, begun=begun)
        if self.denoiser is not None:
            self.denoiser.state = {
                name: tensors[f"denoise.{name}"].to(self.device) for name in self.denoiser.state
            }


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose name has the prefix, without it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _denoiser(network: Network, job: Job, steps: int) -> Denoiser | None:
    """Return the denoiser that the settings ask for.

    Raises:
        InputError: the method does not train on single interactions.
    """
    settings, sampler = job.config.denoise, network.sampler
    if settings.kind == "none":
        return None
    if sampler is None:
        raise InputError(
            f"'{settings.kind}' judges pairs, and this method trains on {network.stream.of}",
            place="[train] denoise",
            remedy="choose a method that draws negatives for pairs",
        )
    if sampler.unit == "triplet":
        raise InputError(
            f"'{settings.kind}' judges a pair once per epoch, and "
            "sampler.unit = 'triplet' uses it several times",
            place="[train] denoise",
            remedy='set sampler.unit = "pair", or denoise.kind = "none"',
        )
    item = torch.tensor(job.train.pairs.item)
    return Denoiser(
        settings, len(item), steps=steps, epochs=job.config.epochs, device=job.device, item=item
    )
