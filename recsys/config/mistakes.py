"""Complaints of pydantic, rewritten as errors for users."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import pydantic

from recsys.config.aliases import ALIASES
from recsys.config.toml import value_text
from recsys.errors import InputError, suggest

__all__ = ["first_mistake", "short"]


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
    return _wrong_value(detail, message, more, is_only=len(details) == 1)


def _mistakes(details: list[Any]) -> int:
    """Count the wrong values; pydantic lists a value once for each type that it does not match."""
    places = {
        (detail["loc"][:1], *(part for part in detail["loc"] if isinstance(part, int)))
        for detail in details
    }
    return len(places)


def _wrong_value(detail: Any, message: str, more: str, *, is_only: bool) -> InputError:
    """Return the error for one value of a wrong type or out of bounds."""
    key = ".".join(str(part) for part in detail["loc"])
    root = str(detail["loc"][0]) if detail["loc"] else key
    value = detail["input"]
    if detail["type"].startswith("dataclass"):
        return InputError(
            f"{key} must be a table, got {short(value)}{more}",
            remedy=f"write {key} = {{ key = value }}",
        )
    if isinstance(value, float) and not math.isfinite(value):
        # If several types are allowed, the first complaint may be about another one.
        message = "input should be a finite number"
    if detail["type"] == "tuple_type" and is_only and not isinstance(value, Mapping):
        return InputError(
            f"{root} must be a list, got {short(value)}{more}",
            remedy=f"write {root} = [{value_text(value)}]",
        )
    return InputError(f"{root} = {short(value)}: {message}{more}", remedy="correct the value")


def short(value: Any) -> str:
    """Return the representation of a value in at most 60 characters."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
