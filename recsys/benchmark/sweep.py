"""The section [sweep]: one setting of the data or of the split that takes several values.

[sweep]
setting = "split.noise.share"
values = [0.0, 0.1, 0.2]
tune = "first"

Every data set is measured once per value, and a table shows the methods over the values. With
`pool = true` the values are parts of one test, as folds and windows are: one table has the queries
of all parts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from recsys.benchmark.sections import check_name
from recsys.config import settings
from recsys.errors import InputError

__all__ = ["Sweep", "SweepPoint", "Value", "swept"]

Value = bool | int | float | str

_SECTIONS = ("data", "split")


@settings
class Sweep:
    """A setting of the data or the split, and its values."""

    setting: str | tuple[str, ...]
    """Dotted path in [data] or [split]. Several paths get the same value at the same time."""
    values: tuple[Value, ...]
    """The values, in the order of the table; at least two."""
    tune: Literal["each", "first"] = "each"
    """Where the methods are searched: each: at every value. first: at the first value, and the
    chosen settings are used at all others."""
    pool: bool = False
    """Whether the values are parts of one test (folds, windows in time), so that one table pools
    their queries. Its intervals and tests resample users over all parts."""

    def __post_init__(self) -> None:
        if len(self.values) < 2:
            raise InputError(
                f"a sweep needs at least two values, got {len(self.values)}",
                remedy="write values = [0.0, 0.1, 0.2], or set the value in [split] or [data]",
            )
        if len({json.dumps(value) for value in self.values}) < len(self.values):
            raise InputError("a sweep has a value twice", remedy="name each value once")
        if not self.paths:
            raise InputError("a sweep needs a setting", remedy='write setting = "split.seed"')
        if self.pool and self.tune == "first":
            raise InputError(
                "pool needs tune = 'each': what is valid in one part is test in another, so that "
                "settings searched on the first part would have seen the test of the others",
                remedy='set tune = "each", or leave out pool',
            )
        for path in self.paths:
            section, dot, field = path.partition(".")
            if section not in _SECTIONS or not dot or not field:
                raise InputError(
                    f"'{path}' is not a setting of [data] or [split]",
                    remedy='write setting = "split.noise.share", for example; settings of one '
                    "method belong into several [method.NAME]",
                )

    @property
    def paths(self) -> tuple[str, ...]:
        """The dotted paths that are set."""
        return (self.setting,) if isinstance(self.setting, str) else self.setting

    @property
    def label(self) -> str:
        """The setting in words, for the head of a table."""
        return ", ".join(self.paths)


@dataclass(frozen=True)
class SweepPoint:
    """A data set at one value of the sweep.

    Args:
        base: name of the data set in the plan.
        value: of the swept setting.
    """

    base: str
    value: Value


def swept(
    sweep: Sweep, bases: Mapping[str, Mapping[str, Any]], place: str
) -> tuple[dict[str, dict[str, Any]], dict[str, SweepPoint]]:
    """Return the sections of every data set at every value, and the point of each.

    A data set `retail` at 0.1 of `split.noise.share` is named `retail+share-0.1`.

    Args:
        sweep: the setting and its values.
        bases: sections of each data set, by name.
        place: where the sweep was read.

    Raises:
        InputError: a value cannot be part of a name, or the path runs through a value.
    """
    data: dict[str, dict[str, Any]] = {}
    points: dict[str, SweepPoint] = {}
    for base, sections in bases.items():
        for value in sweep.values:
            word = str(value).lower() if isinstance(value, bool) else str(value)
            name = f"{base}+{sweep.paths[0].rpartition('.')[2]}-{word}"
            check_name(name, "data set", place)
            copy = json.loads(json.dumps(sections))
            for path in sweep.paths:
                _set(copy, path, value, place)
            data[name], points[name] = copy, SweepPoint(base, value)
    return data, points


def _set(tree: dict[str, Any], path: str, value: Value, place: str) -> None:
    *parents, leaf = path.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
        if not isinstance(tree, dict):
            raise InputError(
                f"'{parent}' in '{path}' is a value, not a section",
                place=place,
                remedy="correct the setting",
            )
    tree[leaf] = value
