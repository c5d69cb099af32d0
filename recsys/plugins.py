"""Extensions from other packages, found by entry points.

A package announces an extension in its `pyproject.toml`; once it is installed, its name can be used
in TOML and in Python like a built-in one:

    [project.entry-points."recsys.losses"]
    absolute = "my_package.losses:absolute"

The groups are `recsys.models`, `recsys.losses`, `recsys.metrics`, `recsys.readers` and
`recsys.splitters`. Installed packages do not change while a process runs, so a group is read once.
"""

from __future__ import annotations

import functools
import importlib.metadata
from typing import Any

from recsys.errors import InputError, first_line

__all__ = ["load", "module_of", "names"]


@functools.cache
def _points(group: str) -> tuple[importlib.metadata.EntryPoint, ...]:
    return tuple(importlib.metadata.entry_points(group=f"recsys.{group}"))


def names(group: str) -> list[str]:
    """Return the names that other packages add to a group such as "metrics", in order."""
    return sorted({point.name for point in _points(group)})


def module_of(group: str, name: str) -> str | None:
    """Return the object reference of an extension, "package.module:object", if it exists."""
    return next((point.value for point in _points(group) if point.name == name), None)


@functools.cache
def load(group: str, name: str) -> Any:
    """Import an extension.

    Args:
        group: "models", "losses", "metrics", "readers" or "splitters".
        name: its name in the group.

    Raises:
        InputError: it does not exist, or its package cannot be imported.
    """
    for point in _points(group):
        if point.name == name:
            try:
                return point.load()
            except Exception as error:  # the code of another package
                raise InputError(
                    f"'{name}' of another package cannot be imported: {first_line(error)}",
                    place=f"{point.value} (entry point recsys.{group})",
                    remedy="install its dependencies, or remove its package",
                ) from None
    raise InputError(f"no package adds '{name}' to recsys.{group}", remedy="install its package")
