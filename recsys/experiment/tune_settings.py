"""Settings of a study: the section `[tune]`, with the ranges of the searched fields."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from recsys.config import Bound, settings
from recsys.errors import InputError

__all__ = ["Limits", "Range", "Tune", "canonical", "refuse_duplicates"]


@settings
class Range:
    """The values of one field: from low to high, or some choices."""

    low: int | float | None = None
    """Smallest value."""
    high: int | float | None = None
    """Largest value, included."""
    log: bool = False
    """Search on a logarithmic scale, for learning rates, weights and other values that matter by
    their order of magnitude."""
    step: int | float | None = None
    """Only low, low + step, low + 2 step, ...; integers have a step of 1."""
    choices: tuple[Any, ...] | None = None
    """The values themselves: numbers, words, true and false, or whole tables such as
    { kind = "hinge", margin = 1.0 }. "none" leaves the field empty."""

    def __post_init__(self) -> None:
        if self.choices is not None:
            self._check_choices(self.choices)
            return
        if self.low is None or self.high is None:
            raise InputError(
                "low and high are needed, or choices",
                remedy="write { low = ..., high = ... }, or { choices = [...] }",
            )
        if self.low > self.high:
            raise InputError(
                f"low = {self.low} is above high = {self.high}", remedy="exchange them"
            )
        if self.log and self.low <= 0:
            raise InputError(
                f"low = {self.low}: a logarithmic range is above 0",
                remedy="raise low, or leave out log",
            )
        if self.step is not None:
            self._check_step(self.step, self.low, self.high)

    def _check_choices(self, choices: tuple[Any, ...]) -> None:
        has_bounds = self.low is not None or self.high is not None
        if has_bounds or self.log or self.step is not None:
            raise InputError(
                "choices go without low, high, log and step",
                remedy="write { choices = [...] }, or { low = ..., high = ... }",
            )
        if not choices:
            raise InputError("choices is empty", remedy="name at least one value")
        refuse_duplicates(choices, choices)

    def _check_step(self, step: float, low: float, high: float) -> None:
        if step <= 0:
            raise InputError(f"step must be above 0, got {step}", remedy="choose a positive step")
        if self.log:
            raise InputError(
                "step and log do not go together",
                remedy="leave out one of them, or name the choices",
            )
        steps = (high - low) / step
        if abs(steps - round(steps)) > 1e-8:
            raise InputError(
                f"high = {high} is not low = {low} and a number of steps of {step}",
                remedy=f"use high = {low + math.floor(steps) * step:g}",
            )


@settings
class Limits:
    """What a setting may cost. Trials beyond a limit are kept, but cannot be the best."""

    seconds: Annotated[float, Bound(gt=0)] | None = None
    """Seconds of training and of evaluation on the validation set. A trial ends at the first
    evaluation beyond it."""
    memory_mb: Annotated[float, Bound(gt=0)] | None = None
    """Peak memory of the process during the trial, or of the GPU if it trains on one."""
    latency_ms: Annotated[float, Bound(gt=0)] | None = None
    """Milliseconds to rank all items for one user."""


@settings
class Tune:
    """How a study searches. The first trial always has the experiment's own settings."""

    trials: Annotated[int, Bound(ge=1)] = 20
    """Budget: maximum number of trials, including failed and pruned ones."""
    seconds: Annotated[float, Bound(gt=0)] | None = None
    """Budget of wall time: no trial begins after it."""
    device_seconds: Annotated[float, Bound(gt=0)] | None = None
    """Budget of training time, added up over all workers: no trial begins after it."""
    sampler: Literal["tpe", "cma", "gp", "random", "grid"] = "tpe"
    """tpe: tree of Parzen estimators. cma: CMA-ES, for numbers only. gp: Gaussian process. random.
    grid: all choices and steps, shuffled."""
    startup: Annotated[int, Bound(ge=1)] = 10
    """Number of random trials before tpe and gp use what they learned, including the first."""
    pruner: Literal["none", "median", "hyperband", "wilcoxon"] = "none"
    """Ends trials whose validation curve is worse than earlier ones: than their median, in the
    brackets of Hyperband, or than the best one by a Wilcoxon test over the epochs."""
    seed: Annotated[int, Bound(ge=0)] = 0
    """Seed of the sampler. Every trial trains with the seed of [train]."""
    objectives: tuple[str, ...] = ()
    """Metrics on the validation set, "latency", "seconds" or "memory"; none: the monitor. With
    several, the best trial is the one with the best first objective, and all Pareto-optimal trials
    are shown."""
    limits: Limits = Limits()
    warm: tuple[str, ...] = ()
    """Folders of runs or studies whose settings are tried after the experiment's own."""
    space: dict[str, Range] = dataclasses.field(default_factory=dict)
    """The searched fields, by path."""

    def __post_init__(self) -> None:
        if len(set(self.objectives)) < len(self.objectives):
            raise InputError("objectives names one twice", remedy="name each once")
        if self.pruner != "none" and len(self.objectives) > 1:
            raise InputError(
                f"pruner = '{self.pruner}' compares curves of one objective, and there are several",
                remedy="use pruner = 'none'",
            )
        if self.sampler == "cma" and len(self.objectives) > 1:
            raise InputError("sampler = 'cma' takes one objective", remedy="use sampler = 'tpe'")


def refuse_duplicates(choices: Sequence[Any], resolved: Sequence[Any]) -> None:
    """Raise an error if two choices are the same value.

    Args:
        choices: as they are written.
        resolved: as the experiment holds them, in the same order.

    Raises:
        InputError: two are the same.
    """
    earlier: dict[str, Any] = {}
    for choice, value in zip(choices, resolved, strict=True):
        label = canonical(value)
        if label in earlier:
            first, second = canonical(earlier[label]), canonical(choice)
            words = f"{first} twice"
            if first != second:
                words = f"{first} and {second}, which are the same"
            raise InputError(f"choices names {words}", remedy="name each value once")
        earlier[label] = choice


def canonical(value: Any) -> str:
    """Return the same text for equal plain values."""
    return json.dumps(value, sort_keys=True, default=str)
