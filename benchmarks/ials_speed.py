"""Compare the speed of iALS with that of implicit's ALS, at equal quality, in one process.

    pip install implicit numba
    python benchmarks/ials_speed.py search GOWALLA --dim 128   # settings, on a held-out part
    python benchmarks/ials_speed.py run GOWALLA --dim 128 --threads 1

GOWALLA is a folder with train.txt and test.txt of the LightGCN split, and train_inner.txt and
valid_inner.txt, the train part without a part that is held out; a line is a user and the user's
items.

`search` tries four settings of each library, the weight of observed or unobserved pairs times that
of the squared norms. `run` takes the chosen settings and trains in turn, three times each. It
prints medians of processor and wall seconds of training, and recall@20 on the test part. implicit
takes three conjugate gradient steps for each row and sweep; so does `cg` here. Nothing else should
run on the machine.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from recsys.data.types import Dataset, Interactions, Vocab
from recsys.evaluation.evaluator import Evaluation, evaluate
from recsys.models.ials import IALS
from recsys.scorer import Factors
from recsys.training.malloc import keep_freed_memory

N_USERS, N_ITEMS = 29_858, 40_981
SWEEPS = {"cg": 8, "exact": 8, "implicit": 15}
# unobserved and l2, alpha and regularization
GRID = {
    "cg": ((0.0125, 0.025), (0.002, 0.003)),
    "exact": ((0.0125, 0.025), (0.002, 0.003)),
    "implicit": ((40.0, 80.0), (100.0, 200.0)),
}
# What `search` chose on Gowalla, by library and dimension.
CHOSEN = {
    ("cg", 64): (0.0125, 0.002),
    ("cg", 128): (0.0125, 0.002),
    ("exact", 64): (0.0125, 0.002),
    ("exact", 128): (0.0125, 0.002),
    ("implicit", 64): (80.0, 100.0),
    ("implicit", 128): (80.0, 100.0),
}


def pairs(path: Path) -> Interactions:
    """Return the interactions of a file with a user and the user's items in each line."""
    rows = [np.array(line.split(), dtype=np.int64) for line in path.read_text().splitlines()]
    user = np.concatenate([np.full(len(row) - 1, row[0]) for row in rows])
    return Interactions(user, np.concatenate([row[1:] for row in rows]), N_USERS, N_ITEMS)


def train(
    library: str, data: Dataset, dim: int, given: tuple[float, float], threads: int
) -> Factors:
    """Return trained factors."""
    if library != "implicit":
        recipe = IALS(
            dim=dim, unobserved=given[0], l2=given[1], sweeps=SWEEPS[library], solver=library
        )
        return recipe.build(data)
    from implicit.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(
        factors=dim,
        alpha=given[0],
        regularization=given[1],
        iterations=SWEEPS[library],
        num_threads=threads,
        random_state=0,
        use_gpu=False,
    )
    model.fit(data.pairs.csr, show_progress=False)
    return Factors(torch.from_numpy(model.user_factors), torch.from_numpy(model.item_factors))


def timed(work: Callable[[], Factors]) -> tuple[float, float, Factors]:
    """Return processor seconds, wall seconds and the factors."""
    processor, wall = time.process_time(), time.perf_counter()
    factors = work()
    return time.process_time() - processor, time.perf_counter() - wall, factors


def recall(factors: Factors, data: Dataset, test: Interactions) -> float:
    report = evaluate(factors, data.pairs, test, Evaluation(metrics=("recall@20",)))
    return report["recall@20"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("task", choices=("search", "run"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--dim", type=int, default=128, choices=(64, 128))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--libraries", nargs="+", default=list(SWEEPS), choices=list(SWEEPS))
    chosen = parser.parse_args()
    names = ("train_inner", "valid_inner") if chosen.task == "search" else ("train", "test")
    own, test = (pairs(chosen.folder / f"{name}.txt") for name in names)
    data = Dataset(own, Vocab.range(N_USERS, "user"), Vocab.range(N_ITEMS, "item"))
    data.pairs.csr  # noqa: B018  built once, outside of all times
    torch.set_num_threads(chosen.threads)
    keep_freed_memory()
    with threadpool_limits(1, user_api="blas"):
        if chosen.task == "search":
            search(data, test, chosen)
        else:
            run(data, test, chosen)


def search(data: Dataset, valid: Interactions, chosen: argparse.Namespace) -> None:
    for library in chosen.libraries:
        for given in itertools.product(*GRID[library]):
            factors = train(library, data, chosen.dim, given, chosen.threads)
            print(library, chosen.dim, given, f"{recall(factors, data, valid):.4f}", flush=True)


def run(data: Dataset, test: Interactions, chosen: argparse.Namespace) -> None:
    small = Dataset(
        Interactions(np.arange(9), np.arange(9), 9, 9),
        Vocab.range(9, "user"),
        Vocab.range(9, "item"),
    )
    for library in chosen.libraries:  # imports and compiles
        train(library, small, 4, (0.1, 0.1), chosen.threads)
    taken: dict[str, list[tuple[float, float]]] = {library: [] for library in chosen.libraries}
    values = {}
    for _ in range(chosen.rounds):
        for library in chosen.libraries:
            given = CHOSEN[library, chosen.dim]
            processor, wall, factors = timed(
                lambda library=library, given=given: train(
                    library, data, chosen.dim, given, chosen.threads
                )
            )
            taken[library].append((processor, wall))
            values[library] = factors
    for library, seconds in taken.items():
        processor, wall = (statistics.median(each) for each in zip(*seconds, strict=True))
        quality = recall(values[library], data, test)
        print(
            f"{library:<9} dim {chosen.dim}  {chosen.threads} threads  {processor:6.2f} cpu-s  "
            f"{wall:6.2f} s  recall@20 {quality:.4f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
