"""Tables, names and files that a plan refers to, checked as they are read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recsys.errors import InputError

__all__ = ["check_name", "near", "table_of"]


def table_of(tree: Mapping[str, Any], key: str, place: str) -> Mapping[str, Any]:
    """Return the table at a key; an empty one where the key is absent.

    Raises:
        InputError: the key holds a value.
    """
    value = tree.get(key, {})
    if not isinstance(value, Mapping):
        raise InputError(
            f"'{key}' must be a table, not a value",
            place=place,
            remedy=f"write [{key}] and its keys below it",
        )
    return value


def check_name(name: str, what: str, place: str) -> None:
    """Refuse a name that cannot be the name of a folder on every system.

    Args:
        name: of a data set or a method.
        what: "data set" or "method".
        place: where the name was read.

    Raises:
        InputError: it is empty, begins with a dot, or has other characters than allowed.
    """
    if not name or not all(c.isalnum() or c in "-_+." for c in name) or name.startswith("."):
        raise InputError(
            f"'{name}' cannot name a {what}, because a folder gets the same name",
            place=place,
            remedy="use letters, digits, - _ + .",
        )


def near(name: str, path: Path) -> Path:
    """Return the path of a file that another file names.

    The working folder comes first, then the folder of the file at `path`.
    """
    neighbour = path.parent / name
    return neighbour if not Path(name).exists() and neighbour.exists() else Path(name)
