"""The section [tune]: how a study searches, and the space it searches in, at the same dotted paths as the experiment's own fields.

    [tune]
    trials = 30

    [tune.space]
    "model.loss.margin" = { low = 0.5, high = 2.0 }
    "train.lr" = { low = 1e-4, high = 1e-2, log = true }
    "model.dim" = { choices = [32, 64] }

Each path is looked up in the settings classes of the experiment, and each bound and choice is checked against the type and the bounds that are
declared there, when the file is read.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import math
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pydantic

from recsys.config import ALIASES, Bound, build, defaults, settings, to_dict
from recsys.errors import InputError, suggest

__all__ = ["Dimension", "Limits", "Range", "Tune", "check", "corners", "flatten", "get", "put"]

# Sections whose fields may be searched: the others decide what is measured.
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

# Corners of a space that are looked at before the first trial, for rules over several fields.
_CORNERS = 512


@settings
class Range:
    """The values of one field: from low to high, or some choices."""

    low: int | float | None = None
    """The least value."""
    high: int | float | None = None
    """The greatest value, included."""
    log: bool = False
    """Search in the logarithm: for step sizes, weights and others that matter by their order of magnitude."""
    step: int | float | None = None
    """Only low, low + step, low + 2 step, ...; whole numbers have a step of 1."""
    choices: tuple[Any, ...] | None = None
    """The values themselves: numbers, words, true and false, or whole tables such as { kind = "hinge", margin = 1.0 }. "none" stands for no value."""

    def __post_init__(self) -> None:
        bounds = self.low is not None or self.high is not None
        if self.choices is not None:
            if bounds or self.log or self.step is not None:
                raise InputError(
                    "choices go without low, high, log and step",
                    remedy="write { choices = [...] }, or { low = ..., high = ... }",
                )
            if not self.choices:
                raise InputError("choices is empty", remedy="name at least one value")
            _refuse_twice(self.choices, self.choices)
            return
        if self.low is None or self.high is None:
            raise InputError(
                "low and high are needed, or choices",
                remedy="write { low = ..., high = ... }, or { choices = [...] }",
            )
        if self.low > self.high:
            raise InputError(
                f"low = {self.low} is above high = {self.high}", remedy="exchange them"
            )
        if self.log and self.low <= 0:
            raise InputError(
                f"low = {self.low}: a logarithmic range is above 0",
                remedy="raise low, or leave out log",
            )
        if self.step is not None:
            self._check_step(self.step, self.low, self.high)

    def _check_step(self, step: float, low: float, high: float) -> None:
        if step <= 0:
            raise InputError(f"step = {step} is not above 0", remedy="correct the value")
        if self.log:
            raise InputError(
                "step and log do not go together",
                remedy="leave out one of them, or name the choices",
            )
        steps = (high - low) / step
        if abs(steps - round(steps)) > 1e-8:
            raise InputError(
                f"high = {high} is not low = {low} and a number of steps of {step}",
                remedy=f"use high = {low + math.floor(steps) * step:g}",
            )


@settings
class Limits:
    """What a setting may cost; trials beyond a limit are kept, but none of them is the best."""

    seconds: Annotated[float, Bound(gt=0)] | None = None
    """Of training and of evaluating on valid; a trial is ended at the first evaluation beyond it."""
    memory_mb: Annotated[float, Bound(gt=0)] | None = None
    """Peak memory of the process during the trial, or of the GPU where it trains on one."""
    latency_ms: Annotated[float, Bound(gt=0)] | None = None
    """Milliseconds to rank all items for one user."""


@settings
class Tune:
    """How a study searches. The experiment's own settings are always the first trial."""

    trials: Annotated[int, Bound(ge=1)] = 20
    """Budget: at most so many trials, failed and pruned ones counted."""
    seconds: Annotated[float, Bound(gt=0)] | None = None
    """Budget of wall time: no trial begins after it."""
    device_seconds: Annotated[float, Bound(gt=0)] | None = None
    """Budget of training time, added up over all workers: no trial begins after it."""
    sampler: Literal["tpe", "cma", "gp", "random", "grid"] = "tpe"
    """tpe: tree of Parzen estimators. cma: CMA-ES, for numbers only. gp: Gaussian process. random. grid: all choices and steps, shuffled."""
    startup: Annotated[int, Bound(ge=1)] = 10
    """Trials of tpe and gp at random before they learn from them, the first counted."""
    pruner: Literal["none", "median", "hyperband", "wilcoxon"] = "none"
    """Ends trials whose curve of the monitor on valid is worse than those before: than their median, in the brackets of Hyperband, or than that
    of the best by a Wilcoxon test over the epochs."""
    seed: Annotated[int, Bound(ge=0)] = 0
    """Of the sampler. Every trial trains with the seed of [train]."""
    objectives: tuple[str, ...] = ()
    """Metrics on valid, "latency", "seconds" or "memory"; none: the monitor. With several, the best is the one with the best first objective,
    and all that no other beats in everything are shown."""
    limits: Limits = Limits()
    warm: tuple[str, ...] = ()
    """Folders of runs or studies whose settings are tried after the experiment's own."""
    space: dict[str, Range] = dataclasses.field(default_factory=dict)
    """The fields that are searched, by path."""

    def __post_init__(self) -> None:
        if len(set(self.objectives)) < len(self.objectives):
            raise InputError("objectives names one twice", remedy="name each once")
        if self.pruner != "none" and len(self.objectives) > 1:
            raise InputError(
                f"pruner = '{self.pruner}' compares curves of one objective, and there are several",
                remedy="use pruner = 'none'",
            )
        if self.sampler == "cma" and len(self.objectives) > 1:
            raise InputError("sampler = 'cma' takes one objective", remedy="use sampler = 'tpe'")


