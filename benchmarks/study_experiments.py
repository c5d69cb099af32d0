"""The experiments of benchmarks/studies.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
from synthetic import log

from recsys.experiment.experiment import Experiment, from_tree

__all__ = ["steam", "tiny"]


def steam(path: str | None, model: str, trials: int, epochs: int) -> dict[str, Any]:
    """Return short trials on Steam-200k with the split of the metric-learning tables."""
    space: dict[str, Any] = {
        "train.lr": {"low": 5e-4, "high": 2e-2, "log": True},
        "model.dim": {"low": 8, "high": 32, "step": 8},
        "model.loss.margin": {"low": 0.5, "high": 2.0},
        "model.loss.reduce": {"choices": ["each", "hardest"]},
    }
    if model == "dpcml":
        space["model.diversity.weight"] = {"choices": [3.0, 10.0, 30.0]}
    return {
        "name": f"{model}-killed",
        "data": {"path": path, "min_user": 5} if path else {"source": "steam-200k-played"},
        "split": {"by": "libcml", "drop_cold": False},
        "model": {
            "name": model,
            "dim": 16,
            "loss": {"kind": "hinge", "reduce": "each", "margin": 1.0},
            "sampler": {"negatives": 4},
        },
        "train": {
            "epochs": epochs,
            "batch_size": 512,
            "lr": 3e-3,
            "patience": "none",
            "device": "cpu",
            "checkpoint_seconds": 0.2,
        },
        "evaluate": {"metrics": ["precision@3"], "monitor": "precision@3"},
        "tune": {"trials": trials, "space": space},
    }


def tiny(folder: Path, trials: int, epochs: int) -> Experiment:
    """Return an experiment with trials of a second or less on a small synthetic log."""
    pairs = log(1500, 400, 24_000, seed=1)
    path = folder / "log.parquet"
    pl.DataFrame({"user": pairs.user, "item": pairs.item}).write_parquet(path)
    space = {
        "train.lr": {"low": 1e-4, "high": 1e-1, "log": True},
        "model.dim": {"low": 4, "high": 64, "step": 4},
        "model.l2": {"low": 1e-6, "high": 1e-2, "log": True},
        "model.loss": {"choices": [{"kind": "bpr"}, {"kind": "softmax"}]},
    }
    return from_tree(
        {
            "name": "tiny",
            "data": {"path": str(path), "user": "user", "item": "item"},
            "model": {"name": "mf", "dim": 8, "sampler": {"negatives": 2}},
            "train": {
                "epochs": epochs,
                "batch_size": 2048,
                "lr": 0.01,
                "patience": "none",
                "device": "cpu",
                "checkpoint_seconds": 1.0,
            },
            "evaluate": {"metrics": ["ndcg@10"], "monitor": "ndcg@10"},
            "tune": {"trials": trials, "space": space},
        }
    )
