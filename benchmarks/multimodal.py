"""The table of the multimodal family on items that everyone has met: tuned alike, several seeds, paired tests.

    python benchmarks/multimodal.py tune tiktok --path ../shared/data/tiktok     # the same trials for every method, on valid only
    python benchmarks/multimodal.py run tiktok --path ../shared/data/tiktok      # the chosen settings, five seeds each
    python benchmarks/multimodal.py table tiktok                                 # means, intervals, tests -> docs/tables/

`online-retail` is built in and takes no `--path`. `--workers 2` works on two methods at a time, `--methods` names some, `--epochs 1 --trials 1` is to see
that it runs. Trials are kept in benchmarks/trials/multimodal/, runs in runs/multimodal/; what is there is not done again. The test part is opened by
`run` alone. New items are measured by benchmarks/new_items.py.

Features are frozen where a method can train them: tables that move cost most of the time and, on data this small, bring nothing measurable.
"""

from __future__ import annotations

import argparse
import json
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
    trials_of,
    work,
)

from recsys.data.types import Split
from recsys.errors import InputError
from recsys.evaluation.evaluator import Evaluation, Report
from recsys.experiment.execution import data_of, execute
from recsys.experiment.experiment import Experiment, from_tree

KEEP = Path("runs") / "multimodal"
DATA = {"tiktok": "TikTok (image and audio)", "online-retail": "Online Retail (text and price)"}
METRICS = ["recall@10", "recall@20", "ndcg@10", "ndcg@20", "coverage@20"]
MONITOR = "recall@20"
SEEDS, N_TRIALS = 5, 6
# What the papers say: the first is the better of the two.
CLAIMS = (
    ("bm3", "lightgcn"),
    ("bm3", "vbpr"),
    ("freedom", "lightgcn"),
    ("mgcn", "lightgcn"),
    ("siger", "lightgcn"),
    ("milk", "duif"),
)
CLOSED = ("popular", "itemknn", "ease", "contentknn")

LR = {"train.lr": ("log", 5e-4, 1e-2)}
L2 = {"model.l2": ("log", 1e-5, 1e-1)}
ROW = {"model.scale": ("choice", ["none", "row"])}
LAYERS = {"model.layers": ("choice", [1, 2, 3])}

