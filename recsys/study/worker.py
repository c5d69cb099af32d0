"""One worker of a study: it takes a trial, runs it, records the result, and takes the next.

A worker holds a lock of the kernel for the trial that it runs. If a trial of this folder is running
but its lock is free, its worker is gone. The next worker then resumes the trial under the same
number, with the same settings, from its checkpoint.
"""

from __future__ import annotations

import contextlib
import math
import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from recsys.files import LOCK, Lock, hold_lock
from recsys.study.artifact import Study, trial_folder
from recsys.study.attributes import TrialAttributes, read_queue, retried_trials
from recsys.study.meta import BestTrial
from recsys.study.optuna_private import (
    get_heartbeat_thread,
    is_heartbeat_enabled,
    study_id,
    trial_id,
)
from recsys.study.progress import TrialBegun, TrialDone, Watch
from recsys.study.results import write_results
from recsys.study.sampler import distribution, from_params, grid, propose, pruner, to_params
from recsys.study.storage import quiet
from recsys.study.train_valid import TrainValid
from recsys.study.trial import Outcome, directions, run_trial, with_settings

__all__ = ["TAKE_LOCK", "Worker"]

TAKE_LOCK = ".take.lock"  # held while a trial is taken, or results are written

# Files of a trial that it no longer needs when it has ended.
_CHECKPOINT = "checkpoint.safetensors"
_TEMPORARY = (_CHECKPOINT, "scorer.safetensors")
# The results are not written again before this many times the duration of the last writing.
_RARELY = 20
_STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}


