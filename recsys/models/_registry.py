"""Find a method by name: the files of this package, and the entry points of other packages.

Files whose name begins with an underscore are not methods.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Any

from recsys import plugins
from recsys.errors import InputError, suggest
from recsys.models._base import Recipe

__all__ = ["names", "recipe", "recipe_name", "reconstructed", "summary"]

_PACKAGE = "recsys.models"

# Names that other libraries use for a method, and the name of its file here.
_ALIASES = {
    "bpr": "mf",
    "bpr_mf": "mf",
    "bprmf": "mf",
    "matrix_factorization": "mf",
    "pop": "popular",
    "popularity": "popular",
    "mostpop": "popular",
    "als": "ials",
    "wmf": "ials",
    "implicit_als": "ials",
    "item_knn": "itemknn",
    "user_knn": "userknn",
    "knn": "itemknn",
    "ease_r": "ease",
    "gf_cf": "gfcf",
    "light_gcn": "lightgcn",
    "unis": "cml",
    "pops": "cml",
    "hars": "cml",
    "2sts": "cml",
    "sf_cml": "sfcml",
    "cocml": "dpcml",
    "harcml": "dpcml",
    "dpcml1": "dpcml",
    "dpcml2": "dpcml",
    "gfja": "dpcml",
    "mgmf": "m2f",
    "ncf": "neumf",
    "neural_mf": "neumf",
    "multivae": "multvae",
    "mult_vae": "multvae",
    "vae_cf": "multvae",
    "direct_au": "directau",
    "ultra_gcn": "ultragcn",
    "clc": "clcrec",
    "dropout_net": "dropoutnet",
    "content_knn": "contentknn",
    "content": "contentknn",
    "ensemble": "blend",
    "hybrid": "blend",
    "switching": "fallback",
}


def names() -> list[str]:
    """Return the names of all methods in alphabetical order, without importing any of them."""
    files = pkgutil.iter_modules([str(Path(__file__).parent)])
    own = [module.name for module in files if not module.name.startswith("_")]
    return sorted({*own, *plugins.names("models")})


def recipe(name: str) -> type[Any]:
    """Return the recipe class of a method.

    Raises:
        InputError: the method is unknown (the message suggests the nearest name), or its file does
            not hold exactly one recipe.
    """
    if name not in names():
        raise InputError(f"unknown method '{name}'", remedy=suggest(name, names(), _ALIASES))
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
