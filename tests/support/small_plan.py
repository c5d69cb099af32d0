"""A small plan of a benchmark, and the interactions it is about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from recsys.config import to_toml


def write_log(folder: Path) -> Path:
    """Write interactions of 60 users in two groups, each with a taste, and 40 items."""
    generator = np.random.default_rng(0)
    user = np.repeat(np.arange(60), 12)
    choices = [generator.choice(20, size=12, replace=False) + 20 * (u % 2) for u in range(60)]
    path = folder / "log.csv"
    pl.DataFrame({"user": user, "item": np.concatenate(choices)}).write_csv(path)
    return path


def tree(log: Path, **changes: Any) -> dict[str, Any]:
    """Return the plan of a closed form and a trained method on two data sets."""
    return {
        "methods": ["ease", "mf"],
        "baselines": False,
        "seeds": 2,
        "trials": 2,
        "data": {
            "one": {"data": {"path": str(log)}},
            "other": {"data": {"path": str(log)}, "split": {"seed": 1}},
        },
        "train": {"epochs": 2, "batch_size": 128},
        "evaluate": {"metrics": ["ndcg@5", "recall@5", "coverage@5"], "monitor": "ndcg@5"},
        "method": {
            "mf": {
                "model": {"dim": 4},
                "space": {"train.lr": {"low": 1e-3, "high": 1e-1, "log": True}},
            }
        },
    } | changes


def written(folder: Path, config: dict[str, Any]) -> Path:
    """Write a plan into a folder and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "small.toml"
    path.write_text(to_toml(config), encoding="utf-8")
    return path
