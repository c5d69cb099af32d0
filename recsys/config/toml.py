"""TOML: files to plain values, dotted overrides, and plain values to text."""

from __future__ import annotations

import difflib
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from datetime import date, time
from pathlib import Path
from typing import Any

from recsys.config.shipped import located, shipped_names
from recsys.errors import InputError

__all__ = [
    "from_toml",
    "key_text",
    "no_such_file",
    "override",
    "read_toml",
    "to_toml",
    "value_text",
]


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read a TOML file, or the shipped one of this name, into plain values.

    Raises:
        InputError: the file is missing, unreadable or not TOML (with line and column).
    """
    path = located(path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise no_such_file(path) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"not valid TOML: {error}", place=str(path), remedy="see https://toml.io for the syntax"
        ) from None
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}",
            place=str(path),
            remedy="check the path and its permissions",
        ) from None


def no_such_file(path: Path) -> InputError:
    """Return the error of a TOML file that does not exist; near names are suggested."""
    own = sorted(str(p) for p in path.parent.glob("*.toml")) if path.parent.is_dir() else []
    word = str(path).removesuffix(".toml")
    near = difflib.get_close_matches(str(path), own, n=1) or difflib.get_close_matches(
        word, shipped_names(), n=1
    )
    guess = f"did you mean '{near[0]}'? " if near else ""
    listing = f"the folder holds {', '.join(own[:8])}" if own else "check the path"
    return InputError(
        "no such file",
        place=str(path),
        remedy=f"{guess}{listing}; `recsys configs` lists the shipped experiments",
    )


def from_toml(text: str) -> dict[str, Any]:
    """Read TOML text into plain values."""
    return tomllib.loads(text)


def override(tree: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Apply dotted assignments such as `model.layers=3` to a copy of `tree`.

    The right-hand side is read as TOML. If it is not valid TOML, it is used as a string, so
    `model.name=cml` needs no quotes.

    Raises:
        InputError: an assignment has no `=`, or its path leads into a plain value.
    """
    tree = json.loads(json.dumps(tree, default=str))
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path.strip():
            raise InputError(
                f"'{assignment}' is not an assignment",
                place="command line",
                remedy="write section.key=value",
            )
        *parents, leaf = path.strip().split(".")
        table = tree
        for parent in parents:
            table = table.setdefault(parent, {})
            if not isinstance(table, dict):
                raise InputError(
                    f"'{parent}' in '{path}' is a value, not a section",
                    place="command line",
                    remedy="drop what follows it",
                )
        table[leaf] = _literal(text.strip())
    return tree


def _literal(text: str) -> Any:
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    # Settings hold dates as text; `override` also turns the dates of a file into text.
    return str(value) if isinstance(value, (date, time)) else value


def to_toml(tree: Mapping[str, Any]) -> str:
    """Write plain values as TOML text, which `from_toml` reads back.

    Scalars come first, then one section per table. A table that holds only tables gets a section
    of its own within its parent.
    """
    lines = [
        f"{key_text(key)} = {value_text(value)}"
        for key, value in tree.items()
        if not isinstance(value, Mapping)
    ]
    for key, value in tree.items():
        if isinstance(value, Mapping):
            lines += _section(key, value)
    return "\n".join(lines).strip() + "\n"


def _section(name: str, table: Mapping[str, Any]) -> list[str]:
    """Return the lines of one section and of its subsections."""
    subsections = {key: value for key, value in table.items() if _holds_only_tables(value)}
    lines = ["", f"[{key_text(name)}]"]
    for key, value in table.items():
        if key not in subsections:
            lines.append(f"{key_text(key)} = {value_text(value)}")
    for key, inner in subsections.items():
        lines += ["", f"[{key_text(name)}.{key_text(key)}]"]
        lines += [f"{key_text(k)} = {value_text(v)}" for k, v in inner.items()]
    return lines


def _holds_only_tables(value: Any) -> bool:
    if not isinstance(value, Mapping) or not value:
        return False
    return all(isinstance(inner, Mapping) for inner in value.values())


def key_text(key: str) -> str:
    """Return a key as it is written in TOML, quoted if necessary."""
    is_bare = bool(key) and all(c.isascii() and (c.isalnum() or c in "_-") for c in key)
    return key if is_bare else _string(key)


def value_text(value: Any) -> str:
    """Return a plain value as it is written in TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | Path):
        return _string(str(value))
    if isinstance(value, Mapping):
        inner = ", ".join(f"{key_text(k)} = {value_text(v)}" for k, v in value.items())
        return f"{{ {inner} }}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(value_text(v) for v in value) + "]"
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    return repr(value)


def _string(value: str) -> str:
    """Return a TOML basic string: as in JSON, but without surrogate pairs and a bare DEL."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
