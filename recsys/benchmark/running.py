"""Matrices: methods x data sets x seeds with one tuning budget, resumable, and the tables that follow from them.

    result = recsys.benchmark.running.benchmark("configs/benchmark-small.toml", "runs/benchmark-small", workers=2)

Every cell is a folder, `cells/DATA/METHOD`; what is finished is not done again, and what a kill cut off goes on. First every method is searched on
every data set, on train and valid alone, with the same number of trials; then come the runs of the chosen settings, a seed at a time over the whole
matrix, so that a table of all methods exists early and gains seeds.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from recsys.benchmark.cell import State, Task, needed, state
from recsys.benchmark.dry_run import miniature, rehearse
from recsys.benchmark.plan import Matrix, Plan, plain, read_plan
from recsys.benchmark.results import Result, gather, write_result
from recsys.benchmark.scheduler import work
from recsys.config import difference, from_toml, to_toml
from recsys.data.types import Split
from recsys.errors import InputError
from recsys.experiment.execution import data_of
from recsys.experiment.experiment import Experiment, from_tree
from recsys.files import (
    LOCK,
    exclusive,
    hold_lock,
    is_held,
    read_json,
    refuse_held,
    write_atomic,
    write_json,
)
from recsys.study.tuning import train_valid_of

__all__ = [
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

Watch = Callable[[dict[str, Any]], None]

_FORMAT = 1  # of the folder; raised when an older reader would misread a newer folder
_KEPT = ("trials", "seconds", "refit")  # what may not change once a matrix is begun


def benchmark(
    config: str | Path | Plan,
    folder: str | Path,
    *,
    workers: int = 1,
    threads: int = 1,
    watch: Watch | None = None,
) -> Result:
    """Do what is missing of a matrix and write its tables.

    Args:
        config: the TOML file, or the plan read from it.
        folder: of the matrix; a new one, or one begun with the same budget. Methods, data sets and seeds may have been added or taken away.
        workers: processes at once, each on a cell of its own.
        threads: CPU threads of each.
        watch: told of the progress: {"event": "data" | "begun" | "trial" | "done" | "failed" | "written", ...}.

    Returns:
        The result, of the cells that could be finished; `failed` names the others.

    Raises:
        InputError: a mistake in any cell, or a method that refuses its [train] or its data, before the first is begun; data that cannot be read or
            have changed; another budget.
    """
    plan = config if isinstance(config, Plan) else read_plan(config)
    folder, tell = Path(folder), watch or (lambda _: None)
    if workers < 1:
        raise InputError(f"workers = {workers}", remedy="give 1 or more")
    busy = ("matrix", "wait for it, or look with --status")
    refuse_held(folder, *busy)
    _meta(plan, folder)  # a folder of something else is left as it is
    with exclusive(folder, *busy):
        return _carry_out(plan, folder, workers, threads, tell)


def _carry_out(plan: Plan, folder: Path, workers: int, threads: int, tell: Watch) -> Result:
    """Do what is missing, in a folder that nobody else works in."""
    meta = _meta(plan, folder)
    splits = _checked(plan, folder, meta, tell, keep=workers == 1)
    for key, experiment in plan.cells.items():
        if _begun_otherwise(experiment, cell_folder(folder, *key)):
            _empty(cell_folder(folder, *key))
        place = cell_folder(folder, *key) / "experiment.toml"
        if not place.exists():
            text = experiment.to_toml()
            write_atomic(place, partial(Path.write_text, data=text, encoding="utf-8"))
    write_atomic(
        folder / "config.toml",
        lambda path: path.write_text(to_toml(plain(plan.matrix)), encoding="utf-8"),
    )
    write_json(folder / "matrix.json", meta)
    began = time.perf_counter()
    failed = work(
        plan, folder, splits, workers, threads, lambda tried: todo(plan, folder, tried), tell
    )
    meta["seconds"] = round(meta["seconds"] + time.perf_counter() - began, 1)
    write_json(folder / "matrix.json", meta)
    result = replace(gather(plan, folder), failed=failed)
    write_result(result, folder)
    return result


def _checked(
    plan: Plan, folder: Path, meta: dict[str, Any], tell: Watch, *, keep: bool
) -> dict[str, Split]:
    """Try every cell on a miniature of its data, and put the fingerprints of the data into `meta`; the data, with `keep`."""
    for key, experiment in plan.cells.items():
        _begun_otherwise(experiment, cell_folder(folder, *key))
    splits: dict[str, Split] = {}
    for data in plan.data:
        found = _checked_data(plan, data)
        if not found.matches(meta["data"].setdefault(data, found.fingerprint)):
            raise InputError(
                "the data have changed since this matrix began",
                place=f"{folder}: {data}",
                remedy="restore the data, or choose another --out",
            )
        tell({"event": "data", "name": data, "split": found})
        _rehearse(plan, folder, data, found)
        if keep:
            splits[data] = found
    return splits


def cell_folder(folder: Path, data: str, method: str) -> Path:
    """The folder of a cell."""
    return Path(folder) / "cells" / data / method


def todo(plan: Plan, folder: Path, tried: Mapping[Task, str]) -> list[Task]:
    """What can be done now, in order: studies first, then the runs of one seed after another.

    Args:
        tried: tasks of this command that are taken, done or failed; what rests on a failed one is left out.
    """
    states = {key: state(cell_folder(folder, *key), plan.seeds) for key in plan.cells}
    found = [Task(*key, 0) for key, each in states.items() if each.chosen is None]
    for seed in plan.seeds:
        for key, each in states.items():
            if each.chosen is None or seed not in needed(each, plan.seeds) or seed in each.runs:
                continue
            # Whether a third run of a method without training says anything is known after the second.
            if seed > 2 and any(run["closed"] for run in each.runs.values()) and 2 not in each.runs:
                continue
            if seed > 1 and 1 not in each.runs:
                continue
            found.append(Task(*key, seed))
    return [task for task in found if task not in tried]


def board(plan: Plan, folder: Path) -> list[list[str]]:
    """The matrix as it stands: a row per method, a word per data set: "tuning 3/5", "2/3 runs", "done", "failed: ..."."""
    rows = []
    for method in plan.methods:
        row = [method]
        for data in plan.data:
            place = cell_folder(folder, data, method)
            row.append(_word(state(place, plan.seeds, count=True), plan, _running(place)))
        rows.append(row)
    return rows


def _word(found: State, plan: Plan, running: bool) -> str:
    wanted = needed(found, plan.seeds)
    done = sum(seed in found.runs for seed in wanted)
    if done == len(wanted):
        return "done" if len(wanted) == len(plan.seeds) else "done (seed has no effect)"
    mark = " *" if running else ""
    if found.failed and not running:
        return f"failed: {found.failed}"
    if found.chosen is None:
        return (
            f"tuning {found.trials}/{plan.matrix.trials}{mark}" if found.trials or running else "-"
        )
    return f"{done}/{len(wanted)} runs{mark}"


def _running(place: Path) -> bool:
    """Whether a process works in a cell: it holds the lock there."""
    return is_held(place / LOCK)


def _meta(plan: Plan, folder: Path) -> dict[str, Any]:
    """What is known of the matrix in a folder, or of a new one.

    Raises:
        InputError: the folder is something else's, or was begun with another budget.
    """
    if (folder / "matrix.json").exists():
        meta = read_json(folder / "matrix.json")
        if (
            not isinstance(meta, dict)
            or not isinstance(meta.get("format"), int)
            or not isinstance(meta.get("matrix"), dict)
        ):
            raise InputError(
                "has a matrix.json that is not of a matrix",
                place=str(folder),
                remedy="choose another --out",
            )
        if meta["format"] > _FORMAT:
            raise InputError(
                f"was written by a newer version (format {meta['format']})",
                place=str(folder),
                remedy="update recsys",
            )
        now = plain(plan.matrix)
        for key in _KEPT:
            if meta["matrix"].get(key) != now.get(key):
                cause = (
                    f"was begun with {key} = {meta['matrix'].get(key)}, and this is {now.get(key)}"
                )
                remedy = "leave it as it was, or choose another --out: a search that goes on after the test was opened is none on valid"
                raise InputError(cause, place=str(folder), remedy=remedy)
        return meta | {"matrix": now}
    if folder.exists() and (
        not folder.is_dir() or any(each.name not in ("cells", LOCK) for each in folder.iterdir())
    ):
        raise InputError(
            "exists already and is no matrix", place=str(folder), remedy="choose another --out"
        )
    return {
        "format": _FORMAT,
        "name": plan.matrix.name,
        "matrix": plain(plan.matrix),
        "data": {},
        "seconds": 0.0,
    }


def _begun_otherwise(experiment: Experiment, place: Path) -> bool:
    """Whether a cell was begun with other settings and has nothing to show for it, so that it can be begun anew.

    Raises:
        InputError: it has something: a trial that ended, or a run.
    """
    path = place / "experiment.toml"
    if not path.exists():
        return False
    what = ""
    try:
        before = from_tree(from_toml(path.read_text(encoding="utf-8")), str(path))
        same = (before.fingerprint, before.tune) == (experiment.fingerprint, experiment.tune)
        what = difference(before.to_tree(), experiment.to_tree())
    except InputError:  # a setting that there is no more
        same = False
    if same:
        return False
    found, opened = state(place, (), count=True), any(place.glob("seed-*/run.json"))
    searched = found.trials if found.chosen is None else found.chosen["trials"]
    if not searched and not opened:
        return True
    said = f"the cell was begun with other settings{', and its test has been opened' if opened else ''}{what}"
    raise InputError(
        said,
        place=str(place),
        remedy="set them back, give the method another name, or remove the folder of the cell",
    )


def _empty(place: Path) -> None:
    """Take back what a cell was begun with."""
    with hold_lock(place / LOCK):
        for path in place.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != LOCK:
                path.unlink()


def _rehearse(plan: Plan, folder: Path, data: str, split: Split) -> None:
    """Try every method that is still to be searched, or run, on a data set before any of them is begun."""
    small = miniature(split.train)
    for method in plan.methods:
        place = cell_folder(folder, data, method)
        chosen = state(place, ()).chosen
        if chosen is not None and (chosen["trials"] or any(place.glob("seed-*/run.json"))):
            continue  # it was trained
        try:
            rehearse(plan.cells[data, method], split, small)
        except InputError as error:
            raise error.at(f"{method} on {data}") from None


def _checked_data(plan: Plan, data: str) -> Split:
    experiment = plan.cells[data, plan.methods[0]]
    try:
        split = data_of(experiment)
        train_valid_of(experiment, split)
    except InputError as error:
        raise error.at(data) from None
    if split.test is None or not len(split.test):
        raise InputError(
            "the split has no test", place=f"{data}: [split]", remedy="give test a share in [split]"
        )
    return split
