"""One trial: settings put into the experiment, a fit that sees train and valid alone, and what it cost.

The folder of a trial holds config.toml (the resolved experiment) and history.jsonl; while it runs also a checkpoint, from which it goes on.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recsys.data.types import Dataset, Interactions
from recsys.errors import InputError, TrainingError, first_line
from recsys.evaluation.evaluator import Evaluation
from recsys.evaluation.metrics import parse
from recsys.experiment.experiment import Experiment, from_tree
from recsys.experiment.search_space import Dimension, corners, put
from recsys.experiment.speed import seconds_per_user
from recsys.files import write_atomic, write_text
from recsys.scorer import Scorer
from recsys.training.device import pick_device
from recsys.training.loop import Fitted, fit, monitored
from recsys.training.stopping import Reason, curve_of, stopping

__all__ = [
    "MEASURED",
    "Outcome",
    "TrainValid",
    "TrialFailed",
    "directions",
    "idle",
    "judged",
    "objectives",
    "run_trial",
    "with_settings",
]

# Objectives that are no metrics; less of each is better.
MEASURED = ("latency", "seconds", "memory")


@dataclass(frozen=True, eq=False)
class TrainValid:
    """What a trial may see: nothing here holds the test set, or could open it.

    Args:
        train: what it learns from.
        valid: what selects.
        fingerprint: of the split they are of.
        rule: how it was made, in words.
        pairs_fingerprint: of the pairs of that split alone.
    """

    train: Dataset
    valid: Interactions
    fingerprint: str
    rule: str = ""
    pairs_fingerprint: str = ""

    def matches(self, kept: str) -> bool:
        """As `Split.matches`."""
        return kept in (self.fingerprint, self.pairs_fingerprint)


@dataclass(frozen=True)
class Outcome:
    """What a trial came to.

    Args:
        state: "complete", "pruned" or "failed".
        values: of the objectives; empty unless complete.
        reason: why it was ended or failed.
        excess: by limit, how far beyond it the trial was (at most 0 where it was not).
        seconds: of training and evaluation on valid.
        facts: best epoch, epochs, how training ended, and all that was measured.
    """

    state: str
    values: tuple[float, ...] = ()
    reason: str = ""
    excess: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    facts: Mapping[str, Any] = field(default_factory=dict)


class TrialFailed(Exception):
    """Ends a trial from within."""

    def __init__(self, state: str, reason: str, ended: Reason) -> None:
        super().__init__(reason)
        self.state, self.reason, self.ended = state, reason, ended


def objectives(experiment: Experiment) -> tuple[str, ...]:
    """What a study of the experiment makes better: what [tune] names, or the monitor."""
    named = experiment.tune.objectives if experiment.tune is not None else ()
    return named or (experiment.evaluate.monitor,)


def directions(experiment: Experiment) -> tuple[bool, ...]:
    """Whether more is better, of each objective.

    Raises:
        InputError: an objective that is none, or that has no better direction.
    """
    found = []
    for name in objectives(experiment):
        if name in MEASURED:
            found.append(False)
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
                f"more of '{name}' is neither better nor worse",
                place="[tune] objectives",
                remedy="name another metric",
            )
        found.append(higher)
    return tuple(found)


def judged(experiment: Experiment) -> Evaluation:
    """The experiment's evaluation, with every objective among its metrics."""
    evaluation = experiment.evaluate
    wanted = [
        name for name in (evaluation.monitor, *objectives(experiment)) if name not in MEASURED
    ]
    return replace(evaluation, metrics=tuple(dict.fromkeys([*evaluation.metrics, *wanted])))


def with_settings(
    experiment: Experiment, dimensions: Sequence[Dimension], settings: Mapping[str, Any]
) -> Experiment:
    """The experiment with other values at the searched fields, without its [tune].

    Raises:
        InputError: values that do not go together.
    """
    tree = experiment.to_tree()
    tree.pop("tune", None)
    for dimension in dimensions:
        put(tree, dimension, settings[dimension.path])
    return from_tree(tree)


