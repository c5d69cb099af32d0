"""The settings of a class for readers: as rows of a table, and as a JSON Schema for editors."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import re
import textwrap
import typing
from collections.abc import Iterator
from typing import Any, Literal

import pydantic

from recsys.config.classes import default_of, is_required, options_of
from recsys.config.toml import value_text

__all__ = ["describe", "schema"]


def schema(cls: type) -> dict[str, Any]:
    """Return the JSON Schema of a settings class, for editors."""
    return pydantic.TypeAdapter(cls).json_schema()


def describe(cls: type) -> list[tuple[str, str, str, str]]:
    """Return name, type, default and meaning of each setting.

    The meaning is the text below the field in the source, or its entry under `Args:`. The settings
    of a nested class follow with dotted names, and with the defaults that they have there.
    """
    return list(_rows(cls, "", None))


def _rows(cls: type, prefix: str, instance: Any) -> Iterator[tuple[str, str, str, str]]:
    """Yield the rows of one class; `instance` holds the defaults of a nested class."""
    meanings, kinds = _field_texts(cls), typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        value = _default(field, instance)
        name = prefix + field.name
        meaning = meanings.get(field.name, "")
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            yield name, type(value).__name__, "", meaning
            yield from _rows(type(value), f"{name}.", value)
            continue
        default = "none" if value is None else value_text(value)
        if is_required(field):
            default = "required"
        yield name, _type_text(kinds[field.name]), default, meaning


def _default(field: dataclasses.Field[Any], instance: Any) -> Any:
    if instance is not None:
        return getattr(instance, field.name)
    return None if is_required(field) else default_of(field)


def _type_text(kind: Any) -> str:
    """Return a type in the words of TOML; choices are listed."""
    options = options_of(kind)
    if typing.get_origin(kind) is Literal:
        return " | ".join(str(option) for option in typing.get_args(kind))
    if options != (kind,):
        return " | ".join(
            "none" if option is type(None) else _type_text(option) for option in options
        )
    if typing.get_args(kind):
        return str(kind).replace("typing.", "")
    return str(getattr(kind, "__name__", kind))


def _field_texts(cls: type) -> dict[str, str]:
    """Return the description of each field, from the class docstring and from the source."""
    return _argument_texts(cls.__doc__ or "") | _texts_below_fields(inspect.getsource(cls))


def _argument_texts(docstring: str) -> dict[str, str]:
    """Return the entries under `Args:` in a docstring."""
    texts: dict[str, str] = {}
    names: list[str] = []
    for line in inspect.cleandoc(docstring).partition("Args:")[2].splitlines():
        entry = re.match(r"    (\w+(?:, \w+)*): (.*)", line)
        if entry:
            names = entry[1].split(", ")
            texts |= dict.fromkeys(names, entry[2].strip())
        elif line.startswith("        "):
            texts |= {name: f"{texts[name]} {line.strip()}" for name in names}
    return texts


def _texts_below_fields(source: str) -> dict[str, str]:
    """Return the string literals that follow the fields of a class."""
    texts: dict[str, str] = {}
    body = ast.parse(textwrap.dedent(source)).body[0]
    assert isinstance(body, ast.ClassDef)
    for field, below in itertools.pairwise(body.body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
        ):
            texts[field.target.id] = " ".join(str(below.value.value).split())
    return texts
