"""Trials as a Parquet file, which a study writes and another one can import.

The file records the split on which its values were measured, and a hash of all settings apart from
the searched ones. Trials of other data or of another experiment cannot be imported.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import optuna
import polars as pl
from optuna.trial import TrialState, create_trial

from recsys.errors import InputError
from recsys.experiment.experiment import Experiment, earlier_names
from recsys.experiment.search_space import Dimension
from recsys.files import write_atomic
from recsys.study.attributes import IMPORTED, Facts, TrialAttributes
from recsys.study.meta import ImportedTrial
from recsys.study.sampler import distribution, to_params
from recsys.study.trial import objectives

__all__ = ["add_trials", "fixed", "read_trials", "write_trials"]

_KEY = "recsys"  # of the metadata
_REMEDY = "give the trials.parquet of a study"


class _Origin(NamedTuple):
    """What the values of a file of trials depend on."""

    split: str
    fixed: str
    objectives: tuple[str, ...]


# How each part of `_Origin` is called in a message.
_DIFFERENT = ("data or another split", "settings or another space", "objectives")


def fixed(experiment: Experiment) -> str:
    """Return the SHA-256 of all settings that decide a trial, except the searched fields."""
    tree = json.loads(json.dumps(earlier_names(experiment.to_tree()), default=str))
    tree.pop("tune", None)
    tree.pop("name", None)
    tree.pop("refit", None)
    tree["train"].pop("checkpoint_seconds", None)
    for dimension in experiment.dimensions:
        *parents, leaf = dimension.path.split(".")
        table = tree
        for parent in parents:
            table = table.get(parent, {})
        table.pop(leaf, None)
    paths = sorted(dimension.path for dimension in experiment.dimensions)
    return hashlib.sha256(json.dumps([tree, paths], sort_keys=True).encode()).hexdigest()


def write_trials(path: Path, table: pl.DataFrame, experiment: Experiment, split: str) -> None:
    """Write the table of a study, with the split and the settings that its values depend on."""
    origin = _Origin(split, fixed(experiment), objectives(experiment))
    metadata = {_KEY: json.dumps(origin._asdict())}
    write_atomic(
        path,
        lambda temporary: table.write_parquet(temporary, compression="zstd", metadata=metadata),
    )


def read_trials(path: Path, experiment: Experiment, split: str) -> tuple[ImportedTrial, ...]:
    """Read the complete trials of a file.

    Args:
        path: trials.parquet of a study.
        experiment: the experiment that will import the trials.
        split: fingerprint of its split.

    Raises:
        InputError: the file is missing or not a file of trials, or its trials are of other data,
            another experiment or other objectives.
    """
    try:
        frame, about = pl.read_parquet(path), json.loads(pl.read_parquet_metadata(path)[_KEY])
        origin = _Origin(about["split"], about["fixed"], tuple(about["objectives"]))
    except FileNotFoundError:
        raise InputError("no such file", place=str(path), remedy=_REMEDY) from None
    except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError):
        raise InputError("holds no trials of a study", place=str(path), remedy=_REMEDY) from None
    expected = _Origin(split, fixed(experiment), objectives(experiment))
    for ours, other, what in zip(expected, origin, _DIFFERENT, strict=True):
        if ours != other:
            raise InputError(
                f"its trials were made with other {what}",
                place=str(path),
                remedy="name the study in [tune] warm, to try its best settings here",
            )
    complete = frame.filter(pl.col("state") == "complete")
    try:
        return tuple(_trial(row, experiment) for row in complete.iter_rows(named=True))
    except (KeyError, TypeError, ValueError, InputError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"a column of the table of trials is missing or wrong: {error}",
            place=str(path),
            remedy=_REMEDY,
        ) from None


def _trial(row: Mapping[str, Any], experiment: Experiment) -> ImportedTrial:
    return ImportedTrial(
        values=tuple(float(row[name]) for name in objectives(experiment)),
        settings={
            dimension.path: _value(row[dimension.path], dimension)
            for dimension in experiment.dimensions
        },
        seconds=row["seconds"],
        best_epoch=row["best_epoch"],
        within=row["within"],
    )


def add_trials(
    study: optuna.Study, experiment: Experiment, trials: Sequence[ImportedTrial]
) -> None:
    """Add the imported trials that the study does not hold yet."""
    present = sum(
        TrialAttributes.of(trial).is_imported for trial in study.get_trials(deepcopy=False)
    )
    space = {dimension.path: distribution(dimension) for dimension in experiment.dimensions}
    for trial in trials[present:]:
        params = to_params(experiment.dimensions, trial.settings)
        attributes = TrialAttributes(
            origin=IMPORTED,
            settings=trial.settings,
            seconds=trial.seconds,
            facts=Facts(best_epoch=trial.best_epoch),
        )
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE,
                values=list(trial.values),
                params=params,
                distributions={path: space[path] for path in params},
                user_attrs=attributes.to_json(),
                constraints=None if trial.within else {"imported": 1.0},
            )
        )


def _value(cell: Any, dimension: Dimension) -> Any:
    """Return the setting in a cell; tables, and values of mixed types, are JSON there."""
    choices = dimension.range.choices
    if choices is None or not isinstance(cell, str) or cell in choices:
        return cell
    try:
        return json.loads(cell)
    except ValueError:  # the experiment's own settings may lie outside of the choices
        return cell
