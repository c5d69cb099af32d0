"""The work in one cell: its search, and the runs of the chosen settings."""

from __future__ import annotations

import dataclasses
import importlib
import json
import shutil
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recsys.benchmark.cell import (
    Chosen,
    RunCost,
    cell_folder,
    read_chosen,
    write_chosen,
    write_failure,
    write_run_cost,
)
from recsys.benchmark.progress import Task, TaskDone, TaskFailed, TrialDone
from recsys.config import from_toml
from recsys.data.types import Split
from recsys.errors import InputError
from recsys.experiment.execution import Run, data_of, execute
from recsys.experiment.experiment import Experiment, from_tree
from recsys.experiment.speed import seconds_per_user
from recsys.files import LOCK, Lock
from recsys.study.progress import TrialDone as StudyTrialDone
from recsys.study.trial import with_settings
from recsys.study.tuning import is_study, tune

__all__ = ["WorkOptions", "attempt", "copy_chosen", "do"]

TrialWatch = Callable[[TrialDone], None]


@dataclass(frozen=True)
class WorkOptions:
    """What every task of a benchmark shares.

    Args:
        folder: of the benchmark.
        energy: whether the energy of the runs is measured.
    """

    folder: Path
    energy: bool = False

    def to_json(self) -> str:
        """Return the options as JSON, for the command line of a worker."""
        return json.dumps({"folder": str(self.folder), "energy": self.energy})

    @classmethod
    def from_json(cls, text: str) -> WorkOptions:
        """Return the options that `to_json` wrote."""
        plain = json.loads(text)
        return cls(Path(plain["folder"]), plain["energy"])


def attempt(
    task: Task, options: WorkOptions, splits: dict[str, Split], watch: TrialWatch
) -> TaskDone | TaskFailed:
    """Do a task and return how it ended, also when a method raises an error.

    Args:
        task: the search or the run.
        options: folder and measurements.
        splits: data sets that this process has loaded, by name; a missing one is loaded and kept.
        watch: called with each finished trial.
    """
    folder = cell_folder(options.folder, task.data, task.method)
    lock = Lock(folder / LOCK)
    # `board` may hold it for a moment, and a worker that was left over holds it until it ends.
    lock.take(wait=True)
    try:
        do(task, options, splits, watch)
    except InputError as error:
        return TaskFailed(task, str(error))
    except Exception as error:
        # One method must not stop the others. The traceback is kept with the cell.
        (folder / "failed.txt").write_text(traceback.format_exc(), encoding="utf-8")
        return TaskFailed(task, f"{type(error).__name__}: {error}")
    finally:
        lock.free()
    return TaskDone(task)


def do(task: Task, options: WorkOptions, splits: dict[str, Split], watch: TrialWatch) -> None:
    """Do a task, or resume it, and leave the result in the folder of its cell.

    Args:
        task, options, splits, watch: as of `attempt`.

    Raises:
        InputError: from the search or the run, as any other exception of these; the reason is
            written to failed.json as well.
    """
    folder = cell_folder(options.folder, task.data, task.method)
    try:
        experiment = _experiment(folder)
        if task.data not in splits:
            splits[task.data] = data_of(experiment)
        split = splits[task.data]
        if task.seed:
            _run(experiment, folder, task.seed, split, options)
        else:
            _search(experiment, folder, split, task, watch)
    except Exception as error:
        name = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        write_failure(folder, task, f"{name}{error}")
        raise
    (folder / "failed.json").unlink(missing_ok=True)


def copy_chosen(options: WorkOptions, source: Task, target: Task) -> None:
    """Use the settings that were chosen on one data set in a cell of another.

    Args:
        options: the folder of the benchmark.
        source: the finished search.
        target: the search of the other cell, which is then not made.
    """
    chosen = read_chosen(cell_folder(options.folder, source.data, source.method))
    folder = cell_folder(options.folder, target.data, target.method)
    experiment = _experiment(folder)
    tree = with_settings(experiment, experiment.dimensions, chosen.settings).to_tree()
    write_chosen(folder, replace(chosen, seconds=0.0, tree=tree, tuned_on=source.data))


def _experiment(folder: Path) -> Experiment:
    """Read the experiment of a cell."""
    path = folder / "experiment.toml"
    return from_tree(from_toml(path.read_text(encoding="utf-8")), str(path))