def idle(experiment: Experiment) -> list[str]:
    """Paths of the searched fields that have no effect whatever the others are, as `Experiment.idle`; none where the corners are too many to tell."""
    dimensions = experiment.dimensions
    found, every = [dimension.path for dimension in dimensions], list(corners(dimensions))
    if len(every) < math.prod(len(dimension.ends()) for dimension in dimensions):
        return []
    for settings in every:
        made = with_settings(experiment, dimensions, settings)
        found = [path for path in found if _is_idle(made, path)]
        if not found:
            break
    return found


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
    watch: Callable[[dict[str, Any]], None],
) -> Outcome:
    """Train with the settings of one trial, or go on with it, and measure.

    Args:
        experiment: with the settings of the trial.
        whole: the experiment of the study, with its [tune].
        material: what it may see.
        folder: of the trial.
        prune: told of the monitor after each evaluation; whether to end the trial.
        watch: told of the progress, as by `fit`.

    Raises:
        InputError: all that is not the fault of the settings: a device that is not there, a disk that is full.
    """
    assert whole.tune is not None
    write_atomic(
        folder / "config.toml", lambda path: path.write_text(experiment.to_toml(), encoding="utf-8")
    )
    limits, evaluation = whole.tune.limits, judged(whole)
    device = pick_device(experiment.train.device)
    history: list[dict[str, Any]] = []

    def follow(event: dict[str, Any]) -> None:
        if event["event"] == "resumed":
            history[:] = event["history"]
        elif event["event"] == "epoch":
            history.append({key: value for key, value in event.items() if key != "event"})
            value = monitored(event.get("valid", {}), evaluation.monitor)
            worse = not math.isnan(value) and prune(int(event["epoch"]), value)
            if (
                worse and event["epoch"] < experiment.train.epochs
            ):  # one that is at its end is not ended
                raise TrialFailed(
                    "pruned", f"worse than earlier trials after epoch {event['epoch']}", "pruned"
                )
            if limits.seconds is not None and _seconds(history) > limits.seconds:
                raise TrialFailed("pruned", f"took longer than {limits.seconds:g} s", "time")
        watch(event)

    _reset_peak(device)
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
        outcome = Outcome(
            error.state, reason=error.reason, excess=over, facts={"stopping": end.plain()}
        )
    except TrainingError as error:
        outcome = Outcome("failed", reason=str(error))
    except (torch.linalg.LinAlgError, np.linalg.LinAlgError) as error:  # type: ignore[attr-defined]
        outcome = Outcome("failed", reason=first_line(error))
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        if device.type == "cuda":
            torch.cuda.empty_cache()
        outcome = Outcome("failed", reason="out of memory")
    lines = "".join(json.dumps(entry, sort_keys=True) + "\n" for entry in history)
    write_text(folder / "history.jsonl", lines)
    return replace(
        outcome, seconds=_seconds(history), facts={**outcome.facts, "epochs": len(history)}
    )


def _measured(
    whole: Experiment, fitted: Fitted, material: TrainValid, device: torch.device
) -> Outcome:
    assert whole.tune is not None
    names, limits = objectives(whole), whole.tune.limits
    entry = next(entry for entry in fitted.history if entry["epoch"] == fitted.best_epoch)
    facts: dict[str, Any] = {
        "best_epoch": fitted.best_epoch,
        "stopping": fitted.stopping.plain(),
        "valid": entry["valid"],
    }
    measured = {"seconds": _seconds(fitted.history), "memory": _peak_mb(device)}
    if "latency" in names or limits.latency_ms is not None:
        measured["latency"] = _latency_ms(fitted.scorer, material)
    facts |= {name: round(value, 6) for name, value in measured.items()}
    values = tuple(
        float(measured[name] if name in MEASURED else monitored(entry["valid"], name))
        for name in names
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


def _seconds(history: Sequence[Mapping[str, Any]]) -> float:
    return round(
        sum(float(entry["seconds"]) + float(entry.get("valid_seconds", 0.0)) for entry in history),
        4,
    )


def _latency_ms(scorer: Scorer, material: TrainValid) -> float:
    """Milliseconds per user to rank all items for the validation users: the median of a few passes over at most a thousand."""
    seen = material.train.pairs.csr
    return 1000 * seconds_per_user(scorer, material.valid.user, seen=seen)


def _reset_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(
        OSError
    ):  # not Linux, or not allowed: the peak is that of the process so far
        Path("/proc/self/clear_refs").write_text(
            "5", encoding="ascii"
        )  # the peak is counted from now on


def _peak_mb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    try:
        line = Path("/proc/self/status").read_text(encoding="ascii").split("VmHWM:")[1]
        return int(line.split()[0]) * 1024 / 1e6
    except (OSError, IndexError, ValueError):
        import resource  # not on Windows

        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return used / 1e6 if sys.platform == "darwin" else used * 1024 / 1e6


def _out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed; torch says so in words."""
    words = (
        "not enough memory",
        "can't allocate memory",
        "out of memory",
        "Storage size calculation overflowed",
    )
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)
