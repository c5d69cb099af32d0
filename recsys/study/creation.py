"""The folder of a study and its entry in the storage: creation, resumption, and removal."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Sequence
from pathlib import Path

import optuna

from recsys.experiment.environment import current_environment, now
from recsys.experiment.experiment import Experiment
from recsys.files import LOCK, write_text
from recsys.study.artifact import JOURNAL, Opened, Study, open_study
from recsys.study.attributes import write_study_attributes
from recsys.study.meta import (
    FORMAT,
    META,
    ImportedTrial,
    QueuedTrial,
    StudyMeta,
    identity,
    study_name,
    write_meta,
)
from recsys.study.results import write_results
from recsys.study.sampler import sides
from recsys.study.storage import open_journal, open_url, quiet, without_password
from recsys.study.train_valid import TrainValid
from recsys.study.trial import directions, objectives
from recsys.study.trials_file import add_trials
from recsys.study.worker import TAKE_LOCK

__all__ = ["create", "forget", "reopen"]


def create(
    experiment: Experiment,
    folder: Path,
    material: TrainValid,
    url: str | None,
    queue: Sequence[QueuedTrial],
    imported: Sequence[ImportedTrial],
) -> Study:
    """Write the folder of a new study, and register the study in its storage.

    In a database, another machine may have registered it already.

    Args:
        experiment: the experiment with its [tune].
        folder: the folder of the study.
        material: training and validation data.
        url: URL of the database; None: a journal in the folder.
        queue: settings that are tried first.
        imported: trials of an earlier study.
    """
    if url is not None:
        open_url(url)  # before anything is written
    write_text(folder / "config.toml", experiment.to_toml())
    meta = StudyMeta(
        format=FORMAT,
        status="running",
        name=experiment.name,
        method=experiment.method,
        study=study_name(experiment),
        identity=identity(experiment),
        split=material.fingerprint,
        id=uuid.uuid4().hex,
        storage=without_password(url) if url else None,
        objectives=objectives(experiment),
        queue=tuple(queue),
        known=tuple(imported),
        started=now(),
        environment=current_environment(),
    )
    if url is None:
        open_journal(folder / JOURNAL)
    write_meta(folder, meta)
    return _registered(Study(meta, Opened(folder, meta, url)))


def reopen(study: Study, experiment: Experiment, material: TrainValid) -> Study:
    """Resume a study with the budget of `experiment`.

    Raises:
        InputError: the data have changed since the study began.
    """
    material.require_match(study.meta.split, str(study.folder))
    for temporary in study.folder.glob(".*.tmp"):  # of a process that was killed while it wrote
        temporary.unlink()
    if experiment != study.experiment:
        write_text(study.folder / "config.toml", experiment.to_toml())
    study = open_study(study.folder, storage=study.url)
    return write_results(_registered(study), status="running")


def _registered(study: Study) -> Study:
    """Return the study with its entry in the storage, created or completed after a kill."""
    with quiet():
        entry = optuna.create_study(
            study_name=study.meta.study,
            storage=study.storage,
            directions=sides(directions(study.experiment)),
            load_if_exists=True,
            sampler=optuna.samplers.RandomSampler(seed=0),
        )
    write_study_attributes(entry, study.meta, study.meta.storage or str(study.folder))
    add_trials(entry, study.experiment, study.meta.known)
    return study


def forget(folder: Path) -> None:
    """Remove the files of a study that failed before its first result.

    The folder is then free for the next attempt.
    """
    if any(path.name not in ("config.toml", LOCK) for path in folder.glob("trials/*/*")):
        return
    for name in (
        META,
        JOURNAL,
        f".{JOURNAL}.lock",
        "config.toml",
        "trials.parquet",
        "best.toml",
        TAKE_LOCK,
    ):
        (folder / name).unlink(missing_ok=True)
    for path in sorted(folder.glob("trials/**/*"), reverse=True):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()
    with contextlib.suppress(FileNotFoundError):
        (folder / "trials").rmdir()