# name in the table -> (the model with its published or default settings, what is tuned, changes to [train])
METHODS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "popular": ({"name": "popular"}, {}, {}),
    "itemknn": ({"name": "itemknn"}, ITEMKNN, {}),
    "ease": ({"name": "ease"}, {"model.l2": ("log", 10.0, 3000.0)}, {}),
    "mf": ({"name": "mf"}, LR | L2, {}),
    "lightgcn": ({"name": "lightgcn", "layers": 2}, LR | L2 | LAYERS, {}),
    "vbpr": ({"name": "vbpr"}, LR | ROW | {"model.l2": ("log", 1e-3, 2.0)}, {}),
    "lattice": (
        {"name": "lattice", "train_features": False},
        LR | L2 | ROW | {"model.layers": ("choice", [1, 2])},
        {},
    ),
    "freedom": (
        {"name": "freedom", "train_features": False},
        LR | ROW | {"model.content": ("log", 1e-5, 1e-1), "model.prune": ("choice", [0.8, 0.9])},
        {},
    ),
    "mgcn": (
        {"name": "mgcn", "train_features": False},
        LR | L2 | ROW | {"model.contrast": ("log", 1e-3, 1e-1)},
        {},
    ),
    "siger": ({"name": "siger", "train_features": False}, LR | L2 | ROW, {}),
    "bm3": (
        {"name": "bm3", "train_features": False},
        LR
        | ROW
        | {
            "model.l2": ("choice", [0.0, 0.01, 0.1]),
            "model.dropout": ("choice", [0.3, 0.5]),
            "model.layers": ("choice", [1, 2]),
        },
        {"patience": 12},
    ),
    "milk": (
        {"name": "milk"},
        LR
        | {
            "model.invariance": ("choice", [0.1, 1.0, 10.0, 50.0, 100.0]),
            "model.alignment": ("choice", [0.01, 0.05, 0.1, 0.5]),
            "model.alpha": ("choice", [0.01, 0.1, 1.0]),
        },
        {},
    ),
    "duif": ({"name": "duif"}, LR | L2, {}),
    "contentknn": ({"name": "contentknn"}, {"model.k": ("choice", [20, 50, 100, 200])}, {}),
}
# Evaluations without a rise after which a training ends, every fourth epoch one: wide, so that a low step size is not taken for a bad one. On TikTok
# BM3 falls and stands still for some 30 epochs before it rises, and has more there.
PATIENCE = {"tiktok": 6, "online-retail": 12}
# Learning rates, where the methods of a table meet the same ones trial by trial; on TikTok each drew its own.
DRAWS = {"tiktok": None, "online-retail": "shop"}
# Epochs and pairs of a batch, so that a trial takes one to three minutes of one core. A step of a method that propagates over graphs costs the same
# whatever its batch, so these get larger ones.
PACE: dict[str, dict[str, tuple[int, int]]] = {
    "tiktok": {
        "mf": (120, 2048),
        "lightgcn": (80, 2048),
        "vbpr": (120, 2048),
        "lattice": (64, 4096),
        "freedom": (64, 2048),
        "mgcn": (40, 4096),
        "siger": (24, 4096),
        "bm3": (120, 2048),
        "milk": (100, 2048),
        "duif": (120, 2048),
    },
    "online-retail": {
        "mf": (160, 2048),
        "lightgcn": (120, 4096),
        "vbpr": (80, 2048),
        "lattice": (100, 8192),
        "freedom": (100, 4096),
        "mgcn": (48, 8192),
        "siger": (20, 8192),
        "bm3": (100, 4096),
        "milk": (100, 2048),
        "duif": (80, 2048),
    },
}


def require(data: str, path: str) -> None:
    """Refuse a folder without the data, before any worker does."""
    if data == "tiktok" and not Path(path, "trnMat.npz").is_file():
        raise InputError(
            "has no trnMat.npz",
            place=path or "--path",
            remedy="give the folder of the data: --path FOLDER",
        )


def source(data: str, path: str) -> dict[str, Any]:
    """The section [data]."""
    if data == "online-retail":
        return {"source": "online-retail"}
    features = {"image": "image_feat.npy", "audio": "audio_feat.npy"}
    return {
        "path": path,
        "train": "trnMat.npz",
        "valid": "valMat.npz",
        "test": "tstMat.npz",
        "features": features,
    }


def experiment(
    data: str, method: str, path: str, params: dict[str, Any], epochs: int | None = None
) -> Experiment:
    """The experiment of a method with some of its settings changed."""
    model, _, train = METHODS[method]
    usual, batch = PACE[data].get(method, (1, 2048))
    most = epochs or usual
    tree: dict[str, Any] = {
        "name": method,
        "data": source(data, path),
        "split": {"by": "presplit"} if data == "tiktok" else {"by": "ratio", "order": "time"},
        "model": json.loads(json.dumps(model)),
        "train": {
            "epochs": most,
            "batch_size": batch,
            "lr": 2e-3,
            "eval_every": min(4, most),
            "patience": PATIENCE[data],
            "device": "cpu",
        }
        | train,
        # On TikTok valid items stay candidates in the test, as in the tables of others; each of its users has one of them at most.
        "evaluate": {"metrics": METRICS, "monitor": MONITOR, "keep_valid": data == "tiktok"},
    }
    for name, value in params.items():
        put(tree, name, value)
    return from_tree(tree)


def log_of(data: str, method: str) -> Path:
    return TRIALS / "multimodal" / data / f"{method}.jsonl"