@dataclass(frozen=True)
class Dimension:
    """One searched field.

    Args:
        path: such as "train.lr".
        kind: whether it is a real number, a whole one, or one of some choices.
        range: its values.
        none: how no value is written: "" where the field has to have one, "absent" where the key is left out, "none" where the word is.
        resolved: the choices as the experiment holds them: tables with their defaults.
    """

    path: str
    kind: Literal["float", "int", "choice"]
    range: Range
    none: Literal["", "absent", "none"] = ""
    resolved: tuple[Any, ...] = ()

    def values(self) -> list[Any]:
        """All values, where they can be counted.

        Raises:
            InputError: a range of real numbers without a step.
        """
        if self.range.choices is not None:
            return list(self.range.choices)
        low, high, step = typing.cast(Any, (self.range.low, self.range.high, self.range.step))
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
        """The values at its corners: all choices, or low and high."""
        return (
            list(self.range.choices)
            if self.range.choices is not None
            else [self.range.low, self.range.high]
        )

    def chosen(self, value: Any) -> Any:
        """The choice that a value is, as it is written in the space; None where it is none of them."""
        pairs = zip(self.range.choices or (), self.resolved, strict=True)
        return next(
            (
                choice
                for choice, resolved in pairs
                if _same(value, resolved) or _same(value, choice)
            ),
            None,
        )

    def holds(self, value: Any) -> bool:
        """Whether the value is in the space."""
        if self.range.choices is not None:
            return self.chosen(value) is not None
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        low, high, step = typing.cast(Any, (self.range.low, self.range.high, self.range.step))
        if not low <= value <= high:
            return False
        return step is None or abs((value - low) / step - round((value - low) / step)) < 1e-8


def flatten(space: Mapping[str, Any]) -> dict[str, Any]:
    """A space by path, also where the paths were not put into quotes and TOML has read them as tables."""
    keys = {field.name for field in dataclasses.fields(typing.cast(Any, Range))}
    flat: dict[str, Any] = {}
    for path, value in space.items():
        if (
            isinstance(value, Mapping)
            and value
            and not keys & value.keys()
            and all(isinstance(inner, Mapping) for inner in value.values())
        ):
            flat |= {f"{path}.{inner}": range_ for inner, range_ in flatten(value).items()}
        else:
            flat[path] = value
    return flat


