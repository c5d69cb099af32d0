"""The table of the metric-learning family: tuned alike, several seeds, beside the published rows.

    python benchmarks/metric_learning.py tune steam-200k --path users.dat      # the same trials for every method, on valid only
    python benchmarks/metric_learning.py run steam-200k --path users.dat       # the chosen settings, five seeds each
    python benchmarks/metric_learning.py paper steam-200k --path users.dat     # HarS, DPCML1, DPCML2 with the papers' settings, three seeds
    python benchmarks/metric_learning.py table steam-200k                      # means, intervals, tests -> docs/tables/

`--path` is the users.dat of the data set where the catalogue does not have it. `--workers 2` works on two methods at a time, `--methods`
names some. Trials are kept in benchmarks/trials/, runs in runs/metric-learning/; what is there is not done again. The test part is opened by `run` alone.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from harness import (
    ITEMKNN,
    ROOT,
    attempt,
    chosen,
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
from harness import TRIALS as TRIAL_LOGS

from recsys.config import to_toml
from recsys.data.types import Split
from recsys.evaluation.evaluator import Evaluation, Report, evaluate
from recsys.experiment.execution import data_of, execute
from recsys.experiment.experiment import from_tree

KEEP = Path("runs") / "metric-learning"
DATA = {"steam-200k": "Steam-200k", "ml-100k-likes": "MovieLens-100k, ratings of 4 and more"}
# Where each comes from in the catalogue, and what its configurations are called.
SOURCE = {"steam-200k": "steam-200k-played", "ml-100k-likes": "ml-100k-likes"}
SHORT = {"steam-200k": "steam200k", "ml-100k-likes": "ml100k"}
METRICS = [
    "precision@3",
    "recall@3",
    "ndcg@3",
    "precision@5",
    "recall@5",
    "ndcg@5",
    "map",
    "mrr",
    "auc",
]
OURS = ("recall@20", "ndcg@20", "coverage@20")
SEEDS = 5
TRIALS = {"steam-200k": 5, "ml-100k-likes": 6}  # of every method that has settings

# What every method shares: the split, the metrics and the selection of Bao et al. (NeurIPS 2022).
BASE: dict[str, Any] = {
    "split": {"by": "libcml", "drop_cold": False},
    "train": {"epochs": 80, "batch_size": 512, "lr": 3e-3, "eval_every": 4, "patience": 3},
    "evaluate": {
        "metrics": METRICS,
        "monitor": "precision@3",
        "skip_short_users": True,
        "min_test_full": 3,
        "keep_valid": True,
    },
}

LR = ("log", 5e-4, 1e-2)
MARGIN = ("choice", [0.5, 1.0, 1.5, 2.0])
BAND = ("choice", [[0.05, 0.25], [0.1, 0.35], [0.2, 0.5]])
METRIC = {"train.lr": LR, "model.loss.margin": MARGIN}
SEVERAL = METRIC | {
    "model.vectors": ("choice", [3, 5]),
    "band": BAND,
    "model.diversity.weight": ("choice", [3.0, 10.0, 30.0]),
}
POOL = ("choice", [[10, 0.2], [50, 0.1], [50, 0.04]])
PAIRS = {"train.lr": LR, "model.l2": ("log", 1e-3, 1e-1), "model.loss.top": ("choice", [4, 8, 16])}
HARD = {"kind": "bpr", "reduce": "top", "top": 8}


def hinge(reduce: str, **more: Any) -> dict[str, Any]:
    return {"kind": "hinge", "reduce": reduce, "margin": 1.0, **more}


def cml(reduce: str, sampler: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "name": "cml",
        "user_space": "sphere",
        "loss": hinge(reduce),
        "sampler": sampler,
        **more,
    }


def dpcml(reduce: str, assign: str = "basic", **more: Any) -> dict[str, Any]:
    loss = hinge(reduce, share=0.2) if reduce == "top" else hinge(reduce)
    return {
        "name": "dpcml",
        "vectors": 5,
        "assign": assign,
        "loss": loss,
        "sampler": {"negatives": 10},
        **more,
    }


TEN = {"negatives": 10}
STAGES = {
    "pool": "shared",
    "strict": True,
    "proposal": "popularity",
    "alpha": 1.0,
    "negatives": 300,
}

# name in the table -> (the model with its published or default settings, what is tuned, changes to [train])
METHODS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "popular": ({"name": "popular"}, {}, {}),
    "itemknn": ({"name": "itemknn"}, ITEMKNN, {}),
    "ease": ({"name": "ease"}, {"model.l2": ("log", 10.0, 3000.0)}, {}),
    "ials": (
        {"name": "ials"},
        {"model.unobserved": ("log", 1e-3, 1.0), "model.l2": ("log", 1e-4, 1e-1)},
        {},
    ),
    "mf": (
        {"name": "mf", "loss": HARD, "sampler": {"negatives": 128, "pool": "shared"}, "l2": 0.01},
        PAIRS,
        {},
    ),
    "lightgcn": (
        {
            "name": "lightgcn",
            "loss": HARD,
            "sampler": {"negatives": 128, "pool": "shared"},
            "l2": 0.001,
        },
        PAIRS | {"model.l2": ("log", 1e-4, 1e-2), "model.layers": ("choice", [1, 2, 3])},
        {"batch_size": 2048},
    ),
    "m2f": (
        {"name": "m2f", "sampler": TEN, "l2": 0.01},
        {"train.lr": LR, "model.l2": ("log", 1e-3, 1.0), "model.vectors": ("choice", [3, 5])},
        {},
    ),
    "mgmf": (
        {"name": "m2f", "weights": True, "loss": {"kind": "bce"}, "sampler": TEN, "l2": 0.01},
        {"train.lr": LR, "model.l2": ("log", 1e-3, 1.0), "model.vectors": ("choice", [3, 5])},
        {},
    ),
    "unis": (cml("each", TEN), METRIC, {}),
    "pops": (cml("each", TEN | {"proposal": "popularity", "alpha": 1.0}), METRIC, {}),
    "2sts": (
        cml("hardest", STAGES, second_stage=10),
        METRIC
        | {
            "model.second_stage": ("choice", [1, 10]),
            "model.sampler.proposal": ("choice", ["popularity", "uniform"]),
        },
        {},
    ),
    "hars": (cml("hardest", TEN), METRIC, {}),
    "cml": (
        {"name": "cml", "loss": hinge("warp"), "sampler": TEN},
        METRIC | {"model.covariance.weight": ("choice", [0.0, 1.0, 10.0])},
        {},
    ),
    "lrml": ({"name": "lrml", "loss": hinge("each"), "sampler": TEN}, METRIC, {}),
    "cpe": (
        {"name": "cpe", "sampler": TEN},
        {
            "train.lr": LR,
            "model.margin": ("choice", [0.5, 1.0, 1.25, 1.5]),
            "model.covariance": ("log", 1e-4, 1e-1),
        },
        {},
    ),
    "sfcml": (
        {"name": "sfcml", "dim": 256, "margin": 2.0, "l2": 1e-5},
        {"train.lr": ("log", 0.01, 0.2), "model.margin": ("choice", [1.0, 1.5, 2.0, 2.5])},
        {"optimizer": "adagrad", "lr": 0.05, "batch_size": 256},
    ),
    "gfja": (  # on the sphere a margin of inner products is half that of squared distances
        dpcml("each", similarity="dot", item_space="sphere", diversity={"weight": 0.0})
        | {"loss": hinge("each") | {"margin": 0.5}},
        METRIC
        | {
            "model.loss.margin": ("choice", [0.25, 0.5, 0.75, 1.0]),
            "model.vectors": ("choice", [3, 5]),
        },
        {},
    ),
    "dpcml1": (dpcml("each", diversity={"low": 0.1, "high": 0.35}), SEVERAL, {}),
    "dpcml2": (dpcml("hardest"), SEVERAL, {}),
    "apa-unis": (dpcml("each", "adaptive", diversity={"low": 0.1, "high": 0.35}), SEVERAL, {}),
    "apa-hars": (dpcml("hardest", "adaptive"), SEVERAL, {}),
    "bpa-dihars": (dpcml("top"), SEVERAL | {"pool": POOL}, {}),
    "apa-dihars": (dpcml("top", "adaptive"), SEVERAL | {"pool": POOL}, {}),
}


def tree_of(method: str, path: str, params: dict[str, Any]) -> dict[str, Any]:
    """The experiment of a method with some of its settings changed."""
    model, _, train = METHODS[method]
    tree: dict[str, Any] = json.loads(
        json.dumps(BASE | {"data": {"path": path, "min_user": 5}, "model": model})
    )
    tree["train"] |= train
    for name, value in params.items():
        if name == "band":
            tree["model"].setdefault("diversity", {}).update(low=value[0], high=value[1])
        elif name == "pool":
            tree["model"]["sampler"]["negatives"], tree["model"]["loss"]["share"] = value
        else:
            put(tree, name, value)
    return tree


def log_of(data: str, method: str) -> Path:
    return TRIAL_LOGS / "metric-learning" / data / f"{method}.jsonl"


def tune(data: str, method: str, path: str, n_trials: int) -> None:
    """The trials that are missing; the first is the published or default setting, an unpromising one ends early."""
    parts: list[Split] = []

    def trial(params: dict[str, Any], best: float) -> dict[str, Any]:
        experiment = from_tree(tree_of(method, path, params))
        if not parts:
            parts.append(data_of(experiment))
        return attempt(
            experiment,
            parts[0],
            best,
            Evaluation(
                metrics=("precision@3",),
                monitor="precision@3",
                skip_short_users=True,
                min_test_full=3,
            ),
        )

    search(log_of(data, method), METHODS[method][1], n_trials, trial)


def run(data: str, method: str, path: str, seeds: int) -> None:
    """The chosen settings, once per seed; a closed form needs one. Both protocols are measured on the same scorer."""
    split: Split | None = None
    tree = tree_of(method, path, chosen(log_of(data, method), TRIALS[data]))
    closed = method in ("popular", "itemknn", "ease", "ials", "gfcf")
    for seed in range(1 if closed else seeds):
        folder = KEEP / data / method / f"{seed}"
        if (folder / "ours" / "report.json").exists():
            continue
        tree["train"]["seed"] = seed
        tree["name"] = method
        experiment = from_tree(tree)
        split = split or data_of(experiment)
        made = execute(experiment, folder, resume=(folder / "run.json").exists(), split=split)
        test = split.test.open("metric-learning table: our own protocol")
        evaluate(
            made.scorer, split.train.pairs, test, Evaluation(metrics=OURS), also_seen=split.valid
        ).save(folder / "ours")
        report = made.report("test")
        print(
            f"{data} {method} seed {seed}: "
            + " ".join(
                f"{name} {100 * report[name]:.2f}" for name in ("precision@3", "map", "auc")
            ),
            flush=True,
        )


def paper(data: str, method: str, path: str, seeds: int) -> None:
    """The settings of the papers, not tuned: a reproduction of their numbers, kept apart from the comparison."""
    tree = tree_of(method, path, {})
    tree["train"] |= {**PAPER, "eval_every": 4}
    tree["model"]["dim"] = 100
    split: Split | None = None
    for seed in range(seeds):
        folder = KEEP / data / f"{method} as published" / f"{seed}"
        if (folder / "test" / "report.json").exists():
            continue
        tree["train"]["seed"], tree["name"] = seed, method
        experiment = from_tree(tree)
        split = split or data_of(experiment)
        report = execute(
            experiment, folder, resume=(folder / "run.json").exists(), split=split
        ).report("test")
        print(
            f"{data} {method} as published seed {seed}: precision@3 {100 * report['precision@3']:.2f} map {100 * report['map']:.2f}",
            flush=True,
        )


def reports(data: str, method: str, part: str) -> list[Report]:
    folders = sorted((KEEP / data / method).glob(f"[0-9]/{part}"))
    return [Report.load(folder) for folder in folders]


def table(data: str) -> str:
    """Markdown: means over seeds and users with 95 % intervals, differences from the best, published values."""
    published = json.loads(
        (ROOT / "benchmarks" / "published-metric-learning.json").read_text(encoding="utf-8")
    )[data]
    found = {method: reports(data, method, "test") for method in METHODS}
    found = {method: several for method, several in found.items() if several}
    ended = {
        method: endings(sorted((KEEP / data / method).glob("[0-9]")))
        for method in [*METHODS, *(f"{method} as published" for method in AS_PUBLISHED)]
    }
    lines = [f"# {DATA[data]}: the metric-learning family", ""]
    lines += [*section(found, ["precision@3", "map", "auc"], published, ended=ended), ""]
    lines += [
        "All metrics, x 100 (means over seeds; published row below where there is one):",
        "",
        "| method | " + " | ".join(METRICS) + " |",
        "|---|" + "---:|" * len(METRICS),
    ]
    for method, several in ordered(found, "precision@3"):
        lines.append(
            f"| {method} | "
            + " | ".join(f"{100 * mean(several, name):.2f}" for name in METRICS)
            + " |"
        )
        if method in published:
            values = published[method]["values"]
            lines.append(
                "| *published* | "
                + " | ".join(f"*{values[name]}*" if name in values else "" for name in METRICS)
                + " |"
            )
    again = {method: reports(data, f"{method} as published", "test") for method in AS_PUBLISHED}
    if any(again.values()):
        lines += [
            "",
            "With the settings of the papers (d 100, batch 256, lr 1e-3, dense Adam, 100 epochs, the best on valid), not tuned:",
            "",
        ]
        lines += section(
            {method: several for method, several in again.items() if several},
            ["precision@3", "map", "auc"],
            published,
            ended={method: ended[f"{method} as published"] for method in AS_PUBLISHED},
        )
    own = {method: reports(data, method, "ours") for method in found}
    lines += [
        "",
        "Our own protocol on the same scorers: every test user counts, validation items are masked (values as fractions):",
        "",
    ]
    lines += section(own, list(OURS), {}, scale=1, ended=ended)
    tried = {method: len(trials_of(log_of(data, method))[: TRIALS[data]]) for method in found}
    lines += [
        "",
        f"Trials on valid per method: {TRIALS[data]} (1 where nothing is set: "
        + ", ".join(method for method, n in tried.items() if n < TRIALS[data])
        + ").",
    ]
    return "\n".join(lines) + "\n"


def job(task: tuple[str, str, str, str, int]) -> None:
    command, data, method, path, number = task
    {"tune": tune, "run": run, "paper": paper}[command](data, method, path, number)


def configs(data: str, path: Path) -> None:
    """Write configs/<method>-<data>.toml with the chosen settings."""
    for method in METHODS:
        if not trials_of(log_of(data, method)):
            continue
        tree = tree_of(method, "", chosen(log_of(data, method), TRIALS[data]))
        tree["data"] = {"source": SOURCE[data]}
        if method in ("popular", "itemknn", "ease", "ials"):
            del tree["train"]
        tried = len(trials_of(log_of(data, method))[: TRIALS[data]])
        about = f"# {method} on {DATA[data]}, split, metrics and selection of Bao et al. (2022).\n# Best of {tried} trials on valid (benchmarks/metric_learning.py)."
        if method in OF_TRIPLETS:
            about += f"\n{TRIPLETS}"
        (path / f"{method}-{SHORT[data]}.toml").write_text(
            f"{about}\n\n{to_toml(tree)}", encoding="utf-8"
        )


# Data of the papers without a table here: presets and the papers' grids, ready for who has the files.
PRESETS = {"citeulike": "citeulike-t", "ml1m": "ml-1m-likes", "ml10m": "ml-10m-likes"}
PRESET_METHODS = [
    "cml",
    "unis",
    "hars",
    "dpcml1",
    "dpcml2",
    "apa-dihars",
    "sfcml",
    "ease",
    "itemknn",
]
PAPER = {"epochs": 100, "batch_size": 256, "lr": 1e-3, "patience": "none", "eval_every": 1}
AS_PUBLISHED = ("dpcml1", "dpcml2", "hars")

# What Bao et al. (2022) search on every data set; one band is a pair low < high of theirs, and 1 vector is CML without DCRS.
LOWS, HIGHS, WEIGHTS = [0.0, 0.05, 0.1, 0.2, 0.5], [0.1, 0.25, 0.35, 0.5, 0.8], [10.0, 20.0, 30.0]
GRID: dict[str, Any] = {
    "train.lr": {"choices": [0.001, 0.003, 0.01]},
    "model.loss.margin": {"choices": [1.0, 1.5, 2.0]},
}
SEVERAL_GRID: dict[str, Any] = GRID | {
    "model.vectors": {"low": 1, "high": 5},
    "model.diversity": {
        "choices": [
            {"weight": weight, "low": low, "high": high}
            for weight in WEIGHTS
            for low in LOWS
            for high in HIGHS
            if low < high
        ]
    },
}
SPACES = dict.fromkeys(("cml", "unis", "hars"), GRID) | dict.fromkeys(
    ("dpcml1", "dpcml2", "apa-dihars"), SEVERAL_GRID
)

# Five vectors and the band of Steam-200k are too much for users of few articles: docs/metric-learning.md.
FEW_VECTORS = {"vectors": 2, "diversity": {"weight": 30.0, "low": 0.0, "high": 0.1}}
# What a preset reached on test when it was run; the others were never run.
REACHED = {
    ("unis", "citeulike"): "P@3 7.99 (published: 7.34)",
    (
        "hars",
        "citeulike",
    ): "P@3 / MAP 8.41 / 6.26 after 36 epochs (published: 8.44 / 6.67); lr 3e-3 is worse, 7.70",
    (
        "dpcml2",
        "citeulike",
    ): "P@3 / MAP 8.72 / 6.57 (published: 8.70 / 6.44), still rising from epoch 60 to 100; 7.85 / 6.04 in another of 60 epochs",
}
NOTES = {
    (
        "dpcml2",
        "citeulike",
    ): "With 5 vectors and the band of Steam-200k it ends at P@3 5.98 (the authors' program: 5.09).",
    ("dpcml1", "citeulike"): "Vectors and band are those of dpcml2 on these data.",
    ("apa-dihars", "citeulike"): "Vectors and band are those of dpcml2 on these data.",
}
STEAM_NOTE = "Vectors and band are those of Steam-200k, where a search begins: the papers chose them on each data set."

# Methods whose original steps are triplets: a pair with one negative.
OF_TRIPLETS = ("unis", "pops", "dpcml1", "apa-unis")
TRIPLETS = """# A step is batch_size pairs of ten triplets each; in the original it is batch_size triplets, ten times as many steps:
# model.sampler.unit = "triplet" is that. On CiteULike UniS has P@3 7.99 by pairs, 7.26 by triplets, 7.34 published."""


