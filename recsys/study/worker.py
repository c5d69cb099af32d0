"""One worker of a study: it takes a trial, runs it, writes down what came of it, and takes the next.

A trial that is taken holds a lock of the kernel. Whoever finds a running trial of this folder whose lock is free knows that its worker is gone, and
takes the trial up under the same number, with the same settings, from its checkpoint.
"""

from __future__ import annotations

import contextlib
import math
import time
import warnings
from collections.abc import Callable
from typing import Any

import optuna
from optuna.storages._heartbeat import get_heartbeat_thread, is_heartbeat_enabled
from optuna.trial import FrozenTrial, TrialState, create_trial

from recsys.files import LOCK, Lock, hold_lock
from recsys.study.artifact import Study, Trial, look_again, trial_folder, write_results
from recsys.study.sampler import distribution, from_params, grid, propose, pruner, to_params
from recsys.study.storage import quiet
from recsys.study.trial import Outcome, TrainValid, directions, run_trial, with_settings
from recsys.training.progress import EpochDone, Resumed, StepDone

__all__ = ["Worker"]

_LEFT = ("checkpoint.safetensors", "scorer.safetensors")  # of a trial that is done
_RARELY = 20  # times as long as the table took to write is what lies between two writings at least
_KINDS = {StepDone: "step", EpochDone: "epoch", Resumed: "resumed"}
_TOLD = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


