"""Amazon Electronics 14-core, the data of NBPO: BPR, BPO, NBPO, UltraGCN, SimpleX and simple baselines, tuned alike, beside published values.

    python benchmarks/electronics.py tune --path FOLDER     # the same trials for every method, on valid
    python benchmarks/electronics.py run --path FOLDER      # five seeds of the chosen settings, on test
    python benchmarks/electronics.py table                  # docs/tables/electronics.md

Files, split and protocol are those of Yu and Qin (SIGIR 2020): train pairs are masked, valid pairs stay candidates in the test. The published
numbers are each metric at its own best epoch, some of them selected on test; here one epoch is selected by ndcg@20 on valid.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from harness import (
    ITEMKNN,
    TRIALS,
    attempt,
    chosen,
    claims,
    endings,
    mean,
    ordered,
    put,
    search,
    section,
    show,
    told,
    work,
)

from recsys.data.types import Split
from recsys.errors import InputError
from recsys.evaluation.evaluator import Evaluation, Report
from recsys.experiment.execution import data_of, execute
from recsys.experiment.experiment import from_tree

KEEP = Path("runs") / "electronics"
N_TRIALS = 32
METRICS = ["f1@5", "f1@10", "f1@20", "ndcg@5", "ndcg@10", "ndcg@20"]
PUBLISHED = {
    "bpr": [0.0326, 0.0317, 0.0275, 0.0444, 0.0551, 0.0680],
    "nbpo": [0.0401, 0.0357, 0.0313, 0.0555, 0.0655, 0.0810],
    "ultragcn": [None, None, 0.0330, None, None, 0.0829],
    "simplex": [None, None, 0.0338, None, None, 0.0842],
}
CLAIMS = (
    ("nbpo", "bpo"),
    ("nbpo", "bpr"),
    ("bpo", "bpr"),
    ("simplex", "nbpo"),
    ("ultragcn", "nbpo"),
)
LR = {"train.lr": ("log", 1e-3, 2e-2)}
# Plain gradient descent with the published step: lr = eta x pairs of a batch x negatives. The searches began at 5,000 pairs; an epoch of
# 31,887 has seven even batches, so the step of the authors is that of a seventh.
FOUR = {"negatives": 4}
ETA = 0.05
SGD = {"optimizer": "sgd", "batch_size": 5000, "lr": ETA * 5000 * 4, "epochs": 200}
FLIPS = {"train.lr": ("log", 300.0, 2000.0), "model.l2": ("log", 0.2, 3.0)}

METHODS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "popular": ({"name": "popular"}, {}, {}),
    "itemknn": ({"name": "itemknn"}, ITEMKNN, {}),
    "ease": ({"name": "ease"}, {"model.l2": ("log", 10.0, 3000.0)}, {}),
    "bpr": (
        {"name": "mf", "dim": 50, "loss": {"kind": "bpr"}, "sampler": FOUR, "l2": 0.02},
        LR | {"model.l2": ("log", 1e-3, 0.3)},
        {},
    ),
    "bpr-top": (
        {
            "name": "mf",
            "dim": 50,
            "loss": {"kind": "bpr", "reduce": "top", "top": 8},
            "sampler": {"negatives": 128, "pool": "shared"},
            "l2": 0.02,
        },
        LR | {"model.l2": ("log", 5e-3, 0.2), "model.loss.top": ("choice", [4, 8, 16])},
        {},
    ),
    "bpo": ({"name": "nbpo", "variant": "bpo", "sampler": FOUR}, FLIPS, SGD),
    "nbpo": ({"name": "nbpo", "sampler": FOUR}, FLIPS | {"model.flip_l2": ("log", 1.0, 10.0)}, SGD),
    # Nothing is searched here: step, weights, decay and length as its authors have them.
    "nbpo as published": (
        {"name": "nbpo", "sampler": FOUR},
        {},
        SGD | {"schedule": "exponential", "lr": 0.99 * ETA * 31_887 / 7 * 4, "patience": "none"},
    ),
    "ultragcn": (
        {
            "name": "ultragcn",
            "dim": 50,
            "negative_weight": 50.0,
            "item_weight": 0.5,
            "sampler": {"negatives": 300, "pool": "shared", "reject": False},
        },
        LR
        | {
            "model.negative_weight": ("log", 1.0, 300.0),
            "model.item_weight": ("log", 0.01, 10.0),
            "model.l2": ("log", 1e-5, 1e-2),
            "model.init_std": ("choice", [1e-4, 1e-2]),
        },
        {},
    ),
    "simplex": (
        {
            "name": "simplex",
            "dim": 50,
            "loss": {"kind": "ccl", "margin": 0.8, "weight": 4.0},
            "sampler": {"negatives": 1000, "pool": "shared"},
        },
        LR
        | {
            "model.loss.margin": ("choice", [0.6, 0.7, 0.8, 0.9]),
            "model.loss.weight": ("log", 1.0, 300.0),
            "model.own": ("choice", [0.0, 0.25, 0.5, 0.75, 1.0]),
        },
        {},
    ),
}


def tree_of(method: str, path: str, params: dict[str, Any]) -> dict[str, Any]:
    """The experiment of a method with some of its settings changed."""
    model, _, train = METHODS[method]
    tree: dict[str, Any] = {
        "data": {
            "path": path,
            "train": "train_data.json",
            "valid": "validation_data.json",
            "test": "test_data.json",
            "format": "json-lists",
        },
        "split": {"by": "presplit", "drop_cold": False},
        "model": model,
        "train": {"epochs": 300, "batch_size": 512, "lr": 5e-3, "eval_every": 5, "patience": 6}
        | train,
        "evaluate": {"metrics": METRICS, "monitor": "ndcg@20", "keep_valid": True},
    }
    tree["model"] = {
        name: dict(value) if isinstance(value, dict) else value for name, value in model.items()
    }
    for name, value in params.items():
        put(tree, name, value)
    return tree


def log_of(method: str) -> Path:
    return TRIALS / "electronics" / f"{method}.jsonl"


def job(task: tuple[Any, ...]) -> None:
    command, method, path, *seed = task
    if command == "run":
        run(method, path, *seed)
        return
    parts: list[Split] = []

    def trial(params: dict[str, Any], best: float) -> dict[str, Any]:
        experiment = from_tree(tree_of(method, path, params))
        if not parts:
            parts.append(data_of(experiment))
        return attempt(
            experiment,
            parts[0],
            best,
            Evaluation(metrics=("ndcg@20",), monitor="ndcg@20"),
            after=20,
        )

    search(log_of(method), METHODS[method][1], N_TRIALS, trial)


def run(method: str, path: str, seed: int) -> None:
    folder = KEEP / method / f"{seed}"
    if (folder / "test" / "report.json").exists():
        return
    tree = tree_of(method, path, chosen(log_of(method), N_TRIALS))
    tree["name"], tree["train"]["seed"] = method, seed
    report = execute(from_tree(tree), folder, resume=(folder / "run.json").exists()).report("test")
    print(
        f"{method} seed {seed}: " + " ".join(f"{name} {report[name]:.4f}" for name in METRICS),
        flush=True,
    )


def table() -> str:
    found = {
        m: [Report.load(folder) for folder in sorted((KEEP / m).glob("*/test"))] for m in METHODS
    }
    found = {method: several for method, several in found.items() if several}
    ended = {method: endings(sorted((KEEP / method).glob("*"))) for method in found}
    if not found:
        raise InputError(
            "there is no run yet",
            place=str(KEEP),
            remedy="python benchmarks/electronics.py run --path FOLDER",
        )
    lines = ["# Amazon Electronics 14-core, test", ""]
    lines += section(found, ["ndcg@20", "f1@20", "f1@10"], {}, scale=1, ended=ended)
    lines += ["", *claims(found, CLAIMS, "ndcg@20", ended)]
    lines += [
        "Means beside the published values (in italics):",
        "",
        "| method | " + " | ".join(METRICS) + " |",
        "|---|" + "---:|" * len(METRICS),
    ]
    for method, several in ordered(found, "ndcg@20"):
        lines.append(
            f"| {method} | " + " | ".join(f"{mean(several, name):.4f}" for name in METRICS) + " |"
        )
        if method.split()[0] in PUBLISHED:
            lines.append(
                "| *published* | "
                + " | ".join(
                    "" if value is None else f"*{value:.4f}*"
                    for value in PUBLISHED[method.split()[0]]
                )
                + " |"
            )
    lines += [
        "",
        f"{N_TRIALS} trials a method on valid; monitor ndcg@20; valid pairs stay candidates in the test.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["tune", "run", "table"])
    parser.add_argument("--path", default="", help="the folder of the data")
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.command == "table":
        show("electronics", table())
        return
    tasks: list[tuple[Any, ...]] = [
        (arguments.command, method, arguments.path) for method in arguments.methods
    ]
    if arguments.command == "run":
        fixed = ("popular", "itemknn", "ease")
        tasks = [
            (*task, seed)
            for seed in range(arguments.seeds)
            for task in tasks
            if seed == 0 or task[1] not in fixed
        ]
    work(job, tasks, arguments.workers)


if __name__ == "__main__":
    told(main, "electronics")