def tune(data: str, method: str, path: str, n_trials: int, epochs: int | None) -> None:
    """The trials that are missing; the first is the published or default setting, an unpromising one ends early."""
    parts: list[Split] = []

    def trial(params: dict[str, Any], best: float) -> dict[str, Any]:
        made = experiment(data, method, path, params, epochs)
        if not parts:
            parts.append(data_of(made))
        return attempt(
            made, parts[0], best, Evaluation(metrics=(MONITOR,), monitor=MONITOR), after=12
        )

    search(log_of(data, method), METHODS[method][1], n_trials, trial, draws=DRAWS[data])


def run(data: str, method: str, path: str, seed: int, n_trials: int, epochs: int | None) -> None:
    """The chosen settings with one seed."""
    folder = KEEP / data / method / f"{seed}"
    if (folder / "test" / "report.json").exists():
        return
    params = chosen(log_of(data, method), n_trials)
    made = experiment(data, method, path, params | {"train.seed": seed}, epochs)
    report = execute(made, folder, resume=(folder / "run.json").exists()).report("test")
    print(
        f"{data} {method} seed {seed}: "
        + " ".join(f"{name} {report[name]:.4f}" for name in METRICS),
        flush=True,
    )


def table(data: str, n_trials: int) -> str:
    """Markdown: means over seeds and users with 95 % intervals, paired tests against the best."""
    found = {
        method: [
            Report.load(folder) for folder in sorted((KEEP / data / method).glob("[0-9]*/test"))
        ]
        for method in METHODS
    }
    found = {method: several for method, several in found.items() if several}
    ended = {method: endings(sorted((KEEP / data / method).glob("[0-9]*"))) for method in found}
    if not found:
        raise InputError(
            "there is no run yet",
            place=str(KEEP / data),
            remedy=f"python benchmarks/multimodal.py run {data}",
        )
    lines = [
        f"# {DATA[data]}: the multimodal family",
        "",
        *section(found, ["recall@20", "ndcg@20", "recall@10"], {}, scale=1, ended=ended),
        "",
    ]
    lines += claims(found, CLAIMS, MONITOR, ended)
    lines += [
        "All metrics, means over seeds:",
        "",
        "| method | " + " | ".join(METRICS) + " |",
        "|---|" + "---:|" * len(METRICS),
    ]
    lines += [
        f"| {method} | " + " | ".join(f"{mean(several, name):.4f}" for name in METRICS) + " |"
        for method, several in ordered(found, MONITOR)
    ]
    tried = {method: len(trials_of(log_of(data, method))[:n_trials]) for method in found}
    fewer = ", ".join(method for method, n in tried.items() if n < n_trials)
    lines += [
        "",
        f"Trials on valid per method: {n_trials}"
        + (f" (fewer: {fewer})" if fewer else "")
        + f"; monitor {MONITOR}. Features are frozen.",
    ]
    return "\n".join(lines) + "\n"


def job(task: tuple[Any, ...]) -> None:
    command, *rest = task
    (tune if command == "tune" else run)(*rest)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["tune", "run", "table"])
    parser.add_argument("data", choices=list(DATA))
    parser.add_argument("--path", default="", help="the folder of the data")
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--trials", type=int, default=N_TRIALS)
    parser.add_argument("--epochs", type=int, help="in place of the usual number")
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    if given.command == "table":
        show(f"multimodal-{given.data}", table(given.data, given.trials))
        return
    require(given.data, given.path)
    if given.command == "tune":
        tasks: list[tuple[Any, ...]] = [
            ("tune", given.data, method, given.path, given.trials, given.epochs)
            for method in given.methods
        ]
    else:
        pairs = [
            (seed, method)
            for seed in range(given.seeds)
            for method in given.methods
            if seed == 0 or method not in CLOSED
        ]
        tasks = [
            ("run", given.data, method, given.path, seed, given.trials, given.epochs)
            for seed, method in pairs
        ]
    work(job, tasks, given.workers)


if __name__ == "__main__":
    told(main, "multimodal")
