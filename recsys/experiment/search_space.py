"""The space that a study searches, at the dotted paths of the experiment's own fields.

    [tune.space]
    "model.loss.margin" = { low = 0.5, high = 2.0 }
    "train.lr" = { low = 1e-4, high = 1e-2, log = true }
    "model.dim" = { choices = [32, 64] }

When the file is read, each path is looked up in the settings classes of the experiment, and each
bound and choice is checked against the declared type and bounds of the field.
"""

from __future__ import annotations

import dataclasses
import itertools
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from recsys.config import build, to_dict
from recsys.errors import InputError, suggest
from recsys.experiment.searched_field import Absence, SearchedField, field_names, look_up
from recsys.experiment.tune_settings import Limits, Range, Tune, canonical, refuse_duplicates

__all__ = ["Dimension", "Limits", "Range", "Tune", "check", "corners", "flatten", "get", "put"]

# Only fields of these sections may be searched: the other sections decide what is measured.
SEARCHED = ("model", "train")

_REFUSED = {
    "model.name": (
        "a study is about one method",
        "make a study of each method, with the same budget",
    ),
    "train.device": ("it decides nothing that is measured", "set it in [train]"),
    "train.checkpoint_seconds": ("it decides nothing that is measured", "set it in [train]"),
}

_LUCK = (
    "the luckiest seed is not a better setting",
    "repeat the best settings with other seeds instead",
)

# Number of corners of a space that are checked before the first trial, for rules over several
# fields.
_CORNERS = 512


@dataclass(frozen=True)
class Dimension:
    """One searched field.

    Args:
        path: its path, such as "train.lr".
        kind: a real number, an integer, or one of some choices.
        range: its values.
        none: how no value is written, see `recsys.experiment.searched_field.Absence`.
        resolved: the choices as the experiment holds them: tables with their defaults.
    """

    path: str
    kind: Literal["float", "int", "choice"]
    range: Range
    none: Absence = ""
    resolved: tuple[Any, ...] = ()

    def values(self) -> list[Any]:
        """Return all values.

        Raises:
            InputError: a range of real numbers without a step has no end of values.
        """
        if self.range.choices is not None:
            return list(self.range.choices)
        low, high, step = self._bounds()
        if self.kind == "float" and step is None:
            if low == high:
                return [float(low)]
            raise InputError(
                "a grid has no end without a step",
                place=_place(self.path),
                remedy="give it a step, or name the choices",
            )
        if self.kind == "int":
            return list(range(low, high + 1, step or 1))
        return [round(float(low) + i * step, 12) for i in range(round((high - low) / step) + 1)]

    def ends(self) -> list[Any]:
        """Return the values at the corners of the space: all choices, or low and high."""
        if self.range.choices is not None:
            return list(self.range.choices)
        return [self.range.low, self.range.high]

    def chosen(self, value: Any) -> Any:
        """Return the choice with this value, as written in the space; None without such a choice.

        Args:
            value: as written in the space, or as the experiment holds it.
        """
        label = canonical(value)
        for choice, resolved in zip(self.range.choices or (), self.resolved, strict=True):
            if label in (canonical(resolved), canonical(choice)):
                return choice
        return None

    def holds(self, value: Any) -> bool:
        """Return whether the value is in the space."""
        if self.range.choices is not None:
            return self.chosen(value) is not None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        low, high, step = self._bounds()
        if not low <= value <= high:
            return False
        return step is None or abs((value - low) / step - round((value - low) / step)) < 1e-8

    def _bounds(self) -> tuple[Any, Any, Any]:
        return self.range.low, self.range.high, self.range.step


def flatten(space: Mapping[str, Any]) -> dict[str, Any]:
    """Return a space by path, also if the paths were written without quotes.

    TOML reads a path without quotes as nested tables.
    """
    keys = set(field_names(Range))
    flat: dict[str, Any] = {}
    for path, value in space.items():
        is_nested = (
            isinstance(value, Mapping)
            and bool(value)
            and not keys & value.keys()
            and all(isinstance(inner, Mapping) for inner in value.values())
        )
        if is_nested:
            flat |= {f"{path}.{inner}": range_ for inner, range_ in flatten(value).items()}
        else:
            flat[path] = value
    return flat


