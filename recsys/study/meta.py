"""The record of a study, study.json: its status, its fingerprints and its first trials."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from recsys.config import build, settings
from recsys.errors import InputError
from recsys.experiment.experiment import Experiment
from recsys.experiment.run_meta import Environment
from recsys.files import read_json, write_json

__all__ = [
    "DAMAGED",
    "FORMAT",
    "META",
    "BestTrial",
    "ImportedTrial",
    "QueuedTrial",
    "StudyMeta",
    "Used",
    "identity",
    "is_study",
    "plain_values",
    "read_meta",
    "searched",
    "study_name",
    "write_meta",
]

META = "study.json"
FORMAT = 1  # of the folder; raised if a key changes, so that older versions refuse newer folders
DAMAGED = "the study is damaged: restore it, or start a new one"


@settings
class QueuedTrial:
    """Settings that are tried before the sampler proposes any."""

    origin: str
    """"own" for the experiment's own settings, "warm: FOLDER" for those of an earlier run."""
    settings: dict[str, Any]
    """Value of each searched field, by path."""


@settings
class ImportedTrial:
    """A complete trial of an earlier study."""

    values: tuple[float, ...]
    """One value per objective."""
    settings: dict[str, Any]
    """Value of each searched field, by path."""
    seconds: float | None = None
    """Duration of the trial."""
    best_epoch: int | None = None
    within: bool | None = None
    """Whether the trial was within the limits."""


@settings
class Used:
    """The part of the budget that is used. Imported trials cost nothing."""

    trials: int = 0
    seconds: float = 0.0
    """Wall time of the study, over all its sessions."""
    device_seconds: float = 0.0
    """Seconds of training and evaluation, summed over all workers."""


@settings
class BestTrial:
    """The number and the objective values of the best trial."""

    number: int
    values: tuple[float, ...]


@settings
class StudyMeta:
    """The contents of study.json."""

    format: int
    status: Literal["running", "finished"]
    name: str
    """Name of the experiment."""
    method: str
    """Name of the method."""
    study: str
    """Name of the study in its storage."""
    identity: str
    """SHA-256 of all settings that decide the result, without the budget."""
    split: str
    """Fingerprint of the split."""
    id: str
    """Random id of this folder; tells its trials from those of other machines."""
    storage: str | None = None
    """URL of the database, without its password; none: a journal in the folder."""
    objectives: tuple[str, ...]
    queue: tuple[QueuedTrial, ...]
    """Settings that are tried before the sampler proposes any."""
    known: tuple[ImportedTrial, ...] = ()
    """Imported trials."""
    started: str = ""
    """Time at which the study was begun, in ISO 8601."""
    environment: Environment = Environment()
    """The environment in which it was begun."""
    used: Used | None = None
    best: BestTrial | None = None


def is_study(folder: Path) -> bool:
    """Return whether a folder holds a study."""
    return (folder / META).exists()


def read_meta(folder: Path) -> StudyMeta:
    """Read the record of a study strictly.

    Raises:
        InputError: the folder holds no study, its format is newer, or study.json is damaged; the
            message names the key.
    """
    remedy = "give the folder that `recsys tune` printed"
    if not is_study(folder):
        raise InputError(
            f"is not the folder of a study: it has no {META}", place=str(folder), remedy=remedy
        )
    plain = read_json(folder / META)
    if not isinstance(plain, Mapping) or not isinstance(plain.get("format"), int):
        raise InputError(
            f"{META} is not the record of a study: it has no format",
            place=str(folder),
            remedy=remedy,
        )
    if plain["format"] > FORMAT:
        raise InputError(
            f"was written by a newer version (format {plain['format']}, expected {FORMAT})",
            place=str(folder),
            remedy="update recsys",
        )
    try:
        return build(StudyMeta, plain)
    except InputError as error:
        place = str(folder / META)
        place += f": {error.place}" if error.place else ""
        raise InputError(error.cause, place=place, remedy=DAMAGED) from None


def write_meta(folder: Path, meta: StudyMeta) -> None:
    """Write the record of a study."""
    write_json(folder / META, plain_values(meta))


def plain_values(record: StudyMeta | QueuedTrial | Used | BestTrial) -> dict[str, Any]:
    """Return a record as plain values, with every key; those without a value are None."""
    values: Any = record  # `settings` makes dataclasses, which the type checker does not see
    return dataclasses.asdict(values)


def identity(experiment: Experiment) -> str:
    """Return the SHA-256 of all settings that decide the result of a study, without its budget."""
    deciding = [experiment.fingerprint, searched(experiment)]
    return hashlib.sha256(json.dumps(deciding, sort_keys=True, default=str).encode()).hexdigest()


def searched(experiment: Experiment) -> dict[str, Any]:
    """Return [tune] as plain values, without the budget and without `warm`."""
    return {
        key: value
        for key, value in experiment.to_tree().get("tune", {}).items()
        if key not in ("trials", "seconds", "device_seconds", "warm")
    }


def study_name(experiment: Experiment) -> str:
    """Return the name of a study in its storage, which is the same on every machine."""
    return f"{experiment.name}-{identity(experiment)[:12]}"
