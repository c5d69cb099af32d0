"""Find a method by name: the files of this package, and the entry points of other packages.

Files whose name begins with an underscore are not methods.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from recsys import plugins
from recsys.errors import InputError
from recsys.models._base import Recipe
from recsys.quickstart.method_words import canonical, method_names

__all__ = ["names", "recipe", "recipe_name", "reconstructed", "summary"]

_PACKAGE = "recsys.models"


def names() -> list[str]:
    """Return the names of all methods in alphabetical order, without importing any of them."""
    return method_names()


def recipe(name: str) -> type[Any]:
    """Return the recipe class of a method; upper and lower case are the same.

    Raises:
        InputError: the method is unknown (the message suggests the nearest name), or its file does
            not hold exactly one recipe.
    """
    name = canonical(name)
    module = _module(name)
    recipes = [
        value
        for value in vars(module).values()
        if getattr(value, "__settings__", False)
        and value.__module__ == module.__name__
        and hasattr(value, "build")
    ]
    if len(recipes) != 1:
        raise InputError(
            f"method '{name}' has {len(recipes)} recipes in {module.__name__}",
            remedy="a file holds one recipe: a @settings class with build()",
        )
    return recipes[0]


def recipe_name(value: Recipe) -> str:
    """Return the name of the method that a recipe belongs to."""
    for name in names():
        if type(value).__module__ == f"{_PACKAGE}.{name}":
            return name
    for name in plugins.names("models"):
        if type(value).__module__ == plugins.module_of("models", name):
            return name
    return type(value).__name__


def summary(name: str) -> str:
    """Return the first line of the recipe's docstring, and which part is reconstructed, if any."""
    first = (recipe(name).__doc__ or "").strip().splitlines()[0]
    mark = reconstructed(name)
    return f"{first} [reconstructed: {mark}]" if mark else first


def reconstructed(name: str) -> str:
    """Return which part of a method was rebuilt without its paper's text or code; "" if none.

    A recipe declares it as the class variable `reconstructed`; the table of methods in README.md
    says the same.
    """
    return str(getattr(recipe(name), "reconstructed", ""))


def _module(name: str) -> ModuleType:
    """Import the module of a method; one of another package comes before a file of this name."""
    if plugins.module_of("models", name) is not None:
        module: ModuleType = plugins.load("models", name)
        return module
    return importlib.import_module(f"{_PACKAGE}.{name}")
