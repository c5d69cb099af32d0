"""One trial: an experiment with the settings of the trial, its training, and its costs.

Training sees the training and validation data alone. The folder of a trial holds config.toml (the
resolved experiment) and history.jsonl. While it runs, it also holds a checkpoint, from which it can
be resumed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recsys.errors import InputError, TrainingError, first_line, is_out_of_memory
from recsys.evaluation.evaluator import Evaluation
from recsys.evaluation.metrics import parse
from recsys.experiment.experiment import Experiment, from_tree
from recsys.experiment.search_space import Dimension, corners, put
from recsys.files import write_text
from recsys.study.attributes import Facts
from recsys.study.measurement import latency_ms, peak_mb, reset_peak
from recsys.study.train_valid import TrainValid
from recsys.training.device import pick_device
from recsys.training.loop import Fitted, fit
from recsys.training.progress import (
    EpochDone,
    EpochEntry,
    Event,
    Resumed,
    Watch,
    write_history,
)
from recsys.training.stopping import Reason, curve_of, stopping

__all__ = [
    "MEASURED",
    "Outcome",
    "TrainValid",
    "TrialFailed",
    "directions",
    "evaluation_with_objectives",
    "idle",
    "objectives",
    "run_trial",
    "with_settings",
]

# Objectives that are measured costs instead of metrics; lower is better for each.
MEASURED = ("latency", "seconds", "memory")


@dataclass(frozen=True)
class Outcome:
    """The result of a trial.

    Args:
        state: "complete", "pruned" or "failed".
        values: one value per objective; empty unless complete.
        reason: why the trial was stopped or failed.
        excess: by limit, how far the trial exceeded it (at most 0 if it did not).
        seconds: duration of training and evaluation on the validation interactions.
        facts: best epoch, epochs, the end of training, and all measurements.
    """

    state: str
    values: tuple[float, ...] = ()
    reason: str = ""
    excess: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    facts: Facts = field(default_factory=Facts)


class TrialFailed(Exception):
    """Raised within a trial to stop it."""

    def __init__(self, state: str, reason: str, ended: Reason) -> None:
        super().__init__(reason)
        self.state = state
        self.reason = reason
        self.ended = ended


def objectives(experiment: Experiment) -> tuple[str, ...]:
    """Return the objectives of a study: those that [tune] names, or else the monitor."""
    named = experiment.tune.objectives if experiment.tune is not None else ()
    return named or (experiment.evaluate.monitor,)


def directions(experiment: Experiment) -> tuple[bool, ...]:
    """Return for each objective whether higher is better.

    Raises:
        InputError: the name of an objective is unknown, or the metric has no better direction.
    """
    higher_is_better = []
    for name in objectives(experiment):
        if name in MEASURED:
            higher_is_better.append(False)
            continue
        try:
            higher = parse(name).higher
        except InputError as error:
            raise InputError(
                error.cause,
                place="[tune] objectives",
                remedy=f"name a metric, or one of {', '.join(MEASURED)}",
            ) from None
        if higher is None:
            raise InputError(
                f"'{name}' has no direction: neither higher nor lower is better",
                place="[tune] objectives",
                remedy="name another metric",
            )
        higher_is_better.append(higher)
    return tuple(higher_is_better)


def evaluation_with_objectives(experiment: Experiment) -> Evaluation:
    """Return the evaluation of an experiment, with its objectives among the metrics."""
    evaluation = experiment.evaluate
    needed = [
        name for name in (evaluation.monitor, *objectives(experiment)) if name not in MEASURED
    ]
    return replace(evaluation, metrics=tuple(dict.fromkeys([*evaluation.metrics, *needed])))


def with_settings(
    experiment: Experiment, dimensions: Sequence[Dimension], settings: Mapping[str, Any]
) -> Experiment:
    """Return the experiment with other values for the searched fields, and without its [tune].

    Args:
        experiment: the experiment of the study.
        dimensions: the searched fields.
        settings: value of each searched field, by path.

    Raises:
        InputError: the values contradict each other.
    """
    tree = experiment.to_tree()
    tree.pop("tune", None)
    for dimension in dimensions:
        put(tree, dimension, settings[dimension.path])
    return from_tree(tree)


def idle(experiment: Experiment) -> list[str]:
    """Return the paths of searched fields that never have an effect, as `Experiment.idle`.

    The list is empty if the space has too many corners to check them all.
    """
    dimensions = experiment.dimensions
    paths, every = [dimension.path for dimension in dimensions], list(corners(dimensions))
    if len(every) < math.prod(len(dimension.ends()) for dimension in dimensions):
        return []
    for settings in every:
        corner = with_settings(experiment, dimensions, settings)
        paths = [path for path in paths if _is_idle(corner, path)]
        if not paths:
            break
    return paths


def _is_idle(experiment: Experiment, path: str) -> bool:
    *parents, leaf = path.split(".")
    table: Any = experiment
    for parent in parents:
        table = getattr(table, parent, None)
    return leaf in getattr(table, "idle", set)()


def run_trial(
    experiment: Experiment,
    whole: Experiment,
    material: TrainValid,
    folder: Path,
    *,
    prune: Callable[[int, float], bool],
    watch: Watch,
) -> Outcome:
    """Train with the settings of one trial, or resume it, and measure.

    Args:
        experiment: the experiment with the settings of the trial.
        whole: the experiment of the study, with its [tune].
        material: the data that the trial may see.
        folder: the folder of the trial.
        prune: called with epoch and monitored metric after each evaluation; returns whether to
            stop the trial.
        watch: called with each event of training, as by `fit`.

    Raises:
        InputError: an error that the settings did not cause, such as a missing device or a full
            disk.
    """
    assert whole.tune is not None
    write_text(folder / "config.toml", experiment.to_toml())
    limits, evaluation = whole.tune.limits, evaluation_with_objectives(whole)
    device = pick_device(experiment.train.device)
    history: list[EpochEntry] = []

    def follow(event: Event) -> None:
        if isinstance(event, Resumed):
            history[:] = event.history
        elif isinstance(event, EpochDone):
            epoch, value = event.entry.epoch, event.entry.metric(evaluation.monitor)
            history.append(event.entry)
            is_worse = not math.isnan(value) and prune(epoch, value)
            if is_worse and epoch < experiment.train.epochs:  # after its last epoch it is complete
                raise TrialFailed(
                    "pruned", f"worse than earlier trials after epoch {epoch}", "pruned"
                )
            if limits.seconds is not None and _seconds(history) > limits.seconds:
                raise TrialFailed("pruned", f"took longer than {limits.seconds:g} s", "time")
        watch(event)

    reset_peak(device)
    try:
        fitted = fit(
            experiment.model,
            material.train,
            material.valid,
            experiment.train,
            evaluation,
            folder=folder,
            resume=True,
            watch=follow,
        )
        history[:] = fitted.history
        outcome = _measured(whole, fitted, material, device)
    except TrialFailed as error:
        over = {"seconds": _seconds(history) - limits.seconds} if limits.seconds is not None else {}
        curve = curve_of(history, evaluation.monitor, experiment.train.select)
        end = stopping(curve, error.ended, len(history), experiment.train.epochs)
        outcome = Outcome(error.state, reason=error.reason, excess=over, facts=Facts(stopping=end))
    except TrainingError as error:
        outcome = Outcome("failed", reason=str(error))
    except (torch.linalg.LinAlgError, np.linalg.LinAlgError) as error:  # type: ignore[attr-defined]
        outcome = Outcome("failed", reason=first_line(error))
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        if device.type == "cuda":
            torch.cuda.empty_cache()
        outcome = Outcome("failed", reason="out of memory")
    write_history(folder / "history.jsonl", history)
    return replace(
        outcome, seconds=_seconds(history), facts=replace(outcome.facts, epochs=len(history))
    )


def _measured(
    whole: Experiment, fitted: Fitted, material: TrainValid, device: torch.device
) -> Outcome:
    assert whole.tune is not None
    names, limits = objectives(whole), whole.tune.limits
    entry = next(entry for entry in fitted.history if entry.epoch == fitted.best_epoch)
    seconds, memory = _seconds(fitted.history), peak_mb(device)
    measured = {"seconds": seconds, "memory": memory}
    latency = None
    if "latency" in names or limits.latency_ms is not None:
        latency = latency_ms(fitted.scorer, material)
        measured["latency"] = latency
    facts = Facts(
        best_epoch=fitted.best_epoch,
        stopping=fitted.stopping,
        valid=entry.valid or {},
        seconds=round(seconds, 6),
        memory=round(memory, 6),
        latency=None if latency is None else round(latency, 6),
    )
    values = tuple(
        float(measured[name] if name in MEASURED else entry.metric(name)) for name in names
    )
    broken = [name for name, value in zip(names, values, strict=True) if not np.isfinite(value)]
    if broken:
        return Outcome(
            "failed",
            reason=f"{broken[0]} is defined for no user of the validation part",
            facts=facts,
        )
    allowed = {"seconds": limits.seconds, "memory": limits.memory_mb, "latency": limits.latency_ms}
    excess = {name: measured[name] - limit for name, limit in allowed.items() if limit is not None}
    return Outcome("complete", values, excess=excess, facts=facts)


def _seconds(history: Sequence[EpochEntry]) -> float:
    return round(sum(entry.seconds + (entry.valid_seconds or 0.0) for entry in history), 4)
