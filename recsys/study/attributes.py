"""What a study writes next to each trial in Optuna's storage: read and written here alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from recsys.config import build
from recsys.errors import InputError
from recsys.study.meta import QueuedTrial, StudyMeta, plain_values
from recsys.training.stopping import Stopping

__all__ = [
    "IMPORTED",
    "Facts",
    "TrialAttributes",
    "read_queue",
    "retried_trials",
    "write_study_attributes",
]

IMPORTED = "imported"  # origin of trials of an earlier study


@dataclass(frozen=True)
class Facts:
    """Measurements of a trial; a value that was not measured is None.

    Args:
        best_epoch: the epoch whose scorer is kept.
        epochs: number of finished epochs.
        stopping: how training ended.
        valid: metrics on the validation interactions, at the best epoch.
        seconds: duration of training and evaluation.
        memory: peak memory in MB.
        latency: milliseconds to rank all items for one user.
    """

    best_epoch: int | None = None
    epochs: int | None = None
    stopping: Stopping | None = None
    valid: Mapping[str, float] = field(default_factory=dict)
    seconds: float | None = None
    memory: float | None = None
    latency: float | None = None

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Facts:
        """Read the facts that `to_json` wrote."""
        stopping = plain.get("stopping")
        return cls(
            best_epoch=plain.get("best_epoch"),
            epochs=plain.get("epochs"),
            stopping=None if stopping is None else Stopping.from_plain(stopping),
            valid=plain.get("valid", {}),
            seconds=plain.get("seconds"),
            memory=plain.get("memory"),
            latency=plain.get("latency"),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the facts as plain JSON, without those that were not measured."""
        plain = {
            "best_epoch": self.best_epoch,
            "stopping": None if self.stopping is None else self.stopping.plain(),
            "valid": dict(self.valid) or None,
            "seconds": self.seconds,
            "memory": self.memory,
            "latency": self.latency,
            "epochs": self.epochs,
        }
        return {key: value for key, value in plain.items() if value is not None}


@dataclass(frozen=True)
class TrialAttributes:
    """The user attributes of a trial; None if not written yet.

    Args:
        place: id of the folder whose worker runs the trial.
        origin: "own" settings of the experiment, "warm: FOLDER", "imported", or the sampler.
        settings: value of each searched field, by path.
        seconds: duration of training and evaluation.
        facts: measurements; written when the trial has ended.
        reason: why the trial was stopped or failed. Optuna marks a trial whose worker is lost as
            failed, too, but without a reason.
    """

    place: str | None = None
    origin: str | None = None
    settings: Mapping[str, Any] | None = None
    seconds: float | None = None
    facts: Facts | None = None
    reason: str | None = None

    @classmethod
    def of(cls, trial: FrozenTrial) -> TrialAttributes:
        """Read the attributes of a trial."""
        attrs = trial.user_attrs
        facts = attrs.get("facts")
        return cls(
            place=attrs.get("place"),
            origin=attrs.get("origin"),
            settings=attrs.get("settings"),
            seconds=attrs.get("seconds"),
            facts=None if facts is None else Facts.from_json(facts),
            reason=attrs.get("reason"),
        )

    @property
    def is_imported(self) -> bool:
        """Whether the trial is one of an earlier study."""
        return self.origin == IMPORTED

    def to_json(self) -> dict[str, Any]:
        """Return the attributes as plain JSON, without those that are None."""
        plain = {
            "place": self.place,
            "origin": self.origin,
            "settings": None if self.settings is None else dict(self.settings),
            "seconds": self.seconds,
            "facts": None if self.facts is None else self.facts.to_json(),
            "reason": self.reason,
        }
        return {key: value for key, value in plain.items() if value is not None}

    def write(self, storage: BaseStorage, trial_id: int) -> None:
        """Write the attributes that are not None; others keep their values."""
        for key, value in self.to_json().items():
            storage.set_trial_user_attr(trial_id, key, value)


def retried_trials(trial: FrozenTrial) -> list[int]:
    """Return the numbers of the lost trials that this one restarts, the earliest first."""
    history: list[int] = trial.system_attrs.get("retry_history", [])
    return history


def write_study_attributes(entry: optuna.Study, meta: StudyMeta, place: str) -> None:
    """Write what all machines must agree on; attributes that exist are kept.

    Args:
        entry: the study in its storage.
        meta: the record of the study.
        place: the storage or folder, for the message.

    Raises:
        InputError: the study of this name uses another split.
    """
    attrs: dict[str, Any] = {
        "split": meta.split,
        "queue": [plain_values(queued) for queued in meta.queue],
        "objectives": list(meta.objectives),
    }
    for key, value in attrs.items():
        if key not in entry.user_attrs:
            entry.set_user_attr(key, value)
    if entry.user_attrs["split"] != meta.split:
        raise InputError(
            "the study of this name uses other data",
            place=place,
            remedy="use the same data on all machines",
        )


def read_queue(storage: BaseStorage, study_id: int) -> tuple[QueuedTrial, ...]:
    """Return the settings that are tried before the sampler proposes any."""
    entries = storage.get_study_user_attrs(study_id)["queue"]
    return tuple(build(QueuedTrial, entry, "queue") for entry in entries)
