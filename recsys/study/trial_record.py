"""One trial of a study, as it is read from the folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from recsys.study.attributes import Facts

__all__ = ["Trial"]


@dataclass(frozen=True)
class Trial:
    """One trial.

    Args:
        number: the number of the trial, from 0, in order of their beginning.
        state: "complete", "pruned", "failed", "running", "waiting", or "lost" if another trial
            has taken its place.
        values: one value per objective; empty unless complete.
        settings: value of each searched field, by path.
        origin: "own" settings of the experiment, "warm" from an earlier run, "imported", or the
            name of the sampler.
        seconds: duration of training and evaluation on the validation interactions.
        reason: why the trial was stopped or failed.
        within: whether the trial is within the limits.
        curve: the monitored metric on the validation interactions, by epoch.
        facts: best epoch, validation metrics and other measurements.
    """

    number: int
    state: str
    values: tuple[float, ...]
    settings: Mapping[str, Any]
    origin: str = ""
    seconds: float = 0.0
    reason: str = ""
    within: bool = True
    curve: Mapping[int, float] = field(default_factory=dict)
    facts: Facts = field(default_factory=Facts)

    @property
    def is_own(self) -> bool:
        """Whether the trial counts in the budget: it was run here, and has ended."""
        return self.origin != "imported" and self.state in ("complete", "pruned", "failed")
