"""Benchmarks: methods x data sets x seeds with one tuning budget, resumable.

    result = recsys.benchmark.benchmark("configs/benchmark-small.toml", "runs/small", workers=2)

    plan       The TOML plan of a benchmark.
    running    Begin or resume a benchmark.
    dry_run    Find mistakes in every cell before the first is begun.
    cell       One method on one data set: its study and its runs.
    scheduler  Distribution of tasks over worker processes.
    worker     One worker process.
    results    Tables and figures of a benchmark.

The names below are public; the modules behind them are internal and may change.
"""

from recsys.benchmark.cell import State, Task
from recsys.benchmark.plan import Matrix, Plan, read_plan
from recsys.benchmark.results import Cost, Result, gather
from recsys.benchmark.running import benchmark, board, cell_folder, todo

__all__ = [
    "Cost",
    "Matrix",
    "Plan",
    "Result",
    "State",
    "Task",
    "benchmark",
    "board",
    "cell_folder",
    "gather",
    "read_plan",
    "todo",
]
