"""An experiment: one TOML file as one frozen value.

Its sections are data, split, model, train, evaluate, rerank and tune. Every name in it is resolved
when the file is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from recsys import models
from recsys.config import build, defaults, located, override, read_toml, to_dict, to_toml
from recsys.data.features.tables import seen_from
from recsys.data.load import folder_of
from recsys.data.reading import Source
from recsys.data.splitting.splits import SplitRule
from recsys.errors import InputError, suggest
from recsys.evaluation.evaluator import Evaluation, refuse_drawn
from recsys.experiment.search_space import Dimension, Tune, check, flatten
from recsys.models import Recipe
from recsys.ranking.rerank import Rerank
from recsys.training.settings import Train

__all__ = ["SECTIONS", "Experiment", "absolute_path", "earlier_names", "from_tree", "read"]

SECTIONS: Mapping[str, type] = {
    "data": Source,
    "split": SplitRule,
    "train": Train,
    "evaluate": Evaluation,
}
_SECTION_ALIASES = {
    "dataset": "data",
    "method": "model",
    "recipe": "model",
    "training": "train",
    "trainer": "train",
    "eval": "evaluate",
    "evaluation": "evaluate",
    "tuning": "tune",
    "optuna": "tune",
    "hpo": "tune",
    "sweep": "tune",
    "reranking": "rerank",
}


# Settings that were added later. At its default such a setting is not part of the fingerprint, so
# that earlier runs still match their experiment.
_ADDED: Mapping[str, tuple[str, ...]] = {
    "split": (
        "join_parts",
        "ask",
        "targets",
        "windows",
        "window",
        "positions",
        "new_users",
        "given",
        "folds",
        "fold",
        "drop_new_items",
    ),
    "train": ("update",),
    "evaluate": ("exclude",),
}
# The same for the settings of a method, by its name.
_ADDED_TO_METHODS: Mapping[str, tuple[str, ...]] = {"ials": ("solver", "cg_steps")}


@dataclass(frozen=True)
class Experiment:
    """Everything that decides a run.

    Args:
        data: settings of the section of the same name; `split`, `train` and `evaluate` likewise.
        model: the recipe of the method `[model] name`, with the other keys as hyper-parameters.
        name: name of the experiment; by default that of the method.
        refit: train once more on train and valid together, for as many epochs as were best. That
            scorer is tested and shipped. The validation metrics stay those of the first fit.
        tune: how a study of the experiment searches; it has no effect on a run. None without such
            a section.
        rerank: how lists are made of the best items of the scorer.
    """

    data: Source
    split: SplitRule
    model: Recipe
    train: Train
    evaluate: Evaluation
    name: str = ""
    refit: bool = False
    tune: Tune | None = None
    rerank: Rerank = field(default_factory=Rerank)

    @property
    def method(self) -> str:
        """Name of the method."""
        return models.recipe_name(self.model)

    def to_tree(self) -> dict[str, Any]:
        """Return plain values, with defaults, from which `from_tree` makes an equal experiment."""
        tree: dict[str, Any] = {"name": self.name, "refit": self.refit}
        tree |= {section: to_dict(getattr(self, section)) for section in ("data", "split")}
        tree["model"] = {"name": self.method, **to_dict(self.model)}
        tree |= {section: to_dict(getattr(self, section)) for section in ("train", "evaluate")}
        if self.rerank != Rerank():
            tree["rerank"] = self.rerank.to_json()
        return tree | ({"tune": to_dict(self.tune)} if self.tune is not None else {})

    def to_toml(self) -> str:
        """Return the resolved configuration as TOML."""
        return to_toml(self.to_tree())

    @cached_property
    def dimensions(self) -> tuple[Dimension, ...]:
        """The fields that [tune.space] searches, checked."""
        return check(
            self.tune.space if self.tune is not None else {},
            {**SECTIONS, "model": type(self.model)},
        )

    @property
    def idle(self) -> list[str]:
        """Settings that were given but have no effect with the other settings, each in words."""
        return [
            f"[{section}] {prefix}{key} = {getattr(table, key)!r} "
            f"has no effect with the rest of {name}"
            for section in ("model", "train")
            for prefix, name, table, usual in _tables(section, getattr(self, section))
            for key in sorted(table.idle())
            if getattr(table, key) != usual[key]
        ]

    @property
    def deciding(self) -> dict[str, Any]:
        """Plain values of all that decides the result: not the name, checkpoints or [tune]."""
        tree = replace(
            self, name="", tune=None, train=replace(self.train, checkpoint_seconds=0.0)
        ).to_tree()
        for section, keys in _ADDED.items():
            usual = defaults(type(getattr(self, section)))
            for key in keys:
                if getattr(getattr(self, section), key) == usual[key]:
                    tree[section].pop(key, None)
        usual = defaults(type(self.model))
        for key in _ADDED_TO_METHODS.get(str(tree["model"].get("name")), ()):
            if getattr(self.model, key) == usual[key]:
                tree["model"].pop(key, None)
        return tree

    @property
    def fingerprint(self) -> str:
        """SHA-256 of everything that decides the result."""
        tree = earlier_names(self.deciding)
        return hashlib.sha256(json.dumps(tree, sort_keys=True, default=str).encode()).hexdigest()


def _tables(section: str, value: Any) -> Iterator[tuple[str, str, Any, dict[str, Any]]]:
    """Yield the tables of a section that know their idle settings, the section itself included.

    Yields:
        The prefix of the table's keys, its name, its values and its defaults.
    """
    usual = defaults(type(value))
    if hasattr(value, "idle"):
        yield "", section, value, usual
    for name, inner in usual.items():
        if hasattr(table := getattr(value, name), "idle"):
            yield f"{name}.", name, table, defaults(type(inner), inner)


def earlier_names(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return plain values with renamed keys under their earlier name, for a fingerprint.

    So the fingerprints that runs and studies of earlier versions hold stay valid.

    Args:
        tree: the values, by section.
    """
    named = dict(tree)
    for section, cls in SECTIONS.items():
        earlier = {name: key for key, name in getattr(cls, "RENAMED", ())}
        if earlier and section in named:
            named[section] = {earlier.get(key, key): value for key, value in named[section].items()}
    return named