def check(space: Mapping[str, Range], classes: Mapping[str, type]) -> tuple[Dimension, ...]:
    """Look up every path, and check its values against the type and bounds of the field.

    Args:
        space: ranges by path.
        classes: the settings class of each section; for "model", that of the method.

    Raises:
        InputError: a path that does not exist or may not be searched, a bound or choice that the
            field does not take, or a path within another path.
    """
    dimensions = []
    for path, range_ in space.items():
        section, keys = _refuse_path(path, classes)
        field = look_up(classes[section], section, keys, _place(path))
        dimensions.append(_dimension(path, range_, field))
    for first, second in itertools.permutations(space, 2):
        if second.startswith(f"{first}."):
            raise InputError(
                f"'{first}' holds '{second}'",
                place="[tune.space]",
                remedy="search one of them, or put the inner values into the choices",
            )
    return tuple(dimensions)


def _refuse_path(path: str, classes: Mapping[str, type]) -> tuple[str, list[str]]:
    """Return the section and the keys of a path that may be searched.

    Raises:
        InputError: it may not be searched.
    """
    place = _place(path)
    section, *keys = path.split(".")
    if section not in SEARCHED and section in classes:
        raise InputError(
            f"[{section}] decides what is measured",
            place=place,
            remedy="search in [model] and [train]",
        )
    if section not in classes:
        raise InputError(
            f"'{section}' is not a section of the experiment",
            place=place,
            remedy=suggest(section, SEARCHED),
        )
    if not keys:
        raise InputError(
            f"'{path}' is a section",
            place=place,
            remedy=f"name one of its fields; {suggest('', field_names(classes[section]))}",
        )
    cause, remedy = _LUCK if keys[-1] == "seed" else _REFUSED.get(path, ("", ""))
    if cause:
        raise InputError(f"'{path}' cannot be searched: {cause}", place=place, remedy=remedy)
    return section, keys


def _dimension(path: str, range_: Range, field: SearchedField) -> Dimension:
    if range_.choices is not None:
        return _of_choices(path, range_, field)
    place = _place(path)
    kind = field.number
    if kind is None:
        raise InputError(
            "low and high are for numbers",
            place=place,
            remedy=f"write {{ choices = [...] }}{field.words()}",
        )
    field.check(range_.low, f"{place} low")
    field.check(range_.high, f"{place} high")
    if kind == "int" and range_.step is not None and not isinstance(range_.step, int):
        raise InputError(
            f"step must be an integer, got {range_.step}",
            place=place,
            remedy="the field takes integers: choose an integer step",
        )
    return Dimension(path, kind, range_, field.absence)


def _of_choices(path: str, range_: Range, field: SearchedField) -> Dimension:
    place, choices = _place(path), []
    for choice in range_.choices or ():
        is_none = choice == "none" and bool(field.absence)
        # As the field holds it: 1 is 1.0 if the field takes real numbers.
        choices.append(choice if is_none else field.check(choice, f"{place} choices"))
    resolved = [_resolved(choice, field) for choice in choices]
    try:
        refuse_duplicates(choices, resolved)
    except InputError as error:
        raise error.at(place) from None
    chosen = dataclasses.replace(range_, choices=tuple(choices))
    return Dimension(path, "choice", chosen, field.absence, tuple(resolved))


def _resolved(choice: Any, field: SearchedField) -> Any:
    """Return a choice as the experiment holds it: a table with its defaults."""
    if field.table is None or not isinstance(choice, Mapping):
        return choice
    base = field.table_default
    return to_dict(build(typing.cast(Any, field.table), choice, base=base), base)


def corners(dimensions: tuple[Dimension, ...]) -> Iterator[dict[str, Any]]:
    """Yield the values at the corners of the space, by path.

    These are all combinations of choices and ends, or the first few hundred if there are more.
    """
    ends = [dimension.ends() for dimension in dimensions]
    for values in itertools.islice(itertools.product(*ends), _CORNERS):
        yield {dimension.path: value for dimension, value in zip(dimensions, values, strict=True)}


def get(tree: Mapping[str, Any], path: str) -> Any:
    """Return the value at a path of plain values; "none" without a value."""
    value: Any = tree
    for key in path.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return "none"
        value = value[key]
    return value


def put(tree: dict[str, Any], dimension: Dimension, value: Any) -> None:
    """Set a value at its path, or remove the key if it means no value."""
    *parents, leaf = dimension.path.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    if value == "none" and dimension.none == "absent":
        tree.pop(leaf, None)
    else:
        tree[leaf] = value


def _place(path: str) -> str:
    return f'[tune.space] "{path}"'
