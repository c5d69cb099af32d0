"""What a matrix consists of, read from TOML and checked as a whole before anything is trained.

methods = ["mf", "dpcml"]
seeds = 3
trials = 5

[data]
steam = "benchmarks/base-steam-200k.toml"

[data.retail]
data = { source = "online-retail" }

[train]
epochs = 20

[method.dpcml]
model = { vectors = 3 }
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from recsys import models
from recsys.config import Bound, build, read_toml, settings, to_dict
from recsys.errors import InputError, suggest
from recsys.experiment.experiment import Experiment, from_tree
from recsys.experiment.search_space import flatten
from recsys.study.trial import directions
from recsys.study.tuning import ready, spaces

__all__ = ["BASELINES", "Matrix", "Plan", "read_plan"]

BASELINES = ("popular", "itemknn", "ease")
_AS_IS = ("popular",)  # nothing to search
_SHARED = ("split", "train", "evaluate")
# Of [train]: what a trial may cost is the budget, and the same for every method.
_BUDGET = (
    "epochs",
    "patience",
    "min_epochs",
    "eval_every",
    "seed",
    "device",
    "select",
    "checkpoint_seconds",
)


@settings
class Matrix:
    """Methods x data sets x seeds, with one budget for all."""

    methods: tuple[str, ...]
    """Names of methods, of tables [method.NAME], or TOML files of experiments, whose [model], [train] and [tune.space] count."""
    name: str = ""
    """What to call it; the name of the file where absent."""
    baselines: bool = True
    """Whether popular, itemknn and ease take part, tuned like the others."""
    seeds: Annotated[int, Bound(ge=1)] = 3
    """Runs of the chosen settings. Their seeds begin at 1: 0 is the seed that the trials were made with."""
    trials: Annotated[int, Bound(ge=1)] = 10
    """Trials on valid of every method on every data set; the first is the method as it is published or set by default."""
    seconds: Annotated[float, Bound(gt=0)] | None = None
    """Of one trial; what takes longer is ended and never chosen. The trials are then not repeatable."""
    refit: bool = False
    """Whether the chosen settings are trained once more on train and valid together before the test."""
    energy: bool = False
    """Measure the energy of the runs; needs codecarbon."""


@dataclass(frozen=True, eq=False)
class Plan:
    """A matrix, resolved.

    Args:
        matrix: its settings.
        data, methods: names, in the order of the tables.
        cells: the experiment of each data set and method, with [tune] where it is searched.
    """

    matrix: Matrix
    data: tuple[str, ...]
    methods: tuple[str, ...]
    cells: Mapping[tuple[str, str], Experiment]

    @property
    def seeds(self) -> range:
        """The seeds of the runs."""
        return range(1, self.matrix.seeds + 1)


def read_plan(path: str | Path) -> Plan:
    """Read a matrix and check every cell of it: no data is loaded.

    Files that it names are meant from the working folder or, where they are not there, from the folder of the file.

    Raises:
        InputError: an unknown key, a method that is none or has no space, a setting that some cell does not take.
    """
    path = Path(path)
    tree, place = read_toml(path), str(path)
    own = [field.name for field in dataclasses.fields(Matrix)]
    known = [*own, "data", "method", "tune", *_SHARED]
    for key in tree:
        if key not in known:
            raise InputError(
                f"unknown section or key '{key}'",
                place=place,
                remedy=suggest(key, known, {"model": "method", "models": "methods"}),
            )
    matrix = build(Matrix, {key: tree[key] for key in own if key in tree}, place)
    shared = {section: _table(tree, section, place) for section in _SHARED}
    data = {
        name: _data(name, value, shared, path)
        for name, value in _table(tree, "data", place).items()
    }
    if not data:
        raise InputError(
            "there are no data sets",
            place=f"{place}: [data]",
            remedy='name one: [data.retail] and below it data = { source = "online-retail" }',
        )
    methods = _methods(matrix, _table(tree, "method", place), path)
    tune = _table(tree, "tune", place)
    for key in ("trials", "seconds", "space", "limits", "warm", "objectives"):
        if key in tune:
            raise InputError(
                f"'{key}' cannot stand here",
                place=f"{place}: [tune]",
                remedy="trials and seconds stand above; a space in [method.NAME]",
            )
    cells = {}
    for label, sections in data.items():
        for method, own_settings in methods.items():
            cells[label, method] = _cell(matrix, label, sections, method, own_settings, tune, place)
    name = matrix.name or path.stem
    return Plan(dataclasses.replace(matrix, name=name), tuple(data), tuple(methods), cells)


def _cell(
    matrix: Matrix,
    label: str,
    sections: Mapping[str, Any],
    method: str,
    own: Mapping[str, Any],
    tune: Mapping[str, Any],
    place: str,
) -> Experiment:
    tree = {
        "name": method,
        "refit": matrix.refit,
        **sections,
        "model": own["model"],
        "train": {**sections["train"], **own["train"]},
    }
    if own["space"]:
        limits = {} if matrix.seconds is None else {"limits": {"seconds": matrix.seconds}}
        tree["tune"] = {**tune, **limits, "trials": matrix.trials, "space": own["space"]}
    where = f"{place}: {method} on {label}"
    experiment = from_tree(tree, where)
    if experiment.tune is not None:
        try:
            ready(experiment)
        except InputError as error:
            raise error.at(where) from None
        spent = next(
            (
                each.path
                for each in experiment.dimensions
                if each.path.removeprefix("train.") in _BUDGET
            ),
            None,
        )
        if spent is not None:
            raise InputError(
                f"{spent} is part of the budget, which all methods share",
                place=where,
                remedy="leave it out of the space",
            )
    directions(experiment)
    return experiment


def _data(
    name: str, value: Any, shared: Mapping[str, Mapping[str, Any]], path: Path
) -> dict[str, Any]:
    """[data], [split], [train] and [evaluate] of one data set: its own word before that for all."""
    _check_name(name, "data set", f"{path}: [data]")
    place = f"{path}: [data.{name}]"
    if isinstance(value, str):
        file = _beside(value, path)
        value, place = read_toml(file), str(file)
    if not isinstance(value, Mapping):
        raise InputError(
            "a data set is a table, or a TOML file",
            place=place,
            remedy='write data = { source = "..." } below it',
        )
    for key in value:
        if key not in ("data", *_SHARED):
            raise InputError(
                f"unknown section or key '{key}'",
                place=place,
                remedy=suggest(key, ["data", *_SHARED], {"source": "data", "path": "data"}),
            )
    sections: dict[str, Any] = {
        section: {**shared[section], **_table(value, section, place)} for section in _SHARED
    }
    return {"data": dict(_table(value, "data", place)), **sections}


def _methods(matrix: Matrix, tables: Mapping[str, Any], path: Path) -> dict[str, dict[str, Any]]:
    """Model, changes to [train] and space of each method by its label, baselines first."""
    wanted = [*(BASELINES if matrix.baselines else ()), *matrix.methods]
    found: dict[str, dict[str, Any]] = {}
    for method in dict.fromkeys(wanted):
        if method.endswith(".toml"):
            file = _beside(method, path)
            tree, label, place = read_toml(file), file.stem, str(file)
            space = _table(_table(tree, "tune", place), "space", place)
            given: dict[str, Any] = {
                "model": _table(tree, "model", place),
                "train": _without_budget(_table(tree, "train", place)),
            }
            given |= {"space": space} if space else {}
        else:
            label, place = method, f"{path}: [method.{method}]"
            given = dict(_table(tables, method, f"{path}: [method]"))
        _check_name(label, "method", place)
        if label in found:
            raise InputError(
                f"two methods are called '{label}'",
                place=place,
                remedy="give one of them a [method.NAME] of its own",
            )
        for key in given:
            if key not in ("model", "train", "space"):
                raise InputError(
                    f"unknown key '{key}'",
                    place=place,
                    remedy=suggest(key, ["model", "train", "space"], {"tune": "space"}),
                )
        train = dict(_table(given, "train", place))
        for key in train:
            if key in _BUDGET:
                raise InputError(
                    f"'{key}' is part of the budget, which all methods share",
                    place=f"{place} train",
                    remedy="set it in [train]",
                )
        model = {"name": label, **_table(given, "model", place)}
        found[label] = {
            "model": model,
            "train": train,
            "space": _space(str(model["name"]), given.get("space"), path, place),
        }
    unused = next((name for name in tables if name not in found), None)
    if unused is not None:
        raise InputError(
            f"'{unused}' is not among the methods",
            place=f"{path}: [method]",
            remedy=suggest(unused, found),
        )
    if len(found) < 2:
        raise InputError(
            "one method alone compares with nothing",
            place=f"{path}: methods",
            remedy="name another, or set baselines = true",
        )
    return found


def _space(model: str, given: Any, path: Path, place: str) -> dict[str, Any]:
    """The space of a method: its own, a file's, or what ships; empty where there is nothing to search."""
    if isinstance(given, Mapping):
        return flatten(given)
    if given == "none" or (given is None and model in _AS_IS):
        return {}
    if given is not None and not isinstance(given, str):
        raise InputError(
            "a space is a table, a TOML file, or 'none'",
            place=f"{place} space",
            remedy="correct the value",
        )
    file = spaces() / f"{model}.toml" if given is None else _beside(given, path)
    if given is None and not file.is_file():
        if model not in models.names():
            models.recipe(model)  # says which there are
        remedy = "name its fields in [method.NAME.space], or write space = 'none' for a method that is not to be searched"
        raise InputError(
            f"no space ships for '{model}', and every method has the same trials",
            place=place,
            remedy=remedy,
        )
    return flatten(_table(_table(read_toml(file), "tune", str(file)), "space", str(file)))


def _without_budget(train: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in train.items() if key not in _BUDGET}


def _beside(name: str, path: Path) -> Path:
    """A file that is named in another: from the working folder, or from beside it."""
    near = path.parent / name
    return near if not Path(name).exists() and near.exists() else Path(name)


def _check_name(name: str, what: str, place: str) -> None:
    if not name or not all(c.isalnum() or c in "-_+." for c in name) or name.startswith("."):
        raise InputError(
            f"'{name}' cannot name a {what}: it names a folder",
            place=place,
            remedy="use letters, digits, - _ + .",
        )


def _table(tree: Mapping[str, Any], key: str, place: str) -> Mapping[str, Any]:
    value = tree.get(key, {})
    if not isinstance(value, Mapping):
        raise InputError(
            f"'{key}' is a table, not a value",
            place=place,
            remedy=f"write [{key}] and its keys below it",
        )
    return value


def plain(matrix: Matrix) -> dict[str, Any]:
    """The settings as plain values."""
    return to_dict(matrix)
