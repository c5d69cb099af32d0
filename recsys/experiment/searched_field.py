"""The field of the experiment at a searched path: its type, its bounds and its default."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pydantic

from recsys.config import ALIASES, build, defaults
from recsys.config.mistakes import requirement
from recsys.errors import InputError, suggest

__all__ = ["Absence", "SearchedField", "field_names", "look_up"]

Absence = Literal["", "absent", "none"]
"""How a field without a value is written: "" if it must have one, "absent" if the key is left out,
"none" if the word is written."""


@dataclasses.dataclass(frozen=True)
class SearchedField:
    """A field of a settings class.

    Args:
        hint: its type hint, with bounds.
        absence: how no value is written.
        default: its default; None without one.
    """

    hint: Any
    absence: Absence
    default: Any

    @functools.cached_property
    def types(self) -> list[Any]:
        """The types that it allows, without bounds."""
        return _plain_types(self.hint)

    @property
    def table(self) -> Any:
        """The settings class of its tables; None if it holds plain values only."""
        return _settings_class(self.types)

    @property
    def table_default(self) -> Any:
        """The default, if it is a table."""
        is_table = self.table is not None and isinstance(self.default, self.table)
        return self.default if is_table else None

    @property
    def number(self) -> Literal["float", "int"] | None:
        """Which numbers it takes; None if it takes no numbers."""
        if float in self.types:
            return "float"
        return "int" if int in self.types else None

    def check(self, value: Any, place: str) -> Any:
        """Return a value as the field holds it.

        A table is returned unchanged. Its keys are checked together with those of the default.

        Raises:
            InputError: the field does not take the value.
        """
        if self.table is not None:
            if not isinstance(value, Mapping):
                raise InputError(
                    f"{value!r} is not a table",
                    place=place,
                    remedy=f"write {{ key = value }}; {suggest('', field_names(self.table))}",
                )
            build(self.table, value, place, self.table_default)
            return value
        adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(
            self.hint, config=pydantic.ConfigDict(strict=True, allow_inf_nan=False)
        )
        try:
            return adapter.validate_python(value)
        except pydantic.ValidationError as error:
            detail = error.errors(include_url=False)[0]
            required = requirement(detail)
            if required is None:
                required = f"valid: {detail['msg'].removeprefix('Value error, ')}"
            raise InputError(
                f"must be {required}, got {value!r}",
                place=place,
                remedy="choose values that the field accepts",
            ) from None

    def words(self) -> str:
        """Return the words that it allows, for an error: " of 'a', 'b'"; "" without words."""
        words = [
            word
            for option in self.types
            if typing.get_origin(option) is Literal
            for word in typing.get_args(option)
        ]
        if words:
            return f" of {', '.join(map(repr, words))}"
        return " of true and false" if bool in self.types else ""


def look_up(cls: Any, section: str, keys: list[str], place: str) -> SearchedField:
    """Return the field at a path.

    Args:
        cls: settings class of the section.
        section: first part of the path.
        keys: the other parts.
        place: where the path is written, for an error.

    Raises:
        InputError: the path does not exist.
    """
    base: Any = None
    for depth, key in enumerate(keys):
        if key not in field_names(cls):
            above = ".".join([section, *keys[:depth]])
            raise InputError(
                f"'{above}' has no field '{key}'",
                place=place,
                remedy=suggest(key, field_names(cls), ALIASES),
            )
        hint, default = _hints(cls)[key], defaults(cls, base).get(key)
        field = SearchedField(hint, _absence(hint, default), default)
        if depth == len(keys) - 1:
            return field
        if field.table is None:
            above = ".".join([section, *keys[: depth + 1]])
            raise InputError(
                f"'{above}' is a value and has no field '{keys[depth + 1]}'",
                place=place,
                remedy="drop what follows it",
            )
        cls, base = field.table, field.table_default
    raise AssertionError("a path has a last key")


def field_names(cls: Any) -> list[str]:
    """Return the names of the fields of a settings class."""
    return [field.name for field in dataclasses.fields(cls)]


def _absence(hint: Any, default: Any) -> Absence:
    if types.NoneType not in _plain_types(hint):
        return ""
    return "absent" if default is None else "none"


def _settings_class(options: list[Any]) -> Any:
    return next((option for option in options if getattr(option, "__settings__", False)), None)


def _plain_types(hint: Any) -> list[Any]:
    """Return the types that a hint allows, without bounds."""
    if typing.get_origin(hint) is Annotated:
        return _plain_types(typing.get_args(hint)[0])
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return [option for part in typing.get_args(hint) for option in _plain_types(part)]
    return [hint]


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)
