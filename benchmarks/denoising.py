"""Denoisers x backbones on data whose noise is known, tuned alike on valid; the curves over injected noise; how well each finds the noise.

    python benchmarks/denoising.py tune ml-100k-noisy --path FOLDER       # the same trials for every denoiser of every backbone, on noisy valid
    python benchmarks/denoising.py run ml-100k-noisy --path FOLDER        # seeds of the chosen settings; selected on noisy and on clean valid
    python benchmarks/denoising.py inject ml-100k-noisy --path FOLDER     # 10 to 40 % false pairs more, the same settings
    python benchmarks/denoising.py table                                  # docs/tables/denoising.md, docs/pictures/denoising.svg

Train and valid are as noisy as the data is; the test holds clean pairs alone. Noise is a rating below 5 (modcloth), the flag of the data
(ml-100k-noisy), a purchase cancelled later (online-retail, which needs no --path). "none" watches: it trains as if there were no denoiser. "l2",
"random" and "rare" are no denoisers either: the norms of vectors with a tuned weight, which tells what of a gain any regulariser would have
brought; and as many pairs dropped as by T-CE, whichever they are, or those of the least popular items.
Trials stand in benchmarks/trials/denoising/, runs in runs/denoising/; what is there is not done again.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from harness import (
    ROOT,
    TRIALS,
    attempt,
    chosen,
    endings,
    interval,
    mean,
    ordered,
    p_value,
    per_user,
    put,
    search,
    show,
    signed,
    told,
    work,
)

from recsys.data.types import Split, join
from recsys.errors import InputError
from recsys.evaluation.evaluator import Evaluation, Report, evaluate
from recsys.experiment.execution import data_of, execute, open_run
from recsys.experiment.experiment import from_tree
from recsys.report.denoising import area, detect
from recsys.scorer import Scorer
from recsys.statistics.paired_tests import holm, paired
from recsys.training.stopping import legend

KEEP = Path("runs") / "denoising"
N_TRIALS = 4
RATES = [0.1, 0.2, 0.3, 0.4]
LEVEL = "level"  # see `level`
METRICS = ["recall@5", "recall@20", "ndcg@20", "precision@5"]

DATA: dict[str, tuple[str, dict[str, Any]]] = {
    "ml-100k-noisy": (
        "MovieLens-100k with noise flags (17.8 % of train)",
        {
            "train": "ml100k.train.rating",
            "valid": "ml100k.valid.rating",
            "test": "ml100k.test.negative",
        },
    ),
    "modcloth": (
        "Modcloth, a rating below 5 is noise (45.3 % of train)",
        {
            "train": "modcloth.train.rating",
            "valid": "modcloth.valid.rating",
            "test": "modcloth.test.negative",
            "weight": 2,
            "clean_weight": 5,
        },
    ),
    "online-retail": (
        "Online Retail, a purchase cancelled later is noise (2.6 % of train)",
        {"source": "online-retail"},
    ),
}
BACKBONES: dict[str, dict[str, Any]] = {
    "popular": {
        "name": "popular"
    },  # what a backbone that has learned something is above; nothing to denoise, nothing to tune
    "gmf": {"name": "gmf"},
    "neumf": {"name": "neumf"},
    "cdae": {"name": "cdae"},
    "lightgcn": {
        "name": "lightgcn",
        "dim": 32,
        "loss": {"kind": "bce"},
        "sampler": {"negatives": 1},
        "l2": 0.0,
    },
}
# DeCA trains the backbone beside a matrix factorisation.
DECA = {name: {"name": "deca", "target": name} for name in ("gmf", "neumf", "cdae")} | {
    "lightgcn": {"name": "deca", "layers": 3}
}
# Learning rate to start with, and between which it is searched; the denoisers of a backbone meet the same ones.
LR = dict.fromkeys(BACKBONES, (5e-3, 2e-3, 2e-2)) | {"lightgcn": (1.5e-2, 2e-3, 5e-2)}
DROP = {
    "train.denoise.drop": ("choice", [0.05, 0.1, 0.2]),
    "train.denoise.ramp": ("choice", [100, 400, 1000]),
}
DENOISERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "none": ({"kind": "watch"}, {}),
    "l2": ({"kind": "watch"}, {"model.l2": ("log", 1e-5, 1e-1)}),
    "random": ({"kind": "random", "drop": 0.1, "ramp": 400}, DROP),
    "rare": ({"kind": "rare", "drop": 0.1, "ramp": 400}, DROP),
    "tce": ({"kind": "tce", "drop": 0.1, "ramp": 400}, DROP),
    "rce": ({"kind": "rce"}, {"train.denoise.beta": ("log", 0.05, 1.0)}),
    "dcf": (
        {"kind": "dcf", "drop": 0.1, "ramp": 400, "relabel": 0.05},
        DROP
        | {
            "train.denoise.variance": ("choice", [1e-4, 1e-2, 0.1]),
            "train.denoise.relabel": ("choice", [0.0, 0.01, 0.05]),
        },
    ),
    "deca": (
        {},
        {
            "model.c1": ("log", 1, 1000),
            "model.c2": ("log", 1, 1000),
            "model.alpha": ("choice", [0.0, 0.5, 1.0]),
        },
    ),
}
BATCH = {"ml-100k-noisy": 1024, "modcloth": 4096, "online-retail": 4096}
# Epochs between two looks at valid: NeuMF ranks the items of the largest data by millions of passes through its tower.
EVERY = {("online-retail", "neumf"): 5}
# What is compared.
CELLS = {
    data: [
        (backbone, denoiser)
        for backbone in BACKBONES
        for denoiser in (DENOISERS if backbone != "popular" else ("none",))
        if (backbone, denoiser) != ("cdae", "l2")  # it has no such weight
    ]
    for data in DATA
}


def tree_of(
    data: str, backbone: str, denoiser: str, path: str, params: dict[str, Any]
) -> dict[str, Any]:
    """The experiment of a cell with some of its settings changed."""
    source = dict(DATA[data][1]) if "source" in DATA[data][1] else {"path": path} | DATA[data][1]
    tree: dict[str, Any] = {
        "data": source,
        "split": {"by": "label", "drop_cold": False},
        "model": dict(DECA[backbone] if denoiser == "deca" else BACKBONES[backbone]),
        "train": {
            "epochs": 30,
            "batch_size": BATCH[data],
            "lr": LR[backbone][0],
            "eval_every": EVERY.get((data, backbone), 2),
            "patience": 4,
            "denoise": dict(DENOISERS[denoiser][0]),
        },
        "evaluate": {"metrics": METRICS, "monitor": "recall@20"},
    }
    if backbone == "popular":
        tree["train"] = {}
    for name, value in params.items():
        put(tree, name, value)
    return tree


def log_of(data: str, backbone: str, denoiser: str) -> Path:
    return TRIALS / "denoising" / data / f"{backbone}-{denoiser}.jsonl"


def tune(data: str, backbone: str, denoiser: str, path: str) -> None:
    parts: list[Split] = []

    def trial(params: dict[str, Any], best: float) -> dict[str, Any]:
        experiment = from_tree(tree_of(data, backbone, denoiser, path, params))
        if not parts:
            parts.append(data_of(experiment))
        return attempt(
            experiment, parts[0], best, Evaluation(metrics=("recall@20",), monitor="recall@20")
        )

    space = {"train.lr": ("log", *LR[backbone][1:])} | DENOISERS[denoiser][1]
    search(
        log_of(data, backbone, denoiser),
        space if backbone != "popular" else {},
        N_TRIALS,
        trial,
        draws=backbone,
    )


def run(
    data: str,
    backbone: str,
    denoiser: str,
    path: str,
    seed: int,
    selected: str = "noisy",
    noise: float = 0.0,
) -> None:
    """One run of the chosen settings; `noise` false pairs are put in for every true one."""
    name = f"inject-{noise:g}" if noise else selected
    folder = KEEP / data / f"{backbone}-{denoiser}" / name / f"{seed}"
    if (folder / "detection.json").exists():
        if selected == "clean" and not (folder / LEVEL).exists():
            level(open_run(folder).scorer, data, backbone, denoiser, path, folder)
        return
    tree = tree_of(
        data, backbone, denoiser, path, chosen(log_of(data, backbone, denoiser), N_TRIALS)
    )
    tree["name"], tree["train"]["seed"] = f"{backbone}-{denoiser}", seed
    tree["split"] |= {"clean_valid": True} if selected == "clean" else {}
    tree["split"] |= {"noise": {"kind": "random", "share": noise, "seed": seed}} if noise else {}
    experiment = from_tree(tree)
    split = data_of(experiment)
    made = execute(experiment, folder, resume=(folder / "run.json").exists(), split=split)
    if selected == "clean":
        level(made.scorer, data, backbone, denoiser, path, folder)
    found = {"auc": detection(made.scorer, split)}
    (folder / "detection.json").write_text(json.dumps(found), encoding="utf-8")
    report = made.report("test")
    print(
        f"{data} {backbone} {denoiser} {name} seed {seed}: recall@20 {report['recall@20']:.4f} detection {found['auc']:.3f}",
        flush=True,
    )


def level(scorer: Scorer, data: str, backbone: str, denoiser: str, path: str, folder: Path) -> None:
    """The test report of a model selected on clean pairs, with the noisy pairs of valid masked too, as they are for one selected on noisy pairs.

    Without that they are candidates, which cannot be hits: the list of the most popular items, which selects nothing, loses 0.001 by it.
    """
    experiment = from_tree(tree_of(data, backbone, denoiser, path, {}))
    split = data_of(experiment)
    assert split.valid is not None
    assert split.test is not None
    test = split.test.open("denoising: selected on clean pairs")
    evaluate(scorer, join(split.train.pairs, split.valid), test, experiment.evaluate).save(
        folder / LEVEL
    )


def detection(scorer: Scorer, split: Split) -> float:
    """AUC of a low score as a sign of noise, over the training pairs: 0.5 is chance."""
    import torch

    pairs = split.train.pairs
    score = np.empty(len(pairs), dtype=np.float32)
    order = np.argsort(pairs.user, kind="stable")
    users, first = np.unique(pairs.user[order], return_index=True)
    ends = np.append(first, len(order))
    for start in range(0, len(users), 256):
        block = users[start : start + 256]
        rows = order[ends[start] : ends[min(start + 256, len(users))]]
        with torch.inference_mode():
            scores = scorer.score(torch.as_tensor(block, dtype=torch.int64)).numpy()
        score[rows] = scores[np.searchsorted(block, pairs.user[rows]), pairs.item[rows]]
    assert pairs.label is not None
    return area(-score, pairs.label == 0) or 0.5


def reports(data: str, backbone: str, denoiser: str, name: str) -> list[tuple[Report, float]]:
    folders = sorted(
        path.parent
        for path in (KEEP / data / f"{backbone}-{denoiser}" / name).glob("*/detection.json")
    )
    part = LEVEL if name == "clean" else "test"
    folders = [folder for folder in folders if (folder / part).exists()]
    return [
        (Report.load(folder / part), json.loads((folder / "detection.json").read_text())["auc"])
        for folder in folders
    ]


def held(data: str, backbone: str, denoiser: str) -> str:
    """The share of the training pairs that were held for noise in the end, and that of the fifth with the least popular items; means over seeds."""
    shares = []
    for folder in sorted(
        (KEEP / data / f"{backbone}-{denoiser}" / "noisy").glob("*/detection.json")
    ):
        if (folder.parent / "fit" / "denoiser.safetensors").exists():
            told = (
                detect(folder.parent)
                .by_popularity()
                .with_columns(held=pl.col("dropped") + pl.col("relabelled"))
            )
            shares.append(
                ((told["held"] * told["pairs"]).sum() / told["pairs"].sum(), told["held"][0])
            )
    whole, rare = np.mean(shares, axis=0) if shares else (0.0, 0.0)
    return f"{100 * whole:.0f} ({100 * rare:.0f})" if whole else ""


def table(data: str) -> list[str]:
    lines = [f"## {DATA[data][0]}", ""]
    for backbone in BACKBONES:
        found = {d: reports(data, backbone, d, "noisy") for b, d in CELLS[data] if b == backbone}
        found = {denoiser: several for denoiser, several in found.items() if several}
        if "none" not in found:
            continue
        values = {
            denoiser: [report for report, _ in several] for denoiser, several in found.items()
        }
        base = per_user(values["none"], "recall@20")
        tests = {
            d: paired(per_user(v, "recall@20"), base) for d, v in values.items() if d != "none"
        }
        adjusted = (
            dict(zip(tests, holm([test.p_t for test in tests.values()]), strict=True))
            if tests
            else {}
        )
        lines += [
            f"### {backbone}",
            "",
            "| denoiser | seeds | recall@20 [95 %] | against none [95 %] | p | ndcg@20 | clean-selected recall@20 (seeds, difference) | detection AUC | held, % (rarest) |",
            "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        ]
        ended = {
            denoiser: endings(
                sorted((KEEP / data / f"{backbone}-{denoiser}" / "noisy").glob("[0-9]*"))
            )
            for denoiser in values
        }
        for denoiser, several in ordered(values, "recall@20"):
            low, high = interval(several, "recall@20")
            clean = [report for report, _ in reports(data, backbone, denoiser, "clean")]
            against = (
                ""
                if denoiser == "none"
                else f"{tests[denoiser].difference:+.4f} [{tests[denoiser].low:+.4f}, {tests[denoiser].high:+.4f}]"
            )
            p = "" if denoiser == "none" else p_value(adjusted[denoiser])
            auc = float(np.mean([auc for _, auc in found[denoiser]]))
            lines.append(
                f"| {signed(denoiser, ended)} | {len(several)} | {mean(several, 'recall@20'):.4f} [{low:.4f}, {high:.4f}] | {against} | {p} | {mean(several, 'ndcg@20'):.4f} | "
                + (
                    f"{mean(clean, 'recall@20'):.4f} ({len(clean)}, {mean(clean, 'recall@20') - mean(values[denoiser][: len(clean)], 'recall@20'):+.4f})"
                    if clean
                    else ""
                )
                + f" | {auc:.3f} | {held(data, backbone, denoiser)} |"
            )
        lines += ["", *(part for line in legend(ended) for part in (line, ""))]
    return lines


def controls(data: str) -> list[str]:
    """T-CE and DCF less what drops as many pairs by chance, or by the popularity of their items, paired over users."""
    tests = {}
    for backbone in BACKBONES:
        for denoiser in ("tce", "dcf"):
            for control in ("random", "rare"):
                ours, theirs = (
                    [report for report, _ in reports(data, backbone, name, "noisy")]
                    for name in (denoiser, control)
                )
                if ours and theirs:
                    tests[backbone, denoiser, control] = paired(
                        per_user(ours, "recall@20"), per_user(theirs, "recall@20")
                    )
    if not tests:
        return []
    adjusted = dict(zip(tests, holm([test.p_t for test in tests.values()]), strict=True))
    lines = [
        "### Against the controls",
        "",
        "| backbone | denoiser | less random [95 %] | p | less rare [95 %] | p |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for backbone, denoiser in dict.fromkeys(
        (backbone, denoiser) for backbone, denoiser, _ in tests
    ):
        cells = []
        for control in ("random", "rare"):
            test = tests.get((backbone, denoiser, control))
            shown = (
                ""
                if test is None
                else f"{test.difference:+.4f} [{test.low:+.4f}, {test.high:+.4f}]"
            )
            cells += [shown, "" if test is None else p_value(adjusted[backbone, denoiser, control])]
        lines.append(f"| {backbone} | {denoiser} | " + " | ".join(cells) + " |")
    return [
        *lines,
        "",
        "recall@20, paired t tests over users on means over seeds, Holm over the table.",
        "",
    ]


def curves() -> dict[str, dict[str, list[tuple[float, float, float, int]]]]:
    """(data, backbone) -> denoiser -> (rate, recall@20, detection AUC, seeds)."""
    found: dict[str, dict[str, list[tuple[float, float, float, int]]]] = {}
    for data, cells in CELLS.items():
        for backbone, denoiser in cells:
            points = []
            for rate in [0.0, *RATES]:
                several = reports(data, backbone, denoiser, f"inject-{rate:g}" if rate else "noisy")
                if several:
                    reported = [report for report, _ in several]
                    points.append(
                        (
                            rate,
                            mean(reported, "recall@20"),
                            float(np.mean([auc for _, auc in several])),
                            len(several),
                        )
                    )
            if len(points) > 1:
                found.setdefault(f"{data}, {backbone}", {})[denoiser] = points
    return found


def plot(found: dict[str, dict[str, list[tuple[float, float, float, int]]]], out: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "denoising"
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        1, len(found), figsize=(4.4 * len(found), 3.6), layout="constrained", squeeze=False
    )
    for axis, (title, several) in zip(axes[0], found.items(), strict=True):
        for denoiser, points in several.items():
            axis.plot(
                [100 * p[0] for p in points],
                [p[1] for p in points],
                "o-",
                label=denoiser,
                color=f"C{list(DENOISERS).index(denoiser)}",
            )
        axis.set(xlabel="false pairs put in, % of the true ones", ylabel="recall@20", title=title)
        axis.grid(alpha=0.3)
    axes[0][0].legend(fontsize=8)
    for kind in ("svg", "png"):
        figure.savefig(
            out / f"denoising.{kind}", dpi=150, metadata={"Date": None} if kind == "svg" else None
        )


def write() -> str:
    lines = ["# Denoisers and backbones", ""]
    lines += [
        f"Every cell had {N_TRIALS} trials on noisy valid, monitor recall@20: the first is the default, the others draw the denoiser's own settings and the",
        "learning rate, which is the same for all denoisers of a backbone, trial by trial.",
        "train and valid are noisy, the test is clean. p: paired t tests over users on means over seeds against none, Holm within the backbone.",
        "Clean-selected: the same settings with the epoch chosen on the clean pairs of valid (in brackets seeds, and the difference to the same",
        "seeds with the epoch chosen on all of valid; the same items are masked in the test). Detection AUC: of a low score of the",
        "final model as a sign of noise, over the training pairs; 0.5 is chance. DeCA trains the backbone beside a matrix factorisation;",
        "l2 denoises nothing: plain cross-entropy with the weight of the squared norms tuned, as a measure of what any regulariser brings. random and",
        "rare drop as many pairs as tce, at random, or those of the items with the fewest. Held: pairs that were dropped or relabelled when training ended, and in brackets of the fifth of the pairs whose",
        "items are the least popular.",
        "Modes and settings that are reconstructed are marked in recsys/nn/denoise.py.",
        "",
    ]
    for data in DATA:
        lines += table(data) + controls(data)
    found = curves()
    if found:
        lines += [
            "## Injected noise",
            "",
            "recall@20 (detection AUC) with so many random false pairs put in for every pair; settings as above, not tuned again.",
            "",
        ]
        for title, several in found.items():
            lines += [
                f"### {title}",
                "",
                "| denoiser | " + " | ".join(f"{100 * rate:g} %" for rate in [0, *RATES]) + " |",
                "|---|" + "---:|" * 5,
            ]
            for denoiser, points in several.items():
                at = {p[0]: f"{p[1]:.4f} ({p[2]:.3f})" for p in points}
                lines.append(
                    f"| {denoiser} | "
                    + " | ".join(at.get(rate, "") for rate in [0.0, *RATES])
                    + " |"
                )
            lines += [
                "",
                f"Seeds: {min(p[3] for points in several.values() for p in points)} to {max(p[3] for points in several.values() for p in points)}.",
                "",
            ]
        lines += ["![recall@20 against injected noise](../pictures/denoising.svg)"]
        plot(found, ROOT / "docs" / "pictures")
    return "\n".join(lines) + "\n"


def job(task: tuple[Any, ...]) -> None:
    command, *rest = task
    (tune if command == "tune" else run)(*rest)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["tune", "run", "inject", "table"])
    parser.add_argument("data", choices=list(DATA), nargs="?")
    parser.add_argument("--path", default="", help="the folder of the data")
    parser.add_argument("--backbones", nargs="*", default=list(BACKBONES))
    parser.add_argument("--denoisers", nargs="*", default=list(DENOISERS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--selected", nargs="*", default=["noisy", "clean"])
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.command == "table":
        show("denoising", write())
        return
    if arguments.data is None:
        raise InputError("no data is named", remedy=f"one of {', '.join(DATA)}")
    cells = [
        (arguments.data, b, d, arguments.path)
        for b, d in CELLS[arguments.data]
        if b in arguments.backbones and d in arguments.denoisers
    ]
    tasks: list[tuple[Any, ...]]
    if arguments.command == "tune":
        tasks = [("tune", *cell) for cell in cells]
    elif arguments.command == "run":
        tasks = [
            ("run", *cell, seed, selected)
            for selected in arguments.selected
            for seed in range(arguments.seeds)
            for cell in cells
        ]
    else:
        tasks = [
            ("run", *cell, seed, "noisy", rate)
            for seed in range(arguments.seeds)
            for rate in RATES
            for cell in cells
        ]
    work(job, tasks, arguments.workers)


if __name__ == "__main__":
    told(main, "denoising")
