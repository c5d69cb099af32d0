"""recsys: implicit-feedback logs in; trained, honestly compared, deployable recommenders out.

The names below are the public interface; they are loaded when they are first used, so importing recsys costs nothing.
"""

from __future__ import annotations

import importlib
from typing import Any

__all__ = [
    "Evaluation",
    "InputError",
    "Train",
    "compare",
    "evaluate",
    "execute",
    "fit",
    "load",
    "open_run",
    "open_study",
    "recipe",
    "recommend",
    "split",
    "tune",
]

_HOMES = {
    "Evaluation": ("recsys.evaluation.evaluator", "Evaluation"),
    "InputError": ("recsys.errors", "InputError"),
    "Train": ("recsys.training.settings", "Train"),
    "compare": ("recsys.api", "compare"),
    "evaluate": ("recsys.api", "evaluate"),
    "execute": ("recsys.experiment.execution", "execute"),
    "fit": ("recsys.api", "fit"),
    "load": ("recsys.api", "load"),
    "open_run": ("recsys.experiment.execution", "open_run"),
    "open_study": ("recsys.study.tuning", "open_study"),
    "recipe": ("recsys.api", "recipe"),
    "recommend": ("recsys.api", "recommend"),
    "split": ("recsys.api", "split"),
    "tune": ("recsys.study.tuning", "tune"),
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(
            f"module 'recsys' has no attribute '{name}'; it has {', '.join(__all__)}"
        )
    return getattr(importlib.import_module(home[0]), home[1])


def __dir__() -> list[str]:
    return list(__all__)
