"""Recommendation methods, one file per method: its recipe and its network.

A method is found by the name of its file; nothing else is edited to add one. Files that begin with
an underscore are not methods. Methods do not import each other: what several share is in
`recsys.nn` or in such a file, and a method used within another is found by name.

A recipe is a `@settings` class with `build(train) -> Network | Scorer`. It may declare a class
variable `reconstructed`, derive from `NeedsNegatives`, and have `build_on(train, device)` if it is
in closed form and can be computed on a GPU. Methods of other packages are found
through the entry-point group `recsys.models`, which maps names to such modules.

    _base            Network and Recipe.
    _registry        Names of methods, and their recipes.
    _finished_run    Parts that are finished runs, for `blend` and `fallback`.
    _graph_contrast  Shared by `simgcl` and `xsimgcl`.
    _sessions        Shared by `copurchase`, `dual`, `markov` and `sknn`.
"""

from __future__ import annotations

from recsys.models._base import BuildsOnDevice, NeedsNegatives, Network, Recipe
from recsys.models._registry import names, recipe, recipe_name, reconstructed, summary

__all__ = [
    "BuildsOnDevice",
    "NeedsNegatives",
    "Network",
    "Recipe",
    "names",
    "recipe",
    "recipe_name",
    "reconstructed",
    "summary",
]
