"""Model selection: which epoch is kept, and when patience ends the training.

An epoch is judged by a metric on the validation set or, with `train.select = "loss"`, by the loss
of the held-out interactions.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from recsys.data.types import Dataset, HeldOut
from recsys.errors import InputError
from recsys.evaluation.evaluator import Evaluation, evaluate
from recsys.evaluation.metrics import parse
from recsys.models import Network
from recsys.sampling import PairStream, stream_seed
from recsys.scorer import Scorer
from recsys.tensors import load_scorer, save_scorer
from recsys.training.checkpoint import State
from recsys.training.device import seed_device
from recsys.training.held_out import held_out_loss
from recsys.training.job import Job
from recsys.training.progress import EpochEntry
from recsys.training.stopping import Curve, curve_of, first_of_patience, waited

__all__ = ["Selection", "undefined_monitor", "validation_metrics"]


class Selection:
    """Evaluates a network on the validation set and keeps its best scorer.

    Args:
        network: the network that is trained.
        job: the training.

    Raises:
        InputError: the held-out loss selects, and the method does not train on interactions, or the
            users of valid are not those of train.
    """

    def __init__(self, network: Network, job: Job) -> None:
        self.network = network
        self.job = job
        self.evaluation = job.evaluation
        if self.evaluation.monitor not in self.evaluation.metrics:
            metrics = (*self.evaluation.metrics, self.evaluation.monitor)
            self.evaluation = replace(self.evaluation, metrics=metrics)
        self.sign = 1.0 if parse(self.evaluation.monitor).higher else -1.0
        self.held_out = _held_out_stream(network, job)
        self.best: Scorer | None = None
        self._saved_epoch = -1

    def is_due(self, epoch: int) -> bool:
        """Return whether the network is evaluated after this epoch, counted from 1."""
        config = self.job.config
        is_due = epoch % config.eval_every == 0 or epoch == config.epochs
        return self.job.held_out is not None and is_due

    def evaluate(self, entry: EpochEntry, state: State) -> EpochEntry:
        """Evaluate on the validation set, and keep the scorer if it is the best so far.

        Args:
            entry: of the epoch that ended.
            state: its `best` and `best_epoch` are updated.

        Returns:
            The entry with the metrics.

        Raises:
            InputError: the monitored metric is undefined for every user.
        """
        valid, began = self.job.held_out, time.perf_counter()
        assert valid is not None
        self.network.eval()
        scorer = self.network.scorer()
        metrics = validation_metrics(scorer, self.job.train, valid, self.evaluation)
        seconds = round(time.perf_counter() - began, 4)
        entry = replace(entry, valid=metrics, valid_seconds=seconds)
        value = self.sign * entry.metric(self.evaluation.monitor)
        if self.held_out is not None:
            loss = self._held_out_loss(self.held_out)
            entry, value = replace(entry, valid_loss=loss), -loss
        if math.isnan(value):
            raise undefined_monitor(self.evaluation.monitor)
        if value > state.best:
            state.best, state.best_epoch = value, state.epoch
            self.best = scorer
        return replace(entry, best=state.best_epoch == state.epoch)

    def _held_out_loss(self, stream: PairStream) -> float:
        config = self.job.config
        seed_device(self.job.device, stream_seed(config.seed, "held"))
        return held_out_loss(self.network, stream.epoch(0), config.trim)

    def curve(self, history: Iterable[EpochEntry]) -> Curve:
        """Return epoch and value of each evaluation; more is better."""
        return curve_of(history, self.evaluation.monitor, self.job.config.select)

    def has_run_out(self, history: Iterable[EpochEntry]) -> bool:
        """Return whether patience has run out.

        It depends on the history only, so that a resumed training stops at the same epoch.
        """
        config = self.job.config
        if config.patience is None:
            return False
        first = first_of_patience(config.epochs, config.min_epochs)
        return waited(self.curve(history), first) >= config.patience

    def save_best(self, folder: Path, epoch: int) -> None:
        """Write the best scorer, unless the file already holds the one of this epoch."""
        if self.best is not None and self._saved_epoch != epoch:
            save_scorer(folder / "scorer.safetensors", self.best, epoch=epoch)
            self._saved_epoch = epoch

    def restore_best(self, folder: Path, epoch: int) -> None:
        """Read the best scorer of a checkpoint.

        A scorer that is newer than the checkpoint is ignored: the steps to come will produce it
        once more.
        """
        if not epoch:
            return
        scorer, about = load_scorer(folder / "scorer.safetensors")
        if about.get("epoch") == epoch:
            self.best = scorer.to(self.job.device)
            self._saved_epoch = epoch


def validation_metrics(
    scorer: Scorer, train: Dataset, valid: HeldOut, evaluation: Evaluation
) -> dict[str, float]:
    """Return the metrics of a scorer on the validation part.

    A metric that is undefined for every user is left out: JSON has no NaN, and other programs read
    the history.
    """
    report = evaluate(scorer, train.pairs, valid, evaluation)
    return {name: value for name in report.names if math.isfinite(value := report[name])}


def undefined_monitor(monitor: str) -> InputError:
    """Return the error of a monitored metric that is undefined for every user."""
    return InputError(
        f"{monitor} is defined for no user of the validation part",
        place="[evaluate] monitor",
        remedy="monitor another metric, or keep more for validation in [split]",
    )


def _held_out_stream(network: Network, job: Job) -> PairStream | None:
    """Return the validation interactions with negatives, the same ones in every epoch.

    Returns:
        None if the held-out loss does not select.
    """
    config, valid = job.config, job.held_out
    if config.select == "metric" or valid is None:
        return None
    if network.sampler is None:
        raise InputError(
            f"select = 'loss' looks at pairs, and this method trains on {network.stream.of}",
            place="[train] select",
            remedy='set select = "metric"',
        )
    if valid.queries.user is None:
        raise InputError(
            "select = 'loss' looks at pairs of users of train, and this split asks with histories "
            "of others",
            place="[train] select",
            remedy='set select = "metric"',
        )
    return PairStream(
        valid.pairs,
        network.sampler,
        batch_size=config.batch_size,
        seed=stream_seed(config.seed, "held"),
        device=job.device,
        also_observed=job.train.pairs,
    )
