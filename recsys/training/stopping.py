"""Why a training ended, and whether its validation curve shows that it ended too early.

The training loop and all tables use the same rules. All of them are functions of the validation
curve. A run keeps that curve in its history, so older runs get these marks too.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

from recsys.evaluation.metrics import parse
from recsys.training.progress import EpochEntry

__all__ = [
    "DIP",
    "MEANING",
    "RISING",
    "SIGNS",
    "Curve",
    "Reason",
    "Stopping",
    "counted",
    "curve_of",
    "first_of_patience",
    "legend",
    "marked",
    "marks",
    "reasons",
    "signs",
    "stopping",
    "waited",
]

Reason = Literal["epochs", "patience", "time", "pruned", "interrupted", "kill", "closed form"]
Curve = Sequence[tuple[int, float]]
"""Epoch and value of each evaluation on the validation set, in order; more is better."""

RISING, DIP = "still rising", "early dip"
SIGNS = {RISING: "†", DIP: "‡"}
MEANING = {
    RISING: "the best is the last evaluation on valid, so more epochs may be better",
    DIP: "patience ended it where the curve on valid may have been about to rise",
}

_SHARE = 5  # patience starts to count after a fifth of the epochs
_EARLY = 3  # a best evaluation in the first third of the evaluations is an early one


@dataclass(frozen=True)
class Stopping:
    """How a training ended.

    Args:
        reason: epochs (all done), patience, time (limit reached), pruned (worse than other
            trials), interrupted (by the user), kill (or still running), closed form.
        epochs: number of epochs done.
        allowed: maximum number of epochs.
        best_epoch: epoch of the scorer that is kept; 0 for a closed-form method.
        evaluations: number of evaluations on the validation set.
        best_evaluation: which of them was the best, counted from 1; 0 without an evaluation.
        marks: `RISING`, `DIP` or neither. A method with a mark may be undertrained, so a
            comparison with it may be one of training, not of methods.
    """

    reason: Reason
    epochs: int
    allowed: int
    best_epoch: int
    evaluations: int
    best_evaluation: int
    marks: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return a line: "patience: no better for 5 evaluations, 12 of at most 80 epochs"."""
        if self.reason == "closed form":
            return self.why
        kept = "never evaluated on valid, so whether it was still rising is not known"
        if self.evaluations:
            kept = (
                f"kept epoch {self.best_epoch}, "
                f"evaluation {self.best_evaluation} of {self.evaluations} on valid"
            )
        reasons = [f"{mark}: {self._explained(mark)}" for mark in self.marks]
        return "; ".join([self.why, kept, *reasons])

    @property
    def why(self) -> str:
        """The reason in words."""
        some = f"{self.epochs} of at most {self.allowed} epochs"
        waited = _evaluations(self.evaluations - self.best_evaluation)
        words: dict[Reason, str] = {
            "epochs": f"all {self.allowed} epochs done",
            "patience": f"patience: no better for {waited}, {some}",
            "time": f"its time was up after {some}",
            "pruned": f"worse than other trials after {some}",
            "interrupted": f"interrupted after {some}",
            "kill": f"killed, or still going, after {some}",
            "closed form": "closed form",
        }
        return words[self.reason]

    def plain(self) -> dict[str, Any]:
        """Return plain values for JSON, with the line of `str`."""
        return {**asdict(self), "marks": list(self.marks), "line": str(self)}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Stopping:
        """Return the value of which `plain` returned the plain values.

        Raises:
            KeyError: a value is missing.
            TypeError: a value is of the wrong type.
        """
        for field in fields(cls):
            kind = {"reason": str, "marks": list}.get(field.name, int)
            if not isinstance(plain[field.name], kind):
                raise TypeError(f"'{field.name}' must be of type {kind.__name__}")
        values = {field.name: plain[field.name] for field in fields(cls)}
        return cls(**{**values, "marks": tuple(plain["marks"])})

    def _explained(self, mark: str) -> str:
        if mark == RISING:
            return MEANING[RISING]
        waited = _evaluations(self.evaluations - self.best_evaluation)
        return f"{MEANING[DIP]}, {waited} after an early best"


def _evaluations(number: int) -> str:
    return f"{number} evaluation{'' if number == 1 else 's'}"


def curve_of(
    history: Iterable[EpochEntry], monitor: str, select: str = "metric"
) -> list[tuple[int, float]]:
    """Return the validation curve of a history, with the sign that makes more better.

    Args:
        history: one entry per epoch, as in `Fitted.history`.
        monitor: the metric that chooses the epoch.
        select: "loss" if the loss of the held-out interactions chooses it.
    """
    metric = parse(monitor)
    sign = 1.0 if metric.higher else -1.0
    curve = []
    for entry in history:
        if select == "loss" and entry.valid_loss is not None:
            curve.append((entry.epoch, -entry.valid_loss))
        elif select == "metric" and not math.isnan(value := entry.metric(monitor)):
            curve.append((entry.epoch, sign * value))
    return curve


