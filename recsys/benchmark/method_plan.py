"""The methods of a plan: settings to begin with, changes to [train], and the search space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys import models
from recsys.benchmark.sections import check_name, near, table_of
from recsys.config import read_toml
from recsys.errors import InputError, suggest
from recsys.experiment.search_space import flatten
from recsys.study.tuning import spaces

__all__ = ["BASELINES", "BUDGET", "MethodPlan", "method_plans"]

BASELINES = ("popular", "itemknn", "ease")
# Keys of [train] that decide what a trial may cost; they are the same for every method.
BUDGET = (
    "epochs",
    "patience",
    "min_epochs",
    "eval_every",
    "seed",
    "device",
    "select",
    "checkpoint_seconds",
)
_KEYS = ("model", "train", "space")
_NO_SPACE = ("popular",)  # methods without settings to search


@dataclass(frozen=True)
class MethodPlan:
    """One method of a plan.

    Args:
        name: its name in the tables.
        model: the section [model] to begin with, "name" included.
        train: changes to [train].
        space: what is searched, by dotted field; empty where nothing is.
    """

    name: str
    model: Mapping[str, Any]
    train: Mapping[str, Any]
    space: Mapping[str, Any]


def method_plans(
    names: Sequence[str], baselines: bool, tables: Mapping[str, Any], path: Path
) -> dict[str, MethodPlan]:
    """Read the methods of a plan, baselines first.

    Args:
        names: the key `methods` of the plan.
        baselines: whether the baselines take part.
        tables: the tables [method.NAME].
        path: of the plan.

    Returns:
        The methods by name.

    Raises:
        InputError: an unknown key or method, a repeated name, a part of the budget, no space.
    """
    plans: dict[str, MethodPlan] = {}
    for name in dict.fromkeys([*(BASELINES if baselines else ()), *names]):
        plan, place = _from_file(name, path) if name.endswith(".toml") else _own(name, tables, path)
        if plan.name in plans:
            raise InputError(
                f"two methods are called '{plan.name}'",
                place=place,
                remedy="give one of them its own [method.NAME]",
            )
        plans[plan.name] = plan
    unused = next((name for name in tables if name not in plans), None)
    if unused is not None:
        raise InputError(
            f"'{unused}' is not among the methods",
            place=f"{path}: [method]",
            remedy=suggest(unused, plans),
        )
    if len(plans) < 2:
        raise InputError(
            "a benchmark needs at least two methods to compare, got 1",
            place=f"{path}: methods",
            remedy="name another, or set baselines = true",
        )
    return plans


def _from_file(name: str, path: Path) -> tuple[MethodPlan, str]:
    """Read a method from the file of an experiment; keys of the budget are ignored there."""
    file = near(name, path)
    tree, place = read_toml(file), str(file)
    train = table_of(tree, "train", place)
    given: dict[str, Any] = {
        "model": table_of(tree, "model", place),
        "train": {key: value for key, value in train.items() if key not in BUDGET},
    }
    space = table_of(table_of(tree, "tune", place), "space", place)
    if space:
        given["space"] = space
    return _plan(file.stem, given, path, place), place


def _own(name: str, tables: Mapping[str, Any], path: Path) -> tuple[MethodPlan, str]:
    """Read a method from its table [method.NAME], which may be absent."""
    place = f"{path}: [method.{name}]"
    return _plan(name, table_of(tables, name, f"{path}: [method]"), path, place), place


def _plan(name: str, given: Mapping[str, Any], path: Path, place: str) -> MethodPlan:
    check_name(name, "method", place)
    for key in given:
        if key not in _KEYS:
            raise InputError(
                f"unknown key '{key}'",
                place=place,
                remedy=suggest(key, _KEYS, {"tune": "space"}),
            )
    train = table_of(given, "train", place)
    for key in train:
        if key in BUDGET:
            raise InputError(
                f"'{key}' is part of the budget, which all methods share",
                place=f"{place} train",
                remedy="set it in [train]",
            )
    model = {"name": name, **table_of(given, "model", place)}
    return MethodPlan(
        name, model, dict(train), _space(str(model["name"]), given.get("space"), path, place)
    )


def _space(model: str, given: Any, path: Path, place: str) -> dict[str, Any]:
    """Return the search space of a method.

    It is the method's own, that of a file, or the one that ships; empty where nothing is searched.
    """
    if isinstance(given, Mapping):
        return flatten(given)
    if given == "none" or (given is None and model in _NO_SPACE):
        return {}
    if given is not None and not isinstance(given, str):
        raise InputError(
            f"space must be a table, the name of a TOML file, or 'none', got {given!r}",
            place=f"{place} space",
            remedy='write space = { ... }, space = "FILE.toml" or space = "none"',
        )
    file = spaces() / f"{model}.toml" if given is None else near(given, path)
    if given is None and not file.is_file():
        if model not in models.names():
            models.recipe(model)  # raises with the names that exist
        raise InputError(
            f"no space ships for '{model}', and every method has the same number of trials",
            place=place,
            remedy="name its fields in [method.NAME.space], or write space = 'none' to run the "
            "method without a search",
        )
    return flatten(table_of(table_of(read_toml(file), "tune", str(file)), "space", str(file)))
