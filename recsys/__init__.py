"""recsys trains, compares and serves top-N recommenders from implicit feedback.

The names below are the public interface. They are loaded when they are first used, so `import
recsys` is fast and loads no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recsys.api import compare, evaluate, fit, load, recipe, recommend, split
    from recsys.data.audit import audit
    from recsys.data.types import Dataset, Interactions
    from recsys.errors import InputError
    from recsys.evaluation import Evaluation
    from recsys.experiment import execute, open_run, verify
    from recsys.serving import add_items, export, similar_items
    from recsys.study import open_study, tune
    from recsys.training import Train

__all__ = [
    "Dataset",
    "Evaluation",
    "InputError",
    "Interactions",
    "Train",
    "add_items",
    "audit",
    "compare",
    "evaluate",
    "execute",
    "export",
    "fit",
    "load",
    "open_run",
    "open_study",
    "recipe",
    "recommend",
    "similar_items",
    "split",
    "tune",
    "verify",
]

# Module of each public name; the imports above tell the same to type checkers and editors.
_HOMES = {
    "Dataset": "recsys.data.types",
    "Evaluation": "recsys.evaluation",
    "InputError": "recsys.errors",
    "Interactions": "recsys.data.types",
    "Train": "recsys.training",
    "add_items": "recsys.serving",
    "audit": "recsys.data.audit",
    "compare": "recsys.api",
    "evaluate": "recsys.api",
    "execute": "recsys.experiment",
    "export": "recsys.serving",
    "fit": "recsys.api",
    "load": "recsys.api",
    "open_run": "recsys.experiment",
    "open_study": "recsys.study",
    "recipe": "recsys.api",
    "recommend": "recsys.api",
    "similar_items": "recsys.serving",
    "split": "recsys.api",
    "tune": "recsys.study",
    "verify": "recsys.experiment",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(
            f"module 'recsys' has no attribute '{name}'; it has {', '.join(__all__)}"
        )
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return list(__all__)
