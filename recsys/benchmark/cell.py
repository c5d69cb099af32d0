"""One cell of a matrix, a method on a data set: its study, and the runs of what the study chose.

experiment.toml      the method as it is published or set by default, with its [tune]
study/               the study, on train and valid alone
chosen.json          what it chose and what that took; written when it is done
seed-1/, seed-2/     runs of the chosen settings
seed-1.json          what a run cost; written when it is done
failed.json          what went wrong in which stage, until that stage is done

What is done is known by the last file of its stage, so that a kill at any moment leaves work that is either done or goes on.
"""

from __future__ import annotations

import dataclasses
import importlib
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from recsys.config import from_toml
from recsys.data.types import Split
from recsys.errors import InputError
from recsys.experiment.execution import Run, data_of, execute
from recsys.experiment.experiment import Experiment, from_tree
from recsys.files import read_json, write_json
from recsys.ranking import top_k
from recsys.study.progress import Watch
from recsys.study.tuning import is_study, open_study, tune

__all__ = ["State", "Task", "do", "needed", "state"]

_USERS, _TIMES = 1000, 3  # that are ranked to measure the speed of scoring, at most, and how often


@dataclass(frozen=True, order=True)
class Task:
    """One piece of work: `seed` 0 is the study, 1 and more are runs."""

    data: str
    method: str
    seed: int


@dataclass(frozen=True)
class State:
    """What of a cell is done.

    Args:
        chosen: of the study, or None.
        runs: what is known of each finished run, by seed.
        trials: trials that are finished, of a study that is not done; 0 where they were not counted.
        failed: what went wrong last.
    """

    chosen: dict[str, Any] | None
    runs: dict[int, dict[str, Any]]
    trials: int
    failed: str


def state(folder: Path, seeds: Iterable[int], *, count: bool = False) -> State:
    """Look at the folder of a cell.

    Args:
        seeds: of the runs that may be there.
        count: whether to count the trials of a study that is not done, which reads all of them.
    """
    chosen = read_json(folder / "chosen.json") if (folder / "chosen.json").exists() else None
    runs = {
        seed: read_json(folder / f"seed-{seed}.json")
        for seed in seeds
        if (folder / f"seed-{seed}.json").exists()
    }
    failed = (
        read_json(folder / "failed.json")["reason"] if (folder / "failed.json").exists() else ""
    )
    done = 0
    if count and chosen is None and is_study(folder / "study"):
        done = sum(
            trial.state in ("complete", "pruned", "failed")
            for trial in open_study(folder / "study").trials
        )
    return State(chosen, runs, done, failed)


def needed(found: State, seeds: Iterable[int]) -> list[int]:
    """The seeds whose runs belong to the cell, finished or not: where two made the same scorer without training, the first alone."""
    first, *others = seeds
    if (
        others
        and first in found.runs
        and others[0] in found.runs
        and _same(found.runs[first], found.runs[others[0]])
    ):
        return [first]
    return [first, *others]


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(one["closed"] and other["closed"] and one["scorer"] == other["scorer"])


def do(
    task: Task, folder: Path, splits: dict[str, Split], *, energy: bool = False, watch: Watch
) -> None:
    """Do a task, or go on with it; what it leaves is in the cell's folder.

    Args:
        task: what to do.
        folder: of the cell.
        splits: the data sets that this process has loaded, by name; one that is missing is loaded and put there.
        energy: whether a run's energy is measured.
        watch: told of each finished trial.

    Raises:
        InputError: and what else a study or a run can raise; it is written down in failed.json too.
    """
    try:
        experiment = from_tree(
            from_toml((folder / "experiment.toml").read_text(encoding="utf-8")),
            str(folder / "experiment.toml"),
        )
        if task.data not in splits:
            splits[task.data] = data_of(experiment)
        if task.seed:
            _run(experiment, folder, task.seed, splits[task.data], energy)
        else:
            _study(experiment, folder, splits[task.data], watch)
    except Exception as error:
        said = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        write_json(folder / "failed.json", {"seed": task.seed, "reason": said})
        raise
    (folder / "failed.json").unlink(missing_ok=True)


