"""Measure how load, epoch and ranking grow with 1, 10 and 100 times the built-in customers.

    python benchmarks/scale.py [--times 1 10 100]

The catalogue stays (3,659 products); customers and purchases grow, to 433,500 customers and 26.6
million purchases at 100 times. Each size runs in a separate process, so that its peak memory is its
own.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        one(arguments.one)
        return
    print(
        "times      pairs  load s  split s  epoch s  rank s  peak MB  | per million pairs: load  "
        "epoch  rank per million users",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        for times in arguments.times:
            from synthetic import log

            pairs = log(4_335 * times, 3_659, 266_226 * times, seed=times)
            path = Path(folder) / f"{times}.parquet"
            pl.DataFrame({"user": pairs.user, "item": pairs.item}).write_parquet(path)
            n = len(pairs)
            del pairs
            output = subprocess.run(
                [sys.executable, __file__, "--one", str(path)],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            load, split, epoch, rank, peak, users = (float(part) for part in output.split())
            print(
                f"{times:>5} {n:>10,} {load:>7.2f} {split:>8.2f} {epoch:>8.2f} {rank:>7.2f} "
                f"{peak:>8.0f}  | {load / n * 1e6:>23.3f} {epoch / n * 1e6:>6.2f} "
                f"{rank / users * 1e6:>22.1f}",
                flush=True,
            )


def one(path: Path) -> None:
    """Measure one size and print the figures."""
    from recsys.data.load import load
    from recsys.data.query import Queries
    from recsys.data.splitting.splits import split
    from recsys.models.mf import MF
    from recsys.ranking import top_k
    from recsys.training.loop import Train, fit
    from recsys.training.progress import EpochDone

    marks = [time.perf_counter()]
    loaded = load(path, user="user", item="item")
    marks.append(time.perf_counter())
    parts = split(loaded)
    marks.append(time.perf_counter())
    epochs: list[float] = []
    fitted = fit(
        MF(dim=64),
        parts.train,
        None,
        Train(epochs=2, batch_size=8192, rows="touched", device="cpu"),
        watch=lambda event: (
            epochs.append(event.entry.seconds) if isinstance(event, EpochDone) else None
        ),
    )
    began = time.perf_counter()
    everyone = Queries.of_users(np.arange(parts.train.n_users), parts.train.pairs.csr)
    top_k(fitted.scorer, everyone, 20)
    rank = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(marks[1] - marks[0], marks[2] - marks[1], epochs[-1], rank, peak, parts.train.n_users)


if __name__ == "__main__":
    main()
