"""Settings classes: the decorator that checks values, and the types and defaults of the fields."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar, dataclass_transform

import pydantic
from pydantic import Field as Bound
from pydantic.dataclasses import dataclass as pydantic_dataclass

from recsys.config.mistakes import first_mistake, short
from recsys.errors import InputError

__all__ = [
    "Bound",
    "current_names",
    "default_of",
    "defaults",
    "field_types",
    "is_required",
    "is_settings",
    "keys_that_need_none",
    "options_of",
    "settings",
]

T = TypeVar("T")


@dataclass_transform(
    frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field, Bound)
)
def settings(cls: type[T]) -> type[T]:
    """Turn a class into a frozen, keyword-only dataclass whose values are checked on construction.

    Raises (on construction):
        InputError: an unknown key, a wrong type, a value out of bounds or a missing key.
    """
    checked: Any = pydantic_dataclass(
        frozen=True,
        kw_only=True,
        config=pydantic.ConfigDict(extra="forbid", strict=True, allow_inf_nan=False),
    )(cls)
    construct = checked.__init__

    def __init__(self: Any, *args: Any, **values: Any) -> None:
        if args:
            raise InputError(
                f"{cls.__name__} takes its settings by name",
                remedy=f"write {cls.__name__}(key=value)",
            )
        for key, value in values.items():
            _check_bits(key, value)
        values = current_names(cls, values)
        try:
            construct(self, **{key: _tuples(value) for key, value in values.items()})
        except pydantic.ValidationError as error:
            raise first_mistake(error, checked) from None

    checked.__init__ = __init__
    checked.__settings__ = True
    return typing.cast(type[T], checked)


def current_names(cls: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with the current names of keys that had another name in earlier versions.

    A settings class lists them in the attribute `RENAMED`, as (earlier, current).

    Args:
        cls: a class made by `settings`.
        values: values by key; those under an earlier name keep their meaning.

    Raises:
        InputError: a value is given under both names.
    """
    renamed: dict[str, str] = dict(getattr(cls, "RENAMED", ()))
    current = {key: value for key, value in values.items() if key not in renamed}
    for earlier in renamed.keys() & values.keys():
        name = renamed[earlier]
        if current.get(name) is not None:
            raise InputError(
                f"{earlier} was renamed to {name}, and both are given",
                remedy=f"leave out {earlier}",
            )
        current[name] = values[earlier]
    return current


def _check_bits(key: str, value: Any) -> None:
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise InputError(
            f"{key} must be an integer of at most 64 bits, got {short(value)}",
            remedy="choose a smaller number",
        )


def _tuples(value: Any) -> Any:
    """Turn lists, as TOML gives them, into tuples, so that settings are hashable."""
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def is_settings(kind: Any) -> bool:
    """Return whether a type is a class made by `settings`."""
    return bool(getattr(kind, "__settings__", False))


def defaults(cls: Any, base: Any = None) -> dict[str, Any]:
    """Return the default values of a settings class; fields without a default are left out.

    Args:
        cls: a class made by `settings`.
        base: an object of that class, whose values are the defaults; None takes those of the class.
    """
    if base is None:
        return _class_defaults(cls)
    return {field.name: getattr(base, field.name) for field in dataclasses.fields(cls)}


@functools.cache
def _class_defaults(cls: Any) -> dict[str, Any]:
    return {
        field.name: default_of(field) for field in dataclasses.fields(cls) if not is_required(field)
    }


def is_required(field: dataclasses.Field[Any]) -> bool:
    """Return whether a field has no default."""
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def default_of(field: dataclasses.Field[Any]) -> Any:
    """Return the default of a field that has one."""
    value: Any = field.default
    if value is dataclasses.MISSING:
        value = typing.cast(Any, field.default_factory)()
    # pydantic keeps the default of a bounded field inside its own marker.
    return getattr(value, "default", value)


@functools.cache
def field_types(cls: Any) -> dict[str, Any]:
    """Return the types of the fields of a class; annotations are evaluated only once."""
    return typing.get_type_hints(cls)


def options_of(kind: Any) -> tuple[Any, ...]:
    """Return the members of a union, or the type itself."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return typing.get_args(kind)
    return (kind,)


def keys_that_need_none(cls: Any, base: Any) -> set[str]:
    """Return the keys that may be None but are not None by default.

    TOML has no null, so only these keys need the word "none".
    """
    kinds = field_types(cls)
    values: Mapping[str, Any] = defaults(cls, base)
    return {
        name
        for name, value in values.items()
        if value is not None and types.NoneType in typing.get_args(kinds[name])
    }
