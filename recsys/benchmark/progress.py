"""Progress events of a benchmark.

They are values inside a process and become JSON only on the way from a worker to the command.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys.data.types import Split

__all__ = [
    "DataLoaded",
    "Event",
    "TablesWritten",
    "Task",
    "TaskBegun",
    "TaskDone",
    "TaskFailed",
    "TrialDone",
    "Watch",
    "WorkerEvent",
    "from_json",
    "to_json",
]


@dataclass(frozen=True, order=True)
class Task:
    """One piece of work in a cell.

    Args:
        data: name of the data set.
        method: name of the method.
        seed: of a run, from 1; 0 is the search.
    """

    data: str
    method: str
    seed: int


@dataclass(frozen=True, eq=False)
class DataLoaded:
    """A data set was loaded and checked.

    Args:
        name: of the data set.
        split: its train, valid and sealed test.
    """

    name: str
    split: Split


@dataclass(frozen=True)
class TaskBegun:
    """A task was given to a worker."""

    task: Task


@dataclass(frozen=True)
class TrialDone:
    """A trial of a search ended.

    Args:
        task: the search.
        number: of the trial, from 0.
        state: "complete", "pruned" or "failed".
        values: of the objectives, by name; empty unless complete.
    """

    task: Task
    number: int
    state: str
    values: Mapping[str, float]


@dataclass(frozen=True)
class TaskDone:
    """A task is finished.

    Args:
        task: the task.
        seconds: it took, of this command alone.
        left: estimated seconds until the benchmark is finished; None while nothing is known.
    """

    task: Task
    seconds: float = 0.0
    left: float | None = None


@dataclass(frozen=True)
class TaskFailed:
    """A task failed; the others go on.

    Args:
        task: the task.
        reason: one line.
        seconds, left: as of `TaskDone`.
    """

    task: Task
    reason: str
    seconds: float = 0.0
    left: float | None = None


@dataclass(frozen=True)
class TablesWritten:
    """The tables of all that is finished were written into a folder."""

    folder: Path


Event = DataLoaded | TaskBegun | TrialDone | TaskDone | TaskFailed | TablesWritten
WorkerEvent = TrialDone | TaskDone | TaskFailed
Watch = Callable[[Event], None]


def to_json(event: WorkerEvent) -> dict[str, Any]:
    """Return the event of a worker as plain values, for a line of JSON."""
    task = [event.task.data, event.task.method, event.task.seed]
    match event:
        case TrialDone(number=number, state=state, values=values):
            trial = {"number": number, "state": state, "values": dict(values)}
            return {"event": "trial", "task": task, **trial}
        case TaskDone():
            return {"event": "done", "task": task}
        case TaskFailed(reason=reason):
            return {"event": "failed", "task": task, "reason": reason}


def from_json(plain: Mapping[str, Any]) -> WorkerEvent:
    """Return the event that `to_json` wrote.

    Raises:
        ValueError: it is not an event of a worker.
    """
    task = Task(*plain["task"])
    match plain["event"]:
        case "trial":
            return TrialDone(task, plain["number"], plain["state"], plain["values"])
        case "done":
            return TaskDone(task)
        case "failed":
            return TaskFailed(task, plain["reason"])
    raise ValueError(f"unknown event {plain['event']!r}")