def check(space: Mapping[str, Range], classes: Mapping[str, type]) -> tuple[Dimension, ...]:
    """Look up every path and hold its values against the type and bounds of the field.

    Args:
        space: ranges by path.
        classes: the settings class of each section, that of the method for "model".

    Raises:
        InputError: a path that does not exist or may not be searched, a bound or choice that the field does not take, a path within another.
    """
    found = []
    for path, range_ in space.items():
        place = _place(path)
        section, *keys = path.split(".")
        if section not in SEARCHED and section in classes:
            raise InputError(
                f"[{section}] decides what is measured",
                place=place,
                remedy="search in [model] and [train]",
            )
        if section in classes and not keys:
            raise InputError(
                f"'{path}' is a section",
                place=place,
                remedy=f"name one of its fields; {suggest('', _names(classes[section]))}",
            )
        if section not in classes:
            raise InputError(
                f"'{section}' is no section of the experiment",
                place=place,
                remedy=suggest(section, SEARCHED),
            )
        why, instead = _LUCK if keys[-1] == "seed" else _REFUSED.get(path, ("", ""))
        if why:
            raise InputError(f"'{path}' cannot be searched: {why}", place=place, remedy=instead)
        hint, none, default = _look_up(classes[section], section, keys, place)
        found.append(_dimension(path, range_, hint, none, default, place))
    for first, second in itertools.permutations(space, 2):
        if second.startswith(f"{first}."):
            raise InputError(
                f"'{first}' holds '{second}'",
                place="[tune.space]",
                remedy="search one of them, or put the inner values into the choices",
            )
    return tuple(found)


def corners(dimensions: tuple[Dimension, ...]) -> Iterator[dict[str, Any]]:
    """Values at the corners of the space: all combinations of choices and ends, or the first few hundred where there are more."""
    ends = [dimension.ends() for dimension in dimensions]
    for values in itertools.islice(itertools.product(*ends), _CORNERS):
        yield {dimension.path: value for dimension, value in zip(dimensions, values, strict=True)}


def get(tree: Mapping[str, Any], path: str) -> Any:
    """The value at a path of plain values; "none" where there is none."""
    value: Any = tree
    for key in path.split("."):
        if not isinstance(value, Mapping) or key not in value:
            return "none"
        value = value[key]
    return value


def put(tree: dict[str, Any], dimension: Dimension, value: Any) -> None:
    """Set a value at its path, or take the key away where it stands for no value."""
    *parents, leaf = dimension.path.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    if value == "none" and dimension.none == "absent":
        tree.pop(leaf, None)
    else:
        tree[leaf] = value


def _look_up(
    cls: Any, section: str, keys: list[str], place: str
) -> tuple[Any, Literal["", "absent", "none"], Any]:
    """Type and bounds of the field at the end of the keys, how it is left empty, and its default."""
    base: Any = None
    for depth, key in enumerate(keys):
        known = _names(cls)
        if key not in known:
            above = ".".join([section, *keys[:depth]])
            raise InputError(
                f"'{above}' has no field '{key}'", place=place, remedy=suggest(key, known, ALIASES)
            )
        hint = _hints(cls)[key]
        options = _options(hint)
        inner = next((option for option in options if getattr(option, "__settings__", False)), None)
        default = defaults(cls, base).get(key)
        if depth == len(keys) - 1:
            return (
                hint,
                "" if types.NoneType not in options else "absent" if default is None else "none",
                default,
            )
        if inner is None:
            above = ".".join([section, *keys[: depth + 1]])
            raise InputError(
                f"'{above}' is a value and has no field '{keys[depth + 1]}'",
                place=place,
                remedy="drop what follows it",
            )
        cls, base = inner, default if isinstance(default, inner) else None
    raise AssertionError("a path has a last key")


