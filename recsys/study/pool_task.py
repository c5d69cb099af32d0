"""What a study and its worker processes tell each other, apart from events: tasks and errors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from recsys.errors import InputError

__all__ = ["PoolTask", "error_from_json", "error_to_json", "is_error"]

_ERROR = "error"  # name of the event


@dataclass(frozen=True)
class PoolTask:
    """The task of a worker process.

    Args:
        folder: the folder of the study.
        storage: URL of its database, if it was given.
        deadline: no trial begins after this time (as `time.time`); None: no limit.
        parent: id of the process that started the worker. The worker ends if that process ends.
    """

    folder: str
    storage: str | None
    deadline: float | None
    parent: int

    def to_json(self) -> dict[str, Any]:
        """Return the task as plain JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> PoolTask:
        """Read a task that `to_json` wrote."""
        return cls(**plain)


def error_to_json(error: InputError) -> dict[str, Any]:
    """Return an error as plain JSON, for the process that started this one."""
    return {"event": _ERROR, "cause": error.cause, "place": error.place, "remedy": error.remedy}


def is_error(plain: Mapping[str, Any]) -> bool:
    """Return whether a line of a worker is an error instead of an event."""
    return bool(plain["event"] == _ERROR)


def error_from_json(plain: Mapping[str, Any]) -> InputError:
    """Read an error that `error_to_json` wrote in another process."""
    return InputError(plain["cause"], place=plain["place"], remedy=plain["remedy"])
