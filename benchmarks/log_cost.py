"""Measure what reading and splitting cost, without and with the log, here and in another version.

    python benchmarks/log_cost.py                                  # 10,000,000 events, and gowalla
    python benchmarks/log_cost.py --events 2000000 --runs 5
    python benchmarks/log_cost.py --against ../other-checkout      # both in turn, medians
    python benchmarks/log_cost.py --data other=log.parquet         # a file of your own

Each stage runs in a fresh process with one thread, so that its peak memory is its own: "read" loads
the data, "split" loads and splits it, and its seconds are those of the split alone. Seconds are CPU
time (user and system): other work on the machine moves them less than the clock. Gowalla is taken
from the folder of shared data where it exists; a synthetic log has user, item and time. A log with
times is split by the last pair of each user, files that are split already as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

ROOT = Path(__file__).parents[1]
STAGES = ("read", "split")


@dataclass(frozen=True)
class Cell:
    """One thing to measure.

    Args:
        data: name of the data.
        path: where they are.
        keep_log: whether the log is kept.
        stage: "read" or "split".
    """

    data: str
    path: Path
    keep_log: bool
    stage: str


@dataclass(frozen=True)
class Cost:
    """What one process measured.

    Args:
        seconds: CPU time of the stage.
        peak: megabytes, of the process.
    """

    seconds: float
    peak: float


def main() -> None:
    """Read the command line and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=10_000_000, help="of the synthetic log")
    parser.add_argument("--runs", type=int, default=3, help="of each process")
    parser.add_argument("--against", type=Path, help="checkout of another version")
    parser.add_argument("--data", action="append", default=[], help="NAME=PATH, besides the usual")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(**json.loads(arguments.child))))
        return
    versions = {"here": ROOT}
    if arguments.against:
        versions["against"] = arguments.against.resolve()
        if not (versions["against"] / "recsys" / "__init__.py").is_file():
            sys.exit(f"{arguments.against}: expected a checkout with the folder recsys")
    with tempfile.TemporaryDirectory() as folder:
        data = {**usual_data(arguments.events, Path(folder)), **own_data(arguments.data)}
        cells = [
            Cell(name, path, keep_log, stage)
            for name, path in data.items()
            for keep_log in (False, True)
            for stage in STAGES
        ]
        report(cells, run_all(cells, versions, arguments.runs), list(versions))


def usual_data(events: int, folder: Path) -> dict[str, Path]:
    """Return gowalla, if it is here, and a synthetic log that is written to a folder."""
    shared = Path(os.environ.get("RECSYS_SHARED_DATA", ROOT / "shared" / "data"))
    data = {"gowalla": shared / "gowalla"} if (shared / "gowalla" / "train.txt").is_file() else {}
    if not data:
        print(f"{shared / 'gowalla'} is not here: gowalla is left out", file=sys.stderr)
    if events:
        path = folder / "log.parquet"
        synthetic(events).write_parquet(path)
        data[f"synthetic, {events:,} events"] = path
    return data


def own_data(given: list[str]) -> dict[str, Path]:
    """Return the data of `--data`, by name."""
    data = {}
    for each in given:
        name, _, path = each.partition("=")
        if not path or not Path(path).exists():
            sys.exit(f"--data {each}: expected NAME=PATH of a file or folder that exists")
        data[name] = Path(path).resolve()
    return data


def synthetic(events: int) -> pl.DataFrame:
    """Draw a log: 50 events per user, items by a power law, seconds of a year, a tenth repeats."""
    rng = np.random.default_rng(0)
    n_users, n_items = max(1, events // 50), max(10, events // 200)
    user = rng.integers(0, n_users, events)
    item = (n_items * rng.random(events) ** 3).astype(np.int64)
    repeats = np.flatnonzero(rng.random(events) < 0.1)
    source = rng.integers(0, events, len(repeats))
    user[repeats] = user[source]
    item[repeats] = item[source]
    time = np.sort(rng.integers(1_577_836_800, 1_609_459_200, events))
    return pl.DataFrame({"user": user, "item": item, "time": time})


def run_all(
    cells: list[Cell], versions: dict[str, Path], runs: int
) -> dict[tuple[Cell, str], list[Cost]]:
    """Run each cell with each version in turn; every second round in the other order."""
    costs: dict[tuple[Cell, str], list[Cost]] = defaultdict(list)
    for number in range(runs):
        for cell in cells:
            order = list(versions.items())
            for name, checkout in order if number % 2 == 0 else reversed(order):
                costs[cell, name].append(run_child(cell, checkout))
                print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return costs


def run_child(cell: Cell, checkout: Path) -> Cost:
    """Measure a cell in a fresh process that imports the package of a checkout."""
    task = {
        "path": str(cell.path),
        "keep_log": cell.keep_log,
        "stage": cell.stage,
        "checkout": str(checkout),
    }
    threads = {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    output = subprocess.run(
        [sys.executable, __file__, "--child", json.dumps(task)],
        env={**os.environ, **threads, "PYTHONPATH": str(checkout)},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return Cost(**json.loads(output))


def measure(path: str, stage: str, checkout: str, *, keep_log: bool) -> dict[str, float]:
    """Return the seconds of a stage and the peak memory of this process, in megabytes."""
    import recsys
    from recsys.data.load import load
    from recsys.data.splitting import SplitRule, split

    origin = Path(recsys.__file__).resolve()
    if not origin.is_relative_to(Path(checkout).resolve()):
        sys.exit(f"expected the package of {checkout}, got {origin}")
    start = cpu()
    loaded = load(path, keep_log=keep_log)
    if stage == "split":
        start = cpu()
        split(loaded, SplitRule(by="auto" if loaded.parts is not None else "last"))
    unit = 2**20 if sys.platform == "darwin" else 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return {"seconds": cpu() - start, "peak": peak}


def cpu() -> float:
    """Return the CPU seconds of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def report(
    cells: list[Cell], costs: dict[tuple[Cell, str], list[Cost]], versions: list[str]
) -> None:
    """Print medians and the range of seconds, and the ratio of two versions."""
    head = ["data", "keep_log", "stage"]
    head += [f"{name}: {what}" for name in versions for what in ("CPU s (least, most)", "MB")]
    head += ["time", "memory"] if len(versions) > 1 else []
    print(f"| {' | '.join(head)} |")
    print(f"|{'---|' * len(head)}")
    for cell in cells:
        line = [cell.data, str(cell.keep_log).lower(), cell.stage]
        medians = []
        for name in versions:
            seconds = [cost.seconds for cost in costs[cell, name]]
            peak = statistics.median(cost.peak for cost in costs[cell, name])
            medians.append((statistics.median(seconds), peak))
            line.append(f"{medians[-1][0]:.2f} ({min(seconds):.2f}, {max(seconds):.2f})")
            line.append(f"{peak:,.0f}")
        if len(versions) > 1:
            here, other = medians
            line += [f"{one / two - 1:+.1%}" for one, two in zip(here, other, strict=True)]
        print(f"| {' | '.join(line)} |", flush=True)


if __name__ == "__main__":
    main()
