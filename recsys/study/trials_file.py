"""Trials as a Parquet file, which a study writes and another can begin with.

The file says on which split its values were measured, and with which settings apart from the searched ones: trials of other data or of another
experiment are no trials of this one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import polars as pl
from optuna.trial import TrialState, create_trial

from recsys.errors import InputError
from recsys.experiment.experiment import Experiment
from recsys.files import write_atomic
from recsys.study.sampler import distribution, to_params
from recsys.study.trial import objectives

__all__ = ["add_trials", "fixed", "read_trials", "write_trials"]

_KEY = "recsys"  # of the metadata


def fixed(experiment: Experiment) -> str:
    """SHA-256 of all that decides a trial but the searched fields."""
    tree = json.loads(json.dumps(experiment.to_tree(), default=str))
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
    """Write the table of a study with what its values rest on."""
    about = json.dumps(
        {"split": split, "fixed": fixed(experiment), "objectives": list(objectives(experiment))}
    )
    write_atomic(
        path,
        lambda temporary: table.write_parquet(
            temporary, compression="zstd", metadata={_KEY: about}
        ),
    )


def read_trials(path: Path, experiment: Experiment, split: str) -> list[dict[str, Any]]:
    """The complete trials of a file: values, settings, seconds, best_epoch, within.

    Raises:
        InputError: it is no such file, or its trials are of other data, another experiment or other objectives.
    """
    try:
        frame, about = pl.read_parquet(path), json.loads(pl.read_parquet_metadata(path)[_KEY])
        found = about["split"], about["fixed"], tuple(about["objectives"])
    except FileNotFoundError:
        raise InputError(
            "no such file", place=str(path), remedy="give the trials.parquet of a study"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, pl.exceptions.PolarsError):
        raise InputError(
            "holds no trials of a study",
            place=str(path),
            remedy="give the trials.parquet of a study",
        ) from None
    wanted = split, fixed(experiment), objectives(experiment)
    for ours, theirs, what in zip(
        wanted,
        found,
        ("data or another split", "settings or another space", "objectives"),
        strict=True,
    ):
        if ours != theirs:
            remedy = "name the study in [tune] warm, to try its best settings here"
            raise InputError(
                f"its trials were made with other {what}", place=str(path), remedy=remedy
            )
    rows = []
    try:
        for row in frame.filter(pl.col("state") == "complete").iter_rows(named=True):
            settings = {
                dimension.path: _value(row[dimension.path], dimension)
                for dimension in experiment.dimensions
            }
            values = [float(row[name]) for name in objectives(experiment)]
            rows.append(
                {
                    "values": values,
                    "settings": settings,
                    **{key: row[key] for key in ("seconds", "best_epoch", "within")},
                }
            )
    except (KeyError, TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"lacks what a table of trials holds: {error}",
            place=str(path),
            remedy="give the trials.parquet of a study",
        ) from None
    return rows


def add_trials(study: optuna.Study, experiment: Experiment, rows: list[Mapping[str, Any]]) -> None:
    """Add imported trials that are not there yet."""
    present = sum(
        1
        for trial in study.get_trials(deepcopy=False)
        if trial.user_attrs.get("origin") == "imported"
    )
    space = {dimension.path: distribution(dimension) for dimension in experiment.dimensions}
    for row in rows[present:]:
        params = to_params(experiment.dimensions, row["settings"])
        facts = {"best_epoch": row["best_epoch"]}
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE,
                values=row["values"],
                params=params,
                distributions={path: space[path] for path in params},
                user_attrs={
                    "origin": "imported",
                    "settings": row["settings"],
                    "seconds": row["seconds"],
                    "facts": facts,
                },
                constraints=None if row["within"] else {"imported": 1.0},
            )
        )


def _value(cell: Any, dimension: Any) -> Any:
    """A cell of the table as a value of the field: tables are JSON there, and so are values of mixed types."""
    if (
        dimension.range.choices is None
        or not isinstance(cell, str)
        or cell in dimension.range.choices
    ):
        return cell
    try:
        return json.loads(cell)
    except (
        ValueError
    ):  # a word that is none of the choices: the experiment's own settings may lie outside
        return cell
