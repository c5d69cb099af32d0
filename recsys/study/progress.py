"""The progress of a study, as typed events."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from recsys.config import build
from recsys.study.meta import BestTrial, Used
from recsys.training.progress import Event as TrainingEvent

__all__ = [
    "DataLoaded",
    "Event",
    "Note",
    "TrialBegun",
    "TrialDone",
    "Watch",
    "WorkerLost",
    "event_from_json",
    "event_to_json",
]


@dataclass(frozen=True)
class Note:
    """A remark for the user, before the first trial."""

    text: str


@dataclass(frozen=True)
class DataLoaded:
    """The data are loaded and split.

    Args:
        users: number of users.
        items: number of items.
        train: number of training interactions.
        valid: number of validation interactions.
        rule: the split rule in words.
    """

    users: int
    items: int
    train: int
    valid: int
    rule: str


@dataclass(frozen=True)
class TrialBegun:
    """A trial begins, or is resumed.

    Args:
        number: the number of the trial, from 0.
        settings: value of each searched field, by path.
    """

    number: int
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class TrialDone:
    """A trial has ended.

    Args:
        number: the number of the trial, from 0.
        state: "complete", "pruned" or "failed"; "lost" if another machine has restarted it.
        values: value of each objective, by name; empty unless complete.
        within: whether the trial is within the limits.
        settings: value of each searched field, by path.
        origin: as `Trial.origin`.
        seconds: duration of training and evaluation.
        reason: why the trial was stopped or failed; empty if complete.
        best: the best trial so far, if there is one.
        used: the budget used so far.
    """

    number: int
    state: str
    values: Mapping[str, float]
    within: bool
    settings: Mapping[str, Any]
    origin: str
    seconds: float
    reason: str
    best: BestTrial | None
    used: Used


@dataclass(frozen=True)
class WorkerLost:
    """A worker process was killed; another one replaces it."""

    text: str


Event = Note | DataLoaded | TrialBegun | TrialDone | WorkerLost
Watch = Callable[[Event | TrainingEvent], None]
"""Called with each event of a study; the events of the training of a trial are passed on."""

# Names of the events that worker processes send.
_NAMES: Mapping[type[Event], str] = {TrialBegun: "begun", TrialDone: "trial"}


def event_to_json(event: TrialBegun | TrialDone) -> dict[str, Any]:
    """Return an event as plain JSON, for the process that started this one."""
    return {"event": _NAMES[type(event)], **dataclasses.asdict(event)}


def event_from_json(plain: Mapping[str, Any]) -> TrialBegun | TrialDone:
    """Read an event that `event_to_json` wrote in another process."""
    values = {key: value for key, value in plain.items() if key != "event"}
    if plain["event"] == _NAMES[TrialBegun]:
        return TrialBegun(**values)
    best, used = values["best"], values["used"]
    values["best"] = None if best is None else build(BestTrial, best)
    values["used"] = build(Used, used)
    return TrialDone(**values)
