"""The folder of a benchmark: the record of what was begun, and cells that may begin again."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recsys.benchmark.cell import cell_folder, read_cell
from recsys.benchmark.plan import Plan, plain
from recsys.config import difference, from_toml, to_toml
from recsys.errors import InputError
from recsys.experiment.experiment import Experiment, from_tree
from recsys.files import LOCK, hold_lock, read_json, write_json, write_text

__all__ = ["Record", "began_otherwise", "prepare_cells", "read_record", "write_record"]

_FORMAT = 1  # of the folder; raised when an older version would misread a newer folder
_FILE = "matrix.json"
_FIXED = ("trials", "seconds", "refit")  # settings that may not change once a benchmark has begun


@dataclass
class Record:
    """The record of a benchmark, kept in matrix.json.

    Args:
        name: of the benchmark.
        matrix: the settings at the top of the plan, as plain values.
        data: fingerprint of each data set, by name.
        seconds: of work so far, over all commands.
        format: of the folder.
    """

    name: str
    matrix: Mapping[str, Any]
    data: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    format: int = _FORMAT


def read_record(plan: Plan, folder: Path) -> Record:
    """Return the record of the benchmark in a folder, or a new one for a new folder.

    Raises:
        InputError: the folder holds something else, or was begun with another budget.
    """
    settings = plain(plan.settings)
    if not (folder / _FILE).exists():
        _refuse_foreign(folder)
        return Record(plan.settings.name, settings)
    tree = read_json(folder / _FILE)
    known = isinstance(tree, dict) and isinstance(tree.get("format"), int)
    if not known or not isinstance(tree.get("matrix"), dict):
        raise InputError(
            f"its {_FILE} was not written by a benchmark",
            place=str(folder),
            remedy="choose another --out",
        )
    if tree["format"] > _FORMAT:
        raise InputError(
            f"was written by a newer version (format {tree['format']})",
            place=str(folder),
            remedy="update recsys",
        )
    for key in _FIXED:
        before, now = tree["matrix"].get(key), settings.get(key)
        if before != now:
            raise InputError(
                f"was begun with {key} = {before}, and the plan has {now}",
                place=str(folder),
                remedy="set it back, or choose another --out: a search that goes on after the "
                "test was opened is not a search on valid alone",
            )
    fields = {each.name for each in dataclasses.fields(Record)}
    known_values = {key: value for key, value in tree.items() if key in fields}
    return Record(**{"name": plan.settings.name, **known_values, "matrix": settings})


def write_record(plan: Plan, folder: Path, record: Record) -> None:
    """Write the record, and the settings of the plan as TOML."""
    write_text(folder / "config.toml", to_toml(plain(plan.settings)))
    first = {"format": record.format}
    write_json(folder / _FILE, first | dataclasses.asdict(record))


def prepare_cells(plan: Plan, folder: Path) -> None:
    """Write the experiment of each cell; a cell that has nothing to show begins again.

    Raises:
        InputError: a cell with a trial or a run has other settings now.
    """
    for key, experiment in plan.cells.items():
        cell = cell_folder(folder, *key)
        if began_otherwise(experiment, cell):
            _clear(cell)
        if not (cell / "experiment.toml").exists():
            write_text(cell / "experiment.toml", experiment.to_toml())


def began_otherwise(experiment: Experiment, cell: Path) -> bool:
    """Return whether a cell began with other settings and may restart, having nothing to show.

    Args:
        experiment: of the plan as it is now.
        cell: folder of the cell.

    Raises:
        InputError: it has an ended trial or a run.
    """
    path = cell / "experiment.toml"
    if not path.exists():
        return False
    changed = ""
    try:
        before = from_tree(from_toml(path.read_text(encoding="utf-8")), str(path))
        same = (before.fingerprint, before.tune) == (experiment.fingerprint, experiment.tune)
        changed = difference(before.to_tree(), experiment.to_tree())
    except InputError:  # a setting that this version does not have
        same = False
    if same:
        return False
    state = read_cell(cell, (), count=True)
    opened = any(cell.glob("seed-*/run.json"))
    trials = state.trials if state.chosen is None else state.chosen.trials
    if not trials and not opened:
        return True
    test = ", and its test has been opened" if opened else ""
    raise InputError(
        f"the cell was begun with other settings{test}{changed}",
        place=str(cell),
        remedy="set them back, give the method another name, or remove the folder of the cell",
    )


def _refuse_foreign(folder: Path) -> None:
    """Refuse a folder that holds anything but the beginnings of a benchmark."""
    if not folder.exists():
        return
    names = [each.name for each in folder.iterdir()] if folder.is_dir() else [folder.name]
    if any(name not in ("cells", LOCK) for name in names):
        raise InputError(
            "already exists and is not a benchmark",
            place=str(folder),
            remedy="choose another --out",
        )


def _clear(cell: Path) -> None:
    """Remove everything from the folder of a cell but its lock."""
    with hold_lock(cell / LOCK):
        for path in cell.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != LOCK:
                path.unlink()
