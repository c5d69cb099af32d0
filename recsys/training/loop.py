"""fit: the one loop.

It sees the training data and the validation pairs, and no parameter of it could hold the test set.

Every random number is a function of (seed, epoch, step), and every other moving part (weights, optimiser state, early
stopping, position) is in the checkpoint. So a run that is killed at any moment and resumed ends with the same bytes as one
that was left alone.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from recsys.config import Bound, settings, to_dict
from recsys.data.types import Dataset, Interactions
from recsys.errors import InputError, TrainingError, first_line
from recsys.evaluation.evaluator import Evaluation, evaluate
from recsys.evaluation.metrics import parse
from recsys.models import Network, Recipe, recipe_name
from recsys.nn.denoise import Denoise, Denoiser
from recsys.notebook import Shown, counted
from recsys.sampling import Batch, PairStream, UserBatch, stream, stream_seed
from recsys.scorer import Scorer
from recsys.tensors import load_scorer, read_tensors, save_scorer, write_tensors
from recsys.training.device import own_random_numbers, pick_device, seed_device
from recsys.training.held_out import held_out_loss
from recsys.training.malloc import keep_freed_memory
from recsys.training.optimizers import (
    Kind,
    Schedule,
    clip,
    lr_factor,
    make_optimizers,
    put_state,
    state_of,
)
from recsys.training.stopping import Reason, Stopping, curve_of, first_of_patience, stopping, waited

__all__ = ["Fitted", "Train", "fit", "monitored"]

Watch = Callable[[dict[str, Any]], None]

# An epoch whose mean loss is this many times that of the first has diverged, though every number is still finite.
_DIVERGED = 1e3


@settings
class Train:
    """How to train; a method without gradients uses nothing of it but `seed` and `device`."""

    epochs: Annotated[int, Bound(ge=1)] = 100
    """At most; early stopping may end sooner."""
    batch_size: Annotated[int, Bound(ge=1)] = 2048
    """Observed pairs per step, at most: the batches of an epoch are even. Users for methods that take a user with all its items,
    triplets with sampler.unit = "triplet"."""
    lr: Annotated[float, Bound(gt=0)] = 1e-3
    """Step size at its highest."""
    optimizer: Kind = "adam"
    rows: Literal["dense", "touched"] = "dense"
    """dense: every row of a table moves at every step, as the optimiser is defined. touched: only rows of the batch do (lazy
    Adam); several times faster with small batches, and not quite the same result."""
    weight_decay: Annotated[float, Bound(ge=0)] = 0.0
    """Decoupled decay, for adamw."""
    schedule: Schedule = "constant"
    """Of the step size after the warm-up: constant; down to 0 at the last epoch; or, exponential, times `lr_decay` after each epoch."""
    lr_decay: Annotated[float, Bound(gt=0, le=1)] = 0.99
    """exponential: what the step size of an epoch is of that of the epoch before; the first has `lr`."""
    warmup: Annotated[int, Bound(ge=0)] = 0
    """Steps over which the step size rises linearly from 0."""
    clip: Annotated[float, Bound(gt=0)] | None = None
    """Gradients are scaled back to this norm where theirs is larger."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """bfloat16: mixed precision; weights and optimiser stay in float32."""
    compile: bool = False
    """Compile the loss with torch.compile; needs a C++ compiler on the CPU."""
    eval_every: Annotated[int, Bound(ge=1)] = 1
    """Epochs between two evaluations on the validation pairs."""
    patience: Annotated[int, Bound(ge=1)] | None = 10
    """Evaluations without improvement before training stops; none: never."""
    min_epochs: Annotated[int, Bound(ge=0)] | Literal["auto"] = "auto"
    """Patience does not wait before this epoch has ended: a curve may fall before it rises. auto: a fifth of `epochs`."""
    select: Literal["metric", "loss"] = "metric"
    """What chooses the best epoch and stops training: evaluate.monitor, or the loss of the valid pairs, for losses by labels (bce)."""
    trim: Annotated[float, Bound(ge=0, lt=1)] = 0.2
    """select = "loss": share of the valid pairs that is left out, those of largest loss, for they may be noise."""
    denoise: Denoise = Denoise()
    """What is done about noise among the training pairs."""
    seed: Annotated[int, Bound(ge=0)] = 0
    device: str = "auto"
    """auto, cpu, cuda or cuda:N; auto takes the first GPU there is."""
    checkpoint_seconds: Annotated[float, Bound(ge=0)] = 60.0
    """A checkpoint is written after the step at which this much time has passed since the last one."""


@dataclass(frozen=True, eq=False, repr=False)
class Fitted(Shown):
    """What training leaves.

    Args:
        scorer: the best on validation, or the last where there was none.
        best_epoch: epochs of training it has had (0 for a closed-form method).
        history: one entry per epoch.
        stopping: why training ended, and whether that was too early.
    """

    scorer: Scorer
    best_epoch: int
    history: list[dict[str, Any]]
    stopping: Stopping

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
        chosen = next((e for e in self.history if e["epoch"] == self.best_epoch), {})
        for name, value in chosen.get("valid", {}).items():
            yield f"valid {name}", f"{value:.4f}"


@dataclass
class _State:
    """What moves from step to step besides the tensors; saved with them."""

    epoch: int = 0
    step: int = 0  # within the epoch, the next to be done
    best: float = -math.inf
    best_epoch: int = 0
    first_loss: float | None = None
    seconds: float = 0.0  # of the current epoch so far
    history: list[dict[str, Any]] = field(default_factory=list)


def fit(
    recipe: Recipe,
    train: Dataset,
    valid: Interactions | None = None,
    config: Train | None = None,
    evaluation: Evaluation | None = None,
    *,
    folder: Path | None = None,
    resume: bool = False,
    watch: Watch | None = None,
) -> Fitted:
    """Train a method and return its best scorer.

    Args:
        recipe: the method and its hyper-parameters.
        train: what it learns from.
        valid: what early stopping looks at and the best epoch is chosen by; None trains to the last epoch.
        config: how to train.
        evaluation: which metrics are computed on `valid`; its `monitor` decides.
        folder: where checkpoint and best scorer are kept; None keeps nothing.
        resume: go on from the checkpoint in `folder`, if there is one.
        watch: called with {"event": "step" | "epoch", ...} as training goes on; what it does cannot change the result.

    Raises:
        TrainingError: the loss is no finite number, with the step, or has grown a thousandfold.
        InputError: settings that do not go together, a checkpoint of other settings, a device that is not there.
    """
    config, evaluation = config or Train(), evaluation or Evaluation()
    if resume and folder is None:
        raise InputError("there is nothing to resume", remedy="give the folder of the checkpoint")
    device = pick_device(config.device)
    if device.type == "cpu":
        keep_freed_memory()
    with own_random_numbers(device):
        seed_device(device, stream_seed(config.seed, "start"))
        started = time.perf_counter()
        built = recipe.build(train)
        if not isinstance(built, Network):
            _refuse_by_pairs(config)
            return _closed_form(
                built, train, valid, evaluation, time.perf_counter() - started, watch
            )
        loop = _Loop(
            built.to(device), recipe, train, valid, config, evaluation, device, folder, watch
        )
        if resume and folder is not None:
            loop.restore(folder)
        return loop.run()


def _refuse_by_pairs(config: Train) -> None:
    """Refuse settings that look at losses of pairs, for a method that has none; otherwise they would be ignored."""
    cause = "judges pairs by their losses, and this method is not trained by gradients"
    if config.denoise.kind != "none":
        raise InputError(
            f"'{config.denoise.kind}' {cause}",
            place="[train] denoise",
            remedy="choose a method that draws negatives for pairs",
        )
    if config.select == "loss":
        raise InputError(
            f"select = 'loss' {cause}", place="[train] select", remedy='say select = "metric"'
        )


def _closed_form(
    scorer: Scorer,
    train: Dataset,
    valid: Interactions | None,
    evaluation: Evaluation,
    seconds: float,
    watch: Watch | None,
) -> Fitted:
    entry: dict[str, Any] = {"epoch": 0, "seconds": round(seconds, 3)}
    if valid is not None and len(valid):
        entry["valid"] = _validate(scorer, train, valid, evaluation)
        asked = parse(evaluation.monitor).name in {
            metric.name for metric in evaluation.wanted
        }  # nothing is selected by it, so it need not be
        if asked and math.isnan(monitored(entry["valid"], evaluation.monitor)):
            raise _undefined(evaluation.monitor)
    if watch is not None:
        watch({"event": "epoch", **entry})
    return Fitted(scorer, 0, [entry], stopping((), "closed form", 0, 0))


def _validate(
    scorer: Scorer, train: Dataset, valid: Interactions, evaluation: Evaluation
) -> dict[str, float]:
    report = evaluate(scorer, train.pairs, valid, evaluation)
    # A metric that is defined for no user is left out: NaN is no JSON, and the history is a file that others read.
    return {name: value for name in report.names if math.isfinite(value := report[name])}


def monitored(found: Mapping[str, float], name: str) -> float:
    """A metric of an entry's "valid"; NaN where it is defined for no user of it."""
    return found.get(parse(name).name, math.nan)


