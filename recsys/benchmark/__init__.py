"""Benchmarks: methods x data sets x seeds with one tuning budget, resumable.

    result = recsys.benchmark.benchmark("configs/benchmark-small.toml", "runs/small", workers=2)

    plan         Read the TOML plan of a benchmark.
    method_plan  The methods of a plan, and their search spaces.
    sweep        A setting of data or split with several values.
    published    Published numbers next to ours.
    sections     Tables, names and files in a plan.
    running      Begin or resume a benchmark, or check it without one.
    status       The state of each cell.
    folder       The folder of a benchmark.
    dry_run      Try every cell before the first one begins.
    cell         The files of one method on one data set.
    task         The search and the runs of one cell.
    scheduler    Distribution of tasks over worker processes.
    worker       One worker process.
    progress     Progress events.
    gathering    Read what is finished.
    results      Tables as Markdown, LaTeX, CSV and JSON.
    curves       The picture of a sweep.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.benchmark.cell import CellState, cell_folder
from recsys.benchmark.gathering import gather
from recsys.benchmark.plan import Plan, PlanSettings, read_plan
from recsys.benchmark.progress import Task
from recsys.benchmark.results import Cost, Result
from recsys.benchmark.running import benchmark, check, todo
from recsys.benchmark.status import board

__all__ = [
    "CellState",
    "Cost",
    "Plan",
    "PlanSettings",
    "Result",
    "Task",
    "benchmark",
    "board",
    "cell_folder",
    "check",
    "gather",
    "read_plan",
    "todo",
]