def _search(
    experiment: Experiment, folder: Path, split: Split, task: Task, watch: TrialWatch
) -> None:
    """Search the settings of a method on train and valid."""
    if experiment.tune is None:
        write_chosen(folder, Chosen(0, 0.0, {}, experiment.to_tree()))
        return
    place = folder / "study"
    if place.exists() and not is_study(place):  # killed before the first trial
        shutil.rmtree(place)

    def follow(event: object) -> None:
        trial = _trial_of(event, task)
        if trial is not None:
            watch(trial)

    study = tune(experiment, place, resume=place.exists(), split=split, watch=follow)
    best, experiment_of_best = study.best, study.best_experiment()
    used = study.used()
    if best is None or experiment_of_best is None:
        reasons = sorted({trial.reason for trial in study.trials if trial.reason})
        raise InputError(
            f"no trial was completed within the limits: {'; '.join(reasons)}",
            place=str(place),
            remedy="allow more seconds or fewer epochs, or look at the study; "
            "a failed cell is done again once its folder is removed",
        )
    chosen = Chosen(
        trials=int(used.trials),
        seconds=used.device_seconds,
        settings=dict(best.settings),
        tree=experiment_of_best.to_tree(),
        number=best.number,
        value=best.values[0],
    )
    write_chosen(folder, chosen)


def _trial_of(event: object, task: Task) -> TrialDone | None:
    """Return the trial that a study reports as finished; None for its other events."""
    if not isinstance(event, StudyTrialDone):
        return None
    return TrialDone(task, event.number, event.state, dict(event.values))


def _run(
    experiment: Experiment, folder: Path, seed: int, split: Split, options: WorkOptions
) -> None:
    """Run the chosen settings with a seed, and measure the cost."""
    chosen = from_tree(dict(read_chosen(folder).tree), str(folder / "chosen.json"))
    model: Any = chosen.model
    # Some methods draw a start before any training, as iALS does: they have a seed of their own.
    if any(field.name == "seed" for field in dataclasses.fields(model)):
        model = replace(model, seed=seed)
    train = replace(chosen.train, seed=seed)
    chosen = replace(chosen, name=experiment.name, model=model, train=train)
    place = folder / f"seed-{seed}"
    if place.exists() and not (place / "run.json").exists():  # killed before anything was kept
        shutil.rmtree(place)
    meter = _EnergyMeter() if options.energy else None
    run = execute(chosen, place, resume=place.exists(), split=split)
    kwh = None if meter is None else meter.stop()
    write_run_cost(folder, seed, _cost_of(run, split, kwh))


def _cost_of(run: Run, split: Split, kwh: float | None) -> RunCost:
    """Return the cost of a finished run; the only place that reads the record of a run."""
    seconds = seconds_per_user(run.scorer, split.train.pairs, split.valid)
    meta = run.meta
    assert meta.best_epoch is not None, "a finished run has an epoch"
    assert meta.train_seconds is not None, "a finished run has a time of training"
    assert meta.seconds is not None, "a finished run has a duration"
    assert meta.parameters is not None, "a finished run has a scorer"
    return RunCost(
        closed=meta.stopped == "closed form",
        scorer=run.fingerprint,
        epochs=meta.best_epoch,
        train_seconds=meta.train_seconds,
        seconds=meta.seconds,
        parameters=meta.parameters,
        users_per_second=round(1 / seconds, 1),
        kwh=kwh,
    )


class _EnergyMeter:
    """Measure the energy of this process from construction to `stop`.

    Raises (on construction):
        InputError: codecarbon is not installed.
    """

    def __init__(self) -> None:
        try:
            tracker = importlib.import_module("codecarbon").OfflineEmissionsTracker
        except ImportError:
            raise InputError(
                "energy = true needs codecarbon",
                remedy="pip install 'recsys[energy]', or set energy = false",
            ) from None
        # The country decides the emissions alone, which are not used.
        self._tracker = tracker(
            country_iso_code="USA",
            save_to_file=False,
            log_level="critical",
            tracking_mode="process",
        )
        self._tracker.start()

    def stop(self) -> float | None:
        """Return the energy in kilowatt hours; None where codecarbon has no data."""
        self._tracker.stop()
        data = getattr(self._tracker, "final_emissions_data", None)
        return None if data is None else float(data.energy_consumed)
