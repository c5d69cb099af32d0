"""The plan of a benchmark: read from TOML and checked as a whole before anything is trained.

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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from recsys.benchmark.method_plan import BUDGET, MethodPlan, method_plans
from recsys.benchmark.published import Published, read_published
from recsys.benchmark.sections import check_name, near, table_of
from recsys.benchmark.sweep import Sweep, SweepPoint, swept
from recsys.config import Bound, build, located, override, read_toml, settings, to_dict
from recsys.errors import InputError, suggest
from recsys.experiment.experiment import Experiment, from_tree
from recsys.study.trial import directions
from recsys.study.tuning import ready

__all__ = ["Plan", "PlanSettings", "plain", "plan_of", "read_plan"]

# Sections of an experiment that all data sets share unless one of them overrides a key.
SHARED = ("split", "train", "evaluate")
# Keys of [tune] that a plan sets elsewhere.
_NOT_IN_TUNE = ("trials", "seconds", "space", "limits", "warm", "objectives")


@settings
class PlanSettings:
    """Methods x data sets x seeds, with one budget for all."""

    methods: tuple[str, ...]
    """Names of methods, names of tables [method.NAME], or TOML files of experiments, of which
    [model], [train] and [tune.space] are read."""
    name: str = ""
    """Name of the benchmark; the name of the file where absent."""
    baselines: bool = True
    """Whether popular, itemknn and ease take part, tuned like the others."""
    seeds: Annotated[int, Bound(ge=1)] = 3
    """Runs of the chosen settings. Their seeds begin at 1: the trials use seed 0."""
    trials: Annotated[int, Bound(ge=1)] = 10
    """Trials of every method on every data set, judged on valid. The first has the method's
    published or default settings."""
    seconds: Annotated[float, Bound(gt=0)] | None = None
    """Time limit of a trial. A trial that takes longer is ended and never chosen; the search is
    then not repeatable."""
    refit: bool = False
    """Whether the chosen settings are trained once more on train and valid before the test."""
    energy: bool = False
    """Measure the energy of the runs; needs codecarbon."""


@dataclass(frozen=True, eq=False)
class Plan:
    """A benchmark with every name resolved.

    Args:
        settings: the budget and the names at the top of the file.
        data: names of the data sets in the order of the tables. A sweep gives one name per data
            set and value.
        methods: names of the methods in the order of the tables, baselines first.
        cells: the experiment of each data set and method, with [tune] where it is searched.
        sweep: the setting that is swept; None without [sweep].
        points: base data set and value of each swept data set, by its name.
        published: published numbers, by data set.
    """

    settings: PlanSettings
    data: tuple[str, ...]
    methods: tuple[str, ...]
    cells: Mapping[tuple[str, str], Experiment]
    sweep: Sweep | None = None
    points: Mapping[str, SweepPoint] = dataclasses.field(default_factory=dict)
    published: Mapping[str, tuple[Published, ...]] = dataclasses.field(default_factory=dict)

    @property
    def seeds(self) -> range:
        """The seeds of the runs."""
        return range(1, self.settings.seeds + 1)

    def tuned_on(self, data: str, method: str) -> str:
        """Return the data set on which a method is searched: `data`, unless a sweep tunes once."""
        if self.sweep is None or self.sweep.tune == "each":
            return data
        if self.cells[data, method].tune is None:
            return data
        base = self.points[data].base
        return next(name for name in self.data if self.points[name].base == base)


def read_plan(path: str | Path, overrides: Sequence[str] = ()) -> Plan:
    """Read a plan and check every cell of it, without loading data.

    Files that the plan names are looked up in the working folder first, then in the folder of
    the plan.

    Args:
        path: the TOML file.
        overrides: dotted assignments such as `data.retail.data.path=FOLDER`.

    Raises:
        InputError: an unknown key, an unknown method, a method without a search space, or a
            setting that some cell does not accept.
    """
    path = located(path)
    return plan_of(override(read_toml(path), overrides), path)


def plan_of(tree: Mapping[str, Any], path: Path) -> Plan:
    """Return the plan with these plain values, with every cell checked.

    Args:
        tree: the values, as in the TOML file.
        path: the file that they come from, or would come from.

    Raises:
        InputError: as `read_plan`.
    """
    place = str(path)
    own = [field.name for field in dataclasses.fields(PlanSettings)]
    known = [*own, "data", "method", "tune", "sweep", "published", *SHARED]
    for key in tree:
        if key not in known:
            raise InputError(
                f"unknown section or key '{key}'",
                place=place,
                remedy=suggest(key, known, {"model": "method", "models": "methods"}),
            )
    plan = build(PlanSettings, {key: tree[key] for key in own if key in tree}, place)
    bases = _data_sets(tree, path)
    sweep = None
    points: dict[str, SweepPoint] = {}
    if "sweep" in tree:
        sweep = build(Sweep, table_of(tree, "sweep", place), f"{place}: [sweep]")
        bases, points = swept(sweep, bases, f"{place}: [sweep]")
    names = plan.methods
    methods = method_plans(names, plan.baselines, table_of(tree, "method", place), path)
    tune = _tune(tree, place)
    cells = {
        (data, name): _cell(plan, sections, method, tune, f"{place}: {name} on {data}")
        for data, sections in bases.items()
        for name, method in methods.items()
    }
    metrics = {data: cells[data, next(iter(methods))].evaluate.metrics for data in bases}
    return Plan(
        dataclasses.replace(plan, name=plan.name or path.stem),
        tuple(bases),
        tuple(methods),
        cells,
        sweep,
        points,
        read_published(tree.get("published", []), metrics, tuple(methods), place),
    )


def _tune(tree: Mapping[str, Any], place: str) -> Mapping[str, Any]:
    """Return the section [tune] of all studies."""
    tune = table_of(tree, "tune", place)
    for key in _NOT_IN_TUNE:
        if key in tune:
            raise InputError(
                f"'{key}' is not a key of [tune] in a plan",
                place=f"{place}: [tune]",
                remedy="set trials and seconds at the top of the file, a space in [method.NAME]",
            )
    return tune


def _data_sets(tree: Mapping[str, Any], path: Path) -> dict[str, dict[str, Any]]:
    """Return the sections of each data set by its name."""
    shared = {section: table_of(tree, section, str(path)) for section in SHARED}
    tables = table_of(tree, "data", str(path))
    if not tables:
        raise InputError(
            "the plan names no data sets",
            place=f"{path}: [data]",
            remedy='name one: [data.retail] and below it data = { source = "online-retail" }',
        )
    return {name: _data_set(name, value, shared, path) for name, value in tables.items()}


def _data_set(
    name: str, value: Any, shared: Mapping[str, Mapping[str, Any]], path: Path
) -> dict[str, Any]:
    """Return [data], [split], [train] and [evaluate] of a data set.

    Its own keys take precedence over the shared ones.
    """
    check_name(name, "data set", f"{path}: [data]")
    place = f"{path}: [data.{name}]"
    if isinstance(value, str):
        file = near(value, path)
        value, place = read_toml(file), str(file)
    if not isinstance(value, Mapping):
        raise InputError(
            "a data set must be a table or the name of a TOML file",
            place=place,
            remedy='write data = { source = "..." } below it',
        )
    for key in value:
        if key not in ("data", *SHARED):
            raise InputError(
                f"unknown section or key '{key}'",
                place=place,
                remedy=suggest(key, ["data", *SHARED], {"source": "data", "path": "data"}),
            )
    sections: dict[str, Any] = {"data": dict(table_of(value, "data", place))}
    for section in SHARED:
        sections[section] = {**shared[section], **table_of(value, section, place)}
    return sections


def _cell(
    plan: PlanSettings,
    sections: Mapping[str, Any],
    method: MethodPlan,
    tune: Mapping[str, Any],
    place: str,
) -> Experiment:
    """Return the experiment of a method on a data set."""
    tree = {
        "name": method.name,
        "refit": plan.refit,
        **sections,
        "model": method.model,
        "train": {**sections["train"], **method.train},
    }
    if method.space:
        limits = {} if plan.seconds is None else {"limits": {"seconds": plan.seconds}}
        tree["tune"] = {**tune, **limits, "trials": plan.trials, "space": method.space}
    experiment = from_tree(tree, place)
    if experiment.tune is not None:
        try:
            ready(experiment)
        except InputError as error:
            raise error.at(place) from None
        searched = [dimension.path for dimension in experiment.dimensions]
        budget = next((each for each in searched if each.removeprefix("train.") in BUDGET), None)
        if budget is not None:
            raise InputError(
                f"{budget} is part of the budget, which all methods share",
                place=place,
                remedy="leave it out of the space",
            )
    directions(experiment)
    return experiment


def plain(plan: PlanSettings) -> dict[str, Any]:
    """Return the settings as plain values."""
    return to_dict(plan)
