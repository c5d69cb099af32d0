"""Checkpoints: everything that changes while training, in one file that is replaced atomically.

Every random number is a function of (seed, epoch, step), so a checkpoint needs no state of a
random generator.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from recsys.config import to_dict
from recsys.errors import InputError
from recsys.models import recipe_name
from recsys.tensors import read_tensors, write_tensors
from recsys.training.job import Job
from recsys.training.progress import EpochEntry

__all__ = ["Checkpoint", "State", "identity"]


@dataclass
class State:
    """Where a training is: what changes from step to step, besides tensors.

    Args:
        epoch: epochs done.
        step: steps done in the current epoch.
        best: best value of the monitored metric so far, with the sign that makes more better.
        best_epoch: epoch of that value; 0 before the first evaluation.
        first_loss: mean loss of the first epoch.
        seconds: seconds spent in the current epoch.
        history: entries of the epochs done.
    """

    epoch: int = 0
    step: int = 0
    best: float = -math.inf
    best_epoch: int = 0
    first_loss: float | None = None
    seconds: float = 0.0
    history: list[EpochEntry] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the plain values for a checkpoint."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return values | {"history": [entry.to_json() for entry in self.history]}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> State:
        """Return the state with the values that `to_json` returned.

        Raises:
            KeyError, TypeError, InputError: a key is missing, unknown or of the wrong type.
        """
        history = [EpochEntry.from_json(entry) for entry in values["history"]]
        return cls(**{**values, "history": history})


class Checkpoint:
    """The checkpoint file of one training, `checkpoint.safetensors`.

    Args:
        job: the training; without a folder nothing is ever written.
    """

    def __init__(self, job: Job) -> None:
        self.folder = job.folder
        self.identity = identity(job)
        self.interval = job.config.checkpoint_seconds
        self.written_at = time.monotonic()

    def is_due(self) -> bool:
        """Return whether it is time to write the next checkpoint."""
        waited = time.monotonic() - self.written_at
        return self.folder is not None and waited >= self.interval

    def write(self, state: State, tensors: dict[str, Tensor]) -> None:
        """Write the checkpoint; it replaces the last one atomically."""
        assert self.folder is not None
        write_tensors(
            self.folder / "checkpoint.safetensors",
            tensors,
            {"state": state.to_json(), "identity": self.identity},
        )
        self.written_at = time.monotonic()

    def read(self, path: Path) -> tuple[dict[str, Tensor], Mapping[str, Any]]:
        """Return the tensors and the metadata of a checkpoint.

        Raises:
            InputError: it is damaged, or was written with other settings or data.
        """
        tensors, meta = read_tensors(path)
        if meta.get("identity") != self.identity:
            raise InputError(
                "was made with other settings, data or devices",
                place=str(path),
                remedy="resume with the settings of the run, or start a new one",
            )
        return tensors, meta


def identity(job: Job) -> str:
    """Return a hash of all that shapes the course of a training.

    The number of epochs and the interval of checkpoints are left out where the course does not
    depend on them, so that a finished training can be resumed with more epochs.
    """
    shaping = replace(job.config, checkpoint_seconds=0.0)
    depends_on_length = (
        job.config.schedule not in ("constant", "exponential") or job.config.denoise.kind == "dcf"
    )
    if not depends_on_length:
        shaping = replace(shaping, epochs=1, patience=None, min_epochs=0)
    config = to_dict(shaping)
    if shaping.update == "batch":
        config.pop("update")  # checkpoints of earlier versions do not mention it
    parts = [
        recipe_name(job.recipe),
        to_dict(job.recipe),
        config,
        job.train.fingerprint,
        {name: table.fingerprint for name, table in job.train.features.items()},
        job.valid.fingerprint if job.valid is not None else "-",
        to_dict(job.evaluation),
        # Batches were once of uneven size. A checkpoint from within such an epoch cannot be
        # resumed: interactions would be skipped or repeated.
        "even batches",
    ]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