def read(path: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read an experiment from a TOML file, with dotted overrides such as `model.dim=128`.

    Relative paths in `[data]` are resolved against the working directory and stored as absolute
    paths. `titles` and `features` are looked up next to the interactions first; a path that exists
    in neither place is kept unchanged.

    Args:
        path: the TOML file, or the name of a shipped one, such as "ease-online-retail".
        overrides: assignments such as `model.dim=128`.

    Raises:
        InputError: with the file, the section, the key and a suggestion.
    """
    path = located(path)
    tree = override(read_toml(path), overrides)
    return from_tree(tree, str(path), default_name=path.stem)


def from_tree(tree: Mapping[str, Any], place: str = "", default_name: str = "") -> Experiment:
    """Return the experiment with these plain values.

    Args:
        tree: the values, by section.
        place: the file they come from, for an error.
        default_name: name of the experiment if the values hold no name.

    Raises:
        InputError: as `read`.
    """
    known = [*SECTIONS, "model", "name", "refit", "rerank", "tune"]
    for key in tree:
        if key not in known:
            raise InputError(
                f"unknown section or key '{key}'",
                place=place or None,
                remedy=suggest(key, known, _SECTION_ALIASES),
            )
    sections: dict[str, Any] = {}
    for section, cls in SECTIONS.items():
        sections[section] = build(cls, _table(tree, section, place), _place(place, section))
    model = dict(_table(tree, "model", place))
    where = _place(place, "model")
    if "name" not in model:
        raise InputError(
            "key 'name' is missing",
            place=where,
            remedy=f"name a method: {', '.join(models.names())}",
        )
    chosen = model.pop("name")
    try:
        recipe = models.recipe(str(chosen))
    except InputError as error:
        raise error.at(f"{where} name") from None
    name, refit = tree.get("name", ""), tree.get("refit", False)
    if not isinstance(name, str) or not isinstance(refit, bool):
        raise InputError(
            f"name must be text and refit true or false, got {name!r} and {refit!r}",
            place=place or None,
            remedy='write name = "..." and refit = true or false',
        )
    data = _absolute(sections.pop("data"))
    tune = _tune(tree, place) if "tune" in tree else None
    rerank = build(Rerank, _table(tree, "rerank", place), _place(place, "rerank"))
    if rerank.active:
        try:
            refuse_drawn(sections["evaluate"])
        except InputError as error:
            raise error.at(_place(place, "evaluate")) from None
    experiment = Experiment(
        data=data,
        model=build(recipe, model, where),
        name=name or default_name or str(chosen),
        refit=refit,
        tune=tune,
        rerank=rerank.with_paths(absolute_path),
        **sections,
    )
    try:
        _ = (
            experiment.dimensions
        )  # also for a run, which does not need them: a file has to be right
    except InputError as error:
        raise (error.at(place) if place else error) from None
    return experiment


def _tune(tree: Mapping[str, Any], place: str) -> Tune:
    table = dict(_table(tree, "tune", place))
    if isinstance(table.get("space"), Mapping):
        table["space"] = flatten(table["space"])
    return build(Tune, table, _place(place, "tune"))


def _table(tree: Mapping[str, Any], section: str, place: str) -> Mapping[str, Any]:
    table = tree.get(section, {})
    if not isinstance(table, Mapping):
        raise InputError(
            f"'{section}' is a section, not a value",
            place=place or None,
            remedy=f"write [{section}] and its keys below it",
        )
    return table


def _place(place: str, section: str) -> str:
    return f"{place}: [{section}]" if place else f"[{section}]"


def _absolute(source: Source) -> Source:
    """Return the source with absolute paths."""
    paths: dict[str, Any] = {
        key: str(Path(value).expanduser().resolve())
        for key in ("path", "train", "valid", "test")
        if (value := getattr(source, key))
    }
    if source.path and (source.train or source.valid or source.test):
        # Presplit files are given relative to the base folder.
        paths = {"path": paths["path"]}
    placed = replace(source, **paths) if paths else source
    tables: dict[str, Any] = {
        key: _located(value, placed)
        for key in ("titles", "features", "user_features", "relations")
        if (value := getattr(placed, key)) is not None
    }
    return replace(placed, **tables) if tables else placed


def absolute_path(path: str) -> str:
    """Return a path as seen from any working folder."""
    return str(Path(path).expanduser().resolve())


def _located(value: str | Mapping[str, Any], source: Source) -> Any:
    """Return the absolute form of a path, or of several by name; unchanged if it does not exist.

    Of the settings of a file, only its paths are changed.
    """
    if not isinstance(value, str):
        of_file = isinstance(value.get("path"), str)
        return {
            name: _located(inner, source)
            if isinstance(inner, str | Mapping) and (not of_file or name in ("path", "link"))
            else inner
            for name, inner in value.items()
        }
    path = seen_from(folder_of(source), value)
    return str(path.resolve()) if path.exists() else value