class Worker:
    """Works on a study until its budget is used.

    Args:
        study: the folder, begun.
        material: train and valid.
        deadline: no trial begins after this moment (`time.time`), or None.
        watch: told of the progress: {"event": "begun" | "step" | "epoch" | "trial", ...}.
    """

    def __init__(
        self,
        study: Study,
        material: TrainValid,
        *,
        deadline: float | None = None,
        watch: Callable[[dict[str, Any]], None],
    ) -> None:
        self.study, self.material, self.deadline, self.watch = study, material, deadline, watch
        experiment = study.experiment
        assert experiment.tune is not None
        self.experiment, self.tune, self.dimensions = (
            experiment,
            experiment.tune,
            experiment.dimensions,
        )
        self.storage, self.id = study.storage, study.optuna._study_id
        self.queue: list[dict[str, Any]] = self.storage.get_study_user_attrs(self.id)["queue"]
        self.maximize = directions(experiment)
        self.pruner = pruner(self.tune, experiment.train.epochs, experiment.train.eval_every)
        self.queued = [entry["settings"] for entry in self.queue]
        self.points = (
            len(grid(self.tune, self.dimensions, self.queued))
            if self.tune.sampler == "grid"
            else None
        )
        self.wrote, self.cost = -math.inf, 0.0
        self.began, self.spent = (
            time.monotonic(),
            float(study.meta.get("used", {}).get("seconds", 0.0)),
        )

    def run(self) -> None:
        """Take trials until there is none to take.

        Raises:
            InputError: what is not the fault of a trial's settings; the trial stays as it is and is taken up when the study is resumed.
        """
        for trial in self._trials():
            if (
                trial.state.is_finished() and "facts" in trial.user_attrs
            ):  # a kill may have come before this
                self._clear(trial.number)
        while (taken := self._take()) is not None:
            trial_id, number, lock = taken
            try:
                self._one(trial_id, number)
            finally:
                lock.free()

    def _take(self) -> tuple[int, int, Lock] | None:
        """A trial that has lost its worker, or a new one where the budget allows it."""
        with hold_lock(self.study.folder / ".take.lock"):
            if is_heartbeat_enabled(self.storage):
                with quiet():
                    optuna.storages.fail_stale_trials(self.study.optuna)
            trials = self._trials()
            for trial in trials:
                if (
                    trial.state == TrialState.RUNNING
                    and trial.user_attrs.get("place") == self.study.meta["id"]
                ):
                    lock = self._lock(trial.number)
                    if lock.take(wait=False):
                        return trial._trial_id, trial.number, lock
            for trial in trials:
                if (
                    trial.state == TrialState.WAITING
                    and self._may_begin(trials, again=True)
                    and self._claim(trial)
                ):
                    lock = self._lock(trial.number)
                    lock.take(wait=True)
                    self._inherit(trial)
                    return trial._trial_id, trial.number, lock
            if not self._may_begin(trials):
                return None
            begun = create_trial(
                state=TrialState.RUNNING, user_attrs={"place": self.study.meta["id"]}
            )
            trial_id = self.storage.create_new_trial(self.id, template_trial=begun)
            number = self.storage.get_trial_number_from_id(trial_id)
            lock = self._lock(number)
            lock.take(wait=True)
            return trial_id, number, lock

    def _trials(self) -> list[FrozenTrial]:
        return self.storage.get_all_trials(self.id, deepcopy=False)

    def _lock(self, number: int) -> Lock:
        return Lock(trial_folder(self.study.folder, number) / LOCK)

    def _may_begin(self, trials: list[FrozenTrial], *, again: bool = False) -> bool:
        """Whether the budget has room for one more trial, or for one that is begun again."""
        own = [trial for trial in trials if _counts(trial)]
        if not again and len(own) >= self.tune.trials:
            return False
        if not again and self.points is not None and len(own) >= len(self.queue) + self.points:
            return False
        used = sum(float(trial.user_attrs.get("seconds", 0.0)) for trial in own)
        if self.tune.device_seconds is not None and used >= self.tune.device_seconds:
            return False
        return self.deadline is None or time.time() < self.deadline

    def _claim(self, trial: FrozenTrial) -> bool:
        """Make a waiting trial ours; another machine may be faster."""
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            if self.storage.set_trial_state_values(trial._trial_id, TrialState.RUNNING):
                self.storage.set_trial_user_attr(trial._trial_id, "place", self.study.meta["id"])
                return True
        return False

    def _inherit(self, trial: FrozenTrial) -> None:
        """The checkpoint of the trial that this one takes the place of, where it is in this folder."""
        for number in reversed(trial.system_attrs.get("retry_history", [])):
            before = trial_folder(self.study.folder, number)
            if (before / _LEFT[0]).exists():
                for name in reversed(_LEFT):  # the checkpoint last: it refers to the scorer
                    if (before / name).exists():
                        (before / name).replace(
                            trial_folder(self.study.folder, trial.number) / name
                        )
                return

    def _one(self, trial_id: int, number: int) -> None:
        settings = self._settings(trial_id, number)
        folder = trial_folder(self.study.folder, number)
        self.watch({"event": "begun", "number": number, "settings": settings})
        for left in folder.glob(".*.tmp"):  # of a process that was killed while it wrote
            left.unlink()
        experiment = with_settings(self.experiment, self.dimensions, settings)
        with get_heartbeat_thread(trial_id, self.storage):
            outcome = run_trial(
                experiment,
                self.experiment,
                self.material,
                folder,
                prune=lambda step, value: self._prune(trial_id, step, value),
                watch=lambda event: self.watch({"event": _KINDS[type(event)], "training": event}),
            )
        self._tell(trial_id, outcome)
        self._clear(number)
        self._write()
        done = next(trial for trial in self.study.trials if trial.number == number)
        self.watch({"event": "trial", **line(self.study, done)})

    def _write(self) -> None:
        """Write what follows from the trials, unless that was done a moment ago: the more trials, the longer it takes, and `tune` ends with it."""
        began = time.monotonic()
        used = {"seconds": self.elapsed()}
        if began - self.wrote < _RARELY * self.cost:
            self.study = look_again(self.study, used=used)
            return
        with hold_lock(self.study.folder / ".take.lock"):
            self.study = write_results(self.study, used=used)
        self.wrote = time.monotonic()
        self.cost = self.wrote - began

    def _clear(self, number: int) -> None:
        """Remove what a trial that is done needs no more."""
        for name in _LEFT:
            (trial_folder(self.study.folder, number) / name).unlink(missing_ok=True)

    def elapsed(self) -> float:
        """Wall seconds of the study, earlier sessions included."""
        return round(self.spent + time.monotonic() - self.began, 3)

    def _settings(self, trial_id: int, number: int) -> dict[str, Any]:
        """What the trial tries: proposed when it is new, as it stands when it was begun before."""
        trials = self._trials()
        trial = next(trial for trial in trials if trial.number == number)
        if "settings" in trial.user_attrs:
            return dict(trial.user_attrs["settings"])
        earlier = [other for other in trials if other.number != number]
        position = sum(1 for other in earlier if other.number < number and _began_here(other))
        if position < len(self.queue):
            origin, settings = (
                self.queue[position]["origin"],
                dict(self.queue[position]["settings"]),
            )
        else:
            skip = number - position + len(self.queue)
            settings = propose(
                self.tune,
                self.dimensions,
                earlier,
                number,
                self.maximize,
                skip=skip,
                queued=self.queued,
            )
            origin = self.tune.sampler
        params = to_params(self.dimensions, settings)
        kept = {path: value for path, value in trial.params.items() if path in params}
        if kept != {
            path: params[path] for path in kept
        }:  # only with several workers: the trials before it have changed since
            params |= kept
            settings |= from_params(
                [dimension for dimension in self.dimensions if dimension.path in kept], kept
            )
        for dimension in self.dimensions:
            if dimension.path in params and dimension.path not in trial.params:
                kind = distribution(dimension)
                self.storage.set_trial_param(
                    trial_id, dimension.path, kind.to_internal_repr(params[dimension.path]), kind
                )
        self.storage.set_trial_user_attr(trial_id, "origin", origin)
        self.storage.set_trial_user_attr(trial_id, "settings", settings)
        return settings

    def _prune(self, trial_id: int, step: int, value: float) -> bool:
        """Report a point of the curve; whether the trial is to end here."""
        if len(self.maximize) == 1:
            if step not in self.storage.get_trial(trial_id).intermediate_values:
                self.storage.set_trial_intermediate_value(trial_id, step, value)
            if self.tune.pruner != "none":
                with quiet(), warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # curves of unequal length
                    return bool(
                        self.pruner.prune(self.study.optuna, self.storage.get_trial(trial_id))
                    )
        return False

    def _tell(self, trial_id: int, outcome: Outcome) -> None:
        """Write down what came of a trial; its state last."""
        for name, value in outcome.excess.items():
            self.storage.set_trial_system_attr(trial_id, f"constraints:{name}", value)
        attrs: dict[str, Any] = {"seconds": outcome.seconds, "facts": dict(outcome.facts)}
        if outcome.state != "complete":
            attrs["reason"] = outcome.reason
        try:
            for key, value in attrs.items():
                self.storage.set_trial_user_attr(trial_id, key, value)
            self.storage.set_trial_state_values(
                trial_id, _TOLD[outcome.state], outcome.values or None
            )
        except optuna.exceptions.UpdateFinishedTrialError:
            pass  # it was taken for dead and begun again elsewhere


def line(study: Study, trial: Trial) -> dict[str, Any]:
    """A finished trial in plain values, with the best so far."""
    best = study.best
    return {
        "number": trial.number,
        "state": trial.state,
        "values": dict(zip(study.objectives, trial.values, strict=False)),
        "within": trial.within,
        "settings": dict(trial.settings),
        "origin": trial.origin,
        "seconds": trial.seconds,
        "reason": trial.reason,
        "best": None
        if best is None
        else {
            "number": best.number,
            "values": dict(zip(study.objectives, best.values, strict=True)),
        },
        "used": study.used(),
    }


def _counts(trial: FrozenTrial) -> bool:
    """Whether a trial counts in the budget: imported ones do not, nor those that another took the place of."""
    if trial.user_attrs.get("origin") == "imported" or trial.state == TrialState.WAITING:
        return False
    return not (trial.state == TrialState.FAIL and "reason" not in trial.user_attrs)


def _began_here(trial: FrozenTrial) -> bool:
    """Whether a trial took a place of its own in the queue."""
    return (
        trial.user_attrs.get("origin") != "imported" and "retry_history" not in trial.system_attrs
    )
