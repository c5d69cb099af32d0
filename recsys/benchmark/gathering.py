"""Read what is finished of a benchmark into its result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recsys.benchmark.cell import Chosen, RunCost, cell_folder, needed_seeds, read_cell
from recsys.benchmark.plan import Plan
from recsys.benchmark.results import Cost, Result
from recsys.comparison.comparison import Comparison, compare
from recsys.evaluation.evaluator import Report
from recsys.evaluation.metrics import parse
from recsys.evaluation.pooled import pool_reports
from recsys.experiment.execution import open_run
from recsys.statistics.critical_difference import MethodRanks, ranking
from recsys.training.stopping import Stopping

__all__ = ["gather"]


@dataclass(frozen=True, eq=False)
class _Finished:
    """The finished part of a cell: its search, and the costs and reports of its runs."""

    chosen: Chosen
    costs: tuple[RunCost, ...]
    reports: tuple[Report, ...]
    stopping: tuple[Stopping, ...]
    fingerprint: str
    no_chance: bool

    @property
    def cost(self) -> Cost:
        """The cost of the method, means over the runs."""
        energies = [run.kwh for run in self.costs if run.kwh is not None]
        return Cost(
            trials=self.chosen.trials,
            tune_seconds=self.chosen.seconds,
            train_seconds=round(float(np.mean([run.train_seconds for run in self.costs])), 3),
            users_per_second=round(float(np.mean([run.users_per_second for run in self.costs])), 1),
            parameters=self.costs[0].parameters,
            kwh=float(np.mean(energies)) if energies else None,
            settings=self.chosen.settings,
            no_chance=self.no_chance,
        )


def gather(plan: Plan, folder: Path) -> Result:
    """Read what is finished of a benchmark.

    Args:
        plan: the plan.
        folder: of the benchmark.

    Raises:
        InputError: a run is damaged.
    """
    tables: dict[str, Comparison] = {}
    costs: dict[tuple[str, str], Cost] = {}
    primary = {data: plan.cells[data, plan.methods[0]].evaluate.monitor for data in plan.data}
    notes: list[str] = []
    finished: dict[str, dict[str, _Finished]] = {}
    for data in plan.data:
        cells = finished[data] = {}
        for method in plan.methods:
            cell = _finished(cell_folder(folder, data, method), plan.seeds)
            if cell is not None:
                cells[method] = cell
                costs[data, method] = cell.cost
        if cells:
            tables[data] = _table(cells, primary[data])
            notes += _unfinished(plan, data, cells)
    pooled: dict[str, Comparison] = {}
    for base, cells in _pooled(plan, finished).items():
        primary[base] = primary[next(name for name in plan.data if plan.points[name].base == base)]
        costs |= {(base, method): cell.cost for method, cell in cells.items()}
        pooled[base] = _table(cells, primary[base])
    return Result(
        plan.settings.name,
        tables,
        primary,
        costs,
        _ranked(plan, pooled or tables, primary),
        len(plan.seeds),
        (*notes, *_notes(plan, costs)),
        swept="" if plan.sweep is None else plan.sweep.label,
        points=plan.points,
        published=plan.published,
        pooled=pooled,
    )


def _pooled(
    plan: Plan, finished: Mapping[str, Mapping[str, _Finished]]
) -> dict[str, dict[str, _Finished]]:
    """Return the cells of each base data set over all values of the sweep, if they are parts.

    A method is left out until its runs of all values are finished.

    Args:
        plan: the plan.
        finished: the cells by data set and method.
    """
    if plan.sweep is None or not plan.sweep.pool:
        return {}
    pooled: dict[str, dict[str, _Finished]] = {}
    for base in dict.fromkeys(point.base for point in plan.points.values()):
        names = [name for name, point in plan.points.items() if point.base == base]
        for method in plan.methods:
            cells = [finished[name][method] for name in names if method in finished[name]]
            n_runs = min((len(cell.reports) for cell in cells), default=0)
            if len(cells) < len(names) or not n_runs:
                continue
            labels = [str(plan.points[name].value) for name in names]
            reports = [
                pool_reports(
                    [(label, cell.reports[run]) for label, cell in zip(labels, cells, strict=True)]
                )
                for run in range(n_runs)
            ]
            pooled.setdefault(base, {})[method] = _Finished(
                cells[0].chosen,
                tuple(cost for cell in cells for cost in cell.costs),
                tuple(reports),
                tuple(each for cell in cells for each in cell.stopping),
                " ".join(cell.fingerprint for cell in cells),
                no_chance=all(cell.no_chance for cell in cells),
            )
    return pooled


def _finished(cell: Path, seeds: range) -> _Finished | None:
    """Read the finished runs of a cell; None before the first one."""
    state = read_cell(cell, seeds)
    needed = needed_seeds(state, seeds)
    there = [seed for seed in needed if seed in state.runs]
    if state.chosen is None or not there:
        return None
    runs = [open_run(cell / f"seed-{seed}") for seed in there]
    return _Finished(
        state.chosen,
        tuple(state.runs[seed] for seed in there),
        tuple(run.report("test") for run in runs),
        tuple(run.stopping for run in runs),
        runs[0].pairs_fingerprint,
        no_chance=len(needed) < len(seeds),
    )


def _table(cells: Mapping[str, _Finished], metric: str) -> Comparison:
    """Compare the methods of a data set, the best in `metric` first.

    All tests of the data set, over all metrics, are corrected as one family.
    """
    higher = parse(metric).higher

    def order(method: str) -> float:
        mean = float(np.mean([report[metric] for report in cells[method].reports]))
        return -mean if higher is not False else mean

    methods = sorted(cells, key=order)
    return compare(
        {method: cells[method].reports for method in methods},
        fingerprints={method: cells[method].fingerprint for method in methods},
        stopping={method: cells[method].stopping for method in methods},
    )


def _unfinished(plan: Plan, data: str, cells: Mapping[str, _Finished]) -> list[str]:
    """Return notes on the methods that lack runs on a data set."""
    notes = []
    missing = [method for method in plan.methods if method not in cells]
    if missing:
        notes.append(f"{data}: not finished: {', '.join(missing)}.")
    n_seeds = len(plan.seeds)
    fewer = [
        f"{method} {len(cell.reports)}"
        for method, cell in cells.items()
        if len(cell.reports) < n_seeds and not cell.no_chance
    ]
    if fewer:
        notes.append(f"{data}: fewer than {n_seeds} runs so far: {', '.join(fewer)}.")
    return notes


def _notes(plan: Plan, costs: Mapping[tuple[str, str], Cost]) -> list[str]:
    """Return notes on all data sets together."""
    notes = []
    fixed = dict.fromkeys(method for (_, method), cost in costs.items() if cost.no_chance)
    if fixed:
        notes.append(
            f"One run of {', '.join(fixed)}: two seeds made the same scorer, so the seed has no "
            "effect."
        )
    untuned = dict.fromkeys(method for (_, method), cost in costs.items() if not cost.trials)
    if len(untuned) == len({method for _, method in costs}):
        notes.append("Nothing was searched: every method has the settings of the plan.")
    elif untuned:
        notes.append(
            f"Nothing was searched for {', '.join(untuned)}; every other method had "
            f"{plan.settings.trials} trials, the first with its own settings."
        )
    if plan.sweep is not None and plan.sweep.tune == "first":
        notes.append(
            f"Settings were searched at {plan.sweep.label} = {plan.sweep.values[0]} alone and "
            "used at all other values."
        )
    return notes


def _ranked(
    plan: Plan, tables: Mapping[str, Comparison], primary: Mapping[str, str]
) -> MethodRanks | None:
    """Rank the methods that are finished on all data sets; of a sweep, at the first value.

    The values of a sweep share their data, so they are not independent data sets.
    """
    data_sets = list(plan.data)
    if plan.sweep is not None and plan.sweep.pool:
        data_sets = list(dict.fromkeys(point.base for point in plan.points.values()))
    elif plan.sweep is not None:
        first = plan.sweep.values[0]
        data_sets = [data for data in plan.data if plan.points[data].value == first]
    whole = [
        method
        for method in plan.methods
        if all(data in tables and method in tables[data].methods for data in data_sets)
    ]
    if len(whole) < 2 or len(data_sets) < 2:
        return None
    rows: list[Sequence[float]] = []
    for data in data_sets:
        sign = 1.0 if parse(primary[data]).higher is not False else -1.0
        rows.append([sign * tables[data].cell(method, primary[data]).mean for method in whole])
    values = np.array(rows)
    return None if np.isnan(values).any() else ranking(whole, values)
