"""What one training consists of: method, data, settings and device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from recsys.data.types import Dataset, HeldOut
from recsys.evaluation.evaluator import Evaluation
from recsys.models import Recipe
from recsys.training.progress import Watch
from recsys.training.settings import Train

__all__ = ["Job"]


@dataclass(frozen=True, eq=False)
class Job:
    """One training. It holds no test set.

    Args:
        recipe: the method and its hyper-parameters.
        train: training data.
        valid: the validation part; None or empty: training runs to the last epoch.
        config: settings of training.
        evaluation: metrics on `valid`; `evaluation.monitor` chooses the best epoch.
        device: where to train.
        folder: where checkpoint and best scorer are written; None: nowhere.
        watch: called with each progress event.
    """

    recipe: Recipe
    train: Dataset
    valid: HeldOut | None
    config: Train
    evaluation: Evaluation
    device: torch.device
    folder: Path | None
    watch: Watch

    @property
    def held_out(self) -> HeldOut | None:
        """The validation part; None instead of an empty one."""
        return self.valid if self.valid is not None and len(self.valid) else None
