"""An experiment without a TOML file, as plain values and as the TOML that it was.

The settings are those of a first look: a split in time order where there are times, the defaults of
the method, a few epochs with early stopping, and a last fit on train and valid together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys.config import to_toml
from recsys.errors import InputError
from recsys.quickstart.method_words import canonical

if TYPE_CHECKING:
    from recsys.data.load import LoadedData
    from recsys.quickstart.own_data import StartingData

__all__ = [
    "BASELINES",
    "METHOD",
    "TRAIN",
    "K",
    "Wish",
    "benchmark_tree",
    "commented_toml",
    "data_name",
    "evaluation_table",
    "metric_at",
    "starting_rule",
    "starting_tree",
]

METHOD = "itemknn"
"""The method where none is named: it needs no training, no tuning and no GPU, and is hard to beat
with its default settings."""
BASELINES = ("popular", "itemknn", "ease")
"""The methods of a comparison where none is named."""
K = 20
"""Length of the lists that are measured, where none is given."""
TRAIN: Mapping[str, Any] = {"epochs": 50, "lr": 5e-3, "eval_every": 5, "patience": 2}
"""Settings `[train]` of a first look; methods in closed form do not use them."""

_RATIOS = [0.8, 0.1, 0.1]
_WITHOUT_CUTOFF = ("auc",)


@dataclass(frozen=True)
class Wish:
    """What a user asks for in place of a TOML file; None leaves it open.

    Args:
        model: name of the method.
        metric: the metric that decides, with or without its cut-off.
        k: length of the lists that are measured.

    Raises:
        InputError: an unknown method, or k below 1.
    """

    model: str | None = None
    metric: str | None = None
    k: int | None = None

    def __post_init__(self) -> None:
        if self.model is not None:
            object.__setattr__(self, "model", canonical(self.model))
        if self.k is not None and self.k < 1:
            raise InputError(
                f"k must be at least 1, got {self.k}", remedy="measure 1 or more items"
            )

    @property
    def evaluation(self) -> dict[str, Any]:
        """The section `[evaluate]`."""
        return evaluation_table(self.metric, self.k)


def metric_at(word: str, k: int) -> str:
    """Return a metric with its cut-off: `ndcg` is `ndcg@20`, `recall@50` stays as it is."""
    name, bracket, rest = word.strip().partition("[")
    if "@" in name or name in _WITHOUT_CUTOFF:
        return word.strip()
    return f"{name}@{k}{bracket}{rest}"


def evaluation_table(metric: str | None = None, k: int | None = None) -> dict[str, Any]:
    """Return the section `[evaluate]`: the metric that decides, and the usual ones at k."""
    length = k or K
    decisive = metric_at(metric or "ndcg", length)
    names = [decisive, *(f"{name}@{length}" for name in ("ndcg", "recall", "coverage"))]
    return {"metrics": list(dict.fromkeys(names)), "monitor": decisive}


def starting_rule(loaded: LoadedData) -> dict[str, Any]:
    """Return the section `[split]` for data: as they are split already, or by ratio per user.

    A user's last interactions are the test where there are times, and random ones where not.
    """
    if loaded.parts is None:
        timed = {"order": "time"} if loaded.dataset.pairs.time is not None else {}
        return {"by": "ratio", "ratios": list(_RATIOS), **timed}
    without_valid = {"valid_share": 0.1} if loaded.parts[0] is None else {}
    return {"by": "presplit", **without_valid}


def starting_tree(data: StartingData, wish: Wish) -> dict[str, Any]:
    """Return the plain values of an experiment about data, as a TOML file would hold them."""
    method = wish.model or METHOD
    return {
        "name": f"{method}-{data_name(data.table)}",
        "refit": True,
        "data": dict(data.table),
        "split": starting_rule(data.loaded),
        "model": {"name": method},
        "train": dict(TRAIN),
        "evaluate": wish.evaluation,
    }


def benchmark_tree(data: StartingData, methods: Sequence[str], wish: Wish) -> dict[str, Any]:
    """Return the plain values of a small benchmark about data: methods, three trials, two seeds."""
    name = data_name(data.table)
    return {
        "methods": list(methods),
        "name": f"benchmark-{name}",
        "baselines": True,
        "seeds": 2,
        "trials": 3,
        "refit": True,
        "data": {name: {"data": dict(data.table), "split": starting_rule(data.loaded)}},
        "train": dict(TRAIN),
        "evaluate": wish.evaluation,
    }


def data_name(table: Mapping[str, Any]) -> str:
    """Return a short name for data, of letters, digits, dashes and underscores."""
    source = table.get("source") or Path(str(table.get("path") or table.get("train"))).name
    stem = str(source).partition(".")[0] or "data"
    kept = "".join(each if each.isalnum() or each in "-_" else "-" for each in stem)
    return kept.strip("-_") or "data"


def commented_toml(tree: Mapping[str, Any], lines: Sequence[str]) -> str:
    """Return plain values as TOML text below lines of comment."""
    head = "".join(f"# {' '.join(line.split())}\n" for line in lines)
    return f"{head}\n{to_toml(tree)}"
