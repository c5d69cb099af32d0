"""The training loop.

It sees training and validation data only; none of its parameters can hold the test set.

Every random number is a function of (seed, epoch, step). All other state (weights, optimisers,
early stopping, position) is in the checkpoint. So a run that is killed at any moment and resumed
ends with the same bytes as a run that was not interrupted.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from recsys.data.query import QueryKind
from recsys.data.types import Dataset, HeldOut, Interactions
from recsys.errors import InputError, first_line
from recsys.evaluation.evaluator import Evaluation
from recsys.evaluation.metrics import parse
from recsys.models import BuildsOnDevice, Network, Recipe
from recsys.notebook import Shown, counted
from recsys.sampling import Stream, stream_seed
from recsys.scorer import Scorer, readable
from recsys.tensors import save_scorer, write_tensors
from recsys.training.checkpoint import Checkpoint, State
from recsys.training.device import own_random_numbers, pick_device, seed_device
from recsys.training.job import Job
from recsys.training.learner import Learner
from recsys.training.loss_meter import LossMeter, refuse_divergence, weights_not_finite
from recsys.training.malloc import keep_freed_memory
from recsys.training.pair_learner import PairLearner, pair_learner
from recsys.training.progress import (
    EpochDone,
    EpochEntry,
    Note,
    Resumed,
    StepDone,
    Watch,
    ignore,
)
from recsys.training.selection import Selection, undefined_monitor, validation_metrics
from recsys.training.settings import Train
from recsys.training.stopping import Reason, Stopping, stopping

__all__ = ["Fitted", "Train", "fit"]


@dataclass(frozen=True, eq=False, repr=False)
class Fitted(Shown):
    """The result of a training.

    Args:
        scorer: the best scorer on the validation set, or the last one without validation.
        best_epoch: number of epochs it was trained for (0 for a closed-form method).
        history: one entry per epoch.
        stopping: why training ended, and whether that was too early.
        notes: what the reader of the result must know, such as interactions that are not trained
            on.
    """

    scorer: Scorer
    best_epoch: int
    history: list[EpochEntry]
    stopping: Stopping
    notes: tuple[str, ...] = ()

    @property
    def stopped(self) -> str:
        """Why training ended, in words."""
        return str(self.stopping)

    def _facts(self) -> Iterator[tuple[str, object]]:
        yield "", type(self.scorer).__name__
        yield "", f"{counted(self.scorer.n_users, 'user')} x {counted(self.scorer.n_items, 'item')}"
        if self.best_epoch:
            yield "epoch", f"{self.best_epoch} of {len(self.history)}"
        yield "stopped:", self.stopped
        for entry in self.history:
            if entry.epoch == self.best_epoch:
                for name, value in (entry.valid or {}).items():
                    yield f"valid {name}", f"{value:.4f}"


def fit(
    recipe: Recipe,
    train: Dataset,
    valid: HeldOut | Interactions | None = None,
    config: Train | None = None,
    evaluation: Evaluation | None = None,
    *,
    folder: Path | None = None,
    resume: bool = False,
    watch: Watch | None = None,
    asks: frozenset[QueryKind] = frozenset(),
) -> Fitted:
    """Train a method and return its best scorer.

    Args:
        recipe: the method and its hyper-parameters.
        train: training data.
        valid: the validation part, for early stopping and the choice of the best epoch;
            interactions ask one question per user; None trains to the last epoch.
        config: settings of training.
        evaluation: metrics on `valid`; `evaluation.monitor` chooses the best epoch.
        folder: where checkpoint and best scorer are written; None: nowhere.
        resume: continue from the checkpoint in `folder`, if there is one.
        watch: called with each progress event; it cannot change the result.
        asks: what queries of a later test give the scorer, so that a method which cannot answer
            them is refused before it is trained.

    Raises:
        TrainingError: the loss is not a finite number, with the step, or has grown a thousandfold.
        InputError: settings that do not go together, a checkpoint of other settings, or a device
            that is not available.
    """
    config, evaluation = config or Train(), evaluation or Evaluation()
    if resume and folder is None:
        raise InputError("there is nothing to resume", remedy="give the folder of the checkpoint")
    device = pick_device(config.device)
    if device.type == "cpu":
        keep_freed_memory()
    if isinstance(valid, Interactions):
        valid = HeldOut.of_pairs(valid)
    job = Job(recipe, train, valid, config, evaluation, device, folder, watch or ignore)
    with own_random_numbers(device):
        seed_device(device, stream_seed(config.seed, "start"))
        started = time.perf_counter()
        built: Network | Scorer
        on_device = False
        if device.type != "cpu" and isinstance(recipe, BuildsOnDevice):
            built, on_device = recipe.build_on(train, device), True
        else:
            built = recipe.build(train)
        _refuse_unanswerable(built, asks, valid)
        if not isinstance(built, Network):
            seconds = time.perf_counter() - started
            return _closed_form(built.to(device), job, seconds, on_device=on_device)
        loop = _Loop(built.to(device), job)
        if resume:
            loop.restore()
        return loop.run()


def _refuse_unanswerable(
    built: Network | Scorer, asks: frozenset[QueryKind], valid: HeldOut | None
) -> None:
    """Refuse a method that cannot answer the queries of valid or test.

    Args:
        built: what the recipe built.
        asks: what the queries of the test have.
        valid: the validation part, or None.

    Raises:
        InputError: it cannot answer them.
    """
    for kinds in (asks, frozenset() if valid is None else valid.queries.kinds):
        if kinds and "user" not in kinds:  # every method answers users
            scorer = built.scorer() if isinstance(built, Network) else built
            readable(scorer, kinds, "answer the queries of this split")


def _closed_form(scorer: Scorer, job: Job, seconds: float, *, on_device: bool) -> Fitted:
    """Return the result of a method that is built in one step.

    Args:
        scorer: the scorer, on the device if it can be there.
        job: what is trained on.
        seconds: how long it took to build.
        on_device: whether it was built on a device other than the CPU.
    """
    _refuse_pair_losses(job.config)
    notes = _notes_on_device(scorer, job.device, on_device=on_device)
    for note in notes:
        job.watch(Note(note))
    entry, monitor = EpochEntry(epoch=0, seconds=round(seconds, 3)), job.evaluation.monitor
    if job.held_out is not None:
        metrics = validation_metrics(scorer, job.train, job.held_out, job.evaluation)
        entry = replace(entry, valid=metrics)
        # The monitor selects nothing here, so it need not be among the metrics.
        is_asked = parse(monitor).name in {metric.name for metric in job.evaluation.resolved}
        if is_asked and math.isnan(entry.metric(monitor)):
            raise undefined_monitor(monitor)
    job.watch(EpochDone(entry))
    return Fitted(scorer, 0, [entry], stopping((), "closed form", 0, 0), notes)


def _notes_on_device(scorer: Scorer, device: torch.device, *, on_device: bool) -> tuple[str, ...]:
    """Return what a method in closed form does not do on the device."""
    if device.type == "cpu":
        return ()
    ranks = scorer.device.type == device.type
    on_cpu = [work for work, there in (("built", on_device), ("ranked", ranks)) if not there]
    if not on_cpu:
        return ()
    return (f"[train] device: this method is {' and '.join(on_cpu)} on the CPU, not on {device}",)


def _refuse_pair_losses(config: Train) -> None:
    """Raise an error for settings that need a loss per interaction: the method has no losses."""
    cause = "judges pairs by their losses, and this method is not trained by gradients"
    if config.denoise.kind != "none":
        raise InputError(
            f"'{config.denoise.kind}' {cause}",
            place="[train] denoise",
            remedy="choose a method that draws negatives for pairs",
        )
    if config.select == "loss":
        raise InputError(
            f"select = 'loss' {cause}", place="[train] select", remedy='set select = "metric"'
        )


class _Loop:
    """The loop: epochs of steps, an evaluation after some epochs, a checkpoint now and then."""

    def __init__(self, network: Network, job: Job) -> None:
        config, pairs = job.config, job.train.pairs
        if not len(pairs):
            raise InputError(
                "there is nothing to train on: 0 interactions",
                remedy="loosen the filters in [data] or the ratios in [split]",
            )
        self.job = job
        self.network = network
        self.stream: Stream
        self.learner: Learner | PairLearner
        if config.update == "pair":
            self.learner = pair_learner(network, job)
            self.stream = self.learner.stream
        else:
            self.stream = network.stream.open(
                job.train, batch_size=config.batch_size, seed=config.seed, device=job.device
            )
            self.learner = Learner(network, job, len(self.stream))
        self.selection = Selection(network, job)
        self.losses = LossMeter(job.device)
        self.checkpoint = Checkpoint(job)
        self.state = State()

    def run(self) -> Fitted:
        """Train to the last epoch, or until patience has run out."""
        state, epochs = self.state, self.job.config.epochs
        for note in self.stream.notes:
            self.job.watch(Note(note))
        while state.epoch < epochs and not self.selection.has_run_out(state.history):
            self._epoch()
        self.save()
        self._save_denoiser()
        scorer, best_epoch = self.selection.best, state.best_epoch
        if scorer is None:
            scorer, best_epoch = self._last_scorer(), state.epoch
        reason: Reason = "epochs" if state.epoch >= epochs else "patience"
        end = stopping(self.selection.curve(state.history), reason, state.epoch, epochs)
        return Fitted(scorer, best_epoch, state.history, end, self.stream.notes)

    def _epoch(self) -> None:
        state, steps = self.state, len(self.stream)
        self.network.train()
        began = time.perf_counter() - state.seconds
        for batch in self.stream.epoch(state.epoch, state.step):
            self.losses.add(self.learner.step(batch), batch)
            state.step = batch.step + 1
            self.job.watch(StepDone(state.epoch, state.step, steps, len(batch)))
            if state.step < steps and self.checkpoint.is_due():
                state.seconds = time.perf_counter() - began
                self.save()
        entry = self._close_epoch(time.perf_counter() - began)
        self.job.watch(EpochDone(entry))
        if self.checkpoint.is_due():
            self.save()

    def _close_epoch(self, seconds: float) -> EpochEntry:
        """Check the loss and the weights, evaluate if it is due, and add to the history."""
        state = self.state
        mean = self.losses.mean(state.epoch, self.stream.size)
        if not self.learner.weights_are_finite():
            raise weights_not_finite(state.epoch + 1, state.step)
        if state.first_loss is None:
            state.first_loss = mean
        refuse_divergence(mean, state.first_loss, state.epoch + 1)
        entry = EpochEntry(
            epoch=state.epoch + 1,
            loss=mean,
            seconds=round(seconds, 4),
            pairs_per_second=round(self.stream.interactions / max(seconds, 1e-9)),
            denoise=self.learner.denoiser_statistics(),
        )
        state.epoch, state.step = state.epoch + 1, 0
        state.seconds = 0.0
        self.losses.reset()
        if self.selection.is_due(state.epoch):
            entry = self.selection.evaluate(entry, state)
        state.history.append(entry)
        return entry

    def save(self) -> None:
        """Write the best scorer, then the checkpoint that refers to it; each atomically."""
        if self.job.folder is None:
            return
        self.selection.save_best(self.job.folder, self.state.best_epoch)
        self.checkpoint.write(self.state, self.learner.tensors() | self.losses.tensors())

    def restore(self) -> None:
        """Continue from the checkpoint in the folder, if there is one.

        Raises:
            InputError: it is damaged, or was written with other settings or data.
        """
        assert self.job.folder is not None
        path = self.job.folder / "checkpoint.safetensors"
        if not path.exists():
            return
        tensors, meta = self.checkpoint.read(path)
        try:
            self.state = State.from_json(meta["state"])
            begun = bool(self.state.epoch or self.state.step)
            self.learner.restore(tensors, begun=begun)
            self.losses.restore(tensors)
        except (InputError, KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
            cause = error.cause if isinstance(error, InputError) else first_line(error)
            raise InputError(
                f"is not a complete checkpoint: {cause}",
                place=str(path),
                remedy="delete it to start again, or restore it",
            ) from None
        self.selection.restore_best(self.job.folder, self.state.best_epoch)
        state = self.state
        self.job.watch(Resumed(state.epoch, state.step, tuple(state.history)))

    def _save_denoiser(self) -> None:
        """Write what the denoiser knows about each training interaction."""
        denoiser, folder = self.learner.denoiser, self.job.folder
        if denoiser is not None and folder is not None:
            about = {"kind": self.job.config.denoise.kind, "epochs": self.state.epoch}
            write_tensors(folder / "denoiser.safetensors", denoiser.state, about)

    def _last_scorer(self) -> Scorer:
        """Return the scorer of the last epoch, which is the best one without validation.

        It is written, but it is not part of the state: a training that continues from here has
        another last epoch.
        """
        scorer = self.network.scorer()
        if self.job.folder is not None:
            save_scorer(self.job.folder / "scorer.safetensors", scorer, epoch=self.state.epoch)
        return scorer
