"""The state of a benchmark, finished or not."""

from __future__ import annotations

from pathlib import Path

from recsys.benchmark.cell import CellState, cell_folder, needed_seeds, read_cell
from recsys.benchmark.plan import Plan
from recsys.files import LOCK, is_held

__all__ = ["board"]


def board(plan: Plan, folder: Path) -> list[list[str]]:
    """Return the state of each cell: a row per method, with a text per data set.

    A text is "tuning 3/5", "2/3 runs", "done", "failed: ..." or "-"; a star marks a cell in which
    a process works.

    Args:
        plan: the plan.
        folder: of the benchmark.

    Returns:
        Rows of [method, text of the first data set, text of the second, ...].
    """
    rows = []
    for method in plan.methods:
        row = [method]
        for data in plan.data:
            cell = cell_folder(folder, data, method)
            running = is_held(cell / LOCK)
            row.append(_text(read_cell(cell, plan.seeds, count=True), plan, running))
        rows.append(row)
    return rows


def _text(cell: CellState, plan: Plan, running: bool) -> str:
    seeds = needed_seeds(cell, plan.seeds)
    done = sum(seed in cell.runs for seed in seeds)
    if done == len(seeds):
        return "done" if len(seeds) == len(plan.seeds) else "done (seed has no effect)"
    star = " *" if running else ""
    if cell.failed and not running:
        return f"failed: {cell.failed}"
    if cell.chosen is not None:
        return f"{done}/{len(seeds)} runs{star}"
    if cell.trials or running:
        return f"tuning {cell.trials}/{plan.settings.trials}{star}"
    return "-"
