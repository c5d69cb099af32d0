"""Ablations of DPCML on Steam-200k: without DCRS, one of its sides only, its weight, the number of vectors; beside the published table.

    python benchmarks/ablation.py run --path users.dat --workers 2     # what is missing; kept in runs/ablation/
    python benchmarks/ablation.py table                                # docs/tables/ablation-dpcml.md, docs/pictures/ablation-dpcml.svg

Everything but what is ablated stands at the published setting (C = 5, eta = 10, the two bands), trained as benchmarks/metric_learning.py
trains; nothing is tuned here. Diversity of the lists is MaxDiv at 3, 5, 10 and 20.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from harness import ROOT, mean, show, told, work
from metric_learning import METHODS, METRICS, tree_of

from recsys.errors import InputError
from recsys.evaluation.evaluator import Report
from recsys.experiment.execution import execute
from recsys.experiment.experiment import from_tree

KEEP = Path("runs") / "ablation"
MAXDIV = ["maxdiv@3", "maxdiv@5", "maxdiv@10", "maxdiv@20"]
WEIGHTS = [1, 3, 5, 10, 20, 30]
VECTORS = [1, 2, 3, 4, 5, 6, 8]
SHOWN = ["precision@3", "ndcg@3", "map", "mrr"]


def variants() -> dict[str, tuple[str, dict[str, Any]]]:
    """Name -> (method, what is changed). Names are those of published-metric-learning.json."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for method in ("dpcml1", "dpcml2"):
        found[f"{method} without"] = (method, {"model.diversity.weight": 0.0})
        found[f"{method} below only"] = (method, {"model.diversity.above": False})
        found[f"{method} above only"] = (method, {"model.diversity.below": False})
        for weight in WEIGHTS:
            found[f"{method} weight={weight}"] = (method, {"model.diversity.weight": float(weight)})
        for vectors in VECTORS:
            if vectors != METHODS[method][0]["vectors"]:
                found[f"{method} C={vectors}"] = (method, {"model.vectors": vectors})
    return found


def job(task: tuple[str, str, int]) -> None:
    name, path, seed = task
    method, changes = variants()[name]
    tree = tree_of(method, path, changes)
    tree["name"], tree["train"]["seed"] = name, seed
    tree["evaluate"]["metrics"] = METRICS + MAXDIV
    folder = KEEP / name.replace(" ", "-") / f"{seed}"
    report = execute(from_tree(tree), folder, resume=(folder / "run.json").exists()).report("test")
    print(
        f"{name} seed {seed}: "
        + " ".join(f"{metric} {100 * report[metric]:.2f}" for metric in SHOWN),
        flush=True,
    )


def measured() -> dict[str, list[Report]]:
    found = {
        name: [
            Report.load(folder) for folder in sorted((KEEP / name.replace(" ", "-")).glob("*/test"))
        ]
        for name in variants()
    }
    return {name: several for name, several in found.items() if several}


def table(found: dict[str, list[Report]]) -> str:
    known = json.loads(
        (ROOT / "benchmarks" / "published-metric-learning.json").read_text(encoding="utf-8")
    )
    published = {name: entry["values"] for name, entry in known["ablation steam-200k"].items()}
    lines = ["# Ablations of DPCML on Steam-200k", ""]
    lines += [
        f"Ours / *published*, x 100; {max(len(several) for several in found.values())} seed(s). MaxDiv as it is."
    ]
    lines += [
        "",
        "| setting | " + " | ".join([*SHOWN, *MAXDIV]) + " |",
        "|---|" + "---:|" * (len(SHOWN) + len(MAXDIV)),
    ]
    for name, several in found.items():
        cells = [
            f"{100 * mean(several, metric):.2f}"
            + (f" / *{published[name][metric]:.2f}*" if name in published else "")
            for metric in SHOWN
        ]
        cells += [f"{mean(several, metric):.2f}" for metric in MAXDIV]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    lines += ["", "Published MaxDiv at 3 / 5 / 10 / 20:", ""]
    lines += [
        f"- {name}: " + " / ".join(f"{number:g}" for number in values)
        for name, values in known["maxdiv"]["steam-200k"].items()
    ]
    lines += [
        "",
        "![P@3 against the weight of DCRS and the number of vectors](../pictures/ablation-dpcml.svg)",
    ]
    return "\n".join(lines) + "\n"


def plot(found: dict[str, list[Report]], out: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams["svg.hashsalt"] = "ablation"
    import matplotlib.pyplot as plt

    known = json.loads(
        (ROOT / "benchmarks" / "published-metric-learning.json").read_text(encoding="utf-8")
    )["ablation steam-200k"]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    for method, colour in (("dpcml1", "tab:blue"), ("dpcml2", "tab:orange")):
        for axis, key, values in ((axes[0], "weight", WEIGHTS), (axes[1], "C", VECTORS)):
            base = f"{method} weight=10"
            names = {
                v: f"{method} {key}={v}" if f"{method} {key}={v}" in variants() else base
                for v in values
            }
            ours = [
                (v, 100 * mean(found[name], "precision@3"))
                for v, name in names.items()
                if name in found
            ]
            axis.plot(*zip(*ours, strict=True), "o-", color=colour, label=f"{method}, ours")
            theirs = [
                (v, known[name]["values"]["precision@3"])
                for v, name in names.items()
                if key == "weight" and name in known
            ]
            if theirs:
                axis.plot(
                    *zip(*theirs, strict=True),
                    "s--",
                    color=colour,
                    alpha=0.5,
                    mfc="none",
                    label=f"{method}, published",
                )
        if f"{method} without" in found:
            axes[0].axhline(
                100 * mean(found[f"{method} without"], "precision@3"),
                color=colour,
                lw=0.8,
                ls=":",
                label=f"{method} without DCRS, ours",
            )
    axes[0].set(xscale="log", xlabel="weight of DCRS (eta)", ylabel="P@3 x 100", title="Steam-200k")
    axes[0].set_xticks(WEIGHTS, [str(weight) for weight in WEIGHTS])
    axes[0].minorticks_off()
    axes[1].set(xlabel="vectors per user (C)")
    axes[1].set_xticks(VECTORS)
    axes[1].legend(*axes[0].get_legend_handles_labels(), fontsize=7, loc="lower right")
    for axis in axes:
        axis.grid(alpha=0.3)
    out.mkdir(parents=True, exist_ok=True)
    for kind in ("svg", "png"):
        figure.savefig(
            out / f"ablation-dpcml.{kind}",
            dpi=150,
            metadata={"Date": None} if kind == "svg" else None,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["run", "table"])
    parser.add_argument("--path", default="", help="users.dat of Steam-200k")
    parser.add_argument(
        "--names", nargs="*", default=list(variants()), help="some of the settings, as 'dpcml2 C=3'"
    )
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.command == "run":
        tasks = [
            (name, arguments.path, seed)
            for seed in range(arguments.seeds)
            for name in arguments.names
        ]
        work(job, tasks, arguments.workers)
        return
    found = measured()
    if not found:
        raise InputError(
            "there is no run yet",
            place=str(KEEP),
            remedy="python benchmarks/ablation.py run --path users.dat",
        )
    show("ablation-dpcml", table(found))
    plot(found, ROOT / "docs" / "pictures")


if __name__ == "__main__":
    told(main, "ablation")