def _undefined(monitor: str) -> InputError:
    cause = f"{monitor} is defined for no user of the validation part"
    return InputError(
        cause,
        place="[evaluate] monitor",
        remedy="monitor another metric, or keep more for validation in [split]",
    )


class _Loop:
    def __init__(
        self,
        network: Network,
        recipe: Recipe,
        train: Dataset,
        valid: Interactions | None,
        config: Train,
        evaluation: Evaluation,
        device: torch.device,
        folder: Path | None,
        watch: Watch | None,
    ) -> None:
        if not len(train.pairs):
            raise InputError(
                "there is nothing to train on: 0 interactions",
                remedy="loosen the filters in [data] or the ratios in [split]",
            )
        self.network, self.train, self.config, self.evaluation = network, train, config, evaluation
        self.valid = valid if valid is not None and len(valid) else None
        if evaluation.monitor not in evaluation.metrics:
            self.evaluation = replace(evaluation, metrics=(*evaluation.metrics, evaluation.monitor))
        self.device, self.folder, self.watch = device, folder, watch
        self.stream = stream(
            train.pairs,
            network.sampler,
            batch_size=config.batch_size,
            seed=config.seed,
            device=device,
        )
        touched = config.rows == "touched"
        self.optimizers = make_optimizers(
            network, config.optimizer, config.lr, touched=touched, weight_decay=config.weight_decay
        )
        self.loss = torch.compile(network.loss) if config.compile else network.loss
        self.denoiser, self.held = self._denoiser(), self._held()
        # Looked at when an epoch has ended, to tell what the denoiser found; trains nothing.
        self.noise = (
            None
            if train.pairs.label is None
            else torch.tensor(train.pairs.label == 0, device=device)
        )
        self.identity = _identity(recipe, train, valid, config, evaluation)
        self.state = _State()
        self.sign = 1.0 if parse(evaluation.monitor).higher else -1.0
        self.best: Scorer | None = None
        self.best_saved = -1
        # Both stay on the device, so that no step of an epoch waits for it.
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        self.bad_step = torch.full((), -1, dtype=torch.int64, device=device)
        self.saved_at = time.monotonic()

    def _denoiser(self) -> Denoiser | None:
        config = self.config
        if config.denoise.kind == "none":
            return None
        if self.network.sampler is None:
            cause = f"'{config.denoise.kind}' judges pairs, and this method learns from whole users"
            raise InputError(
                cause,
                place="[train] denoise",
                remedy="choose a method that draws negatives for pairs",
            )
        if self.network.sampler.unit == "triplet":
            cause = f"'{config.denoise.kind}' judges a pair once an epoch, and sampler.unit = 'triplet' brings it several times"
            raise InputError(
                cause, place="[train] denoise", remedy='say sampler.unit = "pair", or kind = "none"'
            )
        item, steps = torch.tensor(self.train.pairs.item), len(self.stream)
        return Denoiser(
            config.denoise,
            len(item),
            steps=steps,
            epochs=config.epochs,
            device=self.device,
            item=item,
        )

    def _held(self) -> PairStream | None:
        """The valid pairs with negatives, the same in every epoch, where their loss selects."""
        config, sampler = self.config, self.network.sampler
        if config.select == "metric" or self.valid is None:
            return None
        if sampler is None:
            cause = "select = 'loss' looks at pairs, and this method learns from whole users"
            raise InputError(cause, place="[train] select", remedy='say select = "metric"')
        seed = stream_seed(config.seed, "held")
        return PairStream(
            self.valid,
            sampler,
            batch_size=config.batch_size,
            seed=seed,
            device=self.device,
            also_observed=self.train.pairs,
        )

    def run(self) -> Fitted:
        while self.state.epoch < self.config.epochs and not self._waited_enough():
            self._epoch()
        self.save()
        if self.denoiser is not None and self.folder is not None:
            write_tensors(
                self.folder / "denoiser.safetensors",
                self.denoiser.state,
                {"kind": self.config.denoise.kind, "epochs": self.state.epoch},
            )
        if self.best is not None:
            return Fitted(self.best, self.state.best_epoch, self.state.history, self._stopping())
        # Without validation the last is the best, and is no state: a longer fit that goes on from here has another last.
        last = self.network.scorer()
        if self.folder is not None:
            save_scorer(self.folder / "scorer.safetensors", last, epoch=self.state.epoch)
        return Fitted(last, self.state.epoch, self.state.history, self._stopping())

    def _curve(self) -> list[tuple[int, float]]:
        return curve_of(self.state.history, self.evaluation.monitor, self.config.select)

    def _waited_enough(self) -> bool:
        """Whether patience has run out: told by the history, so that a resumed run knows as much as one that was left alone."""
        config = self.config
        if config.patience is None:
            return False
        first = first_of_patience(config.epochs, config.min_epochs)
        return waited(self._curve(), first) >= config.patience

    def _stopping(self) -> Stopping:
        done, allowed = self.state.epoch, self.config.epochs
        reason: Reason = "epochs" if done >= allowed else "patience"
        return stopping(self._curve(), reason, done, allowed)

    def _epoch(self) -> None:
        state = self.state
        self.network.train()
        began = time.perf_counter() - state.seconds
        for batch in self.stream.epoch(state.epoch, state.step):
            self._step(batch)
            state.step = batch.step + 1
            if self.watch is not None:
                self.watch(
                    {
                        "event": "step",
                        "epoch": state.epoch,
                        "step": state.step,
                        "steps": len(self.stream),
                        "pairs": len(batch),
                    }
                )
            if (
                self.folder is not None
                and time.monotonic() - self.saved_at >= self.config.checkpoint_seconds
                and state.step < len(self.stream)
            ):
                state.seconds = time.perf_counter() - began
                self.save()
        entry = self._close_epoch(time.perf_counter() - began)
        if self.watch is not None:
            self.watch({"event": "epoch", **entry})
        if (
            self.folder is not None
            and time.monotonic() - self.saved_at >= self.config.checkpoint_seconds
        ):
            self.save()

    def _step(self, batch: Batch | UserBatch) -> None:
        seed_device(self.device, stream_seed(self.config.seed, "network", batch.epoch, batch.step))
        done = batch.epoch * len(self.stream) + batch.step
        if self.config.schedule != "constant" or done <= self.config.warmup:
            self._set_lr(done)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        with torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.config.precision == "bfloat16"
        ):
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
        self._note(loss.detach(), batch)

    def _note(self, loss: Tensor, batch: Batch | UserBatch) -> None:
        """Add up the loss and remember the first step at which it was no finite number."""
        if self.device.type == "cpu":
            if not math.isfinite(float(loss)):
                self._not_finite(batch.epoch, batch.step)
        else:
            fresh = (self.bad_step < 0) & ~torch.isfinite(loss)
            self.bad_step = torch.where(fresh, batch.step, self.bad_step)
        self.loss_sum += loss.double() * len(batch)

    def _close_epoch(self, seconds: float) -> dict[str, Any]:
        state, pairs = self.state, len(self.train.pairs)
        bad, mean = int(self.bad_step), float(self.loss_sum) / self.stream.size
        if bad >= 0 or not math.isfinite(mean):
            self._not_finite(state.epoch, bad)
        if not all(bool(torch.isfinite(param).all()) for param in self.network.parameters()):
            place = f"epoch {state.epoch + 1}, step {state.step}"
            raise TrainingError(
                "a weight is not a finite number",
                place=place,
                remedy="lower train.lr, or set train.clip",
            )
        state.first_loss = mean if state.first_loss is None else state.first_loss
        if mean > _DIVERGED * max(abs(state.first_loss), 1e-3):
            raise TrainingError(
                f"the loss has grown from {state.first_loss:.4g} to {mean:.4g}",
                place=f"epoch {state.epoch + 1}",
                remedy="lower train.lr, or set train.clip",
            )
        entry: dict[str, Any] = {
            "epoch": state.epoch + 1,
            "loss": mean,
            "seconds": round(seconds, 4),
            "pairs_per_second": round(pairs / max(seconds, 1e-9)),
        }
        if self.denoiser is not None:
            entry["denoise"] = self.denoiser.summary(self.noise)
        state.epoch, state.step, state.seconds = state.epoch + 1, 0, 0.0
        self.loss_sum.zero_()
        if self.valid is not None and (
            state.epoch % self.config.eval_every == 0 or state.epoch == self.config.epochs
        ):
            self._select(entry)
        state.history.append(entry)
        return entry

    def _select(self, entry: dict[str, Any]) -> None:
        """Evaluate on validation; keep the scorer if it is the best so far."""
        state, began = self.state, time.perf_counter()
        assert self.valid is not None
        self.network.eval()
        scorer = self.network.scorer()
        entry["valid"] = _validate(scorer, self.train, self.valid, self.evaluation)
        entry["valid_seconds"] = round(time.perf_counter() - began, 4)
        value = self.sign * monitored(entry["valid"], self.evaluation.monitor)
        if self.held is not None:
            seed_device(self.device, stream_seed(self.config.seed, "held"))
            entry["valid_loss"] = held_out_loss(self.network, self.held.epoch(0), self.config.trim)
            value = -entry["valid_loss"]
        if math.isnan(value):
            raise _undefined(self.evaluation.monitor)
        if value > state.best:
            state.best, state.best_epoch, self.best = value, state.epoch, scorer
        entry["best"] = state.best_epoch == state.epoch

    def _not_finite(self, epoch: int, step: int) -> None:
        raise TrainingError(
            "the loss is not a finite number",
            place=f"epoch {epoch + 1}, step {step + 1}",
            remedy="lower train.lr, or set train.clip",
        )

    def _set_lr(self, done: int) -> None:
        config, epochs = self.config, self.config.epochs
        factor = lr_factor(
            config.schedule,
            done,
            len(self.stream),
            epochs,
            warmup=config.warmup,
            decay=config.lr_decay,
        )
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = config.lr * factor

    def save(self) -> None:
        """Write the best scorer, then the checkpoint that refers to it; each is whole or not there."""
        if self.folder is None:
            return
        if self.best is not None and self.best_saved != self.state.best_epoch:
            save_scorer(self.folder / "scorer.safetensors", self.best, epoch=self.state.best_epoch)
            self.best_saved = self.state.best_epoch
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {
            f"optimizer.{name}": tensor for name, tensor in state_of(self.optimizers).items()
        }
        if self.denoiser is not None:
            tensors |= {f"denoise.{name}": tensor for name, tensor in self.denoiser.state.items()}
        tensors["loss_sum"] = self.loss_sum
        tensors["bad_step"] = self.bad_step
        write_tensors(
            self.folder / "checkpoint.safetensors",
            tensors,
            {"state": asdict(self.state), "identity": self.identity},
        )
        self.saved_at = time.monotonic()

    def restore(self, folder: Path) -> None:
        """Take up the checkpoint in the folder, if there is one.

        Raises:
            InputError: it is damaged, or was made with other settings or other data.
        """
        path = folder / "checkpoint.safetensors"
        if not path.exists():
            return
        tensors, meta = read_tensors(path)
        if meta.get("identity") != self.identity:
            remedy = "resume with the settings of the run, or start a new one"
            raise InputError(
                "was made with other settings, data or devices", place=str(path), remedy=remedy
            )
        try:
            self._take(tensors, meta["state"])
        except (KeyError, TypeError, ValueError, IndexError, RuntimeError) as error:
            said = first_line(error)
            raise InputError(
                f"is not a whole checkpoint: {said}",
                place=str(path),
                remedy="delete it to start again, or restore it",
            ) from None
        if self.state.best_epoch:
            # A scorer newer than the checkpoint is one that the steps to come will find again.
            scorer, about = load_scorer(folder / "scorer.safetensors")
            if about.get("epoch") == self.state.best_epoch:
                self.best, self.best_saved = scorer.to(self.device), self.state.best_epoch
        if self.watch is not None:
            self.watch(
                {
                    "event": "resumed",
                    "epoch": self.state.epoch,
                    "step": self.state.step,
                    "history": self.state.history,
                }
            )

    def _take(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """The moving parts of a checkpoint in place of our own."""
        self.state = _State(**state)
        self.network.load_state_dict(
            {
                name.removeprefix("network."): t
                for name, t in tensors.items()
                if name.startswith("network.")
            }
        )
        moments = {
            name.removeprefix("optimizer."): tensor
            for name, tensor in tensors.items()
            if name.startswith("optimizer.")
        }
        put_state(
            self.optimizers, moments, self.device, begun=bool(state["epoch"] or state["step"])
        )
        if self.denoiser is not None:
            self.denoiser.state = {
                name: tensors[f"denoise.{name}"].to(self.device) for name in self.denoiser.state
            }
        self.loss_sum, self.bad_step = (
            tensors["loss_sum"].to(self.device),
            tensors["bad_step"].to(self.device),
        )


def _identity(
    recipe: Recipe,
    train: Dataset,
    valid: Interactions | None,
    config: Train,
    evaluation: Evaluation,
) -> str:
    """What a checkpoint belongs to: everything that shapes the course of training, but not its length or its housekeeping."""
    shaping = replace(config, checkpoint_seconds=0.0)
    if (
        config.schedule in ("constant", "exponential") and config.denoise.kind != "dcf"
    ):  # else the course depends on its length
        shaping = replace(shaping, epochs=1, patience=None, min_epochs=0)
    parts = [
        recipe_name(recipe),
        to_dict(recipe),
        to_dict(shaping),
        train.fingerprint,
        {name: table.fingerprint for name, table in train.features.items()},
        valid.fingerprint if valid is not None else "-",
        to_dict(evaluation),
        "even batches",  # a checkpoint within an epoch that was cut otherwise would skip pairs, or meet some twice
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
