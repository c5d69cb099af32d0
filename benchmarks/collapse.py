"""Measure how far apart the vectors of finished runs are.

    python benchmarks/collapse.py runs/multimodal-online-retail/cells/online-retail/bm3/seed-1 ...

A method without negatives may let all vectors point one way, and then ranks by popularity. For each
run this prints the mean cosine of two users and of two items, and the mean correlation of a user's
scores of all items with those of the mean user, over the first 1,000 users and items.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.data.query import Queries
from recsys.errors import InputError
from recsys.experiment.execution import open_run
from recsys.scorer import Factors

SOME = 1_000


def mean_cosine(vectors: Tensor) -> float:
    """Return the mean cosine of two different rows of a matrix [n, d]."""
    unit = F.normalize(vectors[:SOME].double(), dim=1)
    n = len(unit)
    return float((unit.sum(0).square().sum() - n) / (n * (n - 1)))


def likeness(scores: Tensor) -> float:
    """Return the mean correlation of the rows of a matrix [n, m] with their mean."""
    apart = F.normalize(scores - scores.mean(1, keepdim=True), dim=1)
    mean = scores.mean(0)
    return float((apart @ F.normalize(mean - mean.mean(), dim=0)).mean())


def main() -> None:
    """Print a line for each run."""
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
        scores = scorer.score(Queries.of_users(torch.arange(min(SOME, scorer.n_users)))).double()
        users, items = mean_cosine(scorer.user), mean_cosine(scorer.item)
        print(
            f"{folder}: users {users:.3f}, items {items:.3f}, "
            f"with the mean user {likeness(scores):.3f}"
        )


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"collapse: {error}")
