"""Complaints of pydantic, rewritten as errors for users."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

import pydantic

from recsys.config.aliases import ALIASES
from recsys.config.toml import value_text
from recsys.errors import InputError, suggest

__all__ = ["first_mistake", "requirement", "short"]

# What a value must be, by the type of pydantic's complaint.
_TYPES = {
    "int": "an integer",
    "float": "a number",
    "decimal": "a number",
    "bool": "true or false",
    "string": "text",
    "finite_number": "a finite number",
    "dict": "a table",
    "mapping": "a table",
}
_REMEDIES = {
    "an integer": "write an integer, without quotes",
    "a number": "write a number, without quotes",
    "true or false": "write true or false, without quotes",
    "text": "put the text into quotes",
    "a finite number": "write a finite number",
    "a table": "write { key = value }",
}
_BOUNDS = {
    "greater_than_equal": ("ge", "at least"),
    "greater_than": ("gt", "above"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "below"),
}


def first_mistake(error: pydantic.ValidationError, cls: type) -> InputError:
    """Return the first complaint of pydantic about a settings class as an `InputError`."""
    details = error.errors(include_url=False)
    detail = details[0]
    key = ".".join(str(part) for part in detail["loc"])
    known = [field.name for field in dataclasses.fields(cls)]
    count = _mistakes(details)
    more = f" (and {count - 1} more)" if count > 1 else ""
    if detail["type"] == "unexpected_keyword_argument":
        return InputError(f"unknown key '{key}'{more}", remedy=suggest(key, known, ALIASES))
    if detail["type"] == "missing" and len(detail["loc"]) > 1:
        return InputError(
            f"{detail['loc'][0]} = {short(detail['input'])}: a value is missing{more}",
            remedy="give as many as the default has",
        )
    if detail["type"] == "missing":
        return InputError(f"key '{key}' is missing{more}", remedy=f"give it a value: {key} = ...")
    message = detail["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    if detail["type"] == "value_error":  # a rule of the class itself, over several keys
        return InputError(message + more, place=key or None)
    return _wrong_value(details, message, more)


def _mistakes(details: list[Any]) -> int:
    """Count the wrong values; pydantic lists a value once for each type that it does not match."""
    places = {
        (detail["loc"][:1], *(part for part in detail["loc"] if isinstance(part, int)))
        for detail in details
    }
    return len(places)


def _wrong_value(details: list[Any], message: str, more: str) -> InputError:
    """Return the error for a value of a wrong type or out of bounds, the first of all mistakes."""
    detail = details[0]
    key = ".".join(str(part) for part in detail["loc"])
    root = str(detail["loc"][0]) if detail["loc"] else key
    value = detail["input"]
    if detail["type"].startswith("dataclass"):
        return InputError(
            f"{key} must be a table, got {short(value)}{more}",
            remedy=f"write {key} = {{ key = value }}",
        )
    required = requirement(detail)
    if isinstance(value, float) and not math.isfinite(value):
        # If several types are allowed, the first complaint may be about another one.
        required = "a finite number"
    if detail["type"] == "tuple_type" and len(details) == 1 and not isinstance(value, Mapping):
        return InputError(
            f"{root} must be a list, got {short(value)}{more}",
            remedy=f"write {root} = [{value_text(value)}]",
        )
    if required is None:
        cause = f"{root} = {short(value)}: {message}{more}"
        return InputError(cause, remedy="choose a value that the setting accepts")
    # A word that is allowed in place of a number, such as "auto".
    words = [
        str(requirement(other))
        for other in details[1:]
        if other["type"] == "literal_error" and other["loc"][0] == root
    ]
    cause = f"{root} must be {' or '.join([required, *words])}, got {short(value)}{more}"
    if detail["type"] == "literal_error":
        choices = re.findall(r"'([^']*)'", required)
        return InputError(cause, remedy=suggest(str(value), choices))
    return InputError(cause, remedy=_REMEDIES.get(required, f"choose a value that is {required}"))


def requirement(detail: Any) -> str | None:
    """Return what a value must be, in words such as "an integer" or "at least 1".

    Args:
        detail: one complaint of pydantic.

    Returns:
        None for a complaint that is neither about a type, a bound nor a choice.
    """
    kind = detail["type"]
    if kind == "literal_error":
        return str(detail["ctx"]["expected"])
    for name, (bound, words) in _BOUNDS.items():
        if kind == name:
            return f"{words} {detail['ctx'][bound]:g}"
    for prefix, words in _TYPES.items():
        if kind.startswith(prefix):
            return words
    return None


def short(value: Any) -> str:
    """Return the representation of a value in at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
