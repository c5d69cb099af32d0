"""Choose the settings of configs/<method>-<data>.toml: the same number of trials for every method, validation only.

    python benchmarks/tune.py online-retail --trials 8                # all methods below
    python benchmarks/tune.py online-retail mf lightgcn --trials 8    # some
    python benchmarks/tune.py gowalla mf --trials 8 --base path/to/base.toml

The first trial is the method's default, the next ones are Optuna's TPE with a fixed seed. The test part stays sealed: nothing
here could open it. Prints the best settings as TOML and appends every trial to runs/tune-<data>.jsonl.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import optuna

from recsys.config import to_toml
from recsys.errors import InputError, TrainingError
from recsys.experiment import from_tree, read
from recsys.run import data_of
from recsys.train import fit

Space = dict[str, Any]

LR = ("float", 1e-3, 2e-2)
POWER = ("choice", [0.0, 0.25, 0.5, 0.75, 1.0])
KNN: Space = {"model.k": ("choice", [20, 50, 100, 200, 500, 1000]), "model.shrink": ("float", 0.1, 100.0)}
TRAINED: Space = {
    "train.lr": LR,
    "model.l2": ("float", 1e-3, 1e-1),
    "model.loss": ("choice", ["bpr", "bpr of the hardest", "softmax"]),
    "model.sampler.negatives": ("choice", [32, 128]),
}
LOSSES: Space = {
    "bpr": {"kind": "bpr"},
    "bpr of the hardest": {"kind": "bpr", "reduce": "top", "top": 8},
    "softmax": {"kind": "softmax"},
}
SPACES: dict[str, Space] = {
    "popular": {},
    "itemknn": KNN | {"model.user_power": POWER, "model.history_power": POWER, "model.target_power": POWER},
    "userknn": KNN | {"model.item_power": POWER, "model.own_power": POWER, "model.neighbour_power": POWER},
    "ease": {"model.l2": ("float", 1.0, 3000.0)},
    "ials": {"model.unobserved": ("float", 1e-3, 1.0), "model.l2": ("float", 1e-4, 1e-1)},
    "gfcf": {"model.low_pass": ("choice", [0.0, 0.1, 0.3, 1.0]), "model.rank": ("choice", [32, 64, 128, 256])},
    "mf": TRAINED,
    "lightgcn": TRAINED | {"model.layers": ("choice", [1, 2, 3])},
    "cml": {
        "train.lr": LR,
        "model.loss.margin": ("float", 0.2, 2.0),
        "model.loss.reduce": ("choice", ["warp", "hardest"]),
        "model.sampler.negatives": ("choice", [8, 32, 128]),
        "model.covariance": ("float", 1e-3, 10.0),
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("methods", nargs="*")
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--base", type=Path, help="TOML with [data], [split], [train], [evaluate]; default benchmarks/base-<data>.toml")
    arguments = parser.parse_args()
    base_path = arguments.base or Path(__file__).parent / f"base-{arguments.data}.toml"
    from recsys.config import read_toml

    base = read_toml(base_path)
    split = data_of(read(base_path, ["model.name=popular"]))
    log = Path("runs") / f"tune-{arguments.data}.jsonl"
    log.parent.mkdir(exist_ok=True)
    for method in arguments.methods or SPACES:
        best = tune(method, base, split, arguments.trials, log)
        print(f"# {method}: best of {arguments.trials} trials\n{to_toml(best)}", flush=True)


def tune(method: str, base: dict[str, Any], split: Any, trials: int, log: Path) -> dict[str, Any]:
    """The tree of the best trial on validation."""
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0, n_startup_trials=8))
    space = SPACES[method]
    trees: list[dict[str, Any]] = []

    def objective(trial: optuna.Trial) -> float:
        tree: dict[str, Any] = json.loads(json.dumps(base))
        tree["model"] = {"name": method}
        if method == "lightgcn":
            _set(tree, "train.rows", "dense")  # its every row has a gradient
            _set(tree, "train.batch_size", 8192)  # a step costs a pass over the graph, whatever the batch
        if trial.number:  # the first is the default
            for path, spec in space.items():
                _set(tree, path, trial.suggest_categorical(path, spec[1]) if spec[0] == "choice" else trial.suggest_float(path, *spec[1:], log=True))
        if isinstance(tree["model"].get("loss"), str):
            tree["model"]["loss"] = dict(LOSSES[tree["model"]["loss"]])
        if tree["model"].get("sampler", {}).get("negatives", 1) > 8:  # many negatives only pay when a batch shares them
            _set(tree, "model.sampler.pool", "shared")
        trees.append(tree)
        experiment = from_tree(tree)
        began = time.perf_counter()
        try:
            fitted = fit(experiment.model, split.train, split.valid, experiment.train, experiment.evaluate)
            value = max(entry["valid"][experiment.evaluate.monitor] for entry in fitted.history if "valid" in entry)
        except TrainingError:
            fitted, value = None, 0.0
        seconds = time.perf_counter() - began
        entry = {
            "method": method,
            "trial": trial.number,
            "value": value,
            "seconds": round(seconds, 2),
            "epochs": fitted.best_epoch if fitted else 0,
            "params": trial.params,
        }
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        print(f"{method} {trial.number:>3} {value:.4f} {seconds:6.1f} s {trial.params}", file=sys.stderr, flush=True)
        return value

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study.optimize(objective, n_trials=trials if space else 1)
    return trees[study.best_trial.number]


def _set(tree: dict[str, Any], path: str, value: Any) -> None:
    *parents, leaf = path.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[leaf] = round(value, 6) if isinstance(value, float) else value


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"tune: {error}")
