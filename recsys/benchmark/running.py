"""Begin or resume a benchmark: methods x data sets x seeds with one tuning budget.

    result = recsys.benchmark.benchmark(
        "configs/benchmark-small.toml", "runs/benchmark-small", workers=2
    )

Every cell has a folder, `cells/DATA/METHOD`. What is finished is not done again, and what was
interrupted is resumed. First every method is searched on every data set, on train and valid alone,
with the same number of trials. Then come the runs of the chosen settings, one seed at a time over
all cells, so that a table of all methods exists early and gains seeds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from recsys.benchmark.cell import cell_folder, needed_seeds, read_cell
from recsys.benchmark.dry_run import miniature, rehearse
from recsys.benchmark.folder import (
    Record,
    began_otherwise,
    prepare_cells,
    read_record,
    write_record,
)
from recsys.benchmark.gathering import gather
from recsys.benchmark.plan import Plan, read_plan
from recsys.benchmark.progress import DataLoaded, Task, Watch
from recsys.benchmark.results import Result, write_result
from recsys.benchmark.scheduler import work
from recsys.benchmark.task import WorkOptions, copy_chosen
from recsys.data.types import Split
from recsys.errors import InputError
from recsys.experiment.execution import data_of
from recsys.files import exclusive, refuse_held
from recsys.study.tuning import train_valid_of

__all__ = ["benchmark", "check", "todo"]


def benchmark(
    config: str | Path | Plan,
    folder: str | Path,
    *,
    workers: int = 1,
    threads: int = 1,
    watch: Watch | None = None,
) -> Result:
    """Do what is missing of a benchmark and write its tables.

    Args:
        config: the TOML file of the plan, or the plan read from it.
        folder: of the benchmark; a new one, or one begun with the same budget. Methods, data sets
            and seeds may have been added or removed.
        workers: processes at the same time, each on one cell.
        threads: CPU threads of each process.
        watch: called with each progress event of `recsys.benchmark.progress`.

    Returns:
        The result of the cells that could be finished; `failed` names the others.

    Raises:
        InputError: a mistake in any cell, a method that rejects its [train] or its data (before
            the first cell begins), data that cannot be read or have changed, another budget.
    """
    plan = config if isinstance(config, Plan) else read_plan(config)
    folder, watch = Path(folder), watch or _ignore
    if workers < 1:
        raise InputError(f"workers must be at least 1, got {workers}", remedy="give 1 or more")
    busy = ("benchmark", "wait for it, or look with --status")
    refuse_held(folder, *busy)
    read_record(plan, folder)  # before a lock is written into the folder of something else
    with exclusive(folder, *busy):
        return _carry_out(plan, folder, workers, threads, watch)


def check(plan: Plan, watch: Watch | None = None) -> None:
    """Load every data set and try every cell on a small sample, without writing anything.

    Args:
        plan: the plan.
        watch: called with `DataLoaded` once a data set and all methods on it were checked.

    Raises:
        InputError: data that cannot be read, or a method that rejects its [train] or its data.
    """
    for data in plan.data:
        split = _load(plan, data)
        _rehearse(plan, data, plan.methods, split)
        (watch or _ignore)(DataLoaded(data, split))


def _ignore(_: object) -> None:
    """Ignore a progress event."""


def _carry_out(plan: Plan, folder: Path, workers: int, threads: int, watch: Watch) -> Result:
    """Do what is missing, in a folder that no other command works in."""
    record = read_record(plan, folder)
    splits = _checked(plan, folder, record, watch, keep=workers == 1)
    prepare_cells(plan, folder)
    write_record(plan, folder, record)
    options = WorkOptions(folder, plan.settings.energy)
    started = time.perf_counter()
    failed = work(plan, options, splits, workers, threads, _open_tasks(plan, options), watch)
    record.seconds = round(record.seconds + time.perf_counter() - started, 1)
    write_record(plan, folder, record)
    result = replace(gather(plan, folder), failed=failed)
    write_result(result, folder)
    return result


def _open_tasks(plan: Plan, options: WorkOptions) -> Callable[[Mapping[Task, str]], list[Task]]:
    """Return the function that lists what can be done now; it copies shared choices first."""

    def open_tasks(tried: Mapping[Task, str]) -> list[Task]:
        for data, method in plan.cells:
            origin = plan.tuned_on(data, method)
            source, target = Task(origin, method, 0), Task(data, method, 0)
            if origin != data and _is_chosen(options, source) and not _is_chosen(options, target):
                copy_chosen(options, source, target)
        return todo(plan, options.folder, tried)

    return open_tasks


def _is_chosen(options: WorkOptions, search: Task) -> bool:
    return (cell_folder(options.folder, search.data, search.method) / "chosen.json").exists()


def _checked(
    plan: Plan, folder: Path, record: Record, watch: Watch, *, keep: bool
) -> dict[str, Split]:
    """Try every open cell on a sample of its data, and record the fingerprints of the data.

    Returns:
        The data sets by name where `keep` is set, for a single worker; else an empty mapping.
    """
    for key, experiment in plan.cells.items():
        began_otherwise(experiment, cell_folder(folder, *key))
    splits: dict[str, Split] = {}
    for data in plan.data:
        split = _load(plan, data)
        if not split.matches(record.data.setdefault(data, split.fingerprint)):
            raise InputError(
                "the data have changed since this benchmark began",
                place=f"{folder}: {data}",
                remedy="restore the data, or choose another --out",
            )
        watch(DataLoaded(data, split))
        methods = [method for method in plan.methods if not _is_trained(folder, data, method)]
        _rehearse(plan, data, methods, split)
        if keep:
            splits[data] = split
    return splits


def _is_trained(folder: Path, data: str, method: str) -> bool:
    """Return whether a cell has shown already that its method accepts its data."""
    cell = cell_folder(folder, data, method)
    chosen = read_cell(cell, ()).chosen
    return chosen is not None and (chosen.trials > 0 or any(cell.glob("seed-*/run.json")))


def _load(plan: Plan, data: str) -> Split:
    """Load a data set and check that it has a test part, and a valid part for a search."""
    experiment = plan.cells[data, plan.methods[0]]
    try:
        split = data_of(experiment)
        if any(plan.cells[data, method].tune is not None for method in plan.methods):
            train_valid_of(experiment, split)
    except InputError as error:
        raise error.at(data) from None
    if split.test is None or not len(split.test):
        raise InputError(
            "the split has no test part",
            place=f"{data}: [split]",
            remedy="give test a share in [split]",
        )
    return split


def _rehearse(plan: Plan, data: str, methods: tuple[str, ...] | list[str], split: Split) -> None:
    """Try methods on a data set before any of them begins."""
    small = miniature(split.train)
    for method in methods:
        try:
            rehearse(plan.cells[data, method], split, small)
        except InputError as error:
            raise error.at(f"{method} on {data}") from None


def todo(plan: Plan, folder: Path, tried: Mapping[Task, str]) -> list[Task]:
    """Return what can be done now, in order: searches first, then one seed after another.

    Args:
        plan: the plan.
        folder: of the benchmark.
        tried: tasks of this command that are taken, done or failed. They are left out, as are
            runs whose search is not done.
    """
    cells = {key: read_cell(cell_folder(folder, *key), plan.seeds) for key in plan.cells}
    tasks = [
        Task(*key, 0)
        for key, cell in cells.items()
        if cell.chosen is None and plan.tuned_on(*key) == key[0]
    ]
    for seed in plan.seeds:
        for key, cell in cells.items():
            if cell.chosen is None or seed in cell.runs:
                continue
            if seed not in needed_seeds(cell, plan.seeds):
                continue
            # Whether the seed has an effect on a closed form is known after the second run.
            if seed > 2 and 2 not in cell.runs and any(run.closed for run in cell.runs.values()):
                continue
            if seed > 1 and 1 not in cell.runs:
                continue
            tasks.append(Task(*key, seed))
    return [task for task in tasks if task not in tried]
