"""Typed progress of a run: the events of its training, and those of the steps around it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from recsys.data.types import Split
from recsys.evaluation.evaluator import Report
from recsys.training import progress as training
from recsys.training.progress import EpochDone, Note, Resumed, StepDone

__all__ = [
    "DataLoaded",
    "EpochDone",
    "Evaluated",
    "Event",
    "Note",
    "RefitStarted",
    "Resumed",
    "StepDone",
    "Watch",
]


@dataclass(frozen=True, eq=False)
class DataLoaded:
    """The data are loaded and split; the test part is sealed."""

    split: Split


@dataclass(frozen=True)
class RefitStarted:
    """Training starts once more, on train and valid together, for this many epochs."""

    epochs: int


@dataclass(frozen=True, eq=False)
class Evaluated:
    """The chosen scorer is evaluated on one part of the split."""

    part: Literal["valid", "test"]
    report: Report


Event = training.Event | DataLoaded | RefitStarted | Evaluated
Watch = Callable[[Event], None]
"""Called with each progress event; an exception that it raises ends the run."""