class Worker:
    """A worker that runs trials until the budget of its study is used.

    Args:
        study: the study, which must have begun.
        material: training and validation data.
        deadline: no trial begins after this time (as `time.time`); None: no limit.
        watch: called with each event: `TrialBegun`, `TrialDone`, and those of training.
    """

    def __init__(
        self,
        study: Study,
        material: TrainValid,
        *,
        deadline: float | None = None,
        watch: Watch,
    ) -> None:
        experiment = study.experiment
        assert experiment.tune is not None
        self.study = study
        self.material = material
        self.deadline = deadline
        self.watch = watch
        self.experiment = experiment
        self.tune = experiment.tune
        self.dimensions = experiment.dimensions
        self.storage = study.storage
        self.id = study_id(study.optuna)
        self.queue = read_queue(self.storage, self.id)
        self.maximize = directions(experiment)
        self.pruner = pruner(self.tune, experiment.train.epochs, experiment.train.eval_every)
        self.queued: Sequence[Mapping[str, Any]] = [entry.settings for entry in self.queue]
        self.points: int | None = None
        if self.tune.sampler == "grid":
            self.points = len(grid(self.tune, self.dimensions, self.queued))
        self.written_at = -math.inf
        self.writing_seconds = 0.0
        self.began = time.monotonic()
        self.spent = study.meta.used.seconds if study.meta.used else 0.0

    def run(self) -> None:
        """Run trials until no more can be taken.

        Raises:
            InputError: an error that the settings of a trial did not cause. The trial is left as
                it is, and is taken up when the study is resumed.
        """
        for trial in self._trials():
            # A kill may have come between the end of a trial and the removal of its files.
            if trial.state.is_finished() and TrialAttributes.of(trial).facts is not None:
                self._clear(trial.number)
        while (taken := self._take()) is not None:
            number, lock = taken
            try:
                self._run_one(number)
            finally:
                lock.free()

    def _take(self) -> tuple[int, Lock] | None:
        """Take a trial that has lost its worker, or a new one if the budget allows it."""
        with hold_lock(self.study.folder / TAKE_LOCK):
            if is_heartbeat_enabled(self.storage):
                with quiet():
                    optuna.storages.fail_stale_trials(self.study.optuna)
            trials = self._trials()
            return self._take_lost(trials) or self._take_waiting(trials) or self._take_new(trials)

    def _take_lost(self, trials: Sequence[FrozenTrial]) -> tuple[int, Lock] | None:
        """Take a running trial of this folder whose worker is gone."""
        for trial in trials:
            if trial.state != TrialState.RUNNING:
                continue
            if TrialAttributes.of(trial).place != self.study.meta.id:
                continue
            lock = self._lock(trial.number)
            if lock.take(wait=False):
                return trial.number, lock
        return None

    def _take_waiting(self, trials: Sequence[FrozenTrial]) -> tuple[int, Lock] | None:
        """Take a trial that Optuna has queued again, because its machine was lost."""
        for trial in trials:
            if (
                trial.state == TrialState.WAITING
                and self._may_begin(trials, is_restart=True)
                and self._claim(trial)
            ):
                lock = self._lock(trial.number)
                lock.take(wait=True)
                self._inherit(trial)
                return trial.number, lock
        return None

    def _take_new(self, trials: Sequence[FrozenTrial]) -> tuple[int, Lock] | None:
        """Create a trial, if the budget allows it."""
        if not self._may_begin(trials):
            return None
        begun = create_trial(
            state=TrialState.RUNNING,
            user_attrs=TrialAttributes(place=self.study.meta.id).to_json(),
        )
        new = self.storage.create_new_trial(self.id, template_trial=begun)
        number = self.storage.get_trial_number_from_id(new)
        lock = self._lock(number)
        lock.take(wait=True)
        return number, lock

    def _trials(self) -> list[FrozenTrial]:
        return self.storage.get_all_trials(self.id, deepcopy=False)

    def _lock(self, number: int) -> Lock:
        return Lock(trial_folder(self.study.folder, number) / LOCK)

    def _may_begin(self, trials: Sequence[FrozenTrial], *, is_restart: bool = False) -> bool:
        """Return whether the budget allows one more trial, or the restart of a lost one."""
        own = [trial for trial in trials if _counts(trial)]
        if not is_restart:
            if len(own) >= self.tune.trials:
                return False
            if self.points is not None and len(own) >= len(self.queue) + self.points:
                return False
        used = sum(float(TrialAttributes.of(trial).seconds or 0.0) for trial in own)
        if self.tune.device_seconds is not None and used >= self.tune.device_seconds:
            return False
        return self.deadline is None or time.time() < self.deadline

    def _claim(self, trial: FrozenTrial) -> bool:
        """Start a waiting trial here, and return whether no other machine was faster."""
        storage_id = trial_id(trial)
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            if self.storage.set_trial_state_values(storage_id, TrialState.RUNNING):
                TrialAttributes(place=self.study.meta.id).write(self.storage, storage_id)
                return True
        return False

    def _inherit(self, trial: FrozenTrial) -> None:
        """Move the checkpoint of the trial that this one restarts, if it is in this folder."""
        for number in reversed(retried_trials(trial)):
            before = trial_folder(self.study.folder, number)
            if (before / _CHECKPOINT).exists():
                for name in reversed(_TEMPORARY):  # the checkpoint last: it refers to the scorer
                    if (before / name).exists():
                        (before / name).replace(
                            trial_folder(self.study.folder, trial.number) / name
                        )
                return

    def _run_one(self, number: int) -> None:
        trial = next(trial for trial in self._trials() if trial.number == number)
        storage_id = trial_id(trial)
        settings = self._settings(trial)
        folder = trial_folder(self.study.folder, number)
        self.watch(TrialBegun(number, settings))
        for temporary in folder.glob(".*.tmp"):  # of a process that was killed while it wrote
            temporary.unlink()
        experiment = with_settings(self.experiment, self.dimensions, settings)
        with get_heartbeat_thread(storage_id, self.storage):
            outcome = run_trial(
                experiment,
                self.experiment,
                self.material,
                folder,
                prune=lambda step, value: self._prune(storage_id, step, value),
                watch=self.watch,
            )
        self._record(storage_id, outcome)
        self._clear(number)
        self._write_results()
        self.watch(_done(self.study, number))

    def _write_results(self) -> None:
        """Write the results, unless that was done a moment ago.

        Writing takes longer with each trial. `tune` writes the results at the end in any case.
        """
        began = time.monotonic()
        if began - self.written_at < _RARELY * self.writing_seconds:
            self.study = self.study.refreshed(seconds=self.elapsed())
            return
        with hold_lock(self.study.folder / TAKE_LOCK):
            self.study = write_results(self.study, seconds=self.elapsed())
        self.written_at = time.monotonic()
        self.writing_seconds = self.written_at - began

    def _clear(self, number: int) -> None:
        """Remove the files that a finished trial no longer needs."""
        for name in _TEMPORARY:
            (trial_folder(self.study.folder, number) / name).unlink(missing_ok=True)

    def elapsed(self) -> float:
        """Return the wall seconds of the study, earlier sessions included."""
        return round(self.spent + time.monotonic() - self.began, 3)

    def _settings(self, trial: FrozenTrial) -> dict[str, Any]:
        """Return the settings of a trial: as recorded if it has begun before, else proposed."""
        recorded = TrialAttributes.of(trial).settings
        if recorded is not None:
            return dict(recorded)
        origin, settings = self._proposal(trial.number)
        params = to_params(self.dimensions, settings)
        kept = {path: value for path, value in trial.params.items() if path in params}
        if kept != {path: params[path] for path in kept}:
            # With several workers, the trials before it may have changed since it was begun.
            params |= kept
            settings |= from_params(
                [dimension for dimension in self.dimensions if dimension.path in kept], kept
            )
        for dimension in self.dimensions:
            if dimension.path in params and dimension.path not in trial.params:
                kind = distribution(dimension)
                self.storage.set_trial_param(
                    trial_id(trial),
                    dimension.path,
                    kind.to_internal_repr(params[dimension.path]),
                    kind,
                )
        attributes = TrialAttributes(origin=origin, settings=settings)
        attributes.write(self.storage, trial_id(trial))
        return settings

    def _proposal(self, number: int) -> tuple[str, dict[str, Any]]:
        """Return origin and settings of a new trial: from the queue, or from the sampler."""
        earlier = [other for other in self._trials() if other.number != number]
        position = sum(other.number < number and _has_own_place(other) for other in earlier)
        if position < len(self.queue):
            return self.queue[position].origin, dict(self.queue[position].settings)
        settings = propose(
            self.tune,
            self.dimensions,
            earlier,
            number,
            self.maximize,
            skip=number - position + len(self.queue),
            queued=self.queued,
        )
        return self.tune.sampler, settings

    def _prune(self, storage_id: int, step: int, value: float) -> bool:
        """Record a point of the curve, and return whether the trial is to stop here."""
        if len(self.maximize) == 1:
            if step not in self.storage.get_trial(storage_id).intermediate_values:
                self.storage.set_trial_intermediate_value(storage_id, step, value)
            if self.tune.pruner != "none":
                with quiet(), warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # curves of unequal length
                    return bool(
                        self.pruner.prune(self.study.optuna, self.storage.get_trial(storage_id))
                    )
        return False

    def _record(self, storage_id: int, outcome: Outcome) -> None:
        """Write the result of a trial; its state last."""
        for name, value in outcome.excess.items():
            self.storage.set_trial_system_attr(storage_id, f"constraints:{name}", value)
        attributes = TrialAttributes(
            seconds=outcome.seconds,
            facts=outcome.facts,
            reason=None if outcome.state == "complete" else outcome.reason,
        )
        # If another machine took the trial for lost, it is finished already.
        with contextlib.suppress(optuna.exceptions.UpdateFinishedTrialError):
            attributes.write(self.storage, storage_id)
            self.storage.set_trial_state_values(
                storage_id, _STATES[outcome.state], outcome.values or None
            )


def _done(study: Study, number: int) -> TrialDone:
    """Return the event of a finished trial, with the best trial so far."""
    trial = next(trial for trial in study.trials if trial.number == number)
    best = study.best
    return TrialDone(
        number=trial.number,
        state=trial.state,
        values=dict(zip(study.objectives, trial.values, strict=False)),
        within=trial.within,
        settings=dict(trial.settings),
        origin=trial.origin,
        seconds=trial.seconds,
        reason=trial.reason,
        best=None if best is None else BestTrial(number=best.number, values=best.values),
        used=study.used(),
    )


def _counts(trial: FrozenTrial) -> bool:
    """Return whether a trial uses budget: neither imported, nor waiting, nor replaced."""
    attributes = TrialAttributes.of(trial)
    if attributes.is_imported or trial.state == TrialState.WAITING:
        return False
    return not (trial.state == TrialState.FAIL and attributes.reason is None)


def _has_own_place(trial: FrozenTrial) -> bool:
    """Return whether a trial has used a place in the queue: neither imported nor a restart."""
    return not TrialAttributes.of(trial).is_imported and not retried_trials(trial)
