"""Studies: a search over the fields of an experiment, on training and validation data alone.

    study = recsys.tune("cml.toml", "runs/cml-study")
    study.best, study.table(), study.importance()

The first trial is always the experiment's own settings: published or default settings are the mark
that a search has to beat. Trials are fits, not runs: nothing here receives the test set, and
nothing could open it. A study of one worker that was killed at any moment and resumed has the same
trials and the same best value as one that was not.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recsys.config import build, difference, to_dict
from recsys.data.types import Split
from recsys.errors import InputError
from recsys.experiment.experiment import Experiment
from recsys.experiment.search_space import Tune
from recsys.files import LOCK, exclusive, hold_lock, refuse_held
from recsys.study.artifact import Study, Trial, is_study, open_study
from recsys.study.creation import create, forget, reopen
from recsys.study.first_trials import first_trials
from recsys.study.meta import ImportedTrial, identity, searched
from recsys.study.pool import run_pool
from recsys.study.progress import DataLoaded, Note, Watch
from recsys.study.readiness import ready
from recsys.study.results import write_results
from recsys.study.space_file import read_with_space, spaces
from recsys.study.train_valid import TrainValid, train_valid_of
from recsys.study.trial import idle
from recsys.study.trials_file import read_trials
from recsys.study.worker import TAKE_LOCK, Worker

__all__ = [
    "Study",
    "TrainValid",
    "Trial",
    "Worker",
    "is_study",
    "open_study",
    "read_with_space",
    "ready",
    "spaces",
    "train_valid_of",
    "tune",
]


@dataclass(frozen=True)
class _Target:
    """The study to work on.

    Args:
        begun: the study to resume; None to begin a new one.
        experiment: the experiment with its [tune] and its budget.
    """

    begun: Study | None
    experiment: Experiment


def tune(
    experiment: Experiment | str | Path | None,
    folder: str | Path,
    overrides: Sequence[str] = (),
    *,
    resume: bool = False,
    budget: Mapping[str, Any] | None = None,
    workers: int = 1,
    threads: int = 0,
    storage: str | None = None,
    known: str | Path | None = None,
    split: Split | None = None,
    watch: Watch | None = None,
) -> Study:
    """Search the fields of an experiment that its [tune.space] names.

    Args:
        experiment: an experiment with a [tune], or its file; None takes the one in the folder of
            the study to resume.
        folder: the folder of the study; it must be new or empty, unless `resume`.
        overrides: dotted settings for a file, such as "tune.trials=50".
        resume: continue the study in the folder.
        budget: trials, seconds or device_seconds, in place of those in [tune]; a larger budget
            extends a study.
        workers: number of processes. With more than one, proposals depend on their speed.
        threads: CPU threads per process; 0 divides the cores evenly.
        storage: URL of a database that other machines use too; None keeps a journal in the folder.
        known: trials.parquet of an earlier study of the same experiment and data. The sampler
            learns from its trials, and they cost no budget.
        split: the data of the experiment, if they are loaded already; for one worker only.
        watch: called with each event of `recsys.study.progress`, and those of training.

    Returns:
        The study, its budget used.

    Raises:
        InputError: a path or bound that the experiment does not have, settings that cannot be
            searched, a folder that is in use, data that have changed, or an error in a trial that
            its settings did not cause.
    """
    folder = Path(folder)
    tell = watch or (lambda _: None)
    if isinstance(experiment, str | Path):
        experiment = read_with_space(experiment, overrides)
    elif overrides:
        raise InputError("overrides are for a file", remedy="change the experiment itself")
    in_use = ("study", f"wait for it, or look with recsys tune show {folder}")
    refuse_held(folder, *in_use)
    target = _target(experiment, folder, resume, budget or {}, storage)
    _check_workers(workers, split)
    ready(target.experiment)
    for path in idle(target.experiment):
        tell(Note(f"'{path}' is searched but has no effect, for any values of the other fields"))
    is_new = target.begun is None
    queue = first_trials(target.experiment) if is_new else ()
    if known is not None and not is_new:
        raise InputError(
            "a resumed study has its trials already", remedy="give known trials to a new one"
        )
    with exclusive(folder, *in_use):
        # Read again, now that no other command can change it.
        target = _target(experiment, folder, resume and not is_new, budget or {}, storage)
        try:
            material = train_valid_of(target.experiment, split)
            if target.begun is not None:
                study = reopen(target.begun, target.experiment, material)
            else:
                imported: tuple[ImportedTrial, ...] = ()
                if known is not None:
                    imported = read_trials(Path(known), target.experiment, material.fingerprint)
                study = create(target.experiment, folder, material, storage, queue, imported)
            began, spent = time.monotonic(), study.used().seconds
            tell(_data_loaded(material))
            if workers > 1:
                run_pool(study, workers, threads, _deadline(study), tell)
            else:
                Worker(study, material, deadline=_deadline(study), watch=tell).run()
        except Exception:
            if is_new:
                forget(folder)
            raise
        with hold_lock(folder / TAKE_LOCK):
            # Some trials have not written the results, so they are written here at the end.
            seconds = round(spent + time.monotonic() - began, 3)
            study = open_study(folder, storage=storage)
            return write_results(study, status="finished", seconds=seconds)


def _check_workers(workers: int, split: Split | None) -> None:
    if workers < 1:
        raise InputError(f"workers must be at least 1, got {workers}", remedy="give 1 or more")
    if workers > 1 and split is not None:
        raise InputError(
            "several workers load the data themselves", remedy="leave out split, or use one worker"
        )


def _data_loaded(material: TrainValid) -> DataLoaded:
    return DataLoaded(
        users=material.train.n_users,
        items=material.train.n_items,
        train=len(material.train.pairs),
        valid=len(material.valid),
        rule=material.rule,
    )


def _deadline(study: Study) -> float | None:
    """Return the time at which the budget of wall time ends, if the study continues now."""
    assert study.experiment.tune is not None
    limit = study.experiment.tune.seconds
    if limit is None:
        return None
    used = study.meta.used.seconds if study.meta.used else 0.0
    return time.time() + limit - used


def _target(
    experiment: Experiment | None,
    folder: Path,
    resume: bool,
    budget: Mapping[str, Any],
    storage: str | None,
) -> _Target:
    """Return the study to resume, or the experiment to begin one with."""
    begun: Study | None = None
    if resume and (experiment is None or is_study(folder)):
        begun = open_study(folder, storage=storage)
    if begun is not None:
        if experiment is not None:
            _refuse_changes(begun, experiment)
        chosen = experiment or begun.experiment
    elif experiment is None:
        raise InputError(
            "there is nothing to tune",
            remedy="give an experiment, or the folder of a study to resume",
        )
    else:
        _check_free(folder)
        chosen = experiment
    if budget:
        limits = {key: value for key, value in budget.items() if value is not None}
        settings = to_dict(chosen.tune or Tune()) | limits
        chosen = replace(chosen, tune=build(Tune, settings, "[tune]"))
    return _Target(begun, chosen)


def _refuse_changes(begun: Study, experiment: Experiment) -> None:
    """Refuse to resume a study with other settings; a budget may change."""
    if identity(experiment) != begun.meta.identity:
        before, now = (
            each.deciding | {"tune": searched(each)} for each in (begun.experiment, experiment)
        )
        raise InputError(
            f"was begun with other settings{difference(before, now)}",
            place=str(begun.folder),
            remedy="resume without changing them, or start a new study",
        )
    assert experiment.tune is not None
    assert begun.experiment.tune is not None
    added = [folder for folder in experiment.tune.warm if folder not in begun.experiment.tune.warm]
    if added:
        raise InputError(
            f"'{added[0]}' is new, and warm is tried at the beginning of a study",
            place=f"{begun.folder}: [tune] warm",
            remedy="leave it out, or start a new study",
        )


def _check_free(folder: Path) -> None:
    """Refuse a path that is a file, or a folder with contents."""
    if not folder.exists():
        return
    if folder.is_dir() and all(path.name == LOCK for path in folder.iterdir()):
        return
    remedy = "choose another --out"
    if is_study(folder):
        remedy = f"choose another --out, or go on with it: recsys tune --resume {folder}"
    raise InputError("already exists and is not empty", place=str(folder), remedy=remedy)