def first_of_patience(epochs: int, min_epochs: int | Literal["auto"]) -> int:
    """Return the last epoch before patience starts to count; "auto" is a fifth of the epochs.

    A curve may fall before it rises: content and graphs rank well before anything is learned, and
    the first epochs unlearn that. Observed valleys took a tenth (MGCN) to a quarter (BM3) of the
    epochs. A fifth, plus the patience itself, is long enough to cross them.
    """
    return epochs // _SHARE if min_epochs == "auto" else min_epochs


def waited(curve: Curve, first: int) -> int:
    """Return the number of evaluations after the best one, without those up to epoch `first`."""
    best = _best(curve)
    return 0 if best is None else sum(epoch > max(curve[best][0], first) for epoch, _ in curve)


def marks(curve: Curve, reason: Reason) -> tuple[str, ...]:
    """Return the signs in a validation curve that training ended too early.

    `RISING`: the best evaluation is the last one, for any reason of the end.
    `DIP`: patience ended the training, and the best evaluation is in the first third. In addition
    either the best is the very first, so that the curve only fell; or the curve was rising when
    training ended: its last value is the highest since the lowest value after the best.
    """
    best = _best(curve)
    if best is None or reason == "closed form":
        return ()
    if best == len(curve) - 1:
        return (RISING,)
    if reason != "patience" or (best > 0 and _EARLY * (best + 1) > len(curve)):
        return ()
    after = [value for _, value in curve[best + 1 :]]
    low = after.index(min(after))
    rises_again = len(after) > low + 1 and after[-1] == max(after[low:]) > after[low]
    return (DIP,) if best == 0 or rises_again else ()


def stopping(curve: Curve, reason: Reason, epochs: int, allowed: int) -> Stopping:
    """Return how a training ended.

    Args:
        curve: its validation curve; empty without an evaluation.
        reason: why it ended.
        epochs: number of epochs done.
        allowed: maximum number of epochs.
    """
    best = _best(curve)
    if best is None:
        return Stopping(reason, epochs, allowed, epochs, 0, 0)
    return Stopping(
        reason, epochs, allowed, curve[best][0], len(curve), best + 1, marks(curve, reason)
    )


def counted(several: Sequence[Stopping]) -> dict[str, int]:
    """Return how many runs of a method have each mark, without marks that no run has."""
    counts = Counter(mark for each in several for mark in each.marks)
    return {mark: counts[mark] for mark in SIGNS if counts[mark]}


def signs(several: Sequence[Stopping]) -> str:
    """Return the signs of the marks of a method's runs, for a table: "", "†", "‡" or "†‡"."""
    return "".join(SIGNS[mark] for mark in counted(several))


def reasons(several: Sequence[Stopping]) -> str:
    """Return why a method's runs ended: "patience", or "patience 2, epochs 1"."""
    return _listed(Counter(str(each.reason) for each in several), len(several))


def marked(several: Sequence[Stopping]) -> str:
    """Return the marks of a method's runs: "", "still rising" or "still rising 2 of 3"."""
    return ", ".join(
        mark if number == len(several) else f"{mark} {number} of {len(several)}"
        for mark, number in counted(several).items()
    )


def legend(ended: Mapping[str, Sequence[Stopping]]) -> tuple[str, ...]:
    """Return the lines below a table that explain the signs, and the methods that have them.

    Args:
        ended: the runs of each method, in the order of the table.

    Returns:
        No line if no method has a mark.
    """
    flagged = {method: several for method, several in ended.items() if signs(several)}
    if not flagged:
        return ()
    lines = []
    for mark, sign in SIGNS.items():
        names = [
            _share_of(method, mark, several)
            for method, several in flagged.items()
            if mark in counted(several)
        ]
        if names:
            lines.append(f"{sign} {mark}: {MEANING[mark]}: {', '.join(names)}.")
    last = (
        f"A difference to {' or '.join(flagged)} may be one of training, not of methods, "
        "however small its p."
    )
    return (*lines, last)


def _share_of(method: str, mark: str, several: Sequence[Stopping]) -> str:
    number = counted(several)[mark]
    return method if number == len(several) else f"{method} ({number} of {len(several)} runs)"


def _listed(counts: Counter[str], total: int) -> str:
    return ", ".join(
        word if number == total else f"{word} {number}" for word, number in counts.most_common()
    )


def _best(curve: Curve) -> int | None:
    """Return the index of the best evaluation, the first one of several."""
    values = [value for _, value in curve]
    return values.index(max(values)) if values else None
