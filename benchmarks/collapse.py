"""How far the vectors of finished runs are apart: a method without negatives may let them point one way, and then ranks by popularity.

    python benchmarks/collapse.py runs/multimodal/online-retail/bm3/0 runs/multimodal/online-retail/lightgcn/0

For each run the mean cosine of two users and of two items, and the mean correlation of a user's scores of all items with those of the mean user;
of up to 1,000 users and items, the first ones.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from harness import told
from torch import Tensor

from recsys.errors import InputError
from recsys.experiment.execution import open_run
from recsys.scorer import Factors

SOME = 1_000


def mean_cosine(vectors: Tensor) -> float:
    """Of two different rows, [n, d]."""
    unit = F.normalize(vectors[:SOME].double(), dim=1)
    n = len(unit)
    return float((unit.sum(0).square().sum() - n) / (n * (n - 1)))


def likeness(scores: Tensor) -> float:
    """Mean correlation of rows [n, m] with their mean."""
    apart = F.normalize(scores - scores.mean(1, keepdim=True), dim=1)
    mean = scores.mean(0)
    return float((apart @ F.normalize(mean - mean.mean(), dim=0)).mean())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", type=Path, nargs="+")
    for folder in parser.parse_args().runs:
        scorer = open_run(folder).scorer
        if not isinstance(scorer, Factors):
            raise InputError(
                "has no vectors",
                place=str(folder),
                remedy="give runs of methods that score by vectors of users and items",
            )
        scores = scorer.score(torch.arange(min(SOME, scorer.n_users))).double()
        print(
            f"{folder}: users {mean_cosine(scorer.user):.3f}, items {mean_cosine(scorer.item):.3f}, with the mean user {likeness(scores):.3f}"
        )


if __name__ == "__main__":
    told(main, "collapse")
