"""Plain values, such as TOML and JSON give, to settings objects and back."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from recsys.config.classes import (
    defaults,
    field_types,
    is_settings,
    keys_that_need_none,
    options_of,
)
from recsys.config.toml import key_text, value_text
from recsys.errors import InputError

__all__ = ["build", "difference", "to_dict"]

T = TypeVar("T")


def build(cls: type[T], values: Mapping[str, Any], place: str = "", base: T | None = None) -> T:
    """Build a settings object, nested ones too, from plain values such as TOML or JSON gives.

    A key that is not given keeps its default. In a nested table, the default is that of the outer
    class: `[model.loss]` of CML with nothing but a margin is the loss of CML with that margin.

    Args:
        cls: a class made by `settings`.
        values: plain numbers, strings, lists and tables.
        place: the name of this table in an error, as in `cml.toml: [model]`.
        base: an object with the values of keys that are not given; None: the defaults of the class.

    Raises:
        InputError: as `settings`, with the place.
    """
    kinds: Mapping[str, Any] = field_types(typing.cast(Any, cls))
    usual = defaults(cls, base)
    can_be_none = keys_that_need_none(cls, base)
    converted: dict[str, Any] = {} if base is None else dict(usual)
    for key, value in values.items():
        if isinstance(value, str) and value == "none" and key in can_be_none:
            converted[key] = None
        else:
            where = f"{place} {key}".strip()
            converted[key] = _converted(kinds.get(key), value, where, usual.get(key))
    try:
        return cls(**converted)
    except InputError as error:
        raise (error.at(place) if place else error) from None


def _converted(kind: Any, value: Any, place: str, default: Any) -> Any:
    """Build the settings objects within one value; any other value is returned unchanged."""
    inner = _settings_class(kind)
    if inner is not None and isinstance(value, Mapping):
        return build(inner, value, place, default if isinstance(default, inner) else None)
    of_values = _class_of_values(kind)
    if of_values is not None and isinstance(value, Mapping):
        return {name: _table_entry(of_values, name, item, place) for name, item in value.items()}
    of_items = _class_of_items(kind)
    if of_items is not None and isinstance(value, list | tuple):
        return tuple(
            build(of_items, item, f"{place}[{index}]") if isinstance(item, Mapping) else item
            for index, item in enumerate(value)
        )
    return value


def _table_entry(kind: type, name: str, item: Any, place: str) -> Any:
    """Build one entry of a table of tables."""
    if isinstance(item, Mapping):
        return build(kind, item, f"{place} {key_text(name)}")
    is_list = isinstance(item, list | tuple) and "choices" in field_types(typing.cast(Any, kind))
    inside = f"choices = {value_text(item)}" if is_list else "key = value"
    raise InputError(
        f"'{name}' must be a table, got a {'list' if is_list else 'value'}",
        place=place,
        remedy=f"write {key_text(name)} = {{ {inside} }}",
    )


def _settings_class(kind: Any) -> type | None:
    """Return the settings class among the types that a field allows."""
    for option in options_of(kind):
        if is_settings(option):
            return typing.cast(type, option)
    return None


def _class_of_values(kind: Any) -> type | None:
    """Return the settings class of the values of `dict[str, Class]`."""
    return _settings_class(typing.get_args(kind)[1]) if typing.get_origin(kind) is dict else None


def _class_of_items(kind: Any) -> type | None:
    """Return the settings class of the items of `tuple[Class, ...]`."""
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is not tuple or arguments[1:] != (...,):
        return None
    return _settings_class(arguments[0])


def to_dict(value: Any, base: Any = None) -> dict[str, Any]:
    """Return the plain values of a settings object, nested ones too, without keys that are None.

    TOML has no null. A key that is None although its default is not becomes the word "none", which
    `build` reads back.

    Args:
        value: an object of a class made by `settings`.
        base: as in `build`.
    """
    plain: dict[str, Any] = {}
    usual = defaults(type(value), base)
    can_be_none = keys_that_need_none(type(value), base)
    for field in dataclasses.fields(value):
        item = getattr(value, field.name)
        if item is not None:
            plain[field.name] = _plain(item, usual.get(field.name))
        elif field.name in can_be_none:
            plain[field.name] = "none"
    return plain


def _plain(item: Any, default: Any) -> Any:
    if isinstance(item, Mapping):
        return {
            name: to_dict(inner) if dataclasses.is_dataclass(inner) else inner
            for name, inner in item.items()
        }
    if isinstance(item, tuple) and any(is_settings(type(inner)) for inner in item):
        return [to_dict(inner) for inner in item]
    if dataclasses.is_dataclass(item):
        return to_dict(item, default if type(default) is type(item) else None)
    return item


def difference(before: Mapping[str, Any], now: Mapping[str, Any], path: str = "") -> str:
    """Return the first difference of two trees of plain values, to follow "other settings".

    Args:
        before: the earlier tree.
        now: the current tree.
        path: the dotted path of both trees, with a dot at its end.

    Returns:
        `: train.lr was 0.1, and is 0.2 now`, or an empty string if the trees are equal.
    """
    for key in [*before, *(key for key in now if key not in before)]:
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            if text := difference(old, new, f"{path}{key}."):
                return text
        elif old != new:
            words = ["not set" if value is None else value_text(value) for value in (old, new)]
            return f": {path}{key} was {words[0]}, and is {words[1]} now"
    return ""
