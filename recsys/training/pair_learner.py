"""Training by compiled kernels, one pair after the other: the learner of `update = "pair"`.

Between two rounds the tables of the network and the sums of Adagrad are all that training has
changed, and a round is a function of them and of (seed, epoch, step). So a training that is resumed
ends with the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from recsys.errors import InputError
from recsys.kernels import PairTask, refuse_task, require_numba
from recsys.models import Network
from recsys.training.job import Job
from recsys.training.optimizers import EPS, lr_factor
from recsys.training.settings import Train

if TYPE_CHECKING:
    from recsys.kernels.rounds import PairRounds, Round

__all__ = ["PairLearner", "pair_learner"]

_OPTIMIZERS = ("sgd", "adagrad")
# What has no effect or another meaning without batches, and the only value that it may have.
_UNUSED: Mapping[str, Any] = {
    "rows": "dense",
    "warmup": 0,
    "clip": None,
    "precision": "float32",
    "compile": False,
}


def pair_learner(network: Network, job: Job) -> PairLearner:
    """Return the learner of compiled kernels.

    Args:
        network: its tables are changed.
        job: the training.

    Raises:
        InputError: numba is missing, or the settings or the method have no kernel.
    """
    _refuse_settings(job)
    task, sampler = network.pair_task(), network.sampler
    assert sampler is not None
    refuse_task(task, sampler)
    require_numba()
    from recsys.kernels.rounds import PairRounds

    correct = task.loss.kind == "softmax" and task.loss.correct
    stream = PairRounds(job.train.pairs, sampler, seed=job.config.seed, correct=correct)
    return PairLearner(network, task, stream, job.config, sampler.negatives)


def _refuse_settings(job: Job) -> None:
    """Raise an error for settings of training that the kernels cannot do.

    Raises:
        InputError: one of them; the place is its key.
    """
    config = job.config
    if config.optimizer not in _OPTIMIZERS:
        raise InputError(
            f"update = 'pair' has no compiled kernel for optimizer = '{config.optimizer}'",
            place="[train] optimizer",
            remedy='use optimizer = "adagrad" or "sgd", or update = "batch"',
        )
    if config.denoise.kind != "none":
        raise InputError(
            f"'{config.denoise.kind}' judges pairs by the losses of a batch, "
            "and update = 'pair' has no batches",
            place="[train] denoise",
            remedy='set update = "batch", or denoise.kind = "none"',
        )
    if job.device.type != "cpu":
        raise InputError(
            f"update = 'pair' computes on the CPU only, got device = '{job.device}'",
            place="[train] device",
            remedy='set device = "cpu", or update = "batch"',
        )
    for name, value in _UNUSED.items():
        if getattr(config, name) != value:
            raise InputError(
                f"{name} = {getattr(config, name)!r} has no meaning with update = 'pair'",
                place=f"[train] {name}",
                remedy='leave it out, or set update = "batch"',
            )


class PairLearner:
    """A network whose tables are updated after every pair.

    Args:
        network: on the CPU.
        task: its tables and the objective of a pair.
        stream: the rounds of an epoch.
        config: settings of training.
        negatives: candidates of a pair.
    """

    denoiser = None

    def __init__(
        self, network: Network, task: PairTask, stream: PairRounds, config: Train, negatives: int
    ) -> None:
        from recsys.kernels.rounds import rules_of

        self.network = network
        self.task = task
        self.stream = stream
        self.config = config
        self.second: dict[str, Tensor] = {}
        if config.optimizer == "adagrad":
            self.second = {
                "user": torch.zeros_like(task.user.weight),
                "item": torch.zeros_like(task.item.weight),
            }
        # The weight of the diversity is for the sum over the triplets of a batch.
        triplets = config.batch_size * (negatives if task.loss.reduce == "each" else 1)
        self.rules = rules_of(task, negatives, eps=EPS, triplets=triplets)

    def step(self, batch: Round) -> Tensor:
        """Update the network with the pairs of one round.

        Returns:
            The mean loss of the pairs, each before its update and without `l2` and diversity;
            float64, a scalar.
        """
        from recsys.kernels.rounds import train_round

        config = self.config
        factor = lr_factor(
            config.schedule,
            batch.epoch * len(self.stream) + batch.step,
            len(self.stream),
            config.epochs,
            warmup=0,
            decay=config.lr_decay,
        )
        rules = self.rules._replace(lr=config.lr * factor)
        loss = train_round(self._tables(), batch, rules, torch.get_num_threads())
        return torch.tensor(loss / max(len(batch), 1), dtype=torch.float64)

    def _tables(self) -> Any:
        """Return the tables as arrays that share their memory."""
        from recsys.kernels.arguments import Tables

        task, second = self.task, self.second
        dim = task.item.embedding_dim

        def array(tensor: Tensor) -> Any:
            return tensor.detach().view(len(tensor), -1, dim).numpy()

        return Tables(
            array(task.user.weight),
            array(task.item.weight),
            array(second["user"]) if second else None,
            array(second["item"]) if second else None,
            self._counts(),
        )

    def _counts(self) -> Any:
        """Return the number of vectors of each user, int64 [n_users]; None: 1."""
        task = self.task
        if task.vectors == 1:
            return None
        if task.count is not None:
            return task.count.numpy()
        return torch.full((task.user.num_embeddings,), task.vectors).numpy()

    def denoiser_statistics(self) -> None:
        """Return None, because the kernels have no denoiser."""

    def weights_are_finite(self) -> bool:
        """Return whether every weight is a finite number."""
        return all(bool(torch.isfinite(param).all()) for param in self.network.parameters())

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors that training changes, by their name in a checkpoint."""
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        return tensors | {f"pair.{name}": tensor for name, tensor in self.second.items()}

    def restore(self, tensors: Mapping[str, Tensor], *, begun: bool) -> None:
        """Replace all tensors that training changes.

        Args:
            tensors: what `tensors` returned.
            begun: not used: the sums of Adagrad exist before the first step.

        Raises:
            KeyError, RuntimeError: the tensors are of another network or of another optimiser.
        """
        self.network.load_state_dict(
            {
                name.removeprefix("network."): tensor
                for name, tensor in tensors.items()
                if name.startswith("network.")
            }
        )
        for name, second in self.second.items():
            second.copy_(tensors[f"pair.{name}"])