def _study(experiment: Experiment, folder: Path, split: Split, watch: Watch) -> None:
    if experiment.tune is None:
        write_json(
            folder / "chosen.json",
            {"trials": 0, "seconds": 0.0, "settings": {}, "tree": experiment.to_tree()},
        )
        return
    place = folder / "study"
    if place.exists() and not is_study(place):  # killed before the first trial
        shutil.rmtree(place)
    study = tune(experiment, place, resume=place.exists(), split=split, watch=watch)
    best, chosen, used = study.best, study.best_experiment(), study.used()
    if best is None or chosen is None:
        reasons = sorted({trial.reason for trial in study.trials if trial.reason})
        remedy = "allow more seconds or fewer epochs, or look at the study; a failed cell is done again once its folder is removed"
        raise InputError(
            f"no trial was completed within the limits: {'; '.join(reasons)}",
            place=str(place),
            remedy=remedy,
        )
    found = {
        "trials": used.trials,
        "seconds": used.device_seconds,
        "number": best.number,
        "value": best.values[0],
    }
    write_json(
        folder / "chosen.json", {**found, "settings": dict(best.settings), "tree": chosen.to_tree()}
    )


def _run(experiment: Experiment, folder: Path, seed: int, split: Split, energy: bool) -> None:
    chosen = from_tree(read_json(folder / "chosen.json")["tree"], str(folder / "chosen.json"))
    model: Any = chosen.model
    if any(
        field.name == "seed" for field in dataclasses.fields(model)
    ):  # a start that is drawn before training, as of iALS
        model = replace(model, seed=seed)
    chosen = replace(
        chosen, name=experiment.name, model=model, train=replace(chosen.train, seed=seed)
    )
    place = folder / f"seed-{seed}"
    if (
        place.exists() and not (place / "run.json").exists()
    ):  # killed before there was anything to keep
        shutil.rmtree(place)
    meter = _meter() if energy else None
    made = execute(chosen, place, resume=place.exists(), split=split)
    kwh = None if meter is None else _stop(meter)
    meta = made.meta
    found = {
        "closed": meta.stopped == "closed form",
        "scorer": made.fingerprint,
        "epochs": meta.best_epoch,
    }
    found |= {
        "train_seconds": meta.train_seconds,
        "seconds": meta.seconds,
        "parameters": meta.parameters,
    }
    write_json(
        folder / f"seed-{seed}.json", {**found, "users_per_second": _speed(made, split), "kwh": kwh}
    )


def _speed(made: Run, split: Split) -> float:
    """Users a second, ranking all items but those seen: the median of a few passes over at most a thousand users of valid."""
    pairs = split.valid if split.valid is not None and len(split.valid) else split.train.pairs
    users = np.unique(pairs.user)[:_USERS].astype(np.int32)
    times = []
    for _ in range(_TIMES):
        began = time.perf_counter()
        top_k(made.scorer, users, 20, seen=split.train.pairs.csr)
        times.append(time.perf_counter() - began)
    return round(len(users) / float(np.median(times)), 1)


def _meter() -> Any:
    try:
        tracker = importlib.import_module("codecarbon").OfflineEmissionsTracker
    except ImportError:
        raise InputError(
            "energy = true needs codecarbon",
            remedy="pip install 'recsys[energy]', or set energy = false",
        ) from None
    meter = tracker(
        country_iso_code="USA", save_to_file=False, log_level="critical", tracking_mode="process"
    )
    meter.start()
    return meter


def _stop(meter: Any) -> float | None:
    """Kilowatt hours; the country above decides only emissions, which are not used."""
    meter.stop()
    data = getattr(meter, "final_emissions_data", None)
    return None if data is None else float(data.energy_consumed)
