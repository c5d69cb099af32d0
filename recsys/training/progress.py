"""Typed progress of a training: the events that `fit` reports, and the entry of one epoch."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from recsys.config import build, settings
from recsys.errors import InputError
from recsys.evaluation.metrics import parse
from recsys.files import write_text

__all__ = [
    "EpochDone",
    "EpochEntry",
    "Event",
    "Note",
    "Resumed",
    "StepDone",
    "Watch",
    "append_entry",
    "ignore",
    "read_history",
    "write_history",
]


@settings
class EpochEntry:
    """One epoch of a training: a line of `history.jsonl`. A value that was not measured is None."""

    epoch: int
    """Number of the epoch, counted from 1; 0 for a closed-form method."""
    seconds: float
    """Seconds of training, without evaluation."""
    loss: float | None = None
    """Mean training loss per interaction; None for a closed-form method."""
    pairs_per_second: int | None = None
    """Training interactions per second."""
    denoise: Mapping[str, int | float | None] | None = None
    """Statistics of the denoiser, see `recsys.nn.denoise.Denoiser.summary`."""
    valid: Mapping[str, float] | None = None
    """Metrics on the validation set, without those that are undefined for every user."""
    valid_seconds: float | None = None
    """Seconds of the evaluation on the validation set."""
    valid_loss: float | None = None
    """Loss of the held-out interactions, with `train.select = "loss"`."""
    best: bool | None = None
    """Whether this epoch was the best so far; None if it was not evaluated."""

    def metric(self, name: str) -> float:
        """Return a validation metric; NaN if it was not measured or is undefined for every user."""
        return (self.valid or {}).get(parse(name).name, math.nan)

    def to_json(self) -> dict[str, Any]:
        """Return the values of a line of `history.jsonl`, without those that are None."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def from_json(cls, values: Any, place: str = "") -> EpochEntry:
        """Return the entry with these values.

        Args:
            values: what `to_json` returned.
            place: where the values are, for an error.

        Raises:
            InputError: a key is missing, unknown or of the wrong type.
        """
        if not isinstance(values, Mapping):
            raise InputError(f"expected the values of an epoch, got {values!r}", place=place)
        return build(cls, values, place)


@dataclass(frozen=True)
class StepDone:
    """A training step is done.

    Args:
        epoch: epochs done before this one.
        step: steps done in this epoch.
        steps: steps of an epoch.
        pairs: interactions (or users) in the batch of this step.
    """

    epoch: int
    step: int
    steps: int
    pairs: int


@dataclass(frozen=True)
class EpochDone:
    """An epoch is done and, if it was due, evaluated; or a closed-form method is built."""

    entry: EpochEntry


@dataclass(frozen=True)
class Resumed:
    """Training continues from a checkpoint.

    Args:
        epoch: epochs done before.
        step: steps done in the current epoch.
        history: entries of the epochs done before.
    """

    epoch: int
    step: int
    history: tuple[EpochEntry, ...]


@dataclass(frozen=True)
class Note:
    """What the reader of the result must know, such as interactions that are not trained on."""

    text: str


Event = StepDone | EpochDone | Resumed | Note
Watch = Callable[[Event], None]
"""Called with each progress event; an exception that it raises ends the training."""


def ignore(_: object) -> None:
    """Ignore a progress event."""


def read_history(path: Path) -> list[EpochEntry]:
    """Read `history.jsonl`; a file that does not exist has no entries.

    Raises:
        InputError: the file cannot be read, or a line is not the entry of an epoch.
    """
    if not path.exists():
        return []
    entries = []
    remedy = "the run is damaged: restore it, or run again"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read: {error}", place=str(path), remedy=remedy) from None
    for number, line in enumerate(lines, 1):
        place = f"{path}:{number}"
        try:
            entries.append(EpochEntry.from_json(json.loads(line)))
        except ValueError as error:
            raise InputError(f"is not valid JSON: {error}", place=place, remedy=remedy) from None
        except InputError as error:
            raise InputError(error.cause, place=place, remedy=remedy) from None
    return entries


def write_history(path: Path, entries: Iterable[EpochEntry]) -> None:
    """Write `history.jsonl`, one line per epoch, atomically."""
    write_text(path, "".join(_line(entry) for entry in entries))


def append_entry(path: Path, entry: EpochEntry) -> None:
    """Append the line of one epoch to `history.jsonl`."""
    with path.open("a", encoding="utf-8") as file:
        file.write(_line(entry))


def _line(entry: EpochEntry) -> str:
    # Keys are sorted as in a checkpoint, so that the history of a resumed run is the same text.
    return json.dumps(entry.to_json(), sort_keys=True) + "\n"
