"""The logs of the trials behind the tables in docs/tables: benchmarks/trials/, one JSON line each.

They were written by an earlier search. Searches of `recsys benchmark` keep studies of their own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["ROOT", "Budget", "Trial", "best_trial", "budgets"]

ROOT = Path(__file__).parents[1]
_TRIALS = ROOT / "benchmarks" / "trials"


@dataclass(frozen=True)
class Trial:
    """One trial.

    Args:
        value: the monitored metric on valid at the best epoch.
        epoch: the best epoch.
        settings: the values of the searched fields, by dotted path.
    """

    value: float
    epoch: int
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Budget:
    """The budget of a log's trials.

    Args:
        trials: of the search behind the table; a log may hold more.
        epochs: of a trial, at most.
        eval_every: epochs between two evaluations on valid.
        patience: evaluations without a better value after which a trial ended; None for never.
    """

    trials: int
    epochs: int
    eval_every: int
    patience: int | None


def budgets() -> dict[str, Budget]:
    """Return the budget of each log that has one, by its name, such as "multimodal/tiktok/bm3"."""
    plain = json.loads((_TRIALS / "budgets.json").read_text(encoding="utf-8"))
    return {name: Budget(**budget) for name, budget in plain.items()}


def best_trial(name: str, trials: int) -> Trial:
    """Return the best of the first trials of a log.

    Args:
        name: path of the log in benchmarks/trials, without its suffix.
        trials: to look at.
    """
    text = (_TRIALS / f"{name}.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()[:trials]]
    known = [Trial(line["value"], line["epoch"], line["params"]) for line in lines]
    return max(known, key=lambda trial: trial.value)