def preset(method: str, short: str, source: str) -> str:
    """The text of a preset: whether it was ever run and what it reached, settings to begin with, the papers' grid."""
    tree = tree_of(method, "", {})
    tree["data"] = {"source": source}
    if method in ("ease", "itemknn"):
        del tree["train"]
    elif method == "sfcml":
        tree["train"] |= {"epochs": 300, "patience": "none"}
    else:
        tree["train"] |= PAPER
        tree["model"]["dim"] = 100
    if SPACES.get(method) is SEVERAL_GRID and short == "citeulike":
        tree["model"] |= FEW_VECTORS
    text = f"{head(method, short, source)}\n\n{to_toml(tree)}"
    return f"{text}\n{space(SPACES[method])}" if method in SPACES else text


def space(fields: dict[str, Any]) -> str:
    """The section [tune.space], long choices broken into lines."""
    text = to_toml({"tune": {"space": fields}}).removeprefix("[tune]\n\n")
    parts = text.split("}, {")
    return "".join(
        part + ("" if n == len(parts) else "},\n  {" if n % 2 == 0 else "}, {")
        for n, part in enumerate(parts, 1)
    ).replace("[{ weight", "[\n  { weight")


def head(method: str, short: str, source: str) -> str:
    """The comment of a preset."""
    reached = REACHED.get((method, short))
    lines = [f"# {method} on {source}: " + (f"run once, {reached}." if reached else "never run.")]
    lines.append(
        "# Split, metrics and selection of the papers"
        + (", and the grid that they search, as [tune.space]." if method in SPACES else ".")
        + (" Default settings." if method in ("ease", "itemknn") else "")
    )
    several = SPACES.get(method) is SEVERAL_GRID
    note = NOTES.get((method, short), STEAM_NOTE if several else "")
    lines += [f"# {note}"] if note else []
    lines += [TRIPLETS] if method in OF_TRIPLETS else []
    return "\n".join([*lines, f"# The data may not be redistributed: recsys data show {source}"])


def presets(path: Path) -> None:
    """Write configs/<method>-<data>.toml for the data of the papers without a table here."""
    for short, source in PRESETS.items():
        for method in PRESET_METHODS:
            text = preset(method, short, source)
            (path / f"{method}-{short}.toml").write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["tune", "run", "paper", "table", "configs"])
    parser.add_argument("data", choices=list(DATA))
    parser.add_argument("--path", default="", help="users.dat")
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.command == "table":
        show(f"metric-learning-{arguments.data}", table(arguments.data))
        return
    if arguments.command == "configs":
        configs(arguments.data, ROOT / "configs")
        presets(ROOT / "configs")
        return
    number = TRIALS[arguments.data] if arguments.command == "tune" else arguments.seeds
    if arguments.command == "paper":
        arguments.methods = [method for method in arguments.methods if method in AS_PUBLISHED]
    tasks = [
        (arguments.command, arguments.data, method, arguments.path, number)
        for method in arguments.methods
    ]
    work(job, tasks, arguments.workers)


if __name__ == "__main__":
    told(main, "metric_learning")