def _dimension(
    path: str,
    range_: Range,
    hint: Any,
    none: Literal["", "absent", "none"],
    default: Any,
    place: str,
) -> Dimension:
    options = _options(hint)
    if range_.choices is not None:
        # As the field holds them: 1 is 1.0 where it takes real numbers.
        choices = [
            choice
            if choice == "none" and none
            else _check_value(hint, options, choice, default, f"{place} choices")
            for choice in range_.choices
        ]
        inner = next((option for option in options if getattr(option, "__settings__", False)), None)
        base = default if inner is not None and isinstance(default, inner) else None
        tables = (inner is not None and isinstance(choice, Mapping) for choice in choices)
        resolved = [
            to_dict(build(typing.cast(Any, inner), choice, base=base), base) if table else choice
            for choice, table in zip(choices, tables, strict=True)
        ]
        try:
            _refuse_twice(choices, resolved)
        except InputError as error:
            raise error.at(place) from None
        return Dimension(
            path,
            "choice",
            dataclasses.replace(range_, choices=tuple(choices)),
            none,
            tuple(resolved),
        )
    kind: Literal["float", "int"] | None = (
        "float" if float in options else "int" if int in options else None
    )
    if kind is None:
        raise InputError(
            "low and high are for numbers",
            place=place,
            remedy=f"write {{ choices = [...] }}{_allowed(options)}",
        )
    for name in ("low", "high"):
        _check_value(hint, options, getattr(range_, name), default, f"{place} {name}")
    if kind == "int" and range_.step is not None and not isinstance(range_.step, int):
        raise InputError(
            f"step = {range_.step}: the field takes whole numbers",
            place=place,
            remedy="correct the value",
        )
    return Dimension(path, kind, range_, none)


def _refuse_twice(choices: Sequence[Any], resolved: Sequence[Any]) -> None:
    seen: dict[str, Any] = {}
    for choice, value in zip(choices, resolved, strict=True):
        label = json.dumps(value, sort_keys=True, default=str)
        if label in seen:
            first, second = (
                json.dumps(each, sort_keys=True, default=str) for each in (seen[label], choice)
            )
            said = (
                f"{first} twice" if first == second else f"{first} and {second}, which are the same"
            )
            raise InputError(f"choices names {said}", remedy="name each value once")
        seen[label] = choice


def _check_value(hint: Any, options: list[Any], value: Any, default: Any, place: str) -> Any:
    """The value as the field holds it; a table stays as it is, held against the field's default, whose other keys stay."""
    inner = next((option for option in options if getattr(option, "__settings__", False)), None)
    if inner is not None:
        if not isinstance(value, Mapping):
            raise InputError(
                f"{value!r} is not a table",
                place=place,
                remedy=f"write {{ key = value }}; {suggest('', _names(inner))}",
            )
        build(inner, value, place, default if isinstance(default, inner) else None)
        return value
    try:
        return pydantic.TypeAdapter(
            hint, config=pydantic.ConfigDict(strict=True, allow_inf_nan=False)
        ).validate_python(value)
    except pydantic.ValidationError as error:
        said = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise InputError(
            f"{value!r}: {said[0].lower()}{said[1:]}", place=place, remedy="correct the value"
        ) from None


def _options(hint: Any) -> list[Any]:
    """The plain types that a hint allows, without bounds."""
    if typing.get_origin(hint) is Annotated:
        return _options(typing.get_args(hint)[0])
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [option for part in typing.get_args(hint) for option in _options(part)]
    return [hint]


def _allowed(options: list[Any]) -> str:
    words = [
        word
        for option in options
        if typing.get_origin(option) is Literal
        for word in typing.get_args(option)
    ]
    return (
        f" of {', '.join(map(repr, words))}"
        if words
        else " of true and false"
        if bool in options
        else ""
    )


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)


def _names(cls: Any) -> list[str]:
    return [field.name for field in dataclasses.fields(cls)]


def _place(path: str) -> str:
    return f'[tune.space] "{path}"'


def _same(first: Any, second: Any) -> bool:
    return json.dumps(first, sort_keys=True, default=str) == json.dumps(
        second, sort_keys=True, default=str
    )
