"""Why a training ended, and whether its curve on valid says that it ended too early.

One rule for all: the loop of training asks it when to stop, and every table asks it for its marks. All here are functions of the curve, which a run
keeps in its history, so that a run that was made before there were marks has them too.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
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
"""Epoch and value of each evaluation on valid, in order; more is better."""

RISING, DIP = "still rising", "early dip"
SIGNS = {RISING: "†", DIP: "‡"}
MEANING = {
    RISING: "the best is the last evaluation on valid, so more epochs may be better",
    DIP: "patience ended it where the curve on valid may have been about to rise",
}

_SHARE = 5  # patience waits from this part of the epochs on
_EARLY = 3  # a best in this first part of the evaluations is an early one


@dataclass(frozen=True)
class Stopping:
    """How a training ended.

    Args:
        reason: epochs (all done), patience, time (a limit on it), pruned (worse than other trials), interrupted (by hand), kill (or still
            going), closed form.
        epochs: done. allowed: at most.
        best_epoch: the epoch that is kept; 0 where there was none.
        evaluations: on valid. best_evaluation: which of them was best, counted from 1; 0 without any.
        marks: `RISING`, `DIP` or neither: what makes a comparison with it one of training, not of methods.
    """

    reason: Reason
    epochs: int
    allowed: int
    best_epoch: int
    evaluations: int
    best_evaluation: int
    marks: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return a line: "patience: no better for 5 evaluations, 12 of at most 80 epochs; kept epoch 2, ...; early dip: ..."."""
        if self.reason == "closed form":
            return self.why
        kept = (
            f"kept epoch {self.best_epoch}, evaluation {self.best_evaluation} of {self.evaluations} on valid"
            if self.evaluations
            else "never evaluated on valid, so whether it was still rising is not known"
        )
        return "; ".join([self.why, kept, *(f"{mark}: {self._told(mark)}" for mark in self.marks)])

    @property
    def why(self) -> str:
        """The reason in words."""
        some = f"{self.epochs} of at most {self.allowed} epochs"
        after = self.evaluations - self.best_evaluation
        said: dict[str, str] = {
            "epochs": f"all {self.allowed} epochs done",
            "patience": f"patience: no better for {after} evaluation{'' if after == 1 else 's'}, {some}",
            "time": f"its time was up after {some}",
            "pruned": f"worse than other trials after {some}",
            "interrupted": f"interrupted after {some}",
            "kill": f"killed, or still going, after {some}",
            "closed form": "closed form",
        }
        return said[self.reason]

    def plain(self) -> dict[str, Any]:
        """Plain values, with the line, for a record."""
        return {**asdict(self), "marks": list(self.marks), "line": str(self)}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Stopping:
        """What `plain` made."""
        named = {name: plain[name] for name in cls.__dataclass_fields__}
        return cls(**{**named, "marks": tuple(plain["marks"])})

    def _told(self, mark: str) -> str:
        if mark == RISING:
            return MEANING[RISING]
        after = self.evaluations - self.best_evaluation
        return f"{MEANING[DIP]}, {after} evaluation{'' if after == 1 else 's'} after an early best"


def curve_of(
    history: Iterable[EpochEntry], monitor: str, select: str = "metric"
) -> list[tuple[int, float]]:
    """The curve of a history, turned so that more is better.

    Args:
        history: an entry per epoch, as of `Fitted.history`.
        monitor: the metric that selects.
        select: "loss" where the loss of the valid pairs does.
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
    """The last epoch before patience waits; "auto" is a fifth of the epochs.

    A curve may fall before it rises: content and graphs rank well before anything is learned, and the first epochs unlearn that. Where
    such valleys were met they took a tenth (MGCN) to a quarter (BM3) of the epochs. A fifth, and the patience itself on top, sees them out.
    """
    return epochs // _SHARE if min_epochs == "auto" else min_epochs


def waited(curve: Curve, first: int) -> int:
    """Evaluations without a better one, not counting any up to the epoch `first`."""
    best = _best(curve)
    return 0 if best is None else sum(epoch > max(curve[best][0], first) for epoch, _ in curve)


def marks(curve: Curve, reason: Reason) -> tuple[str, ...]:
    """What a curve and the reason of its end say against the result.

    `RISING`: the best is the last evaluation, whatever ended the training.
    `DIP`: patience ended it, and its best is early, in the first third of the evaluations. Then either it is the very first, so that
    all that was seen is a fall from where learning began; or the curve was rising again, its last evaluation being the highest since
    its lowest after the best.
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
    again = len(after) > low + 1 and after[-1] == max(after[low:]) > after[low]
    return (DIP,) if best == 0 or again else ()


def stopping(curve: Curve, reason: Reason, epochs: int, allowed: int) -> Stopping:
    """All that is said of the end of a training.

    Args:
        curve: of its evaluations on valid; empty without any.
        reason: why it ended.
        epochs: done.
        allowed: at most.
    """
    best = _best(curve)
    if best is None:
        return Stopping(reason, epochs, allowed, epochs, 0, 0)
    return Stopping(
        reason, epochs, allowed, curve[best][0], len(curve), best + 1, marks(curve, reason)
    )


def counted(several: Sequence[Stopping]) -> dict[str, int]:
    """How many of the runs of a method have each mark."""
    found = Counter(mark for each in several for mark in each.marks)
    return {mark: found[mark] for mark in SIGNS if found[mark]}


def signs(several: Sequence[Stopping]) -> str:
    """The signs of the marks of a method's runs, for a table: "", "†", "‡", "†‡"."""
    return "".join(SIGNS[mark] for mark in counted(several))


def reasons(several: Sequence[Stopping]) -> str:
    """Why a method's runs ended: "patience", or "patience 2, epochs 1"."""
    return _listed(Counter(str(each.reason) for each in several), len(several))


def marked(several: Sequence[Stopping]) -> str:
    """The marks of a method's runs in words: "", "still rising", or "still rising 2 of 3"."""
    found = counted(several)
    return ", ".join(
        mark if number == len(several) else f"{mark} {number} of {len(several)}"
        for mark, number in found.items()
    )


def legend(ended: Mapping[str, Sequence[Stopping]]) -> tuple[str, ...]:
    """Lines below a table: what each sign means and which methods have it; none where no method has one.

    Args:
        ended: the runs of each method, in the order of the table.
    """
    found = {method: several for method, several in ended.items() if signs(several)}
    if not found:
        return ()
    lines = []
    for mark, sign in SIGNS.items():
        there = [
            _share_of(method, mark, several)
            for method, several in found.items()
            if mark in counted(several)
        ]
        lines += [f"{sign} {mark}: {MEANING[mark]}: {', '.join(there)}."] if there else []
    last = f"A difference to {' or '.join(found)} may be one of training, not of methods, however small its p."
    return (*lines, last)


def _share_of(method: str, mark: str, several: Sequence[Stopping]) -> str:
    number = counted(several)[mark]
    return method if number == len(several) else f"{method} ({number} of {len(several)} runs)"


def _listed(found: Counter[str], whole: int) -> str:
    return ", ".join(
        word if number == whole else f"{word} {number}" for word, number in found.most_common()
    )


def _best(curve: Curve) -> int | None:
    """Place of the first of the best evaluations."""
    values = [value for _, value in curve]
    return values.index(max(values)) if values else None
