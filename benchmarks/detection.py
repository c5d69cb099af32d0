"""Measure how well the models of a denoising benchmark find the noise.

    python benchmarks/detection.py benchmarks/plans/denoising-online-retail.toml
    python benchmarks/detection.py PLAN data.modcloth.data.path=FOLDER --out runs/denoising-modcloth

For each finished cell this prints two means over its seeds. Detection AUC: of a low score of the
final model as a sign of noise, over the training interactions; 0.5 is chance. Held, %: training
interactions that the denoiser had dropped or relabelled when training ended, and in brackets the
same of the fifth of the interactions with the least popular items.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from recsys.benchmark import cell_folder, read_plan
from recsys.data.query import Queries
from recsys.data.types import Interactions
from recsys.errors import InputError
from recsys.experiment.execution import Run, data_of, open_run
from recsys.report.denoising import area, detect
from recsys.scorer import Scorer

BLOCK = 256  # users that are scored at once


def detection_auc(scorer: Scorer, pairs: Interactions) -> float:
    """Return the AUC of a low score as a sign of noise.

    Args:
        scorer: the final model.
        pairs: training interactions with labels, 0 for noise.
    """
    assert pairs.clean is not None
    score = np.empty(len(pairs), dtype=np.float32)
    order = np.argsort(pairs.user, kind="stable")
    users, first = np.unique(pairs.user[order], return_index=True)
    ends = np.append(first, len(order))
    for start in range(0, len(users), BLOCK):
        block = users[start : start + BLOCK]
        rows = order[ends[start] : ends[min(start + BLOCK, len(users))]]
        with torch.inference_mode():
            scores = scorer.score(
                Queries.of_users(torch.as_tensor(block, dtype=torch.int64))
            ).numpy()
        score[rows] = scores[np.searchsorted(block, pairs.user[rows]), pairs.item[rows]]
    return area(-score, pairs.clean == 0) or 0.5


def held(run: Run) -> tuple[float, float] | None:
    """Return the share of interactions held for noise, and that of the least popular fifth.

    None where the run has no denoiser.
    """
    if not (run.folder / "fit" / "denoiser.safetensors").exists():
        return None
    table = detect(run.folder).by_popularity()
    shares = table["dropped"] + table["relabelled"]
    return float((shares * table["pairs"]).sum() / table["pairs"].sum()), float(shares[0])


def lines(plan_path: Path, changes: list[str], out: Path | None) -> Iterator[str]:
    """Yield a table row for each cell with a finished run."""
    plan = read_plan(plan_path, changes)
    folder = out or Path("runs") / plan.settings.name
    for data in plan.data:
        pairs = data_of(plan.cells[data, plan.methods[0]]).train.pairs
        if pairs.clean is None:
            raise InputError(
                "has no noise labels", place=data, remedy="use data with labels, or [split] noise"
            )
        for method in plan.methods:
            cell = cell_folder(folder, data, method)
            runs = [open_run(path.with_suffix("")) for path in sorted(cell.glob("seed-*.json"))]
            if not runs:
                continue
            auc = np.mean([detection_auc(run.scorer, pairs) for run in runs])
            shares = [share for run in runs if (share := held(run)) is not None]
            text = ""
            if shares:
                whole, rare = 100 * np.mean(shares, axis=0)
                text = f"{whole:.0f} ({rare:.0f})" if whole else ""
            yield f"| {data} | {method} | {len(runs)} | {auc:.3f} | {text} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("plan", type=Path)
    parser.add_argument("changes", nargs="*", help="of the plan, as for recsys benchmark")
    parser.add_argument("--out", type=Path, help="folder of the benchmark; default runs/NAME")
    given = parser.parse_args()
    print("| data | method | seeds | detection AUC | held, % (rarest) |")
    print("|---|---|---:|---:|---:|")
    for line in lines(given.plan, given.changes, given.out):
        print(line, flush=True)


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"detection: {error}")
