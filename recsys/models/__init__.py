"""One file per method: its recipe, its network. A method is found by its file name; nothing else is edited to add one.

A recipe is a `@settings` class with `build(train) -> Network | Scorer`, and may declare a class variable `reconstructed`.
Methods of other packages are found through the
entry-point group `recsys.models`, whose names map to such modules.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import pkgutil
from types import ModuleType
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from recsys.data.types import Dataset
from recsys.errors import InputError, suggest
from recsys.nn.losses import Loss, Terms
from recsys.sampling import Sampler
from recsys.scorer import Scorer

__all__ = ["Network", "Recipe", "names", "recipe", "recipe_name", "reconstructed", "summary"]

# What people call a method elsewhere, and the file it lives in here.
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


class Network(nn.Module):
    """What a recipe builds on training data, and `fit` trains.

    A network gives the loss of a batch before reduction and, at any time, a frozen scorer.
    """

    sampler: Sampler | None = None
    """The stream of batches it wants: pairs with the negatives of this sampler, or, with None, users with all their items."""

    rows: tuple[nn.Embedding, ...] = ()
    """Tables whose gradient may be sparse: they are read only through their own forward."""

    def loss(self, batch: Any) -> Terms:
        """Loss of the pairs (or users) of a batch, [B], before reduction."""
        raise TypeError(f"{type(self).__name__} defines no loss")

    def scorer(self) -> Scorer:
        """A detached value that scores like the network does now."""
        raise TypeError(f"{type(self).__name__} defines no scorer")

    def constrain(self, batch: Any) -> None:
        """Projection after a step; nothing by default. `batch` tells which rows moved."""


class Recipe(Protocol):
    """The hyper-parameters of one method: a frozen value that can build it on training data."""

    def build(self, train: Dataset) -> Network | Scorer: ...


@functools.cache
def _elsewhere() -> tuple[importlib.metadata.EntryPoint, ...]:
    """Methods of other packages. What is installed does not change under a process, and reading it costs milliseconds."""
    return tuple(importlib.metadata.entry_points(group="recsys.models"))


def names() -> list[str]:
    """Names of all methods, without importing any."""
    own = [
        module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")
    ]
    return sorted({*own, *(point.name for point in _elsewhere())})


def recipe(name: str) -> type[Any]:
    """The recipe class of a method.

    Raises:
        InputError: no such method, with the nearest name.
    """
    if name not in names():
        raise InputError(f"unknown method '{name}'", remedy=suggest(name, names(), _ALIASES))
    module = _module(name)
    found = [
        value
        for value in vars(module).values()
        if getattr(value, "__settings__", False)
        and value.__module__ == module.__name__
        and hasattr(value, "build")
    ]
    if len(found) != 1:
        raise InputError(
            f"method '{name}' has {len(found)} recipes in {module.__name__}",
            remedy="a file holds one recipe: a @settings class with build()",
        )
    return found[0]


def recipe_name(value: Recipe) -> str:
    """The name of the method a recipe belongs to."""
    for name in names():
        if type(value).__module__ == f"{__name__}.{name}":
            return name
    for point in _elsewhere():
        if type(value).__module__ == point.value:
            return point.name
    return type(value).__name__


def summary(name: str) -> str:
    """Return the first line of the recipe's docstring, and what of the method is reconstructed."""
    first = (recipe(name).__doc__ or "").strip().splitlines()[0]
    mark = reconstructed(name)
    return f"{first} [reconstructed: {mark}]" if mark else first


def reconstructed(name: str) -> str:
    """Return what of a method had to be rebuilt without its paper's text or code, in words; empty where nothing had.

    A recipe declares it as the class variable `reconstructed`; the table of methods in README.md says the same.
    """
    return str(getattr(recipe(name), "reconstructed", ""))


def _module(name: str) -> ModuleType:
    for point in _elsewhere():
        if point.name == name:
            try:
                return importlib.import_module(point.value)
            except ImportError as error:
                raise InputError(
                    f"method '{name}' of another package cannot be imported: {error}",
                    place=point.value,
                    remedy="install what it needs, or remove its package",
                ) from None
    return importlib.import_module(f"{__name__}.{name}")


def require_negatives(sampler: Sampler, loss: Loss | None = None) -> None:
    """Refuse a sampler that draws no negatives, for methods whose loss compares with them, and triplets where it compares several.

    Args:
        sampler: of the method.
        loss: of the method; None: it has one of its own, for all negatives of a pair together.
    """
    if sampler.unit == "triplet" and (loss is None or loss.reduce != "each"):
        rule = "the loss of this method" if loss is None else f"loss.reduce = '{loss.reduce}'"
        raise InputError(
            f"sampler.unit = 'triplet' gives a step one negative of a pair, and {rule} looks at all of them together",
            remedy='use unit = "pair", or a method with loss.reduce = "each"',
        )
    if sampler.negatives < 1 and sampler.pool in ("own", "shared"):
        raise InputError(
            "sampler.negatives = 0, and the loss compares with negatives", remedy="draw at least 1"
        )


def embedding(n: int, dim: int, std: float) -> nn.Embedding:
    """A table [n, dim] drawn from N(0, std^2)."""
    table = nn.Embedding(n, dim)
    with torch.no_grad():
        table.weight.normal_(0.0, std)
    return table


def half_square(*parts: Tensor) -> Tensor:
    """Half the squared norm of all parts together, a scalar."""
    return torch.stack([part.square().sum() for part in parts]).sum() / 2
