"""The files of one cell of a benchmark, which is a method on a data set.

experiment.toml      the method with its published or default settings, and its [tune]
study/               the search, on train and valid alone
chosen.json          the chosen settings and the cost of the search; written when it is done
seed-1/, seed-2/     runs of the chosen settings
seed-1.json          the cost of a run; written when the run is done
failed.json          the reason of the last failure, until the stage that failed is done

The last file of a stage tells whether the stage is done. So a process that is killed at any moment
leaves work that is either done or can be resumed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from recsys.benchmark.progress import Task
from recsys.errors import InputError
from recsys.files import read_json, write_json
from recsys.study.tuning import is_study, open_study

__all__ = [
    "CellState",
    "Chosen",
    "RunCost",
    "cell_folder",
    "needed_seeds",
    "read_cell",
    "read_chosen",
    "read_run_cost",
    "write_chosen",
    "write_failure",
    "write_run_cost",
]

T = TypeVar("T")


@dataclass(frozen=True)
class Chosen:
    """The result of the search of a cell, kept in chosen.json.

    Args:
        trials: made; 0 where there is nothing to search.
        seconds: of training and of evaluation on valid, summed over the trials.
        settings: the chosen values of the searched fields, by dotted path.
        tree: the chosen experiment as plain values.
        number: of the chosen trial; None without a search.
        value: of that trial's first objective on valid; None without a search.
        tuned_on: the data set of the search, where a sweep searches on the first value alone.
    """

    trials: int
    seconds: float
    settings: Mapping[str, Any]
    tree: Mapping[str, Any]
    number: int | None = None
    value: float | None = None
    tuned_on: str | None = None


@dataclass(frozen=True)
class RunCost:
    """The cost of one run of the chosen settings, kept in seed-N.json.

    Args:
        closed: whether the method has no training loop (a closed form).
        scorer: fingerprint of the scorer.
        epochs: the best epoch.
        train_seconds: of training alone.
        seconds: of the whole run, evaluation included.
        parameters: numbers that the scorer holds.
        users_per_second: users for whom all items are ranked, per second.
        kwh: energy in kilowatt hours; None where it was not measured.
    """

    closed: bool
    scorer: str
    epochs: int
    train_seconds: float
    seconds: float
    parameters: int
    users_per_second: float
    kwh: float | None = None

    def is_same_closed_form(self, other: RunCost) -> bool:
        """Return whether both runs made the same scorer without training."""
        return self.closed and other.closed and self.scorer == other.scorer


@dataclass(frozen=True)
class CellState:
    """What is finished in a cell.

    Args:
        chosen: result of the search; None until it is done.
        runs: cost of each finished run, by seed.
        trials: finished trials of a search that is not done; 0 unless they were counted.
        failed: reason of the last failure; empty without one.
    """

    chosen: Chosen | None
    runs: Mapping[int, RunCost]
    trials: int
    failed: str


def cell_folder(folder: Path, data: str, method: str) -> Path:
    """Return the folder of a cell.

    Args:
        folder: of the benchmark.
        data: name of the data set.
        method: name of the method.
    """
    return Path(folder) / "cells" / data / method


def read_cell(folder: Path, seeds: Iterable[int], *, count: bool = False) -> CellState:
    """Read what is finished in a cell.

    Args:
        folder: of the cell.
        seeds: of the runs to look for.
        count: whether to count the trials of an unfinished search, which reads all of them.

    Raises:
        InputError: a file is damaged.
    """
    chosen = read_chosen(folder) if (folder / "chosen.json").exists() else None
    there = [seed for seed in seeds if (folder / f"seed-{seed}.json").exists()]
    runs = {seed: read_run_cost(folder, seed) for seed in there}
    failed = ""
    if (folder / "failed.json").exists():
        failed = str(read_json(folder / "failed.json").get("reason", ""))
    trials = 0
    if count and chosen is None and is_study(folder / "study"):
        ended = ("complete", "pruned", "failed")
        trials = sum(trial.state in ended for trial in open_study(folder / "study").trials)
    return CellState(chosen, runs, trials, failed)


def needed_seeds(cell: CellState, seeds: Iterable[int]) -> list[int]:
    """Return the seeds whose runs belong to the cell, finished or not.

    Where the first two runs made the same scorer without training, the first one is enough.
    """
    first, *others = seeds
    one, two = cell.runs.get(first), cell.runs.get(others[0]) if others else None
    if one is not None and two is not None and one.is_same_closed_form(two):
        return [first]
    return [first, *others]


def read_chosen(folder: Path) -> Chosen:
    """Read the result of a cell's search.

    Raises:
        InputError: the file is missing or damaged.
    """
    return _read(Chosen, folder / "chosen.json")


def write_chosen(folder: Path, chosen: Chosen) -> None:
    """Write the result of a cell's search, which ends that stage."""
    plain = dataclasses.asdict(chosen)
    optional = ("number", "value", "tuned_on")
    absent = [key for key in optional if plain[key] is None]
    write_json(folder / "chosen.json", {k: v for k, v in plain.items() if k not in absent})


def read_run_cost(folder: Path, seed: int) -> RunCost:
    """Read the cost of a finished run.

    Raises:
        InputError: the file is missing or damaged.
    """
    return _read(RunCost, folder / f"seed-{seed}.json")


def write_run_cost(folder: Path, seed: int, cost: RunCost) -> None:
    """Write the cost of a run, which ends that stage."""
    write_json(folder / f"seed-{seed}.json", dataclasses.asdict(cost))


def write_failure(folder: Path, task: Task, reason: str) -> None:
    """Write why a task of a cell failed."""
    write_json(folder / "failed.json", {"seed": task.seed, "reason": reason})


def _read(cls: type[T], path: Path) -> T:
    """Return a record that was written as JSON; keys of other versions are ignored."""
    plain = read_json(path)
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    if isinstance(plain, dict):
        missing = [
            field.name
            for field in fields
            if field.name not in plain and field.default is dataclasses.MISSING
        ]
    else:
        missing = [field.name for field in fields]
    if missing:
        raise InputError(
            f"is damaged: '{missing[0]}' is missing",
            place=str(path),
            remedy="remove the folder of the cell to do it again",
        )
    return cls(**{field.name: plain[field.name] for field in fields if field.name in plain})
